"""The reader's side: a response that somebody saved, and whether what it claims was signed."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Literal

from proxy.provenance.signatures import (
    ALGORITHM,
    LABEL,
    content_digest,
    key_id,
    signature_base,
)
from proxy.provenance.signer import HEADER
from watermark import ed25519
from watermark.errors import InputError

_STATUS_LINE = re.compile(rb"HTTP/[0-9.]+ ([0-9]{3})(?: .*)?")
_PARAMETER = r';[a-z*][a-z0-9_.*-]*=(?:"[^"\\]*"|[0-9]+)'
_INPUT = re.compile(rf"(?:^|,)[ \t]*{LABEL}=(\(([^()]*)\)((?:{_PARAMETER})*))[ \t]*(?=,|$)")
_SIGNATURE = re.compile(rf"(?:^|,)[ \t]*{LABEL}=:([A-Za-z0-9+/=]*):[ \t]*(?=,|$)")
_COMPONENT = re.compile(r'"(@status|[a-z0-9-]+)"')

Body = Literal["covered", "not given", "not covered"]


@dataclass(frozen=True, slots=True)
class SavedResponse:
    """A response as it was saved; `headers` by lower-case name, `body` None if unknown."""

    status: int
    headers: dict[str, str]
    body: bytes | None

    @classmethod
    def parse(cls, content: bytes) -> SavedResponse:
        """Read the output of `curl -i`, or a head alone; raises InputError.

        Of several heads (100 Continue, a proxy's, a redirect's) the last one counts.
        """
        while True:
            head, _, rest = _cut(content)
            first, *lines = head.splitlines() or [b""]
            found = _STATUS_LINE.fullmatch(first.strip())
            if found is None:
                raise InputError("no HTTP response: it must begin with a line HTTP/1.1 200 OK")
            if not rest.startswith(b"HTTP/"):
                return cls(int(found[1]), _fields(lines), rest or None)
            content = rest


@dataclass(frozen=True, slots=True)
class Finding:
    """What verification found; `reason` tells why it is not valid, "" if it is."""

    valid: bool
    reason: str
    mark: str | None
    created: int | None
    request_id: str | None
    body: Body


class _InvalidError(Exception):
    """The response does not hold what it claims; the message says why."""


def verify(response: SavedResponse, public_key: bytes) -> Finding:
    """Check a response's signature by `public_key` (32 bytes), and its body if there is one."""
    headers = response.headers
    covered: tuple[str, ...] = ()
    parameters: dict[str, str] = {}
    reason = ""
    try:
        covered, text, parameters = _input(headers.get("signature-input", ""))
        _check(response, covered, text, parameters, public_key)
    except _InvalidError as error:
        reason = str(error)
    created = parameters.get("created", "")
    request_id = next((headers.get(name) for name in covered if name.endswith("request-id")), None)
    return Finding(
        valid=not reason,
        reason=reason,
        mark=headers.get(HEADER),
        created=int(created) if created.isdigit() else None,
        request_id=request_id,
        body=_body(response, covered),
    )


def _check(
    response: SavedResponse,
    covered: tuple[str, ...],
    text: str,
    parameters: dict[str, str],
    public_key: bytes,
) -> None:
    for needed in ("@status", HEADER):
        if needed not in covered:
            raise _InvalidError(f"the signature does not cover {needed}")
    if len(set(covered)) < len(covered):
        raise _InvalidError("the signature covers a component twice")
    if parameters.get("alg") != f'"{ALGORITHM}"':
        raise _InvalidError("the signature is not by Ed25519")
    if parameters.get("keyid") != f'"{key_id(public_key)}"':
        raise _InvalidError("the signature is by another key")
    values = [(name, _value(response, name)) for name in covered]
    signature = _signature(response.headers.get("signature", ""))
    if not ed25519.verify(public_key, signature_base(values, text), signature):
        raise _InvalidError("the signature does not fit: a header was changed, or the status")
    digest = response.headers["content-digest"] if "content-digest" in covered else None
    if digest and response.body is not None and digest != content_digest(response.body):
        raise _InvalidError("the body is not the one that was signed")


def _body(response: SavedResponse, covered: tuple[str, ...]) -> Body:
    if "content-digest" not in covered:
        return "not covered"
    return "covered" if response.body is not None else "not given"


def _input(header: str) -> tuple[tuple[str, ...], str, dict[str, str]]:
    """Return covered components, the text of our signature's parameters, and these by name."""
    if not header:
        raise _InvalidError("the response is not signed")
    found = _INPUT.search(header)
    if found is None:
        raise _InvalidError(f"no signature of the name {LABEL}")
    text, inside, rest = found.groups()
    names = _COMPONENT.findall(inside)
    if " ".join(f'"{name}"' for name in names) != inside:
        raise _InvalidError("the signature covers something that is not known here")
    pairs = (part.partition("=") for part in rest.split(";")[1:])
    return tuple(names), text, {name: value for name, _, value in pairs}


def _value(response: SavedResponse, name: str) -> str:
    if name == "@status":
        return str(response.status)
    value = response.headers.get(name)
    if value is None:
        raise _InvalidError(f"the signature covers {name}, which is missing")
    return value


def _signature(header: str) -> bytes:
    found = _SIGNATURE.search(header)
    try:
        return base64.b64decode(found[1] if found else "", validate=True)
    except binascii.Error:
        return b""  # fits nothing


def _cut(content: bytes) -> tuple[bytes, bytes, bytes]:
    """Cut behind the head, whichever line ends it has; a head alone may lack its empty line."""
    found = re.search(rb"\r?\n\r?\n", content)
    if found is None:
        return content, b"", b""
    return content[: found.start()], found[0], content[found.end() :]


def _fields(lines: list[bytes]) -> dict[str, str]:
    fields: dict[str, list[str]] = {}
    for line in lines:
        name, colon, value = line.decode("latin-1").partition(":")
        if colon:
            fields.setdefault(name.strip().lower(), []).append(value.strip(" \t"))
    return {name: ", ".join(values) for name, values in fields.items()}
