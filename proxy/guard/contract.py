"""The contract of the guard, which decides whether a call may go on.

One call of `admit` per request, before anything is sent to an engine; it also makes
the call's number, because both come from the same atomic step. A guard never writes
HTTP: a refusal is rendered by the dialect, in one place. It never raises: when its
store is away it decides by itself, and says so in metrics and log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from proxy.accounts import Account


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the guard decided about one request.

    `call` is the 64-bit call number, 0 for a refused request. `limit` is the account's
    requests per minute, `remaining` what it may send at once now, `reset_s` the time
    until all of its burst is there again, `retry_after_s` the time until the next
    request would be admitted (0 if this one was).
    """

    admitted: bool
    call: int
    limit: int
    remaining: int
    reset_s: float
    retry_after_s: float
    source: Literal["store", "local"]


class Guard(Protocol):
    """Decides on requests, one at a time, for all accounts."""

    async def admit(self, account: Account) -> Verdict:
        """Decide on one request of `account` and number it; never raises."""
