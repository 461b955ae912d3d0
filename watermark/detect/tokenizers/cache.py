"""Token ids of shards kept on disk: a second scan, under another key, does not tokenise again."""

import hashlib
import json
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from watermark.detect.counts import Batch
from watermark.errors import InputError
from watermark.manifest import TokenizerPin

_LAYOUT = 1  # raised whenever files of an older layout must not be read
_DTYPES: dict[str, npt.DTypeLike] = {"ids": "<u4", "offsets": "<i8", "positions": "<i8"}
_PIECE = 1 << 24


@dataclass(frozen=True, slots=True)
class CachedShard:
    """A shard's token ids, mapped from disk: record positions int64 [d], their ids, the notes."""

    positions: npt.NDArray[np.int64]
    ids: Batch
    notes: Mapping[str, int]

    def batches(self, documents: int) -> Iterator[tuple[npt.NDArray[np.int64], Batch]]:
        """Yield positions and ids of at most `documents` records at a time."""
        for first in range(0, len(self.positions), documents):
            last = min(first + documents, len(self.positions))
            yield self.positions[first:last], self.ids.part(first, last)


class TokenCache:
    """A directory of tokenised shards for one tokenizer, with or without normalisation.

    Any number of processes may read and write it. `warn` is told of damaged entries, which
    are removed.
    """

    def __init__(
        self,
        directory: Path,
        pin: TokenizerPin,
        *,
        normalised: bool,
        warn: Callable[[str], None],
    ) -> None:
        """Make the directory; raises InputError if that is not possible."""
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{directory}: no token cache can be made there ({error.strerror})"
            ) from error
        self._directory = directory
        self._warn = warn
        self._scope = f"{_LAYOUT}\0{pin.vocabulary_size}\0{pin.sha256}\0{int(normalised)}"

    def get(self, key: str) -> CachedShard | None:
        """Return what was kept under `key`, or None; a damaged entry is told and removed.

        The key must name the content: the path of a file alone would outlive a change of it.
        """
        entry = self._entry(key)
        try:
            return _read(entry)
        except FileNotFoundError:
            if not entry.exists():
                return None
            reason = "a file is missing"
        except (OSError, EOFError, ValueError, KeyError, TypeError, RecursionError) as error:
            reason = str(error)
        self._warn(f"{entry}: damaged token cache entry ({reason}); tokenised again")
        shutil.rmtree(entry, ignore_errors=True)
        return None

    def put(self, key: str) -> "ShardWriter":
        """Return a context manager that keeps the batches added to it if its block succeeds."""
        return ShardWriter(self._directory, self._entry(key))

    def _entry(self, key: str) -> Path:
        name = hashlib.sha256(f"{self._scope}\0{key}".encode("utf-8", "surrogatepass"))
        return self._directory / name.hexdigest()[:40]


class ShardWriter:
    """Collects a shard batch by batch; the entry appears complete or not at all.

    `notes` are counts to keep with it, such as the number of records left out.
    """

    def __init__(self, directory: Path, entry: Path) -> None:
        self.notes: dict[str, int] = {}
        self._directory, self._entry = directory, entry
        self._columns: dict[str, _Column] = {}
        self._tokens = 0

    def __enter__(self) -> "ShardWriter":
        self._scratch = Path(tempfile.mkdtemp(prefix=".writing-", dir=self._directory))
        self._columns = {
            name: _Column((self._scratch / f"{name}.npy").open("wb"), np.dtype(dtype))
            for name, dtype in _DTYPES.items()
        }
        self._columns["offsets"].add(np.zeros(1, np.int64))
        return self

    def add(self, positions: npt.NDArray[np.int64], batch: Batch) -> None:
        """Append records: their positions int64 [d] in the shard, and their ids."""
        if len(positions) != len(batch):
            raise ValueError(f"{len(positions)} positions for {len(batch)} documents")
        self._columns["ids"].add(batch.ids)
        self._columns["offsets"].add(batch.offsets[1:] + self._tokens)
        self._columns["positions"].add(positions)
        self._tokens += len(batch.ids)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            sums = {name: column.close() for name, column in self._columns.items()}
            if kind is None:
                record = {"crc32": sums, "notes": self.notes}
                (self._scratch / "entry.json").write_text(json.dumps(record))
                self._move_into_place()
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _move_into_place(self) -> None:
        try:
            self._scratch.rename(self._entry)
        except OSError:  # another process wrote the same entry first
            if not self._entry.is_dir():
                raise


@dataclass(slots=True)
class _Column:
    """A growing one-dimensional .npy file with the CRC-32 of its data."""

    file: BinaryIO
    dtype: np.dtype[Any]
    length: int = 0
    crc: int = 0
    header: int = field(init=False)

    def __post_init__(self) -> None:
        self._write_header()
        self.header = self.file.tell()

    def add(self, values: npt.NDArray[Any]) -> None:
        data = np.ascontiguousarray(values, self.dtype).view(np.uint8).data
        self.file.write(data)
        self.crc = zlib.crc32(data, self.crc)
        self.length += len(values)

    def close(self) -> int:
        with self.file:
            self.file.seek(0)
            self._write_header()
            # numpy leaves room in the header for a first axis that grows.
            assert self.file.tell() == self.header
        return self.crc

    def _write_header(self) -> None:
        shape = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.length,)}
        np.lib.format.write_array_header_1_0(self.file, shape)


def _read(entry: Path) -> CachedShard:
    """Map an entry; raises ValueError, KeyError or TypeError for damage."""
    record = json.loads((entry / "entry.json").read_bytes())
    columns = {name: _mapped(entry, name, record["crc32"][name]) for name in _DTYPES}
    offsets, positions = columns["offsets"], columns["positions"]
    if len(offsets) != len(positions) + 1 or offsets[-1] != len(columns["ids"]):
        raise ValueError("the lengths do not fit")
    return CachedShard(positions, Batch(columns["ids"], offsets), dict(record["notes"]))


def _mapped(entry: Path, name: str, expected: int) -> npt.NDArray[Any]:
    path = entry / f"{name}.npy"
    # Copy on write: the compiled kernels would be compiled again for read-only arrays.
    values = np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))
    if values.dtype != _DTYPES[name] or values.ndim != 1:
        raise ValueError(f"{path.name} holds {values.dtype}")
    crc = 0
    data = values.view(np.uint8)
    for start in range(0, len(data), _PIECE):
        crc = zlib.crc32(data[start : start + _PIECE].data, crc)
    if crc != expected:
        raise ValueError(f"{path.name} has changed since it was written")
    return values
