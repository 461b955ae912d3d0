"""How often a key that marked nothing rejects pieces of a text: its own false-positive rate.

The exact test holds on average over keys. On text that repeats itself a fixed key's own rate may
lie above or below; decoy keys show how far keys differ there.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from watermark.detect.counts import CHANNEL_INDEX, Batch, EpochScheme, Integers
from watermark.detect.pvalues import clopper_pearson, least_hits, log10_tail

LEVELS = (1e-2, 1e-3, 1e-4, 1e-5)
# With fewer windows a share of green ones says little, and such pieces are never rejected.
LEAST_WINDOWS = 20
_LEAST_PIECES = 1000
# Four levels are looked at: an ordinary key is called unlucky in under 2 % of the runs.
_CERTAIN = 0.99
Verdict = Literal["ordinary", "unlucky", "too little text"]


@dataclass(slots=True)
class Rejections:
    """Pieces tested under one key, rejected ones at each level [4], and their expected number.

    `expected` [4] is what fair coins give on pieces with so many windows; a discrete test rejects
    less often than its nominal level.
    """

    pieces: int
    rejected: Integers
    expected: npt.NDArray[np.float64]

    @classmethod
    def none(cls) -> "Rejections":
        """Return no pieces."""
        return cls(0, np.zeros(len(LEVELS), np.int64), np.zeros(len(LEVELS)))

    def add(self, windows: Integers, hits: Integers, gamma: float) -> None:
        """Test pieces [n] by their windows and hits; those with too few windows are left out."""
        tested = windows >= LEAST_WINDOWS
        windows, hits = windows[tested], hits[tested]
        least, size = _tables(int(windows.max(initial=0)), gamma)
        self.pieces += len(windows)
        self.rejected += (hits >= least[:, windows]).sum(axis=1)
        self.expected += size[:, windows].sum(axis=1)

    def interval(self, level: int, confidence: float = 0.95) -> tuple[float, float]:
        """Clopper-Pearson interval of the rate at LEVELS[level]."""
        return clopper_pearson(int(self.rejected[level]), self.pieces, confidence)


@cache
def _tables(most: int, gamma: float) -> tuple[Integers, npt.NDArray[np.float64]]:
    """Least hits rejected, and the probability of that, [levels, most + 1] by windows."""
    never = most + 1
    least = [
        [least_hits(n, gamma, math.log10(level)) or never for n in range(most + 1)]
        for level in LEVELS
    ]
    size = [
        [10 ** log10_tail(hits, n, gamma) if hits <= n else 0.0 for n, hits in enumerate(row)]
        for row in least
    ]
    return np.array(least, np.int64), np.array(size)


@dataclass(frozen=True, slots=True)
class Calibration:
    """One epoch's key and its decoys on the same pieces."""

    own: Rejections
    decoys: tuple[Rejections, ...]

    @property
    def variance_ratio(self) -> float:
        """Variance of the decoys' counts at 1e-2 over the binomial's (nan: fewer than 2)."""
        tested = [decoy for decoy in self.decoys if decoy.pieces]
        pieces = np.array([decoy.pieces for decoy in tested])
        rejected = np.array([int(decoy.rejected[0]) for decoy in tested])
        if len(tested) < 2 or not rejected.any():
            return math.nan
        mean = rejected.sum() / pieces.sum()
        excess = (rejected - mean * pieces) ** 2 / (pieces * mean * (1 - mean))
        return float(excess.sum() / (len(tested) - 1))

    @property
    def rank(self) -> int:
        """How many decoys reject a greater share at 1e-2 than the key does."""
        own = int(self.own.rejected[0]) * np.array([decoy.pieces for decoy in self.decoys])
        others = np.array([int(decoy.rejected[0]) for decoy in self.decoys]) * self.own.pieces
        return int((others > own).sum())

    @property
    def inflation(self) -> float:
        """Greatest factor by which the rate certainly exceeds its level (1: it does not)."""
        lows = (self.own.interval(i, _CERTAIN)[0] for i in range(len(LEVELS)))
        return max(1.0, *(low / level for low, level in zip(lows, LEVELS, strict=True)))

    @property
    def verdict(self) -> Verdict:
        """Whether the key's own rate keeps its level on this text."""
        if self.inflation > 1:
            return "unlucky"
        return "ordinary" if self.own.pieces >= _LEAST_PIECES else "too little text"

    def advised_level(self, wanted: float) -> float:
        """Nominal level that gives the wanted rate on this text, by the worst of the levels.

        Of the upper ends of the intervals, those of levels with five rejections and more.
        """
        factors = [
            self.own.interval(i)[1] / level
            for i, level in enumerate(LEVELS)
            if self.own.rejected[i] >= 5
        ]
        return wanted / max(1.0, self.inflation, *factors) if self.inflation > 1 else wanted


def pieces_of(batch: Batch, length: int) -> Batch:
    """Cut documents into consecutive pieces of `length` tokens; what is left over is dropped."""
    sizes = np.diff(batch.offsets) // length * length
    kept = [batch.document(index)[:size] for index, size in enumerate(sizes) if size]
    ids = np.concatenate(kept) if kept else np.empty(0, np.uint32)
    return Batch(ids, np.arange(0, len(ids) + 1, length, dtype=np.int64))


def calibrate(
    batches: Iterable[Batch], own: EpochScheme, decoys: Iterable[EpochScheme]
) -> Calibration:
    """Test every piece, a document of `batches`, in the site channel."""
    schemes = (own, *decoys)
    found = [Rejections.none() for _ in schemes]
    site = CHANNEL_INDEX["site"]
    for batch in batches:
        for scheme, rejections in zip(schemes, found, strict=True):
            counts = scheme.count(batch)
            rejections.add(counts.windows[:, site], counts.hits[:, site], scheme.parameters.gamma)
    return Calibration(found[0], tuple(found[1:]))
