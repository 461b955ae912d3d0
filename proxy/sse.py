"""Server-sent events as bytes: show each event's data to a reading, touch nothing else.

A pure splitter without I/O. Bytes go through as they came, in the pieces in which
they came; only with `drops` is an unfinished event held back until its end,
because it might be a record that the client did not ask for. No client could
act on an unfinished event, so nothing is delayed by that.

Framing is that of the HTML standard, section 9.2.6: lines end with CR, LF or CRLF and
nothing else (U+2028 is text), events end with an empty line.
"""

from __future__ import annotations

import re
from typing import Protocol

# Atomic groups: without them CRLF could be read as two line ends by backtracking.
_END_OF_EVENT = re.compile(rb"(?>\r\n|\r|\n)(?>\r\n|\r|\n)")
_LINE = re.compile(rb"\r\n|\r|\n")
_LONGEST_END = 4
# An event longer than this goes through unread and unheld.
MAX_EVENT = 1 << 20


class Reader(Protocol):
    """Reads the data of events, one by one."""

    def event(self, data: bytes) -> bool:
        """Read one event's data; false if the client must not see it."""

    def unread(self) -> None:
        """Note an event that was too large to be read."""


class Splitter:
    """Follows one stream; `feed` returns the bytes to pass on.

    `at_boundary` tells whether all that was passed on so far ends with a finished event.
    """

    def __init__(self, reader: Reader, *, drops: bool) -> None:
        self.at_boundary = True
        self._reader = reader
        self._drops = drops
        self._between = True  # the next bytes belong to no event that has begun, nor to its end
        self._tail = bytearray()  # the unfinished event
        self._searched = 0  # no end of event starts before this place in the tail
        self._oversized = False  # the unfinished event has outgrown MAX_EVENT
        self._half_end: bool | None = None  # a LF belongs to the last end; keep it or not

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes of the stream, return those that the client gets now."""
        # What engines send: whole events, lines that end with LF. The rest of this class is
        # for everything else that the standard allows, and for what networks do to it.
        if self._between and chunk.endswith(b"\n\n") and b"\r" not in chunk:
            events = chunk.split(b"\n\n")
            if not events.pop():
                self.at_boundary = True
                if len(events) == 1:
                    return chunk if self._keeps(events[0]) else b""
                return self._whole_events(chunk, events)
        passed = self._split(chunk)
        self._between = not (self._tail or self._oversized or self._half_end is not None)
        if not self._drops:
            passed = chunk
            self.at_boundary = not self._tail and not self._oversized
        elif passed:
            self.at_boundary = not self._oversized
        return passed

    def flush(self) -> bytes:
        """Return what is held back, at the end of the stream: an event without its end."""
        rest = bytes(self._tail) if self._drops else b""
        self._tail.clear()
        return rest

    def _whole_events(self, chunk: bytes, events: list[bytes]) -> bytes:
        """Show whole events, given without their ends; return those to keep."""
        kept = [event for event in events if self._keeps(event)]
        if len(kept) == len(events):
            return chunk
        return b"".join(event + b"\n\n" for event in kept)

    def _split(self, chunk: bytes) -> bytes:
        """Cut off finished events; return those to keep, nothing where all go through anyway."""
        out: list[bytes] = []
        chunk = self._finish_half_end(chunk, out)
        tail = self._tail
        tail += chunk
        start = 0
        while found := _END_OF_EVENT.search(tail, max(start, self._searched)):
            keep = self._sees(bytes(tail[start : found.start()]))
            if keep and self._drops:
                out.append(bytes(tail[start : found.end()]))
            start = self._searched = found.end()
            if tail.endswith(b"\r") and start == len(tail):
                self._half_end = keep
        del tail[:start]
        self._searched = max(0, len(tail) - _LONGEST_END + 1)
        self._release_oversized(out)
        return b"".join(out)

    def _finish_half_end(self, chunk: bytes, out: list[bytes]) -> bytes:
        """A CR ended the last event: a LF right behind it is part of that same end."""
        if self._half_end is None or not chunk:
            return chunk
        keep, self._half_end = self._half_end, None
        if not chunk.startswith(b"\n"):
            return chunk
        if keep:
            out.append(b"\n")
        return chunk[1:]

    def _sees(self, event: bytes) -> bool:
        """Show a finished event, of which the beginning may be gone already."""
        if self._oversized:
            self._oversized = False
            self._reader.unread()
            return True
        return self._keeps(event)

    def _keeps(self, event: bytes) -> bool:
        """Show an event to the reader; false if the client must not see it."""
        data = _data(event)
        return data is None or self._reader.event(data) or not self._drops

    def _release_oversized(self, out: list[bytes]) -> None:
        # Keep the last bytes: an end of event may straddle this piece and the next.
        if len(self._tail) > MAX_EVENT:
            kept = len(self._tail) - _LONGEST_END
            if self._drops:
                out.append(bytes(self._tail[:kept]))
            del self._tail[:kept]
            self._searched = 0
            self._oversized = True


def _data(event: bytes) -> bytes | None:
    """Return the data of an event, given without its end; None if it has none."""
    if b"\r" not in event:  # the two shapes that engines send
        first, newline, rest = event.partition(b"\n")
        if first.startswith(b"data: ") and not newline:
            return first[6:]
        if first.startswith(b"event: ") and rest.startswith(b"data: ") and b"\n" not in rest:
            return rest[6:]
    lines = [
        line[5:].removeprefix(b" ")
        for line in _LINE.split(event)
        if line.startswith(b"data:") or line == b"data"
    ]
    return b"\n".join(lines) if lines else None
