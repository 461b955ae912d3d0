"""Corpora in a folder, and all that is read from them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from watermark.detect.sources import Fields, RecordBatch, Shard, plan, read, whole_file
from watermark.errors import InputError


@dataclass
class Read:
    """What came out of shards: records by name, complaints by name, the error that ended it."""

    records: dict[str, Any] = field(default_factory=dict)
    complaints: dict[str, str] = field(default_factory=dict)
    batches: list[RecordBatch] = field(default_factory=list)
    lines: int = 0
    error: str = ""

    @property
    def values(self) -> list[Any]:
        return list(self.records.values())

    @property
    def places(self) -> list[int]:
        """Lines or rows of the records, in the whole file."""
        return [int(name.rpartition(":")[2]) for name in self.records]


def read_shards(shards: Iterable[Shard], fields: Fields) -> Read:
    found = Read()
    url = None
    for shard in shards:
        before = found.lines if shard.url == url else 0
        url, end = shard.url, 0

        def complain(position: int, reason: str, shard: Shard = shard, n: int = before) -> None:
            found.complaints[shard.record_name(position, n)] = reason

        try:
            for batch in read(shard, fields, complain):
                assert batch.end >= end
                end = batch.end
                found.batches.append(batch)
                for position, value in zip(batch.positions, _values(batch), strict=True):
                    name = shard.record_name(int(position), before)
                    assert name not in found.records
                    found.records[name] = value
        except InputError as error:
            found.error = str(error)
        found.lines = before + end
    return found


def _values(batch: RecordBatch) -> Iterator[Any]:
    if batch.texts is not None:
        assert batch.ids is None
        yield from batch.texts
    else:
        assert batch.ids is not None
        assert batch.ids.ids.dtype == "uint32"
        for index in range(len(batch.ids)):
            yield batch.ids.document(index).tolist()


def read_file(path: Path | str, form: str = "auto", **fields: Any) -> Read:
    """Read one file as one shard."""
    return read_shards([whole_file(str(path), form)], Fields(**fields))


def read_cut(path: Path | str, shard_bytes: int, **fields: Any) -> Read:
    """Read one file cut into shards, each by itself."""
    return read_shards(plan([str(path)], shard_bytes=shard_bytes).shards, Fields(**fields))
