"""The accounts in Redis or Valkey, for several gateways.

A change is one run of commit.lua, which refuses if anything changed since it was read;
then the change is made anew. A change of many accounts would hold up Redis, which
gateways ask on every call: it writes a new set of accounts beside the old one, piece by
piece, and swap.lua puts it in its place. Either raises the version and notes it beside
each account that it changed, so that a gateway asks for the version and then reads only
what is newer. For one thread at a time; the gateway calls it off the event loop.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from typing import Any, TypeVar

import msgspec
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from proxy.accounts.book import Book, Edit
from proxy.accounts.records import FORMAT, Header, Record, check_header, new_header
from proxy.errors import AccountsError
from proxy.guard.keyspace import (
    ACCOUNTS_CHANGES,
    ACCOUNTS_META,
    ACCOUNTS_NAMES,
    ACCOUNTS_RECORDS,
)

T = TypeVar("T")
_KEYS = (ACCOUNTS_RECORDS, ACCOUNTS_NAMES, ACCOUNTS_CHANGES, ACCOUNTS_META)
_CHUNK = 500
# More are swapped in: commit.lua takes 10 µs for each.
_MANY = 500
_STAGED_S = 600  # life of a new set that nobody swaps in
# Every refused attempt means that another one went through.
_ATTEMPTS = 1_000
_META = ("format", "pepper", "last_number", "version")


@dataclass(frozen=True, slots=True)
class Version:
    """Which state of the accounts: another pepper means another set of accounts."""

    header: Header
    number: int

    def leads_to(self, other: Version) -> bool:
        """Tell whether `other` is this state with changes, none of them taken back."""
        return self.header.pepper == other.header.pepper and self.number <= other.number


class RedisStore:
    """The accounts that a Redis or Valkey holds."""

    def __init__(self, url: str, *, timeout_s: float = 30.0) -> None:
        """Connect on first use; raises AccountsError for a bad URL.

        No command is sent twice: a commit may have gone through.
        """
        try:
            self._redis: Any = Redis.from_url(
                url,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                retry=Retry(NoBackoff(), 0),
            )
            self._redis.connection_pool.make_connection()  # connects to nothing yet
        except (TypeError, ValueError):  # their texts may quote the URL
            raise AccountsError("redis.url: redis-py does not understand it") from None
        self._commit, self._swap = (
            self._redis.register_script(
                resources.files("proxy.accounts").joinpath(name).read_text("utf-8")
            )
            for name in ("commit.lua", "swap.lua")
        )

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def version(self) -> Version:
        """Return the newest state's version; raises AccountsError, also without accounts."""
        version = self._version()
        if version is None:
            raise AccountsError(
                "Redis holds no accounts; make one with: azeotrope accounts add NAME"
            )
        return version

    def read(self) -> Book:
        """Return all accounts; raises AccountsError."""
        return Book(self.version().header, self.records())

    def records(self) -> Iterator[Record]:
        """Return all accounts, as they are or, where one is changed meanwhile, were."""
        seen: set[bytes] = set()  # a scan may give an entry twice
        with _telling():
            for number, content in self._redis.hscan_iter(ACCOUNTS_RECORDS, count=_CHUNK):
                if number not in seen:
                    seen.add(number)
                    yield _decode(content)

    def changed(self, since: Version) -> Iterator[Record]:
        """Return the accounts that a later version than `since` changed."""
        with _telling():
            numbers = self._redis.zrangebyscore(ACCOUNTS_CHANGES, f"({since.number}", "+inf")
            yield from self._numbered(numbers)

    def change(self, edit: Edit[T], names: Collection[str] | None = None) -> T:
        """Apply an edit, making the store if there is none; raises AccountsError."""
        for _ in range(_ATTEMPTS):
            version = self._version()
            header = version.header if version else new_header()
            records = self.records() if names is None else self._named(list(names))
            book = Book(header, records)
            result = edit(book)
            if not book.changed or self._kept(version, book, whole=names is None):
                return result
        raise AccountsError("the accounts in Redis change all the time: try again")

    def create(self, book: Book) -> None:
        """Take over a whole book; raises AccountsError if there are accounts."""
        if self._version() is not None or not self._swapped(None, book):
            raise AccountsError("Redis holds accounts already")

    def _version(self) -> Version | None:
        with _telling():
            values = self._redis.hmget(ACCOUNTS_META, _META)
        if values[-1] is None:
            return None
        try:
            version, pepper, last_number, number = (value.decode() for value in values)
            header = Header(pepper=pepper, last_number=int(last_number))
            known = Version(header, int(number))
        except (AttributeError, ValueError):
            raise AccountsError(f"Redis: {ACCOUNTS_META} is not what we write") from None
        if version != FORMAT:
            raise AccountsError(f"Redis: expected the format {FORMAT}, got {version}")
        check_header(header)
        return known

    def _named(self, names: list[str]) -> Iterator[Record]:
        with _telling():
            numbers = self._redis.hmget(ACCOUNTS_NAMES, names)
            yield from self._numbered([number for number in numbers if number is not None])

    def _numbered(self, numbers: Sequence[bytes]) -> Iterator[Record]:
        for start in range(0, len(numbers), _CHUNK):
            contents = self._redis.hmget(ACCOUNTS_RECORDS, numbers[start : start + _CHUNK])
            yield from (_decode(content) for content in contents if content is not None)

    def _kept(self, read: Version | None, book: Book, *, whole: bool) -> bool:
        if whole and len(book.changed) > _MANY:
            return self._swapped(read, book)
        with _telling():
            head = _head(read, book)
            return bool(self._commit(keys=_KEYS, args=[*head, *_triples(book.changed.values())]))

    def _swapped(self, read: Version | None, book: Book) -> bool:
        token = secrets.token_hex(8)
        staged = [f"{key}:{token}" for key in _KEYS[:3]]
        aside = [f"{key}:{token}:old" for key in _KEYS[:3]]
        with _telling():
            try:
                self._stage(staged, read.number if read else 0, book)
                return bool(self._swap(keys=[*_KEYS, *staged, *aside], args=_head(read, book)))
            finally:
                self._redis.unlink(*staged)

    def _stage(self, keys: Sequence[str], version: int, book: Book) -> None:
        """Write a whole set of accounts; those that were not changed keep the old version."""
        records = list(book)
        encode = msgspec.json.Encoder().encode
        for start in range(0, len(records), _CHUNK):
            chunk = records[start : start + _CHUNK]
            with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.hset(keys[0], mapping={each.number: encode(each) for each in chunk})
                pipeline.hset(keys[1], mapping={each.name: each.number for each in chunk})
                scores = {each.number: version + (each.name in book.changed) for each in chunk}
                pipeline.zadd(keys[2], scores)
                for key in keys:
                    pipeline.expire(key, _STAGED_S)
                pipeline.execute()


def _head(read: Version | None, book: Book) -> tuple[str | int, ...]:
    header = book.header
    return (str(read.number) if read else "", FORMAT, header.pepper, header.last_number)


def _triples(records: Iterable[Record]) -> Iterator[str | int | bytes]:
    encode = msgspec.json.Encoder().encode
    for record in records:
        yield from (record.number, record.name, encode(record))


def _decode(content: bytes) -> Record:
    try:
        return msgspec.json.decode(content, type=Record)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AccountsError(f"Redis: not an account ({error})") from None


@contextmanager
def _telling() -> Iterator[None]:
    """Tell what went wrong by its class: the text of a connection error may quote the URL."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise AccountsError(f"the accounts in Redis: {type(error).__name__}") from None
