"""Limits over HTTP, with the store there and away; accounts changed under way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal

import aiohttp
import pytest
import redis
from fake_upstream import Conversation, FakeUpstream
from running import Running, Site, Start, question
from waiting import until

from proxy.guard.embedded import EmbeddedValkey

ANSWER = b'{"choices":[]}'


async def burst(gateway: Running, key: str, calls: int) -> list[int]:
    statuses = []
    for _ in range(calls):
        async with gateway.chat(key=key) as response:
            statuses.append(response.status)
            await response.read()
    return statuses


async def test_a_burst_meets_429_with_all_that_a_client_needs_to_wait(
    start: Start, upstream: FakeUpstream, site: Site
) -> None:
    key = site.add("eager", tier="tiny")
    gateway = await start()
    upstream.answers_whole(ANSWER)

    async with gateway.chat(key=key) as response:
        assert response.status == 200
        assert response.headers["x-ratelimit-limit-requests"] == "2"
        assert response.headers["x-ratelimit-remaining-requests"] == "1"
        assert response.headers["x-ratelimit-reset-requests"] == "30s"
        assert "retry-after" not in response.headers
    assert await burst(gateway, key, 1) == [200]
    async with gateway.chat(key=key) as response:
        assert response.status == 429
        assert response.headers["x-ratelimit-remaining-requests"] == "0"
        assert re.fullmatch(r"1m0s|[\d.]+s", response.headers["x-ratelimit-reset-requests"])
        assert 1 <= int(response.headers["retry-after"]) <= 30
        assert 0 < int(response.headers["retry-after-ms"]) <= 30_000
        error = json.loads(await response.read())["error"]
    assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded")
    assert "2 requests per minute" in error["message"]

    assert await burst(gateway, site.key, 1) == [200]  # another account, another limit
    series = 'azeotrope_limiter_decisions_total{decision="%s",source="store"}'
    assert await gateway.metric(series % "refused_requests") == 1
    assert await gateway.metric(series % "admitted") == 3
    assert len(upstream.received) == 3
    assert len(await gateway.stop()) == 3  # a refusal is no call


LEASED = {"few": {"requests_per_minute": 6000, "concurrent_calls": 2}}


async def test_more_calls_at_once_than_the_tier_allows_meet_429(
    start: Start, upstream: FakeUpstream, site: Site, clean_valkey: str
) -> None:
    site.content["tiers"].update(LEASED)
    key = site.add("eager", tier="few")
    gateway = await start()
    upstream.answers_until_hung_up(b"data: {}\n\n")
    stream = question(stream=True)

    async with gateway.chat(stream, key=key) as one, gateway.chat(stream, key=key) as two:
        assert (one.status, two.status) == (200, 200)
        async with gateway.chat(key=key) as response:
            error = json.loads(await response.read())["error"]
            assert response.status == 429
            assert response.headers["retry-after"] == "1"
        async with gateway.chat(stream) as other:  # of an account without such a limit
            assert other.status == 200
    assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded")
    assert "2 calls at once" in error["message"]
    series = 'azeotrope_limiter_decisions_total{decision="refused_concurrency",source="store"}'
    assert await gateway.metric(series) == 1
    assert await gateway.metric("azeotrope_store_seconds_count") >= 4

    # Both clients have hung up: their places are free.
    await leases_are_gone(clean_valkey)
    upstream.answers_whole(ANSWER)
    assert await burst(gateway, key, 3) == [200] * 3


async def test_a_call_gives_its_place_back_however_it_ends(
    start: Start, upstream: FakeUpstream, site: Site, clean_valkey: str
) -> None:
    site.content["tiers"].update(LEASED)
    key = site.add("eager", tier="few")
    gateway = await start()

    async def broken(conversation: Conversation) -> None:
        await conversation.begin_stream()
        conversation.reset()

    for _ in range(2):
        upstream.answers_whole(ANSWER)
        async with gateway.chat(key=key) as response:
            assert response.status == 200
        async with gateway.chat(question(model="unknown"), key=key) as response:
            assert response.status == 404
        upstream.answers_whole(b"{}", status="500 Oops")
        async with gateway.chat(key=key) as response:
            assert response.status == 500
        upstream.answers(broken)
        async with gateway.chat(question(stream=True), key=key) as response:
            with contextlib.suppress(aiohttp.ClientError):
                await response.read()
        upstream.answers_until_hung_up()
        upstream.arrived.clear()
        waiting = asyncio.create_task(hang(gateway, key))
        await asyncio.wait_for(upstream.arrived.wait(), 10)
        waiting.cancel()

    await leases_are_gone(clean_valkey)
    upstream.answers_whole(ANSWER)
    assert await burst(gateway, key, 3) == [200] * 3


async def hang(gateway: Running, key: str) -> None:
    async with gateway.chat(key=key) as response:
        await response.read()


async def leases_are_gone(url: str) -> None:
    with redis.Redis.from_url(url) as client:
        await until(lambda: not client.keys("az:*:leases"))


async def test_killing_the_store_under_way_changes_neither_service_nor_limits(
    start: Start, upstream: FakeUpstream, site: Site
) -> None:
    own = EmbeddedValkey()
    key = site.add("eager", tier="tiny")
    gateway = await start(redis={"url": own.url})
    upstream.answers_whole(ANSWER)
    assert await burst(gateway, key, 1) == [200]
    assert (await gateway.ready())[1]["limits"] == "store"

    os.kill(own.pid, signal.SIGKILL)

    assert await burst(gateway, key, 2) == [200, 429]
    assert await burst(gateway, site.key, 1) == [200]
    status, state = await gateway.ready()
    assert (status, state["limits"]) == (200, "local")
    assert await gateway.metric("azeotrope_store_up") == 0
    local = 'azeotrope_limiter_decisions_total{decision="refused_requests",source="local"}'
    assert await gateway.metric(local) == 1
    lines = await gateway.stop()
    assert len({line["call"] for line in lines}) == 3
    own.close()


async def test_without_a_redis_an_embedded_one_is_started_and_stopped(
    start: Start, upstream: FakeUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "proxy")
    gateway = await start(redis={"url": None})
    upstream.answers_whole(ANSWER)
    assert await burst(gateway, gateway.site.key, 1) == [200]
    _, state = await gateway.ready()
    assert (state["limits"], state["store"]) == ("store", "embedded")
    (record,) = [record for record in caplog.records if record.message == "embedded_store"]

    await gateway.stop()

    with pytest.raises(ProcessLookupError):
        os.kill(record.fields["pid"], 0)


async def test_an_account_added_or_suspended_under_way_is_taken_over(
    start: Start, upstream: FakeUpstream, site: Site
) -> None:
    gateway = await start()
    upstream.answers_whole(ANSWER)
    key = site.add("newcomer")
    gateway.gateway._accounts.reload_if_changed()
    assert await burst(gateway, key, 1) == [200]

    file = site.directory / "accounts.json"
    content = json.loads(file.read_text())
    content["accounts"][1]["state"] = "suspended"
    file.write_text(json.dumps(content))
    gateway.gateway._accounts.reload_if_changed()

    assert await burst(gateway, key, 1) == [403]
    assert await burst(gateway, site.key, 1) == [200]


async def test_a_request_with_a_bad_body_or_model_is_answered_with_its_own_error(
    start: Start, upstream: FakeUpstream, site: Site
) -> None:
    key = site.add("eager", tier="tiny")
    gateway = await start()

    statuses = []
    for body in (b"{", json.dumps(question(model="x")).encode()) * 3:
        async with gateway.chat(body, key=key) as response:
            statuses.append(response.status)

    # Unknown models count, or anybody could ask for them without end.
    assert statuses == [400, 404, 400, 404, 400, 429]
