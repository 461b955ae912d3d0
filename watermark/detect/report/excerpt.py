"""The part of a document that the page shows, cut at the bounds of its marked spans."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from watermark.detect.report.summary import SpanFinding

if TYPE_CHECKING:
    from watermark.detect.segments import Segment

LIMIT = 4000
_LEAD = 300


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive pieces that lie in one span, or in none."""

    span: SpanFinding | None
    pieces: "tuple[Segment, ...]"


@dataclass(frozen=True, slots=True)
class Excerpt:
    """What is shown, and how many characters are left out before and after it."""

    before: int
    runs: tuple[Run, ...]
    after: int


def excerpt(
    pieces: "Sequence[Segment]", spans: Sequence[SpanFinding], limit: int = LIMIT
) -> Excerpt:
    """At most `limit` characters, from a little before the strongest span (else the start)."""
    length = sum(len(piece.text) for piece in pieces)
    strongest = min(spans, key=lambda span: span.log10_p, default=None)
    first = 0
    if strongest is not None and length > limit:
        first = min(max(strongest.start - _LEAD, 0), length - limit)
    last = min(first + limit, length)
    inside = sorted(spans, key=lambda span: span.start)
    runs: list[Run] = []
    cursor = first
    for span in inside:
        start, end = max(span.start, cursor), min(span.end, last)
        if start < end:
            runs += [Run(None, tuple(_cut(pieces, cursor, start)))] if cursor < start else []
            runs.append(Run(span, tuple(_cut(pieces, start, end))))
            cursor = end
    if cursor < last:
        runs.append(Run(None, tuple(_cut(pieces, cursor, last))))
    return Excerpt(first, tuple(runs), length - last)


def _cut(pieces: "Sequence[Segment]", start: int, end: int) -> "Iterable[Segment]":
    """The pieces between two characters, the outer ones shortened."""
    position = 0
    for piece in pieces:
        text = piece.text[max(start - position, 0) : max(end - position, 0)]
        position += len(piece.text)
        if text:
            yield replace(piece, text=text)
