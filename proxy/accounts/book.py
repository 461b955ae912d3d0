"""The accounts of a store while a command changes them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Protocol, TypeVar

from proxy.accounts.records import MAX_NUMBER, Header, Record, check
from proxy.errors import AccountsError

T = TypeVar("T")
Edit = Callable[["Book"], T]


class Book:
    """Accounts by name, and which of them were changed.

    A store may hand in only those accounts that a change is about.
    """

    def __init__(self, header: Header, records: Iterable[Record]) -> None:
        self.pepper = header.secret
        self.last_number = header.last_number
        self.changed: dict[str, Record] = {}
        self._by_name = {record.name: record for record in records}
        highest = max((record.number for record in self._by_name.values()), default=0)
        self.last_number = max(self.last_number, highest)

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._by_name.values())

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> Record:
        """Return an account; raises AccountsError."""
        try:
            return self._by_name[name]
        except KeyError:
            raise AccountsError(f"there is no account {name!r}") from None

    @property
    def header(self) -> Header:
        """The store's header as it is now."""
        return Header(pepper=self.pepper.hex(), last_number=self.last_number)

    def next_number(self) -> int:
        """Return a number that no account ever had; raises AccountsError."""
        if self.last_number >= MAX_NUMBER:
            raise AccountsError(f"all {MAX_NUMBER} account numbers are taken")
        self.last_number += 1
        return self.last_number

    def put(self, record: Record) -> None:
        """Add an account or replace the one of this name; raises AccountsError."""
        try:
            check(record)
        except AccountsError as error:
            raise AccountsError(f"account {record.name!r}: {error}") from None
        self._by_name[record.name] = self.changed[record.name] = record

    def forget(self) -> None:
        """Leave the store as it was: nothing is changed."""
        self.changed.clear()


class AccountStore(Protocol):
    """Where accounts are kept. Every method raises AccountsError."""

    def read(self) -> Book:
        """Return all accounts."""

    def change(self, edit: Edit[T], names: Collection[str] | None = None) -> T:
        """Apply `edit` to the accounts and keep what it changed, all or nothing.

        No other change comes between. `names` are those that the edit looks at, None
        all. `edit` may be called again if another change was faster.
        """

    def create(self, book: Book) -> None:
        """Take over a whole book; the store must be empty."""
