"""CSV and TSV with a header: a record a row."""

import csv
from collections.abc import Iterator
from typing import BinaryIO

from watermark.detect.sources.files import opened
from watermark.detect.sources.gather import Piece
from watermark.detect.sources.lines import line_blocks
from watermark.detect.sources.sampling import Sampler
from watermark.detect.sources.shard import MAX_RECORD, TOO_LONG, Fields, Report, Shard
from watermark.errors import InputError

_DIALECT = {"csv": "excel", "tsv": "excel-tab"}


def read_csv(shard: Shard, fields: Fields, report: Report) -> Iterator[Piece]:
    """Yield the rows below the header, from position 1; raises InputError without the column."""
    if fields.ids_field is not None:
        raise InputError(
            f"{shard.url}: token ids are not read from CSV (use JSON lines or Parquet)"
        )
    sampler = Sampler(shard.url, fields.sample)
    with opened(shard) as stream:
        table = _Table(stream, _DIALECT[shard.format])
        column = _column(table, shard.url, fields)
        for position, cells in enumerate(table.rows(), 1):
            if sampler.chooses(position):
                try:
                    yield Piece((position,), (_text(cells, column, fields),), position)
                    continue
                except ValueError as error:
                    report(position, str(error))
            yield Piece((), (), position)


class _Table:
    """Rows of cells; a row that cannot be read is the reason, a string."""

    def __init__(self, stream: BinaryIO, dialect: str) -> None:
        # The limit is the module's own; its default of 131072 is too short for documents.
        csv.field_size_limit(max(csv.field_size_limit(), MAX_RECORD))
        self._stream = stream
        self._overlong = False
        # Strict, because a cut file ends within quotes.
        self._reader = csv.reader(self._lines(), dialect, strict=True)

    def _lines(self) -> Iterator[str]:
        # Bytes that are no UTF-8 spoil their row, not the file: they show up as surrogates.
        for block in line_blocks(self._stream):
            if block.data is None:
                self._overlong = True
                yield "\n"
                continue
            lines = block.text().decode("utf-8", "surrogateescape").split("\n")
            last = lines.pop()
            for line in lines:
                yield line + "\n"
            if last:
                yield last

    def rows(self) -> Iterator[list[str] | str]:
        """Yield the rows that are left; empty lines are no rows."""
        while True:
            row: list[str] | str
            try:
                row = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                row = f"not valid CSV ({error})"
            if self._overlong:
                row, self._overlong = TOO_LONG, False
            if row:
                yield row


def _column(table: _Table, url: str, fields: Fields) -> int:
    header = next(table.rows(), [])
    if isinstance(header, str):
        raise InputError(f"{url}: {header} in the header")
    if fields.text_field not in header:
        raise InputError(
            f"{url}: no column {fields.text_field!r} (choose another with --text-field); "
            f"it has {', '.join(map(repr, header)) or 'none'}"
        )
    return header.index(fields.text_field)


def _text(cells: list[str] | str, column: int, fields: Fields) -> str:
    if isinstance(cells, str):
        raise ValueError(cells)
    if column >= len(cells):
        raise ValueError(fields.missing)
    text = cells[column]
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("not UTF-8 text") from error
    return text
