"""Accounts files for the tests of accounts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from proxy import accounts
from proxy.config import Tier

TIERS = {"default": Tier(requests_per_minute=60), "slow": Tier(requests_per_minute=1)}


def add(file: Path, name: str, **options: Any) -> tuple[int, str]:
    return accounts.add(file, name, **{"tier": "default", "tiers": TIERS, **options})


def change(file: Path, **fields: Any) -> None:
    """Change the first account's record."""
    content = json.loads(file.read_text())
    content["accounts"][0].update(fields)
    file.write_text(json.dumps(content))
