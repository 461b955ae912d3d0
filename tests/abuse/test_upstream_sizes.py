"""Answers without measure: whatever an upstream sends, and however slowly clients read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import psutil
import pytest
from fake_upstream import Conversation, FakeUpstream
from running import Site, question
from serving import Server, serving

MEGABYTE = 1 << 20


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
