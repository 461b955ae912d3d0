"""Paths that the operator has passed on untouched: no mark, no ticket, no usage.

The call is the account's like any other: authenticated, limited, logged and recorded, with
the path in the place of the model. Neither its body nor its answer is read, so a stream that
is not framed cannot be told from one that broke off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from functools import partial

import msgspec

from proxy import config
from proxy.accounts import Account
from proxy.call import Call
from proxy.dialects.contract import Question, Usage
from proxy.dialects.openai import OPENAI, error_event
from proxy.downstream.exchange import Exchange
from proxy.errors import CallError, ConfigError, Kind
from proxy.guard.contract import Verdict
from proxy.pipeline import Pipeline
from proxy.upstream import Endpoint, Route

NAME = "passthrough"


class Unread:
    """The reading of an answer that is nobody's business; see dialects.contract.Reading."""

    usage: Usage | None = None
    done = True

    def whole(self, body: bytes) -> None:
        """Look at nothing."""

    def event(self, data: bytes) -> bool:
        """Keep every event."""
        return True

    def unread(self) -> None:
        """Count nothing."""

    def text(self) -> list[str]:
        """Return no text."""
        return []

    def error_event(self, error: CallError) -> bytes:
        """Render an error as the last event of a stream."""
        return error_event(error)


class Untouched:
    """One path; a dialect whose requests say nothing but their bytes."""

    name = NAME
    speaker = OPENAI
    marked = False
    forwarded = ("content-type", "content-encoding")

    def __init__(self, path: str) -> None:
        self.path = path

    def parse(self, body: bytes) -> Question:
        """Wrap a body."""
        return Question({"": msgspec.Raw(body)}, self.path, ())

    def apply(self, question: Question, *, model: str, ticket: str | None) -> bytes:
        """Return the body."""
        return bytes(question.fields[""])

    def reading(self, question: Question, *, texts: bool) -> Unread:
        """Return the reading of an answer."""
        return Unread()


class Passage:
    """One configured path, and the way of its calls."""

    def __init__(self, settings: config.Passthrough, pipeline: Pipeline, endpoint: Endpoint):
        self.methods = tuple(settings.methods)
        self._dialect = Untouched(settings.path)
        self._pipeline = pipeline
        self._route = Route.untouched(settings.path, endpoint)

    async def run(self, method: str, exchange: Exchange) -> None:
        """Answer one call; raises CallError if the answer is an error of our own."""
        account = self._pipeline.accounts.authenticate(OPENAI.credential(exchange.headers))
        if not account.may_use(self._dialect.path):
            raise CallError(Kind.UNKNOWN_PATH, "There is nothing at this URL.")
        question = self._dialect.parse(await exchange.untouched())
        answer = partial(self._answer, method, exchange, account, question)
        await self._pipeline.admitted(account, OPENAI, exchange, answer)

    async def _answer(
        self,
        method: str,
        exchange: Exchange,
        account: Account,
        question: Question,
        verdict: Verdict,
    ) -> None:
        dialect, route, pipeline = self._dialect, self._route, self._pipeline
        exchange.served = route.served
        call = Call(verdict.call, exchange.request_id, account, dialect, question, route)
        with pipeline.settler.open(call, exchange) as settlement:
            body = dialect.apply(question, model="", ticket=None)
            target = f"{dialect.path}?{exchange.query}" if exchange.query else dialect.path
            settlement.sending()
            sending = route.pass_on(dialect, method, target, body, exchange.headers)
            with closing(await sending) as answer:
                settlement.upstream = answer.upstream_name
                await pipeline.relay.run(answer, call, exchange, settlement)


def passages(
    settings: Iterable[config.Passthrough], pipeline: Pipeline, endpoints: Mapping[str, Endpoint]
) -> dict[str, Passage]:
    """Return the configured paths."""
    return {entry.path: Passage(entry, pipeline, endpoints[entry.upstream]) for entry in settings}


def check(settings: Iterable[config.Passthrough], own: Iterable[str], below: str) -> None:
    """Refuse paths that are given twice or that the gateway answers itself; raises ConfigError.

    Its own are `own` and all that begin with `below`.
    """
    taken = set(own)
    for place, entry in enumerate(settings):
        if entry.path in taken or entry.path.startswith(below):
            raise ConfigError(
                f"passthrough[{place}].path: expected a path that nothing else answers, "
                f"got {entry.path}"
            )
        taken.add(entry.path)
