"""The same decision as admit.lua, in this process: for the time that Redis is away.

Also the call numbers: account (24 bits) and sequence (40 bits), where a sequence is
max(last + 1, milliseconds since 2026), which 40 bits hold until 2060.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from proxy.config import Tier
from proxy.guard.keyspace import EPOCH_2026

MINUTE_US = 60_000_000
SEQUENCE_BITS = 40


@dataclass(frozen=True, slots=True)
class Rate:
    """A tier's limit in the limiter's units: microseconds between requests, and burst."""

    interval_us: int
    burst: int

    @classmethod
    def of(cls, tier: Tier) -> Rate:
        """Round up to whole microseconds: never more than the tier's rate."""
        return cls(
            -(-MINUTE_US // tier.requests_per_minute), tier.burst or tier.requests_per_minute
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """What admit.lua returns: times in microseconds, sequence 0 for a refusal."""

    admitted: bool
    remaining: int
    reset_us: int
    retry_us: int
    sequence: int


def call_number(account: int, sequence: int) -> int:
    """Return the 64-bit number of a call; raises OverflowError beyond 40 bits of sequence."""
    if sequence >> SEQUENCE_BITS:
        raise OverflowError("the sequence of call numbers is used up")
    return account << SEQUENCE_BITS | sequence


class LocalLimiter:
    """GCRA and call numbers for all accounts, in memory.

    It also follows what the store decides, so that an account which is at its limit
    when the store goes away does not get a fresh burst. `monotonic` and `wall` are
    clocks in seconds.
    """

    def __init__(self, monotonic: Callable[[], float], wall: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._arrival: dict[int, int] = {}  # account: theoretical arrival time, µs
        self._last: dict[int, int] = {}  # account: highest sequence seen or made
        self._made: dict[int, int] = {}  # account: highest sequence made here

    def last(self, account: int) -> int:
        """Return the highest sequence known of an account: the store must go above it."""
        return self._last.get(account, 0)

    def decide(self, account: int, rate: Rate) -> Decision:
        """Decide on one request."""
        now = int(self._monotonic() * 1_000_000)
        tolerance = rate.interval_us * rate.burst
        arrival = min(max(self._arrival.get(account, 0), now), now + tolerance)
        next_arrival = arrival + rate.interval_us
        early = next_arrival - tolerance - now
        if early > 0:
            return Decision(False, 0, arrival - now, early, 0)
        self._arrival[account] = next_arrival
        remaining = (tolerance - (next_arrival - now)) // rate.interval_us
        return Decision(True, remaining, next_arrival - now, 0, self._number(account))

    def follow(self, account: int, decision: Decision) -> Decision:
        """Note the store's decision; return it, renumbered if its number was made here too.

        A reply that was under way while this process numbered a call itself may carry
        the same number. Numbers above the highest made here cannot.
        """
        now = int(self._monotonic() * 1_000_000)
        self._arrival[account] = now + decision.reset_us
        if not decision.admitted:
            return decision
        if decision.sequence <= self._made.get(account, 0):
            sequence = self._number(account)
            return Decision(True, decision.remaining, decision.reset_us, 0, sequence)
        self._last[account] = max(self.last(account), decision.sequence)
        return decision

    def _number(self, account: int) -> int:
        clock = int((self._wall() - EPOCH_2026) * 1000)
        sequence = max(self.last(account) + 1, clock)
        self._last[account] = self._made[account] = sequence
        return sequence
