"""OpenAI's responses: what is read of them, and what is said in their streams."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.dialects.contract import Usage
from proxy.dialects.openai_responses import OpenAIResponses, ResponsesReading
from proxy.errors import CallError, Kind

RESPONSES = OpenAIResponses()
USAGE = {"input_tokens": 9, "output_tokens": 5, "total_tokens": 14}


def event(kind: str, **fields: Any) -> bytes:
    return json.dumps({**fields, "type": kind}).encode()


def text(piece: str, item: str = "msg_1", **fields: Any) -> bytes:
    return event("response.output_text.delta", item_id=item, delta=piece, **fields)


def last(kind: str) -> bytes:
    return event(kind, response={"usage": USAGE, "output": []}, sequence_number=9)


def test_the_ticket_is_added_and_the_clients_state_passes() -> None:
    body = b'{"model":"m","input":"x","previous_response_id":"resp_1","store":false}'
    question = RESPONSES.parse(body)

    assert RESPONSES.apply(question, model="m", ticket="T") == (
        body[:-1] + b',"vllm_xargs":{"azeotrope":"T"}}'
    )


def test_an_answer_that_would_be_fetched_elsewhere_is_refused() -> None:
    with pytest.raises(CallError) as caught:
        RESPONSES.parse(b'{"model":"m","background":true}')
    assert (caught.value.kind, caught.value.param) == (Kind.BAD_FIELD, "background")

    assert RESPONSES.parse(b'{"model":"m","background":false}').model == "m"


@pytest.mark.parametrize("end", ["response.completed", "response.incomplete", "response.failed"])
def test_the_last_event_carries_the_usage(end: str) -> None:
    reading = ResponsesReading(texts=False)
    reading.event(event("response.created", response={"usage": None}, sequence_number=0))
    reading.event(text("a"))
    reading.event(event("response.reasoning_text.delta", delta="b"))
    reading.event(event("response.function_call_arguments.delta", delta="c"))
    reading.event(event("response.function_call_arguments.done", arguments="c"))
    assert (reading.usage, reading.done) == (Usage(None, 3, "counted"), False)

    reading.event(last(end))
    assert (reading.usage, reading.done) == (Usage(9, 5), True)


@pytest.mark.parametrize(
    "data", [event("error", code="x", message="y", sequence_number=3), b'{"error":{"code":500}}']
)
def test_an_error_of_the_engines_own_is_a_last_word(data: bytes) -> None:
    reading = ResponsesReading(texts=False)

    assert reading.event(data)
    assert reading.done


@pytest.mark.parametrize("piece", ["response", "error", 'x"response":{', "response.completed"])
def test_a_text_that_speaks_of_events_is_a_text(piece: str) -> None:
    reading = ResponsesReading(texts=True)
    reading.event(text(piece))

    assert not reading.done
    assert reading.usage == Usage(None, 1, "counted")
    assert reading.text() == [piece]


def test_an_answer_that_ends_like_a_delta_is_still_the_last_event() -> None:
    reading = ResponsesReading(texts=False)
    output = [{"type": "message", "content": [{"type": "output_text", "text": "it is .delta"}]}]
    reading.event(event("response.completed", response={"output": output, "usage": USAGE}))

    assert reading.done
    assert reading.usage == Usage(9, 5)


def test_a_last_event_too_large_to_be_read_is_not_taken_for_a_cut() -> None:
    reading = ResponsesReading(texts=False)
    reading.event(text("a"))
    reading.unread()

    assert reading.done


def test_texts_are_those_of_the_messages_in_their_order() -> None:
    stream, whole = ResponsesReading(texts=True), ResponsesReading(texts=True)
    for data in (
        event("response.reasoning_text.delta", item_id="rs_1", delta="hm"),
        text("a", "msg_2"),
        text("ä\u2028", "msg_2"),
        text("b", "msg_1"),
    ):
        stream.event(data)
    parts = [{"type": "output_text", "text": "a"}, {"type": "output_text", "text": "ä\u2028"}]
    output = [
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "message", "content": parts},
        {"type": "function_call", "arguments": "{}"},
        {"type": "message", "content": [{"type": "output_text", "text": "b"}]},
    ]
    whole.whole(json.dumps({"output": output, "usage": USAGE}).encode())

    assert stream.text() == whole.text() == ["aä\u2028", "b"]
    assert whole.usage == Usage(9, 5)


@pytest.mark.parametrize("data", [b"", b"not json", b"[]", b'{"type":5}', b"\xff", b'{"usage":1}'])
def test_what_cannot_be_read_goes_through(data: bytes) -> None:
    reading = ResponsesReading(texts=True)
    reading.whole(data)

    assert reading.event(data)
    assert reading.event(b'{"response":' + data + b"}")
    assert reading.event(b'{"type":"response.output_text.delta","delta":' + data + b"}")
    assert reading.text() == []


@pytest.mark.parametrize(
    ("before", "number"),
    [(text("a", sequence_number=7), 8), (text("a"), 0), (b"not json", 0), (None, 0)],
)
def test_an_error_in_a_stream_has_the_next_number(before: bytes | None, number: int) -> None:
    reading = ResponsesReading(texts=False)
    if before is not None:
        reading.event(before)

    sent = reading.error_event(CallError(Kind.UPSTREAM_TIMEOUT, "two\nlines"))

    name, data, *rest = sent.split(b"\n")
    assert (name, rest) == (b"event: error", [b"", b""])
    assert json.loads(data.removeprefix(b"data: ")) == {
        "type": "error",
        "code": "upstream_timeout",
        "message": "two\nlines",
        "param": None,
        "sequence_number": number,
    }
