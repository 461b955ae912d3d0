"""Accounts that change while a gateway runs, in a file and in Redis."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proxy import accounts
from proxy.config import Tier
from proxy.metrics import Metrics
from proxy.reload import WatchedFile

TIERS = {"default": Tier(requests_per_minute=60), "slow": Tier(requests_per_minute=1)}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sub" / "accounts.json"


def add(file: Path, name: str, **options: Any) -> tuple[int, str]:
    return accounts.add(file, name, **{"tier": "default", "tiers": TIERS, **options})


def change(file: Path, **fields: Any) -> None:
    """Change the first account's record."""
    content = json.loads(file.read_text())
    content["accounts"][0].update(fields)
    file.write_text(json.dumps(content))


def watched(file: Path) -> tuple[WatchedFile, Metrics]:
    metrics = Metrics([], [])
    return WatchedFile(file, TIERS, metrics), metrics


def test_a_changed_file_is_taken_over(file: Path) -> None:
    add(file, "alice")
    current, metrics = watched(file)
    _, key = add(file, "bob")

    current.reload_if_changed()

    assert current.authenticate(key).name == "bob"
    assert metrics.accounts._value.get() == 2
    change(file, state="suspended")
    current.reload_if_changed()
    assert current.authenticate(key).name == "bob"


@pytest.mark.parametrize("damage", ["content", "mode", "gone"])
def test_a_damaged_file_changes_nothing_and_is_reported(
    file: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    _, key = add(file, "alice")
    current, metrics = watched(file)
    good = file.read_bytes()
    if damage == "content":
        file.write_bytes(b"{")
    elif damage == "mode":
        file.chmod(0o644)
    else:
        file.unlink()

    current.reload_if_changed()
    current.reload_if_changed()

    assert current.authenticate(key).name == "alice"
    assert [record.message for record in caplog.records] == ["accounts_kept"]
    assert b'accounts_reloads_total{result="failed"} 1.0' in metrics.render()
    file.write_bytes(good)
    file.chmod(0o600)
    current.reload_if_changed()
    assert b'accounts_reloads_total{result="done"} 1.0' in metrics.render()
