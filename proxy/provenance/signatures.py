"""HTTP Message Signatures (RFC 9421) and content digests (RFC 9530), as far as we need them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from functools import lru_cache

ALGORITHM = "ed25519"
LABEL = "azeotrope"


def signature_base(components: Iterable[tuple[str, str]], parameters: str) -> bytes:
    """Return what is signed: identifiers with their values, then the parameters (2.5)."""
    lines = [f'"{name}": {value}' for name, value in components]
    return "\n".join([*lines, f'"@signature-params": {parameters}']).encode()


@lru_cache(maxsize=8)  # answers of one second differ in little
def signature_parameters(names: tuple[str, ...], created: int, keyid: str) -> str:
    """Return the parameters of a signature (2.3): covered components, time, key."""
    covered = " ".join(f'"{name}"' for name in names)
    return f'({covered});created={created};keyid="{keyid}";alg="{ALGORITHM}"'


def content_digest(body: bytes) -> str:
    """Return the value of a `content-digest` header (RFC 9530, section 2)."""
    return f"sha-256={byte_sequence(hashlib.sha256(body).digest())}"


def byte_sequence(data: bytes) -> str:
    """Return bytes as a structured field has them (RFC 9651, 4.1.8)."""
    return f":{base64.b64encode(data).decode()}:"


def key_id(public_key: bytes) -> str:
    """Return the name of a public key: the first 64 bits of its SHA-256, hexadecimal."""
    return hashlib.sha256(public_key).hexdigest()[:16]
