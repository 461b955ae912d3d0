"""A share of the records, chosen by where they stand and not by when they are read."""

import hashlib

import numpy as np
import numpy.typing as npt

from watermark.prf import GOLDEN, MIX1, MIX2


class Sampler:
    """Chooses a share of a file's records by SplitMix64 of their place in the file."""

    def __init__(self, url: str, share: float) -> None:
        digest = hashlib.blake2b(url.encode("utf-8", "surrogateescape"), digest_size=8).digest()
        self._seed = np.uint64(int.from_bytes(digest, "little"))
        self._limit = np.uint64(min(int(share * 2.0**64), 2**64 - 1))
        self.all = share >= 1

    def chosen(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Tell for byte offsets or row numbers [n] whether their records are read: bool [n]."""
        if self.all:
            return np.ones(len(places), np.bool_)
        return random_words(self._seed, places) < self._limit

    def chooses(self, place: int) -> bool:
        """Tell the same of one record."""
        return self.all or bool(self.chosen(np.array([place]))[0])


def random_words(
    seeds: np.uint64 | npt.NDArray[np.uint64], places: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint64]:
    """Output number `places` [n] of SplitMix64 started at `seeds` (one, or [n])."""
    z = seeds + (places.astype(np.uint64) + np.uint64(1)) * np.uint64(GOLDEN)
    z = (z ^ z >> np.uint64(30)) * np.uint64(MIX1)
    z = (z ^ z >> np.uint64(27)) * np.uint64(MIX2)
    return np.asarray(z ^ z >> np.uint64(31))
