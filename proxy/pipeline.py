"""The way of a call, in one coroutine.

client -> dialect -> account -> guard -> treatment -> embedder -> upstream
client <- dialect <-------------------------------------------------/
          settle: exactly once, whatever happened
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from proxy.accounts import Account
from proxy.call import Call, Policy
from proxy.dialects.contract import Dialect, Question, Speaker
from proxy.downstream.exchange import Exchange
from proxy.embedders.contract import Embedder
from proxy.errors import CallError, Kind
from proxy.guard.contract import Guard, Verdict
from proxy.metrics import Metrics
from proxy.relay import Relay
from proxy.settle import Settler
from proxy.upstream import Routes


class Directory(Protocol):
    """Knows the accounts by their keys."""

    def authenticate(self, key: str) -> Account:
        """Return the account of a key; raises CallError."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The steps of a call, handed in at start; none looks another up."""

    accounts: Directory
    guard: Guard
    routes: Routes
    policy: Policy
    embedder: Embedder
    relay: Relay
    settler: Settler
    metrics: Metrics

    async def run(self, dialect: Dialect, exchange: Exchange) -> None:
        """Answer one call; raises CallError if the answer is an error of our own."""
        account = self.accounts.authenticate(dialect.speaker.credential(exchange.headers))
        question = await exchange.parsed(dialect.parse)
        self.metrics.dropped(question.dropped)
        answer = partial(self._answer, dialect, exchange, account, question)
        await self.admitted(account, dialect.speaker, exchange, answer)

    async def admitted(
        self,
        account: Account,
        speaker: Speaker,
        exchange: Exchange,
        answer: Callable[[Verdict], Awaitable[None]],
    ) -> None:
        """Run `answer` for a call that the guard admits; raises CallError for others."""
        verdict = await self.guard.admit(account)
        try:
            exchange.tell(speaker.limits(verdict))
            if not verdict.admitted:
                raise _refusal(verdict, account)
            await answer(verdict)
        finally:
            self.guard.release(verdict)

    async def _answer(
        self,
        dialect: Dialect,
        exchange: Exchange,
        account: Account,
        question: Question,
        verdict: Verdict,
    ) -> None:
        route = self.routes.find(question.model, account)
        exchange.served = route.served
        route.check(question, exchange.body_bytes)
        call = Call(verdict.call, exchange.request_id, account, dialect, question, route)
        with self.settler.open(call, exchange) as settlement:
            ticket = self._ticket(call, verdict)
            render = partial(_render, dialect, question, ticket)
            settlement.sending()
            sending = route.post(dialect, render, exchange.headers, settlement.traceparent)
            with closing(await sending) as answer:
                settlement.upstream = answer.upstream_name
                await self.relay.run(answer, call, exchange, settlement, ticket)

    def _ticket(self, call: Call, verdict: Verdict) -> str | None:
        if not call.dialect.marked or call.route.settings.embedder == "none":
            return None
        return self.embedder.prepare(call, self.policy.decide(call, verdict))


def _render(dialect: Dialect, question: Question, ticket: str | None, model: str) -> bytes:
    return dialect.apply(question, model=model, ticket=ticket)


def _refusal(verdict: Verdict, account: Account) -> CallError:
    if verdict.refused_by == "concurrency":
        limit = f"{account.tier.concurrent_calls} calls at once"
    else:
        limit = f"{verdict.limit} requests per minute"
    wait = f"Please try again in {verdict.retry_after_s:.3f} s."
    return CallError(Kind.RATE_LIMITED, f"Rate limit reached: {limit}. {wait}")
