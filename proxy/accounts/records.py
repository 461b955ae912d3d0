"""What is kept of an account, as JSON, in the file and in Redis alike.

Of a key only HMAC-SHA256(pepper, key) is kept. A fast hash is right here: keys are 256
random bits that we make ourselves, so there is no dictionary to try and nothing for a
slow hash to slow down, while every request pays for it. The pepper keeps hashes of one
store useless against another.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec

from proxy.config import Tier
from proxy.errors import AccountsError

FORMAT = "azeotrope-accounts-2"
FORMAT_1 = "azeotrope-accounts-1"
KEY_PREFIX = "az-"
MAX_NUMBER = 2**24 - 1  # a call number carries the account in 24 bits
LONGEST_TEXT = 200
LONGEST_KEY = 256  # one that others made
# Good ones of one account: each is held in every gateway's memory.
MAX_KEYS = 8
KEY_ID_DIGITS = 8

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
_LICENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_HASH = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")

Positive = Annotated[int, msgspec.Meta(gt=0)]


class Overrides(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Limits of one account that take the place of its tier's."""

    requests_per_minute: Positive | None = None
    burst: Positive | None = None
    concurrent_calls: Positive | None = None


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One of an account's keys: its hash, and until when it is good (None: for ever)."""

    hash: str
    created: str
    expires: str | None = None

    @property
    def id(self) -> str:
        """What operators call the key by; it tells nothing of the key."""
        return self.hash[:KEY_ID_DIGITS]

    def is_good(self, now: float) -> bool:
        """Whether it opens the account at `now`, in Unix seconds."""
        return self.expires is None or now < unix_time(self.expires)


class Record(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """An account; `models` None means every served model. Times are UTC, to the second.

    `licence` is an id that operators give; nothing depends on it yet.
    """

    number: Annotated[int, msgspec.Meta(ge=1, le=MAX_NUMBER)]
    name: str
    owner: str | None = None
    tier: str
    limits: Overrides | None = None
    models: list[str] | None = None
    licence: str | None = None
    state: Literal["active", "suspended"] = "active"
    reason: str | None = None
    since: str | None = None
    created: str
    keys: list[Key]

    @property
    def active(self) -> bool:
        """Whether the account may call."""
        return self.state == "active"


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a store keeps beside its accounts; `last_number` was the highest ever given."""

    pepper: str
    last_number: int

    @property
    def secret(self) -> bytes:
        """The pepper as bytes."""
        return bytes.fromhex(self.pepper)


def new_header() -> Header:
    """Return the header of a store without accounts."""
    return Header(pepper=secrets.token_hex(32), last_number=0)


def new_key() -> str:
    """Return a new API key."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def hash_key(pepper: bytes, key: str) -> bytes:
    """Return the digest by which a key is found."""
    return hmac.digest(pepper, key.encode("utf-8", "surrogatepass"), hashlib.sha256)


def with_key(good: Sequence[Key], fresh: Key) -> list[Key]:
    """Return an account's good keys and one more; raises AccountsError beyond MAX_KEYS."""
    if len(good) >= MAX_KEYS:
        raise AccountsError(
            f"the account has {MAX_KEYS} keys that are good: wait until one ends, or end "
            "all with: azeotrope accounts rotate NAME --grace 0"
        )
    return [*good, fresh]


def timestamp(moment: datetime) -> str:
    """Return the moment as records have it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def unix_time(text: str) -> float:
    """Return seconds since 1970 of a checked time."""
    return datetime.fromisoformat(text).timestamp()


def check(record: Record) -> None:
    """Check what the types do not say; raises AccountsError, without the account's name."""
    if not _NAME.fullmatch(record.name):
        raise AccountsError(
            "name: expected 1 to 64 letters, digits or any of . _ @ + - , "
            "beginning with a letter or digit"
        )
    _check_texts(record)
    if record.models is not None and (not record.models or not all(record.models)):
        raise AccountsError("models: expected names of models, or null for all")
    for key in record.keys:
        if not _HASH.fullmatch(key.hash):
            raise AccountsError("keys: hash: expected 64 hex digits")
        if key.expires is not None and not _is_time(key.expires):
            raise AccountsError("keys: expires: expected a time such as 2026-01-31T12:00:00Z")


def _check_texts(record: Record) -> None:
    for field, text in (("owner", record.owner), ("reason", record.reason)):
        if text is not None and not (0 < len(text) <= LONGEST_TEXT and text.isprintable()):
            raise AccountsError(f"{field}: expected 1 to {LONGEST_TEXT} printable characters")
    if record.licence is not None and not _LICENCE.fullmatch(record.licence):
        raise AccountsError("licence: expected 1 to 32 letters, digits or any of . _ -")


def check_served(models: Collection[str] | None, served: Collection[str]) -> None:
    """Check that models are among the served ones; raises AccountsError."""
    for model in models or ():
        if model not in served:
            raise AccountsError(
                f"{model} is not served; the configuration has {', '.join(sorted(served))}"
            )


def check_header(header: Header) -> None:
    """Check the pepper; raises AccountsError."""
    if not _HASH.fullmatch(header.pepper):
        raise AccountsError("pepper: expected 64 hex digits")


def effective_tier(record: Record, tiers: Mapping[str, Tier]) -> Tier:
    """Return the account's limits: its tier's, with its own in their place.

    A burst that only the tier names is cut to the account's own rate. Raises AccountsError.
    """
    tier = tiers.get(record.tier)
    if tier is None:
        raise AccountsError(
            f"expected a tier of the configuration ({', '.join(sorted(tiers))}), got {record.tier}"
        )
    own = record.limits
    if own is None:
        return tier
    rate = own.requests_per_minute or tier.requests_per_minute
    burst = own.burst or (tier.burst and min(tier.burst, rate))
    if burst is not None and burst > rate:
        raise AccountsError(f"burst: expected at most requests_per_minute ({rate}), got {burst}")
    calls = own.concurrent_calls or tier.concurrent_calls
    return tier.model_copy(
        update={"requests_per_minute": rate, "burst": burst, "concurrent_calls": calls}
    )


def _is_time(text: str) -> bool:
    if not _TIME.fullmatch(text):
        return False
    try:
        unix_time(text)
    except ValueError:
        return False
    return True
