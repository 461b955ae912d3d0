"""The documents of a unit of work, in batches worth a pass: small files are put together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from watermark.detect.counts import Batch
from watermark.detect.sources import Fields, RecordBatch, Shard, read
from watermark.errors import InputError

_BATCH_BYTES = 8 << 20
_BATCH_RECORDS = 8192
# More bad records of one unit are counted, not named.
_BAD_NAMED = 100


@dataclass(frozen=True, slots=True)
class UnitBatch:
    """d documents: either `texts`, or token `ids`.

    `shards` int64 [d] index the unit's shards, `positions` int64 [d] are places within them;
    `size` is about the number of bytes that were read.
    """

    shards: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    texts: list[str] | None
    ids: Batch | None
    size: int

    def __len__(self) -> int:
        return len(self.positions)


class UnitInput:
    """Reads the shards one after the other; iterate once, then ask for the `facts`."""

    def __init__(self, shards: Sequence[Shard], fields: Fields) -> None:
        self._shards = shards
        self._fields = fields
        self._ends = [0] * len(shards)
        self._errors: list[tuple[int, str]] = []
        self._bad: list[tuple[int, int, str]] = []
        self._bad_count = 0

    def facts(self) -> dict[str, Any]:
        """Lines read of each shard, and what could not be read, by shard."""
        return {
            "ends": self._ends,
            "errors": self._errors,
            "bad": self._bad_count,
            "bad_records": self._bad,
        }

    def __iter__(self) -> Iterator[UnitBatch]:
        waiting: list[UnitBatch] = []
        for batch in self._batches():
            if waiting and (_full(waiting) or (waiting[0].texts is None) != (batch.texts is None)):
                yield _joined(waiting)
                waiting = []
            waiting.append(batch)
        if waiting:
            yield _joined(waiting)

    def _batches(self) -> Iterator[UnitBatch]:
        for index, shard in enumerate(self._shards):
            try:
                for batch in read(shard, self._fields, self._reporter(index)):
                    self._ends[index] = batch.end
                    if len(batch):
                        yield _of(batch, index)
            except InputError as error:
                self._errors.append((index, str(error)))

    def _reporter(self, index: int) -> Any:
        def report(position: int, reason: str) -> None:
            self._bad_count += 1
            if len(self._bad) < _BAD_NAMED:
                self._bad.append((index, position, reason))

        return report


def _of(batch: RecordBatch, index: int) -> UnitBatch:
    if batch.texts is not None:
        size = sum(map(len, batch.texts))
    else:
        assert batch.ids is not None
        size = batch.ids.ids.nbytes
    shards = np.full(len(batch), index, np.int64)
    return UnitBatch(shards, batch.positions, batch.texts, batch.ids, size)


def _full(batches: Sequence[UnitBatch]) -> bool:
    return (
        sum(batch.size for batch in batches) >= _BATCH_BYTES
        or sum(len(batch) for batch in batches) >= _BATCH_RECORDS
    )


def _joined(batches: Sequence[UnitBatch]) -> UnitBatch:
    if len(batches) == 1:
        return batches[0]
    texts, ids = None, None
    if batches[0].texts is not None:
        texts = [text for batch in batches for text in batch.texts or ()]
    else:
        parts = [batch.ids for batch in batches if batch.ids is not None]
        sizes = np.concatenate([np.diff(part.offsets) for part in parts])
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        ids = Batch(np.concatenate([part.ids for part in parts]), offsets)
    return UnitBatch(
        np.concatenate([batch.shards for batch in batches]),
        np.concatenate([batch.positions for batch in batches]),
        texts,
        ids,
        sum(batch.size for batch in batches),
    )
