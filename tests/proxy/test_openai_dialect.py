"""The OpenAI dialect: what it reads, what it changes, what it says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.dialects import DIALECTS
from proxy.dialects.contract import Dialect
from proxy.dialects.dropped import DROPPED
from proxy.dialects.openai import OPENAI, SHAPES, duration
from proxy.dialects.openai_chat import OpenAIChat
from proxy.errors import CallError, Kind
from proxy.guard.contract import Verdict

OPENAI_CHAT = OpenAIChat()


def sent(body: bytes, model: str = "m") -> bytes:
    return OPENAI_CHAT.apply(OPENAI_CHAT.parse(body), model=model, ticket="T")


def test_only_the_ticket_is_added_and_all_else_goes_out_byte_for_byte() -> None:
    body = (
        b'{"messages":[ {"role" : "user","content":"\\u00e4\xc3\xa4 1.50"} ],"model":"m","n":1.0}'
    )

    assert sent(body) == body[:-1] + b',"vllm_xargs":{"azeotrope":"T"}}'


def test_a_renamed_model_is_replaced_in_its_place() -> None:
    assert sent(b'{"model":"m","n":1}', "engine-m") == (
        b'{"model":"engine-m","n":1,"vllm_xargs":{"azeotrope":"T"}}'
    )


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("name", sorted(DROPPED))
def test_a_field_that_no_client_may_send_is_dropped_and_named(dialect: Dialect, name: str) -> None:
    body = json.dumps({"model": "m", name: {"azeotrope": "forged"}, "n": 1}).encode()

    question = dialect.parse(body)

    assert question.dropped == (name,)
    assert dialect.apply(question, model="m", ticket=None) == b'{"model":"m","n":1}'
    assert dialect.apply(question, model="m", ticket="T") == (
        b'{"model":"m","n":1,"vllm_xargs":{"azeotrope":"T"}}'
    )


@pytest.mark.parametrize(
    ("fields", "most"),
    [
        ("", None),
        (',"max_tokens":null', None),
        (',"max_tokens":-1', None),
        (',"max_tokens":5', 5),
        (',"max_completion_tokens":5,"max_tokens":9', 9),
        (',"max_completion_tokens":5,"n_predict":7', 7),
        (',"max_output_tokens":5', 5),
    ],
)
def test_what_the_client_asks_for_at_most_is_known(fields: str, most: int | None) -> None:
    for dialect in DIALECTS.values():
        if dialect.marked:
            question = dialect.parse(f'{{"model":"m"{fields}}}'.encode())
            assert question.max_output_tokens == most


@pytest.mark.parametrize("value", ['"5"', "5.5", "[5]", "true"])
def test_a_number_that_engines_might_read_differently_is_refused(value: str) -> None:
    with pytest.raises(CallError) as caught:
        OPENAI_CHAT.parse(f'{{"model":"m","max_tokens":{value}}}'.encode())

    assert (caught.value.kind, caught.value.param) == (Kind.BAD_FIELD, "max_tokens")


def test_an_escaped_spelling_of_such_a_field_is_dropped_as_well() -> None:
    body = rb'{"model":"m","vllm\u005fxargs":{"azeotrope":"forged"}}'

    assert sent(body) == b'{"model":"m","vllm_xargs":{"azeotrope":"T"}}'


@pytest.mark.parametrize(
    ("options", "asked", "added"),
    [
        (None, {"include_usage": True}, True),
        ("null", {"include_usage": True}, True),
        ("{}", {"include_usage": True}, True),
        ('{"include_usage":false}', {"include_usage": True}, True),
        ('{"include_usage":null}', {"include_usage": True}, True),
        ('{"x":1.0}', {"x": 1.0, "include_usage": True}, True),
        ('{"include_usage":true,"x":1}', {"include_usage": True, "x": 1}, False),
    ],
)
def test_a_stream_is_asked_for_usage(
    options: str | None, asked: dict[str, Any], added: bool
) -> None:
    member = "" if options is None else f',"stream_options":{options}'
    question = OPENAI_CHAT.parse(f'{{"model":"m","stream":true{member}}}'.encode())

    body = json.loads(OPENAI_CHAT.apply(question, model="m", ticket="T"))

    assert body["stream_options"] == asked
    assert question.added_usage is added


@pytest.mark.parametrize("stream", ["", ',"stream":false', ',"stream":null'])
def test_an_answer_that_is_not_streamed_is_not_asked_for_anything(stream: str) -> None:
    question = OPENAI_CHAT.parse(f'{{"model":"m"{stream}}}'.encode())

    assert not question.added_usage
    assert b"stream_options" not in OPENAI_CHAT.apply(question, model="m", ticket="T")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{}", "model"),
        (b'{"model":null}', "model"),
        (b'{"model":["m"]}', "model"),
        (b'{"model":"m","stream":"yes"}', "stream"),
        (b'{"model":"m","stream":1}', "stream"),
        (b'{"model":"m","stream":true,"stream_options":[]}', "stream_options"),
        (b'{"model":"m","stream":true,"stream_options":{"include_usage":1}}', "include_usage"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(body: bytes, param: str) -> None:
    with pytest.raises(CallError) as caught:
        OPENAI_CHAT.parse(body)

    assert (caught.value.kind, caught.value.param) == (Kind.BAD_FIELD, param)


@pytest.mark.parametrize("kind", list(Kind))
def test_every_error_has_the_shape_that_clients_read(kind: Kind) -> None:
    reply = OPENAI.error(CallError(kind, "what happened", param="p", headers={"x-y": "1"}), "id")

    error = json.loads(reply.body)["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert (error["message"], error["param"]) == ("what happened", "p")
    assert 400 <= reply.status < 600
    assert reply.headers["x-y"] == "1"
    assert SHAPES[kind][0] == reply.status


def test_an_error_in_a_stream_is_one_event() -> None:
    reading = OPENAI_CHAT.reading(OPENAI_CHAT.parse(b'{"model":"m"}'), texts=False)
    event = reading.error_event(CallError(Kind.UPSTREAM_BROKEN, "two\nlines"))

    assert event.startswith(b"data: {")
    assert event.endswith(b"}\n\n")
    assert event.count(b"\n") == 2


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Basic abc", "az-key"])
def test_a_missing_key_is_told(value: str) -> None:
    with pytest.raises(CallError) as caught:
        OPENAI.credential({"Authorization": value})

    assert caught.value.kind is Kind.NO_KEY


@pytest.mark.parametrize("value", ["Bearer az-1", "bearer  az-1 "])
def test_a_key_is_read_whatever_the_case_of_its_scheme(value: str) -> None:
    assert OPENAI.credential({"Authorization": value}) == "az-1"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.0001, "1ms"),
        (0.12, "120ms"),
        (1, "1s"),
        (8.64, "8.64s"),
        (60, "1m0s"),
        (90.951, "1m30.951s"),
        (360, "6m0s"),
        (3600, "1h0m0s"),
        (86399.9995, "24h0m0s"),
    ],
)
def test_durations_are_written_as_this_api_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def verdict(*, admitted: bool, retry_after_s: float = 0.0) -> Verdict:
    return Verdict(admitted, int(admitted), 60, 5, 1.5, retry_after_s, "store")


def test_limits_are_told_on_success_and_the_wait_with_a_refusal() -> None:
    assert OPENAI.limits(verdict(admitted=True)) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "5",
        "x-ratelimit-reset-requests": "1.5s",
    }
    refused = OPENAI.limits(verdict(admitted=False, retry_after_s=0.2))
    assert (refused["retry-after"], refused["retry-after-ms"]) == ("1", "200")
