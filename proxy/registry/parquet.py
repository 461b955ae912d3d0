"""Closed segments as Parquet: a tenth of the size, read by column.

A half-made file has a hidden name; the JSON lines are removed only when the whole of it is
on the disk. So a crash at any moment leaves one readable form of every line, or both, and
readers count a call once.
"""

from __future__ import annotations

import io
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.disk import sync_folder
from proxy.errors import StartError

if TYPE_CHECKING:
    import pyarrow as pa

# Small, so that whoever waits for the next piece waits for milliseconds.
_BLOCK = 1 << 20
_GROUP_ROWS = 1 << 17
_NEEDED = ("call", "account", "time", "model")


def require_pyarrow() -> None:
    """Raise StartError if the extra is missing."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise StartError(
            "registry.format: parquet needs pyarrow: run `pip install 'azeotrope[parquet]'`, or "
            "set it to jsonl"
        ) from None


def convert(path: Path) -> Generator[int, None, None]:
    """Turn a closed segment into Parquet, piece by piece; yields the unreadable lines of each.

    Raises OSError or ArrowException; the segment of JSON lines is then as it was.
    """
    temporary = path.with_name(f".{path.stem}.parquet.part")
    try:
        rows = 0
        with _Writer(temporary) as writer:
            for table, left_out in _tables(path):
                writer.write(table)
                rows += table.num_rows
                yield left_out
        _settle(temporary, rows)
        temporary.rename(path.with_suffix(".parquet"))
        sync_folder(path.parent)
        path.unlink()
    finally:
        temporary.unlink(missing_ok=True)


class _Writer:
    """A Parquet file of row groups that are large enough to compress well."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(descriptor, "wb")
        self._writer = pq.ParquetWriter(self._file, _schema(), compression="zstd")
        self._waiting: list[pa.Table] = []

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        try:
            if kind is None:
                self._flush()
                self._writer.close()
        finally:
            self._file.close()

    def write(self, table: pa.Table) -> None:
        self._waiting.append(table)
        if sum(each.num_rows for each in self._waiting) >= _GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._waiting:
            table = pa.concat_tables(self._waiting)
            self._writer.write_table(table, row_group_size=max(table.num_rows, 1))
        self._waiting = []


def _settle(path: Path, rows: int) -> None:
    """Wait until a file is on the disk and see that it holds so many rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        os.fsync(file.fileno())
        found = pq.ParquetFile(file).metadata.num_rows
    if found != rows:
        raise pa.ArrowInvalid(f"{found} rows written, {rows} expected")


def _schema() -> pa.Schema:
    import pyarrow as pa

    text, number = pa.string(), pa.int64()
    return pa.schema(
        [
            ("call", pa.uint64()),
            ("account", pa.uint64()),
            ("name", text),
            ("time", text),
            ("model", text),
            ("dialect", text),
            ("prompt_tokens", number),
            ("completion_tokens", number),
            ("status", number),
            ("end", text),
            ("epoch", number),
            ("embedder", text),
            ("usage_source", text),
            ("upstream", text),
            ("digest", pa.list_(text)),
        ]
    )


def _tables(path: Path) -> Iterator[tuple[pa.Table, int]]:
    """Lines of a file as tables, and how many lines of each piece are no entries."""
    schema, rest = _schema(), b""
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            text, newline, rest = (rest + block).rpartition(b"\n")
            if newline:
                yield _table(text, schema)
    if rest:  # no newline: torn when the machine went down
        yield _table(rest, schema)


def _table(text: bytes, schema: pa.Schema) -> tuple[pa.Table, int]:
    import pyarrow as pa

    lines = text.split(b"\n")
    try:
        table = _parsed(text, schema)
    except pa.ArrowInvalid:
        table = pa.concat_tables([schema.empty_table(), *_one_by_one(lines, schema)])
    return table, len(lines) - table.num_rows


def _one_by_one(lines: list[bytes], schema: pa.Schema) -> Iterator[pa.Table]:
    import pyarrow as pa

    for line in lines:
        try:
            yield _parsed(line, schema)
        except pa.ArrowInvalid:
            continue  # torn by a crash; the caller counts it


def _parsed(text: bytes, schema: pa.Schema) -> pa.Table:
    import pyarrow.compute as pc
    import pyarrow.json as pj

    table = pj.read_json(
        io.BytesIO(text),
        read_options=pj.ReadOptions(use_threads=False, block_size=len(text) + 1),
        parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
    )
    for name in _NEEDED:
        if table[name].null_count:
            table = table.filter(pc.is_valid(table[name]))
    return table
