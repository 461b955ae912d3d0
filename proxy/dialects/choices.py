"""OpenAI's older answers, with `choices`: those of chat completions and completions.

A stream's events are chunks with choices and perhaps usage; its last word is [DONE], or an
error of the engine's own. Nothing is parsed that need not be: in an ordinary chunk only a
few bytes are looked for.
"""

from __future__ import annotations

import msgspec

from proxy.dialects import request
from proxy.dialects.body import Fields, serialise
from proxy.dialects.contract import Question, Tokens, Usage
from proxy.dialects.openai import OPENAI, error_event
from proxy.dialects.texts import Texts
from proxy.errors import CallError


class _Reported(msgspec.Struct):
    prompt_tokens: Tokens | None = None
    completion_tokens: Tokens | None = None


class _Chunk(msgspec.Struct):
    usage: _Reported | None = None
    choices: list[msgspec.Raw] | None = None


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    text: str | None = None
    delta: _Message | None = None
    message: _Message | None = None


class _Spoken(msgspec.Struct):
    choices: list[_Choice] | None = None


class _Opening(msgspec.Struct):
    """A choice whose delta may hold nothing but a role."""

    delta: dict[str, msgspec.Raw] | None = None


class _Openings(msgspec.Struct):
    choices: list[_Opening] | None = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_spoken = msgspec.json.Decoder(_Spoken).decode
_decode_openings = msgspec.json.Decoder(_Openings).decode
_NOTHING = frozenset({b"null", b'""', b"[]"})


class ChoicesReading:
    """Follows one answer; see contract.Reading."""

    def __init__(self, question: Question, *, texts: bool) -> None:
        self.done = False
        self._drop_usage = question.added_usage
        self._reported: Usage | None = None
        self._recorded = 0
        self._counted: int | None = None
        self._texts = Texts() if texts else None

    @property
    def usage(self) -> Usage | None:
        """What the engine reported, or the number of events with content while that is more."""
        reported, counted = self._reported or Usage(), self._counted or 0
        if self.done or counted <= (reported.completion_tokens or 0):
            return self._reported or self._as_counted
        return Usage(reported.prompt_tokens, counted, "counted")

    @property
    def _as_counted(self) -> Usage | None:
        return None if self._counted is None else Usage(None, self._counted, "counted")

    def whole(self, body: bytes) -> None:
        """Read an answer that is not streamed."""
        self._note_usage(body)
        self._note_texts(body)

    def event(self, data: bytes) -> bool:
        """Read an event; false for the usage record that the client did not ask for."""
        if data == b"[DONE]":
            self.done = True
            return True
        if b'"usage"' in data and self._note_usage(data):
            return not self._drop_usage
        if data.startswith(b'{"error"'):
            self.done = True
            return True
        opening = (b'"role"' in data or b'"delta":{}' in data) and _is_empty(data)
        self._counted = (self._counted or 0) + (not opening)
        self._note_texts(data)
        return True

    def unread(self) -> None:
        """Count an event that was too large to be read."""
        self._counted = (self._counted or 0) + 1

    def text(self) -> list[str]:
        """Return the contents by choice."""
        return [] if self._texts is None else self._texts.all()

    def error_event(self, error: CallError) -> bytes:
        """Render an error as the last event of a stream; no [DONE] follows it."""
        return error_event(error)

    def _note_usage(self, data: bytes) -> bool:
        """Note what usage there is; true for a record that carries nothing else."""
        try:
            chunk = _decode_chunk(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False  # an answer may talk about "usage"; whatever it is, it goes through
        if chunk.usage is None:
            return False
        self._reported = Usage(chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
        if chunk.choices != []:
            return False
        self._add_record(self._reported)
        return True

    def _add_record(self, record: Usage) -> None:
        """Add up the records that hold nothing else: llama.cpp has one for each choice."""
        self._recorded += record.completion_tokens or 0
        if record.completion_tokens is not None:
            self._reported = Usage(record.prompt_tokens, self._recorded)

    def _note_texts(self, data: bytes) -> None:
        if self._texts is None:
            return
        try:
            choices = _decode_spoken(data).choices or []
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        for choice in choices:
            said = choice.delta or choice.message
            self._texts.add(choice.index, said.content if said else choice.text)


class ChoicesDialect:
    """Both endpoints: they differ in name, path and where the prompt stands."""

    speaker = OPENAI
    marked = True
    forwarded = ()

    def parse(self, body: bytes) -> Question:
        """Read a request's body; raises CallError (BAD_BODY, BAD_FIELD)."""
        fields, dropped = request.read(body)
        model, streams = request.model(fields), request.flag(fields, "stream")
        most = request.most_tokens(fields)
        added_usage = streams and _ask_for_usage(fields)
        return Question(fields, model, dropped, added_usage, streams, most)

    def apply(self, question: Question, *, model: str, ticket: str | None) -> bytes:
        """Return the body for the engine; members keep their order and their bytes."""
        return request.addressed(question, model, ticket)

    def reading(self, question: Question, *, texts: bool) -> ChoicesReading:
        """Return the reading of an answer."""
        return ChoicesReading(question, texts=texts)


def _ask_for_usage(fields: Fields) -> bool:
    """Ask for the stream's usage record; true if the client did not ask for it itself."""
    options = request.members(fields, "stream_options")
    asked = request.flag(options, "include_usage")
    if not asked:
        options["include_usage"] = msgspec.Raw(b"true")
        fields["stream_options"] = msgspec.Raw(serialise(options))
    return not asked


def _is_empty(data: bytes) -> bool:
    """Whether no choice of a chat chunk has content: it opens or ends a choice."""
    try:
        choices = _decode_openings(data).choices or []
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return not any(
        bytes(value) not in _NOTHING
        for choice in choices
        for name, value in (choice.delta or {}).items()
        if name != "role"
    )
