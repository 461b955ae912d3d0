"""A gateway in a process of its own, whose descriptors, memory and time are its alone."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil
from aftermath import until
from asking import GOOD
from fake_upstream import FakeUpstream
from running import Site
from wire import DEADLINE_S, PROMPT, Wire, post


class Server:
    """`azeotrope serve`, and what can be seen of it from outside."""

    def __init__(self, process: Process, site: Site) -> None:
        self.process, self.key = process, site.key
        self.port = 0
        self.events: list[str] = []

    async def read_log(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            assert self.key not in line.decode()
            assert PROMPT not in line.decode()
            record = json.loads(line)
            self.events.append(record["event"])
            if record["event"] == "listening":
                self.port = int(record["url"].rpartition(":")[2])

    @property
    def worker(self) -> psutil.Process:
        """The process that serves; the other one watches over it."""
        (child,) = psutil.Process(self.process.pid).children()
        return child

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
        before = sum(self.worker.cpu_times()[:2])
        await asyncio.sleep(1.0)
        return sum(self.worker.cpu_times()[:2]) - before


@asynccontextmanager
async def serving(site: Site, upstream: FakeUpstream, descriptors: int) -> AsyncIterator[Server]:
    """Run a gateway that may have so many file descriptors, half of them at first."""
    site.content["upstreams"][0]["url"] = upstream.url
    site.write()

    def restrict() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors // 2, descriptors))

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
