"""Marked spans within a text: a scan statistic with an exact family-wise bound.

The distinct windows of a channel, in text order, are independent coins under the null
hypothesis. Intervals of fixed lengths (16, 23, 32, 45, … windows, each √2 times the one before),
begun every eighth of their length, cover every stretch of the text. A level (one length) gets an
equal part of the error, each of its intervals an equal part of that:

    p = min over levels of  levels · intervals of the level · P(Binomial(length, gamma) >= hits)

is a valid p-value by the union bound, however the intervals overlap. The tests hold its rate of
false positives against simulated coins.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from watermark.detect.kernels import compiled
from watermark.detect.pvalues import log10_tail, log10_tails

Integers = npt.NDArray[np.int64]
Greens = npt.NDArray[np.uint8]

SHORTEST = 16
_STEPS_PER_LENGTH = 8
# Of the error of a verdict, nine tenths go to the whole document and one tenth to its spans: a
# wholly marked short text loses 5 % of its level, a marked passage in a long one a factor of ten,
# which its p can afford.
WHOLE_PART, _SPANS_PART = math.log10(0.9), math.log10(0.1)
# A span is drawn out while the loss of log likelihood since its best point stays below this
# (the X-drop of sequence alignment): some thirty windows of unmarked text end it, and chance
# seldom cuts marked text.
_DROP = 8.0


@dataclass(frozen=True, slots=True)
class Span:
    """A marked stretch: windows first to last (inclusive) of the document's coins.

    `log10_p` is family-wise over the whole document; `windows` and `hits` are the stretch's own.
    """

    first: int
    last: int
    windows: int
    hits: int
    log10_p: float


@cache
def interval_lengths(windows: int) -> tuple[int, ...]:
    """Lengths of the intervals that cover so many windows, shortest first."""
    lengths = []
    level = 0
    while (length := round(SHORTEST * 2 ** (level / 2))) <= windows:
        lengths.append(length)
        level += 1
    return tuple(lengths)


def interval_count(windows: int, length: int) -> int:
    """How many intervals of a length are looked at among so many windows."""
    return (windows - length) // _stride(length) + 1


def scan_documents(greens: Greens, offsets: Integers, gamma: float) -> npt.NDArray[np.float64]:
    """log10 of the family-wise p [d] of the best interval of each document.

    `greens` uint8 [m] are the coins of all documents in text order, `offsets` int64 [d + 1].
    Documents of fewer than 16 windows have p = 1.
    """
    counts = np.diff(offsets)
    lengths = np.array(interval_lengths(int(counts.max(initial=0))), np.int64)
    best = _best_hits(greens, offsets, lengths)  # [d, levels], -1 beyond the document
    found = np.zeros(len(counts))
    levels = (best >= 0).sum(1)
    for level, length in enumerate(lengths.tolist()):
        rows = np.flatnonzero(best[:, level] >= 0)
        family = np.log10(levels[rows] * ((counts[rows] - length) // _stride(length) + 1))
        p = log10_tails(best[rows, level], length, gamma) + family
        found[rows] = np.minimum(found[rows], p)
    return found


def whole_or_spans(
    log10_whole: npt.NDArray[np.float64], log10_span: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """One p [d] of two (decimal logarithms): of whole documents, and of their best spans.

    A weighted union bound: the smaller of p_whole / 0.9 and p_span / 0.1.
    """
    both = np.minimum(log10_whole - WHOLE_PART, log10_span - _SPANS_PART)
    return np.minimum(both, 0.0)


def find_spans(greens: Greens, gamma: float, green_share: float, log10_level: float) -> list[Span]:
    """Return the marked spans of one document's coins [n], in text order, none overlapping.

    Spans are intervals whose family-wise p is at most 10^log10_level, strongest first, each
    drawn out or cut where the likelihood of marked text (`green_share`) against unmarked says.
    """
    # The compiled scan tells most documents at once that they have none.
    if scan_documents(greens, np.array([0, len(greens)]), gamma)[0] > log10_level:
        return []
    gain, loss = math.log(green_share / gamma), math.log((1 - green_share) / (1 - gamma))
    scores = np.where(greens == 1, gain, loss)
    free = np.ones(len(greens), bool)
    spans = []
    for log10_p, start, length in _significant(greens, gamma, log10_level):
        if not free[start : start + length].all():
            continue
        first, last = _drawn_out(scores, free, *_best_part(scores, start, start + length))
        hits, windows = int(greens[first : last + 1].sum()), last - first + 1
        # An interval may owe its p to the edge of a span that was found before.
        if log10_tail(hits, windows, gamma) > log10_level:
            continue
        free[first : last + 1] = False
        spans.append(Span(first, last, windows, hits, log10_p))
    return sorted(spans, key=lambda span: span.first)


def _significant(greens: Greens, gamma: float, log10_level: float) -> list[tuple[float, int, int]]:
    """Intervals (log10 family-wise p, start, length) at most at the level, strongest first."""
    sums = np.concatenate([[0], np.cumsum(greens, dtype=np.int64)])
    lengths = interval_lengths(len(greens))
    found = []
    for length in lengths:
        starts = np.arange(interval_count(len(greens), length)) * _stride(length)
        hits = sums[starts + length] - sums[starts]
        family = math.log10(len(lengths) * len(starts))
        p = log10_tails(hits, length, gamma) + family
        found += [(float(p[i]), int(starts[i]), length) for i in np.flatnonzero(p <= log10_level)]
    return sorted(found)


def _best_part(scores: npt.NDArray[np.float64], start: int, end: int) -> tuple[int, int]:
    """First and last window of the part of [start, end) with the greatest sum (Kadane)."""
    sums = np.concatenate([[0.0], np.cumsum(scores[start:end])])
    before = np.minimum.accumulate(sums)[:-1]
    last = int(np.argmax(sums[1:] - before))
    first = int(np.argmin(sums[: last + 1]))
    return start + first, start + last


def _drawn_out(
    scores: npt.NDArray[np.float64], free: npt.NDArray[np.bool_], first: int, last: int
) -> tuple[int, int]:
    """Best first and last window of a span that holds the windows first to last."""
    left = _reach(scores[first::-1], free[first::-1])
    return first - left, last + _reach(scores[last:], free[last:])


def _reach(scores: npt.NDArray[np.float64], free: npt.NDArray[np.bool_]) -> int:
    """How far to go for the greatest sum before it has fallen by more than the drop."""
    taken = np.flatnonzero(~free)
    sums = np.cumsum(scores[: taken[0]] if len(taken) else scores)
    fallen = np.flatnonzero(np.maximum.accumulate(sums) - sums > _DROP)
    return int(np.argmax(sums[: fallen[0]] if len(fallen) else sums))


def _stride(length: int) -> int:
    return max(length // _STEPS_PER_LENGTH, 1)


@compiled
def _best_hits(greens: Greens, offsets: Integers, lengths: Integers) -> Integers:
    """Most hits [d, levels] of any interval of each length; -1 where none fits."""
    documents, levels = len(offsets) - 1, len(lengths)
    best = np.full((documents, levels), -1, np.int64)
    longest = 0
    for d in range(documents):
        longest = max(longest, offsets[d + 1] - offsets[d])
    sums = np.zeros(longest + 1, np.int64)
    for d in range(documents):
        size = offsets[d + 1] - offsets[d]
        for i in range(size):
            sums[i + 1] = sums[i] + greens[offsets[d] + i]
        for level in range(levels):
            length = lengths[level]
            if length > size:
                break
            stride = max(length // _STEPS_PER_LENGTH, 1)
            most = 0
            for start in range(0, size - length + 1, stride):
                most = max(most, sums[start + length] - sums[start])
            best[d, level] = most
    return best
