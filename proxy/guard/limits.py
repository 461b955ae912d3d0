"""The guard of this release: a request rate per account, in the store or in this process."""

from __future__ import annotations

from typing import Literal

from proxy.accounts import Account
from proxy.guard.contract import Verdict
from proxy.guard.gcra import Decision, LocalLimiter, Rate, call_number
from proxy.guard.store import Store, StoreAwayError
from proxy.metrics import Metrics


class RateGuard:
    """Decides through the store; through the local limiter while the store is away."""

    def __init__(self, store: Store, local: LocalLimiter, metrics: Metrics) -> None:
        self._store = store
        self._local = local
        self._metrics = metrics

    async def admit(self, account: Account) -> Verdict:
        """Decide on one request of `account` and number it; never raises."""
        number, rate = account.number, Rate.of(account.tier)
        source, decision = await self._decide(number, rate)
        self._metrics.decided(admitted=decision.admitted, source=source)
        return Verdict(
            admitted=decision.admitted,
            call=call_number(number, decision.sequence) if decision.admitted else 0,
            limit=account.tier.requests_per_minute,
            remaining=decision.remaining,
            reset_s=decision.reset_us / 1e6,
            retry_after_s=decision.retry_us / 1e6,
            source=source,
        )

    async def _decide(self, number: int, rate: Rate) -> tuple[Literal["store", "local"], Decision]:
        if self._store.up:
            try:
                answer = await self._store.decide(number, rate, self._local.last(number))
            except StoreAwayError:
                pass  # the store has counted and logged it
            else:
                return "store", self._local.follow(number, answer)
        return "local", self._local.decide(number, rate)
