"""Keys: the keyring (one master key an epoch), its subkeys, and exports of them.

keyring.json     master keys and the signing key; only the gateway's operator has it
engine export    what an engine needs to embed: channel keys and ticket keys
detector export  what an analyst needs to detect: channel keys only

All are JSON files of mode 0600. Nothing here prints or logs a key.
"""

import base64
import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from watermark.errors import KeyringError, ManifestError
from watermark.manifest import (
    Manifest,
    ManifestEpoch,
    Parameters,
    TokenizerPin,
    canonical_json,
)
from watermark.prf import hkdf_sha256, siphash24

KEYRING_FORMAT = "azeotrope keyring"
EXPORT_FORMAT = "azeotrope key export"
VERSION = 1
SALT = b"azeotrope az1"

Purpose = Literal["engine", "detector", "site-detector"]
# name: (label of the HKDF, bytes). The labels are part of the format az1.
SUBKEYS: dict[str, tuple[bytes, int]] = {
    "channel": (b"channel", 16),
    "site": (b"site", 16),
    "account": (b"account context", 16),
    "account_root": (b"account root", 16),
    "call": (b"call context", 16),
    "call_root": (b"call root", 16),
    "words": (b"words", 16),
    "ticket": (b"ticket", 32),
    "privacy": (b"privacy", 32),
}
_SITE_ONLY = ("channel", "site")
_DETECTOR = (*_SITE_ONLY, "account", "account_root", "call", "call_root", "words")
EXPORTED: dict[Purpose, tuple[str, ...]] = {
    "site-detector": _SITE_ONLY,
    "detector": _DETECTOR,
    "engine": (*(name for name in _DETECTOR if name != "words"), "ticket"),
}


@dataclass(frozen=True, slots=True, repr=False)
class EpochKeys:
    """Subkeys of one epoch; a key that the file did not contain is empty.

    SipHash keys have 16 bytes, HMAC keys (`ticket`, `privacy`) 32.
    """

    epoch: int
    created: str
    check: str
    channel: bytes
    site: bytes
    account: bytes = b""
    account_root: bytes = b""
    call: bytes = b""
    call_root: bytes = b""
    words: bytes = b""
    ticket: bytes = b""
    privacy: bytes = b""

    @classmethod
    def derive(cls, epoch: int, created: str, master: bytes) -> "EpochKeys":
        """Derive the subkeys of a 32-byte master key (HKDF-SHA256, RFC 5869)."""
        subkeys = {
            name: hkdf_sha256(master, SALT, label, length)
            for name, (label, length) in SUBKEYS.items()
        }
        check = hkdf_sha256(master, SALT, b"key check", 8).hex()
        return cls(epoch=epoch, created=created, check=check, **subkeys)

    def __repr__(self) -> str:
        return f"EpochKeys(epoch={self.epoch}, created={self.created!r})"

    def account_key(self, number: int) -> int:
        """64-bit key of an account: SipHash-2-4 of its number under the account root."""
        return siphash24(self.account_root, number.to_bytes(8, "little"))

    def call_key(self, number: int) -> int:
        """64-bit key of a call: SipHash-2-4 of its number under the call root."""
        return siphash24(self.call_root, number.to_bytes(8, "little"))


@dataclass(frozen=True, slots=True, repr=False)
class KeySet:
    """Keys as an engine or a detector holds them, oldest epoch first."""

    path: Path
    epochs: tuple[EpochKeys, ...]
    public_key: bytes

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r}, {len(self.epochs)} epochs)"

    @property
    def current(self) -> EpochKeys:
        """Keys of the newest epoch."""
        return self.epochs[-1]

    @classmethod
    def load(cls, path: Path) -> "KeySet":
        """Read a keyring or an export of one; raises KeyringError."""
        document = _read(path)
        if document.get("format") == KEYRING_FORMAT:
            return _keyring(path, document)
        return _export(path, document)

    def manifest(self, path: Path) -> Manifest:
        """Load the manifest and check that its epochs have these keys; raises ManifestError."""
        manifest = Manifest.load(path, self.public_key)
        checks = {entry.epoch: entry.check for entry in manifest.epochs}
        for keys in self.epochs:
            if checks.get(keys.epoch) != keys.check:
                following = _following(path)
                remedy = f" (a rotation was cut off: mv {following} {path})"
                cut_off = remedy if following.exists() else ""
                raise ManifestError(
                    f"{path}: does not list epoch {keys.epoch} of {self.path}: use the manifest "
                    f"that was written together with these keys{cut_off}"
                )
        if manifest.current_epoch != self.current.epoch:
            raise ManifestError(
                f"{path}: its newest epoch is {manifest.current_epoch}, but {self.path} ends with "
                f"{self.current.epoch}: export the keys again"
            )
        return manifest


