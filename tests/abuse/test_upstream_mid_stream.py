"""Upstreams that fail in the midst of a stream: an error event, and never a clean end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress

import aiohttp
import pytest
from aftermath import Aftermath
from asking import assert_goes_on
from fake_upstream import Conversation, FakeUpstream
from running import Running, Site, Start, question

Script = Callable[[Conversation], Awaitable[None]]
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
CHUNKED = STREAM + b"transfer-encoding: chunked\r\n\r\n"
BROKEN, LATE = "upstream_error", "upstream_timeout"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def then(data: bytes, end: str) -> Script:
    async def script(conversation: Conversation) -> None:
        await conversation.send(data)
        if end == "stalls":
            await conversation.until_hung_up()
        elif end == "resets":
            await asyncio.sleep(0.05)  # a reset overtakes what has not been read
            conversation.reset()

    return script


async def never_ends(conversation: Conversation) -> None:
    with suppress(ConnectionError):
        await conversation.send(CHUNKED)
        while True:
            await conversation.chunk(EVENT)
            await asyncio.sleep(0.01)


# What is sent after the head, how the client must see it end, and whether the last event is whole.
FAULTS: dict[str, tuple[Script, str]] = {
    "stalls": (then(CHUNKED + chunk(EVENT), "stalls"), LATE),
    "resets": (then(CHUNKED + chunk(EVENT), "resets"), BROKEN),
    "closes without the last chunk": (then(CHUNKED + chunk(EVENT), "closes"), BROKEN),
    "closes within the chunk's end": (then(CHUNKED + chunk(EVENT)[:-1], "closes"), BROKEN),
    "closes within the last chunk": (then(CHUNKED + chunk(EVENT) + b"0\r\n", "closes"), BROKEN),
    "garbage in place of a chunk": (then(CHUNKED + chunk(EVENT) + b"zz\r\n", "closes"), BROKEN),
    "shorter than its length": (
        then(STREAM + b"content-length: 999\r\n\r\n" + EVENT, "closes"),
        BROKEN,
    ),
    "no framing and no last word": (then(STREAM + b"\r\n" + EVENT, "closes"), BROKEN),
    "no framing, and a reset": (then(STREAM + b"\r\n" + EVENT, "resets"), BROKEN),
    "never ends": (never_ends, LATE),
}


async def _collect(response: aiohttp.ClientResponse, pieces: list[bytes]) -> None:
    async for piece in response.content.iter_any():
        pieces.append(piece)


async def read_cut(gateway: Running) -> bytes:
    """Return what comes of a stream that must not end well."""
    received: list[bytes] = []
    asked = question(stream=True, stream_options={"include_usage": True})
    async with gateway.chat(asked) as response:
        assert response.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await _collect(response, received)
    return b"".join(received)


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_client_gets_an_error_event_and_no_clean_end(
    start: Start, upstream: FakeUpstream, site: Site, fault: str
) -> None:
    script, code = FAULTS[fault]
    times = {"idle": 0.2} if fault == "stalls" else {"total": 0.5} if code == LATE else {}
    site.content["upstreams"][0]["timeouts"] = times
    gateway = await start()
    await assert_goes_on(gateway, upstream)
    aftermath = Aftermath(gateway)
    upstream.answers(script)

    received = await read_cut(gateway)

    *events, last, nothing = received.split(b"\n\n")
    assert nothing == b""
    assert {event + b"\n\n" for event in events} == {EVENT}
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == code
    assert b"[DONE]" not in received
    await assert_goes_on(gateway, upstream)
    assert await aftermath.is_quiet()
    end = "upstream_timeout" if code == LATE else "upstream_error"
    assert [line["end"] for line in await gateway.stop()] == ["complete", end, "complete"]


async def test_within_an_event_the_stream_is_cut_without_a_word(
    start: Start, upstream: FakeUpstream
) -> None:
    """An error event would be read as the rest of the unfinished one."""
    gateway = await start()
    upstream.answers(then(CHUNKED + chunk(EVENT + EVENT[:20]), "closes"))

    assert await read_cut(gateway) == EVENT + EVENT[:20]


async def test_an_upstream_sees_at_once_that_the_stream_is_not_wanted(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    upstream.answers_until_hung_up(EVENT)

    async with gateway.chat(question(stream=True)) as response:
        await response.content.readany()
        response.close()
    async with asyncio.timeout(1):
        await upstream.hung_up.wait()


async def test_an_answer_that_never_ends_is_not_kept(start: Start, upstream: FakeUpstream) -> None:
    gateway = await start(limits={"max_answer_bytes": 100_000})

    async def script(conversation: Conversation) -> None:
        with suppress(ConnectionError):
            await conversation.head(content_type="application/json", transfer_encoding="chunked")
            while True:
                await conversation.chunk(b" " * 10_000)

    upstream.answers(script)
    async with gateway.chat() as response:
        assert response.status == 502
        assert json.loads(await response.read())["error"]["code"] == BROKEN
