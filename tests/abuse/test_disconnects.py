"""Clients that hang up, at every moment of a call: the engine stops, the call is settled once."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import redis
from aftermath import Aftermath
from asking import GOOD
from fake_upstream import FakeUpstream
from running import Running, Site, Start, question
from wire import BODY, CHAT, KEY, ask, connected, post

from proxy.accounts import Account
from proxy.guard.contract import Verdict
from proxy.guard.limits import RateGuard

EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
STREAM = json.dumps(question(stream=True)).encode()
# Of each API that streams: where to ask, what, and an event that counts as one token.
APIS = {
    "chat": (CHAT, STREAM, EVENT),
    "messages": (
        b"/v1/messages",
        json.dumps(question(stream=True, max_tokens=9)).encode(),
        b"event: content_block_delta\n"
        b'data: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":"x"}}\n\n',
    ),
    "responses": (
        b"/v1/responses",
        b'{"model":"m","input":"hi","stream":true}',
        b"event: response.output_text.delta\n"
        b'data: {"type":"response.output_text.delta","sequence_number":4,"delta":"x"}\n\n',
    ),
}
# 0.1 s is what an idle machine needs, and less.
AT_ONCE_S = 1.0


async def warm(gateway: Running, upstream: FakeUpstream) -> Aftermath:
    """Make a first good call, which is the registry's first line."""
    upstream.answers_whole(GOOD)
    async with connected(gateway) as wire:
        await wire.send(post())
        assert (await wire.answer()).body == GOOD
    upstream.received.clear()
    upstream.arrived.clear()
    await asyncio.sleep(0)
    return Aftermath(gateway)


async def ends_after_the_first(gateway: Running) -> list[tuple[Any, ...]]:
    lines = await gateway.stop()
    assert len({line["call"] for line in lines}) == len(lines)
    return [(line["status"], line["end"]) for line in lines[1:]]


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"POST /v1/cha",
        post().removesuffix(BODY)[:-2],
        post().removesuffix(BODY),
        post(b"expect: 100-continue").removesuffix(BODY),
        post()[:-1],
        post(b"transfer-encoding: chunked", body=b"39\r\n{", length=False),
    ],
)
@pytest.mark.parametrize("politely", [True, False])
async def test_before_the_request_is_whole_there_is_no_call(
    start: Start, upstream: FakeUpstream, sent: bytes, politely: bool
) -> None:
    gateway = await start()
    aftermath = await warm(gateway, upstream)

    async with connected(gateway) as wire:
        await wire.send(sent)
        await asyncio.sleep(0.02)  # the gateway may wait for the rest by now, or not yet
        if politely:
            wire.writer.close()
        else:
            wire.reset()

    assert await aftermath.is_quiet()
    assert upstream.received == []
    assert await ends_after_the_first(gateway) == []


