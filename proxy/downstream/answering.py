"""An answer going out to a client, written to its connection directly.

aiohttp's responses make dictionaries, look for defaults and arm timers for each answer:
40 µs of a call, 10 of an event (`make bench`, gateway). What they would find out is known here.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import cast

from aiohttp import HttpVersion11, web

# Beyond this, joining head and body costs more than handing over both.
_JOINED = 64 * 1024


class Outgoing:
    """One answer. aiohttp's server takes it for a response that has been sent already.

    `length` is the body's, None for one that comes in pieces: each is a chunk then, or,
    for HTTP/1.0, the body ends with the connection. Raises ValueError for a header that
    would break the head.
    """

    __slots__ = ("_chunked", "_empty", "_protocol", "keep_alive", "status")

    def __init__(
        self,
        request: web.BaseRequest,
        status: int,
        headers: Mapping[str, str],
        length: int | None,
        body: bytes = b"",
    ) -> None:
        self.status = status
        self._protocol = request.protocol
        self._empty = request.method == "HEAD" or status in _BODILESS
        current = request.version >= HttpVersion11
        self._chunked = current and length is None and not self._empty
        told = headers.get("connection")
        self.keep_alive = request.keep_alive and told != "close"
        if length is None and not current:
            self.keep_alive = False
        head = _head(status, current, headers)
        if self._chunked:
            head += "transfer-encoding: chunked\r\n"
        elif length is not None and status != HTTPStatus.NO_CONTENT:
            head += f"content-length: {length}\r\n"
        if told is None and self.keep_alive != current:
            head += "connection: keep-alive\r\n" if self.keep_alive else "connection: close\r\n"
        self._send(f"{head}\r\n".encode("utf-8", "surrogateescape"), b"" if self._empty else body)

    @property
    def writing_paused(self) -> bool:
        """Whether more waits for the client than it should."""
        return self._protocol.writing_paused

    def write(self, piece: bytes) -> None:
        """Send a piece of the body; raises ConnectionError if the client is gone."""
        if self._empty:
            return
        self._send(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece)

    def finish(self) -> None:
        """Send the end of a body in pieces; raises ConnectionError if the client is gone."""
        if self._chunked:
            self._send(b"0\r\n\r\n")

    async def prepare(self, request: web.BaseRequest) -> None:
        """Do nothing: the head has gone out. The server asks for it."""

    async def write_eof(self) -> None:
        """Do nothing: the end has gone out. The server asks for it."""

    def for_server(self) -> web.StreamResponse:
        """Return itself as what aiohttp's server expects of a handler."""
        return cast(web.StreamResponse, self)

    def _send(self, data: bytes, body: bytes = b"") -> None:
        transport = self._protocol.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        if len(body) > _JOINED:
            transport.writelines((data, body))
        else:
            transport.write(data + body)


_BODILESS = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


def _head(status: int, current: bool, headers: Mapping[str, str]) -> str:
    lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
    text = "".join(lines)
    # None of them comes from a client, and an engine's were parsed strictly: this is the
    # second lock on the door.
    if text.count("\n") != len(lines) or text.count("\r") != len(lines) or "\0" in text:
        raise ValueError("a header has a line break")
    return f"{_status_line(status, current)}date: {_date(int(time.time()))}\r\n{text}"


@lru_cache(maxsize=256)
def _status_line(status: int, current: bool) -> str:
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = ""
    return f"HTTP/1.{int(current)} {status} {reason}\r\n"


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
