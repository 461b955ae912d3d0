"""The gateway's side: `azeotrope-mark`, and a signature over it.

The header says whether an answer was marked, in which format and epoch, and by what. It
never says how strongly, nor for whom: delta, level, account and call stay inside.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proxy.provenance.signatures import (
    LABEL,
    byte_sequence,
    content_digest,
    key_id,
    signature_base,
    signature_parameters,
)
from watermark.keys import Keyring
from watermark.manifest import FORMAT, Manifest

HEADER = "azeotrope-mark"
WELL_KNOWN = "/.well-known/azeotrope"
# Beyond this a SHA-256 takes more than a millisecond of the event loop.
_HASH_IN_THREAD = 1 << 20


class Provenance:
    """Makes the headers of answers. `sign` adds a signature by the manifest's key."""

    def __init__(self, keyring: Keyring, *, sign: bool) -> None:
        self._marks = {"engine": f"{FORMAT};epoch={keyring.current.epoch};by=engine"}
        self._key = Ed25519PrivateKey.from_private_bytes(keyring.signing_key) if sign else None
        self._keyid = key_id(keyring.public_key)

    async def of_whole(
        self, embedder: str, status: int, request_id: tuple[str, str], body: bytes
    ) -> Mapping[str, str]:
        """Return the headers of an answer whose body is known; they are bound to it."""
        if self._key is None:
            return self._headers(embedder, status, request_id)
        if len(body) > _HASH_IN_THREAD:
            digest = await asyncio.to_thread(content_digest, body)
        else:
            digest = content_digest(body)
        return self._headers(embedder, status, request_id, digest)

    def of_stream(
        self, embedder: str, status: int, request_id: tuple[str, str]
    ) -> Mapping[str, str]:
        """Return the headers of an answer that is still to come: its body is not covered."""
        return self._headers(embedder, status, request_id)

    def _headers(
        self, embedder: str, status: int, request_id: tuple[str, str], digest: str | None = None
    ) -> dict[str, str]:
        """`request_id` is the name of its header, and its value."""
        headers = {HEADER: self._marks.get(embedder, "none")}
        if self._key is None:
            return headers
        if digest is not None:
            headers["content-digest"] = digest
        name, value = request_id
        covered = [("@status", str(status)), (HEADER, headers[HEADER]), (name, value)]
        if digest is not None:
            covered.append(("content-digest", digest))
        names = tuple(component for component, _ in covered)
        parameters = signature_parameters(names, int(time.time()), self._keyid)
        signature = self._key.sign(signature_base(covered, parameters))
        headers["signature-input"] = f"{LABEL}={parameters}"
        headers["signature"] = f"{LABEL}={byte_sequence(signature)}"
        return headers


def description(keyring: Keyring, manifest: Manifest, *, sign: bool, detect: str | None) -> bytes:
    """Return the public description of this gateway (JSON), for `WELL_KNOWN`."""
    public = keyring.public_key
    content = {
        "formats": [FORMAT],
        "epoch": manifest.current_epoch,
        "manifest": manifest.digest,
        "header": HEADER,
        "signed": sign,
        "public_key": public.hex(),
        "keyid": key_id(public),
        "detect": detect,
    }
    return msgspec.json.encode(content)
