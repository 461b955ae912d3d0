"""A running `azeotrope serve`, and what it says on standard error."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from running import Site, question
from waiting import PATIENCE_S

AZEOTROPE = [str(Path(sys.executable).with_name("azeotrope"))]


class Server:
    """The process, its addresses, and its log as it comes."""

    def __init__(self, process: Process, site: Site) -> None:
        self.process = process
        self.site = site
        self.log: list[dict[str, Any]] = []
        self.other_lines: list[str] = []
        self.url = self.admin_url = ""
        self._news = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            async with self._news:
                self.site.said.append(line.decode())
                if line.startswith(b"{"):
                    self.log.append(json.loads(line))
                else:
                    self.other_lines.append(line.decode())
                self._news.notify_all()

    async def log_until(self, event: str, times: int = 1) -> dict[str, Any]:
        """Return an event's line, once it has come `times` times."""

        def lines() -> list[dict[str, Any]]:
            return [line for line in self.log if line["event"] == event]

        async with asyncio.timeout(PATIENCE_S), self._news:
            await self._news.wait_for(lambda: len(lines()) >= times or self._reading.done())
        assert len(lines()) >= times, (event, self.log, self.other_lines)
        return lines()[times - 1]

    async def ended(self) -> int:
        """Return the exit status, once everything that was said is read."""
        async with asyncio.timeout(PATIENCE_S):
            status = await self.process.wait()
            await self._reading
        return status

    def chat(self, http: aiohttp.ClientSession, key: str | None = None, **fields: Any) -> Any:
        """Begin a chat completion; use as `async with`."""
        return http.post(
            f"{self.url}/v1/chat/completions",
            json=question(**fields),
            headers={"authorization": f"Bearer {key or self.site.key}"},
        )

    async def metrics(self) -> dict[str, float]:
        """Return every series with its value."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.admin_url}/metrics") as got:
            text = await got.text()
        self.site.said.append(text)
        lines = text.splitlines()
        series = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in series}

    async def ready(self) -> tuple[int, dict[str, Any]]:
        """Return the status and the content of /readyz."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.admin_url}/readyz") as got:
            return got.status, await got.json()

    async def pids(self) -> list[int]:
        """Return the process ids of the workers."""
        return list((await self.ready())[1]["workers"]["pids"])


@asynccontextmanager
async def serving(
    site: Site, *arguments: str, descriptors: int | None = None
) -> AsyncIterator[Server]:
    """Run `azeotrope serve` in a site's directory until it listens; kill what is left.

    It may have so many file descriptors, half of them at first.
    """
    site.write()

    def restrict() -> None:
        if descriptors is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors // 2, descriptors))

    process = await asyncio.create_subprocess_exec(
        *(*AZEOTROPE, "serve", *arguments),
        cwd=site.directory,
        stderr=PIPE,
        preexec_fn=restrict,
    )
    server = Server(process, site)
    try:
        started = await server.log_until("listening")
        server.url, server.admin_url = started["url"], started["admin_url"]
        yield server
    finally:
        if process.returncode is None:
            process.kill()
        await server.ended()
