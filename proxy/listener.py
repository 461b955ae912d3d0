"""The clients' port: aiohttp's low-level server, with a drain that cuts nobody short."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from proxy.dialects.openai import OPENAI
from proxy.errors import CallError, Kind, StartError

_log = logging.getLogger(__name__)
_BACKLOG = 1024
# How long the rest of a refused body is read and thrown away, so that the client can
# read the refusal before its connection is reset (RFC 9112, 9.6).
_LINGER_S = 2.0
_CUT_S = 1.0

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class _Protocol(web.RequestHandler):
    """Tells clients of malformed HTTP in the dialect's shape, without a stack trace."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what could not be read as a request, and close the connection."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        kind = Kind.INTERNAL if status >= 500 else Kind.BAD_BODY
        _log.info(
            "malformed_request", extra={"fields": {"status": status, "reason": type(exc).__name__}}
        )
        # Its headers are not to be trusted, so neither is the family that they would tell.
        reply = OPENAI.error(CallError(kind, "The request is not well-formed HTTP."), "")
        headers = {**reply.headers, "server": "azeotrope"}
        response = web.Response(status=reply.status, headers=headers, body=reply.body)
        response.force_close()
        return response


class Listener(web.Server):
    """Accepts connections until drained.

    A connection must deliver a request's whole head within `header_timeout_s` of its
    beginning or of the last answer; aiohttp's keep-alive timer does just that.
    """

    def __init__(self, handler: Handler, header_timeout_s: float) -> None:
        super().__init__(
            self._handle,
            handler_cancellation=True,  # a client that hangs up must cancel its call
            auto_decompress=False,
            keepalive_timeout=header_timeout_s,
            lingering_time=_LINGER_S,
            access_log=None,
        )
        self._answer = handler
        self._running: dict[asyncio.Task[object], web.RequestHandler] = {}
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._socket: asyncio.Server | None = None

    def __call__(self) -> web.RequestHandler:
        """Make the protocol of a new connection."""
        return _Protocol(self, loop=self._loop, **self._kwargs)

    async def listen(self, host: str, port: int) -> str:
        """Begin to accept; return the URL. Raises StartError."""
        loop = asyncio.get_running_loop()
        try:
            self._socket = await loop.create_server(self, host, port, backlog=_BACKLOG)
        except OSError as error:
            raise StartError(bind_failure("listen", host, port, error)) from None
        return url_of(self._socket.sockets[0].getsockname())

    async def drain(self, timeout_s: float, hurry: asyncio.Event) -> bool:
        """Stop accepting and let running answers end; false if some had to be cut.

        Waits `timeout_s` at most, and not at all once `hurry` is set.
        """
        self._draining = True
        if self._socket is not None:
            self._socket.close()
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
        if self._socket is not None:
            self._socket.close()
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self.shutdown(_CUT_S)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        self._running[task] = request.protocol
        self._idle.clear()
        try:
            return await self._answer(request)
        finally:
            del self._running[task]
            if not self._running:
                self._idle.set()
            if self._draining:
                request.protocol.close()


def bind_failure(section: str, host: str, port: int, error: OSError) -> str:
    """Say why a port cannot be opened, and what to do."""
    if error.errno == errno.EADDRINUSE:
        return (
            f"{section}.port: {host}:{port} is in use by another process: "
            "stop that one or choose another port"
        )
    return f"{section}: cannot listen on {host}:{port} ({error.strerror or error})"


def url_of(address: tuple[object, ...]) -> str:
    """Return the URL of a socket address."""
    host, port = address[0], address[1]
    return f"http://[{host}]:{port}" if ":" in str(host) else f"http://{host}:{port}"
