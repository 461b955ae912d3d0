"""Changes of accounts, the same in a file and in Redis, one by one and many at once."""

from __future__ import annotations

import asyncio
import hashlib
import json
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.accounts import Accounts, changes
from proxy.accounts.book import AccountStore, Book
from proxy.accounts.file_store import FileStore
from proxy.accounts.records import MAX_KEYS, Key, Overrides, Record, unix_time
from proxy.accounts.redis_store import _KEYS, RedisStore
from proxy.config import Tier
from proxy.errors import AccountsError, CallError, Kind
from proxy.guard.embedded import EmbeddedValkey
from proxy.guard.keyspace import ACCOUNTS_META, ACCOUNTS_RECORDS
from proxy.metrics import Metrics
from proxy.reload import WatchedRedis

TIERS = {"default": Tier(requests_per_minute=60), "slow": Tier(requests_per_minute=1)}
DAY = timedelta(days=1)


@pytest.fixture(params=["file", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path, clean_valkey: str) -> Path | str:
    return tmp_path / "accounts.json" if request.param == "file" else clean_valkey


@pytest.fixture
def store(place: Path | str) -> Iterator[AccountStore]:
    yield (opened := store_at(place))
    if isinstance(opened, RedisStore):
        opened.close()


def store_at(place: Path | str) -> FileStore | RedisStore:
    return FileStore(place) if isinstance(place, Path) else RedisStore(place)


def add(store: AccountStore, name: str) -> tuple[int, str]:
    return changes.add(store, name, tier="default", tiers=TIERS)


def loaded(store: AccountStore, wall: float | None = None) -> Accounts:
    book = store.read()
    options = {} if wall is None else {"wall": lambda: wall}
    accounts = Accounts(book.header, TIERS, **options)
    for record in book:
        accounts.put(record)
    return accounts


def state_of(accounts: Accounts | WatchedRedis, key: str) -> str:
    try:
        return accounts.authenticate(key).name
    except CallError as error:
        return {Kind.UNKNOWN_KEY: "unknown", Kind.SUSPENDED: "suspended"}[error.kind]


def test_what_is_added_is_all_there(store: AccountStore) -> None:
    limits = Overrides(burst=5)
    number, key = changes.add(
        store,
        "alice",
        tier="slow",
        tiers={"slow": Tier(requests_per_minute=9)},
        models=["m"],
        owner="Alice Ltd.",
        limits=limits,
        licence="L-1",
    )

    alice = store.read()["alice"]
    assert (number, alice.number, alice.tier, alice.limits) == (1, 1, "slow", limits)
    assert (alice.models, alice.owner, alice.licence) == (["m"], "Alice Ltd.", "L-1")
    assert alice.active
    assert [each.expires for each in alice.keys] == [None]
    assert key not in repr(alice)


def test_names_are_given_once_and_unknown_ones_are_told(store: AccountStore) -> None:
    add(store, "alice")
    with pytest.raises(AccountsError, match="already"):
        add(store, "alice")
    for change in (changes.rotate, changes.suspend):
        with pytest.raises(AccountsError, match="no account 'bob'"):
            change(store, "bob", DAY)  # type: ignore[operator]
    with pytest.raises(AccountsError, match="no account 'bob'"):
        changes.resume(store, "bob")


def test_a_rotated_key_is_good_until_its_grace_is_over(store: AccountStore) -> None:
    _, old = add(store, "alice")

    new = changes.rotate(store, "alice", timedelta(hours=1))

    end = unix_time(store.read()["alice"].keys[0].expires or "")
    before, after = loaded(store, end - 1), loaded(store, end)
    assert [state_of(before, key) for key in (old, new)] == ["alice", "alice"]
    assert [state_of(after, key) for key in (old, new)] == ["unknown", "alice"]


def test_a_second_rotation_lengthens_no_key(store: AccountStore) -> None:
    add(store, "alice")
    changes.rotate(store, "alice", timedelta(hours=1))
    (first, _) = store.read()["alice"].keys

    changes.rotate(store, "alice", DAY)

    keys = store.read()["alice"].keys
    assert keys[0] == first
    assert [key.expires is None for key in keys] == [False, False, True]


def test_an_account_has_eight_good_keys_at_most(store: AccountStore) -> None:
    add(store, "alice")
    for _ in range(7):
        changes.rotate(store, "alice", DAY)
    before = store.read()["alice"]

    with pytest.raises(AccountsError, match="the account has 8 keys that are good"):
        changes.rotate(store, "alice", DAY)

    assert store.read()["alice"] == before
    changes.rotate(store, "alice", timedelta())
    assert len(store.read()["alice"].keys) == 1


def test_without_grace_old_keys_end_at_once(store: AccountStore) -> None:
    _, old = add(store, "alice")

    new = changes.rotate(store, "alice", timedelta())

    accounts = loaded(store)
    assert [state_of(accounts, key) for key in (old, new)] == ["unknown", "alice"]
    assert len(store.read()["alice"].keys) == 1


def test_suspended_and_resumed(store: AccountStore) -> None:
    _, key = add(store, "alice")

    changes.suspend(store, "alice", "unpaid")
    alice = store.read()["alice"]
    assert (alice.state, alice.reason, state_of(loaded(store), key)) == (
        "suspended",
        "unpaid",
        "suspended",
    )
    assert alice.since is not None

    changes.resume(store, "alice")
    alice = store.read()["alice"]
    assert (alice.state, alice.reason, alice.since) == ("active", None, None)
    assert state_of(loaded(store), key) == "alice"


def test_a_reason_that_could_forge_a_terminal_is_refused(store: AccountStore) -> None:
    add(store, "alice")
    with pytest.raises(AccountsError, match="reason: expected"):
        changes.suspend(store, "alice", "x\x1b[2J")
    assert store.read()["alice"].active


NAMES = st.sampled_from(["a", "b", "c"])
STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "rotate", "replace", "suspend", "resume"]), NAMES),
    max_size=12,
)


