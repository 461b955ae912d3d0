"""Who may be behind a text: accounts and calls, from the gateway's call registry or by number."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from watermark.detect.registries import (
    Block,
    Line,
    Places,
    Words,
    read_blocks,
    read_line,
    registry_files,
)
from watermark.errors import InputError

# Of the 64 bits that the format has for an account number, the gateway uses 24.
LARGEST_ACCOUNT = (1 << 24) - 1


@dataclass(frozen=True, slots=True)
class CallRecord:
    """What the registry tells of a call; `time` is RFC 3339."""

    number: int
    account: int
    time: str
    model: str


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls [n] of registries, ascending by number, each once.

    `accounts` are who made them; `sources` and `places` the file and the byte (of Parquet: the
    row) where they are.
    """

    numbers: Words
    accounts: Words
    sources: npt.NDArray[np.int32]
    places: Places

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


@dataclass(frozen=True, slots=True)
class _Digests:
    """First 64 bits of the digests [d] of answers, and where the registries have them."""

    heads: Words
    sources: npt.NDArray[np.int32]
    places: Places


class Candidates:
    """Accounts and calls to search.

    `accounts` uint64 [a] ascending, each once; `names` of those that a registry names; `calls`
    of registries, 32 bytes a call. With `digests` they are kept as well, 20 bytes each;
    `has_digests` tells whether a registry has any.
    """

    def __init__(self, names: dict[int, str] | None = None, *, digests: bool = False) -> None:
        self.names = dict(names or {})
        self.accounts: Words = np.unique(np.fromiter(self.names, np.uint64, len(self.names)))
        self.calls = Calls.empty()
        self.has_digests = False
        self._keep_digests = digests
        self._digests: list[_Digests] = []
        self._files: list[Path] = []

    def name(self, account: int) -> str:
        """Name of an account, "" if unknown."""
        return self.names.get(account, "")

    def add_range(self, text: str) -> None:
        """Add the accounts of an inclusive range such as "1-24000"; raises InputError."""
        numbers = parse_range(text, "account", LARGEST_ACCOUNT, "1-24000")
        added = np.arange(numbers.start, numbers.stop, dtype=np.uint64)
        self.accounts = np.union1d(self.accounts, added)

    def add_registry(self, path: Path, report: Callable[[str], None]) -> None:
        """Add the accounts and calls of a registry: a file and its segments, a folder or a glob.

        A line that is no entry (torn by a crash, say) is told to `report` and left out; a
        last line without its newline is a write in progress and is left out silently.
        Raises InputError if a file cannot be read.
        """
        found: list[Calls] = []
        done: set[Path] = set()
        # Until there is nothing new: a gateway may close and convert segments meanwhile.
        while new := [file for file in registry_files(path) if file not in done]:
            for file in new:
                found += self._read(file, report)
            done.update(new)
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
        return _record(
            read_line(self._files[self.calls.sources[index]], int(self.calls.places[index]))
        )

    def copies(self, digests: Iterable[bytes]) -> list[CallRecord]:
        """Calls whose answers have one of these digests (watermark/copies.py), by number.

        Raises InputError if a file has changed since.
        """
        found: dict[int, CallRecord] = {}
        for digest in digests:
            head = np.uint64(int.from_bytes(digest[:8], "big"))
            for part in self._digests:
                for index in np.flatnonzero(part.heads == head).tolist():
                    line = read_line(self._files[part.sources[index]], int(part.places[index]))
                    if digest.hex() in (line.digest or ()):
                        found[line.call] = _record(line)
        return [found[call] for call in sorted(found)]

    def _read(self, file: Path, report: Callable[[str], None]) -> list[Calls]:
        found = []
        try:
            for block in read_blocks(file, report):
                found.append(self._columns(block))
                self._note(block)
        except InputError:
            if file.exists():
                raise
            return []  # it has become Parquet
        self._files.append(file)
        return found

    def _columns(self, block: Block) -> Calls:
        sources = np.full(len(block.numbers), len(self._files), np.int32)
        return Calls(block.numbers, block.accounts, sources, block.places)

    def _note(self, block: Block) -> None:
        self.names |= block.names
        if len(block.digests):
            self.has_digests = True
            if self._keep_digests:
                sources = np.full(len(block.digests), len(self._files), np.int32)
                self._digests.append(_Digests(block.digests, sources, block.digest_places))


def _record(line: Line) -> CallRecord:
    return CallRecord(line.call, line.account, line.time, line.model)


def parse_range(text: str, kind: str, largest: int, example: str) -> range:
    """Numbers of an inclusive range "LOW-HIGH" up to `largest`; raises InputError."""
    match = re.fullmatch("([0-9]{1,20})-([0-9]{1,20})", text)
    low, high = map(int, match.groups()) if match else (1, 0)
    if not low <= high <= largest:
        raise InputError(
            f"{kind} range {text!r}: expected LOW-HIGH, for example {example}, at most {largest}"
        )
    return range(low, high + 1)
