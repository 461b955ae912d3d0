"""The guard of this release: a request rate and concurrent calls per account.

Decided in the store, or in this process while the store is away.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from proxy.accounts import Account
from proxy.guard.contract import Lease, Source, Verdict
from proxy.guard.gcra import Decision, LocalLimiter, Rate, call_number
from proxy.guard.leases import Leases
from proxy.guard.store import Store
from proxy.guard.wire import StoreAwayError
from proxy.metrics import Metrics

# When one of the running calls will end is anybody's guess.
_CONCURRENCY_RETRY_S = 1.0


class RateGuard:
    """Decides through the store; through the local limiter while the store is away."""

    def __init__(self, store: Store, local: LocalLimiter, metrics: Metrics) -> None:
        self._store = store
        self._local = local
        self._metrics = metrics
        self._leases = Leases(store)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Renew the leases of calls that run, as long as this is entered."""
        task = asyncio.create_task(self._leases.keep())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def admit(self, account: Account) -> Verdict:
        """Decide on one request of `account` and number it; never raises."""
        number, rate = account.number, Rate.of(account.tier)
        denied = self._local.denied(number, rate) if self._store.up else None
        if denied is not None:
            return self._verdict(account, "remembered", denied, None)
        if not rate.concurrent:
            source, decision = await self._decide(number, rate, None)
            return self._verdict(account, source, decision, None)
        return await self._admit_leased(account, rate)

    def release(self, verdict: Verdict) -> None:
        """Give back a verdict's lease, if it has one; a second time is nothing."""
        if verdict.lease is not None:
            self._leases.release(verdict.lease)

    async def _admit_leased(self, account: Account, rate: Rate) -> Verdict:
        lease = self._leases.new(account.number)
        try:
            source, decision = await self._decide(account.number, rate, lease)
        except asyncio.CancelledError:
            # The question is under way; this goes out behind it.
            self._leases.forget(lease)
            raise
        if decision.admitted:
            verdict = self._verdict(account, source, decision, lease)
            self._leases.hold(lease)
            return verdict
        if source == "local":
            # The store may have given it before it went away.
            self._leases.forget(lease)
        return self._verdict(account, source, decision, None)

    async def _decide(
        self, number: int, rate: Rate, lease: Lease | None
    ) -> tuple[Source, Decision]:
        if self._store.up:
            asked = self._local.now_us()
            known = self._local.known(number)
            try:
                if lease is None:
                    answer = await self._store.decide(number, rate, known)
                else:
                    answer = await self._store.decide(number, rate, known, lease.token)
            except StoreAwayError:
                pass  # the store has counted and logged it
            else:
                return "store", self._local.follow(number, rate, answer, asked)
        return "local", self._local.decide(number, rate, self._leases.running(number))

    def _verdict(
        self, account: Account, source: Source, decision: Decision, lease: Lease | None
    ) -> Verdict:
        outcome, remaining, reset_us, retry_us, sequence = decision
        limit = account.tier.requests_per_minute
        reset_s = reset_us / 1e6
        if outcome == 1:
            self._metrics.decided("admitted", source)
            number = call_number(account.number, sequence)
            return Verdict(True, number, limit, remaining, reset_s, 0.0, source, None, lease)
        if outcome == 0:
            self._metrics.decided("refused_requests", source)
            return Verdict(False, 0, limit, remaining, reset_s, retry_us / 1e6, source, "requests")
        self._metrics.decided("refused_concurrency", source)
        return Verdict(
            False, 0, limit, remaining, reset_s, _CONCURRENCY_RETRY_S, source, "concurrency"
        )
