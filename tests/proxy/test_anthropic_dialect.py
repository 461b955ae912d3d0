"""The Anthropic family: what it reads, what it changes, what it says."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from proxy.dialects import speaker_of
from proxy.dialects.anthropic import ANTHROPIC, SHAPES
from proxy.dialects.anthropic_count_tokens import AnthropicCountTokens
from proxy.dialects.anthropic_messages import AnthropicMessages, MessagesReading
from proxy.dialects.contract import Usage
from proxy.dialects.openai import OPENAI
from proxy.errors import CallError, Kind
from proxy.guard.contract import Verdict

MESSAGES = AnthropicMessages()


def event(kind: str, **fields: Any) -> bytes:
    return json.dumps({"type": kind, **fields}).encode()


def text(piece: str, index: int = 0) -> bytes:
    return event("content_block_delta", index=index, delta={"type": "text_delta", "text": piece})


START = event("message_start", message={"usage": {"input_tokens": 9, "output_tokens": 1}})


def test_only_the_ticket_is_added_and_all_else_goes_out_byte_for_byte() -> None:
    body = b'{"model":"m","max_tokens":1, "messages":[ {"role":"user"} ],"x":1.50}'

    sent = MESSAGES.apply(MESSAGES.parse(body), model="m", ticket="T")

    assert sent == (
        b'{"model":"m","max_tokens":1,"messages":[ {"role":"user"} ],"x":1.50,'
        b'"vllm_xargs":{"azeotrope":"T"}}'
    )


def test_a_stream_is_not_asked_for_usage_because_it_carries_it_anyway() -> None:
    question = MESSAGES.parse(b'{"model":"m","stream":true,"max_tokens":7}')

    assert (question.streams, question.added_usage, question.max_output_tokens) == (True, False, 7)
    assert b"stream_options" not in MESSAGES.apply(question, model="m", ticket=None)


def test_counting_tokens_needs_no_ticket() -> None:
    dialect = AnthropicCountTokens()
    question = dialect.parse(b'{"model":"m","messages":[],"watermark":false}')

    assert not dialect.marked
    assert question.dropped == ("watermark",)
    assert dialect.apply(question, model="e", ticket=None) == b'{"model":"e","messages":[]}'


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"x-api-key": "az-1"}, "az-1"),
        ({"Authorization": "Bearer az-1"}, "az-1"),
        ({"x-api-key": " az-1 ", "Authorization": "Bearer az-1"}, "az-1"),
    ],
)
def test_a_key_comes_in_either_header(headers: dict[str, str], key: str) -> None:
    assert ANTHROPIC.credential(headers) == key


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": " "},
        {"Authorization": "Basic az-1"},
        {"x-api-key": "az-1", "Authorization": "Bearer az-2"},
        {"x-api-key": "ä", "Authorization": "Bearer az-2"},
    ],
)
def test_no_key_and_two_different_keys_are_told(headers: dict[str, str]) -> None:
    with pytest.raises(CallError) as caught:
        ANTHROPIC.credential(headers)

    assert SHAPES[caught.value.kind] == (401, "authentication_error")


@pytest.mark.parametrize("kind", list(Kind))
def test_every_error_has_the_shape_that_clients_read(kind: Kind) -> None:
    reply = ANTHROPIC.error(CallError(kind, "what happened", headers={"x-y": "1"}), "req_1")

    assert json.loads(reply.body) == {
        "type": "error",
        "error": {"type": SHAPES[kind][1], "message": "what happened"},
        "request_id": "req_1",
    }
    assert reply.status == SHAPES[kind][0]
    assert reply.headers["x-y"] == "1"


def test_limits_are_told_on_success_and_the_wait_with_a_refusal() -> None:
    told = ANTHROPIC.limits(Verdict(True, 1, 60, 5, 1.5, 0.0, "store"))
    refused = ANTHROPIC.limits(Verdict(False, 0, 60, 0, 1.5, 0.2, "store"))

    assert told["anthropic-ratelimit-requests-limit"] == "60"
    assert told["anthropic-ratelimit-requests-remaining"] == "5"
    reset = datetime.fromisoformat(told["anthropic-ratelimit-requests-reset"])
    assert timedelta(0) < reset - datetime.now(UTC) < timedelta(seconds=3)
    assert "retry-after" not in told
    assert refused["retry-after"] == "1"


def test_models_are_one_page() -> None:
    page = json.loads(ANTHROPIC.models(["a", "b"], 0))
    empty = json.loads(ANTHROPIC.models([], 0))

    assert [model["id"] for model in page["data"]] == ["a", "b"]
    assert page["data"][0] == json.loads(ANTHROPIC.model("a", 0))
    assert page["data"][0]["created_at"] == "1970-01-01T00:00:00Z"
    assert (page["first_id"], page["last_id"], page["has_more"]) == ("a", "b", False)
    assert (empty["first_id"], empty["last_id"]) == (None, None)


@pytest.mark.parametrize(
    ("headers", "speaker"),
    [
        ({}, OPENAI),
        ({"Authorization": "Bearer x"}, OPENAI),
        ({"Authorization": "Bearer x", "x-api-key": "x"}, OPENAI),
        ({"x-api-key": "x"}, ANTHROPIC),
        ({"Authorization": "Bearer x", "anthropic-version": "2023-06-01"}, ANTHROPIC),
    ],
)
def test_the_family_is_told_by_headers_where_the_path_does_not(
    headers: dict[str, str], speaker: object
) -> None:
    assert speaker_of(headers) is speaker


def test_usage_of_a_stream_is_that_of_its_beginning_and_of_its_end() -> None:
    reading = MessagesReading(texts=False)
    for data in (START, text("a"), text("b")):
        assert reading.event(data)
    assert reading.usage == Usage(9, 2, "counted")

    reading.event(event("message_delta", delta={}, usage={"output_tokens": 5}))
    assert reading.usage == Usage(9, 5)
    assert not reading.done
    reading.event(event("message_stop"))
    assert reading.done


def test_tokens_that_the_cache_had_are_tokens_of_the_prompt() -> None:
    reading = MessagesReading(texts=False)
    usage = {
        "input_tokens": 1,
        "cache_read_input_tokens": 40,
        "cache_creation_input_tokens": 2,
        "output_tokens": 5,
    }
    reading.whole(json.dumps({"usage": usage, "content": []}).encode())

    assert reading.usage == Usage(43, 5)


def test_deltas_of_every_kind_are_counted_and_signatures_are_not() -> None:
    reading = MessagesReading(texts=False)
    reading.event(event("ping"))
    for kind in ("text_delta", "input_json_delta", "thinking_delta", "signature_delta"):
        reading.event(event("content_block_delta", index=0, delta={"type": kind}))

    assert reading.usage == Usage(None, 3, "counted")


def test_an_error_of_the_engines_own_is_a_last_word() -> None:
    for data in (event("error", error={"type": "overloaded_error"}), b'{"error":{"code":500}}'):
        reading = MessagesReading(texts=False)
        reading.event(data)
        assert reading.done


def test_texts_are_those_of_the_blocks_and_of_nothing_else() -> None:
    stream, whole = MessagesReading(texts=True), MessagesReading(texts=True)
    thought = {"type": "thinking_delta", "thinking": "hm"}
    for data in (
        event("content_block_delta", index=0, delta=thought),
        text("a", 1),
        text("ä\u2028", 1),
        text("b", 2),
    ):
        stream.event(data)
    blocks = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "aä\u2028"},
        {"type": "tool_use", "input": {}},
        {"type": "text", "text": "b"},
    ]
    whole.whole(json.dumps({"content": blocks}).encode())

    assert stream.text() == whole.text() == ["aä\u2028", "b"]


@pytest.mark.parametrize("data", [b"", b"not json", b"[]", b'{"type":5}', b"\xff", b'{"usage":1}'])
def test_what_cannot_be_read_goes_through(data: bytes) -> None:
    reading = MessagesReading(texts=True)
    reading.whole(data)

    assert reading.event(data)
    assert reading.event(b'{"type":"content_block_delta","delta":' + data + b"}")
    assert reading.text() == []


def test_an_error_in_a_stream_is_one_event() -> None:
    sent = MessagesReading(texts=False).error_event(CallError(Kind.UPSTREAM_BROKEN, "two\nlines"))

    name, data, *rest = sent.split(b"\n")
    assert (name, rest) == (b"event: error", [b"", b""])
    assert json.loads(data.removeprefix(b"data: ")) == {
        "type": "error",
        "error": {"type": "api_error", "message": "two\nlines"},
    }
