"""Streams and answers: every byte as the engine sent it, at the moment it sent it."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import aiohttp
import pytest
from fake_upstream import Conversation, FakeUpstream
from running import Running, Site, Start, question

from proxy.dialects import DIALECTS

USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":22}}\n\n'
DONE = b"data: [DONE]\n\n"
STREAM = question(stream=True)
STREAM_WITH_USAGE = question(stream=True, stream_options={"include_usage": True})


def event(number: int) -> bytes:
    return f'data: {{"choices":[{{"delta":{{"content":"{number}\u2028"}}}}]}}\n\n'.encode()


async def test_a_whole_answer_comes_byte_for_byte(start: Start, upstream: FakeUpstream) -> None:
    gateway = await start()
    body = b'{ "choices" : [],\r\n"x":1.50, "usage":{"prompt_tokens":11,"completion_tokens":22}}'
    upstream.answers_whole(body)

    async with gateway.chat() as response:
        assert await response.read() == body
        assert response.headers["content-length"] == str(len(body))

    (line,) = await gateway.stop()
    assert (line["prompt_tokens"], line["completion_tokens"]) == (11, 22)


async def test_a_compressed_answer_is_not_touched(start: Start, upstream: FakeUpstream) -> None:
    gateway = await start()

    async def script(conversation: Conversation) -> None:
        body = b"\x1f\x8b not really gzip"
        await conversation.head(
            content_type="application/json",
            content_encoding="gzip",
            content_length=str(len(body)),
        )
        await conversation.send(body)

    upstream.answers(script)

    async with gateway.chat() as response:
        assert await response.read() == b"\x1f\x8b not really gzip"
        assert response.headers["content-encoding"] == "gzip"


async def test_a_stream_comes_byte_for_byte_when_the_client_asked_for_usage(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    chunks = [b": ping\r\n\r\n", event(1)[:20], event(1)[20:] + event(2), USAGE, DONE]
    upstream.answers_stream(*chunks)

    async with gateway.chat(STREAM_WITH_USAGE) as response:
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert await response.read() == b"".join(chunks)

    (line,) = await gateway.stop()
    assert (line["prompt_tokens"], line["completion_tokens"]) == (11, 22)
    assert (line["status"], line["end"]) == (200, "complete")


async def test_a_usage_record_that_only_the_gateway_asked_for_is_left_out(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    upstream.answers_stream(event(1), event(2) + USAGE[:30], USAGE[30:] + DONE)

    async with gateway.chat(STREAM) as response:
        assert await response.read() == event(1) + event(2) + DONE

    (line,) = await gateway.stop()
    assert (line["prompt_tokens"], line["completion_tokens"]) == (11, 22)


@pytest.mark.parametrize("body", [STREAM, STREAM_WITH_USAGE])
async def test_no_event_waits_for_the_next_one(
    start: Start, upstream: FakeUpstream, body: dict[str, Any]
) -> None:
    gateway = await start()
    seen = asyncio.Semaphore(0)

    async def script(conversation: Conversation) -> None:
        await conversation.begin_stream()
        for number in range(5):
            await seen.acquire()  # the client has all that was sent so far
            await conversation.chunk(event(number))
        await conversation.chunk(DONE)
        await conversation.end_stream()

    upstream.answers(script)

    async with asyncio.timeout(10), gateway.chat(body) as response:
        for number in range(5):  # the head has come although there is no event yet
            seen.release()
            assert await response.content.readuntil(b"\n\n") == event(number)
        assert await response.read() == DONE


async def test_an_unfinished_event_is_passed_on_when_the_client_asked_for_usage(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    upstream.answers_until_hung_up(event(1)[:10])

    async with asyncio.timeout(10), gateway.chat(STREAM_WITH_USAGE) as response:
        assert await response.content.readexactly(10) == event(1)[:10]


@pytest.mark.parametrize("path", list(DIALECTS))
async def test_each_endpoint_reaches_its_own_path_with_its_own_headers(
    start: Start, upstream: FakeUpstream, path: str
) -> None:
    gateway = await start()
    upstream.answers_whole(b"{}")
    sent = {"anthropic-version": "2023-06-01", "anthropic-beta": "a,b", "x-stainless-lang": "x"}

    async with gateway.http.post(
        gateway.url + path,
        json={"model": "m", "input": "x"},
        headers={**gateway.headers(), **sent},
    ) as response:
        assert await response.read() == b"{}"

    (received,) = upstream.received
    assert received.line == f"POST {path} HTTP/1.1"
    assert (b"vllm_xargs" in received.body) is DIALECTS[path].marked
    came = {name for name in sent if name in received.headers}
    assert came == ({"anthropic-version", "anthropic-beta"} if "messages" in path else set())


async def test_tokens_of_a_stream_that_is_hung_up_are_counted(
    start: Start, upstream: FakeUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "proxy.settle")
    gateway = await start()
    upstream.answers_until_hung_up(event(1) + event(2), event(3))
    async with asyncio.timeout(10):
        async with gateway.chat(STREAM) as response:
            for number in (1, 2, 3):
                assert await response.content.readuntil(b"\n\n") == event(number)
            response.close()
        await upstream.hung_up.wait()

    (line,) = await gateway.stop()

    assert (line["prompt_tokens"], line["completion_tokens"]) == (None, 3)
    (logged,) = [record for record in caplog.records if record.message == "call"]
    assert vars(logged)["fields"]["usage_source"] == "counted"


async def test_an_engine_that_quotes_the_request_in_an_error_does_not_show_the_ticket(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()

    async def script(conversation: Conversation) -> None:
        quoted = json.dumps({"error": {"message": repr(json.loads(conversation.request.body))}})
        await conversation.whole(quoted.encode(), "400 Bad Request")

    upstream.answers(script)

    async with gateway.chat() as response:
        body = await response.read()
        assert (response.status, len(body)) == (400, int(response.headers["content-length"]))

    ticket = json.loads(upstream.received[0].body)["vllm_xargs"]["azeotrope"]
    assert b"'azeotrope': '***" in body
    assert ticket.encode() not in body
    assert ticket[:16].encode() not in body


async def test_a_client_that_hangs_up_while_waiting_cancels_the_engine(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    upstream.answers_until_hung_up()
    call = asyncio.create_task(_read(gateway, question()))
    async with asyncio.timeout(10):
        await upstream.arrived.wait()
        call.cancel()
        await upstream.hung_up.wait()

    lines = await gateway.stop()

    assert [(line["status"], line["end"]) for line in lines] == [(499, "client_closed")]


@pytest.mark.parametrize("body", [STREAM, STREAM_WITH_USAGE])
async def test_a_client_that_hangs_up_in_a_stream_cancels_the_engine(
    start: Start, upstream: FakeUpstream, body: dict[str, Any]
) -> None:
    gateway = await start()
    upstream.answers_until_hung_up(event(1))
    async with asyncio.timeout(10):
        async with gateway.chat(body) as response:
            await response.content.readuntil(b"\n\n")
            response.close()
        await upstream.hung_up.wait()

    lines = await gateway.stop()

    assert [(line["status"], line["end"]) for line in lines] == [(200, "client_closed")]


async def test_a_client_that_reads_too_slowly_holds_up_the_engine_not_our_memory(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    piece, sent = b"data: " + b"x" * 65_530, 0
    stuck = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        nonlocal sent
        await conversation.begin_stream()
        while True:
            try:
                async with asyncio.timeout(1):
                    await conversation.chunk(piece)
            except TimeoutError:
                stuck.set()
                await conversation.until_hung_up()
                return
            sent += len(piece)

    upstream.answers(script)
    host, port = gateway.url.removeprefix("http://").split(":")
    client = socket.create_connection((host, int(port)))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.sendall(_head(gateway, STREAM_WITH_USAGE))

    async with asyncio.timeout(60):
        await stuck.wait()  # nobody read a byte, and the engine had to stop

    client.close()
    # What fits into the buffers of kernel and gateway on both sides, and no more.
    assert sent < 16 * 2**20


async def test_a_client_that_never_reads_is_cut_and_its_engine_cancelled(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start(limits={"write_timeout_s": 0.1})

    async def script(conversation: Conversation) -> None:
        await conversation.begin_stream()
        try:
            while True:
                await conversation.chunk(b"data: " + b"x" * 65_530)
        except ConnectionError:
            upstream.hung_up.set()

    upstream.answers(script)
    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(_head(gateway, STREAM_WITH_USAGE))
        async with asyncio.timeout(60):
            await upstream.hung_up.wait()

    (line,) = await gateway.stop()
    assert line["end"] == "client_closed"


async def test_an_engine_that_dies_in_a_stream_is_never_a_clean_end(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()

    async def script(conversation: Conversation) -> None:
        await conversation.begin_stream()
        await conversation.chunk(event(1) + event(2)[:9])
        conversation.reset()

    upstream.answers(script)

    async with gateway.chat(STREAM) as response:
        assert await response.content.readuntil(b"\n\n") == event(1)
        last = await response.content.readuntil(b"\n\n")
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()

    error = json.loads(last.removeprefix(b"data: "))["error"]
    assert (error["type"], error["code"]) == ("server_error", "upstream_error")
    lines = await gateway.stop()
    assert [(line["status"], line["end"]) for line in lines] == [(200, "upstream_error")]


async def test_an_error_is_not_glued_to_an_unfinished_event(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()

    async def script(conversation: Conversation) -> None:
        await conversation.begin_stream()
        await conversation.chunk(event(1)[:9])
        conversation.reset()

    upstream.answers(script)
    host, port = gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(_head(gateway, STREAM_WITH_USAGE))

    answer = await reader.read()  # neither an error, nor [DONE], nor the last chunk

    assert answer.partition(b"\r\n\r\n")[2] == b"9\r\n" + event(1)[:9] + b"\r\n"
    writer.close()


async def test_a_stream_that_falls_silent_is_cut_with_an_error(
    start: Start, upstream: FakeUpstream, site: Site
) -> None:
    site.content["upstreams"][0]["timeouts"] = {"idle": 0.05}
    gateway = await start()
    upstream.answers_until_hung_up(event(1))

    async with gateway.chat(STREAM) as response:
        assert await response.content.readuntil(b"\n\n") == event(1)
        assert b'"code":"upstream_timeout"' in await response.content.readuntil(b"\n\n")
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()

    async with asyncio.timeout(10):
        await upstream.hung_up.wait()
    lines = await gateway.stop()
    assert [line["end"] for line in lines] == ["upstream_timeout"]


# Path; an event; last words, of which each is an end of its own; the error that is told without.
DELTA = b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta"}\n\n'
BLOCK = b'event: content_block_delta\ndata: {"type":"content_block_delta"}\n\n'
ENDS = {
    "/v1/chat/completions": (event(1), [DONE, b'data: {"error":{}}\n\n'], b'data: {"error":'),
    "/v1/completions": (event(1), [DONE, b'data: {"error":{}}\n\n'], b'data: {"error":'),
    "/v1/responses": (
        DELTA,
        [
            b'event: %b\ndata: {"response":{},"type":"%b"}\n\n' % (name, name)
            for name in (b"response.completed", b"response.incomplete", b"response.failed")
        ]
        + [b'event: error\ndata: {"type":"error","code":null}\n\n'],
        b'event: error\ndata: {"type":"error","code":"upstream_error"',
    ),
    "/v1/messages": (
        BLOCK,
        [
            b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
            b'event: error\ndata: {"type":"error","error":{}}\n\n',
        ],
        b'event: error\ndata: {"type":"error","error":{"type":"api_error"',
    ),
}


@pytest.mark.parametrize("framed", [True, False])
@pytest.mark.parametrize("path", list(ENDS))
async def test_a_stream_is_complete_only_with_its_last_word(
    start: Start, upstream: FakeUpstream, path: str, framed: bool
) -> None:
    gateway = await start()
    begun, last_words, told = ENDS[path]
    last = b""

    async def script(conversation: Conversation) -> None:
        if framed:
            await conversation.begin_stream()
            await conversation.chunk(begun + last)
            await conversation.end_stream()
        else:
            await conversation.head(content_type="text/event-stream")
            await conversation.send(begun + last)

    upstream.answers(script)

    def ask() -> Any:
        body = {"model": "m", "stream": True}
        return gateway.http.post(gateway.url + path, json=body, headers=gateway.headers())

    for last in last_words:
        async with ask() as response:
            assert await response.read() == begun + last
    last = b""
    async with ask() as response:
        assert await response.content.readuntil(b"\n\n") == begun
        received = await response.content.readuntil(b"}\n\n")
        assert received.startswith(told)
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()

    *complete, cut = await gateway.stop()
    assert {line["end"] for line in complete} == {"complete"}
    assert cut["end"] == "upstream_error"


async def test_an_old_client_sees_a_reset_where_it_cannot_see_a_missing_chunk(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    go_on = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.begin_stream()
        await conversation.chunk(event(1))
        await go_on.wait()
        conversation.reset()

    upstream.answers(script)
    host, port = gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(_head(gateway, STREAM).replace(b"HTTP/1.1", b"HTTP/1.0"))
    await reader.readuntil(event(1))
    go_on.set()

    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


async def test_small_packets_are_not_held_back_by_the_kernel(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    upstream.answers_until_hung_up(event(1))

    async with gateway.chat(STREAM):
        (connection,) = [
            one for one in gateway.gateway._listener.connections if one.transport is not None
        ]
        sock = connection.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_a_connection_serves_one_call_after_another(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    upstream.answers_stream(event(1), DONE)

    for _ in range(3):
        assert await _read(gateway, STREAM) == event(1) + DONE

    assert len(gateway.gateway._listener.connections) == 1


async def _read(gateway: Running, body: dict[str, Any]) -> bytes:
    async with gateway.chat(body) as response:
        return bytes(await response.read())


def _head(gateway: Running, body: dict[str, Any]) -> bytes:
    content = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {gateway.site.key}\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content
