"""The limiter: admit.lua on a real Valkey, the local one, and the change between them."""

from __future__ import annotations

import asyncio
import itertools
import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from fractions import Fraction
from importlib import resources

import pytest
import redis
from guarding import Limiter, account
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.config import Tier
from proxy.guard.embedded import EmbeddedValkey
from proxy.guard.gcra import LocalLimiter, Rate, call_number
from proxy.guard.keyspace import CALLS_TTL_S, EPOCH_2026, LEASE_MS, account_keys

LUA = resources.files("proxy.guard").joinpath("admit.lua").read_text()
# The script's own clock, replaced by one that the test turns: seconds and microseconds.
DRIVEN = LUA.replace("redis.call('TIME')", "{ARGV[10], ARGV[11]}")
START = EPOCH_2026 + 25_000_000


def arguments(
    interval_us: int, burst: int, concurrent: int = 0, above: int = 0, ahead_us: int = 0
) -> list[int | str]:
    """What admit.lua takes, in its order."""
    return [interval_us, burst, concurrent, EPOCH_2026, CALLS_TTL_S, LEASE_MS, above, ahead_us, "-"]


class Bucket:
    """The textbook's leaky bucket in exact arithmetic: another shape of the same law."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.level = Fraction(0)  # requests in the bucket, which drains by one an interval
        self.seen = 0

    def decide(self, now: int) -> tuple[bool, int, int, int]:
        interval, burst = self.rate.interval_us, self.rate.burst
        self.level = max(Fraction(0), self.level - Fraction(now - self.seen, interval))
        self.seen = now
        if self.level + 1 > burst:
            wait = (self.level + 1 - burst) * interval
            return False, 0, int(self.level * interval), int(wait)
        self.level += 1
        return True, int(burst - self.level), int(self.level * interval), 0


rates = st.builds(Rate, interval_us=st.integers(1, 60_000_000), burst=st.integers(1, 50))
gaps = st.lists(
    st.one_of(st.just(0), st.integers(0, 2_000_000), st.integers(0, 10**9)), max_size=60
)


@given(rates, gaps)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_the_script_decides_as_the_exact_model_does(
    clean_valkey: str, rate: Rate, gaps: list[int]
) -> None:
    with redis.Redis.from_url(clean_valkey) as client:
        client.flushall()
        # The model's clock is the test's, the key's life time Valkey's: keys must not
        # expire by real time between two driven moments.
        script = client.register_script(DRIVEN.replace(", 'PX', life_ms", ""))
        bucket, now = Bucket(rate), 0
        for gap in gaps:
            now += gap
            at = START * 1_000_000 + now
            values = arguments(rate.interval_us, rate.burst)
            reply = script(keys=account_keys(1), args=[*values, at // 1_000_000, at % 1_000_000])
            admitted, left, reset, retry, _ = reply
            assert (bool(admitted), left, reset, retry) == bucket.decide(now)


@given(rates, gaps)
def test_the_local_limiter_decides_as_the_exact_model_does(rate: Rate, gaps: list[int]) -> None:
    now = 0
    limiter = LocalLimiter(lambda: now / 1_000_000, lambda: START)
    bucket = Bucket(rate)
    for gap in gaps:
        now += gap
        found = limiter.decide(1, rate)
        seen = int(now / 1_000_000 * 1_000_000)  # the clock is a float
        expected = bucket.decide(seen)
        assert (found.admitted, found.remaining, found.reset_us, found.retry_us) == expected


def test_the_limits_key_expires_when_the_whole_burst_is_back(clean_valkey: str) -> None:
    with redis.Redis.from_url(clean_valkey, decode_responses=True) as client:
        keys = limit, calls, _ = account_keys(7)
        script = client.register_script(LUA)
        _, _, reset_us, _, _ = script(keys=keys, args=arguments(5_000_000, 10))
        assert 0 < client.pttl(limit) <= -(-reset_us // 1000) == 5000
        assert 0 < client.ttl(calls) <= CALLS_TTL_S


def test_a_refused_request_changes_nothing(clean_valkey: str) -> None:
    with redis.Redis.from_url(clean_valkey) as client:
        keys = account_keys(7)
        script = client.register_script(LUA)
        script(keys=keys, args=arguments(60_000_000, 1))
        before = client.mget(keys)

        assert script(keys=keys, args=arguments(60_000_000, 1))[0] == 0
        assert client.mget(keys) == before


def test_a_clock_set_back_does_not_lock_an_account_out(clean_valkey: str) -> None:
    with redis.Redis.from_url(clean_valkey) as client:
        script = client.register_script(DRIVEN)
        values = arguments(1_000_000, 5)
        later, earlier = START + 86_400, START
        assert script(keys=account_keys(7), args=[*values, later, 0])[0] == 1

        _, _, _, retry_us, _ = script(keys=account_keys(7), args=[*values, earlier, 0])

        assert retry_us <= 1_000_000


def test_what_a_process_knows_of_an_account_counts_where_the_store_has_lost_it(
    clean_valkey: str,
) -> None:
    with redis.Redis.from_url(clean_valkey) as client:
        script = client.register_script(DRIVEN)

        def ask(ahead_us: int) -> list[int]:
            values = arguments(1_000_000, 5, ahead_us=ahead_us)
            return list(script(keys=account_keys(7), args=[*values, START, 0]))[:4]

        assert ask(4_000_000) == [1, 0, 5_000_000, 0]
        assert ask(1_000_000) == [0, 0, 5_000_000, 1_000_000]  # what the store knows is more
        client.flushall()
        assert ask(9_000_000) == [0, 0, 5_000_000, 1_000_000]  # and never more than the burst


def test_sequences_follow_the_clock_and_never_repeat(clean_valkey: str) -> None:
    with redis.Redis.from_url(clean_valkey) as client:
        script = client.register_script(DRIVEN)

        def sequence(ms: int, above: int = 0) -> int:
            at = [EPOCH_2026 + ms // 1000, ms % 1000 * 1000]
            client.delete(account_keys(7)[0])  # the limit is not what is looked at here
            values = arguments(1, 1000, above=above)
            return int(script(keys=account_keys(7), args=[*values, *at])[4])

        assert sequence(4_999) == 5_000  # the clock, rounded up to even
        assert sequence(5_000) == 5_002  # twice in one millisecond
        assert sequence(4_000) == 5_004  # a clock set back
        assert sequence(9_000) == 9_000
        assert sequence(9_000, above=20_001) == 20_002  # numbered elsewhere meanwhile
        # As large as sequences get: Lua must not print them in exponential form.
        assert sequence(2**40 - 10) == 2**40 - 10
        assert sequence(0) == 2**40 - 8


def test_call_numbers_hold_account_and_sequence() -> None:
    assert call_number(2**24 - 1, 2**40 - 1) == 2**64 - 1
    assert call_number(3, 7) == 3 * 2**40 + 7
    with pytest.raises(OverflowError):
        call_number(1, 2**40)


@pytest.mark.parametrize(
    ("per_minute", "burst", "rate"),
    [(60, None, Rate(1_000_000, 60)), (7, 3, Rate(8_571_429, 3)), (60_000_000, 1, Rate(1, 1))],
)
def test_a_tiers_rate_is_never_exceeded_by_rounding(
    per_minute: int, burst: int | None, rate: Rate
) -> None:
    assert Rate.of(Tier(requests_per_minute=per_minute, burst=burst)) == rate


@pytest.fixture
async def limiter(clean_valkey: str) -> AsyncIterator[Limiter]:
    limiter = Limiter(clean_valkey)
    await limiter.store.start()
    yield limiter
    await limiter.store.close()


@pytest.fixture
async def mortal() -> AsyncIterator[tuple[EmbeddedValkey, Limiter]]:
    """A Valkey that the test may freeze or kill, and a limiter on it with a short deadline."""
    server = EmbeddedValkey()
    limiter = Limiter(server.url, deadline_s=0.5)
    await limiter.store.start()
    yield server, limiter
    await limiter.store.close()
    server.close()


async def test_many_at_once_are_admitted_exactly_to_the_burst(limiter: Limiter) -> None:
    who = account(per_minute=40, burst=40)

    verdicts = await asyncio.gather(*(limiter.guard.admit(who) for _ in range(200)))

    assert sum(verdict.admitted for verdict in verdicts) == 40
    assert {verdict.source for verdict in verdicts} == {"store"}


async def test_two_gateways_share_one_limit(limiter: Limiter, clean_valkey: str) -> None:
    other = Limiter(clean_valkey)
    await other.store.start()
    who = account(per_minute=10)

    verdicts = await asyncio.gather(
        *(guard.admit(who) for guard in (limiter.guard, other.guard) for _ in range(20))
    )

    assert sum(verdict.admitted for verdict in verdicts) == 10
    await other.store.close()


async def test_call_numbers_are_unique_and_rise_under_concurrent_calls(limiter: Limiter) -> None:
    rounds = []
    for _ in range(5):
        verdicts = await asyncio.gather(*(limiter.guard.admit(account(5)) for _ in range(100)))
        rounds.append([verdict.call for verdict in verdicts])

    calls = list(itertools.chain.from_iterable(rounds))
    assert len(set(calls)) == 500
    assert {call >> 40 for call in calls} == {5}
    assert all(max(a) < min(b) for a, b in itertools.pairwise(rounds))


async def test_accounts_do_not_share_limits(limiter: Limiter) -> None:
    assert await limiter.admit(account(1, per_minute=1)) == (True, "store")
    assert await limiter.admit(account(1, per_minute=1)) == (False, "store")
    assert await limiter.admit(account(2, per_minute=1)) == (True, "store")


async def test_a_flushed_script_is_sent_again(limiter: Limiter, clean_valkey: str) -> None:
    with redis.Redis.from_url(clean_valkey) as client:
        client.script_flush()

    assert await limiter.admit(account()) == (True, "store")


async def test_a_killed_store_is_replaced_at_once_with_the_same_limits(
    mortal: tuple[EmbeddedValkey, Limiter],
) -> None:
    server, limiter = mortal
    who = account(per_minute=3)
    first = [await limiter.guard.admit(who) for _ in range(2)]
    os.kill(server.pid, signal.SIGKILL)
    server._process.wait()

    # One request is left of the burst: the local limiter has followed the store's.
    later = [await limiter.guard.admit(who) for _ in range(3)]

    assert [verdict.source for verdict in first + later] == ["store"] * 2 + ["local"] * 3
    assert [verdict.admitted for verdict in later] == [True, False, False]
    assert first[-1].call < later[0].call
    assert limiter.metrics.store_up._value.get() == 0
    assert limiter.failures() >= 1


async def test_a_frozen_store_costs_one_deadline_and_comes_back(
    mortal: tuple[EmbeddedValkey, Limiter],
) -> None:
    server, limiter = mortal
    before = await limiter.guard.admit(account())
    os.kill(server.pid, signal.SIGSTOP)
    during = [await limiter.guard.admit(account()) for _ in range(50)]
    failures = limiter.failures()
    os.kill(server.pid, signal.SIGCONT)
    await limiter.until_back()
    after = await limiter.guard.admit(account())

    assert {verdict.source for verdict in during} == {"local"}
    assert failures == 1  # of 50 requests: the others were not put to it
    assert after.source == "store"
    assert limiter.metrics.store_up._value.get() == 1
    calls = [verdict.call for verdict in [before, *during, after]]
    assert calls == sorted(set(calls))


async def test_a_store_that_is_away_at_the_start_is_found_later() -> None:
    limiter = Limiter("unix:///nonexistent/valkey.sock")
    await limiter.store.start()
    assert not limiter.store.up
    assert await limiter.admit(account()) == (True, "local")
    await limiter.store.close()


async def test_a_caller_that_gives_up_leaves_no_reply_for_the_next(limiter: Limiter) -> None:
    who = account(9)
    for _ in range(20):
        impatient = asyncio.create_task(limiter.guard.admit(who))
        await asyncio.sleep(0)
        impatient.cancel()
        verdict = await limiter.guard.admit(account(1))
        assert verdict.call >> 40 == 1


def test_numbers_made_without_the_store_are_odd_and_no_other_process_makes_them() -> None:
    wall = EPOCH_2026 + 5.0
    # Two workers, and two more that drain after a reload.
    processes = [LocalLimiter(lambda: 0.0, lambda: wall, share=2, index=i) for i in range(4)]

    made = [process.decide(1, Rate(1, 100)).sequence for _ in range(20) for process in processes]

    assert len(set(made)) == 80
    assert all(sequence % 2 == 1 and sequence >= 5000 for sequence in made)


def test_the_embedded_server_ends_with_the_process_that_started_it() -> None:
    starts_and_dies = (
        "import os; from proxy.guard.embedded import EmbeddedValkey;"
        "print(EmbeddedValkey().pid, flush=True); os.kill(os.getpid(), 9)"
    )
    child = subprocess.run(
        [sys.executable, "-c", starts_and_dies], check=False, capture_output=True, text=True
    )

    assert child.returncode == -signal.SIGKILL
    assert _ended(int(child.stdout), within_s=10.0)


def _ended(pid: int, within_s: float) -> bool:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    with os.fdopen(descriptor) as process:
        return bool(select.select([process], [], [], within_s)[0])


def test_the_embedded_server_is_private(valkey: EmbeddedValkey) -> None:
    path = valkey.url.removeprefix("unix://")
    assert os.stat(os.path.dirname(path)).st_mode & 0o077 == 0
    with redis.Redis.from_url(valkey.url, decode_responses=True) as client:
        assert client.config_get("port") == {"port": "0"}
