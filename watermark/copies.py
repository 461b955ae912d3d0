"""The keyed digest of an answer's text, by which an exact copy is found in a call registry.

    key    = HKDF-SHA256(privacy key of the epoch, "azeotrope az1", "answer digest", 32)
    digest = HMAC-SHA256(key, UTF-8 of the plain form), first 16 bytes

Keyed, because whoever reads a registry must not be able to test guesses of its answers.
"""

import hmac
import unicodedata

from watermark.keys import SALT, EpochKeys
from watermark.prf import hkdf_sha256

DIGEST_BYTES = 16
# No answer is longer; normalising a book would hold its thread up for seconds.
LONGEST = 1 << 20


def digest_key(keys: EpochKeys) -> bytes:
    """Return the 32-byte key of an epoch's digests, empty without its privacy key."""
    return hkdf_sha256(keys.privacy, SALT, b"answer digest", 32) if keys.privacy else b""


def plain_form(text: str) -> str:
    """Return a text in NFC, with each run of white space (`str.isspace`) as one blank, stripped."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def answer_digest(key: bytes, text: str) -> bytes:
    """Return the digest (16 bytes) of a text; empty for one without letters or too long."""
    plain = plain_form(text) if len(text) <= LONGEST else ""
    if not plain:
        return b""
    # JSON may spell lone surrogates, which no UTF-8 has.
    content = plain.encode("utf-8", "surrogatepass")
    return hmac.digest(key, content, "sha256")[:DIGEST_BYTES]
