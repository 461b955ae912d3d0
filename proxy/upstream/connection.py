"""One HTTP/1.1 connection to an upstream: one call at a time, bounded in bytes and in time.

What it guarantees:
- A request goes out as one buffer; beyond 64 KiB piece by piece, as fast as it is taken.
- Of an answer's body at most `_HIGH` bytes and one read wait here: while they do, nothing
  more is read, so a slow client slows the upstream.
- An answer ends whole (RFC 9112, 6.3) or with a CallError; nothing else is raised, whatever
  bytes arrive. Bytes of the body that came before a failure are given out first.
- `abort` closes the connection at once: the upstream sees it.
- Bytes that nobody asked for end the connection; it is never used again.

One timer a connection guards all deadlines. It is armed for the shortest of them and looks,
when it fires, for the deadline that holds by then: no call or piece ever arms or cancels one.
"""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Callable
from typing import cast

import httptools

from proxy import config
from proxy.errors import CallError
from proxy.upstream.faults import broken, timed_out
from proxy.upstream.head import Head, HeadError

_PIECE = 64 * 1024
# A stream that stalls costs this much and one read here, and as much again on its way to
# the client: a thousand of them must not fill 200 MB.
_HIGH = 8 * 1024
READ_BYTES = 16 * 1024
# Bytes without any of the body between them: heads, chunk extensions, trailers.
_MAX_DRY = 64 * 1024
_MAX_INFORMATIONAL = 8
_LAST_STATUS = 599
_H = ord("H")


