"""Who may be behind a text: accounts and calls, from the gateway's call registry or by number."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from watermark.errors import InputError

Words = npt.NDArray[np.uint64]

# Of the 64 bits that the format has for an account number, the gateway uses 24.
LARGEST_ACCOUNT = (1 << 24) - 1
LARGEST_CALL = (1 << 64) - 1
# A registry is read in blocks of this many bytes, so that its size does not matter.
_BLOCK = 1 << 22


@dataclass(frozen=True, slots=True)
class CallRecord:
    """What the registry tells of a call; `time` is RFC 3339."""

    number: int
    account: int
    time: str
    model: str


class _Line(msgspec.Struct):
    """What a detector needs of a registry's line."""

    call: int
    account: int
    time: str
    model: str
    name: str = ""


_DECODER = msgspec.json.Decoder(_Line)


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls [n] of registries, ascending by number, each once.

    `accounts` are who made them; `sources` and `places` the file and byte where their lines begin.
    """

    numbers: Words
    accounts: Words
    sources: npt.NDArray[np.int32]
    places: npt.NDArray[np.int64]

    @classmethod
    def empty(cls) -> "Calls":
        """Return no calls."""
        none = np.empty(0, np.uint64)
        return cls(none, none, np.empty(0, np.int32), np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.numbers)

    def of(self, account: int) -> Words:
        """Numbers of the calls that an account made."""
        numbers: Words = self.numbers[self.accounts == np.uint64(account)]
        return numbers

    def with_more(self, others: list["Calls"]) -> "Calls":
        """Return all calls together; of a number that occurs twice the last line counts."""
        parts = [self, *others]
        numbers = np.concatenate([part.numbers for part in parts])[::-1]
        distinct, first = np.unique(numbers, return_index=True)
        last = len(numbers) - 1 - first
        return Calls(
            distinct,
            np.concatenate([part.accounts for part in parts])[last],
            np.concatenate([part.sources for part in parts])[last],
            np.concatenate([part.places for part in parts])[last],
        )


class Candidates:
    """Accounts and calls to search.

    `accounts` uint64 [a] ascending, each once; `names` of those that a registry names; `calls`
    of registries, 32 bytes a call.
    """

    def __init__(self, names: dict[int, str] | None = None) -> None:
        self.names = dict(names or {})
        self.accounts: Words = np.unique(np.fromiter(self.names, np.uint64, len(self.names)))
        self.calls = Calls.empty()
        self._registries: list[Path] = []

    def name(self, account: int) -> str:
        """Name of an account, "" if unknown."""
        return self.names.get(account, "")

    def add_range(self, text: str) -> None:
        """Add the accounts of an inclusive range such as "1-24000"; raises InputError."""
        numbers = parse_range(text, "account", LARGEST_ACCOUNT, "1-24000")
        added = np.arange(numbers.start, numbers.stop, dtype=np.uint64)
        self.accounts = np.union1d(self.accounts, added)

    def add_registry(self, path: Path, report: Callable[[str], None]) -> None:
        """Add the accounts and calls of a registry file (JSON lines).

        A line that is no entry (torn by a crash, say) is told to `report` and left out; a
        last line without its newline is a write in progress and is left out silently.
        Raises InputError if the file cannot be read.
        """
        found = []
        try:
            for lines, places in _read_lines(path, report):
                found.append(self._columns(lines, places))
                self.names |= {line.account: line.name for line in lines}
        except OSError as error:
            raise InputError(f"{path}: the call registry cannot be read ({error})") from error
        self._registries.append(path)
        self.calls = self.calls.with_more(found)
        added = np.unique(self.calls.accounts)
        self.accounts = np.union1d(self.accounts, added)

    def record(self, call: int) -> CallRecord | None:
        """What a registry tells of a call, read from its file; None for an unknown call.

        Raises InputError if the file has changed since.
        """
        index = int(np.searchsorted(self.calls.numbers, np.uint64(call)))
        if index == len(self.calls) or int(self.calls.numbers[index]) != call:
            return None
        path = self._registries[self.calls.sources[index]]
        try:
            with path.open("rb") as file:
                file.seek(self.calls.places[index])
                line = msgspec.json.decode(file.readline(), type=_Line)
        except (OSError, msgspec.MsgspecError, ValueError) as error:
            raise InputError(f"{path}: the call registry changed while it was in use") from error
        return CallRecord(line.call, line.account, line.time, line.model)

    def _columns(self, lines: list[_Line], places: npt.NDArray[np.int64]) -> Calls:
        return Calls(
            np.array([line.call for line in lines], np.uint64),
            np.array([line.account for line in lines], np.uint64),
            np.full(len(lines), len(self._registries), np.int32),
            places,
        )


def parse_range(text: str, kind: str, largest: int, example: str) -> range:
    """Numbers of an inclusive range "LOW-HIGH" up to `largest`; raises InputError."""
    match = re.fullmatch("([0-9]{1,20})-([0-9]{1,20})", text)
    low, high = map(int, match.groups()) if match else (1, 0)
    if not low <= high <= largest:
        raise InputError(
            f"{kind} range {text!r}: expected LOW-HIGH, for example {example}, at most {largest}"
        )
    return range(low, high + 1)


def _read_lines(
    path: Path, report: Callable[[str], None]
) -> Iterator[tuple[list[_Line], npt.NDArray[np.int64]]]:
    """Entries of a registry, block by block, and the bytes at which their lines begin."""
    rest, place, number = b"", 0, 1
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            text, newline, rest = (rest + block).rpartition(b"\n")
            if not newline:
                continue
            ends = np.flatnonzero(np.frombuffer(text + newline, np.uint8) == ord("\n"))
            starts = np.concatenate([[0], ends[:-1] + 1])
            lines = _decoded(text, len(starts))
            if lines is None:
                lines, starts = _one_by_one(text, starts, path, number, report)
            yield lines, place + starts
            place += len(text) + 1
            number += len(ends)


def _decoded(text: bytes, count: int) -> list[_Line] | None:
    """Decode `count` lines at once; None if one of them is no entry."""
    try:
        lines = _DECODER.decode_lines(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return lines if len(lines) == count and all(map(_possible, lines)) else None


def _one_by_one(
    text: bytes,
    starts: npt.NDArray[np.int64],
    path: Path,
    first: int,
    report: Callable[[str], None],
) -> tuple[list[_Line], npt.NDArray[np.int64]]:
    lines, kept = [], []
    for index, raw in enumerate(text.split(b"\n")):
        found = _decoded(raw, 1)
        if found is None:
            report(f"{path}:{first + index}: not a registry entry; line left out")
        else:
            lines += found
            kept.append(index)
    return lines, starts[kept]


def _possible(line: _Line) -> bool:
    return 0 <= line.call <= LARGEST_CALL and 0 <= line.account <= LARGEST_CALL
