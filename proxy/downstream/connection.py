"""One client's connection: aiohttp's protocol, with bounds that it leaves to us.

A connection must deliver a request's whole head within `header_timeout_s` of its
beginning or of the last answer; aiohttp's keep-alive timer does just that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import cast

from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import _ErrInfo

from proxy.dialects.openai import OPENAI
from proxy.downstream.head import MAX_HEAD_BYTES, bad_http, too_large
from proxy.errors import CallError
from proxy.tally import Level

_log = logging.getLogger(__name__)
# How long the rest of what a client sends is read and thrown away, so that it can read
# its refusal before the connection is reset (RFC 9112, 9.6).
LINGER_S = 2.0
# How long a connection that is closed may go on flushing what a slow client has not read.
FLUSH_S = 10.0
# A thousand clients that stall must not fill 200 MB.
_HELD_BYTES = 16 * 1024
_MALFORMED = "The request is not well-formed HTTP."


class Connection(web.RequestHandler):
    """Refuses malformed HTTP in an API's shape, and outlives no client."""

    __slots__ = ("_head_bytes", "_stalled", "_stalls")

    def __init__(self, manager: web.Server, stalled: Level, **options: object) -> None:
        super().__init__(manager, **options)  # type: ignore[arg-type]
        self._head_bytes = 0
        self._stalled = stalled
        self._stalls = False

    @property
    def idle(self) -> bool:
        """Whether it waits for a request's head."""
        return self._waiter is not None and not self._messages and not self._force_close

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, and hold little of what a slow client has not read."""
        super().connection_made(transport)
        cast(asyncio.Transport, transport).set_write_buffer_limits(high=_HELD_BYTES)

    def data_received(self, data: bytes) -> None:
        """Take bytes of a client, within bounds."""
        super().data_received(data)
        # The first bytes may be here before `start` waits for them.
        if self._waiter is not None or self._request_count == 0:
            self._bound_head(len(data))
        elif self._reading_paused or self._buffer_paused:
            self._keep_listening()

    def pause_writing(self) -> None:
        """Note that the client does not read."""
        super().pause_writing()
        self._note_stall(True)

    def resume_writing(self) -> None:
        """Note that the client reads again."""
        super().resume_writing()
        self._note_stall(False)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End with the connection."""
        super().connection_lost(exc)
        self._note_stall(False)

    def force_close(self) -> None:
        """Close at once, though what is written may still be flushed for a while."""
        transport = self.transport
        super().force_close()
        _abort_later(transport)

    async def start(self) -> None:
        """Answer requests until the connection ends."""
        transport = self.transport
        await super().start()
        _abort_later(transport)

    async def refuse(self, request: web.BaseRequest, error: CallError) -> web.StreamResponse:
        """Answer what is no request to the API, and close when that has been read."""
        # Its headers are not to be trusted, so neither is the family that they would tell.
        reply = OPENAI.error(error, "")
        fields = {"status": reply.status, "kind": error.kind.name.lower(), "detail": error.detail}
        _log.info("refused", extra={"fields": fields})
        request._version = HttpVersion11  # of the answer, whatever the question's was
        headers = {"server": "azeotrope", **reply.headers}
        response = web.Response(status=reply.status, headers=headers, body=reply.body)
        response.force_close()
        await response.prepare(request)
        await response.write_eof()
        self.close()  # from here on, what comes is thrown away
        if self.transport is not None:
            self.transport.write_eof()
            await asyncio.sleep(LINGER_S)  # cut short by the client's end
        return response

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """End a connection whose handler has failed."""
        raise ConnectionError("the answer cannot be finished") from exc

    def _make_error_handler(
        self, err_info: _ErrInfo
    ) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
        cause = err_info.exc
        if isinstance(cause, LineTooLong) or "Too many headers" in str(cause):
            error = too_large()
        else:
            error = bad_http(_MALFORMED)
        error.detail = type(cause).__name__

        async def handler(request: web.BaseRequest) -> web.StreamResponse:
            return await self.refuse(request, error)

        return handler

    def _note_stall(self, stalls: bool) -> None:
        self._stalled.inc(stalls - self._stalls)
        self._stalls = stalls

    def _bound_head(self, size: int) -> None:
        """Count the bytes of a head while it is not whole."""
        if self._messages:
            self._head_bytes = 0
            return
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES and not self._force_close:
            cause = LineTooLong(b"", MAX_HEAD_BYTES)
            self._messages.append((_ErrInfo(status=431, exc=cause, message=""), EMPTY_PAYLOAD))
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)

    def _keep_listening(self) -> None:
        """Throw away what a client sends ahead of its answer beyond what buffers hold.

        A connection that is not read does not show that its client has hung up, and the
        call would go on for nobody. The requests sent ahead stay unanswered, and the
        connection closes after the present answer (RFC 9112, 9.3.2).
        """
        request = self._current_request
        if request is not None and request.content.is_eof():
            self._messages.clear()
            self.close()
            self._reading_paused = self._buffer_paused = False
            self._resume_transport_reading()


def _abort_later(transport: asyncio.Transport | None) -> None:
    """Bound the time in which a closed connection flushes: its client may never read."""
    if transport is not None and transport.get_write_buffer_size():
        asyncio.get_running_loop().call_later(FLUSH_S, transport.abort)
