"""The signed ticket that tells an engine whose mark an answer gets.

A ticket is 32 bytes of fields and 32 bytes of HMAC-SHA256, base64url without
padding (86 characters). The proxy signs it, the engine verifies it, a client
never sees it; the format is in docs/format.md, section "Ticket".
"""

import base64
import binascii
import hashlib
import hmac
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from watermark.errors import TicketError

_FIELDS = struct.Struct("<BIQQHBQ")  # version, epoch, account, call, delta, level, expires
_VERSION = 1
_LENGTH = 86


@dataclass(frozen=True, slots=True)
class Ticket:
    """What the engine must know of a call: numbers of the mark, strength, and life time.

    `delta_millinats` is the bias in thousandths of a nat (at most 65,535), `level` the
    perturbation level (0 to 255), `expires` a Unix time in seconds.
    """

    epoch: int
    account: int
    call: int
    delta_millinats: int
    level: int
    expires: int


def sign(ticket: Ticket, key: bytes) -> str:
    """Return the ticket as text, signed under the epoch's 32-byte ticket `key`."""
    body = _FIELDS.pack(
        _VERSION,
        ticket.epoch,
        ticket.account,
        ticket.call,
        ticket.delta_millinats,
        ticket.level,
        ticket.expires,
    )
    mac = hmac.digest(key, body, hashlib.sha256)
    return _encode(body + mac)


def verify(text: str, keys: Mapping[int, bytes], now: float) -> Ticket:
    """Return the ticket that `text` carries; `keys` maps epochs to ticket keys.

    Raises TicketError whose `reason` is "malformed", "unknown_epoch", "forged" or
    "expired". Nothing of a ticket is believed before its signature is right.
    """
    raw = _decode(text)
    body, mac = raw[: _FIELDS.size], raw[_FIELDS.size :]
    version, epoch, account, call, delta, level, expires = _FIELDS.unpack(body)
    if version != _VERSION:
        raise TicketError("malformed")
    key = keys.get(epoch)
    if key is None:
        raise TicketError("unknown_epoch")
    if not hmac.compare_digest(mac, hmac.digest(key, body, hashlib.sha256)):
        raise TicketError("forged")
    if expires < now:
        raise TicketError("expired")
    return Ticket(epoch, account, call, delta, level, expires)


def _decode(text: str) -> bytes:
    if not isinstance(text, str) or len(text) != _LENGTH or not text.isascii():
        raise TicketError("malformed")
    try:
        raw = base64.b64decode(text + "==", altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise TicketError("malformed") from error
    # One ticket has one text: decoding alone forgives spare bits and a foreign alphabet.
    if len(raw) != _FIELDS.size + 32 or _encode(raw) != text:
        raise TicketError("malformed")
    return raw


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