class Connection(asyncio.BufferedProtocol):
    """A connection, idle or with one call.

    `buffer` is where the event loop puts what it reads; all connections of a loop may share
    one, because what is in it is parsed before the next read.

    `heard` tells whether a byte of an answer has come, `fresh` whether this is the first
    call, `sent_at` when the last request began to go out, `lost` whether the other side
    ended the connection.
    """

    def __init__(
        self,
        timeouts: config.Timeouts,
        buffer: memoryview,
        on_lost: Callable[[Connection], None],
    ) -> None:
        self.closed = self.lost = False
        self.fresh = True
        self.heard = False
        self.idle_since = 0.0
        self.sent_at = 0.0
        self.status = 0
        self.head = Head()
        self._loop = asyncio.get_running_loop()
        self._timeouts = timeouts
        self._tick = min(timeouts.first_byte, timeouts.idle, timeouts.total)
        self._buffer = buffer
        self._on_lost = on_lost
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._busy = False
        self._begun = self._complete = False  # the answer's head; its body
        self._error: CallError | None = None
        self._ends_at = self._deadline = math.inf
        self._chunks: list[bytes] = []
        self._size = self._dry = self._informational = 0
        self._reading_paused = self._writing_paused = False

    @property
    def reusable(self) -> bool:
        """Whether another call may follow: this one was wholly answered, framed and read."""
        return (
            self._complete
            and not self._chunks
            and not self.closed
            and self.head.framed
            and self.head.persistent
        )

    @property
    def complete(self) -> bool:
        """Whether the whole body has arrived, though perhaps not been read."""
        return self._complete

    async def request(self, head: bytes, body: bytes, ends_at: float) -> None:
        """Send a request and wait for the head of its answer; raises CallError."""
        now = self._loop.time()
        self._begin(now, ends_at)
        deadline = min(now + self._timeouts.first_byte, ends_at)
        assert self._transport is not None
        if len(body) <= _PIECE:
            self._transport.write(head + body)
        else:
            await self._send_slowly(head, body, deadline)
        while not self._begun:
            if self._error is not None:
                raise self._error
            await self._wait(deadline)

    async def next_chunk(self) -> bytes:
        """Return what has come of the body, at least one byte; b"" at its end.

        Raises CallError if the upstream dies or falls silent.
        """
        while not self._chunks:
            if self._complete:
                return b""
            if self._error is not None:
                raise self._error
            await self._wait(min(self._loop.time() + self._timeouts.idle, self._ends_at))
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._size = 0
        if self._reading_paused and self._transport is not None and not self.closed:
            self._reading_paused = False
            self._transport.resume_reading()
        return data

    def rest(self) -> None:
        """Become idle, until the next call or the first byte that nobody asked for."""
        self._busy = self.fresh = False
        self.idle_since = self._loop.time()

    def abort(self) -> None:
        """Close the connection at once, whatever is under way."""
        if self.closed:
            return
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()

    # What follows is called by the event loop and by the parser.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = transport = cast(
            asyncio.Transport, transport
        )  # uvloop's derives from none
        transport.set_write_buffer_limits(high=_PIECE)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Say where to read to."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Read a piece of the answer."""
        if not self._busy or self._complete or self.closed:
            self.abort()
            self._on_lost(self)
            return
        if not self.heard and self._buffer[0] != _H:
            self._fail(broken("not HTTP"))  # the parser reads RTSP and ICE too
            return
        self.heard = True
        self._dry += nbytes
        try:
            self._parser.feed_data(self._buffer[:nbytes])
        except httptools.HttpParserError as error:
            self._refuse(error)
        else:
            if self._dry > _MAX_DRY and not self._complete:
                self._fail(broken("much framing without a body"))
        if self._size > _HIGH and not self._reading_paused and not self.closed:
            assert self._transport is not None
            self._reading_paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        """End the answer: well if it ends with the connection, else with an error."""
        self.lost = not self.closed
        self.abort()
        self._transport = None
        if self._begun and not self.head.framed and error is None:
            self._complete = self._complete or self._error is None
        elif self._busy and not self._complete:
            self._error = self._error or broken(
                f"connection lost ({error and type(error).__name__})"
            )
        self._on_lost(self)
        self._wake()

    def pause_writing(self) -> None:
        """Hold the rest of a long request back."""
        self._writing_paused = True

    def resume_writing(self) -> None:
        """Go on with a long request."""
        self._writing_paused = False
        self._wake()

    def on_message_begin(self) -> None:
        """Refuse a second answer to one request."""
        if self._complete:
            raise HeadError("more than one answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header line; trailers are read over."""
        if not self._begun:
            self.head.line(name, value)

    def on_headers_complete(self) -> None:
        """Begin with the body, unless this was an interim answer."""
        status = self._parser.get_status_code()
        if status == 101 or status > _LAST_STATUS:
            raise HeadError(f"status {status}")
        if status < 200:
            self._informational += 1
            if self._informational > _MAX_INFORMATIONAL:
                raise HeadError("too many interim answers")
            self.head = Head()
            return
        version = self._parser.get_http_version()
        if version != "1.1":
            if version != "1.0":
                raise HeadError("not HTTP/1")
            self.head.persistent = False
        if status in (204, 304):
            self.head.framed = True
        self.status = status
        self._begun = True

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body until it is read."""
        self._chunks.append(body)
        self._size += len(body)
        self._dry = 0

    def on_message_complete(self) -> None:
        """Note the end of the answer."""
        if self._begun:
            self._complete = True

    def _begin(self, now: float, ends_at: float) -> None:
        self._busy = True
        self.heard = self._begun = self._complete = False
        self.head = Head()
        self._dry = self._informational = 0
        self.sent_at = now
        self._ends_at = self._deadline = ends_at
        if self._timer is None:
            self._timer = self._loop.call_at(min(ends_at, now + self._tick), self._look)

    async def _send_slowly(self, head: bytes, body: bytes, deadline: float) -> None:
        assert self._transport is not None
        self._transport.write(head)
        view = memoryview(body)
        for start in range(0, len(body), _PIECE):
            while self._writing_paused and not self._begun and self._error is None:
                await self._wait(deadline)
            if self._begun or self._error is not None:
                # Answered before it was asked to the end: the rest would be read as a request.
                self.head.persistent = False
                return
            self._transport.write(view[start : start + _PIECE])

    async def _wait(self, deadline: float) -> None:
        self._deadline = deadline
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
            self._deadline = self._ends_at

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _look(self) -> None:
        """Fail a call that is out of time; look again when the next deadline can be over."""
        self._timer = None
        if not self._busy or self._complete:
            return
        now = self._loop.time()
        if now >= self._deadline:
            self._fail(timed_out("the answer stopped coming" if self._begun else "no answer began"))
        else:
            at = max(min(self._deadline, now + self._tick), now + 0.001)
            self._timer = self._loop.call_at(at, self._look)

    def _refuse(self, error: httptools.HttpParserError) -> None:
        if self._complete:  # the answer is good, what follows it is not
            self.abort()
            return
        cause = error.__context__
        self._fail(broken(str(cause) if isinstance(cause, HeadError) else type(error).__name__))

    def _fail(self, error: CallError) -> None:
        self._error = self._error or error
        self.abort()
        self._wake()
