"""Bytes to a gateway and answers from it, over a raw connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fake_upstream import Received
from running import Running
from secrecy import PROMPT

CHAT = b"/v1/chat/completions"
BODY = f'{{"model":"m","messages":[{{"role":"user","content":"{PROMPT}"}}]}}'.encode()
# Stands for alice's key in the bytes of an attack.
KEY = b"{KEY}"
MODELS = b"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n\r\n"
DEADLINE_S = 20.0


@dataclass(frozen=True)
class Answer:
    """One whole answer: header names in lower case."""

    version: str
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str | None:
        """Code of an error in OpenAI's shape."""
        content = json.loads(self.body)
        assert list(content) == ["error"]
        assert list(content["error"]) == ["message", "type", "param", "code"]
        code: str | None = content["error"]["code"]
        return code


class Wire:
    """A client's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str):
        self._key = key.encode()
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data.replace(KEY, self._key))
        await self.writer.drain()

    async def answer(self) -> Answer:
        """Read one whole answer, and not a byte more."""
        async with asyncio.timeout(DEADLINE_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
            line, *rest = head.decode("ascii").removesuffix("\r\n\r\n").split("\r\n")
            version, status, _ = line.split(" ", 2)
            pairs = [header.split(": ", 1) for header in rest]
            headers = {name.lower(): value for name, value in pairs}
            assert len(headers) == len(pairs)
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(version, int(status), headers, body)

    async def is_closed(self) -> bool:
        """Wait for the gateway to end the connection; false if anything else comes before."""
        async with asyncio.timeout(DEADLINE_S):
            try:
                return not await self.reader.read()
            except ConnectionResetError:  # we were still sending
                return True

    async def goes_on(self) -> bool:
        """Tell whether the connection takes another request, and answers just that."""
        await self.send(MODELS)
        answer = await self.answer()
        return answer.status == 200 and json.loads(answer.body)["object"] == "list"

    def reset(self) -> None:
        self.writer.transport.abort()


@asynccontextmanager
async def connected(gateway: Running) -> AsyncIterator[Wire]:
    host, port = gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Wire(reader, writer, gateway.site.key)
    finally:
        writer.transport.abort()


async def ask(gateway: Running, data: bytes) -> Answer:
    """Send bytes on a connection of their own, return the one answer."""
    async with connected(gateway) as wire:
        await wire.send(data)
        return await wire.answer()


def post(
    *headers: bytes,
    body: bytes = BODY,
    method: bytes = b"POST",
    target: bytes = CHAT,
    version: bytes = b"HTTP/1.1",
    length: bool = True,
    leave_out: Iterable[bytes] = (),
) -> bytes:
    """Return a good request, less `leave_out`, and with `headers`, in that order."""
    good = {
        b"host": b"x",
        b"content-type": b"application/json",
        b"authorization": b"Bearer " + KEY,
    }
    lines = [b"%s: %s" % pair for pair in good.items() if pair[0] not in leave_out]
    if length:
        lines.append(b"content-length: %d" % len(body))
    return b"\r\n".join([b"%s %s %s" % (method, target, version), *lines, *headers, b"", body])


def chunked(body: bytes = BODY, extension: bytes = b"", trailers: bytes = b"") -> bytes:
    return b"%x%s\r\n%s\r\n0\r\n%s\r\n" % (len(body), extension, body, trailers)


def sent_on(received: Received, url: str, **more: str) -> Any:
    """Check that an engine got exactly our head, byte for byte; return the body's JSON.

    `more` are the headers of the client that may go on.
    """
    lines = received.head.decode("ascii").removesuffix("\r\n\r\n").split("\r\n")
    assert lines[0] == "POST /v1/chat/completions HTTP/1.1"
    expected = {
        "host": url.removeprefix("http://"),
        "content-type": "application/json",
        "accept-encoding": "identity",
        "content-length": str(len(received.body)),
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    names = [(line.partition(": ")[0].lower(), line.partition(": ")[2]) for line in lines[1:]]
    assert sorted(names) == sorted(expected.items())
    content = json.loads(received.body)
    assert list(content.pop("vllm_xargs")) == ["azeotrope"]
    return content
