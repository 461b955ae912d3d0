"""Reading call registries: JSON lines and Parquet, in blocks, so that their size does not matter.

A registry is an open file and the closed ones beside it (docs/how-to-serve.md, "The call
registry"). What is kept of a line is its place; the rest is read again for the few that win.
"""

import glob
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from watermark.errors import InputError

Words = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]
LARGEST_CALL = (1 << 64) - 1
_BLOCK = 1 << 22
_ROWS = 1 << 16
_SEGMENT = re.compile(r"(?:\.w\d+)?(?:-\d{8}T\d{6}Z-\d+)?(\.[^.]*)")
_SUFFIXES = (".jsonl", ".parquet")
_Digest = Annotated[str, msgspec.Meta(min_length=32, max_length=32)]
_NEEDED = ["call", "account", "time", "model"]
_NUMBERS = [*_NEEDED[:2], "name", "digest"]


# Lines cannot be part of cycles: the garbage collector need not walk over millions of them.
class Line(msgspec.Struct, gc=False):
    """What a detector needs of a call; `time` is RFC 3339, `digest` as watermark/copies.py has it.

    Registries of earlier releases have no digest.
    """

    call: int
    account: int
    time: str
    model: str
    name: str = ""
    digest: list[_Digest] | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """Some calls of a registry file [n], with the byte or row where each is found again.

    `digests` [d] are the first 64 bits of digests, `digest_places` where they are.
    """

    numbers: Words
    accounts: Words
    places: Places
    names: dict[int, str]
    digests: Words
    digest_places: Places


_DECODER = msgspec.json.Decoder(Line)


def registry_files(path: Path) -> list[Path]:
    """Files of the registry at `path`: a file and the segments beside it, a folder, or a glob.

    Raises InputError if there is none.
    """
    if path.is_dir():
        found = [each for each in path.iterdir() if _visible(each)]
    else:
        found = [each for each in path.parent.glob("*") if _belongs(each, path)]
    if not found and glob.has_magic(str(path)):
        found = [Path(name) for name in glob.glob(str(path)) if not Path(name).is_dir()]
    if path.is_file() and path not in found:
        found.append(path)
    if not found:
        raise InputError(f"{path}: the call registry cannot be read (no such file)")
    return sorted(found)


def read_blocks(path: Path, report: Callable[[str], None]) -> Iterator[Block]:
    """Calls of one file. What is no entry (torn by a crash, say) is told to `report`.

    A last line without its newline is a write in progress and is left out silently.
    Raises InputError if the file cannot be read.
    """
    read = _parquet_blocks if path.suffix == ".parquet" else _line_blocks
    try:
        yield from read(path, report)
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise InputError(f"{path}: the call registry cannot be read ({error})") from error


def read_line(path: Path, place: int) -> Line:
    """Read one call again; raises InputError if the file has changed since."""
    read = _row if path.suffix == ".parquet" else _line
    try:
        return read(path, place)
    except (OSError, ValueError, IndexError) as error:  # msgspec's are ValueErrors as well
        raise InputError(f"{path}: the call registry changed while it was in use") from error


def _visible(path: Path) -> bool:
    return path.suffix in _SUFFIXES and not path.name.startswith(".") and path.is_file()


def _belongs(path: Path, open_file: Path) -> bool:
    if not path.name.startswith(open_file.stem):
        return False
    rest = _SEGMENT.fullmatch(path.name[len(open_file.stem) :])
    if rest is None or rest[1] not in (open_file.suffix, ".parquet"):
        return False
    return path.is_file()


# ---- JSON lines


def _line_blocks(path: Path, report: Callable[[str], None]) -> Iterator[Block]:
    rest, place, number = b"", 0, 1
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            text, newline, rest = (rest + block).rpartition(b"\n")
            if not newline:
                continue
            ends = np.flatnonzero(np.frombuffer(text + newline, np.uint8) == ord("\n"))
            places = place + np.concatenate([[0], ends[:-1] + 1])
            found = _decoded(text, places)
            if found is not None:
                yield found
            else:
                yield from _one_by_one(text, places, path, number, report)
            place += len(text) + 1
            number += len(ends)


