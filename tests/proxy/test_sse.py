"""The splitter: whatever the pieces, the same bytes, the same events."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sse import MAX_EVENT, Splitter

RECORD = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5}}'
DELTA = (
    'data: {"choices":[{"delta":{"content":"two\u2028lines, \\"usage\\""}}],"usage":null}'.encode()
)

ends = st.sampled_from([b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n", b"\r\n\n", b"\n\r", b"\r\n\r"])
events = st.sampled_from(
    [
        RECORD,
        DELTA,
        b": keep-alive",
        b"event: x\r\ndata: a\r\ndata: b",
        b"event: x\nid: 1\ndata: a\ndata: b",
        b"event: x\ndata: a",
        b"data:x",
        b"data",
        b"id",
    ]
)


class Reader:
    """Remembers what it was shown, and wants the record left out."""

    def __init__(self) -> None:
        self.seen: list[bytes | None] = []

    def event(self, data: bytes) -> bool:
        self.seen.append(data)
        return data != RECORD[6:]

    def unread(self) -> None:
        self.seen.append(None)


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """Return a stream, and the same in pieces."""
    parts = draw(st.lists(st.tuples(events, ends), max_size=12))
    whole = b"".join(event + end for event, end in parts)
    cuts = sorted(draw(st.sets(st.integers(0, len(whole)), max_size=20)))
    bounds = [0, *cuts, len(whole)]
    return whole, [whole[a:b] for a, b in itertools.pairwise(bounds)]


def run(pieces: list[bytes], *, drops: bool) -> tuple[bytes, list[bytes | None]]:
    reader = Reader()
    splitter = Splitter(reader, drops=drops)
    passed = b"".join(splitter.feed(piece) for piece in pieces)
    return passed + splitter.flush(), reader.seen


@given(streams())
def test_a_stream_passes_piece_by_piece_as_it_came_when_nothing_is_dropped(
    stream: tuple[bytes, list[bytes]],
) -> None:
    _, pieces = stream
    splitter = Splitter(Reader(), drops=False)

    assert [splitter.feed(piece) for piece in pieces] == pieces


@given(streams())
def test_pieces_change_neither_bytes_nor_events(stream: tuple[bytes, list[bytes]]) -> None:
    whole, pieces = stream
    for drops in (False, True):
        assert run(pieces, drops=drops) == run([whole], drops=drops)


@given(st.lists(st.tuples(events, st.sampled_from([b"\n\n", b"\r\n\r\n", b"\r\r"])), max_size=12))
def test_only_the_unwanted_record_is_dropped(parts: list[tuple[bytes, bytes]]) -> None:
    whole = b"".join(event + end for event, end in parts)
    kept = b"".join(event + end for event, end in parts if event != RECORD)

    passed, seen = run([whole], drops=True)

    assert passed == kept
    assert len(seen) == sum(bool(re.search(rb"(^|[\r\n])data", event)) for event, _ in parts)


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b"data: a\n\n", b"a"),
        (b"data:a\n\n", b"a"),
        (b"data:  a\n\n", b" a"),
        (b"data\n\n", b""),
        (b"event: x\ndata: a\nid: 1\n\n", b"a"),
        (b"event: x\r\ndata: a\r\ndata: b\r\n\r\n", b"a\nb"),
        (b": ping\ndata: a\n\n", b"a"),
        (b"\ndata: a\n\n", b"a"),
        ("data: a\u2028b\u0085\n\n".encode(), "a\u2028b\u0085".encode()),
    ],
)
def test_data_is_read_as_the_standard_says(event: bytes, data: bytes) -> None:
    assert run([event], drops=False) == (event, [data])


def test_a_finished_event_is_not_held_back() -> None:
    splitter = Splitter(Reader(), drops=True)

    assert splitter.feed(DELTA + b"\n\n" + RECORD[:9]) == DELTA + b"\n\n"


def test_an_unfinished_event_waits_only_if_something_is_to_be_dropped() -> None:
    assert Splitter(Reader(), drops=False).feed(DELTA) == DELTA
    assert Splitter(Reader(), drops=True).feed(DELTA) == b""


@pytest.mark.parametrize("event", [b": ping\n\n", b"id: 1\n\n", b"\n\n", b"database: x\n\n"])
def test_what_has_no_data_is_passed_and_shown_to_nobody(event: bytes) -> None:
    assert run([event, DELTA + b"\n\n"], drops=True) == (event + DELTA + b"\n\n", [DELTA[6:]])


@pytest.mark.parametrize("drops", [False, True])
def test_an_endless_event_is_passed_on_and_takes_no_memory(drops: bool) -> None:
    reader = Reader()
    splitter = Splitter(reader, drops=drops)
    piece, passed = b"x" * 65_536, bytearray()
    for _ in range(4 * MAX_EVENT // len(piece)):
        passed += splitter.feed(piece)
        assert len(splitter._tail) <= MAX_EVENT + len(piece)
    assert not splitter.at_boundary

    passed += splitter.feed(b"\n\n" + RECORD + b"\n\n")
    passed += splitter.flush()

    assert splitter.at_boundary
    assert reader.seen == [None, RECORD[6:]]
    dropped = 0 if not drops else len(RECORD) + 2
    assert len(passed) == 4 * MAX_EVENT + 2 + len(RECORD) + 2 - dropped


def test_a_boundary_is_known_in_both_modes() -> None:
    watching, dropping = Splitter(Reader(), drops=False), Splitter(Reader(), drops=True)
    for splitter in (watching, dropping):
        splitter.feed(DELTA + b"\n\n")
        assert splitter.at_boundary
        splitter.feed(DELTA[:7])
    # The client of the first has seen half an event, that of the second has not.
    assert not watching.at_boundary
    assert dropping.at_boundary
