"""JSON lines: a record a line."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from watermark.detect.sources.files import opened
from watermark.detect.sources.gather import Piece
from watermark.detect.sources.json_field import JsonField
from watermark.detect.sources.lines import Block, line_blocks
from watermark.detect.sources.sampling import Sampler
from watermark.detect.sources.shard import TOO_LONG, Fields, Report, Shard


def read_jsonl(shard: Shard, fields: Fields, report: Report) -> Iterator[Piece]:
    """Yield the records of the lines that begin in the shard's range of bytes."""
    reader = _Reader(shard, fields, report)
    with opened(shard) as stream:
        for block in line_blocks(stream, shard.first, shard.last):
            yield reader.piece(block)


class _Reader:
    """Counts the lines of a shard and decodes those that are in the sample."""

    def __init__(self, shard: Shard, fields: Fields, report: Report) -> None:
        self._field = JsonField(fields)
        self._sampler = Sampler(shard.url, fields.sample)
        self._ids = fields.ids_field is not None
        self._report = report
        self._end = 0

    def piece(self, block: Block) -> Piece:
        before = self._end
        if block.data is None:
            self._end += 1
            if self._sampler.chooses(block.offset):
                self._report(self._end, TOO_LONG)
            return self._made((), [])
        data = block.text()
        count = data.count(b"\n") + (not data.endswith(b"\n"))
        self._end += count
        if not self._sampler.all:
            return self._made(*self._sampled(block, before))
        values = self._field.lines(data, count)
        if values is not None:
            return self._made(range(before + 1, self._end + 1), values)
        lines = data.removesuffix(b"\n").split(b"\n")
        return self._made(*self._field.each(lines, range(before + 1, self._end + 1), self._report))

    def _sampled(self, block: Block, before: int) -> tuple[list[int], list[Any]]:
        data = block.data or b""
        breaks = np.flatnonzero(np.frombuffer(data.removesuffix(b"\n"), np.uint8) == ord("\n"))
        starts = np.concatenate([[0], breaks + 1])
        stops = np.concatenate([breaks, [len(data)]])
        chosen = np.flatnonzero(self._sampler.chosen(starts + block.offset))
        lines = [data[starts[i] : stops[i]] for i in chosen]
        if lines and chosen[0] == 0:
            lines[0] = Block(block.offset, lines[0]).text()
        return self._field.each(lines, (chosen + before + 1).tolist(), self._report)

    def _made(self, positions: Sequence[int], values: list[Any]) -> Piece:
        if not self._ids:
            return Piece(positions, values, self._end)
        from watermark.detect.counts import Batch

        return Piece(positions, Batch.of(values), self._end)
