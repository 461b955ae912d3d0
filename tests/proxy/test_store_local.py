"""The local limiter: its share of the limits, its memory, and refusals it remembers."""

from __future__ import annotations

import asyncio

import pytest
import redis
from guarding import Limiter, account, running
from hypothesis import given
from hypothesis import strategies as st

from proxy.guard.gcra import Decision, LocalLimiter, Rate
from proxy.guard.keyspace import EPOCH_2026, account_keys

HOUR_US = 3_600_000_000


class Clocks:
    """The two clocks of a process, turned by hand; in microseconds since the start."""

    def __init__(self) -> None:
        self.monotonic_us = 0
        self.wall_us = 25 * 24 * HOUR_US

    def limiter(self, **options: int) -> LocalLimiter:
        return LocalLimiter(
            lambda: self.monotonic_us / 1e6, lambda: EPOCH_2026 + self.wall_us / 1e6, **options
        )

    def pass_us(self, gap: int) -> None:
        self.monotonic_us += gap
        self.wall_us += gap


@given(
    st.builds(Rate, st.integers(1, 10**6), st.integers(1, 50), st.integers(0, 9)),
    st.integers(1, 8),
    st.lists(st.integers(0, 10**6), max_size=40),
)
def test_the_shares_of_all_processes_never_admit_more_than_the_whole(
    rate: Rate, parts: int, gaps: list[int]
) -> None:
    clocks = Clocks()
    shares = [clocks.limiter(share=parts, index=index) for index in range(parts)]
    admitted = 0
    for gap in gaps:
        clocks.pass_us(gap)
        admitted += sum(share.decide(1, rate).admitted for share in shares)

    bound = max(parts, rate.burst)  # each process admits at least one
    assert admitted <= bound + sum(gaps) // rate.interval_us + parts


def test_a_share_of_concurrent_calls_is_at_least_one() -> None:
    limiter = Clocks().limiter(share=4)
    rate = Rate(1, 100, concurrent=9)

    assert [limiter.decide(1, rate, running=n).outcome for n in (0, 1, 2)] == [1, 1, -1]
    assert limiter.decide(1, Rate(1, 100, concurrent=2), running=0).admitted


def test_an_account_at_its_limit_gets_no_fresh_burst_from_any_share() -> None:
    clocks = Clocks()
    limiter = clocks.limiter(share=2)
    rate = Rate(1_000_000, 10)
    limiter.follow(1, rate, Decision(1, 0, 10_000_000, 0, 2), asked_us=0)

    assert not limiter.decide(1, rate).admitted
    clocks.pass_us(2_000_000)
    assert limiter.decide(1, rate).admitted


def test_accounts_whose_burst_is_back_are_forgotten() -> None:
    clocks = Clocks()
    limiter = clocks.limiter()
    for number in range(50_000):
        limiter.decide(number, Rate(1_000_000, 1))
        clocks.pass_us(10_000)

    # A hundred are within their second; the sweep looks at two for each decision.
    assert len(limiter) < 500


def test_no_number_is_made_twice_after_accounts_were_forgotten_and_clocks_set_back() -> None:
    clocks = Clocks()
    limiter = clocks.limiter()
    seen: set[tuple[int, int]] = set()
    for step in range(3000):
        number = step % 7
        made = (number, limiter.decide(number, Rate(1, 1000)).sequence)
        assert made not in seen
        assert made[1] > max((last for who, last in seen if who == number), default=0)
        seen.add(made)
        clocks.pass_us(300)
        if step % 500 == 499:
            clocks.wall_us -= HOUR_US
    clocks.pass_us(2 * HOUR_US)
    for number in range(100, 120):
        limiter.decide(number, Rate(1, 1000))
    assert limiter.known(3).sequence >= max(last for who, last in seen if who == 3)


def test_a_number_of_the_store_that_does_not_rise_is_made_anew() -> None:
    limiter, rate = Clocks().limiter(), Rate(1, 10)
    far = 2**39  # the store's clock may be ahead of ours
    numbers = [
        limiter.follow(1, rate, Decision(1, 9, 1, 0, number), 0).sequence
        for number in (far, far - 2, far, far + 600)
    ]

    assert numbers == [far, far + 1, far + 129, far + 600]


