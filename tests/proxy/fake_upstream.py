"""A scripted engine on raw sockets, for faults and for byte-exact answers.

Each connection carries one request. A script writes whatever bytes it likes. The gateway's
own looks (GET) are answered apart from the script, and are not among the requests.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Self

# The beginnings of what passed through fakes of late, for secrecy.py.
PASSED: list[bytes] = []
MANY = 5000


def _note(data: bytes) -> None:
    if len(PASSED) < MANY:
        PASSED.append(data[:4096])


@dataclass
class Received:
    """A request as it came over the wire."""

    line: str
    headers: dict[str, str]
    body: bytes
    head: bytes = b""


class Conversation:
    """What a script may do with one connection."""

    def __init__(
        self, request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.request = request
        self._reader = reader
        self._writer = writer

    @property
    def socket(self) -> socket.socket:
        found: socket.socket = self._writer.get_extra_info("socket")
        return found

    async def send(self, data: bytes) -> None:
        _note(data)
        self._writer.write(data)
        await self._writer.drain()

    async def head(self, status: str = "200 OK", **headers: str) -> None:
        lines = [f"HTTP/1.1 {status}", "connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self.send("\r\n".join([*lines, "", ""]).encode())

    async def whole(
        self, body: bytes, status: str = "200 OK", content_type: str = "application/json"
    ) -> None:
        await self.head(status, content_type=content_type, content_length=str(len(body)))
        await self.send(body)

    async def begin_stream(self) -> None:
        await self.head(
            content_type="text/event-stream; charset=utf-8", transfer_encoding="chunked"
        )

    async def chunk(self, data: bytes) -> None:
        await self.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def end_stream(self) -> None:
        await self.send(b"0\r\n\r\n")

    async def until_hung_up(self) -> None:
        try:
            while await self._reader.read(65536):
                pass
        except ConnectionError:
            pass

    def reset(self) -> None:
        self._writer.transport.abort()


Script = Callable[[Conversation], Awaitable[None]]


@dataclass
class FakeUpstream:
    """Serves one script, and remembers the requests."""

    script: Script | None = None
    health: str = "200 OK"
    health_stalls: bool = False
    looks: int = 0
    received: list[Received] = field(default_factory=list)
    url: str = ""
    port: int = 0
    ssl: SSLContext | None = None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        await self.comes_up()
        return self

    async def __aexit__(self, *error: object) -> None:
        self.goes_down()

    async def comes_up(self) -> None:
        """Listen, again on the same port if it has been down."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.ssl)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def goes_down(self) -> None:
        """Refuse connections, and cut those that stand."""
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            request = await _read_request(reader)
            if request.line.startswith("GET /v1/models "):
                self.looks += 1
                if self.health_stalls:
                    await reader.read()
                await Conversation(request, reader, writer).whole(b"{}", self.health)
                return
            _note(request.body)
            self.received.append(request)
            self.arrived.set()
            assert self.script is not None
            await self.script(Conversation(request, reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the gateway let go of the connection, or the test is over
        finally:
            self._tasks.discard(task)
            writer.close()

    def answers(self, script: Script) -> None:
        self.script = script

    def answers_whole(self, body: bytes, status: str = "200 OK") -> None:
        async def script(conversation: Conversation) -> None:
            await conversation.whole(body, status)

        self.script = script

    def answers_stream(self, *chunks: bytes) -> None:
        async def script(conversation: Conversation) -> None:
            await conversation.begin_stream()
            for chunk in chunks:
                await conversation.chunk(chunk)
            await conversation.end_stream()

        self.script = script

    def answers_until_hung_up(self, *chunks: bytes) -> None:
        """Begin a stream that never ends; `hung_up` is set when the gateway closes it."""

        async def script(conversation: Conversation) -> None:
            if chunks:
                await conversation.begin_stream()
            for chunk in chunks:
                await conversation.chunk(chunk)
            await conversation.until_hung_up()
            self.hung_up.set()

        self.script = script


async def _read_request(reader: asyncio.StreamReader) -> Received:
    head = await reader.readuntil(b"\r\n\r\n")
    line, *rest = head.decode("latin-1").rstrip().split("\r\n")
    headers = {}
    for header in rest:
        name, _, value = header.partition(":")
        headers[name.lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(line, headers, body, head)
