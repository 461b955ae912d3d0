"""Parquet: a record a row; shards are runs of row groups."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from watermark.detect.sources.arrow_column import ArrowColumn
from watermark.detect.sources.files import opened
from watermark.detect.sources.gather import Piece, rows_per_piece
from watermark.detect.sources.shard import Fields, Report, Shard
from watermark.errors import InputError

_BUFFER = 1 << 20


def read_parquet(shard: Shard, fields: Fields, report: Report) -> Iterator[Piece]:
    """Yield the rows of the shard's row groups; only the column's bytes are read."""
    with opened(shard) as stream, arrow_errors(shard.url):
        import pyarrow.parquet as pq

        # Buffered: a row group may be as large as the file, and is not held as a whole.
        file = pq.ParquetFile(stream, buffer_size=_BUFFER)
        column = ArrowColumn(file.schema_arrow, shard, fields, report)
        metadata = file.metadata
        groups = range(metadata.num_row_groups)[shard.first : shard.last]
        row = 1 + sum(metadata.row_group(group).num_rows for group in range(shard.first))
        before = 0
        for group in groups:
            rows = _piece_rows(metadata.row_group(group), column.name)
            for batch in file.iter_batches(rows, row_groups=[group], columns=[column.name]):
                yield column.piece(batch, row + before, before)
                before += batch.num_rows


def row_group_sizes(shard: Shard) -> list[int]:
    """Return the bytes in the file of each row group; raises InputError."""
    with opened(shard) as stream, arrow_errors(shard.url):
        import pyarrow.parquet as pq

        metadata = pq.read_metadata(stream)
        groups = map(metadata.row_group, range(metadata.num_row_groups))
        return [
            sum(group.column(index).total_compressed_size for index in range(group.num_columns))
            for group in groups
        ]


@contextmanager
def arrow_errors(url: str) -> Iterator[None]:
    """Turn errors of pyarrow into InputError with the URL."""
    import pyarrow as pa

    try:
        yield
    except pa.ArrowException as error:
        reason = str(error).split("\n")[0]
        raise InputError(f"{url}: damaged or not what its format says ({reason})") from error


def _piece_rows(group: Any, name: str) -> int:
    columns = map(group.column, range(group.num_columns))
    size = sum(
        column.total_uncompressed_size
        for column in columns
        if column.path_in_schema.split(".")[0] == name or column.path_in_schema == name
    )
    return rows_per_piece(size, group.num_rows)
