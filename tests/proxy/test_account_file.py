"""Accounts: the file, the keys, and changes while the gateway runs."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from account_files import TIERS, add, change

from proxy.accounts import changes
from proxy.accounts.file_store import FileStore
from proxy.accounts.records import FORMAT, Overrides, hash_key
from proxy.config import Tier
from proxy.errors import AccountsError, CallError, Kind
from proxy.reload import load_file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sub" / "accounts.json"


def test_an_added_account_is_found_by_its_key(file: Path) -> None:
    _, key = add(file, "alice")
    number, other = add(file, "bob", tier="slow", models=["m"])

    loaded = load_file(file, TIERS)

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
    hashes = {hash_key(os.urandom(32), "az-key") for _ in range(10)}

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

    assert sorted(record.number for record in FileStore(file).read()) == list(range(1, 17))


def test_the_last_number_is_the_last_one(file: Path) -> None:
    add(file, "alice")
    change(file, number=2**24 - 1)

    with pytest.raises(AccountsError, match="taken"):
        add(file, "bob")


@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "x" * 65, "ä", "a\n"])
def test_a_name_that_breaks_lines_or_paths_is_refused(file: Path, name: str) -> None:
    with pytest.raises(AccountsError, match="name: expected"):
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
        load_file(file, TIERS).authenticate(key)

    assert caught.value.kind is Kind.UNKNOWN_KEY


def test_a_suspended_account_is_told_so(file: Path) -> None:
    _, key = add(file, "alice")
    change(file, state="suspended")
    with pytest.raises(CallError) as caught:
        load_file(file, TIERS).authenticate(key)

    assert caught.value.kind is Kind.SUSPENDED


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"number": 0}, "number"),
        ({"number": 2**24}, "number"),
        ({"number": 2}, "another account's"),
        ({"name": "bob"}, "another account's"),
        ({"name": "a b"}, "name: expected"),
        ({"keys": [{"hash": "abc", "created": "x"}]}, "hash"),
        ({"keys": [{"hash": "0" * 64, "created": "x", "expires": "soon"}]}, "expires"),
        ({"keys": [{"hash": "0" * 64, "created": "x", "expires": "2026-13-01T00:00:00Z"}]}, "expi"),
        ({"owner": "a\x1b[2J"}, "owner"),
        ({"owner": "x" * 201}, "owner"),
        ({"models": []}, "models"),
        ({"licence": "two words"}, "licence"),
        ({"limits": {"burst": 0}}, "burst"),
        ({"limits": {"burst": 61}}, "burst"),
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
        load_file(file, TIERS)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"format":"azeotrope-accounts-2"}', b"\xff"]
)
def test_a_file_that_is_none_of_ours_is_refused(file: Path, content: bytes) -> None:
    add(file, "alice")
    file.write_bytes(content)

    with pytest.raises(AccountsError, match="not an accounts file"):
        load_file(file, TIERS)


def test_another_format_version_is_refused(file: Path) -> None:
    add(file, "alice")
    file.write_text(file.read_text().replace(FORMAT, "azeotrope-accounts-9"))

    with pytest.raises(AccountsError, match="azeotrope-accounts-9"):
        load_file(file, TIERS)


def test_a_file_that_others_may_read_is_refused(file: Path) -> None:
    add(file, "alice")
    file.chmod(0o640)

    with pytest.raises(AccountsError, match="chmod 600"):
        load_file(file, TIERS)


def test_a_missing_file_says_how_to_make_one(file: Path) -> None:
    with pytest.raises(AccountsError, match="azeotrope accounts add"):
        load_file(file, TIERS)


def test_two_accounts_cannot_have_one_key(file: Path) -> None:
    add(file, "alice")
    add(file, "bob")
    keys = json.loads(file.read_text())["accounts"][1]["keys"]
    change(file, keys=keys)

    with pytest.raises(AccountsError, match="a key is another account's too"):
        load_file(file, TIERS)


def test_a_number_is_not_given_again_after_its_account_is_gone(file: Path) -> None:
    add(file, "alice")
    add(file, "bob")
    content = json.loads(file.read_text())
    del content["accounts"][1]
    file.write_text(json.dumps(content))

    assert add(file, "carol")[0] == 3


VERSION_1 = {
    "format": "azeotrope-accounts-1",
    "pepper": "ab" * 32,
    "accounts": [
        {
            "number": 7,
            "name": "alice",
            "key_hash": hash_key(b"\xab" * 32, "az-old-key").hex(),
            "tier": "slow",
            "models": ["m"],
            "state": "active",
            "created": "2026-01-01T00:00:00Z",
        },
    ],
}


def test_a_file_of_version_1_is_read_and_upgraded_when_it_is_written(tmp_path: Path) -> None:
    file = tmp_path / "accounts.json"
    file.write_text(json.dumps(VERSION_1))
    file.chmod(0o600)

    alice = load_file(file, TIERS).authenticate("az-old-key")
    number, key = add(file, "bob")

    assert (alice.number, alice.name, alice.tier) == (7, "alice", TIERS["slow"])
    assert number == 8
    content = json.loads(file.read_text())
    assert content["format"] == FORMAT
    assert [record["number"] for record in content["accounts"]] == [7, 8]
    both = load_file(file, TIERS)
    assert both.authenticate("az-old-key") == alice
    assert both.authenticate(key).name == "bob"


@pytest.mark.parametrize("indent", [None, 2])
def test_a_file_in_any_layout_is_read(file: Path, indent: int | None) -> None:
    _, key = add(file, "alice")
    add(file, "bob")
    file.write_text(json.dumps(json.loads(file.read_text()), indent=indent))

    assert load_file(file, TIERS).authenticate(key).name == "alice"
    assert len(FileStore(file).read()) == 2


def test_a_line_that_is_no_account_is_named(file: Path) -> None:
    add(file, "alice")
    add(file, "bob")
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:2], "{}", *lines[3:]]))

    with pytest.raises(AccountsError, match="line 3: not an account"):
        load_file(file, TIERS)


def test_a_file_that_was_cut_is_refused(file: Path) -> None:
    for name in ("alice", "bob"):
        add(file, name)
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))

    with pytest.raises(AccountsError, match="ends before its end"):
        load_file(file, TIERS)


def test_limits_of_its_own_take_the_place_of_the_tiers(file: Path) -> None:
    tiers = {"default": Tier(requests_per_minute=60, burst=50, concurrent_calls=4)}
    keys = {}
    for name, limits in {
        "plain": None,
        "more": Overrides(requests_per_minute=100, burst=90),
        "less": Overrides(requests_per_minute=10),
        "calls": Overrides(concurrent_calls=9),
    }.items():
        keys[name] = changes.add(FileStore(file), name, tier="default", tiers=tiers, limits=limits)[
            1
        ]
    loaded = load_file(file, tiers)

    found = {name: loaded.authenticate(key).tier for name, key in keys.items()}

    assert found == {
        "plain": tiers["default"],
        "more": Tier(requests_per_minute=100, burst=90, concurrent_calls=4),
        "less": Tier(requests_per_minute=10, burst=10, concurrent_calls=4),
        "calls": Tier(requests_per_minute=60, burst=50, concurrent_calls=9),
    }
