"""Reading and changing key files, and looking for secrets where none may be."""

import base64
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from watermark.keys import SUBKEYS, Keyring
from watermark.manifest import Manifest


class Home(NamedTuple):
    """A keyring and its manifest on disk."""

    keyring: Keyring
    keys_path: Path
    manifest_path: Path

    @property
    def manifest(self) -> Manifest:
        return self.keyring.manifest(self.manifest_path)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def forms(secret: bytes) -> list[bytes]:
    """Ways in which a secret might be written down."""
    plain = base64.b64encode(secret).rstrip(b"=")
    return [
        secret,
        secret.hex().encode(),
        secret.hex().upper().encode(),
        plain,
        base64.urlsafe_b64encode(secret).rstrip(b"="),
        repr(secret).encode(),
        str(int.from_bytes(secret, "big")).encode(),
        str(int.from_bytes(secret, "little")).encode(),
        ", ".join(map(str, secret)).encode(),
    ]


def shows(content: bytes, secret: bytes) -> bool:
    return any(form in content for form in forms(secret))


def secrets_of(keyring: Keyring) -> dict[str, bytes]:
    """Every secret of a keyring by name."""
    found = {"signing key": keyring.signing_key}
    for keys, master in zip(keyring.epochs, keyring.masters, strict=True):
        found[f"{keys.epoch} master"] = master
        found |= {f"{keys.epoch} {name}": getattr(keys, name) for name in SUBKEYS}
    return found


def rewrite(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
