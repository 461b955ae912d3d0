"""A connection to an upstream without a socket: what arrives, and when, is up to the test."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from proxy.config import Timeouts
from proxy.upstream.connection import READ_BYTES, Connection

HOUR = 3600.0


class Transport:
    """Remembers what the connection does to it."""

    def __init__(self, connection: Connection) -> None:
        self.written = b""
        self.sizes: list[int] = []
        self.reading = True
        self.aborted = False
        self.pauses_at: int | None = None
        self._connection = connection

    def write(self, data: bytes) -> None:
        self.written += data
        self.sizes.append(len(data))
        if self.pauses_at is not None and len(self.written) > self.pauses_at:
            self._connection.pause_writing()

    def abort(self) -> None:
        self.aborted = True
        asyncio.get_running_loop().call_soon(self._connection.connection_lost, None)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_write_buffer_limits(self, high: int) -> None:
        pass

    def get_extra_info(self, name: str) -> None:
        return None


def new_buffer() -> memoryview:
    return memoryview(bytearray(READ_BYTES))


def deliver(connection: Connection, data: bytes) -> None:
    """Let bytes arrive, as an event loop does."""
    while data:
        buffer = connection.get_buffer(-1)
        piece, data = data[: len(buffer)], data[len(buffer) :]
        buffer[: len(piece)] = piece
        connection.buffer_updated(len(piece))


def connected(timeouts: Timeouts | None = None) -> tuple[Connection, Transport]:
    connection = Connection(timeouts or Timeouts(), new_buffer(), lambda lost: None)
    transport = Transport(connection)
    connection.connection_made(transport)  # type: ignore[arg-type]
    return connection, transport


async def ask(connection: Connection, body: bytes = b"") -> tuple[int, bytes]:
    """Send a request, return status and body of its answer."""
    loop = asyncio.get_running_loop()
    await connection.request(b"head", body, loop.time() + HOUR)
    chunks = []
    while chunk := await connection.next_chunk():
        chunks.append(chunk)
    return connection.status, b"".join(chunks)


async def answer_to(
    pieces: Iterable[bytes], *, lost: bool = False, error: Exception | None = None
) -> tuple[int, bytes]:
    """Return what is read when `pieces` arrive, and then perhaps the connection ends."""
    connection, _ = connected()
    asking = asyncio.create_task(ask(connection))
    await asyncio.sleep(0)
    for piece in pieces:
        deliver(connection, piece)
        await asyncio.sleep(0)
    if lost or error is not None:
        connection.connection_lost(error)
    async with asyncio.timeout(10):
        return await asking