@given(STEPS)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_both_stores_and_a_gateway_that_looks_at_them_follow_the_model(
    clean_valkey: str, steps: list[tuple[str, str]]
) -> None:
    with redis.Redis.from_url(clean_valkey) as client, tempfile.TemporaryDirectory() as directory:
        client.flushall()
        in_redis, in_file = RedisStore(clean_valkey), FileStore(Path(directory) / "accounts.json")
        for store in (in_redis, in_file):
            add(store, "first")
        current, _ = watched(in_redis)
        for store in (in_redis, in_file):
            good, suspended, gone = follow(store, steps)
            numbers = [record.number for record in store.read()]
            assert sorted(numbers) == list(range(1, len(numbers) + 1))
            everywhere: list[Accounts | WatchedRedis] = [loaded(store)]
            if store is in_redis:
                asyncio.run(current.take_over())
                everywhere.append(current)
            for accounts in everywhere:
                assert {key: state_of(accounts, key) for key in good} == {
                    key: "suspended" if name in suspended else name for key, name in good.items()
                }
                assert {state_of(accounts, key) for key in gone} <= {"unknown"}
        in_redis.close()


def follow(
    store: AccountStore, steps: list[tuple[str, str]]
) -> tuple[dict[str, str], set[str], set[str]]:
    """Take the steps; return good keys with their names, suspended names, and ended keys."""
    good: dict[str, str] = {}
    suspended: set[str] = set()
    gone: set[str] = set()
    for step, name in steps:
        known = name in set(good.values())
        if step == "add" and not known:
            good[add(store, name)[1]] = name
        elif step == "rotate" and list(good.values()).count(name) == MAX_KEYS:
            with pytest.raises(AccountsError, match="keys that are good"):
                changes.rotate(store, name, DAY)
        elif known and step in ("rotate", "replace"):
            if step == "replace":
                ended = {key for key, owner in good.items() if owner == name}
                gone |= ended
                good = {key: owner for key, owner in good.items() if key not in ended}
            good[changes.rotate(store, name, DAY if step == "rotate" else timedelta())] = name
        elif known and step == "suspend":
            changes.suspend(store, name, None)
            suspended.add(name)
        elif known and step == "resume":
            changes.resume(store, name)
            suspended.discard(name)
    return good, suspended, gone


PROCESSES, ROUNDS, MANY = 4, 4, 600


