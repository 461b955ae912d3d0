"""The circuit breaker, with a clock of its own."""

from __future__ import annotations

import pytest

from proxy.config import Breaker as Settings
from proxy.upstream.breaker import Breaker


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(Settings(failures=3, open_s=5), clock)


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        breaker.began()
        breaker.failed()


def test_failures_in_a_row_open_it(breaker: Breaker) -> None:
    fail(breaker, 2)
    breaker.succeeded()
    fail(breaker, 2)
    assert breaker.lets_through
    assert not breaker.is_open

    fail(breaker, 1)
    assert breaker.is_open
    assert not breaker.lets_through
    assert breaker.wait_s == 5


def test_after_a_while_one_call_may_try(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 5
    assert breaker.lets_through

    assert breaker.began()
    assert not breaker.lets_through


def test_a_good_trial_closes_it(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 5
    breaker.began()
    breaker.succeeded()

    assert not breaker.is_open
    fail(breaker, 2)
    assert breaker.lets_through


def test_a_bad_trial_opens_it_for_another_while(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 6
    fail(breaker, 1)

    assert breaker.wait_s == 5
    assert not breaker.lets_through


def test_a_trial_that_tells_nothing_lets_another_one_try(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 5
    breaker.began()
    breaker.given_up()

    assert breaker.is_open
    assert breaker.lets_through
