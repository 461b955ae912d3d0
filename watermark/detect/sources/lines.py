"""Whole lines of a range of bytes, in large blocks."""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from watermark.detect.sources.shard import MAX_RECORD

_CHUNK = 1 << 20
_BOM = b"\xef\xbb\xbf"


class Block(NamedTuple):
    """Whole lines that begin at byte `offset`; without `data`, one line over MAX_RECORD.

    Only the file's last line may lack its line feed.
    """

    offset: int
    data: bytes | None

    def text(self) -> bytes:
        """The lines without the byte order mark that a file may begin with."""
        data = self.data or b""
        return data.removeprefix(_BOM) if self.offset == 0 else data


def line_blocks(stream: BinaryIO, first: int = 0, last: int | None = None) -> Iterator[Block]:
    r"""Yield the lines that begin at bytes first to last - 1 of a stream that stands at 0.

    A line ends at \n and nowhere else: U+2028 and others occur inside JSON strings. Memory stays
    bounded whatever a line's length.
    """
    if first:
        stream.seek(first - 1)
    foreign = first > 0  # the line at first - 1, if only its end, is the earlier shard's
    for offset, data in _whole_lines(stream, max(first - 1, 0)):
        if foreign:
            foreign = False
            cut = 0 if data is None else data.find(b"\n") + 1
            if not cut:
                continue
            offset, data = offset + cut, (data or b"")[cut:]  # noqa: PLW2901
            if not data:
                continue
        if last is not None and offset >= last:
            return
        if data is not None and last is not None and offset + len(data) > last:
            yield Block(offset, _beginning_before(data, last - offset))
            return
        yield Block(offset, data)


def _beginning_before(data: bytes, length: int) -> bytes:
    cut = data.find(b"\n", length - 1) + 1
    return data[:cut] if cut else data


def _whole_lines(stream: BinaryIO, offset: int) -> Iterator[Block]:
    tail: list[bytes] = []  # of the line under way, `length` bytes in all
    length = 0
    while piece := stream.read(_CHUNK):
        cut = piece.rfind(b"\n") + 1
        if cut:
            head = 0
            if length + piece.find(b"\n") > MAX_RECORD:
                head = piece.find(b"\n") + 1
                yield Block(offset, None)
                offset += length + head
                tail = []
            if data := b"".join([*tail, piece[head:cut]]):
                yield Block(offset, data)
                offset += len(data)
            tail, length = [], 0
        tail.append(piece[cut:])
        length += len(piece) - cut
        if length > MAX_RECORD:
            tail = []
    if length:
        yield Block(offset, b"".join(tail) if length <= MAX_RECORD else None)
