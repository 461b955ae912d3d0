"""The test piece by piece, repeats and all: how often a key that marked nothing rejects."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.keys import bench_keys
from watermark.detect.calibrate import LEAST_WINDOWS, Rejections
from watermark.detect.counts import CHANNEL_INDEX, Batch, EpochScheme
from watermark.detect.filter import CommonFilter
from watermark.manifest import Parameters

_SITE = CHANNEL_INDEX["site"]


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


def rates(
    batch: Batch, key: str, parameters: Parameters, common: CommonFilter | None = None
) -> Rates:
    """Test every piece of `batch` under the site key named `key`."""
    keys = bench_keys(key, parameters)[0].current
    counts = EpochScheme(keys, parameters, common).count(batch, threads=2)
    windows, hits = counts.windows[:, _SITE], counts.hits[:, _SITE]
    found = Rejections.none()
    found.add(windows, hits, parameters.gamma)
    tested = windows[windows >= LEAST_WINDOWS]
    return Rates(
        found.pieces,
        found.rejected,
        found.expected / max(found.pieces, 1),
        float(tested.mean()) if len(tested) else 0.0,
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
