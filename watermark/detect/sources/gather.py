"""Small pieces of a file put together to batches that are worth a call of the tokenizer."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from watermark.detect.sources.shard import MAX_ID, RecordBatch, Report
from watermark.errors import InputError

if TYPE_CHECKING:
    from watermark.detect.counts import Batch

BATCH_BYTES = 8 << 20
BATCH_RECORDS = 8192
# Of columns: decoding 2 MB at a time takes two thirds of the time of 8 MB, which leave the cache.
_PIECE_BYTES = 2 << 20


class Piece(NamedTuple):
    """Positions and texts (or token ids) of records, and how far the shard was read."""

    positions: Sequence[int]
    values: "Sequence[str] | Batch"
    end: int


def rows_per_piece(size: int, rows: int) -> int:
    """Return how many of `rows` rows that take `size` bytes make a piece."""
    return max(1, min(BATCH_RECORDS, _PIECE_BYTES * rows // max(size, 1)))


def gather(pieces: Iterator[Piece], *, ids: bool) -> Iterator[RecordBatch]:
    """Join pieces to batches of about 8 MB or 8192 records.

    If the file fails, what came before is handed out before InputError goes on.
    """
    pending = _Pending(ids)
    try:
        for piece in pieces:
            pending.add(piece)
            if pending.full:
                yield pending.take()
    except InputError:
        if pending:
            yield pending.take()
        raise
    yield pending.take()


class _Pending:
    def __init__(self, ids: bool) -> None:
        self._ids = ids
        self._end = 0
        self._clear()

    def _clear(self) -> None:
        self._positions: list[int] = []
        self._texts: list[str] = []
        self._batches: list[Batch] = []
        self._size = 0

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def full(self) -> bool:
        return self._size >= BATCH_BYTES or len(self) >= BATCH_RECORDS

    def add(self, piece: Piece) -> None:
        self._end = piece.end
        self._positions.extend(piece.positions)
        if isinstance(piece.values, Sequence):
            self._texts.extend(piece.values)
            self._size += sum(map(len, piece.values))
        else:
            self._batches.append(piece.values)
            self._size += piece.values.ids.nbytes

    def take(self) -> RecordBatch:
        positions = np.array(self._positions, np.int64)
        if self._ids:
            batch = RecordBatch(positions, None, _join(self._batches), self._end)
        else:
            batch = RecordBatch(positions, self._texts, None, self._end)
        self._clear()
        return batch


def _join(batches: "list[Batch]") -> "Batch":
    from watermark.detect.counts import Batch

    if len(batches) == 1:
        return batches[0]
    lengths = [np.diff(batch.offsets) for batch in batches]
    ids = [batch.ids for batch in batches]
    return Batch(
        np.concatenate(ids) if ids else np.empty(0, np.uint32),
        _offsets(np.concatenate(lengths) if lengths else np.empty(0, np.int64)),
    )


def _offsets(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def ids_piece(
    values: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    positions: npt.NDArray[np.int64],
    end: int,
    report: Report,
) -> Piece:
    """Make a piece of flat `values` [n] of documents with `lengths` [d] at `positions` [d].

    Documents with a value that is no token id are reported and left out.
    """
    from watermark.detect.counts import Batch

    unsigned = values.view(np.uint64)  # negative numbers are large ones then
    if len(values) and unsigned.max() > MAX_ID:
        wrong = np.flatnonzero(unsigned > MAX_ID)
        bad = np.unique(np.searchsorted(_offsets(lengths), wrong, side="right") - 1)
        for position in positions[bad]:
            report(int(position), BAD_ID)
        good = np.ones(len(lengths), np.bool_)
        good[bad] = False
        values = values[np.repeat(good, lengths)]
        lengths, positions = lengths[good], positions[good]
    return Piece(positions.tolist(), Batch(values.astype(np.uint32), _offsets(lengths)), end)


BAD_ID = "a token id is not a number from 0 to 2^32 - 2"
