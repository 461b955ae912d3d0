"""SIGHUP: the configuration is read again, and no client notices."""

from __future__ import annotations

import asyncio
import os
import signal

import aiohttp
import pytest
from fake_upstream import FakeUpstream
from running import Site
from serving import Server, serving
from test_workers import DONE, Engine, ask, streams
from waiting import eventually

KEPT = 'azeotrope_config_reloads_total{result="failed"}'
CHANGED = 'azeotrope_config_reloads_total{result="done"}'


@pytest.fixture
def engine(site: Site, upstream: FakeUpstream) -> Engine:
    site.content["upstreams"][0]["url"] = upstream.url
    return Engine(upstream)


async def _ask_on(server: Server, until: asyncio.Event) -> int:
    """Ask without pause on connections that are kept alive; every answer must be good."""
    asked = 0
    async with aiohttp.ClientSession() as http:
        while not until.is_set():
            async with server.chat(http) as response:
                assert response.status == 200
                await response.read()
                asked += 1
    return asked


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_reload_under_load_refuses_nothing_and_cuts_nothing(
    site: Site, engine: Engine, workers: int
) -> None:
    async with (
        serving(site, "--workers", str(workers)) as server,
        streams(server, 10) as responses,
    ):
        before = await server.pids()
        enough = asyncio.Event()
        clients = [asyncio.create_task(_ask_on(server, enough)) for _ in range(8)]
        site.content["upstreams"][0]["models"]["later"] = "l"
        site.write()
        server.process.send_signal(signal.SIGHUP)
        changed = await server.log_until("config_reloaded")
        assert "later" in changed["models"]
        assert set(before).isdisjoint(await server.pids())
        async with aiohttp.ClientSession() as http, server.chat(http, model="later") as response:
            assert response.status == 200
        await eventually(lambda: _streams(server, 10))
        enough.set()
        assert all(await asyncio.gather(*clients))
        engine.go_on.set()
        assert [await response.read() for response in responses] == [DONE] * 10
        assert (await server.metrics())[CHANGED] == 1
        server.process.send_signal(signal.SIGTERM)
        assert await server.ended() == 0


async def test_retired_workers_end_once_their_connections_have(site: Site, engine: Engine) -> None:
    async with serving(site) as server:
        async with streams(server, 1) as responses:
            assert await _workers(server, 1, 0)
            server.process.send_signal(signal.SIGHUP)
            await server.log_until("config_reloaded")
            await eventually(lambda: _workers(server, 1, 1))
            engine.go_on.set()
            await responses[0].read()
        await eventually(lambda: _workers(server, 1, 0))


async def test_a_bad_configuration_changes_nothing(site: Site, engine: Engine) -> None:
    good = dict(site.content)
    cases: list[tuple[dict[str, object], str]] = [
        ({"tiers": "none"}, "tiers"),
        ({"keyring": "none.json"}, "none.json: no such key file"),
        ({"listen": {"port": 1}}, "listen: expected no change while running"),
    ]
    async with serving(site) as server:
        before = await server.pids()
        for times, (broken, reason) in enumerate(cases, 1):
            site.content = good | broken
            site.write()
            server.process.send_signal(signal.SIGHUP)
            kept = await server.log_until("config_kept", times)
            assert reason in kept["reason"]
            assert (await server.pids(), await ask(server)) == (before, [200])
            assert (await server.metrics())[KEPT] == times


async def test_a_worker_that_is_replaced_gets_what_was_validated_not_what_the_file_says(
    site: Site, engine: Engine
) -> None:
    async with serving(site) as server:
        site.file.write_text("not: a configuration")
        (pid,) = await server.pids()
        os.kill(pid, signal.SIGKILL)
        await server.log_until("worker_died")
        await eventually(lambda: _workers(server, 1, 0))
        assert await ask(server) == [200]


async def _streams(server: Server, count: int) -> bool:
    return (await server.metrics())["azeotrope_open_streams"] == count


async def _workers(server: Server, serving: int, retiring: int) -> bool:
    workers = (await server.ready())[1]["workers"]
    return (workers["serving"], workers["retiring"]) == (serving, retiring)
