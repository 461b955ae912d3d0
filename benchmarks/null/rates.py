"""The test piece by piece, repeats and all: how often a key that marked nothing rejects."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from benchmarks.human.pieces import PIECE
from benchmarks.keys import bench_keys
from watermark.detect.counts import CHANNEL_INDEX, Batch, EpochScheme
from watermark.detect.filter import CommonFilter
from watermark.detect.pvalues import least_hits, log10_tail
from watermark.manifest import Parameters

LEVELS = (1e-2, 1e-3, 1e-4, 1e-5)
# With fewer windows no share of green ones says anything; such pieces can never be rejected.
LEAST_WINDOWS = 20
_SITE = CHANNEL_INDEX["site"]
_NEVER = PIECE + 1


@dataclass(frozen=True, slots=True)
class Rates:
    """Of one key: pieces with 20 windows and more, rejected ones [levels], windows a piece.

    `size` [levels] is the rate that the exact test has on such pieces if every coin is fair: a
    discrete test rejects less often than its nominal level.
    """

    pieces: int
    rejected: npt.NDArray[np.int64]
    size: npt.NDArray[np.float64]
    windows: float


@cache
def _thresholds(gamma: float) -> npt.NDArray[np.int64]:
    """Least hits [levels, windows] that are rejected."""
    table = [
        [least_hits(n, gamma, float(np.log10(level))) or _NEVER for n in range(PIECE + 1)]
        for level in LEVELS
    ]
    return np.array(table, np.int64)


@cache
def _sizes(gamma: float) -> npt.NDArray[np.float64]:
    """Probability [levels, windows] that fair coins are rejected."""
    return np.array(
        [
            [10 ** log10_tail(int(least), n, gamma) if least <= n else 0.0 for n, least in row]
            for row in (enumerate(levels) for levels in _thresholds(gamma))
        ]
    )


def rates(
    batch: Batch, key: str, parameters: Parameters, common: CommonFilter | None = None
) -> Rates:
    """Test every piece of `batch` under the site key named `key`."""
    keys = bench_keys(key, parameters)[0].current
    counts = EpochScheme(keys, parameters, common).count(batch, threads=2)
    windows, hits = counts.windows[:, _SITE], counts.hits[:, _SITE]
    tested = windows >= LEAST_WINDOWS
    windows, hits = windows[tested], hits[tested]
    return Rates(
        len(windows),
        (hits >= _thresholds(parameters.gamma)[:, windows]).sum(axis=1),
        _sizes(parameters.gamma)[:, windows].sum(axis=1) / max(len(windows), 1),
        float(windows.mean()) if len(windows) else 0.0,
    )


@dataclass(frozen=True, slots=True)
class Spread:
    """Of many keys: mean, least and greatest rate at 1e-2, and variance over the binomial's."""

    pieces: int
    mean: float
    least: float
    greatest: float
    ratio: float

    @classmethod
    def of(cls, every: list[Rates]) -> "Spread":
        """Compare the keys; the pieces may differ from key to key."""
        pieces = np.array([rate.pieces for rate in every])
        rejected = np.array([int(rate.rejected[0]) for rate in every])
        mean = rejected.sum() / pieces.sum()
        excess = (rejected - mean * pieces) ** 2 / (pieces * mean * (1 - mean))
        shares = rejected / pieces
        return cls(
            int(pieces.mean()),
            float(mean),
            float(shares.min()),
            float(shares.max()),
            float(excess.sum() / (len(every) - 1)),
        )
