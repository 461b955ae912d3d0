"""One HTTP exchange with a client: its body within bounds, and the answer going out.

This is the only place that touches a client's connection.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from aiohttp import HttpVersion11, web

from proxy.call import new_request_id
from proxy.config import Limits
from proxy.dialects.contract import Reply
from proxy.downstream.answering import Outgoing
from proxy.downstream.connection import FLUSH_S
from proxy.downstream.head import CLOSE, bad_http
from proxy.errors import CallError, Kind

T = TypeVar("T")
# Bodies beyond this are parsed in a thread: the event loop must not stand still for
# more than 5 ms, and hostile JSON takes about 50 ms per megabyte.
_PARSE_IN_THREAD = 64 * 1024
# No charset but UTF-8, also not a second one: whoever reads the body must read this one.
_JSON = re.compile(
    r"application/json(?:[ \t]*;[ \t]*"
    r"(?:charset=(\"?)(?:utf-?8|us-ascii)\1|(?!charset\b)[!#$%&'*+.^_`|~0-9a-z-]+=[^;,\"]*))*",
    re.IGNORECASE,
)


class Exchange:
    """A request and its answer, of which exactly one goes out."""

    def __init__(self, request: web.BaseRequest, limits: Limits) -> None:
        self.request_id = new_request_id()
        self.received = time.perf_counter()
        self.body_seconds = 0.0
        self.body_bytes = 0
        self.first_byte: float | None = None
        self.served: str | None = None  # the model, once it is found
        self.headers = request.headers
        self._request = request
        self._limits = limits
        self._told: dict[str, str] = {"server": "azeotrope"}
        self._answer: Outgoing | None = None
        if "Transfer-Encoding" in request.headers:
            # aiohttp 3.14 takes the last trailer of a chunked body for a header of the next
            # request on the connection, which may be another client's behind a proxy.
            self.close_after_answer()

    @property
    def status(self) -> int | None:
        """Status of the answer, None before there is one."""
        return None if self._answer is None else self._answer.status

    @property
    def response(self) -> web.StreamResponse:
        """What the server needs to hear: the answer, which has gone out already."""
        return self._begun.for_server()

    def tell(self, headers: Mapping[str, str]) -> None:
        """Add headers to whatever answer goes out."""
        self._told.update(headers)

    def close_after_answer(self) -> None:
        """Tell the client that this connection takes no further request."""
        self.tell(CLOSE)

    @property
    def query(self) -> str:
        """The query of the request's URL, without its question mark."""
        return self._request.rel_url.raw_query_string

    async def parsed(self, parse: Callable[[bytes], T]) -> T:
        """Read a body of JSON and parse it; raises CallError."""
        self._check_kind()
        body = await self.untouched()
        if len(body) > _PARSE_IN_THREAD:
            return await asyncio.to_thread(parse, body)
        return parse(body)

    async def untouched(self) -> bytes:
        """Read the body, whatever it is; raises CallError."""
        begun = time.perf_counter()
        body = await self._body()
        self.body_seconds = time.perf_counter() - begun
        self.body_bytes = len(body)
        return body

    async def reply(self, reply: Reply) -> None:
        """Send a whole answer."""
        body, headers = reply.body, {**reply.headers, **self._told}
        self.first_byte = time.perf_counter()
        self._answer = Outgoing(self._request, reply.status, headers, len(body), body)
        if self._answer.writing_paused:
            await self._until_read()

    def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Begin a streamed answer; its head goes out at once."""
        self._answer = Outgoing(self._request, status, {**headers, **self._told}, None)

    async def write(self, chunk: bytes) -> None:
        """Send a piece of a streamed answer; waits while the client reads too slowly."""
        if self.first_byte is None:
            self.first_byte = time.perf_counter()
        answer = self._begun
        answer.write(chunk)
        if answer.writing_paused:
            await self._until_read()

    async def finish(self) -> None:
        """End a streamed answer well."""
        answer = self._begun
        answer.finish()
        if answer.writing_paused:
            await self._until_read()

    def cut(self) -> None:
        """End the connection so that no client can take the answer for complete."""
        transport = self._request.transport
        if transport is None:
            return
        if self._request.version < HttpVersion11:
            # Without chunks a plain close means "complete": reset the connection instead.
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            # Flushes what is written, and leaves out the last chunk.
            asyncio.get_running_loop().call_later(FLUSH_S, transport.abort)
        self._request.protocol.force_close()

    @property
    def _begun(self) -> Outgoing:
        assert self._answer is not None
        return self._answer

    async def _until_read(self) -> None:
        """Wait for a client to read, but not for ever: its call holds a place in the engine."""
        try:
            async with asyncio.timeout(self._limits.write_timeout_s):
                await self._request.writer.drain()
        except TimeoutError:
            if self._request.transport is not None:
                self._request.transport.abort()
            raise ConnectionAbortedError("the client reads nothing") from None

    async def _body(self) -> bytes:
        if (self._request.content_length or 0) > self._limits.max_body_bytes:
            raise self._too_large()
        content, limit = self._request.content, self._limits.body_timeout_s
        try:
            if content.is_eof() and "Expect" not in self.headers:
                return self._bounded(content.read_nowait())  # it came with the head
            async with asyncio.timeout(limit):
                await self._continue()
                return await self._read()
        except TimeoutError:
            raise CallError(
                Kind.BODY_TIMEOUT, f"The request body took longer than {limit:g} s.", headers=CLOSE
            ) from None
        except web.RequestPayloadError:
            raise bad_http("The request body is not framed as HTTP.") from None

    def _check_kind(self) -> None:
        request = self._request
        content_type = request.headers.get("Content-Type", "")
        if content_type != "application/json" and _JSON.fullmatch(content_type) is None:
            raise CallError(
                Kind.WRONG_CONTENT_TYPE, "Expected the header Content-Type: application/json."
            )
        if request.headers.get("Content-Encoding", "identity") != "identity":
            raise CallError(Kind.WRONG_CONTENT_TYPE, "Expected a body without Content-Encoding.")

    async def _continue(self) -> None:
        """Answer `Expect: 100-continue` (RFC 9110, 10.1.1), only once the body is wanted."""
        expected = self._request.headers.get("Expect")
        if expected is None:
            return
        if expected.lower() != "100-continue":
            raise CallError(Kind.EXPECTATION_FAILED, "Expected no Expect but 100-continue.")
        if self._request.version >= HttpVersion11:
            await self._request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def _read(self) -> bytes:
        chunks, size = [], 0
        while chunk := await self._request.content.readany():
            size += len(chunk)
            if size > self._limits.max_body_bytes:
                raise self._too_large()
            chunks.append(chunk)
        return b"".join(chunks)

    def _bounded(self, body: bytes) -> bytes:
        if len(body) > self._limits.max_body_bytes:
            raise self._too_large()
        return body

    def _too_large(self) -> CallError:
        return CallError(
            Kind.BODY_TOO_LARGE,
            f"The request body has more than {self._limits.max_body_bytes} bytes.",
            headers=CLOSE,
        )
