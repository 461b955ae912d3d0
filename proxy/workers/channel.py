"""What a supervisor and its workers say to each other: JSON lines over a socket pair.

The configuration goes this way and not on the command line, because it may hold
secrets. The end of the stream tells a worker that its supervisor is gone: unlike the
parent-death signal it is heard on every system and lets running answers end.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

import msgspec

_LIMIT = 16 * 2**20  # a configuration's text


class Start(msgspec.Struct, tag=True, frozen=True):
    """To a worker, first: what to serve. `text` is the content of the file `path`."""

    path: str
    text: str
    seat: int
    workers: int
    sockets: list[int]
    store_url: str


class Retire(msgspec.Struct, tag=True, frozen=True):
    """To a worker: accept no more connections, and end with the last that is open."""


class Drain(msgspec.Struct, tag=True, frozen=True):
    """To a worker: take no more calls, and end when the running ones have, in time."""


class Hurry(msgspec.Struct, tag=True, frozen=True):
    """To a worker: cut what still runs."""


class Ask(msgspec.Struct, tag=True, frozen=True):
    """To a worker: say how ready it is."""


class Serving(msgspec.Struct, tag=True, frozen=True):
    """From a worker: it accepts calls."""


class Failed(msgspec.Struct, tag=True, frozen=True):
    """From a worker: it cannot start, and why, for a person."""

    message: str


class State(msgspec.Struct, tag=True, frozen=True):
    """From a worker: its readiness, as `/readyz` tells it."""

    state: dict[str, object]


ToWorker = Start | Retire | Drain | Hurry | Ask
FromWorker = Serving | Failed | State


class Channel:
    """One end of the conversation."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = msgspec.json.Decoder(ToWorker | FromWorker)

    @classmethod
    async def over(cls, sock: socket.socket) -> Channel:
        """Talk over one socket of a pair."""
        return cls(*await asyncio.open_unix_connection(sock=sock, limit=_LIMIT))

    def send(self, message: ToWorker | FromWorker) -> None:
        """Send without waiting; to nobody if the other end is gone."""
        if not self._writer.is_closing():
            self._writer.write(msgspec.json.encode(message) + b"\n")

    async def receive(self) -> ToWorker | FromWorker | None:
        """Return the next message, None when the other end is gone."""
        try:
            line = await self._reader.readline()
        except ConnectionError:
            return None
        return self._decoder.decode(line) if line.endswith(b"\n") else None

    async def close(self) -> None:
        """Send what is left and close."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):  # nobody is there to hear it
            await self._writer.wait_closed()