async def test_during_admission_there_is_no_call_and_the_lease_is_given_back(
    start: Start, upstream: FakeUpstream, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.content["tiers"]["one"] = {"requests_per_minute": 60_000, "concurrent_calls": 1}
    site.key = site.add("bob", tier="one")
    gateway = await start()
    aftermath = await warm(gateway, upstream)
    asked, admit = asyncio.Event(), RateGuard.admit

    async def told(guard: RateGuard, account: Account) -> Verdict:
        asked.set()
        return await admit(guard, account)

    monkeypatch.setattr(RateGuard, "admit", told)
    with redis.Redis.from_url(site.content["redis"]["url"]) as store:
        store.client_pause(60_000, all=False)  # what writes: so the script
        try:
            async with connected(gateway) as wire:
                await wire.send(post())
                await asked.wait()
                wire.reset()
            assert await aftermath.is_quiet()
        finally:
            store.client_unpause()

    assert upstream.received == []
    # The only place is free again, at the latest when the store has read on.
    async with asyncio.timeout(AT_ONCE_S):
        while await _status(gateway) == 429:
            pass
    assert [end for _, end in await ends_after_the_first(gateway)] == ["complete"]


async def _status(gateway: Running) -> int:
    return (await ask(gateway, post())).status


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("politely", [True, False])
async def test_while_it_waits_for_the_engine(
    start: Start, upstream: FakeUpstream, politely: bool, api: str
) -> None:
    path, body, _ = APIS[api]
    gateway = await start()
    aftermath = await warm(gateway, upstream)
    upstream.answers_until_hung_up()

    async with connected(gateway) as wire:
        await wire.send(post(target=path, body=body))
        await upstream.arrived.wait()
        if politely:
            wire.writer.close()
        else:
            wire.reset()
        async with asyncio.timeout(AT_ONCE_S):
            await upstream.hung_up.wait()

    assert await aftermath.is_quiet()
    assert await ends_after_the_first(gateway) == [(499, "client_closed")]


async def test_half_a_close_is_a_close(start: Start, upstream: FakeUpstream) -> None:
    gateway = await start()
    aftermath = await warm(gateway, upstream)
    upstream.answers_until_hung_up()

    async with connected(gateway) as wire:
        await wire.send(post())
        await upstream.arrived.wait()
        wire.writer.write_eof()
        async with asyncio.timeout(AT_ONCE_S):
            await upstream.hung_up.wait()
        assert await wire.is_closed()

    assert await aftermath.is_quiet()
    assert await ends_after_the_first(gateway) == [(499, "client_closed")]


@pytest.mark.parametrize("api", APIS)
async def test_in_a_stream_what_has_come_is_counted_once(
    start: Start, upstream: FakeUpstream, api: str
) -> None:
    path, body, event = APIS[api]
    gateway = await start()
    aftermath = await warm(gateway, upstream)
    upstream.answers_until_hung_up(event, event, event)

    async with connected(gateway) as wire:
        await wire.send(post(target=path, body=body))
        for _ in range(3):
            await wire.reader.readuntil(event)
        wire.reset()
        async with asyncio.timeout(AT_ONCE_S):
            await upstream.hung_up.wait()

    assert await aftermath.is_quiet()
    total = aftermath.sample("azeotrope_tokens_total", model="m", direction="out")
    assert total == 2 + 3  # the first call's, as its engine says, and three events
    _, line = await gateway.stop()
    assert (line["status"], line["end"]) == (200, "client_closed")
    assert (line["completion_tokens"], line["usage_source"]) == (3, "counted")


@pytest.mark.parametrize("streams", [False, True])
async def test_at_the_moment_of_the_end_each_call_is_settled_once(
    start: Start, upstream: FakeUpstream, streams: bool
) -> None:
    gateway = await start()
    aftermath = await warm(gateway, upstream)
    if streams:
        upstream.answers_stream(EVENT, b"data: [DONE]\n\n")
    else:
        upstream.answers_whole(GOOD)
    calls = 30

    for turn in range(calls):
        async with connected(gateway) as wire:
            await wire.send(post(body=STREAM if streams else BODY))
            if turn % 3 == 0:
                await wire.reader.readuntil(b"\r\n\r\n")
            elif turn % 3 == 1:
                await upstream.arrived.wait()
            upstream.arrived.clear()
            for _ in range(turn % 5):
                await asyncio.sleep(0)
            wire.reset()

    assert await aftermath.is_quiet()
    ends = [end for _, end in await ends_after_the_first(gateway)]
    # A client that is gone before its request is read has made no call.
    assert len(upstream.received) <= len(ends) <= calls
    assert set(ends) <= {"complete", "client_closed"}


async def test_a_crowd_that_hangs_up_leaves_nothing_behind(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    aftermath = await warm(gateway, upstream)
    upstream.answers_until_hung_up(EVENT)
    crowd = 100

    async def one() -> None:
        async with connected(gateway) as wire:
            await wire.send(post(body=STREAM))
            await wire.reader.readuntil(EVENT)
            wire.reset()

    await asyncio.gather(*(one() for _ in range(crowd)))

    assert await aftermath.is_quiet()
    assert await ends_after_the_first(gateway) == [(200, "client_closed")] * crowd


async def test_a_key_that_is_refused_costs_the_connection_nothing(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    aftermath = await warm(gateway, upstream)
    wrong = post().replace(KEY, b"az-wrong")

    async with connected(gateway) as wire:
        for _ in range(50):
            await wire.send(wrong)
            assert (await wire.answer()).status == 401
        assert await wire.goes_on()

    assert await aftermath.is_quiet()
    assert await ends_after_the_first(gateway) == []
