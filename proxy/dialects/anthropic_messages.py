"""Anthropic's messages, whose streams are typed events.

`message_start` carries the prompt's tokens, `message_delta` those of the answer, and
`message_stop` (or `error`) is the last word. Deltas of content are not parsed, only counted.
"""

from __future__ import annotations

import msgspec

from proxy.dialects import request
from proxy.dialects.anthropic import ANTHROPIC, error_object
from proxy.dialects.contract import Question, Tokens, Usage
from proxy.dialects.texts import Texts
from proxy.errors import CallError


class _Reported(msgspec.Struct):
    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    cache_creation_input_tokens: Tokens | None = None
    cache_read_input_tokens: Tokens | None = None

    @property
    def prompt_tokens(self) -> int | None:
        """Tokens of the whole prompt: `input_tokens` leaves out what the cache had."""
        if self.input_tokens is None:
            return None
        cached = (self.cache_creation_input_tokens or 0) + (self.cache_read_input_tokens or 0)
        return self.input_tokens + cached


class _Message(msgspec.Struct):
    usage: _Reported | None = None


class _Event(msgspec.Struct):
    """Every event that is not a delta; one without a type is some engine's own error."""

    type: str = "error"
    message: _Message | None = None
    usage: _Reported | None = None


class _Text(msgspec.Struct):
    type: str = ""
    text: str | None = None


class _Delta(msgspec.Struct):
    index: int = 0
    delta: _Text | None = None


class _Spoken(msgspec.Struct):
    content: list[_Text]


_decode_message = msgspec.json.Decoder(_Message).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_delta = msgspec.json.Decoder(_Delta).decode
_decode_spoken = msgspec.json.Decoder(_Spoken).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)


class MessagesReading:
    """Follows one answer; see contract.Reading."""

    def __init__(self, *, texts: bool) -> None:
        self.done = False
        self._prompt: int | None = None
        self._completion: int | None = None
        self._counted: int | None = None
        self._texts = Texts() if texts else None

    @property
    def usage(self) -> Usage | None:
        """What the engine reported; the answer's tokens by its deltas until that has come."""
        if self._completion is not None:
            return Usage(self._prompt, self._completion)
        if self._counted is None:
            return None
        return Usage(self._prompt, self._counted, "counted")

    def whole(self, body: bytes) -> None:
        """Read an answer that is not streamed."""
        try:
            usage = _decode_message(body).usage
            if usage is not None:
                self._prompt, self._completion = usage.prompt_tokens, usage.output_tokens
            if self._texts is not None:
                for index, block in enumerate(_decode_spoken(body).content):
                    self._note_text(index, block, "text")
        except _UNREADABLE:
            pass  # not an answer of this shape: it goes through, uncounted

    def event(self, data: bytes) -> bool:
        """Read an event; all of them are the client's."""
        if b'"content_block_delta"' not in data:
            self._counted = self._counted or 0
            self._note_milestone(data)
            return True
        # A signature closes a block of thinking, and is no token.
        self._counted = (self._counted or 0) + (b'"signature_delta"' not in data)
        if self._texts is not None:
            self._note_delta(data)
        return True

    def unread(self) -> None:
        """Count an event that was too large to be read."""
        self._counted = (self._counted or 0) + 1

    def text(self) -> list[str]:
        """Return the texts by block of the content."""
        return [] if self._texts is None else self._texts.all()

    def error_event(self, error: CallError) -> bytes:
        """Render an error as the last event of a stream."""
        return b"event: error\ndata: " + msgspec.json.encode(error_object(error)) + b"\n\n"

    def _note_milestone(self, data: bytes) -> None:
        try:
            event = _decode_event(data)
        except _UNREADABLE:
            return
        if event.type in {"message_stop", "error"}:
            self.done = True
        elif event.type == "message_start" and event.message and event.message.usage:
            self._prompt = event.message.usage.prompt_tokens
        elif event.type == "message_delta" and event.usage:
            self._completion = event.usage.output_tokens
            if event.usage.prompt_tokens is not None:
                self._prompt = event.usage.prompt_tokens

    def _note_delta(self, data: bytes) -> None:
        try:
            event = _decode_delta(data)
        except _UNREADABLE:
            return
        if event.delta is not None:
            self._note_text(event.index, event.delta, "text_delta")

    def _note_text(self, index: int, text: _Text, kind: str) -> None:
        if self._texts is not None and text.type == kind:
            self._texts.add(index, text.text)


class AnthropicMessages:
    """POST /v1/messages."""

    name = "anthropic_messages"
    path = "/v1/messages"
    speaker = ANTHROPIC
    marked = True
    forwarded = ("anthropic-version", "anthropic-beta")

    def parse(self, body: bytes) -> Question:
        """Read a request's body; raises CallError (BAD_BODY, BAD_FIELD)."""
        fields, dropped = request.read(body)
        model, streams = request.model(fields), request.flag(fields, "stream")
        most = request.most_tokens(fields)
        return Question(fields, model, dropped, streams=streams, max_output_tokens=most)

    def apply(self, question: Question, *, model: str, ticket: str | None) -> bytes:
        """Return the body for the engine; members keep their order and their bytes."""
        return request.addressed(question, model, ticket)

    def reading(self, question: Question, *, texts: bool) -> MessagesReading:
        """Return the reading of an answer."""
        return MessagesReading(texts=texts)
