"""OpenAI's responses, whose streams are typed events with numbers.

A stream ends with `response.completed`, `response.incomplete` or `response.failed`, which
carry the usage, or with `error`. Deltas are not parsed, only counted.
"""

from __future__ import annotations

import msgspec

from proxy.dialects import request
from proxy.dialects.contract import Question, Tokens, Usage
from proxy.dialects.openai import OPENAI, SHAPES
from proxy.dialects.texts import Texts
from proxy.errors import CallError, Kind

_LAST = frozenset({"response.completed", "response.incomplete", "response.failed", "error"})


class _Reported(msgspec.Struct):
    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None


class _Response(msgspec.Struct):
    usage: _Reported | None = None


class _Milestone(msgspec.Struct):
    """Every event that is not a delta; one without a type is some engine's own error."""

    type: str = "error"
    response: _Response | None = None


class _Delta(msgspec.Struct):
    type: str = ""
    item_id: str = ""
    delta: str | None = None


class _Part(msgspec.Struct):
    type: str = ""
    text: str | None = None


class _Item(msgspec.Struct):
    content: list[_Part] | None = None
    type: str = ""


class _Spoken(msgspec.Struct):
    output: list[_Item]


class _Numbered(msgspec.Struct):
    sequence_number: int = -1


_decode_response = msgspec.json.Decoder(_Response).decode
_decode_milestone = msgspec.json.Decoder(_Milestone).decode
_decode_delta = msgspec.json.Decoder(_Delta).decode
_decode_spoken = msgspec.json.Decoder(_Spoken).decode
_decode_numbered = msgspec.json.Decoder(_Numbered).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)


class ResponsesReading:
    """Follows one answer; see contract.Reading."""

    def __init__(self, *, texts: bool) -> None:
        self.done = False
        self._reported: Usage | None = None
        self._counted: int | None = None
        self._texts = Texts() if texts else None
        self._items: dict[str, int] = {}  # llama.cpp's events have no output_index
        self._latest = b""

    @property
    def usage(self) -> Usage | None:
        """What the engine reported, or else the number of deltas."""
        if self._reported is not None or self._counted is None:
            return self._reported
        return Usage(None, self._counted, "counted")

    def whole(self, body: bytes) -> None:
        """Read an answer that is not streamed."""
        try:
            self._note_usage(_decode_response(body))
            if self._texts is not None:
                self._note_output(body, self._texts)
        except _UNREADABLE:
            pass  # not an answer of this shape: it goes through, uncounted

    def event(self, data: bytes) -> bool:
        """Read an event; all of them are the client's."""
        self._latest = data
        counted = self._counted or 0
        # Inside a string these quotes would be escaped: only a member, or a string that is
        # just this word, can look so.
        if b'"response"' in data or b'"error"' in data:
            self._note_milestone(data)
        if b'.delta"' in data:
            counted += 1
            if self._texts is not None and b'"response.output_text.delta"' in data:
                self._note_delta(data, self._texts)
        self._counted = counted
        return True

    def unread(self) -> None:
        """Take an event too large to be read for the last one: that repeats the whole answer."""
        self.done = True

    def text(self) -> list[str]:
        """Return the texts by item of the output."""
        return [] if self._texts is None else self._texts.all()

    def error_event(self, error: CallError) -> bytes:
        """Render an error as the stream's last event, with the number that comes next."""
        try:
            number = _decode_numbered(self._latest).sequence_number + 1
        except _UNREADABLE:
            number = 0
        event = {
            "type": "error",
            "code": SHAPES[error.kind][2],
            "message": error.message,
            "param": error.param,
            "sequence_number": number,
        }
        return b"event: error\ndata: " + msgspec.json.encode(event) + b"\n\n"

    def _note_milestone(self, data: bytes) -> None:
        try:
            milestone = _decode_milestone(data)
        except _UNREADABLE:
            return
        if milestone.type in _LAST:
            self.done = True
            if milestone.response is not None:
                self._note_usage(milestone.response)

    def _note_usage(self, response: _Response) -> None:
        if response.usage is not None:
            usage = response.usage
            self._reported = Usage(usage.input_tokens, usage.output_tokens)

    def _note_delta(self, data: bytes, texts: Texts) -> None:
        try:
            delta = _decode_delta(data)
        except _UNREADABLE:
            return
        if delta.type == "response.output_text.delta":
            texts.add(self._items.setdefault(delta.item_id, len(self._items)), delta.delta)

    @staticmethod
    def _note_output(body: bytes, texts: Texts) -> None:
        for index, item in enumerate(_decode_spoken(body).output):
            for part in item.content or ():
                if item.type == "message" and part.type == "output_text":
                    texts.add(index, part.text)


class OpenAIResponses:
    """POST /v1/responses."""

    name = "openai_responses"
    path = "/v1/responses"
    speaker = OPENAI
    marked = True
    forwarded = ()

    def parse(self, body: bytes) -> Question:
        """Read a request's body; raises CallError (BAD_BODY, BAD_FIELD)."""
        fields, dropped = request.read(body)
        model = request.model(fields)
        if request.flag(fields, "background"):
            # Its answer would be fetched later, by a path that is not served.
            raise CallError(
                Kind.BAD_FIELD, "background responses are not served here.", param="background"
            )
        streams = request.flag(fields, "stream")
        most = request.most_tokens(fields)
        return Question(fields, model, dropped, streams=streams, max_output_tokens=most)

    def apply(self, question: Question, *, model: str, ticket: str | None) -> bytes:
        """Return the body for the engine; members keep their order and their bytes."""
        return request.addressed(question, model, ticket)

    def reading(self, question: Question, *, texts: bool) -> ResponsesReading:
        """Return the reading of an answer."""
        return ResponsesReading(texts=texts)
