"""The head of an upstream's answer: which headers matter, and how the body is framed.

Framing is RFC 9112, section 6.3, read strictly: whatever two readers could understand in
two ways is refused, because an answer that ends early must never pass for a whole one.
"""

from __future__ import annotations

# Everything else stays here: hop-by-hop headers (RFC 9110, 7.6.1), cookies, the engine's
# name, its own rate limits and request ids.
RETURNED = (
    "content-type",
    "content-disposition",
    "content-encoding",
    "content-language",
    "cache-control",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
    "openai-processing-ms",
    "openai-version",
)
_KEPT = {name.encode(): name for name in RETURNED}
_MAX_HEADERS = 128
_MAX_BYTES = 64 * 1024


class HeadError(Exception):
    """The head breaks the rules; the text, which quotes none of it, is for the log."""


class Head:
    """Collects the header lines of one answer.

    `returned` are those that the client gets, `framed` tells whether the end of the body can
    be told from a broken connection, `persistent` whether the connection may be used again.
    """

    __slots__ = ("_bytes", "_count", "framed", "length", "persistent", "returned")

    def __init__(self) -> None:
        self.returned: dict[str, str] = {}
        self.framed = False
        self.persistent = True
        self.length: int | None = None
        self._count = 0
        self._bytes = 0

    def line(self, name: bytes, value: bytes) -> None:
        """Take one header line; raises HeadError."""
        self._count += 1
        self._bytes += len(name) + len(value)
        if self._count > _MAX_HEADERS or self._bytes > _MAX_BYTES:
            raise HeadError("the head is too large")
        name, value = name.lower(), value.strip(b" \t")  # the parser leaves what trails
        kept = _KEPT.get(name)
        if kept is not None:
            self.returned.setdefault(kept, value.decode("utf-8", "surrogateescape"))
        elif name == b"content-length":
            self._take_length(value)
        elif name == b"transfer-encoding":
            self._take_encoding(value)
        elif name == b"connection" and b"close" in value.lower():
            self.persistent = False

    def _take_length(self, value: bytes) -> None:
        # Beyond 18 digits no body ends; a sign or a list is read differently by different readers.
        if self.framed or not value.isdigit() or len(value) > 18:
            raise HeadError("the body is framed in two ways, or in none")
        self.framed, self.length = True, int(value)

    def _take_encoding(self, value: bytes) -> None:
        # Anything but plain chunks was not asked for, and could not be passed on as it is.
        if self.framed or value.lower() != b"chunked":
            raise HeadError("the body is framed in two ways, or in none")
        self.framed = True
