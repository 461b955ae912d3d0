"""The accounts of a running gateway: taken over anew whenever they change.

What is loaded stays in force while newer accounts cannot be had: the file is damaged,
or Redis is away. Then azeotrope_accounts_stale is 1, and the log says why.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

from proxy.accounts import Account, Accounts
from proxy.accounts.file_store import FileStore
from proxy.accounts.records import Record
from proxy.accounts.redis_store import RedisStore, Version
from proxy.config import Config, Tier
from proxy.errors import AccountsError
from proxy.metrics import Metrics

_log = logging.getLogger(__name__)
# A suspension takes effect within a second.
POLL_S = 0.5
# A Redis that hangs must not hold a thread for long: the next look is soon.
_TIMEOUT_S = 2.0
# Accounts that the event loop takes in at once: 0.5 ms.
_STEP = 50


class WatchedAccounts(Protocol):
    """The newest good version of the accounts."""

    def authenticate(self, key: str) -> Account:
        """Return the account of a key; raises CallError."""

    async def watch(self) -> None:
        """Look for changes until cancelled."""


async def watched_accounts(config: Config, metrics: Metrics) -> WatchedAccounts:
    """Load the accounts of a configuration; raises AccountsError."""
    if isinstance(config.accounts, Path):
        return await asyncio.to_thread(WatchedFile, config.accounts, config.tiers, metrics)
    assert config.redis.url is not None  # the configuration's own check
    store = RedisStore(config.redis.url.get_secret_value(), timeout_s=_TIMEOUT_S)
    return await asyncio.to_thread(WatchedRedis, store, config.tiers, metrics)


class WatchedFile:
    """The newest good version of the accounts file."""

    def __init__(self, path: Path, tiers: Mapping[str, Tier], metrics: Metrics) -> None:
        """Load the file; raises AccountsError."""
        self._path = path
        self._tiers = tiers
        self._report = _Report(metrics)
        self._seen = self._stamp()
        self._accounts = load_file(path, tiers)
        metrics.accounts.set(len(self._accounts))

    def authenticate(self, key: str) -> Account:
        """Return the account of a key; raises CallError."""
        return self._accounts.authenticate(key)

    async def watch(self) -> None:
        """Look for changes until cancelled."""
        await _look_often(partial(asyncio.to_thread, self.reload_if_changed), self._report)

    def reload_if_changed(self) -> None:
        """Read the file again if it changed; keep what is loaded if the new one is bad."""
        stamp = self._stamp()
        if stamp == self._seen and not self._report.broken:
            return
        try:
            self._accounts = load_file(self._path, self._tiers)
        except AccountsError as error:
            self._report.kept(str(error))
        else:
            self._report.reloaded(len(self._accounts))
        self._seen = stamp

    def _stamp(self) -> tuple[int, int, int, int] | None:
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino, status.st_mode


class WatchedRedis:
    """The accounts in Redis: loaded as a whole once, then change by change."""

    def __init__(self, store: RedisStore, tiers: Mapping[str, Tier], metrics: Metrics) -> None:
        """Load all accounts; raises AccountsError."""
        self._store = store
        self._tiers = tiers
        self._report = _Report(metrics)
        self._refused: dict[int, str] = {}  # accounts whose news are bad: the old ones hold
        # The version first: what changes during the load is read once more.
        self._version = store.version()
        self._accounts = Accounts.load(self._version.header, store.records(), tiers)
        metrics.accounts.set(len(self._accounts))

    def authenticate(self, key: str) -> Account:
        """Return the account of a key; raises CallError."""
        return self._accounts.authenticate(key)

    async def watch(self) -> None:
        """Look for changes until cancelled."""
        try:
            await _look_often(self.take_over, self._report)
        finally:
            self._store.close()

    async def take_over(self) -> None:
        """Take over what changed; keep what is loaded while Redis is away."""
        try:
            version, news = await asyncio.to_thread(self._news)
        except AccountsError as error:
            self._report.kept(str(error))
            return
        changed = version != self._version
        self._version = version
        if isinstance(news, Accounts):
            self._accounts = news
            self._refused.clear()
        else:
            await self._put(news)
        refused = next(iter(self._refused.values()), None)
        if refused is not None and (changed or refused != self._report.reason):
            self._report.kept(refused)
        elif refused is None and (changed or self._report.reason):
            self._report.reloaded(len(self._accounts))

    def _news(self) -> tuple[Version, Accounts | list[Record]]:
        """Return the newest version and the accounts that it changed, or all anew."""
        version = self._store.version()
        if not self._version.leads_to(version):  # Redis was emptied or set back
            return version, Accounts.load(version.header, self._store.records(), self._tiers)
        if version == self._version:
            return version, []
        return version, list(self._store.changed(self._version))

    async def _put(self, records: list[Record]) -> None:
        for place, record in enumerate(records, start=1):
            try:
                self._accounts.put(record)
                self._refused.pop(record.number, None)
            except AccountsError as error:
                self._refused[record.number] = str(error)
            if place % _STEP == 0:
                await asyncio.sleep(0)


def load_file(path: Path, tiers: Mapping[str, Tier]) -> Accounts:
    """Load the accounts of a file; raises AccountsError."""
    with FileStore(path).scan() as (header, records):
        return Accounts.load(header, records, tiers)


class _Report:
    """Metrics and log of reloads; a reason is logged when it is new."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.reason: str | None = None
        self.broken = False  # a look failed for a reason of our own: look anew

    def kept(self, reason: str, *, broken: bool = False) -> None:
        self._metrics.accounts_stale.set(1)
        self._metrics.reloaded(accounts=None)
        if reason != self.reason:
            _log.error("accounts_kept", extra={"fields": {"reason": reason}})
        self.reason, self.broken = reason, broken

    def reloaded(self, accounts: int) -> None:
        self._metrics.accounts_stale.set(0)
        self._metrics.reloaded(accounts=accounts)
        self.reason, self.broken = None, False
        _log.info("accounts_reloaded", extra={"fields": {"accounts": accounts}})


async def _look_often(look: Callable[[], Awaitable[None]], report: _Report) -> None:
    while True:
        await asyncio.sleep(POLL_S)
        try:
            await look()
        except Exception as error:  # a watch that ended would never see a suspension
            if not report.broken:
                _log.exception("accounts_watch_failed")
            report.kept(type(error).__name__, broken=True)
