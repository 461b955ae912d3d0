"""The contract of the guard, which decides whether a call may go on.

One call of `admit` per request, before anything is sent to an engine; it also makes
the call's number, because both come from the same atomic step. Each verdict is given
back with `release`, once, when the call has ended however it did. A guard never writes
HTTP: a refusal is rendered by the dialect, in one place. It never raises: when its
store is away it decides by itself, and says so in metrics and log.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

import msgspec

from proxy.accounts import Account

Source = Literal["store", "remembered", "local"]


class Lease(NamedTuple):
    """A running call's place among the calls that its account may run at once."""

    account: int
    token: bytes


class Verdict(msgspec.Struct, frozen=True):
    """What the guard decided about one request.

    `call` is the 64-bit call number, 0 for a refused request. `limit` is the account's
    requests per minute, `remaining` what it may send at once now, `reset_s` the time
    until all of its burst is there again, `retry_after_s` the time until the next
    request would be admitted (0 if this one was). `refused_by` names the limit that was
    reached. `source` is who decided: the store, the store a moment ago, or this process.
    `lease` is held by an admitted call whose tier limits concurrent calls.
    """

    admitted: bool
    call: int
    limit: int
    remaining: int
    reset_s: float
    retry_after_s: float
    source: Source
    refused_by: Literal["requests", "concurrency"] | None = None
    lease: Lease | None = None


class Guard(Protocol):
    """Decides on requests, one at a time, for all accounts."""

    async def admit(self, account: Account) -> Verdict:
        """Decide on one request of `account` and number it; never raises."""

    def release(self, verdict: Verdict) -> None:
        """Note that a call has ended: its lease is free. Does not wait, never raises."""
