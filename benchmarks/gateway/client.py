"""A client that costs little and measures: open-loop requests, and many streams at once."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field

import httptools

from benchmarks.gateway.questions import PATH


def request(body: bytes, key: str) -> bytes:
    """Return a request as it goes over the wire."""
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {key}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@dataclass(slots=True)
class Answer:
    """An answer and its times, in seconds after the request."""

    status: int = 0
    first: float = 0.0
    whole: float = 0.0
    events: int = 0
    body: list[bytes] = field(default_factory=list)


class Connection(asyncio.Protocol):
    """One connection, on which one request after the other is answered."""

    def __init__(self, *, keep: bool = True) -> None:
        self.answer = Answer()
        self.begun: asyncio.Future[None] | None = None
        self._keep = keep
        self._done: asyncio.Future[Answer] | None = None
        self._last = b""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def ask(self, wire: bytes) -> asyncio.Future[Answer]:
        """Send a request; the future is done with the answer's last byte."""
        loop = asyncio.get_running_loop()
        self.answer, self._done, self.begun = Answer(), loop.create_future(), loop.create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._sent = time.perf_counter()
        self.transport.write(wire)
        return self._done

    def data_received(self, data: bytes) -> None:
        if self._done is not None:
            self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        answer = self.answer
        if not answer.first:
            answer.first = time.perf_counter() - self._sent
            answer.status = self._parser.get_status_code()
            if self.begun is not None and not self.begun.done():
                self.begun.set_result(None)
        # An event's end may lie across two pieces.
        answer.events += (self._last + data).count(b"\n\n")
        self._last = data[-1:] if not data.endswith(b"\n\n") else b""
        if self._keep:
            answer.body.append(data)

    def on_message_complete(self) -> None:
        self.answer.whole = time.perf_counter() - self._sent
        done, self._done = self._done, None
        if done is not None and not done.done():
            done.set_result(self.answer)

    def connection_lost(self, exc: Exception | None) -> None:
        for waiting in (self._done, self.begun):
            if waiting is not None and not waiting.done():
                waiting.set_exception(ConnectionError("the connection was closed"))
                waiting.exception()  # the one who waits, if any, has it


async def connect(port: int, *, keep: bool = True) -> Connection:
    """Open a connection; `keep` keeps the bodies of answers."""
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_connection(lambda: Connection(keep=keep), "127.0.0.1", port)
    return protocol


async def once(port: int, wire: bytes) -> Answer:
    """Ask once, on a connection of its own."""
    connection = await connect(port)
    try:
        return await asyncio.wait_for(connection.ask(wire), 30)
    finally:
        connection.transport.close()


async def at_rate(
    port: int, wire: bytes, rate: float, seconds: float, connections: int
) -> list[Answer]:
    """Ask at random moments, `rate` a second on average, however slow the answers are."""
    idle = [await connect(port, keep=False) for _ in range(connections)]
    answers: list[Answer] = []
    moments, asking = random.Random(1), set()

    async def ask() -> None:
        connection = idle.pop() if idle else await connect(port, keep=False)
        answers.append(await connection.ask(wire))
        idle.append(connection)

    due = time.perf_counter()
    end = due + seconds
    while (due := due + moments.expovariate(rate)) < end:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        task = asyncio.create_task(ask())
        asking.add(task)
        task.add_done_callback(asking.discard)
    await asyncio.gather(*asking)
    for connection in idle:
        connection.transport.close()
    _check(answers)
    return answers


class Streams:
    """Many open streams, their events counted. `async with Streams(…)` opens and closes them."""

    def __init__(self, port: int, wire: bytes, count: int, ramp_s: float) -> None:
        self._port, self._wire, self._count, self._pause = port, wire, count, ramp_s / count
        self._connections: list[Connection] = []

    async def __aenter__(self) -> Streams:
        for _ in range(self._count):
            connection = await connect(self._port, keep=False)
            connection.ask(self._wire)
            self._connections.append(connection)
            await asyncio.sleep(self._pause)
        for connection in self._connections:
            assert connection.begun is not None
            await asyncio.wait_for(connection.begun, 60)
        _check([connection.answer for connection in self._connections])
        return self

    async def __aexit__(self, *error: object) -> None:
        lost = sum(connection.transport.is_closing() for connection in self._connections)
        for connection in self._connections:
            connection.transport.abort()
        if lost:
            raise RuntimeError(f"port {self._port}: {lost} streams ended early")

    @property
    def events(self) -> int:
        """Events that have come so far."""
        return sum(connection.answer.events for connection in self._connections)


def _check(answers: list[Answer]) -> None:
    bad = [answer.status for answer in answers if answer.status != 200]
    if bad:
        raise RuntimeError(f"{len(bad)} of {len(answers)} answers were not 200: {set(bad)}")
