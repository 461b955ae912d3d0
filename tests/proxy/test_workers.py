"""Several workers serve as one process does: limits, metrics, readiness, ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from fake_upstream import Conversation, FakeUpstream
from running import Site
from serving import Server, serving
from waiting import eventually

from proxy.workers.supervisor import _together

EVENT = b'data: {"choices":[{}]}\n\n'
DONE = b"data: [DONE]\n\n"
GOOD = b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}'
TICKETS = "azeotrope_tickets_signed_total"


class Engine:
    """Answers whole at once, and streams until the test says that they may end."""

    def __init__(self, upstream: FakeUpstream) -> None:
        self.go_on = asyncio.Event()
        upstream.answers(self._script)

    async def _script(self, conversation: Conversation) -> None:
        if not json.loads(conversation.request.body or b"{}").get("stream"):
            await conversation.whole(GOOD)
            return
        await conversation.begin_stream()
        await conversation.chunk(EVENT)
        await self.go_on.wait()
        await conversation.chunk(DONE)
        await conversation.end_stream()


@pytest.fixture
def engine(site: Site, upstream: FakeUpstream) -> Engine:
    site.content["upstreams"][0]["url"] = upstream.url
    site.content["limits"] = {"drain_timeout_s": 60}
    return Engine(upstream)


@asynccontextmanager
async def streams(server: Server, count: int) -> AsyncIterator[list[aiohttp.ClientResponse]]:
    """That many streams, each on its own connection and past its first event."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        )
        calls = [stack.enter_async_context(server.chat(http, stream=True)) for _ in range(count)]
        responses = await asyncio.gather(*calls)
        for response in responses:
            assert await response.content.readuntil(b"\n\n") == EVENT
        yield responses


async def ask(server: Server, times: int = 1) -> list[int]:
    """Ask on new connections, one after the other; return the statuses."""
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector) as http:
        statuses = []
        for _ in range(times):
            async with server.chat(http) as response:
                await response.read()
                statuses.append(response.status)
    return statuses


def registry_lines(site: Site) -> list[dict[str, Any]]:
    """Return the lines of all workers' files."""
    files = site.directory.glob("calls*.jsonl")
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


async def test_each_worker_serves_alone_when_it_must(site: Site, engine: Engine) -> None:
    async with serving(site, "--workers", "2") as server:
        for pid in await server.pids():
            os.kill(pid, signal.SIGSTOP)
            try:
                async with asyncio.timeout(30):
                    assert await ask(server, 5) == [200] * 5
            finally:
                os.kill(pid, signal.SIGCONT)
        await eventually(lambda: _is(server, TICKETS, 10))


async def test_sigterm_under_load_cuts_no_stream(site: Site, engine: Engine) -> None:
    async with serving(site, "--workers", "2") as server, streams(server, 50) as responses:
        await eventually(lambda: _is(server, "azeotrope_open_streams", 50))
        server.process.send_signal(signal.SIGTERM)
        await server.log_until("draining")
        status, state = await server.ready()
        assert (status, state["ready"], state["draining"]) == (503, False, True)
        with pytest.raises(aiohttp.ClientConnectorError):
            await ask(server)
        engine.go_on.set()
        bodies = await asyncio.gather(*(response.read() for response in responses))
        assert bodies == [DONE] * 50
        assert await server.ended() == 0

    assert [line["end"] for line in registry_lines(site)] == ["complete"] * 50


async def test_a_second_signal_cuts_the_streams_of_every_worker(site: Site, engine: Engine) -> None:
    async with serving(site, "--workers", "2") as server, streams(server, 8) as responses:
        server.process.send_signal(signal.SIGTERM)
        await server.log_until("draining")
        server.process.send_signal(signal.SIGTERM)
        for response in responses:
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
        assert await server.ended() == 0

    assert [line["end"] for line in registry_lines(site)] == ["drained"] * 8


