"""One pipelining connection to Redis or Valkey, around hiredis's parser.

Commands of one turn of the event loop go out in one write, and replies come in the
order of the commands: so a deque of handlers is all the bookkeeping there is.

One timer watches the oldest waiting command. When its deadline passes, the whole
connection is broken off: whose a late reply is could no longer be told. Every handler
is called exactly once, with the reply, a `ReplyError`, or a `StoreAwayError`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Literal, cast

import hiredis

Reason = Literal["deadline", "lost", "error", "overfull"]
Handler = Callable[[object], None]

# 0.3 KB each; at 20,000 decisions a second, 200 ms of them.
MAX_WAITING = 4096
# Replies are five numbers. What fills this without being a reply is not Redis.
_MAX_UNREAD = 64 * 1024
# After a stall of the event loop the reply may lie in the socket unread: look there
# before taking the store for dead. Share of the deadline.
_GRACE = 0.2


class StoreAwayError(Exception):
    """The store gives no decision: it is away, too slow, or answers with an error."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason


class ReplyError(Exception):
    """An error that Redis answered; the text begins with its code."""

    @property
    def code(self) -> str:
        """First word: NOSCRIPT, OOM, READONLY, ..."""
        return str(self).partition(" ")[0]


class Wire(asyncio.Protocol):
    """A connection that is used until it breaks, and never after.

    `on_lost` hears once that it broke, before the waiting commands do; `observe` gets
    each round trip in seconds.
    """

    def __init__(
        self,
        *,
        deadline_s: float,
        on_lost: Callable[[StoreAwayError], None],
        observe: Callable[[float], None],
    ) -> None:
        self._deadline_s = deadline_s
        self._on_lost = on_lost
        self._observe = observe
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(replyError=ReplyError)
        self._waiting: deque[tuple[Handler, float]] = deque()
        self._overdue: tuple[Handler, float] | None = None
        self._out: list[bytes] = []
        self._unread = 0
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._broken: StoreAwayError | None = None

    def send(self, command: bytes, handler: Handler) -> None:
        """Send a packed command with the next write; raises StoreAwayError."""
        if self._broken is not None:
            raise self._broken
        if len(self._waiting) >= MAX_WAITING:
            raise StoreAwayError("overfull")
        self._waiting.append((handler, perf_counter()))
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(command)
        if self._timer is None:
            self._timer = self._loop.call_later(self._deadline_s, self._check)

    async def ask(self, command: bytes) -> object:
        """Send a command and return its reply; raises StoreAwayError, never ReplyError."""
        future: asyncio.Future[object] = self._loop.create_future()

        def resolve(reply: object) -> None:
            if not future.done():  # a caller that was cancelled leaves its place in the row
                future.set_result(reply)

        self.send(command, resolve)
        reply = await future
        if isinstance(reply, StoreAwayError):
            raise reply
        return reply

    def break_off(self, error: StoreAwayError) -> None:
        """Close at once; whoever waits hears why."""
        if self._broken is not None:
            return
        self._broken = error
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        self._on_lost(error)
        waiting, self._waiting = self._waiting, deque()
        for handler, _ in waiting:
            handler(error)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is of no such class

    def data_received(self, data: bytes) -> None:
        """Hand out the replies in it."""
        now = perf_counter()
        reader, waiting = self._reader, self._waiting
        self._unread += len(data)
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                self._unread = 0
                if not waiting:  # broken off by a handler, or nobody asked
                    self.break_off(StoreAwayError("error", "a reply to no command"))
                    return
                handler, sent = waiting.popleft()
                self._observe(now - sent)
                handler(reply)
                waiting = self._waiting
        except hiredis.ProtocolError:
            self.break_off(StoreAwayError("error", "not the Redis protocol"))
        if self._unread > _MAX_UNREAD:
            self.break_off(StoreAwayError("error", "a reply without end"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody."""
        # The class only: the text of a connection error may quote the address.
        self.break_off(StoreAwayError("lost", type(exc).__name__ if exc else "closed"))

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._broken is None and self._transport is not None:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def _check(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        oldest = self._waiting[0]
        left = oldest[1] + self._deadline_s - perf_counter()
        if left <= 0:
            if oldest is self._overdue:
                self.break_off(StoreAwayError("deadline", "no answer within the deadline"))
                return
            self._overdue = oldest
            left = self._deadline_s * _GRACE
        self._timer = self._loop.call_later(left, self._check)
