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
        self._held = b""
        self._failure: OSError | None = None

    def readable(self) -> bool:
        """Tell that bytes can be read."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Return `size` bytes (-1: all); fewer only at the end or right before damage."""
        parts, length = [self._held], len(self._held)
        while (size < 0 or length < size) and (piece := self._next()):
            parts.append(piece)
            length += len(piece)
        data = b"".join(parts)
        if not data and size and self._failure is not None:
            raise self._failure
        cut = len(data) if size < 0 else size
        self._held = data[cut:]
        return data[:cut]

    def _next(self) -> bytes:
        if self._failure is not None:
            return b""
        try:
            return next(self._pieces, b"")
        except OSError as failure:
            self._failure = failure
            return b""


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
