"""Arrow IPC, the file form (Feather) and the stream form: a record a row."""

from collections.abc import Iterator
from typing import Any, BinaryIO

from watermark.detect.sources.arrow_column import ArrowColumn
from watermark.detect.sources.files import opened
from watermark.detect.sources.gather import Piece, rows_per_piece
from watermark.detect.sources.parquet import arrow_errors
from watermark.detect.sources.shard import Fields, Report, Shard

_FILE_MAGIC = b"ARROW1"


def read_arrow(shard: Shard, fields: Fields, report: Report) -> Iterator[Piece]:
    """Yield the rows of the file, a record batch in memory at a time."""
    with opened(shard) as stream, arrow_errors(shard.url):
        schema, batches = _batches(stream)
        column = ArrowColumn(schema, shard, fields, report)
        before = 0
        for batch in batches:
            step = rows_per_piece(batch.column(column.name).nbytes, batch.num_rows)
            for start in range(0, batch.num_rows, step):
                part = batch.slice(start, step)
                yield column.piece(part, before + 1, before)
                before += part.num_rows


def _batches(stream: BinaryIO) -> tuple[Any, Iterator[Any]]:
    import pyarrow as pa

    magic = stream.read(len(_FILE_MAGIC))
    stream.seek(0)
    if magic != _FILE_MAGIC:
        reader = pa.ipc.open_stream(stream)
        return reader.schema, iter(reader)
    file = pa.ipc.open_file(stream)
    return file.schema, map(file.get_batch, range(file.num_record_batches))
