"""Draining, and what operators see: no answer is cut that can end in time."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest
from fake_upstream import Conversation, FakeUpstream
from running import Running, Site, Start, question

EVENT = b'data: {"choices":[{}]}\n\n'
DONE = b"data: [DONE]\n\n"


class Gated:
    """An engine whose stream ends when the test says so."""

    def __init__(self, upstream: FakeUpstream) -> None:
        self.go_on = asyncio.Event()
        upstream.answers(self._script)

    async def _script(self, conversation: Conversation) -> None:
        await conversation.begin_stream()
        await conversation.chunk(EVENT)
        await self.go_on.wait()
        await conversation.chunk(DONE)
        await conversation.end_stream()


async def begun(gateway: Running) -> aiohttp.ClientResponse:
    response = await gateway.chat(question(stream=True))
    await response.content.readuntil(b"\n\n")
    return response


async def refused(url: str) -> bool:
    host, port = url.removeprefix("http://").split(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


async def test_a_drain_lets_a_stream_end_and_takes_no_new_one(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    engine = Gated(upstream)
    response = await begun(gateway)
    assert (await gateway.ready())[0] == 200

    drain = asyncio.create_task(gateway.gateway.drain())
    await asyncio.sleep(0)
    status, state = await gateway.ready()
    assert (status, state["ready"], state["draining"]) == (503, False, True)
    assert await refused(gateway.url)
    assert not drain.done()
    engine.go_on.set()

    assert await response.read() == DONE
    await drain
    lines = await gateway.stop()
    assert [line["end"] for line in lines] == ["complete"]


async def test_a_drain_ends_at_its_limit(start: Start, upstream: FakeUpstream) -> None:
    gateway = await start(limits={"drain_timeout_s": 0.05})
    Gated(upstream)
    response = await begun(gateway)

    lines = await gateway.stop()

    with pytest.raises(aiohttp.ClientPayloadError):
        await response.read()
    assert [(line["status"], line["end"]) for line in lines] == [(200, "drained")]


async def test_a_drain_can_be_cut_short(start: Start, upstream: FakeUpstream) -> None:
    gateway = await start(limits={"drain_timeout_s": 3600})
    Gated(upstream)
    response = await begun(gateway)
    stop = asyncio.create_task(gateway.stop())
    await asyncio.sleep(0)
    gateway.gateway.hurry()

    lines = await stop

    assert [line["end"] for line in lines] == ["drained"]
    response.close()


async def test_an_idle_connection_does_not_hold_up_a_drain(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start(limits={"drain_timeout_s": 3600})
    upstream.answers_stream(EVENT, DONE)
    async with gateway.chat(question(stream=True)) as response:
        await response.read()  # its connection is kept alive

    async with asyncio.timeout(10):
        await gateway.stop()


async def test_an_idle_connection_is_closed_when_a_drain_begins(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    engine = Gated(upstream)
    host, port = gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    response = await begun(gateway)

    drain = asyncio.create_task(gateway.gateway.drain())

    async with asyncio.timeout(10):
        assert await reader.read() == b""
    assert not drain.done()
    writer.close()
    engine.go_on.set()
    assert await response.read() == DONE


async def test_a_request_during_a_drain_is_503(start: Start, upstream: FakeUpstream) -> None:
    gateway = await start()
    gateway.gateway._endpoints.draining = True

    async with gateway.chat() as response:
        error = json.loads(await response.read())["error"]
        assert (response.status, error["code"]) == (503, "shutting_down")
        assert response.headers["connection"] == "close"


async def test_readiness_tells_which_engine_is_away(
    start: Start, upstream: FakeUpstream, site: Site
) -> None:
    site.content["upstreams"][0]["health"] = {"interval_s": 0.02}
    gateway = await start()
    status, state = await gateway.ready()
    assert status == 200
    assert state["upstreams"] == {"fake": True}
    assert state["keyring"] == {"epoch": 1}
    assert state["registry"] is True

    upstream.health = "503 Loading"
    async with asyncio.timeout(10):
        while status == 200:
            status, state = await gateway.ready()
    assert (status, state["upstreams"]) == (503, {"fake": False})


async def test_operators_paths_are_on_the_admin_port_only(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    for path in ("/metrics", "/healthz", "/readyz"):
        async with gateway.http.get(gateway.url + path) as response:
            assert response.status == 404
    async with gateway.http.get(f"{gateway.gateway.admin_url}/healthz") as response:
        assert (response.status, await response.json()) == (200, {"alive": True})
    async with gateway.http.post(f"{gateway.gateway.admin_url}/v1/chat/completions") as response:
        assert response.status == 404


async def test_metrics_count_requests_tokens_and_ends(start: Start, upstream: FakeUpstream) -> None:
    gateway = await start()
    upstream.answers_whole(b'{"usage":{"prompt_tokens":3,"completion_tokens":4}}')
    for body in (question(), question(), question(model="made-up")):
        async with gateway.chat(body) as response:
            await response.read()
    async with gateway.http.get(f"{gateway.url}/made-up") as response:
        await response.read()

    for series, value in {
        'azeotrope_requests_total{dialect="openai_chat",model="m",status="200"}': 2,
        'azeotrope_requests_total{dialect="openai_chat",model="none",status="404"}': 1,
        'azeotrope_requests_total{dialect="none",model="none",status="404"}': 1,
        'azeotrope_tokens_total{direction="in",model="m"}': 6,
        'azeotrope_tokens_total{direction="out",model="m"}': 8,
        'azeotrope_calls_total{end="complete",model="m"}': 2,
        "azeotrope_tickets_signed_total": 2,
        "azeotrope_open_calls": 0,
        "azeotrope_open_streams": 0,
        "azeotrope_accounts": 1,
        "azeotrope_store_up": 1,
        "azeotrope_upstream_seconds_count": 2,
        "azeotrope_first_byte_seconds_count": 2,
        "azeotrope_added_seconds_count": 2,
    }.items():
        assert await gateway.metric(series) == value, series
    assert "made-up" not in await gateway.metrics()


async def test_an_open_stream_is_seen_in_the_metrics(start: Start, upstream: FakeUpstream) -> None:
    gateway = await start()
    engine = Gated(upstream)
    response = await begun(gateway)

    assert await gateway.metric("azeotrope_open_streams") == 1
    assert await gateway.metric("azeotrope_open_calls") == 1
    engine.go_on.set()
    await response.read()