@dataclass(frozen=True, slots=True, repr=False)
class Keyring(KeySet):
    """The secret file: master keys and the key that signs manifests."""

    masters: tuple[bytes, ...] = field(default=())
    signing_key: bytes = b""

    @classmethod
    def load(cls, path: Path) -> "Keyring":
        """Read a keyring; raises KeyringError (also for an export: it lacks the masters)."""
        document = _read(path)
        if document.get("format") != KEYRING_FORMAT:
            raise KeyringError(f"{path}: not a keyring; the gateway needs the keyring itself")
        return _keyring(path, document)

    def save(self, *, new: bool = False) -> None:
        """Write the keyring with mode 0600; `new` refuses to replace an existing file."""
        epochs = [
            {"epoch": keys.epoch, "created": keys.created, "master": _text(master)}
            for keys, master in zip(self.epochs, self.masters, strict=True)
        ]
        document = {
            "format": KEYRING_FORMAT,
            "version": VERSION,
            "public_key": self.public_key.hex(),
            "signing_key": _text(self.signing_key),
            "epochs": epochs,
        }
        write_secret(self.path, document, new=new)

    def rotated(self) -> "Keyring":
        """Return this keyring with one more epoch, not yet saved."""
        created, master = _now(), secrets.token_bytes(32)
        keys = EpochKeys.derive(self.current.epoch + 1, created, master)
        return Keyring(
            self.path,
            (*self.epochs, keys),
            self.public_key,
            (*self.masters, master),
            self.signing_key,
        )

    def export(self, purpose: Purpose, path: Path) -> None:
        """Write the subkeys that `purpose` needs; raises KeyringError if `path` exists."""
        names = EXPORTED[purpose]
        epochs = [
            {
                "epoch": keys.epoch,
                "created": keys.created,
                "check": keys.check,
                "keys": {name: _text(getattr(keys, name)) for name in names},
            }
            for keys in self.epochs
        ]
        document = {
            "format": EXPORT_FORMAT,
            "version": VERSION,
            "purpose": purpose,
            "public_key": self.public_key.hex(),
            "epochs": epochs,
        }
        write_secret(path, document | {"digest": _digest(document)}, new=True)

    def sign(self, message: bytes) -> bytes:
        """Ed25519 signature of `message` (64 bytes)."""
        return bytes(_private_key(self.signing_key).sign(message))


def create_keyring(
    path: Path,
    manifest_path: Path,
    *,
    parameters: Parameters | None = None,
    tokenizer: TokenizerPin | None = None,
) -> Keyring:
    """Make a keyring with one epoch and its manifest; raises KeyringError if either exists."""
    created, master, signing_key = _now(), secrets.token_bytes(32), secrets.token_bytes(32)
    keyring = Keyring(
        path,
        (EpochKeys.derive(1, created, master),),
        _public_key(signing_key),
        (master,),
        signing_key,
    )
    if manifest_path.exists():
        raise KeyringError(f"{manifest_path}: exists already and will not be replaced")
    keyring.save(new=True)
    first = ManifestEpoch(1, created, keyring.current.check, parameters or Parameters())
    write_manifest(manifest_path, Manifest(created, (first,), tokenizer), keyring)
    return keyring


def rotate_keyring(
    keyring: Keyring, manifest_path: Path, parameters: Parameters | None = None
) -> Keyring:
    """Add an epoch to keyring and manifest; old epochs stay as they are.

    `parameters` are those of the new epoch (default: as in the epoch before). The new
    manifest is put beside the old one first and moved last: two files cannot be replaced at
    once, and whatever a crash leaves behind can be mended. Raises KeyringError and
    ManifestError.
    """
    manifest = keyring.manifest(manifest_path)
    rotated = keyring.rotated()
    newest = rotated.current
    entry = ManifestEpoch(
        newest.epoch, newest.created, newest.check, parameters or manifest.current.parameters
    )
    extended = Manifest(newest.created, (*manifest.epochs, entry), manifest.tokenizer)
    following = _following(manifest_path)
    write_manifest(following, extended, rotated)
    rotated.save()
    following.replace(manifest_path)
    return rotated


def _following(manifest_path: Path) -> Path:
    return manifest_path.with_name(f"{manifest_path.name}.next")


def write_manifest(path: Path, manifest: Manifest, keyring: Keyring) -> None:
    """Sign and write a manifest file (mode 0644), atomically."""
    text = manifest.signed(keyring.sign)
    _write(path, text, 0o644, lambda temporary: temporary.replace(path))


