"""Accounts: the file, the keys, and changes while the gateway runs."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from proxy import accounts
from proxy.accounts import Accounts
from proxy.config import Tier
from proxy.errors import AccountsError, CallError, Kind
from proxy.metrics import Metrics
from proxy.reload import WatchedAccounts

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


def test_an_added_account_is_found_by_its_key(file: Path) -> None:
    _, key = add(file, "alice")
    number, other = add(file, "bob", tier="slow", models=["m"])

    loaded = Accounts.load(file, TIERS)

    assert loaded.authenticate(key).name == "alice"
    bob = loaded.authenticate(other)
    assert (bob.number, bob.tier, bob.models) == (number, TIERS["slow"], frozenset({"m"}))
    assert loaded.authenticate(key).may_use("anything")
    assert bob.may_use("m")
    assert not bob.may_use("n")


def test_the_file_is_private_and_holds_no_key(file: Path) -> None:
    _, key = add(file, "alice")

    assert file.stat().st_mode & 0o777 == 0o600
    assert key not in file.read_text()
    assert key.removeprefix("az-") not in file.read_text()


def test_keys_are_long_and_random(file: Path) -> None:
    keys = {add(file, f"account-{number}")[1] for number in range(20)}

    assert len(keys) == 20
    assert all(key.startswith("az-") and len(key) == 46 for key in keys)


def test_equal_keys_have_other_hashes_in_other_files(tmp_path: Path) -> None:
    hashes = {accounts._hash(os.urandom(32), "az-key") for _ in range(10)}

    assert len(hashes) == 10


def test_numbers_are_sequential_and_not_given_again(file: Path) -> None:
    assert [add(file, name)[0] for name in ("a", "b", "c")] == [1, 2, 3]
    change(file, number=9)
    assert add(file, "d")[0] == 10


def test_accounts_added_at_the_same_time_are_all_kept(file: Path) -> None:
    threads = [threading.Thread(target=add, args=(file, f"account-{n}")) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(int(row[0]) for row in accounts.table(file)) == list(range(1, 17))


def test_the_last_number_is_the_last_one(file: Path) -> None:
    add(file, "alice")
    change(file, number=2**24 - 1)

    with pytest.raises(AccountsError, match="taken"):
        add(file, "bob")


@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "x" * 65, "ä", "a\n"])
def test_a_name_that_breaks_lines_or_paths_is_refused(file: Path, name: str) -> None:
    with pytest.raises(AccountsError, match="account name"):
        add(file, name)


def test_a_name_is_given_once(file: Path) -> None:
    add(file, "alice")
    with pytest.raises(AccountsError, match="already"):
        add(file, "alice")


def test_an_unknown_tier_is_refused(file: Path) -> None:
    with pytest.raises(AccountsError, match="tier"):
        add(file, "alice", tier="gold")


@pytest.mark.parametrize("key", ["", "az-", "az-wrong", "x" * 1_000_000, "az-\udcff", "\x00"])
def test_a_wrong_key_is_unknown(file: Path, key: str) -> None:
    add(file, "alice")
    with pytest.raises(CallError) as caught:
        Accounts.load(file, TIERS).authenticate(key)

    assert caught.value.kind is Kind.UNKNOWN_KEY


def test_a_suspended_account_is_told_so(file: Path) -> None:
    _, key = add(file, "alice")
    change(file, state="suspended")
    with pytest.raises(CallError) as caught:
        Accounts.load(file, TIERS).authenticate(key)

    assert caught.value.kind is Kind.SUSPENDED


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"number": 0}, "number"),
        ({"number": 2**24}, "number"),
        ({"number": 2}, "another account's"),
        ({"name": "bob"}, "another account's"),
        ({"name": "a b"}, "name"),
        ({"key_hash": "abc"}, "key_hash"),
        ({"tier": "gold"}, "default, slow"),
        ({"state": "gone"}, "state"),
        ({"colour": "red"}, "colour"),
        ({"number": "1"}, "number"),
    ],
)
def test_a_contradictory_file_is_refused(file: Path, fields: dict[str, Any], reason: str) -> None:
    add(file, "alice")
    add(file, "bob")
    change(file, **fields)

    with pytest.raises(AccountsError, match=reason):
        Accounts.load(file, TIERS)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format":"x"}', b"\xff"])
def test_a_file_that_is_none_of_ours_is_refused(file: Path, content: bytes) -> None:
    add(file, "alice")
    file.write_bytes(content)

    with pytest.raises(AccountsError, match="not an accounts file"):
        Accounts.load(file, TIERS)


def test_another_format_version_is_refused(file: Path) -> None:
    add(file, "alice")
    file.write_text(file.read_text().replace(accounts.FORMAT, "azeotrope-accounts-9"))

    with pytest.raises(AccountsError, match="azeotrope-accounts-9"):
        Accounts.load(file, TIERS)


def test_a_file_that_others_may_read_is_refused(file: Path) -> None:
    add(file, "alice")
    file.chmod(0o640)

    with pytest.raises(AccountsError, match="chmod 600"):
        Accounts.load(file, TIERS)


def test_a_missing_file_says_how_to_make_one(file: Path) -> None:
    with pytest.raises(AccountsError, match="azeotrope accounts add"):
        Accounts.load(file, TIERS)


def watched(file: Path) -> tuple[WatchedAccounts, Metrics]:
    metrics = Metrics([], [])
    return WatchedAccounts(file, TIERS, metrics), metrics


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
