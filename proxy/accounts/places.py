"""Where a configuration keeps its accounts."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from proxy.accounts.book import AccountStore
from proxy.accounts.file_store import FileStore
from proxy.accounts.redis_store import RedisStore
from proxy.config import Config
from proxy.errors import AccountsError


def open_store(config: Config, place: Path | Literal["redis"] | None = None) -> AccountStore:
    """Return the store at a place, by default the configuration's; raises AccountsError."""
    place = place or config.accounts
    if isinstance(place, Path):
        return FileStore(place)
    if config.redis.url is None:
        raise AccountsError("redis.url: expected a URL, since accounts are to be in Redis")
    return RedisStore(config.redis.url.get_secret_value())
