"""Many accounts from a CSV or JSONL file, all or none.

A column or member that the file has sets that value, an empty one to none; one that it
has not leaves the value of an account that is updated.
"""

from __future__ import annotations

import csv
import json
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from proxy.accounts.book import Book
from proxy.accounts.records import (
    LONGEST_KEY,
    Key,
    Overrides,
    Record,
    check,
    effective_tier,
    hash_key,
    new_key,
    timestamp,
    unix_time,
    with_key,
)
from proxy.config import Tier
from proxy.errors import AccountsError

_LIMITS = ("requests_per_minute", "burst", "concurrent_calls")
_FIELDS = ("owner", "tier", "models", "licence")
COLUMNS = ("name", *_FIELDS, *_LIMITS, "key")
# A key that others made may be weak: it is hashed fast, so it must not be guessable.
_SHORTEST_KEY = 24
_TOLD = 5
_DEFAULT_TIER = "default"
_DIGITS = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class Row:
    """One account of an import file. `fields` are a record's; `limits` those given."""

    line: int
    name: str
    fields: Mapping[str, Any]
    limits: Mapping[str, int | None]
    key: str | None = field(repr=False)


@dataclass(slots=True)
class Imported:
    """What an import did: `keys` are the new ones, by account name."""

    added: int = 0
    updated: int = 0
    keys: dict[str, str] = field(default_factory=dict, repr=False)


def read_rows(path: Path) -> list[Row]:
    """Read and check an import file by its suffix, .csv or .jsonl; raises AccountsError."""
    readers: dict[str, Callable[[Path], Iterable[tuple[int, Any]]]] = {
        ".csv": _csv,
        ".jsonl": _jsonl,
    }
    if path.suffix not in readers:
        raise AccountsError(f"{path}: expected a .csv or .jsonl file")
    rows, mistakes = [], _Mistakes(path)
    try:
        for line, content in readers[path.suffix](path):
            with mistakes.at(line):
                rows.append(_row(line, content))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AccountsError(f"{path}: cannot be read ({error})") from None
    _check_distinct(rows, mistakes)
    mistakes.tell()
    if any(row.key for row in rows) and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise AccountsError(f"{path}: it holds keys and others may read it: chmod 600 {path}")
    return rows


def apply(
    book: Book,
    path: Path,
    rows: Iterable[Row],
    *,
    tiers: Mapping[str, Tier],
    served: frozenset[str],
    update: bool,
) -> Imported:
    """Put the rows of a file into a book; raises AccountsError."""
    done, mistakes, now = Imported(), _Mistakes(path), timestamp(datetime.now(UTC))
    taken = {key.hash: record.name for record in book for key in record.keys}
    for row in rows:
        with mistakes.at(row.line):
            if row.name in book and not update:
                raise AccountsError("name: there is such an account already (see --update)")
            record = _updated(book, row, now) if row.name in book else _added(book, row, now, done)
            _check_known(record, tiers, served)
            for key in record.keys:
                if taken.setdefault(key.hash, row.name) != row.name:
                    raise AccountsError("key: it is another account's too")
            book.put(record)
    mistakes.tell()
    done.updated = len(book.changed) - done.added
    return done


def _check_known(record: Record, tiers: Mapping[str, Tier], served: frozenset[str]) -> None:
    if record.tier not in tiers:
        raise AccountsError(f"tier: expected one of {', '.join(sorted(tiers))}")
    if not served >= {*(record.models or ())}:
        raise AccountsError(f"models: expected any of {', '.join(sorted(served))}")
    effective_tier(record, tiers)


def _added(book: Book, row: Row, now: str, done: Imported) -> Record:
    key = row.key
    if key is None:
        key = done.keys[row.name] = new_key()
    done.added += 1
    return Record(
        number=book.next_number(),
        name=row.name,
        created=now,
        limits=_limits(None, row.limits),
        keys=[Key(hash_key(book.pepper, key).hex(), now)],
        **{"tier": _DEFAULT_TIER, **row.fields},
    )


def _updated(book: Book, row: Row, now: str) -> Record:
    old = book[row.name]
    keys = old.keys
    if row.key is not None:
        digest = hash_key(book.pepper, row.key).hex()
        keys = [key for key in keys if key.is_good(unix_time(now))]
        if all(key.hash != digest for key in keys):
            keys = with_key(keys, Key(digest, now))
    limits = _limits(old.limits, row.limits)
    return msgspec.structs.replace(old, limits=limits, keys=keys, **row.fields)


