"""What operators do to accounts, in whatever store they are."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from proxy.accounts.book import AccountStore, Book
from proxy.accounts.records import (
    Key,
    Overrides,
    Record,
    effective_tier,
    hash_key,
    new_key,
    timestamp,
    with_key,
)
from proxy.config import Tier
from proxy.errors import AccountsError


def add(
    store: AccountStore,
    name: str,
    *,
    tier: str,
    tiers: Mapping[str, Tier],
    models: list[str] | None = None,
    owner: str | None = None,
    limits: Overrides | None = None,
    licence: str | None = None,
) -> tuple[int, str]:
    """Add an account, making the store if there is none; return its number and its key.

    The key is stored nowhere. Raises AccountsError.
    """
    key, now = new_key(), timestamp(datetime.now(UTC))

    def edit(book: Book) -> int:
        if name in book:
            raise AccountsError(f"there is an account {name} already")
        record = Record(
            number=book.next_number(),
            name=name,
            owner=owner,
            tier=tier,
            limits=limits,
            models=models,
            licence=licence,
            created=now,
            keys=[Key(hash_key(book.pepper, key).hex(), now)],
        )
        effective_tier(record, tiers)
        book.put(record)
        return record.number

    return store.change(edit, [name]), key


def rotate(store: AccountStore, name: str, grace: timedelta) -> str:
    """Give an account a new key and return it; raises AccountsError.

    Its other keys stay good for `grace` at most; those whose time is over are dropped. An
    account with MAX_KEYS good ones gets no further key but without grace.
    """
    key, now = new_key(), datetime.now(UTC)

    def edit(book: Book) -> None:
        record = book[name]
        good = [old for old in record.keys if grace and old.is_good(now.timestamp())]
        fresh = Key(hash_key(book.pepper, key).hex(), timestamp(now))
        keys = with_key([_expiring(old, now + grace) for old in good], fresh)
        book.put(msgspec.structs.replace(record, keys=keys))

    store.change(edit, [name])
    return key


def suspend(store: AccountStore, name: str, reason: str | None) -> None:
    """Refuse an account's calls from now on; raises AccountsError."""
    now = timestamp(datetime.now(UTC))

    def edit(book: Book) -> None:
        changes = {"state": "suspended", "reason": reason, "since": now}
        book.put(msgspec.structs.replace(book[name], **changes))

    store.change(edit, [name])


def resume(store: AccountStore, name: str) -> None:
    """Let an account call again; raises AccountsError."""

    def edit(book: Book) -> None:
        changes = {"state": "active", "reason": None, "since": None}
        book.put(msgspec.structs.replace(book[name], **changes))

    store.change(edit, [name])


def _expiring(key: Key, end: datetime) -> Key:
    if not key.is_good(end.timestamp()):
        return key
    return msgspec.structs.replace(key, expires=timestamp(end))
