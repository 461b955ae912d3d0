"""Upstreams are watched: an unhealthy one gets calls only if there is no other."""

from __future__ import annotations

import asyncio
import logging

import pytest
from asking import GOOD
from fake_upstream import FakeUpstream
from persistent import ANSWER, PersistentUpstream
from running import Running, Site, Start
from several import entry, pair, second, status_of, until_metric

__all__ = ["second"]
OFTEN = {"interval_s": 0.02}


def up(name: str) -> str:
    return f'azeotrope_upstream_up{{upstream="{name}"}}'


async def test_an_unhealthy_upstream_is_passed_over_until_it_is_well(
    start: Start, upstream: FakeUpstream, second: FakeUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    upstream.health = "500 Ill"
    gateway = await start(upstreams=pair(upstream, second, health=OFTEN))
    for server in (upstream, second):
        server.answers_whole(GOOD)
    await until_metric(gateway, up("one"), 0)

    for _ in range(4):
        assert await status_of(gateway) == 200
    assert (len(upstream.received), len(second.received)) == (0, 4)
    assert await gateway.metric(up("two")) == 1
    status, state = await gateway.ready()
    assert (status, state["upstreams"]) == (200, {"one": False, "two": True})

    upstream.health = "404 Not here"  # it answers: that is all that is asked
    await until_metric(gateway, up("one"), 1)
    for _ in range(4):
        assert await status_of(gateway) == 200
    assert len(upstream.received) == 2
    told = [record.message for record in caplog.records if "upstream_" in record.message]
    assert told == ["upstream_down", "upstream_up"]


async def test_a_lone_upstream_is_used_whatever_the_looks_say(
    start: Start, upstream: FakeUpstream
) -> None:
    upstream.health = "503 Loading"
    gateway = await start(upstreams=[entry("one", upstream.url, health=OFTEN)])
    upstream.answers_whole(GOOD)
    await until_metric(gateway, up("one"), 0)

    assert await status_of(gateway) == 200


async def test_one_that_refuses_or_stalls_is_unhealthy(
    start: Start, upstream: FakeUpstream, second: FakeUpstream, site: Site
) -> None:
    upstream.goes_down()
    second.health_stalls = True
    gateway = await start(upstreams=pair(upstream, second, health={**OFTEN, "timeout_s": 0.1}))

    await until_metric(gateway, up("one"), 0)
    await until_metric(gateway, up("two"), 0)
    assert (await gateway.ready())[0] == 503


async def test_looks_carry_the_key_and_the_configured_path(
    start: Start, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGINE_KEY", "sk-engine")
    settings = entry(
        "one",
        upstream.url + "/base",
        api_key_env="ENGINE_KEY",
        auth="x-api-key",
        health={"path": "/health", **OFTEN},
    )
    upstream.answers_whole(b"well")
    await start(upstreams=[settings])

    async with asyncio.timeout(10):
        await upstream.arrived.wait()
    look = upstream.received[0]
    assert look.line == "GET /base/health HTTP/1.1"
    assert look.headers["x-api-key"] == "sk-engine"
    assert "authorization" not in look.headers


async def test_without_a_path_nothing_is_asked(start: Start, upstream: FakeUpstream) -> None:
    gateway: Running = await start(
        upstreams=[entry("one", upstream.url, health={"path": None, **OFTEN})]
    )
    upstream.answers_whole(GOOD)

    assert (await gateway.ready())[0] == 200
    assert await status_of(gateway) == 200
    assert upstream.looks == 0


async def test_an_engine_that_closes_a_kept_connection_is_not_ill(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async with PersistentUpstream(lambda _, request: None if request else ANSWER) as engine:
        gateway = await start(upstreams=[entry("one", engine.url, health=OFTEN)])
        async with asyncio.timeout(30):
            while len(engine.requests) < 6:  # noqa: ASYNC110 (of the engine's sockets)
                await asyncio.sleep(0.005)
        status, state = await gateway.ready()

    assert (status, state["upstreams"]) == (200, {"one": True})
    assert "upstream_down" not in [record.message for record in caplog.records]
