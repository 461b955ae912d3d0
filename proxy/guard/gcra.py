"""The same decision as admit.lua, in this process: for the time that Redis is away.

Also the call numbers: account (24 bits) and sequence (40 bits), where a sequence is at
least the milliseconds since 2026, which 40 bits hold until 2060. Redis makes even
ones, processes odd ones, so that a process that falls back while others do not cannot
make a number again; of the processes of one gateway each has odd ones of its own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from proxy.config import Tier
from proxy.guard.keyspace import EPOCH_2026

MINUTE_US = 60_000_000
SEQUENCE_BITS = 40
# Living processes of one gateway that number calls apart: workers, twice during a reload.
# More would make numbers run ahead of the clock: one process's are twice that far apart.
_SLOTS = 64
# Accounts looked at for each decision, to drop what is no longer needed of them.
_SWEPT = 2


class Rate(NamedTuple):
    """A tier's limits in the limiter's units: microseconds between requests, and burst.

    `concurrent` calls may run at once, 0 without limit.
    """

    interval_us: int
    burst: int
    concurrent: int = 0

    @classmethod
    def of(cls, tier: Tier) -> Rate:
        """Round up to whole microseconds: never more than the tier's rate."""
        return per_minute(tier.requests_per_minute, tier.burst, tier.concurrent_calls)

    @property
    def tolerance_us(self) -> int:
        """How far the theoretical arrival time may lie ahead."""
        return self.interval_us * self.burst

    def arrive(self, arrival_us: int, now_us: int) -> tuple[int, int]:
        """Return the arrival time after a request at `now_us`, and how much too early that is.

        The request is admitted, and the time to be kept, if it is not early: 0 or less.
        """
        next_us = min(max(arrival_us, now_us), now_us + self.tolerance_us) + self.interval_us
        return next_us, next_us - self.tolerance_us - now_us

    def share(self, parts: int) -> Rate:
        """Return the part of one of several processes; at least one request and one call."""
        return self if parts == 1 else _share(self, parts)


