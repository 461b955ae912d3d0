"""The formats: which reader, which suffix, and what it needs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from watermark.detect.sources import compression
from watermark.detect.sources.arrow import read_arrow
from watermark.detect.sources.csv import read_csv
from watermark.detect.sources.files import STDIN, is_remote
from watermark.detect.sources.gather import Piece, gather
from watermark.detect.sources.json_array import read_json
from watermark.detect.sources.jsonl import read_jsonl
from watermark.detect.sources.npy import read_npy
from watermark.detect.sources.parquet import read_parquet
from watermark.detect.sources.shard import Fields, RecordBatch, Report, Shard
from watermark.detect.sources.text import read_text
from watermark.errors import InputError


@dataclass(frozen=True, slots=True)
class Reader:
    """A format: how it is read, the suffixes that tell it, and what it needs and holds.

    `streams` is whether it is read from front to end, so also from standard input and unpacked;
    `ids` whether it holds nothing but token ids.
    """

    pieces: Callable[[Shard, Fields, Report], Iterator[Piece]]
    suffixes: tuple[str, ...]
    streams: bool = True
    ids: bool = False


READERS: dict[str, Reader] = {
    "text": Reader(read_text, (".txt", ".md")),
    "jsonl": Reader(read_jsonl, (".jsonl", ".ndjson")),
    "json": Reader(read_json, (".json",)),
    "csv": Reader(read_csv, (".csv",)),
    "tsv": Reader(read_csv, (".tsv",)),
    "parquet": Reader(read_parquet, (".parquet",), streams=False),
    "arrow": Reader(read_arrow, (".arrow", ".feather"), streams=False),
    "npy": Reader(read_npy, (".npy",), ids=True),
}
_BY_SUFFIX = {suffix: name for name, reader in READERS.items() for suffix in reader.suffixes}


def identify(url: str) -> tuple[str | None, str | None]:
    """Return the format (None: unknown) and the compression that the suffixes of a name tell."""
    if is_remote(url):
        url = url.partition("::")[0].partition("?")[0]
    path = PurePosixPath(url.lower())
    packed = compression.SUFFIXES.get(path.suffix)
    if packed is not None:
        path = path.with_suffix("")
    return _BY_SUFFIX.get(path.suffix), packed


def read(shard: Shard, fields: Fields, report: Report) -> Iterator[RecordBatch]:
    """Yield the shard's records in batches of about 8 MB or 8192 records.

    A bad record is told to `report`, by its position and the reason, and left out. Raises
    InputError, after the batches that could be read, if the file cannot be read or is damaged.
    """
    reader = READERS[shard.format]
    if not reader.streams and shard.compression is not None:
        raise InputError(f"{shard.url}: compressed {shard.format} is not read (unpack it first)")
    if not reader.streams and shard.url == STDIN:
        raise InputError(f"{STDIN}: {shard.format} is not read from standard input (give a file)")
    pieces = reader.pieces(shard, fields, report)
    yield from gather(pieces, ids=reader.ids or fields.ids_field is not None)
