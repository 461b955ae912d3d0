"""Accounts that change while a gateway runs, in a file and in Redis."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from account_files import TIERS, add, change
from fake_upstream import Conversation, FakeUpstream
from running import Running, Site, Start, question
from waiting import eventually

from proxy.accounts import changes
from proxy.accounts.book import AccountStore
from proxy.accounts.places import open_store
from proxy.accounts.records import Overrides
from proxy.config import Config, Tier, load
from proxy.errors import AccountsError
from proxy.logs import JsonFormatter
from proxy.metrics import Metrics
from proxy.reload import WatchedFile


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sub" / "accounts.json"


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


# Within a second on a machine that has time; this bound is for one that has not.
DEADLINE_S = 5.0
GOOD = b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}'


@pytest.fixture(params=["file", "redis"])
def config(request: pytest.FixtureRequest, site: Site) -> Config:
    """A configuration with the accounts in a file or in Redis, and alice among them."""
    if request.param == "redis":
        site.content["accounts"] = "redis"
        _, site.key = add_to(open_store(load(site.write())), "alice")
    return load(site.write())


@pytest.fixture
def store(config: Config) -> AccountStore:
    return open_store(config)


def add_to(store: AccountStore, name: str, **options: Any) -> tuple[int, str]:
    tiers = {"default": Tier(requests_per_minute=60_000)}
    return changes.add(store, name, tier="default", tiers=tiers, **options)


async def status(gateway: Running, key: str) -> int:
    async with gateway.chat(key=key) as response:
        await response.read()
        return int(response.status)


async def test_a_suspension_and_its_end_are_taken_over(
    start: Start, upstream: FakeUpstream, store: AccountStore, site: Site
) -> None:
    _, key = add_to(store, "bob")
    gateway = await start()
    upstream.answers_whole(GOOD)
    assert await status(gateway, key) == 200

    changes.suspend(store, "bob", "the-secret-reason")
    await eventually(lambda: is_answered(gateway, key, 403))
    assert await status(gateway, site.key) == 200
    async with gateway.chat(key=key) as response:
        assert "the-secret-reason" not in await response.text()

    changes.resume(store, "bob")
    await eventually(lambda: is_answered(gateway, key, 200))


async def is_answered(gateway: Running, key: str, expected: int) -> bool:
    return await status(gateway, key) == expected


async def test_a_look_that_fails_is_not_the_last_one(
    start: Start, upstream: FakeUpstream, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await start()
    upstream.answers_whole(GOOD)

    def fails(watched: WatchedFile) -> None:
        raise ValueError("the-secret-detail")

    with monkeypatch.context() as patched:
        patched.setattr(WatchedFile, "_stamp", fails)
        await eventually(lambda: is_stale(gateway, 1))
    await eventually(lambda: is_stale(gateway, 0))
    key = site.add("bob")
    await eventually(lambda: is_answered(gateway, key, 200))


async def is_stale(gateway: Running, expected: float) -> bool:
    return await gateway.metric("azeotrope_accounts_stale") == expected


async def test_a_new_and_a_rotated_key_are_taken_over(
    start: Start, upstream: FakeUpstream, store: AccountStore, site: Site
) -> None:
    gateway = await start()
    upstream.answers_whole(GOOD)
    _, first = add_to(store, "bob")
    await eventually(lambda: is_answered(gateway, first, 200))

    second = changes.rotate(store, "bob", timedelta(hours=1))
    await eventually(lambda: is_answered(gateway, second, 200))
    assert await status(gateway, first) == 200

    third = changes.rotate(store, "bob", timedelta())
    await eventually(lambda: is_answered(gateway, first, 401))
    assert [await status(gateway, key) for key in (second, third)] == [401, 200]


async def test_a_stream_that_runs_goes_on_when_its_account_is_suspended(
    start: Start, upstream: FakeUpstream, store: AccountStore
) -> None:
    _, key = add_to(store, "bob")
    gateway = await start()
    go_on = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.begin_stream()
        await conversation.chunk(b'data: {"choices":[{}]}\n\n')
        await go_on.wait()
        await conversation.chunk(b"data: [DONE]\n\n")
        await conversation.end_stream()

    upstream.answers(script)
    async with gateway.chat(question(stream=True), key=key) as response:
        await response.content.readuntil(b"\n\n")
        changes.suspend(store, "bob", None)
        upstream.answers_whole(GOOD)  # calls after this one
        await eventually(lambda: is_answered(gateway, key, 403))
        go_on.set()
        assert await response.content.read() == b"data: [DONE]\n\n"


async def test_limits_of_its_own_hold_and_are_told(
    start: Start, upstream: FakeUpstream, store: AccountStore
) -> None:
    _, key = add_to(store, "bob", limits=Overrides(requests_per_minute=2, burst=2))
    gateway = await start()
    upstream.answers_whole(GOOD)

    async with gateway.chat(key=key) as response:
        assert response.headers["x-ratelimit-limit-requests"] == "2"
        await response.read()
    assert [await status(gateway, key) for _ in range(2)] == [200, 429]


async def test_keys_are_in_no_log_and_no_metric(
    start: Start,
    upstream: FakeUpstream,
    store: AccountStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    _, first = add_to(store, "bob")
    gateway = await start()
    upstream.answers_whole(GOOD)
    second = changes.rotate(store, "bob", timedelta())
    await eventually(lambda: is_answered(gateway, second, 200))

    places = [JsonFormatter().format(record) for record in caplog.records]
    places.append(await gateway.metrics())

    hashes = [key.hash for record in store.read() for key in record.keys]
    for secret in (first, second, *hashes, store.read().header.pepper):
        assert all(secret not in place for place in places)


async def test_a_gateway_does_not_start_without_its_redis(start: Start, site: Site) -> None:
    site.content["accounts"] = "redis"
    with pytest.raises(AccountsError, match="azeotrope accounts add"):
        await start()
    with pytest.raises(AccountsError, match="the accounts in Redis: ConnectionError"):
        await start(redis={"url": "redis://127.0.0.1:1/0"})
