"""A NumPy array of token ids: a document a row, or one document."""

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from watermark.detect.sources.files import opened
from watermark.detect.sources.gather import Piece, ids_piece, rows_per_piece
from watermark.detect.sources.sampling import Sampler
from watermark.detect.sources.shard import MAX_RECORD, Fields, Report, Shard
from watermark.errors import InputError


def read_npy(shard: Shard, fields: Fields, report: Report) -> Iterator[Piece]:
    """Yield rows of integers [documents, tokens] from position 1, or [tokens] at position 0."""
    sampler = Sampler(shard.url, fields.sample)
    with opened(shard) as stream:
        shape, dtype = _header(stream, shard.url)
        rows, width, first = (1, shape[0], 0) if len(shape) == 1 else (*shape, 1)
        if width * dtype.itemsize > MAX_RECORD:
            raise InputError(f"{shard.url}: a document over {MAX_RECORD >> 20} MiB (cut it)")
        step = rows_per_piece(rows * width * dtype.itemsize, rows)
        for start in range(0, rows, step):
            count = min(step, rows - start)
            values = _rows(stream, count, width, dtype)
            places = np.arange(start + first, start + first + len(values))
            chosen = sampler.chosen(places)
            kept = values[chosen]
            lengths = np.full(len(kept), width, np.int64)
            end = start + len(values)
            yield ids_piece(kept.reshape(-1), lengths, places[chosen], end, report)
            if len(values) < count:
                raise InputError(f"{shard.url}: cut off after {end} of {rows} rows")


def _header(stream: BinaryIO, url: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read(stream)
    except (ValueError, KeyError) as error:
        raise InputError(f"{url}: not a NumPy array ({error})") from error
    if len(shape) not in (1, 2) or dtype.kind not in "iu" or (fortran and len(shape) == 2):
        raise InputError(
            f"{url}: not rows of token ids (integers [documents, tokens] or [tokens], C order)"
        )
    return shape, dtype


def _rows(stream: BinaryIO, count: int, width: int, dtype: np.dtype[Any]) -> Any:
    data = stream.read(count * width * dtype.itemsize)
    whole = count if width == 0 else len(data) // (width * dtype.itemsize)
    values = np.frombuffer(data, dtype, whole * width)
    # Unsigned numbers above 2^63 turn negative: no token id either way.
    return values.astype(np.int64).reshape(whole, width)
