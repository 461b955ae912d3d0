"""The clients' port: aiohttp's low-level server, with a drain that cuts nobody short."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable

from aiohttp import HttpVersion10, HttpVersion11, web

from proxy.downstream.acceptor import Acceptor, url_of
from proxy.downstream.connection import LINGER_S, Connection
from proxy.downstream.descriptors import most_connections
from proxy.downstream.head import bad_http
from proxy.tally import Level

_log = logging.getLogger(__name__)
_CUT_S = 1.0
_LOOK_S = 0.1

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Listener(web.Server):
    """Accepts connections until drained.

    When there are more than descriptors allow for, the one that has waited longest for a
    request gives way to the newcomer; `dropped` is called for each. `stalled` counts those
    that do not read.
    """

    def __init__(
        self, handler: Handler, header_timeout_s: float, dropped: Callable[[], None], stalled: Level
    ) -> None:
        super().__init__(
            self._handle,
            handler_cancellation=True,  # a client that hangs up must cancel its call
            auto_decompress=False,
            keepalive_timeout=header_timeout_s,
            lingering_time=LINGER_S,
            access_log=None,
        )
        self._answer = handler
        self._dropped = dropped
        self._stalled = stalled
        self._most = most_connections()
        self._full = False
        self._running: dict[asyncio.Task[object], web.RequestHandler] = {}
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._acceptors: list[Acceptor] = []

    def __call__(self) -> web.RequestHandler:
        """Make the protocol of a new connection."""
        return Connection(self, self._stalled, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Count a connection, and make room for it."""
        super().connection_made(handler, transport)
        if len(self._connections) > self._most:
            self._make_room(handler)
        elif self._full and len(self._connections) < self._most * 0.9:
            self._full = False

    def listen(self, sockets: list[socket.socket]) -> str:
        """Begin to accept from listening sockets, which it then owns; return the URL."""
        self._acceptors = [Acceptor(each, self) for each in sockets]
        return url_of(sockets[0].getsockname())

    async def retire(self) -> None:
        """Stop accepting, and return when the last connection is closed.

        Connections serve one more request each, or none if none comes in time, so that
        a client never finds closed what it was told is kept alive.
        """
        acceptors = list(self._acceptors)
        self._stop_accepting()
        # aiohttp forgets a connection in its own time and tells nobody.
        while self.connections or any(each.opening for each in acceptors):  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)

    async def drain(self, timeout_s: float, hurry: asyncio.Event) -> bool:
        """Stop accepting and let running answers end; false if some had to be cut.

        Waits `timeout_s` at most, and not at all once `hurry` is set.
        """
        self._draining = True
        self._stop_accepting()
        await asyncio.sleep(0)  # requests that have arrived already may begin
        for connection in self.connections:
            if connection not in self._running.values():
                connection.force_close()
        waits = {asyncio.create_task(event.wait()) for event in (self._idle, hurry)}
        await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        return not self._running

    async def close(self) -> None:
        """Cancel what still runs, wait until it is settled, and close all connections."""
        self._stop_accepting()
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self.shutdown(_CUT_S)

    def _make_room(self, newcomer: web.RequestHandler) -> None:
        if not self._full:
            self._full = True
            _log.warning("connections_full", extra={"fields": {"limit": self._most}})
        idle = (one for one in self._connections if isinstance(one, Connection) and one.idle)
        gives_way = next(idle, newcomer)
        self._connections.pop(gives_way).abort()
        gives_way.force_close()
        self._dropped()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        self._running[task] = request.protocol
        self._idle.clear()
        try:
            # Not request.version, which would be remembered for the answer.
            if request._message.version not in (HttpVersion10, HttpVersion11):
                assert isinstance(request.protocol, Connection)
                return await request.protocol.refuse(request, bad_http("Expected HTTP/1.1."))
            return await self._answer(request)
        finally:
            del self._running[task]
            if not self._running:
                self._idle.set()
            if self._draining:
                request.protocol.close()

    def _stop_accepting(self) -> None:
        while self._acceptors:
            self._acceptors.pop().close()
