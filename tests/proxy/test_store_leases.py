"""Leases on concurrent calls: taken, given back, renewed, expired; with and without a store."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from importlib import resources

import pytest
import redis
from guarding import Limiter, account, running
from own_server import OwnServer
from waiting import until

from proxy.guard import leases
from proxy.guard.keyspace import EPOCH_2026, LEASE_MS, leases_key
from proxy.guard.wire import StoreAwayError

TWO = account(concurrent=2)


@pytest.fixture
async def limiter(clean_valkey: str) -> AsyncIterator[Limiter]:
    async with running(clean_valkey) as limiter:
        yield limiter


@pytest.fixture
def server() -> Iterator[OwnServer]:
    own = OwnServer()
    yield own
    own.close()


@pytest.fixture
def client(clean_valkey: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(clean_valkey, decode_responses=True) as client:
        yield client


def now_ms() -> int:
    return int((time.time() - EPOCH_2026) * 1000)


async def test_as_many_calls_run_at_once_as_the_tier_says(
    limiter: Limiter, client: redis.Redis
) -> None:
    verdicts = await asyncio.gather(*(limiter.guard.admit(TWO) for _ in range(10)))

    admitted = [verdict for verdict in verdicts if verdict.admitted]
    refused = [verdict for verdict in verdicts if not verdict.admitted]
    assert len(admitted) == client.zcard(leases_key(1)) == 2
    assert {(verdict.refused_by, verdict.retry_after_s) for verdict in refused} == {
        ("concurrency", 1.0)
    }
    assert {verdict.call for verdict in refused} == {0}

    limiter.guard.release(admitted[0])
    assert (await limiter.guard.admit(TWO)).admitted


async def test_a_call_refused_for_concurrency_takes_nothing_of_the_rate(limiter: Limiter) -> None:
    who = account(per_minute=3, concurrent=1)
    first = await limiter.guard.admit(who)
    refused = [await limiter.guard.admit(who) for _ in range(5)]

    assert {verdict.remaining for verdict in [first, *refused]} == {2}
    limiter.guard.release(first)
    assert (await limiter.guard.admit(who)).admitted


async def test_a_lease_is_given_back_once_however_often_it_is_released(
    limiter: Limiter, client: redis.Redis
) -> None:
    one, other = [await limiter.guard.admit(TWO) for _ in range(2)]
    for _ in range(3):
        limiter.guard.release(one)
    third = await limiter.guard.admit(TWO)

    assert third.admitted
    assert not (await limiter.guard.admit(TWO)).admitted
    for verdict in (one, other, third):
        limiter.guard.release(verdict)
    await until(lambda: client.zcard(leases_key(1)) == 0)


async def test_a_client_that_goes_during_admission_leaves_no_lease(
    limiter: Limiter, client: redis.Redis
) -> None:
    for turns in range(6):
        admitting = asyncio.create_task(limiter.guard.admit(TWO))
        for _ in range(turns):
            await asyncio.sleep(0)
        admitting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            limiter.guard.release(await admitting)
    assert [(await limiter.guard.admit(TWO)).admitted for _ in range(3)] == [True, True, False]


async def test_two_gateways_share_the_leases_of_an_account(
    limiter: Limiter, clean_valkey: str
) -> None:
    async with running(clean_valkey) as other:
        verdicts = [await guard.admit(TWO) for guard in (limiter.guard, other.guard) * 2]
        assert [verdict.admitted for verdict in verdicts] == [True, True, False, False]
        other.guard.release(verdicts[1])
        await until(lambda: not other.guard._leases._held)
        await other.store._wire.ask(b"*1\r\n$4\r\nPING\r\n")
        assert (await limiter.guard.admit(TWO)).admitted


async def test_leases_of_a_crashed_gateway_expire(limiter: Limiter, client: redis.Redis) -> None:
    client.zadd(leases_key(1), {"crashed-0": now_ms() - 1, "crashed-1": now_ms() + 30_000})

    assert [(await limiter.guard.admit(TWO)).admitted for _ in range(2)] == [True, False]
    assert client.zscore(leases_key(1), "crashed-0") is None
    assert 0 < client.pttl(leases_key(1)) <= LEASE_MS  # nothing stays of an idle account


async def test_leases_from_before_the_clock_was_set_back_lock_nobody_out(
    limiter: Limiter, client: redis.Redis
) -> None:
    day = 86_400_000
    client.zadd(leases_key(1), {f"ahead-{n}": now_ms() + day for n in range(5)})

    assert [(await limiter.guard.admit(TWO)).admitted for _ in range(3)] == [True, True, False]


async def test_a_running_call_keeps_its_lease_and_gets_it_back_after_a_flush(
    limiter: Limiter, client: redis.Redis
) -> None:
    many = account(concurrent=1000)
    verdicts = await asyncio.gather(*(limiter.guard.admit(many) for _ in range(600)))
    client.zadd(leases_key(1), {"stale": now_ms() + 1})
    client.flushall()

    await limiter.guard._leases.catch_up()

    scores = [score for _, score in client.zrange(leases_key(1), 0, -1, withscores=True)]
    assert len(scores) == 600
    assert all(0 < score - now_ms() <= LEASE_MS for score in scores)
    for verdict in verdicts:
        limiter.guard.release(verdict)
    await until(lambda: client.zcard(leases_key(1)) == 0)


def test_renewing_sets_the_expiry_by_the_servers_clock(client: redis.Redis) -> None:
    script = client.register_script(
        resources.files("proxy.guard").joinpath("renew.lua").read_text()
    )

    assert script(keys=["k"], args=[EPOCH_2026, 5000, "a", "b"]) == 2
    assert {member for member, _ in client.zrange("k", 0, -1, withscores=True)} == {"a", "b"}
    assert abs(client.zscore("k", "a") - now_ms() - 5000) < 5000


async def test_concurrency_is_limited_without_the_store_too_and_counts_calls_from_before(
    server: OwnServer,
) -> None:
    async with running(server.url, deadline_s=0.5) as limiter:
        before = await limiter.guard.admit(TWO)
        server.kill()
        during = [await limiter.guard.admit(TWO) for _ in range(3)]

        assert [verdict.admitted for verdict in during] == [True, False, False]
        assert during[1].refused_by == "concurrency"
        limiter.guard.release(before)
        assert (await limiter.guard.admit(TWO)).admitted


async def test_a_store_that_comes_back_learns_what_runs_and_what_has_ended(
    server: OwnServer,
) -> None:
    async with running(server.url, deadline_s=0.5) as limiter:
        five = account(concurrent=5)
        before = [await limiter.guard.admit(five) for _ in range(3)]
        server.freeze()
        during = [await limiter.guard.admit(five) for _ in range(4)]
        assert [verdict.admitted for verdict in during] == [True, True, False, False]
        for verdict in (before[0], during[0]):
            limiter.guard.release(verdict)
        server.thaw()
        await limiter.until_back()

        with server.client() as client:
            kept = {verdict.lease.token.decode() for verdict in (*before[1:], during[1])}
            await until(lambda: set(client.zrange(leases_key(1), 0, -1)) == kept)
            for verdict in (*before, *during):
                limiter.guard.release(verdict)
            await until(lambda: client.zcard(leases_key(1)) == 0)


async def test_what_ends_while_the_gateway_shuts_down_is_released(clean_valkey: str) -> None:
    async with running(clean_valkey) as limiter:
        verdicts = [await limiter.guard.admit(TWO) for _ in range(2)]
        for verdict in verdicts:
            limiter.guard.release(verdict)
    with redis.Redis.from_url(clean_valkey) as client:
        assert client.zcard(leases_key(1)) == 0


async def test_a_spoiled_key_keeps_no_other_account_from_its_leases(
    limiter: Limiter, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "_COMMANDS_AT_ONCE", 1)
    for number in (1, 2):
        await limiter.guard.admit(account(number, concurrent=1))
    client.flushall()
    client.set(leases_key(1), "of another type")

    with pytest.raises(StoreAwayError):
        await limiter.guard._leases.catch_up()

    assert client.zcard(leases_key(2)) == 1
