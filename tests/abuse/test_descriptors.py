"""More clients than file descriptors: the gateway serves on, says so once, and stays idle."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import psutil
import pytest
from asking import GOOD
from fake_upstream import FakeUpstream
from running import Site
from serving import Server, serving
from wire import DEADLINE_S, Wire, post

DESCRIPTORS = 256
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
STREAM = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}'


@pytest.fixture
async def server(site: Site, upstream: FakeUpstream) -> AsyncIterator[Server]:
    """A gateway in a process of its own, whose descriptors and time are its alone."""
    site.content["upstreams"][0]["url"] = upstream.url
    async with serving(site, descriptors=DESCRIPTORS) as server:
        yield server
        server.process.terminate()
        assert await server.ended() == 0
    assert "internal_error" not in events(server)


def events(server: Server) -> list[str]:
    return [line["event"] for line in server.log]


def worker(server: Server) -> psutil.Process:
    """The process that serves; the other one watches over it."""
    (child,) = psutil.Process(server.process.pid).children()
    return child


async def connect(server: Server) -> Wire:
    port = int(server.url.rpartition(":")[2])
    return Wire(*await asyncio.open_connection("127.0.0.1", port), server.site.key)


async def answers(server: Server) -> bool:
    wire = await connect(server)
    await wire.send(post())
    good = (await wire.answer()).body == GOOD
    wire.reset()
    return good


async def cpu_share(server: Server) -> float:
    """Share of a core that it takes while nobody asks for anything."""
    before = sum(worker(server).cpu_times()[:2])
    await asyncio.sleep(1.0)
    return sum(worker(server).cpu_times()[:2]) - before


async def test_silent_connections_give_way_to_clients_that_ask(
    server: Server, upstream: FakeUpstream
) -> None:
    async with AsyncExitStack() as stack:
        upstream.answers_until_hung_up(EVENT)
        stream = await connect(server)
        await stream.send(post(body=STREAM))
        await stream.reader.readuntil(EVENT)
        upstream.answers_whole(GOOD)

        silent = [await connect(server) for _ in range(1_000)]
        stack.callback(lambda: [wire.reset() for wire in silent])

        for _ in range(5):
            assert await answers(server)
        assert await cpu_share(server) < 0.5
        # The oldest had to go, those that came last stay, and a call gives way to nobody.
        assert await silent[0].is_closed()
        assert not silent[-1].reader.at_eof()
        assert not stream.reader.at_eof()
        assert worker(server).num_fds() <= DESCRIPTORS
        stream.reset()

    await server.log_until("connections_full")
    assert events(server).count("connections_full") == 1


async def test_without_any_descriptor_left_it_refuses_and_recovers(
    server: Server, upstream: FakeUpstream
) -> None:
    upstream.answers_whole(GOOD)
    assert await answers(server)
    used = worker(server).num_fds()
    assert used < DESCRIPTORS
    resource.prlimit(worker(server).pid, resource.RLIMIT_NOFILE, (used, DESCRIPTORS))

    crowd = [await connect(server) for _ in range(50)]
    assert await cpu_share(server) < 0.5
    for wire in crowd:
        wire.reset()

    resource.prlimit(worker(server).pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    async with asyncio.timeout(DEADLINE_S):
        while not await _answers_at_all(server):
            pass
    assert await answers(server)


async def _answers_at_all(server: Server) -> bool:
    try:
        return await answers(server)
    except (ConnectionError, asyncio.IncompleteReadError):
        return False
