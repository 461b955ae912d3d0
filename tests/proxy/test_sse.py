"""The splitter: whatever the pieces, the same bytes, the same usage, the same count."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sse import MAX_EVENT, Splitter, Usage, usage_of

USAGE = b'data: {"id":"x","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5}}'
DELTA = (
    'data: {"choices":[{"delta":{"content":"two\u2028lines, \\"usage\\""}}],"usage":null}'.encode()
)
DONE = b"data: [DONE]"

ends = st.sampled_from([b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n", b"\r\n\n", b"\n\r", b"\r\n\r"])
events = st.sampled_from(
    [
        USAGE,
        DELTA,
        b": keep-alive",
        b"event: x\r\ndata: a\r\ndata: b",
        b"event: x\nid: 1\ndata: a\ndata: b",
        b"data:x",
        b"data",
        b"id",
    ]
)


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """Return a stream, and the same in pieces."""
    parts = draw(st.lists(st.tuples(events, ends), max_size=12))
    whole = b"".join(event + end for event, end in parts)
    cuts = sorted(draw(st.sets(st.integers(0, len(whole)), max_size=20)))
    bounds = [0, *cuts, len(whole)]
    return whole, [whole[a:b] for a, b in itertools.pairwise(bounds)]


def run(pieces: list[bytes], *, drop_usage: bool) -> tuple[bytes, Splitter]:
    splitter = Splitter(drop_usage=drop_usage)
    passed = b"".join(splitter.feed(piece) for piece in pieces)
    return passed + splitter.flush(), splitter


@given(streams())
def test_a_stream_passes_piece_by_piece_as_it_came_when_nothing_is_dropped(
    stream: tuple[bytes, list[bytes]],
) -> None:
    _, pieces = stream
    splitter = Splitter(drop_usage=False)

    assert [splitter.feed(piece) for piece in pieces] == pieces


@given(streams())
def test_pieces_change_neither_bytes_nor_usage_nor_count(
    stream: tuple[bytes, list[bytes]],
) -> None:
    whole, pieces = stream
    for drop_usage in (False, True):
        expected, once = run([whole], drop_usage=drop_usage)
        passed, splitter = run(pieces, drop_usage=drop_usage)

        assert passed == expected
        assert splitter.usage == once.usage
        assert splitter.events == once.events


@given(st.lists(st.tuples(events, st.sampled_from([b"\n\n", b"\r\n\r\n", b"\r\r"])), max_size=12))
def test_only_the_usage_record_is_dropped(parts: list[tuple[bytes, bytes]]) -> None:
    whole = b"".join(event + end for event, end in parts)
    kept = b"".join(event + end for event, end in parts if event != USAGE)

    passed, splitter = run([whole], drop_usage=True)

    assert passed == kept
    found = Usage(3, 5) if any(event == USAGE for event, _ in parts) else None
    assert splitter.usage == found
    assert splitter.events == sum(bool(re.search(rb"(^|[\r\n])data", event)) for event, _ in parts)


def test_a_finished_event_is_not_held_back() -> None:
    splitter = Splitter(drop_usage=True)

    assert splitter.feed(DELTA + b"\n\n" + USAGE[:9]) == DELTA + b"\n\n"


def test_an_unfinished_event_waits_only_if_the_usage_record_is_to_be_dropped() -> None:
    assert Splitter(drop_usage=False).feed(DELTA) == DELTA
    assert Splitter(drop_usage=True).feed(DELTA) == b""


def test_an_event_with_usage_beside_choices_is_counted_and_passed() -> None:
    event = b'data: {"choices":[{"index":0}],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'

    passed, splitter = run([event], drop_usage=True)

    assert passed == event
    assert splitter.usage == Usage(1, 2)


@pytest.mark.parametrize(
    "data",
    [
        b'{"usage": 5, "choices": []}',
        b'{"usage": "much", "choices": []}',
        b'"usage"',
        b'{"usage":',
        b'{"usage": {"prompt_tokens": "\xff"}, "choices": []}',
    ],
)
def test_an_event_that_only_looks_like_usage_passes(data: bytes) -> None:
    passed, splitter = run([b"data: " + data + b"\n\n"], drop_usage=True)

    assert passed == b"data: " + data + b"\n\n"
    assert splitter.usage is None


def test_a_comment_is_passed_and_not_counted_as_an_event() -> None:
    passed, splitter = run([b": ping\n\n", DELTA + b"\n\n"], drop_usage=True)

    assert passed == b": ping\n\n" + DELTA + b"\n\n"
    assert splitter.events == 1


def test_the_end_of_the_stream_is_seen() -> None:
    splitter = Splitter(drop_usage=False)
    splitter.feed(DELTA + b"\n\n")
    assert not splitter.done
    splitter.feed(DONE + b"\n\n")
    assert splitter.done


@pytest.mark.parametrize("drop_usage", [False, True])
def test_an_endless_event_is_passed_on_and_takes_no_memory(drop_usage: bool) -> None:
    splitter = Splitter(drop_usage=drop_usage)
    piece, passed = b"x" * 65_536, bytearray()
    for _ in range(4 * MAX_EVENT // len(piece)):
        passed += splitter.feed(piece)
        assert len(splitter._tail) <= MAX_EVENT + len(piece)
    assert not splitter.at_boundary

    passed += splitter.feed(b"\n\n" + USAGE + b"\n\n")
    passed += splitter.flush()

    assert splitter.at_boundary
    assert splitter.usage == Usage(3, 5)
    dropped = 0 if not drop_usage else len(USAGE) + 2
    assert len(passed) == 4 * MAX_EVENT + 2 + len(USAGE) + 2 - dropped


def test_a_boundary_is_known_in_both_modes() -> None:
    watching, dropping = Splitter(drop_usage=False), Splitter(drop_usage=True)
    for splitter in (watching, dropping):
        splitter.feed(DELTA + b"\n\n")
        assert splitter.at_boundary
        splitter.feed(DELTA[:7])
    # The client of the first has seen half an event, that of the second has not.
    assert not watching.at_boundary
    assert dropping.at_boundary


def test_usage_of_a_whole_answer_is_read_and_its_absence_forgiven() -> None:
    assert usage_of(b'{"usage":{"prompt_tokens":1,"completion_tokens":2,"x":{}}}') == Usage(1, 2)
    assert usage_of(b'{"error":{}}') is None
    assert usage_of(b"not json") is None