async def test_a_killed_worker_is_replaced_and_what_it_counted_is_kept(
    site: Site, engine: Engine
) -> None:
    async with serving(site, "--workers", "2") as server:
        await ask(server, 20)
        await eventually(lambda: _is(server, TICKETS, 20))
        for times, pid in enumerate(await server.pids(), start=1):
            os.kill(pid, signal.SIGKILL)
            died = await server.log_until("worker_died", times)
            assert died["reason"] == "a worker ended with status -9"
            assert await ask(server, 5) == [200] * 5
            await eventually(lambda total=20 + 5 * times: _is(server, TICKETS, total))
        await eventually(lambda: _serving(server, 2))
        series = await server.metrics()
        assert series["azeotrope_worker_restarts_total"] == 2
        assert series['azeotrope_tokens_total{direction="out",model="m"}'] == 60
        assert series["azeotrope_upstream_seconds_count"] == 30
        assert series["azeotrope_open_calls"] == 0


async def test_sigterm_to_one_worker_drains_it_and_another_comes(
    site: Site, engine: Engine
) -> None:
    async with serving(site, "--workers", "1") as server, streams(server, 3) as responses:
        (before,) = await server.pids()
        os.kill(before, signal.SIGTERM)
        engine.go_on.set()
        assert [await response.read() for response in responses] == [DONE] * 3
        await server.log_until("worker_died")
        await eventually(lambda: _serving(server, 1))
        assert await ask(server) == [200]


async def test_limits_hold_across_workers_with_the_embedded_store(
    site: Site, engine: Engine
) -> None:
    site.content["redis"] = {"deadline_ms": 5000}
    site.content["tiers"]["hundred"] = {"requests_per_minute": 100, "burst": 100}
    key = site.add("bob", "hundred")
    async with serving(site, "--workers", "2") as server:
        connector = aiohttp.TCPConnector(limit=16, force_close=True)
        begun = time.monotonic()
        async with aiohttp.ClientSession(connector=connector) as http:

            async def one() -> int:
                async with server.chat(http, key) as response:
                    await response.read()
                    return int(response.status)

            statuses = await asyncio.gather(*(one() for _ in range(250)))
        came_back = int((time.monotonic() - begun) / 0.6) + 1

    assert set(statuses) == {200, 429}
    assert 100 <= statuses.count(200) <= 100 + came_back


async def test_when_the_supervisor_is_killed_streams_end_and_nothing_is_left(
    site: Site, engine: Engine
) -> None:
    async with serving(site, "--workers", "2") as server, streams(server, 6) as responses:
        pids = await server.pids()
        (shared,) = {_metrics_directory(pid) for pid in pids}
        server.process.kill()
        await server.process.wait()
        engine.go_on.set()
        assert [await response.read() for response in responses] == [DONE] * 6
        await eventually(lambda: _gone(pids))
        assert not shared.exists()


async def test_when_no_worker_can_be_started_any_more_the_reason_is_told(
    site: Site, engine: Engine
) -> None:
    async with serving(site, "--workers", "1") as server:
        (pid,) = await server.pids()
        accounts = site.directory / "accounts.json"
        accounts.write_text("no accounts")
        os.kill(pid, signal.SIGKILL)
        assert await server.ended() == 2

    (line,) = server.other_lines
    assert line.startswith(f"azeotrope: error: {accounts.name}") or str(accounts) in line


async def _is(server: Server, series: str, value: float) -> bool:
    return (await server.metrics()).get(series) == value


async def _serving(server: Server, workers: int) -> bool:
    status, state = await server.ready()
    return status == 200 and state["workers"]["serving"] == workers


async def _gone(pids: list[int]) -> bool:
    return not any(_lives(pid) for pid in pids)


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # the supervisor that would have waited for it is dead


def _metrics_directory(pid: int) -> Path:
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    found = [each for each in variables if each.startswith(b"PROMETHEUS_MULTIPROC_DIR=")]
    return Path(found[0].partition(b"=")[2].decode())


def test_what_is_wrong_with_one_worker_is_wrong() -> None:
    good = {"limits": "store", "registry": True, "upstreams": {"a": True, "b": True}}

    for name, bad in (
        ("limits", "local"),
        ("registry", False),
        ("upstreams", {"a": True, "b": False}),
    ):
        ill = {**good, name: bad}
        assert _together([good, ill]) == _together([ill, good]) == ill
    assert _together([good, good]) == good
