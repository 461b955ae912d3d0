"""The ids of a unit's texts: tokenised, or from the cache where it holds them."""

from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from watermark.detect.counts import Batch
from watermark.detect.encoder import Encoders
from watermark.detect.scan.job import Equipment
from watermark.detect.tokenizers.cache import CachedShard, ShardWriter, TokenCache


class UnitTokens:
    """Encodes the batches of one unit in their order; a context that keeps what it tokenised.

    Texts are read in any case: spans are reported by their characters. Only what takes the time,
    the tokenizer, is saved.
    """

    def __init__(self, equipment: Equipment, key: str) -> None:
        self._encoders: Encoders = equipment.encoders
        self._epochs = len(equipment.keys.epochs)
        # Another release may normalise otherwise.
        self._key = f"{release()} {key}"
        self._cache = _cache(equipment)
        self._kept: CachedShard | None = None
        self._writer: ShardWriter | None = None
        self._place = 0
        self._stack = ExitStack()

    def __enter__(self) -> "UnitTokens":
        if self._cache is not None:
            self._kept = self._cache.get(self._key)
            if self._kept is None:
                self._writer = self._stack.enter_context(self._cache.put(self._key))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def encode(self, positions: npt.NDArray[np.int64], texts: list[str]) -> list[Batch]:
        """Return the ids of the next texts, a batch an epoch."""
        first, last = self._place, self._place + len(texts)
        self._place = last
        if self._kept is not None and np.array_equal(self._kept.positions[first:last], positions):
            return [self._kept.ids.part(first, last)] * self._epochs
        batches = self._encoders.encode_batch(texts)
        if self._writer is not None:
            self._writer.add(positions, batches[0])
        return batches


def release() -> str:
    """Return the version of the package that is installed."""
    try:
        return version("azeotrope")
    except PackageNotFoundError:
        return "unknown (not installed)"


def _cache(equipment: Equipment) -> TokenCache | None:
    directory: Path | None = equipment.job.token_cache
    if directory is None or equipment.tokenizer is None:
        return None
    return TokenCache(
        directory, equipment.tokenizer.pin(), normalised=True, warn=equipment.warnings.append
    )
