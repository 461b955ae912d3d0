"""The accounts file: mode 0600, changed under a lock, replaced at once.

One JSON object with one account a line, so that a big file is read line by line (a
gateway must not stand still while it reads) and two versions compare well:

    {"format":"azeotrope-accounts-2","pepper":"…","last_number":2,"accounts":[
    {"number":1,"name":"alice",…},
    {"number":2,"name":"bob",…}
    ]}

Any other layout of the same JSON is read as well, and so is version 1, which had one
key an account. Both become the above when they are next written.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar

import msgspec

from proxy.accounts import changes
from proxy.accounts.book import Book, Edit
from proxy.accounts.records import FORMAT, FORMAT_1, Header, Key, Record, check_header, new_header
from proxy.config import Tier
from proxy.disk import sync_folder
from proxy.errors import AccountsError

T = TypeVar("T")
_OPENING = b'"accounts":['
_CLOSING = b"]}"


class FileStore:
    """An accounts file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Book:
        """Return all accounts; raises AccountsError."""
        with self.scan() as (header, records):
            return Book(header, records)

    @contextmanager
    def scan(self) -> Iterator[tuple[Header, Iterable[Record]]]:
        """Give the header and, one by one, the accounts; raises AccountsError."""
        with self._open() as stream, self._telling():
            header, records = _records(stream)
            check_header(header)
            yield header, _distinct(records)

    def change(self, edit: Edit[T], names: Collection[str] | None = None) -> T:
        """Apply an edit under the lock, making the file if there is none."""
        with self._locked():
            book = self.read() if self.path.exists() else Book(new_header(), ())
            result = edit(book)
            if book.changed:
                self._write(book)
        return result

    def create(self, book: Book) -> None:
        """Write a whole book; raises AccountsError if there is a file."""
        with self._locked():
            if self.path.exists():
                raise AccountsError(f"{self.path}: there is a file already")
            self._write(book)

    @contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        try:
            stream = self.path.open("rb")
        except FileNotFoundError:
            raise AccountsError(
                f"{self.path}: no such accounts file; make one with: azeotrope accounts add NAME"
            ) from None
        except OSError as error:
            raise AccountsError(f"{self.path}: cannot be read ({error.strerror})") from None
        with stream:
            if stat.S_IMODE(os.fstat(stream.fileno()).st_mode) & 0o077:
                raise AccountsError(
                    f"{self.path}: others may read it; mend that with: chmod 600 {self.path}"
                )
            yield stream

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Put the file's name before what is wrong with it."""
        try:
            yield
        except AccountsError as error:
            raise AccountsError(f"{self.path}: {error}") from None
        except OSError as error:
            raise AccountsError(f"{self.path}: cannot be read ({error.strerror})") from None

    def _write(self, book: Book) -> None:
        """Replace the file at once: a reader sees the old or the new one, never half of it."""
        temporary = self.path.with_name(f".{self.path.name}.new")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.writelines(_lines(book))
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(self.path)
            # A key that was told to somebody must not be lost in a power cut.
            sync_folder(self.path.parent)
        except OSError as error:
            raise AccountsError(f"{self.path}: cannot be written ({error.strerror})") from None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one command at a time change the file: numbers must not be given twice."""
        lock = self.path.with_name(f".{self.path.name}.lock")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise AccountsError(f"{self.path}: cannot be written ({error.strerror})") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def add(
    path: Path,
    name: str,
    *,
    tier: str,
    tiers: Mapping[str, Tier],
    models: list[str] | None = None,
) -> tuple[int, str]:
    """Add an account to a file, as changes.add does; return its number and its key."""
    return changes.add(FileStore(path), name, tier=tier, tiers=tiers, models=models)


class _Head(msgspec.Struct):
    format: str


class _File(msgspec.Struct, forbid_unknown_fields=True):
    format: str
    pepper: str
    last_number: int
    accounts: list[Record]


class _Record1(msgspec.Struct, forbid_unknown_fields=True):
    number: int
    name: str
    key_hash: str
    tier: str
    models: list[str] | None
    state: Literal["active", "suspended"]
    created: str


class _File1(msgspec.Struct, forbid_unknown_fields=True):
    format: str
    pepper: str
    accounts: list[_Record1]


def _records(stream: BinaryIO) -> tuple[Header, Iterable[Record]]:
    first = stream.readline()
    if first.rstrip().endswith(_OPENING):
        file = _decode(first.rstrip() + _CLOSING, _File)
        _check_format(file.format)
        return Header(pepper=file.pepper, last_number=file.last_number), _by_line(stream)
    content = first + stream.read()
    version = _decode(content, _Head).format
    if version == FORMAT_1:
        old = _decode(content, _File1)
        return Header(pepper=old.pepper, last_number=0), map(_upgraded, old.accounts)
    _check_format(version)
    file = _decode(content, _File)
    return Header(pepper=file.pepper, last_number=file.last_number), file.accounts


def _by_line(stream: BinaryIO) -> Iterator[Record]:
    decode = msgspec.json.Decoder(Record).decode
    for number, line in enumerate(stream, start=2):
        text = line.strip()
        if text == _CLOSING:
            return
        try:
            yield decode(text.removesuffix(b","))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise AccountsError(f"line {number}: not an account ({error})") from None
    raise AccountsError("not an accounts file (it ends before its end)")


def _decode(content: bytes, type: type[T]) -> T:  # noqa: A002
    try:
        return msgspec.json.decode(content, type=type)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AccountsError(f"not an accounts file ({error})") from None


def _check_format(version: str) -> None:
    if version != FORMAT:
        raise AccountsError(f"expected the format {FORMAT}, got {version}")


def _upgraded(old: _Record1) -> Record:
    return Record(
        number=old.number,
        name=old.name,
        tier=old.tier,
        models=old.models,
        state=old.state,
        created=old.created,
        keys=[Key(old.key_hash, old.created)],
    )


def _distinct(records: Iterable[Record]) -> Iterator[Record]:
    numbers: set[int] = set()
    names: set[str] = set()
    for record in records:
        if record.number in numbers or record.name in names:
            raise AccountsError(
                f"account {record.name}: its number or name is another account's too"
            )
        numbers.add(record.number)
        names.add(record.name)
        yield record


def _lines(book: Book) -> Iterator[bytes]:
    head = {"format": FORMAT, "pepper": book.header.pepper, "last_number": book.last_number}
    yield msgspec.json.encode(head).removesuffix(b"}") + b"," + _OPENING + b"\n"
    encode = msgspec.json.Encoder().encode
    last = len(book) - 1
    for place, record in enumerate(book):
        yield encode(record) + (b",\n" if place < last else b"\n")
    yield _CLOSING + b"\n"
