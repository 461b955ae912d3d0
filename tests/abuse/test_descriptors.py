"""More clients than file descriptors: the gateway serves on, says so once, and stays idle."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import psutil
from aftermath import until
from asking import GOOD
from fake_upstream import FakeUpstream
from running import Site
from wire import DEADLINE_S, Wire, post

DESCRIPTORS = 256
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
STREAM = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}'


class Server:
    """`azeotrope serve` with few file descriptors."""

    def __init__(self, process: Process, site: Site) -> None:
        self.process, self.key = process, site.key
        self.statistics = psutil.Process(process.pid)
        self.port = 0
        self.events: list[str] = []

    async def read_log(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            record = json.loads(line)
            self.events.append(record["event"])
            if record["event"] == "listening":
                self.port = int(record["url"].rpartition(":")[2])

    async def connect(self) -> Wire:
        return Wire(*await asyncio.open_connection("127.0.0.1", self.port), self.key)

    async def answers(self) -> bool:
        wire = await self.connect()
        await wire.send(post())
        good = (await wire.answer()).body == GOOD
        wire.reset()
        return good

    async def cpu_share(self) -> float:
        """Share of a core that it takes while nobody asks for anything."""
        before = sum(self.statistics.cpu_times()[:2])
        await asyncio.sleep(1.0)
        return sum(self.statistics.cpu_times()[:2]) - before


@asynccontextmanager
async def serving(site: Site, upstream: FakeUpstream) -> AsyncIterator[Server]:
    site.content["upstreams"][0]["url"] = upstream.url
    site.write()

    def restrict() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS // 2, DESCRIPTORS))

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy", "serve"),
        cwd=site.directory,
        stderr=PIPE,
        preexec_fn=restrict,
    )
    server = Server(process, site)
    reading = asyncio.create_task(server.read_log())
    try:
        await until(lambda: server.port != 0 or process.returncode is not None)
        yield server
        process.terminate()
        async with asyncio.timeout(DEADLINE_S):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
        await reading


async def test_silent_connections_give_way_to_clients_that_ask(
    site: Site, upstream: FakeUpstream
) -> None:
    async with serving(site, upstream) as server, AsyncExitStack() as stack:
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
        assert server.statistics.num_fds() <= DESCRIPTORS
        stream.reset()

    assert server.events.count("connections_full") == 1
    assert "internal_error" not in server.events


async def test_without_any_descriptor_left_it_refuses_and_recovers(
    site: Site, upstream: FakeUpstream
) -> None:
    upstream.answers_whole(GOOD)
    async with serving(site, upstream) as server:
        assert await server.answers()
        used = server.statistics.num_fds()
        assert used < DESCRIPTORS
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (used, DESCRIPTORS))

        crowd = [await server.connect() for _ in range(50)]
        assert await server.cpu_share() < 0.5
        for wire in crowd:
            wire.reset()

        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
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