def work(place: Path | str, worker: int) -> None:
    """Add accounts, and change some that all processes change."""
    store = store_at(place)
    for turn in range(ROUNDS):
        add(store, f"account-{worker}-{turn}")
        changes.rotate(store, f"shared-{turn}", DAY)
        changes.suspend(store, f"account-{worker}-{turn}", f"by {worker}")
        if worker == turn:
            add_many(store, worker)


def add_many(store: AccountStore, worker: int) -> None:
    """Add so many accounts at once that Redis takes them by another way."""

    def edit(book: Book) -> None:
        for place in range(MANY):
            number = book.next_number()
            key = Key(hashlib.sha256(str(number).encode()).hexdigest(), "2026-01-01T00:00:00Z")
            name = f"many-{worker}-{place}"
            record = {"number": number, "name": name, "tier": "slow", "created": key.created}
            book.put(Record(**record, keys=[key]))

    store.change(edit)


def test_nothing_is_lost_when_many_processes_change_accounts(
    store: AccountStore, place: Path | str
) -> None:
    for turn in range(ROUNDS):
        add(store, f"shared-{turn}")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # else each process imports it all again
    workers = [context.Process(target=work, args=(place, worker)) for worker in range(PROCESSES)]
    for process in workers:
        process.start()
    for process in workers:
        process.join()

    assert [process.exitcode for process in workers] == [0] * PROCESSES
    book = store.read()
    total = PROCESSES * ROUNDS
    numbers = sorted(record.number for record in book)
    assert numbers == list(range(1, total + PROCESSES * MANY + ROUNDS + 1))
    for turn in range(ROUNDS):
        assert len({key.hash for key in book[f"shared-{turn}"].keys}) == PROCESSES + 1
    for worker in range(PROCESSES):
        for turn in range(ROUNDS):
            assert book[f"account-{worker}-{turn}"].reason == f"by {worker}"


def test_a_copy_keeps_numbers_keys_and_the_next_number(tmp_path: Path, clean_valkey: str) -> None:
    first, there, back = (
        FileStore(tmp_path / "a.json"),
        RedisStore(clean_valkey),
        FileStore(tmp_path / "b.json"),
    )
    _, key = add(first, "alice")
    add(first, "bob")
    content = json.loads(first.path.read_text())
    del content["accounts"][1]  # bob is gone, his number is not free
    first.path.write_text(json.dumps(content))

    there.create(first.read())
    back.create(there.read())

    for store in (there, back):
        assert state_of(loaded(store), key) == "alice"
        assert add(store, "carol")[0] == 3
    with pytest.raises(AccountsError, match="already"):
        there.create(first.read())
    with pytest.raises(AccountsError, match="already"):
        back.create(first.read())
    there.close()


def test_redis_without_accounts_says_how_to_make_one(clean_valkey: str) -> None:
    with pytest.raises(AccountsError, match="azeotrope accounts add"):
        RedisStore(clean_valkey).read()


def test_a_redis_that_is_away_is_told_without_its_url() -> None:
    with pytest.raises(AccountsError) as caught:
        RedisStore("redis://user:the-secret-password@127.0.0.1:1/0").read()

    assert str(caught.value) == "the accounts in Redis: ConnectionError"


@pytest.mark.parametrize("rest", [":port/0", ":1/0?colour=red", ":1/0?socket_timeout=long"])
def test_a_url_that_is_none_is_told_without_it(rest: str) -> None:
    with pytest.raises(AccountsError) as caught:
        RedisStore(f"redis://user:the-secret-password@127.0.0.1{rest}")

    assert str(caught.value) == "redis.url: redis-py does not understand it"


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("format", "azeotrope-accounts-9", "azeotrope-accounts-9"),
        ("pepper", "short", "pepper"),
        ("last_number", "many", "not what we write"),
        ("version", "x", "not what we write"),
    ],
)
def test_foreign_or_newer_content_in_redis_is_refused(
    clean_valkey: str, field: str, value: str, reason: str
) -> None:
    store = RedisStore(clean_valkey)
    add(store, "alice")
    with redis.Redis.from_url(clean_valkey) as client:
        client.hset(ACCOUNTS_META, field, value)

    with pytest.raises(AccountsError, match=reason):
        store.read()
    with pytest.raises(AccountsError, match=reason):
        add(store, "bob")


