"""More clients than file descriptors: the gateway serves on, says so once, and stays idle."""

from __future__ import annotations

import asyncio
import resource
from contextlib import AsyncExitStack

from asking import GOOD
from fake_upstream import FakeUpstream
from outside import Server, serving
from running import Site
from wire import DEADLINE_S, post

DESCRIPTORS = 256
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
STREAM = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}'


async def test_silent_connections_give_way_to_clients_that_ask(
    site: Site, upstream: FakeUpstream
) -> None:
    async with serving(site, upstream, DESCRIPTORS) as server, AsyncExitStack() as stack:
        upstream.answers_until_hung_up(EVENT)
        stream = await server.connect()
        await stream.send(post(body=STREAM))
        await stream.reader.readuntil(EVENT)
        upstream.answers_whole(GOOD)

        silent = [await server.connect() for _ in range(1_000)]
        stack.callback(lambda: [wire.reset() for wire in silent])

        for _ in range(5):
            assert await server.answers()
        assert await server.cpu_share() < 0.5
        # The oldest had to go, those that came last stay, and a call gives way to nobody.
        assert await silent[0].is_closed()
        assert not silent[-1].reader.at_eof()
        assert not stream.reader.at_eof()
        assert server.worker.num_fds() <= DESCRIPTORS
        stream.reset()

    assert server.events.count("connections_full") == 1
    assert "internal_error" not in server.events


async def test_without_any_descriptor_left_it_refuses_and_recovers(
    site: Site, upstream: FakeUpstream
) -> None:
    upstream.answers_whole(GOOD)
    async with serving(site, upstream, DESCRIPTORS) as server:
        assert await server.answers()
        used = server.worker.num_fds()
        assert used < DESCRIPTORS
        resource.prlimit(server.worker.pid, resource.RLIMIT_NOFILE, (used, DESCRIPTORS))

        crowd = [await server.connect() for _ in range(50)]
        assert await server.cpu_share() < 0.5
        for wire in crowd:
            wire.reset()

        resource.prlimit(server.worker.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        async with asyncio.timeout(DEADLINE_S):
            while not await _answers_at_all(server):
                pass
        assert await server.answers()

    assert "internal_error" not in server.events


async def _answers_at_all(server: Server) -> bool:
    try:
        return await server.answers()
    except (ConnectionError, asyncio.IncompleteReadError):
        return False
