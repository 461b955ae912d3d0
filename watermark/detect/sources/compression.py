"""Unpacking streams of gzip and Zstandard: several members, and damage told from an end."""

import io
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

SUFFIXES = {".gz": "gzip", ".zst": "zstd"}
# Small, because the output of one feed is not bounded: the worst Zstandard data grow 32,000-fold.
_FEED = 8 << 10


class Unpacked(io.RawIOBase):
    """The unpacked bytes of a packed stream.

    Damage raises OSError, but only after all bytes before it were handed out: `gzip` and
    `zstandard` lose them, and the latter takes a cut file for a whole one.
    """

    def __init__(self, packed: BinaryIO, compression: str) -> None:
        self._pieces = _unpack(packed, *_codec(compression))
        self._held = memoryview(b"")
        self._failure: OSError | None = None

    def readable(self) -> bool:
        """Tell that bytes can be read."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Return `size` bytes (-1: all); fewer only at the end or right before damage."""
        parts: list[memoryview] = []
        missing = size
        while missing and self._fill():
            part = self._held if size < 0 else self._held[:missing]
            self._held = self._held[len(part) :]
            missing -= len(part) if size > 0 else 0
            parts.append(part)
        if size and not parts and self._failure is not None:
            raise self._failure
        return b"".join(parts)

    def _fill(self) -> bool:
        if not self._held and self._failure is None:
            try:
                self._held = memoryview(next(self._pieces, b""))
            except OSError as failure:
                self._failure = failure
        return len(self._held) > 0


def _unpack(
    packed: BinaryIO, start: Callable[[], Any], failure: type[Exception]
) -> Iterator[bytes]:
    member, between = start(), False
    while feed := packed.read(_FEED):
        while feed:
            if between:
                feed = feed.lstrip(b"\0")  # tapes pad the last member with zeros
                if not feed:
                    break
                member, between = start(), False
            try:
                piece = member.decompress(feed)
            except failure as error:
                raise OSError(f"damaged: {error}") from error
            if piece:
                yield piece
            between = member.eof
            feed = member.unused_data if between else b""
    if not between:
        raise OSError("cut off: the compressed data end too early")


def _codec(compression: str) -> tuple[Callable[[], Any], type[Exception]]:
    if compression == "gzip":
        return lambda: zlib.decompressobj(wbits=31), zlib.error
    import zstandard

    return lambda: zstandard.ZstdDecompressor().decompressobj(), zstandard.ZstdError