def _limits(old: Overrides | None, given: Mapping[str, int | None]) -> Overrides | None:
    values = {**({} if old is None else msgspec.structs.asdict(old)), **given}
    return Overrides(**values) if any(values.values()) else None


def _csv(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, strict=True)
        columns = next(reader, [])
        _check_columns(path, columns)
        for cells in reader:
            if cells:
                yield reader.line_num, _from_cells(columns, cells)


def _from_cells(columns: list[str], cells: list[str]) -> dict[str, Any] | AccountsError:
    """Return the row as JSON would have it."""
    if len(cells) != len(columns):
        return AccountsError(f"expected {len(columns)} cells, got {len(cells)}")
    row: dict[str, Any] = {
        column: cell.strip() or None for column, cell in zip(columns, cells, strict=True)
    }
    if row.get("models"):
        row["models"] = [model.strip() for model in row["models"].split(";")]
    for column in _LIMITS:
        if _DIGITS.fullmatch(row.get(column) or ""):
            row[column] = int(row[column])
    return row


def _check_columns(path: Path, columns: list[str]) -> None:
    if "name" not in columns or not {*columns} <= {*COLUMNS} or len({*columns}) != len(columns):
        raise AccountsError(
            f"{path}: line 1: expected the columns name and any of {', '.join(COLUMNS[1:])}, "
            "each once"
        )


def _jsonl(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(encoding="utf-8") as stream:
        for line, text in enumerate(stream, start=1):
            if text.strip():
                try:
                    yield line, json.loads(text)
                except (ValueError, RecursionError):
                    yield line, None


def _row(line: int, content: Any) -> Row:
    if isinstance(content, AccountsError):
        raise content
    if not isinstance(content, dict):
        raise AccountsError("expected a JSON object")
    for name in content:
        if name not in COLUMNS:
            raise AccountsError(f"unknown member; expected any of {', '.join(COLUMNS)}")
    fields = {name: content[name] for name in _FIELDS if name in content}
    if "tier" in fields:
        fields["tier"] = fields["tier"] or _DEFAULT_TIER
    limits = {name: content[name] for name in _LIMITS if name in content}
    row = Row(line, content.get("name") or "", fields, limits, _key(content.get("key")))
    _check_types(row)
    return row


def _key(key: Any) -> str | None:
    if key is None:
        return None
    good = isinstance(key, str) and key.isascii() and key.isprintable() and " " not in key
    if not good or not _SHORTEST_KEY <= len(key) <= LONGEST_KEY:
        raise AccountsError(
            f"key: expected {_SHORTEST_KEY} to {LONGEST_KEY} printable ASCII characters"
        )
    return str(key)


def _check_types(row: Row) -> None:
    """Check a row as if it were a new account's; raises AccountsError."""
    sample = {
        "number": 1,
        "name": row.name,
        "tier": _DEFAULT_TIER,
        "created": "",
        "keys": [],
        **row.fields,
        "limits": row.limits or None,
    }
    try:
        check(msgspec.convert(sample, Record))
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `$.")
        raise AccountsError(f"{place.rstrip('`') or 'row'}: {text}") from None


def _check_distinct(rows: list[Row], mistakes: _Mistakes) -> None:
    first: dict[str, int] = {}
    for row in rows:
        with mistakes.at(row.line):
            if first.setdefault(row.name, row.line) != row.line:
                raise AccountsError(f"name: the same as in line {first[row.name]}")


class _Mistakes:
    """What is wrong in a file, line by line: told together, so that one run finds all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: list[str] = []
        self._line = 0

    def at(self, line: int) -> _Mistakes:
        """Collect the AccountsErrors of a `with` block under a line."""
        self._line = line
        return self

    def __enter__(self) -> None:
        """Begin a line."""

    def __exit__(self, kind: object, error: object, trace: object) -> bool:
        """Note an AccountsError; let anything else through."""
        if isinstance(error, AccountsError):
            self._found.append(f"line {self._line}: {error}")
        return isinstance(error, AccountsError)

    def tell(self) -> None:
        """Raise AccountsError if there was a mistake."""
        if self._found:
            more = len(self._found) - _TOLD
            told = "; ".join(self._found[:_TOLD]) + (f"; and {more} more" if more > 0 else "")
            raise AccountsError(f"{self._path}: {told}")
