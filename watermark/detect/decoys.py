"""Decoy keys: the site test under keys that marked nothing, an assumption-free check of a run.

Whatever the text, and however it repeats itself, the z of a decoy has mean 0 and spread 1 if the
windows are told apart as they should be. The true key's rank among them needs no formula at all.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from watermark.detect.counts import CHANNEL_INDEX, Batch, EpochScheme, Integers, Words
from watermark.detect.pvalues import log10_tails
from watermark.detect.report.summary import DecoyCheck
from watermark.keys import EpochKeys
from watermark.manifest import Parameters

if TYPE_CHECKING:
    from watermark.detect.filter import CommonFilter

_LABEL = b"azeotrope decoy"
_COIN, _DIGEST = np.uint64(1), np.uint64(2**64 - 2)


@dataclass(frozen=True, slots=True)
class Decoys:
    """Distinct site windows [D] of a batch, and green ones, under each decoy key."""

    windows: Integers
    hits: Integers
    gamma: float

    @property
    def z(self) -> npt.NDArray[np.float64]:
        """Standardised hits of the decoys that have windows."""
        windows, hits = self.windows[self.windows > 0], self.hits[self.windows > 0]
        spread = np.sqrt(windows * self.gamma * (1 - self.gamma))
        scores: npt.NDArray[np.float64] = (hits - windows * self.gamma) / spread
        return scores

    @property
    def log10_p(self) -> npt.NDArray[np.float64]:
        """Exact p-values [D] as decimal logarithms."""
        return log10_tails(self.hits, self.windows, self.gamma)

    def check(self, epoch: int, true_z: float) -> DecoyCheck | None:
        """Judge the decoys and rank the true key; None if a text is too short for windows."""
        scores = self.z.tolist()
        return DecoyCheck.of(epoch, scores, true_z) if len(scores) >= 2 else None


@cache
def decoy_keys(index: int) -> EpochKeys:
    """Channel and site key number `index`: SHA-256 of a label, so derived from no master key."""
    digest = hashlib.sha256(_LABEL + index.to_bytes(8, "little")).digest()
    return EpochKeys(epoch=0, created="", check="", channel=digest[:16], site=digest[16:])


def decoys(
    batch: Batch, parameters: Parameters, count: int, common: "CommonFilter | None" = None
) -> Decoys:
    """Count the batch's distinct site windows, across documents, under `count` decoy keys."""
    schemes = (EpochScheme(decoy_keys(index), parameters, common) for index in range(count))
    totals = np.array([_totals(batch, scheme) for scheme in schemes], np.int64).reshape(count, 2)
    return Decoys(totals[:, 0], totals[:, 1], parameters.gamma)


def _totals(batch: Batch, scheme: EpochScheme) -> tuple[int, int]:
    if len(batch) == 1:
        counts, site = scheme.count(batch), CHANNEL_INDEX["site"]
        return int(counts.windows[0, site]), int(counts.hits[0, site])
    _, coins = scheme.coins(batch)
    site_coins = coins.of("site")
    words: Words = np.unique((site_coins.digest & _DIGEST) | site_coins.green)
    return len(words), int((words & _COIN).sum())
