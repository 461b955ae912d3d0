"""The contract of a dialect: one API's words for what the gateway does.

A `Speaker` is an API family, with its credentials, errors and limits; a `Dialect` is one
endpoint of it; a `Reading` follows one answer. Order of a call: `credential` from the
headers, `parse` of the body, `apply` before the call goes to an engine (once for each that
is tried), `reading` on the way back, `error` or `error_event` if the call fails. None of
them does I/O, and none logs; only a reading holds state.

Ownership: `parse` returns views of the body's bytes; `apply` builds a new body and leaves
the old one alone; a reading gets copies of nothing, and alters nothing.

Failure: `credential` and `parse` raise CallError; nothing else may fail, whatever an
engine sends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal, Protocol

import msgspec

from proxy.dialects.body import Fields
from proxy.errors import CallError
from proxy.guard.contract import Verdict

# Beyond a double's exact integers a count of tokens is none, and a negative one never was.
Tokens = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Question(msgspec.Struct, frozen=True):
    """A client's request as the gateway understands it.

    `fields` are the top-level members without the ones that no client may send, whose
    names are in `dropped`; `added_usage` tells that the usage record of the stream is
    the gateway's wish alone, so that the client must not see it. `max_output_tokens` is
    what the client asks for, None where it leaves that to the engine.
    """

    fields: Fields
    model: str
    dropped: tuple[str, ...]
    added_usage: bool = False
    streams: bool = False
    max_output_tokens: int | None = None


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one call.

    `source` is `engine` for what the engine reported, and `counted` where a stream ended
    before that: then a token is an event with content, as engines send them.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    source: Literal["engine", "counted"] = "engine"


class Reply(msgspec.Struct, frozen=True):
    """A whole answer of the gateway's own: status, headers and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Reading(Protocol):
    """Follows one answer: a whole one, or a stream event by event."""

    @property
    def usage(self) -> Usage | None:
        """Tokens so far; None if nothing is known of them."""

    @property
    def done(self) -> bool:
        """Whether the stream's last word has come, be it an error of the engine's own."""

    def whole(self, body: bytes) -> None:
        """Read an answer that is not streamed."""

    def event(self, data: bytes) -> bool:
        """Read the data of a stream's event; false if the client must not see it."""

    def unread(self) -> None:
        """Note an event that was too large to be read."""

    def text(self) -> list[str]:
        """Return the texts of the answer, one for each choice; empty if they were not wanted."""

    def error_event(self, error: CallError) -> bytes:
        """Render an error as the last event of a stream that cannot go on."""


class Speaker(Protocol):
    """One API family: what all of its endpoints have in common."""

    @property
    def id_header(self) -> str:
        """Name of the response header with the request's id."""

    def credential(self, headers: Mapping[str, str]) -> str:
        """Return the client's API key; raises CallError (NO_KEY)."""

    def limits(self, verdict: Verdict) -> Mapping[str, str]:
        """Return the headers that tell the client where it stands with its limit."""

    def error(self, error: CallError, request_id: str) -> Reply:
        """Render an error as a whole answer."""

    def models(self, names: Iterable[str], created: int) -> bytes:
        """Return the body of GET /v1/models; `created` is a Unix time."""

    def model(self, name: str, created: int) -> bytes:
        """Return the body of GET /v1/models/{id}."""


class Dialect(Protocol):
    """One endpoint: how to read its requests and its answers."""

    @property
    def name(self) -> str:
        """Name in metrics, logs and configuration."""

    @property
    def path(self) -> str:
        """Path of the endpoint, here and at the engine."""

    @property
    def speaker(self) -> Speaker:
        """The family."""

    @property
    def marked(self) -> bool:
        """Whether its answers are text that carries a mark, so that a ticket is needed."""

    @property
    def forwarded(self) -> tuple[str, ...]:
        """Names, in lower case, of client headers that this API adds to what goes upstream."""

    def parse(self, body: bytes) -> Question:
        """Read a request's body; raises CallError (BAD_BODY, BAD_FIELD)."""

    def apply(self, question: Question, *, model: str, ticket: str | None) -> bytes:
        """Return the body for the engine: its own model name, and the ticket if there is one."""

    def reading(self, question: Question, *, texts: bool) -> Reading:
        """Return the reading of an answer to `question`; `texts` keeps what `text` returns."""