def test_a_remembered_refusal_counts_down_and_ends_when_the_store_would_admit() -> None:
    clocks = Clocks()
    limiter, rate = clocks.limiter(), Rate(1_000_000, 5)
    asked = limiter.now_us()
    clocks.pass_us(2_000)  # the round trip
    limiter.follow(1, rate, Decision(0, 0, 4_600_000, 600_000, 0), asked)

    assert limiter.denied(1, rate) == Decision(0, 0, 4_598_000, 598_000, 0)
    clocks.pass_us(597_999)
    assert limiter.denied(1, rate) == Decision(0, 0, 4_000_001, 1, 0)
    clocks.pass_us(1)
    assert limiter.denied(1, rate) is None


def test_a_remembered_refusal_is_of_one_account_and_one_rate() -> None:
    limiter, rate = Clocks().limiter(), Rate(1_000_000, 5)
    limiter.follow(1, rate, Decision(0, 0, 4_600_000, 600_000, 0), 0)

    assert limiter.denied(2, rate) is None
    assert limiter.denied(1, Rate(1_000_000, 6)) is None  # the tier was changed
    assert limiter.denied(1, rate) is not None


@pytest.fixture
async def limiter(clean_valkey: str):
    async with running(clean_valkey) as limiter:
        yield limiter


async def test_a_flood_of_refused_requests_costs_the_store_one_question(
    limiter: Limiter, clean_valkey: str
) -> None:
    who = account(per_minute=1)
    assert await limiter.admit(who) == (True, "store")
    assert await limiter.admit(who) == (False, "store")
    with redis.Redis.from_url(clean_valkey) as client:
        client.config_resetstat()
        verdicts = [await limiter.guard.admit(who) for _ in range(500)]
        stats = client.info("commandstats")

    assert "cmdstat_evalsha" not in stats
    assert {verdict.source for verdict in verdicts} == {"remembered"}
    waits = [verdict.retry_after_s for verdict in verdicts]
    assert waits == sorted(waits, reverse=True)
    assert all(50 < wait < 60 for wait in waits)


async def test_a_remembered_refusal_says_what_the_store_would_say(
    limiter: Limiter, clean_valkey: str
) -> None:
    who = account(per_minute=60, burst=2)
    for _ in range(3):
        await limiter.guard.admit(who)
    remembered = await limiter.guard.admit(who)
    limiter.local._seen[1].denied_by = None  # forget it: the store is asked
    asked = await limiter.guard.admit(who)

    assert (remembered.source, asked.source) == ("remembered", "store")
    assert remembered.admitted is asked.admitted is False
    assert abs(remembered.retry_after_s - asked.retry_after_s) < 0.5
    assert abs(remembered.reset_s - asked.reset_s) < 0.5


async def test_the_store_is_asked_again_at_the_end_of_a_refusal_and_admits(
    limiter: Limiter,
) -> None:
    who = account(per_minute=600, burst=1)  # an interval of 100 ms
    sources = []
    async with asyncio.timeout(30):
        while len([admitted for admitted, _ in sources if admitted]) < 4:
            sources.append(await limiter.admit(who))
            await asyncio.sleep(0.001)

    # Each admission is the store's; between two there is at least one refusal of its own.
    assert {source for admitted, source in sources if admitted} == {"store"}
    assert sources.count((False, "store")) <= 8
    assert sources.count((False, "remembered")) >= 3


async def test_a_key_lost_by_the_store_ends_no_refusal_early_and_none_late(
    limiter: Limiter, clean_valkey: str
) -> None:
    who = account(per_minute=600, burst=1)
    await limiter.guard.admit(who)
    refused = await limiter.guard.admit(who)
    with redis.Redis.from_url(clean_valkey) as client:
        client.delete(*account_keys(1))

    assert refused.retry_after_s <= 0.1
    async with asyncio.timeout(30):
        while not (await limiter.guard.admit(who)).admitted:  # noqa: ASYNC110 (time must pass)
            await asyncio.sleep(0.005)
