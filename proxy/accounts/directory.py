"""The accounts in a gateway's memory, looked up by key on every call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

import msgspec

from proxy.accounts.records import (
    LONGEST_KEY,
    Header,
    Overrides,
    Record,
    check,
    effective_tier,
    hash_key,
    unix_time,
)
from proxy.config import Tier
from proxy.errors import AccountsError, CallError, Kind

# A load runs in a thread beside the event loop. Python would let it keep the loop
# waiting for 5 ms each time: it steps aside itself after so many accounts (0.3 ms).
_STEP = 32


class Account(msgspec.Struct, frozen=True, gc=False):
    """One account; `models` None means every served model.

    `tier` are its limits, with its own in the place of its tier's. Not tracked by the
    garbage collector, which would walk through every account again and again.
    """

    number: int
    name: str
    tier: Tier
    models: frozenset[str] | None
    active: bool

    def may_use(self, model: str) -> bool:
        """Tell whether the account may call a served model."""
        return self.models is None or model in self.models


class Accounts:
    """Accounts by the hashes of their keys, and by number."""

    def __init__(
        self, header: Header, tiers: Mapping[str, Tier], wall: Callable[[], float] = time.time
    ) -> None:
        self._pepper = header.secret
        self._tiers = tiers
        self._wall = wall
        self._by_digest: dict[bytes, Account] = {}
        self._expiries: dict[bytes, float] = {}  # only of keys that expire
        self._digests: dict[int, tuple[bytes, ...]] = {}
        # Shared by all accounts that have the same: most have.
        self._limits: dict[tuple[str, Overrides | None], Tier] = {}
        self._models: dict[frozenset[str], frozenset[str]] = {}

    def __len__(self) -> int:
        return len(self._digests)

    @classmethod
    def load(cls, header: Header, records: Iterable[Record], tiers: Mapping[str, Tier]) -> Accounts:
        """Take in all accounts of a store; raises AccountsError.

        For a thread beside the event loop, to which it yields again and again.
        """
        accounts = cls(header, tiers)
        for count, record in enumerate(records):
            accounts.put(record)
            if count % _STEP == 0:
                time.sleep(0)
        return accounts

    def put(self, record: Record) -> None:
        """Take in a new or changed account; raises AccountsError and then keeps the old one."""
        try:
            check(record)
            account = self._account(record)
        except AccountsError as error:
            raise AccountsError(f"account {record.name}: {error}") from None
        digests = tuple(bytes.fromhex(key.hash) for key in record.keys)
        for digest in digests:
            other = self._by_digest.get(digest)
            if other is not None and other.number != record.number:
                raise AccountsError(f"account {record.name}: a key is another account's too")
        self.drop(record.number)
        self._digests[record.number] = digests
        for digest, key in zip(digests, record.keys, strict=True):
            self._by_digest[digest] = account
            if key.expires is not None:
                self._expiries[digest] = unix_time(key.expires)

    def drop(self, number: int) -> None:
        """Forget an account, if it is known."""
        for digest in self._digests.pop(number, ()):
            self._by_digest.pop(digest, None)
            self._expiries.pop(digest, None)

    def authenticate(self, key: str) -> Account:
        """Return the account of a key; raises CallError (UNKNOWN_KEY, SUSPENDED).

        The lookup is by digest under a secret pepper: a caller cannot steer which bytes
        are compared, so its timing tells nothing of any stored hash.
        """
        account = None
        if len(key) <= LONGEST_KEY:  # a longer one is nobody's: not worth a hash of a megabyte
            digest = hash_key(self._pepper, key)
            expires = self._expiries.get(digest)
            if expires is None or self._wall() < expires:
                account = self._by_digest.get(digest)
        if account is None:
            raise CallError(
                Kind.UNKNOWN_KEY,
                "Incorrect API key provided.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        if not account.active:
            raise CallError(Kind.SUSPENDED, "This account is suspended.")
        return account

    def _account(self, record: Record) -> Account:
        shape = (record.tier, record.limits)
        limits = self._limits.get(shape)
        if limits is None:
            limits = self._limits[shape] = effective_tier(record, self._tiers)
        models = None
        if record.models is not None:
            models = frozenset(record.models)
            models = self._models.setdefault(models, models)
        return Account(record.number, record.name, limits, models, record.active)