@lru_cache(maxsize=4096)
def per_minute(requests: int, burst: int | None = None, concurrent: int | None = None) -> Rate:
    """Return the rate of so many requests a minute, by default all at once or spread."""
    return Rate(-(-MINUTE_US // requests), burst or requests, concurrent or 0)


@lru_cache(maxsize=4096)
def _share(rate: Rate, parts: int) -> Rate:
    concurrent = max(1, rate.concurrent // parts) if rate.concurrent else 0
    return Rate(rate.interval_us * parts, max(1, rate.burst // parts), concurrent)


class Decision(NamedTuple):
    """What admit.lua returns: times in microseconds, sequence 0 for a refusal.

    `outcome` is 1 for an admitted request, 0 for one over the rate, -1 for one over the
    calls that may run at once.
    """

    outcome: int
    remaining: int
    reset_us: int
    retry_us: int
    sequence: int

    @property
    def admitted(self) -> bool:
        """Whether the request may go on."""
        return self.outcome == 1


class Known(NamedTuple):
    """What this process knows of an account: the store must not fall behind it.

    Highest sequence, and how far the arrival time lies ahead, in microseconds.
    """

    sequence: int
    ahead_us: int


def call_number(account: int, sequence: int) -> int:
    """Return the 64-bit number of a call; raises OverflowError beyond 40 bits of sequence."""
    if sequence >> SEQUENCE_BITS:
        raise OverflowError("the sequence of call numbers is used up")
    return account << SEQUENCE_BITS | sequence


@dataclass(slots=True)
class _Seen:
    """What is known of one account."""

    arrival: int = 0  # theoretical arrival time, µs of the monotonic clock
    last: int = 0  # highest sequence
    denied_until: int = 0  # by the store, µs of the monotonic clock
    denied_by: Rate | None = None


class LocalLimiter:
    """GCRA and call numbers for all accounts, in memory.

    It also follows what the store decides, so that an account which is at its limit
    when the store goes away does not get a fresh burst, and one that the store refuses
    need not ask it again before its time. `monotonic` and `wall` are clocks in seconds.
    The limits are divided by `share`, the number of processes that serve clients; `index`,
    below _SLOTS, tells all apart that live, those too that still drain. Accounts whose
    burst is all there are forgotten.
    """

    def __init__(
        self,
        monotonic: Callable[[], float],
        wall: Callable[[], float],
        *,
        share: int = 1,
        index: int = 0,
    ) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._share = share
        self._slot = 2 * (index % _SLOTS) + 1
        self._seen: OrderedDict[int, _Seen] = OrderedDict()
        self._floor = 0  # highest sequence of the accounts that were forgotten

    def __len__(self) -> int:
        return len(self._seen)

    def now_us(self) -> int:
        """Return the monotonic clock in the limiter's units."""
        return int(self._monotonic() * 1_000_000)

    def known(self, account: int) -> Known:
        """Return what is known of an account."""
        seen = self._seen.get(account)
        if seen is None:
            return Known(self._floor, 0)
        return Known(max(seen.last, self._floor), max(0, seen.arrival - self.now_us()))

    def decide(self, account: int, whole: Rate, running: int = 0) -> Decision:
        """Decide on one request of an account with `running` calls in this process."""
        now, rate = self.now_us(), whole.share(self._share)
        seen = self._touch(account, now)
        next_arrival, early = rate.arrive(seen.arrival, now)
        reset = next_arrival - rate.interval_us - now
        if early > 0:
            return Decision(0, 0, reset, early, 0)
        if 0 < rate.concurrent <= running:
            return Decision(-1, (rate.tolerance_us - reset) // rate.interval_us, reset, 0, 0)
        seen.arrival = next_arrival
        seen.last = self._next_sequence(max(seen.last, self._floor))
        remaining = (rate.tolerance_us - (next_arrival - now)) // rate.interval_us
        return Decision(1, remaining, next_arrival - now, 0, seen.last)

    def follow(self, account: int, rate: Rate, decision: Decision, asked_us: int) -> Decision:
        """Note what the store decided when it was asked at `asked_us`; return what holds.

        That is the decision, with a number made here if its own does not rise: the store
        was emptied while the question was under way, and may have given it before.
        A refusal holds for the time that it names, counted from the question: a bit less
        than the store's own time, never more. Only for the same rate: a tier may change.
        """
        seen = self._touch(account, self.now_us())
        # A share has a burst as long as the whole has, so the time carries over as it is.
        seen.arrival = asked_us + decision.reset_us
        if decision.outcome == 1:
            if decision.sequence <= seen.last:
                number = self._next_sequence(max(seen.last, self._floor))
                decision = decision._replace(sequence=number)
            seen.last = decision.sequence
        elif decision.outcome == 0:
            seen.denied_until = asked_us + decision.retry_us
            seen.denied_by = rate
        return decision

    def denied(self, account: int, rate: Rate) -> Decision | None:
        """Return the store's refusal as it would be now, None if it must be asked."""
        seen = self._seen.get(account)
        if seen is None or seen.denied_by != rate:
            return None
        now = self.now_us()
        if now >= seen.denied_until:
            seen.denied_by = None
            return None
        return Decision(0, 0, max(0, seen.arrival - now), seen.denied_until - now, 0)

    def _touch(self, account: int, now: int) -> _Seen:
        """Return what is known of an account; forget others of which nothing need be."""
        clock = self._clock()
        everyone = self._seen
        for _ in range(min(_SWEPT, len(everyone))):
            oldest, seen = next(iter(everyone.items()))
            if oldest != account and seen.arrival <= now and seen.last <= clock:
                self._floor = max(self._floor, seen.last)
                del everyone[oldest]
            else:
                everyone.move_to_end(oldest)
        found = everyone.get(account)
        if found is None:
            found = everyone[account] = _Seen()
        return found

    def _next_sequence(self, last: int) -> int:
        """Return the next odd sequence of this process, at least the clock."""
        least = max(last + 1, self._clock())
        return least + (self._slot - least) % (2 * _SLOTS)

    def _clock(self) -> int:
        return int((self._wall() - EPOCH_2026) * 1000)
