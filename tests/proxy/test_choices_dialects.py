"""Readings of chat completions and completions: tokens, texts, the last word."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.dialects.choices import ChoicesReading
from proxy.dialects.contract import Question, Usage

RECORD = b'{"id":"x","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5}}'


def reading(*, added_usage: bool = False, texts: bool = False) -> ChoicesReading:
    return ChoicesReading(Question({}, "m", (), added_usage), texts=texts)


def delta(index: int = 0, **fields: Any) -> bytes:
    return json.dumps({"choices": [{"index": index, "delta": fields}]}).encode()


@pytest.mark.parametrize("added_usage", [True, False])
def test_the_usage_record_is_kept_from_a_client_that_did_not_ask(added_usage: bool) -> None:
    one = reading(added_usage=added_usage)

    assert one.event(RECORD) is not added_usage
    assert one.usage == Usage(3, 5)


def test_the_records_of_several_choices_are_added_up() -> None:
    one = reading(added_usage=True)
    one.event(b'{"choices":[{"index":0}],"usage":{"prompt_tokens":3,"completion_tokens":2}}')

    assert not one.event(RECORD)
    assert not one.event(RECORD)
    assert one.usage == Usage(3, 10)


def test_an_event_with_usage_beside_choices_is_read_and_kept() -> None:
    one = reading(added_usage=True)

    assert one.event(b'{"choices":[{"index":0}],"usage":{"prompt_tokens":1,"completion_tokens":2}}')
    assert one.usage == Usage(1, 2)


@pytest.mark.parametrize(
    "data",
    [
        b'{"usage": 5, "choices": []}',
        b'{"usage": "much", "choices": []}',
        b'{"usage": {"completion_tokens": -5}, "choices": []}',
        b'{"usage": {"completion_tokens": 1e300}, "choices": []}',
        b'"usage"',
        b'{"usage":',
        b'{"usage": {"prompt_tokens": "\xff"}, "choices": []}',
    ],
)
def test_an_event_that_only_looks_like_usage_is_kept(data: bytes) -> None:
    one = reading(added_usage=True)

    assert one.event(data)
    assert one.usage == Usage(None, 1, "counted")


def test_without_usage_the_events_with_content_are_counted() -> None:
    one = reading()
    one.event(delta(role="assistant", content=""))
    one.event(delta(role="assistant", content=None))
    one.event(delta(content="role"))
    one.event(delta(role="assistant", content="b"))
    one.event(delta(tool_calls=[{"index": 0}]))
    one.event(delta(reasoning_content="hm"))
    one.event(delta(index=1, content="c"))
    one.event(b'{"choices":[{"finish_reason":"stop","index":0,"delta":{}}]}')
    one.event(b"[DONE]")

    assert one.usage == Usage(None, 5, "counted")


def test_before_any_event_nothing_is_known() -> None:
    assert reading().usage is None


@pytest.mark.parametrize("last", [b"[DONE]", b'{"error":{"message":"out of memory"}}'])
def test_the_last_word_is_seen(last: bytes) -> None:
    one = reading()
    one.event(delta(content="[DONE]"))
    assert not one.done

    assert one.event(last)
    assert one.done


def test_usage_of_a_whole_answer_is_read_and_its_absence_forgiven() -> None:
    for body, usage in (
        (b'{"usage":{"prompt_tokens":1,"completion_tokens":2,"x":{}}}', Usage(1, 2)),
        (b'{"error":{}}', None),
        (b"not json", None),
    ):
        one = reading()
        one.whole(body)
        assert one.usage == usage


def test_texts_are_those_of_the_choices_by_index() -> None:
    one = reading(texts=True)
    one.event(delta(1, content="b"))
    one.event(delta(0, content="a", tool_calls=[]))
    one.event(delta(1, content="ä\u2028"))
    one.event(b'{"choices":[{"index":2,"text":"c"}]}')
    one.event(b"not json")

    assert one.text() == ["a", "bä\u2028", "c"]


def test_texts_of_whole_answers() -> None:
    chat, completion = reading(texts=True), reading(texts=True)
    chat.whole(b'{"choices":[{"index":0,"message":{"content":"a"}}]}')
    completion.whole(b'{"choices":[{"index":1,"text":"b"},{"index":0,"text":"a"}]}')

    assert chat.text() == ["a"]
    assert completion.text() == ["a", "b"]


def test_texts_are_kept_only_if_they_are_wanted() -> None:
    one = reading()
    one.event(delta(content="a"))

    assert one.text() == []
