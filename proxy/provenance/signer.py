"""The gateway's side: `azeotrope-mark`, and a signature over it.

The header says whether an answer was marked, in which format and epoch, and by what. It
never says how strongly, nor for whom: delta, level, account and call stay inside.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import msgspec

from proxy.provenance.signatures import (
    LABEL,
    byte_sequence,
    content_digest,
    key_id,
    signature_base,
    signature_parameters,
)
from proxy.provenance.turns import TurnSigner
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
        self._signer = TurnSigner(keyring.signing_key) if sign else None
        self._keyid = key_id(keyring.public_key)

    async def headers(
        self, embedder: str, status: int, request_id: tuple[str, str], body: bytes | None = None
    ) -> Mapping[str, str]:
        """Return the headers of an answer, bound to its body unless that is still to come.

        `request_id` is the name of its header, and its value.
        """
        headers = {HEADER: self._marks.get(embedder, "none")}
        if self._signer is None:
            return headers
        covered = [("@status", str(status)), (HEADER, headers[HEADER]), request_id]
        if body is not None:
            headers["content-digest"] = await _digest(body)
            covered.append(("content-digest", headers["content-digest"]))
        names = tuple(component for component, _ in covered)
        parameters = signature_parameters(names, int(time.time()), self._keyid)
        base = signature_base(covered, parameters)
        if body is None:  # a first event waits for nobody
            signature = self._signer.sign(base)
        else:
            signature = await self._signer.sign_in_turn(base)
        headers["signature-input"] = f"{LABEL}={parameters}"
        headers["signature"] = f"{LABEL}={byte_sequence(signature)}"
        return headers


async def _digest(body: bytes) -> str:
    if len(body) > _HASH_IN_THREAD:
        return await asyncio.to_thread(content_digest, body)
    return content_digest(body)


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