def write_secret(path: Path, document: dict[str, Any], *, new: bool) -> None:
    """Write JSON with mode 0600, atomically; `new` raises KeyringError if `path` exists."""
    # Path.hardlink_to fails where a file is, so that of two writers at once one loses.
    move = path.hardlink_to if new else lambda temporary: temporary.replace(path)
    _write(path, json.dumps(document, indent=2) + "\n", 0o600, move)


def _write(path: Path, text: str, mode: int, move: Callable[[Path], object]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        _fill_and_move(descriptor, Path(name), text, mode, move)
    except OSError as error:
        if isinstance(error, FileExistsError) and path.exists():
            raise KeyringError(f"{path}: exists already and will not be replaced") from error
        raise KeyringError(f"{path}: cannot be written ({error.strerror})") from error


def _fill_and_move(
    descriptor: int, temporary: Path, text: str, mode: int, move: Callable[[Path], object]
) -> None:
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, mode)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        move(temporary)
    finally:
        temporary.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        mode = path.stat().st_mode
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise KeyringError(
            f"{path}: no such key file; make one with: azeotrope keys new"
        ) from error
    except OSError as error:
        raise KeyringError(f"{path}: cannot be read ({error.strerror})") from error
    if mode & 0o077:
        raise KeyringError(f"{path}: others may read it; mend that with: chmod 600 {path}")
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        # The cause is dropped: it holds the whole text.
        raise KeyringError(f"{path}: damaged, not valid JSON") from None
    if not isinstance(document, dict) or document.get("format") not in (
        KEYRING_FORMAT,
        EXPORT_FORMAT,
    ):
        raise KeyringError(f"{path}: neither a keyring nor a key export of Azeotrope")
    version = document.get("version")
    if type(version) is not int or version != VERSION:
        raise KeyringError(
            f"{path}: format version {version!r}; this release reads version "
            f"{VERSION}: use the release that wrote it"
        )
    return document


def _parsed(path: Path, build: Callable[[], Any]) -> Any:
    try:
        return build()
    except (KeyError, TypeError, ValueError, AttributeError):
        # The cause is dropped: its message could quote key material.
        raise KeyringError(f"{path}: damaged, a field is missing or malformed") from None


def _keyring(path: Path, document: dict[str, Any]) -> Keyring:
    def build() -> Keyring:
        masters = tuple(_bytes(entry["master"], 32) for entry in document["epochs"])
        epochs = tuple(
            EpochKeys.derive(_epoch(entry["epoch"]), str(entry["created"]), master)
            for entry, master in zip(document["epochs"], masters, strict=True)
        )
        signing_key = _bytes(document["signing_key"], 32)
        public_key = bytes.fromhex(document["public_key"])
        return Keyring(path, _ascending(epochs), public_key, masters, signing_key)

    return _parsed(path, build)  # type: ignore[no-any-return]


def _digest(document: dict[str, Any]) -> str:
    """SHA-256 of an export: a damaged key would mark texts that nobody can detect."""
    return hashlib.sha256(canonical_json(document)).hexdigest()


def _export(path: Path, document: dict[str, Any]) -> KeySet:
    def build() -> KeySet:
        if document.pop("digest") != _digest(document):
            raise ValueError("not as it was written")
        epochs = tuple(
            EpochKeys(
                epoch=_epoch(entry["epoch"]),
                created=str(entry["created"]),
                check=str(entry["check"]),
                **{name: _bytes(text, SUBKEYS[name][1]) for name, text in entry["keys"].items()},
            )
            for entry in document["epochs"]
        )
        return KeySet(path, _ascending(epochs), bytes.fromhex(document["public_key"]))

    return _parsed(path, build)  # type: ignore[no-any-return]


def _ascending(epochs: tuple[EpochKeys, ...]) -> tuple[EpochKeys, ...]:
    numbers = [keys.epoch for keys in epochs]
    if not numbers or numbers != sorted(set(numbers)):
        raise ValueError("epochs out of order")
    return epochs


def _epoch(number: Any) -> int:
    # As wide as a ticket's field.
    if type(number) is not int or not 0 < number < 1 << 32:
        raise ValueError("no epoch number")
    return number


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode("ascii")


def _bytes(text: str, length: int) -> bytes:
    raw = base64.b64decode(text, validate=True)
    if len(raw) != length:
        raise ValueError("wrong length")
    return raw


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _private_key(seed: bytes) -> Any:
    # Imported on use: an engine loads an export, which needs no signature of ours.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(seed)


def _public_key(seed: bytes) -> bytes:
    return bytes(_private_key(seed).public_key().public_bytes_raw())