async def test_a_gateway_takes_over_many_at_once_and_redis_keeps_nothing_else(
    clean_valkey: str,
) -> None:
    store = RedisStore(clean_valkey)
    _, key = add(store, "alice")
    current, metrics = watched(store)
    untouched = current.authenticate(key)

    add_many(store, 0)
    await current.take_over()

    assert metrics.accounts._value.get() == MANY + 1
    assert current.authenticate(key) is untouched
    with redis.Redis.from_url(clean_valkey) as client:
        names = [name.decode() for name in client.scan_iter()]
        assert sorted(names) == sorted(_KEYS)
        assert {client.ttl(name) for name in names} == {-1}
    changes.suspend(store, "alice", None)
    await current.take_over()
    assert state_of(current, key) == "suspended"


@pytest.fixture
def own_valkey() -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey()
    yield server
    os.kill(server.pid, signal.SIGCONT)
    server.close()


def watched(store: RedisStore) -> tuple[WatchedRedis, Metrics]:
    metrics = Metrics([], [])
    return WatchedRedis(store, TIERS, metrics), metrics


async def test_a_gateway_takes_over_only_what_changed(clean_valkey: str) -> None:
    store = RedisStore(clean_valkey)
    keys = {name: add(store, name)[1] for name in ("alice", "bob")}
    current, metrics = watched(store)
    untouched = current.authenticate(keys["alice"])

    changes.suspend(store, "bob", None)
    _, new = add(store, "carol")
    await current.take_over()

    assert state_of(current, keys["bob"]) == "suspended"
    assert state_of(current, new) == "carol"
    assert current.authenticate(keys["alice"]) is untouched
    assert metrics.accounts._value.get() == 3
    old = changes.rotate(store, "carol", timedelta())
    await current.take_over()
    assert [state_of(current, key) for key in (new, old)] == ["unknown", "carol"]


async def test_a_frozen_or_emptied_redis_leaves_the_accounts_in_force(
    own_valkey: EmbeddedValkey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "proxy")
    store = RedisStore(own_valkey.url, timeout_s=0.2)
    _, key = add(store, "alice")
    current, metrics = watched(store)

    os.kill(own_valkey.pid, signal.SIGSTOP)
    for _ in range(2):
        await current.take_over()
    assert state_of(current, key) == "alice"
    assert metrics.accounts_stale._value.get() == 1
    os.kill(own_valkey.pid, signal.SIGCONT)
    patient = RedisStore(own_valkey.url)
    patient.version()  # it answers again
    await current.take_over()
    assert metrics.accounts_stale._value.get() == 0

    with redis.Redis.from_url(own_valkey.url) as client:
        client.flushall()
    await current.take_over()
    assert state_of(current, key) == "alice"
    assert metrics.accounts_stale._value.get() == 1

    _, other = add(patient, "bob")  # a new set of accounts, with another pepper
    await current.take_over()
    assert [state_of(current, each) for each in (key, other)] == ["unknown", "bob"]
    assert [record.message for record in caplog.records] == [
        "accounts_kept",
        "accounts_reloaded",
        "accounts_kept",
        "accounts_reloaded",
    ]
    patient.close()


async def test_one_bad_account_in_redis_keeps_back_no_other(clean_valkey: str) -> None:
    store = RedisStore(clean_valkey)
    keys = {name: add(store, name)[1] for name in ("alice", "bob")}
    current, metrics = watched(store)

    changes.add(store, "gold", tier="gold", tiers={**TIERS, "gold": TIERS["slow"]})
    changes.suspend(store, "bob", None)
    await current.take_over()
    await current.take_over()

    assert [state_of(current, keys[name]) for name in ("alice", "bob")] == ["alice", "suspended"]
    assert metrics.accounts_stale._value.get() == 1
    assert b'accounts_reloads_total{result="failed"} 1.0' in metrics.render()
    with pytest.raises(AccountsError, match="gold"):
        watched(store)


def test_redis_holds_hashes_but_no_key(clean_valkey: str) -> None:
    store = RedisStore(clean_valkey)
    _, key = add(store, "alice")
    with redis.Redis.from_url(clean_valkey) as client:
        content = b"".join(client.hvals(ACCOUNTS_RECORDS)) + b"".join(client.hvals(ACCOUNTS_META))

    assert key.removeprefix("az-").encode() not in content
