"""The contract of a dialect: one API's words for what the gateway does.

Order: `credential` from the headers, `parse` of the body, `apply` before the call goes
to the engine, `usage` or `drops_usage` on the way back, `error` or `error_event` if the
call fails. A dialect does no I/O, holds no state, and never logs.

Ownership: `parse` returns views of the body's bytes; `apply` builds a new body and
leaves the old one alone.

Failure: `credential` and `parse` raise CallError; nothing else may fail.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from proxy.dialects.body import Fields
from proxy.errors import CallError
from proxy.guard.contract import Verdict


@dataclass(frozen=True, slots=True)
class Question:
    """A client's request as the gateway understands it.

    `fields` are the top-level members without the ones that no client may send, whose
    names are in `dropped`; `added_usage` tells that the usage record of the stream is
    the gateway's wish alone, so that the client must not see it.
    """

    fields: Fields
    model: str
    dropped: tuple[str, ...]
    added_usage: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer of the gateway's own: status, headers and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Dialect(Protocol):
    """One API: how to read its requests and how to speak its errors."""

    @property
    def name(self) -> str:
        """Name in metrics and logs."""

    @property
    def path(self) -> str:
        """Path of the endpoint, here and at the engine."""

    def credential(self, headers: Mapping[str, str]) -> str:
        """Return the client's API key; raises CallError (NO_KEY)."""

    def parse(self, body: bytes) -> Question:
        """Read a request's body; raises CallError (BAD_BODY, BAD_FIELD)."""

    def apply(self, question: Question, *, model: str, ticket: str) -> bytes:
        """Return the body for the engine: its own model name, and the ticket."""

    def limits(self, verdict: Verdict) -> Mapping[str, str]:
        """Return the headers that tell the client where it stands with its limit."""

    def error(self, error: CallError) -> Reply:
        """Render an error as a whole answer."""

    def error_event(self, error: CallError) -> bytes:
        """Render an error as the last event of a stream that cannot go on."""
