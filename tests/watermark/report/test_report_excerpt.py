"""The shown part of a document: cut at spans, nothing lost inside, bounded in length."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watermark.detect.report.excerpt import excerpt
from watermark.detect.report.summary import SpanFinding
from watermark.detect.segments import Segment

WORDS = ["one ", "two ", "three ", "four "]
PIECES = tuple(Segment(word, "green" if i % 2 else "red") for i, word in enumerate(WORDS))


def test_a_span_cuts_the_pieces_it_begins_and_ends_in() -> None:
    shown = excerpt(PIECES, [SpanFinding(2, 10, -5.0)])
    texts = [[piece.text for piece in run.pieces] for run in shown.runs]
    assert texts == [["on"], ["e ", "two ", "th"], ["ree ", "four "]]
    assert [run.span is not None for run in shown.runs] == [False, True, False]
    assert [piece.colour for piece in shown.runs[1].pieces] == ["red", "green", "red"]


def test_a_long_document_is_shown_from_before_its_strongest_span() -> None:
    pieces = (Segment("x" * 100_000, "plain"),)
    shown = excerpt(pieces, [SpanFinding(10, 20, -1.0), SpanFinding(70_000, 80_000, -9.0)], 4000)
    assert (shown.before, shown.after) == (69_700, 26_300)
    assert [sum(len(p.text) for p in run.pieces) for run in shown.runs] == [300, 3700]


def test_a_document_without_spans_is_shown_from_its_start() -> None:
    shown = excerpt((Segment("x" * 5000, "plain"),), [], 4000)
    assert (shown.before, shown.after, len(shown.runs)) == (0, 1000, 1)
    assert excerpt((), []).runs == ()


def spans() -> st.SearchStrategy[SpanFinding]:
    return st.builds(
        lambda start, length, p: SpanFinding(start, start + length, p),
        st.integers(0, 150), st.integers(1, 60), st.floats(-50, 0),
    )  # fmt: skip


@given(
    st.lists(st.text(min_size=1, max_size=9), max_size=20),
    st.lists(spans(), max_size=5),
    st.integers(1, 80),
)
def test_what_is_shown_is_a_stretch_of_the_text(
    words: list[str], found: list[SpanFinding], limit: int
) -> None:
    text = "".join(words)
    shown = excerpt([Segment(word, "plain") for word in words], found, limit)
    joined = "".join(piece.text for run in shown.runs for piece in run.pieces)
    assert joined == text[shown.before : len(text) - shown.after]
    assert len(joined) == min(limit, len(text))


@pytest.mark.parametrize("order", [1, -1])
def test_overlapping_spans_are_drawn_once(order: int) -> None:
    found = [SpanFinding(0, 6, -5.0), SpanFinding(4, 9, -3.0)][::order]
    shown = excerpt(PIECES, found)
    assert ["".join(p.text for p in run.pieces) for run in shown.runs] == [
        "one tw", "o t", "hree four ",
    ]  # fmt: skip
