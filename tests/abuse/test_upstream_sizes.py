"""Answers without measure: whatever an upstream sends, and however slowly clients read."""

from __future__ import annotations

import json
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import aiohttp
import psutil
import pytest
from fake_upstream import Conversation, FakeUpstream
from running import Site, question
from serving import Server, serving
from waiting import eventually

MEGABYTE = 1 << 20
STREAMS = 1000
QUIET_LOOKS = 10
BOUND = 200 * MEGABYTE


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Both ends of all connections are in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@asynccontextmanager
async def gateway(site: Site, upstream: FakeUpstream) -> AsyncIterator[Server]:
    """A gateway in a process of its own, whose memory is its own."""
    site.content["upstreams"][0]["url"] = upstream.url
    async with serving(site) as server:
        yield server


def memory(server: Server) -> int:
    """Resident bytes of the gateway and its children."""
    process = psutil.Process(server.process.pid)
    processes = [process, *process.children(recursive=True)]
    return sum(process.memory_info().rss for process in processes)


async def warm(server: Server, upstream: FakeUpstream, http: aiohttp.ClientSession) -> None:
    upstream.answers_stream(b"data: [DONE]\n\n")
    async with http.post(
        f"{server.url}/v1/chat/completions",
        json=question(stream=True),
        headers={"authorization": f"Bearer {server.site.key}"},
    ) as response:
        assert await response.read() == b"data: [DONE]\n\n"


@pytest.mark.parametrize("asks_for_usage", [False, True])
async def test_an_event_of_100_mb_passes_through_little_memory(
    site: Site, upstream: FakeUpstream, asks_for_usage: bool
) -> None:
    size = 100 * MEGABYTE
    async with gateway(site, upstream) as server, aiohttp.ClientSession() as http:
        await warm(server, upstream, http)
        before = most = memory(server)

        async def script(conversation: Conversation) -> None:
            await conversation.begin_stream()
            await conversation.chunk(b"data: ")
            for _ in range(size // MEGABYTE):
                await conversation.chunk(b"x" * MEGABYTE)
            await conversation.chunk(b"\n\ndata: [DONE]\n\n")
            await conversation.end_stream()

        upstream.answers(script)
        body = question(stream=True, stream_options={"include_usage": asks_for_usage})
        received = counted = 0
        async with http.post(
            f"{server.url}/v1/chat/completions",
            json=body,
            headers={"authorization": f"Bearer {site.key}"},
        ) as response:
            async for piece in response.content.iter_any():
                received += len(piece)
                if received > counted + 5 * MEGABYTE:
                    counted, most = received, max(most, memory(server))

        assert received == size + len(b"data: \n\ndata: [DONE]\n\n")
        assert most - before < 30 * MEGABYTE


async def test_a_thousand_stalled_clients_hold_little_memory(
    site: Site, upstream: FakeUpstream, many_descriptors: None
) -> None:
    event = b"data: " + json.dumps({"choices": [{"delta": {"content": "x" * 900}}]}).encode()
    chunk = (event + b"\n\n") * 16
    sent: dict[int, int] = {}

    async def pours(conversation: Conversation) -> None:
        number = len(sent)
        sent[number] = 0
        # As for clients: what the kernel holds of a stream is not what is tested, and takes time.
        conversation.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        with suppress(ConnectionError):
            await conversation.begin_stream()
            while True:
                await conversation.chunk(chunk)
                sent[number] += len(chunk)

    async with gateway(site, upstream) as server, aiohttp.ClientSession() as http:
        await warm(server, upstream, http)
        before = memory(server)
        upstream.answers(pours)
        clients = [client(server) for _ in range(STREAMS)]
        try:
            poured = quiet = 0

            async def all_stall() -> bool:
                nonlocal poured, quiet
                last, poured = poured, sum(sent.values())
                quiet = quiet + 1 if len(sent) == STREAMS and poured == last else 0
                return quiet == QUIET_LOOKS

            await eventually(all_stall, within_s=240)  # 7 s of CPU
            assert memory(server) - before <= BOUND
        finally:
            for each in clients:
                each.close()


def client(server: Server) -> socket.socket:
    """Ask for a stream, and read nothing of it."""
    host, port = server.url.removeprefix("http://").split(":")
    body = json.dumps(question(stream=True)).encode()
    asking = socket.socket()
    # Else the kernel keeps megabytes for each: more than the gateway does.
    asking.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    asking.connect((host, int(port)))
    asking.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"authorization: Bearer %b\r\ncontent-length: %d\r\n\r\n%b"
        % (server.site.key.encode(), len(body), body)
    )
    return asking
