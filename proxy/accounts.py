"""Accounts: who may call, under which limits, and by which key.

accounts.json (mode 0600) holds a pepper and, of each key, HMAC-SHA256(pepper, key).
A fast hash is right here: keys are 256 random bits that we make ourselves, so there
is no dictionary to try and nothing for a slow hash to slow down, while every request
pays for it. The pepper keeps hashes of one file useless against another.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from proxy.config import Tier
from proxy.errors import AccountsError, CallError, Kind

FORMAT = "azeotrope-accounts-1"
KEY_PREFIX = "az-"
MAX_NUMBER = 2**24 - 1  # a call number carries the account in 24 bits
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
# A longer credential is none of ours: not worth a hash of a megabyte.
_LONGEST_KEY = 256


@dataclass(frozen=True, slots=True)
class Account:
    """One account; `models` None means every served model."""

    number: int
    name: str
    tier: Tier
    models: frozenset[str] | None
    active: bool

    def may_use(self, model: str) -> bool:
        """Tell whether the account may call a served model."""
        return self.models is None or model in self.models


class _Record(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    number: int
    name: str
    key_hash: str
    tier: str
    models: list[str] | None
    state: Literal["active", "suspended"]
    created: str


class _File(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    format: str
    pepper: str
    accounts: list[_Record]


class Accounts:
    """An immutable snapshot of the accounts file, looked up by key."""

    def __init__(self, pepper: bytes, by_hash: Mapping[bytes, Account]) -> None:
        self._pepper = pepper
        self._by_hash = dict(by_hash)

    def __len__(self) -> int:
        return len(self._by_hash)

    @classmethod
    def load(cls, path: Path, tiers: Mapping[str, Tier]) -> Accounts:
        """Read and check the file; raises AccountsError."""
        file = _read(path)
        by_hash = {}
        for record in file.accounts:
            if record.tier not in tiers:
                raise AccountsError(
                    f"{path}: account {record.name}: expected a tier of the configuration "
                    f"({', '.join(sorted(tiers))}), got {record.tier}"
                )
            by_hash[bytes.fromhex(record.key_hash)] = Account(
                number=record.number,
                name=record.name,
                tier=tiers[record.tier],
                models=None if record.models is None else frozenset(record.models),
                active=record.state == "active",
            )
        return cls(bytes.fromhex(file.pepper), by_hash)

    def authenticate(self, key: str) -> Account:
        """Return the account of a key; raises CallError (UNKNOWN_KEY, SUSPENDED).

        The lookup is by digest under a secret pepper: a caller cannot steer which bytes
        are compared, so its timing tells nothing of any stored hash.
        """
        account = None
        if len(key) <= _LONGEST_KEY:
            account = self._by_hash.get(_hash(self._pepper, key))
        if account is None:
            raise CallError(
                Kind.UNKNOWN_KEY,
                "Incorrect API key provided.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        if not account.active:
            raise CallError(Kind.SUSPENDED, "This account is suspended.")
        return account


def add(
    path: Path,
    name: str,
    *,
    tier: str,
    tiers: Container[str],
    models: list[str] | None = None,
) -> tuple[int, str]:
    """Add an account, making the file if there is none; return its number and its key.

    The key is stored nowhere. Raises AccountsError.
    """
    if not _NAME.fullmatch(name):
        raise AccountsError(
            f"account name {name!r}: expected 1 to 64 letters, digits or any of . _ @ + - , "
            "beginning with a letter or digit"
        )
    if tier not in tiers:
        raise AccountsError(f"tier {tier!r} is not in the configuration's tiers")
    with _locked(path):
        file = (
            _read(path)
            if path.exists()
            else _File(format=FORMAT, pepper=secrets.token_hex(32), accounts=[])
        )
        if any(record.name == name for record in file.accounts):
            raise AccountsError(f"{path}: there is an account {name} already")
        number = max((record.number for record in file.accounts), default=0) + 1
        if number > MAX_NUMBER:
            raise AccountsError(f"{path}: all {MAX_NUMBER} account numbers are taken")
        key = KEY_PREFIX + secrets.token_urlsafe(32)
        record = _Record(
            number=number,
            name=name,
            key_hash=_hash(bytes.fromhex(file.pepper), key).hex(),
            tier=tier,
            models=models,
            state="active",
            created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
        file.accounts.append(record)
        _write(path, file)
    return number, key


def table(path: Path) -> list[tuple[str, ...]]:
    """Return number, name, tier, models, state and creation time of all accounts."""
    return [
        (
            str(record.number),
            record.name,
            record.tier,
            "all" if record.models is None else ",".join(record.models),
            record.state,
            record.created,
        )
        for record in _read(path).accounts
    ]


def _hash(pepper: bytes, key: str) -> bytes:
    return hmac.digest(pepper, key.encode("utf-8", "surrogatepass"), hashlib.sha256)


def _read(path: Path) -> _File:
    try:
        mode = path.stat().st_mode
        content = path.read_bytes()
    except FileNotFoundError:
        raise AccountsError(
            f"{path}: no such accounts file; make one with: azeotrope accounts add NAME"
        ) from None
    except OSError as error:
        raise AccountsError(f"{path}: cannot be read ({error.strerror})") from None
    if mode & 0o077:
        raise AccountsError(f"{path}: others may read it; mend that with: chmod 600 {path}")
    try:
        file = msgspec.json.decode(content, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AccountsError(f"{path}: not an accounts file ({error})") from None
    _check(path, file)
    return file


def _check(path: Path, file: _File) -> None:
    if file.format != FORMAT:
        raise AccountsError(f"{path}: expected the format {FORMAT}, got {file.format}")
    if not _is_hash(file.pepper):
        raise AccountsError(f"{path}: pepper: expected 64 hex digits")
    numbers, names, hashes = set(), set(), set()
    for record in file.accounts:
        where = f"{path}: account {record.name}"
        if not 1 <= record.number <= MAX_NUMBER:
            raise AccountsError(f"{where}: expected a number from 1 to {MAX_NUMBER}")
        if not _is_hash(record.key_hash):
            raise AccountsError(f"{where}: key_hash: expected 64 hex digits")
        if not _NAME.fullmatch(record.name):
            raise AccountsError(f"{where}: the name has characters that names may not have")
        if record.number in numbers or record.name in names or record.key_hash in hashes:
            raise AccountsError(f"{where}: its number, name or key_hash is another account's too")
        numbers.add(record.number)
        names.add(record.name)
        hashes.add(record.key_hash)


def _is_hash(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{64}", text) is not None


def _write(path: Path, file: _File) -> None:
    """Replace the file at once: a reader sees the old or the new one, never half of it."""
    temporary = path.with_name(f".{path.name}.new")
    content = msgspec.json.format(msgspec.json.encode(file), indent=2) + b"\n"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise AccountsError(f"{path}: cannot be written ({error.strerror})") from None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one `accounts add` at a time change the file: numbers must not be given twice."""
    lock = path.with_name(f".{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise AccountsError(f"{path}: cannot be written ({error.strerror})") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
