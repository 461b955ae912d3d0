"""Upstreams that fail before a byte has gone to the client: 502 or 504, in the API's shape."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
from aftermath import Aftermath
from asking import assert_goes_on, chat_error
from fake_upstream import Conversation, FakeUpstream
from running import Site, Start, question

Script = Callable[[Conversation], Awaitable[None]]
BROKEN = (502, "server_error", "upstream_error")
LATE = (504, "timeout_error", "upstream_timeout")
OK = b"HTTP/1.1 200 OK\r\n"


def sends(data: bytes) -> Script:
    async def script(conversation: Conversation) -> None:
        await conversation.send(data)

    return script


def sends_and_stalls(data: bytes) -> Script:
    async def script(conversation: Conversation) -> None:
        await conversation.send(data)
        await conversation.until_hung_up()

    return script


def sends_and_resets(data: bytes) -> Script:
    async def script(conversation: Conversation) -> None:
        await conversation.send(data)
        conversation.reset()

    return script


def repeats(begin: bytes, again: bytes) -> Script:
    async def script(conversation: Conversation) -> None:
        with suppress(ConnectionError):
            await conversation.send(begin)
            while True:
                await conversation.send(again)
                await asyncio.sleep(0)

    return script


async def drips(conversation: Conversation) -> None:
    """A byte of the head now and then, for ever."""
    with suppress(ConnectionError):
        await conversation.send(OK)
        while True:
            await conversation.send(b"a: b\r\n")
            await asyncio.sleep(0.01)


HALF = OK + b"content-type: application/json\r\ncontent-length: 100\r\n\r\n{"
CHUNKS = OK + b"content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"

FAULTS: dict[str, tuple[Script, tuple[int, str, str]]] = {
    "closes at once": (sends(b""), BROKEN),
    "resets at once": (sends_and_resets(b""), BROKEN),
    "resets within the status line": (sends_and_resets(b"HTTP/1.1 2"), BROKEN),
    "resets within the head": (sends_and_resets(OK + b"content-"), BROKEN),
    "resets after the head": (sends_and_resets(HALF[:-1]), BROKEN),
    "resets within the body": (sends_and_resets(HALF), BROKEN),
    "resets within a chunk": (sends_and_resets(CHUNKS + b"5\r\n{"), BROKEN),
    "resets before the last chunk": (sends_and_resets(CHUNKS + b"2\r\n{}\r\n"), BROKEN),
    "body shorter than its length": (sends(HALF), BROKEN),
    "chunks without an end": (sends(CHUNKS + b"2\r\n{}\r\n"), BROKEN),
    "bad chunk size": (sends(CHUNKS + b"zz\r\n{}\r\n0\r\n\r\n"), BROKEN),
    "length and chunks": (sends(CHUNKS[:-2] + b"content-length: 2\r\n\r\n{}"), BROKEN),
    "two lengths": (
        sends(OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{} "),
        BROKEN,
    ),
    "garbage": (sends(bytes(range(256)) * 8), BROKEN),
    "TLS": (sends(b"\x15\x03\x01\x00\x02\x02\x16"), BROKEN),
    "SSH": (sends(b"SSH-2.0-OpenSSH_9.2\r\n"), BROKEN),
    "garbage for ever": (repeats(b"", b"\x00" * 65536), BROKEN),
    "a head for ever": (repeats(OK, b"a: " + b"b" * 8000 + b"\r\n"), BROKEN),
    "a header for ever": (repeats(OK + b"a: ", b"b" * 8000), BROKEN),
    "interim answers for ever": (repeats(b"", b"HTTP/1.1 103 Early\r\n\r\n"), BROKEN),
    "an extension for ever": (repeats(CHUNKS + b"5;", b"x" * 8000), BROKEN),
    "trailers for ever": (repeats(CHUNKS + b"2\r\n{}\r\n0\r\n", b"a: b\r\n" * 999), BROKEN),
    "another protocol": (
        sends(b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"),
        BROKEN,
    ),
    "301": (
        sends(b"HTTP/1.1 301 Away\r\nlocation: http://x/\r\ncontent-length: 0\r\n\r\n"),
        BROKEN,
    ),
    "307": (sends(b"HTTP/1.1 307 Away\r\nlocation: //x\r\ncontent-length: 0\r\n\r\n"), BROKEN),
    "304": (sends(b"HTTP/1.1 304 Known\r\n\r\n"), BROKEN),
    "401": (sends(b"HTTP/1.1 401 Who\r\ncontent-length: 9\r\n\r\nsk-secret"), BROKEN),
    "407": (sends(b"HTTP/1.1 407 Who\r\ncontent-length: 9\r\n\r\nsk-secret"), BROKEN),
    "stalls at once": (sends_and_stalls(b""), LATE),
    "stalls within the head": (sends_and_stalls(OK + b"content-"), LATE),
    "stalls after an interim answer": (sends_and_stalls(b"HTTP/1.1 100 Go on\r\n\r\n"), LATE),
    "a head that drips": (drips, LATE),
    "stalls after the head": (sends_and_stalls(HALF[:-1]), LATE),
    "stalls within the body": (sends_and_stalls(HALF), LATE),
    "stalls before the last chunk": (sends_and_stalls(CHUNKS + b"2\r\n{}\r\n"), LATE),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("stream", [False, True])
async def test_the_client_gets_one_clean_error(
    start: Start, upstream: FakeUpstream, site: Site, fault: str, stream: bool
) -> None:
    script, expected = FAULTS[fault]
    times = {"first_byte": 0.2, "idle": 0.2} if expected is LATE else {}
    site.content["upstreams"][0]["timeouts"] = times
    gateway = await start()
    await assert_goes_on(gateway, upstream)
    aftermath = Aftermath(gateway)
    upstream.answers(script)

    body = json.dumps(question(stream=stream)).encode()
    status, error = await chat_error(gateway, body)

    assert (status, error["type"], error["code"]) == expected
    assert "sk-" not in error["message"]
    assert "127.0.0.1" not in error["message"]
    await assert_goes_on(gateway, upstream)
    assert await aftermath.is_quiet()
    end = "upstream_timeout" if expected is LATE else "upstream_error"
    assert [line["end"] for line in await gateway.stop()] == ["complete", end, "complete"]
    assert len(upstream.received) == 3


@pytest.mark.parametrize("stage", [b"", b"HTTP/1.1 2", HALF])
async def test_an_upstream_sees_at_once_that_its_client_is_gone(
    start: Start, upstream: FakeUpstream, stage: bytes
) -> None:
    gateway = await start()

    async def script(conversation: Conversation) -> None:
        await conversation.send(stage)
        await conversation.until_hung_up()
        upstream.hung_up.set()

    upstream.answers(script)

    async def ask() -> None:
        async with gateway.chat() as response:
            await response.read()

    asking = asyncio.create_task(ask())
    async with asyncio.timeout(10):
        await upstream.arrived.wait()
    asking.cancel()
    async with asyncio.timeout(1):
        await upstream.hung_up.wait()