def _decoded(text: bytes, places: Places) -> Block | None:
    """Decode the lines that begin at these places; None if one of them is no entry."""
    try:
        lines = _DECODER.decode_lines(text)
        return _columns(lines, places) if len(lines) == len(places) else None
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
        return None


def _one_by_one(
    text: bytes, places: Places, path: Path, first: int, report: Callable[[str], None]
) -> Iterator[Block]:
    for index, raw in enumerate(text.split(b"\n")):
        found = _decoded(raw, places[index : index + 1])
        if found is None:
            report(f"{path}:{first + index}: not a registry entry; line left out")
        else:
            yield found


def _columns(lines: list[Line], places: Places) -> Block:
    """Raises OverflowError for a number that is none, ValueError for such a digest."""
    digested = [index for index, line in enumerate(lines) if line.digest]
    digests = [lines[index].digest or [] for index in digested]
    return Block(
        np.array([line.call for line in lines], np.uint64),
        np.array([line.account for line in lines], np.uint64),
        places,
        {line.account: line.name for line in lines},
        _heads(list(chain.from_iterable(digests))),
        np.repeat(places[digested], [len(each) for each in digests]),
    )


def _heads(digests: list[str]) -> Words:
    """First 64 bits of digests of 128; raises ValueError if one is not hexadecimal."""
    words = np.frombuffer(bytes.fromhex("".join(digests)), ">u8")
    if len(words) != 2 * len(digests):  # fromhex skips blanks
        raise ValueError("not hexadecimal")
    return words[::2].astype(np.uint64)


def _line(path: Path, place: int) -> Line:
    with path.open("rb") as file:
        file.seek(place)
        return _DECODER.decode(file.readline())


# ---- Parquet


def _parquet_blocks(path: Path, report: Callable[[str], None]) -> Iterator[Block]:
    import pyarrow.parquet as pq

    place = 0
    with pq.ParquetFile(path) as file:
        missing = set(_NEEDED) - set(file.schema_arrow.names)
        if missing:
            raise InputError(f"{path}: not a call registry (no column {min(missing)!r})")
        columns = [name for name in _NUMBERS if name in file.schema_arrow.names]
        for batch in file.iter_batches(_ROWS, columns=columns, use_threads=False):
            yield _block(batch, place)
            place += batch.num_rows


def _block(batch: Any, first: int) -> Block:
    calls = batch["call"].to_numpy(zero_copy_only=False).astype(np.uint64)
    accounts = batch["account"].to_numpy(zero_copy_only=False).astype(np.uint64)
    places = np.arange(first, first + len(calls), dtype=np.int64)
    distinct, last = np.unique(accounts[::-1], return_index=True)
    names: dict[int, str] = {}
    if "name" in batch.schema.names:
        found = batch["name"].take(len(accounts) - 1 - last).to_pylist()
        names = {
            account: name or "" for account, name in zip(distinct.tolist(), found, strict=True)
        }
    digests, where = _digests(batch)
    return Block(calls, accounts, places, names, digests, first + where)


def _digests(batch: Any) -> tuple[Words, Places]:
    if "digest" not in batch.schema.names:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    column = batch["digest"]
    rows = column.value_parent_indices().to_numpy(zero_copy_only=False).astype(np.int64)
    return _heads(column.flatten().to_pylist()), rows


def _row(path: Path, place: int) -> Line:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if place < rows:
                table = file.read_row_group(group, use_threads=False)
                (row,) = table.slice(place, 1).to_pylist()
                return msgspec.convert({k: v for k, v in row.items() if v is not None}, Line)
            place -= rows
    raise IndexError(place)
