"""A guard under test, on a server of any kind, without a gateway around it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from waiting import until

from proxy.accounts import Account
from proxy.config import Tier
from proxy.guard.gcra import LocalLimiter
from proxy.guard.limits import RateGuard
from proxy.guard.store import Store
from proxy.metrics import Metrics


def account(
    number: int = 1,
    per_minute: int = 60_000,
    burst: int | None = None,
    concurrent: int | None = None,
) -> Account:
    tier = Tier(requests_per_minute=per_minute, burst=burst, concurrent_calls=concurrent)
    return Account(number, f"account-{number}", tier, None, True)


class Limiter:
    """A guard on a server, with its metrics."""

    def __init__(self, url: str, deadline_s: float = 5.0) -> None:
        self.metrics = Metrics([], [])
        self.store = Store(url, self.metrics, deadline_s=deadline_s, probe_interval_s=0.01)
        self.local = LocalLimiter(time.monotonic, time.time)
        self.guard = RateGuard(self.store, self.local, self.metrics)

    async def admit(self, who: Account) -> tuple[bool, str]:
        verdict = await self.guard.admit(who)
        return verdict.admitted, verdict.source

    def failures(self, reason: str | None = None) -> float:
        """Decisions that the store did not give, for one reason or any."""
        (family,) = self.metrics._store_failures.collect()
        return sum(
            sample.value
            for sample in family.samples
            if sample.name.endswith("_total") and reason in (None, sample.labels["reason"])
        )

    async def until_back(self) -> None:
        await until(lambda: self.store.up)


@asynccontextmanager
async def running(url: str, deadline_s: float = 5.0) -> AsyncIterator[Limiter]:
    """A limiter that has looked for its server, and renews its leases."""
    limiter = Limiter(url, deadline_s)
    await limiter.store.start()
    try:
        async with limiter.guard.running():
            yield limiter
    finally:
        await limiter.store.close()
