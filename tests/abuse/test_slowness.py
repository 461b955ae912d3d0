"""Slow clients: every wait has a deadline for the whole, not for a byte."""

from __future__ import annotations

import asyncio
import socket

import psutil
import pytest
from aftermath import Aftermath, sample
from asking import GOOD, assert_goes_on
from fake_upstream import FakeUpstream
from running import Running, Start
from waiting import until
from wire import BODY, KEY, Wire, connected, post

PAUSE_S = 0.02


async def drip(wire: Wire, data: bytes) -> None:
    """Send a byte now and then until the gateway has had enough."""
    try:
        for byte in data:
            await wire.send(bytes([byte]))
            await asyncio.sleep(PAUSE_S)
    except ConnectionError:
        pass


# Dripped, each takes five seconds.
LONG_HEAD = post(b"x-a: " + b"b" * 250)
LONG_BODY = BODY + b" " * 250


@pytest.mark.parametrize("asked_before", [False, True])
async def test_a_head_that_drips_ends_with_the_connection(
    start: Start, upstream: FakeUpstream, asked_before: bool
) -> None:
    gateway = await start(limits={"header_timeout_s": 0.3})

    async with connected(gateway) as wire:
        if asked_before:
            assert await wire.goes_on()
        dripping = asyncio.create_task(drip(wire, LONG_HEAD))
        assert await wire.is_closed()
        assert not dripping.done()
        dripping.cancel()

    assert upstream.received == []
    await assert_goes_on(gateway, upstream)


@pytest.mark.parametrize("asked_before", [False, True])
async def test_a_client_that_says_nothing_loses_its_connection(
    start: Start, upstream: FakeUpstream, asked_before: bool
) -> None:
    gateway = await start(limits={"header_timeout_s": 0.1})

    async with connected(gateway) as wire:
        if asked_before:
            assert await wire.goes_on()
        assert await wire.is_closed()


@pytest.mark.parametrize("chunks", [False, True])
async def test_a_body_that_drips_is_408(start: Start, upstream: FakeUpstream, chunks: bool) -> None:
    gateway = await start(limits={"body_timeout_s": 0.3})
    if chunks:
        head = post(b"transfer-encoding: chunked", body=b"", length=False)
        body = b"1\r\n{\r\n" * 60
    else:
        head, body = post(body=LONG_BODY).removesuffix(LONG_BODY), LONG_BODY

    async with connected(gateway) as wire:
        await wire.send(head)
        dripping = asyncio.create_task(drip(wire, body))
        answer = await wire.answer()
        assert not dripping.done()
        assert (answer.status, answer.code) == (408, "request_timeout")
        dripping.cancel()
        assert await wire.is_closed()

    assert upstream.received == []
    await assert_goes_on(gateway, upstream)


async def test_a_slow_call_of_one_client_holds_up_no_other(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()

    async with connected(gateway) as head, connected(gateway) as body:
        await head.send(LONG_HEAD[:100])
        await body.send(post()[:-1])
        for _ in range(5):
            await assert_goes_on(gateway, upstream)
        await body.send(b"}")
        assert (await body.answer()).body == GOOD


def stalled(gateway: Running) -> socket.socket:
    """Return a client that asks and then reads not a byte."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", int(gateway.url.rpartition(":")[2])))
    client.sendall(post().replace(KEY, gateway.site.key.encode()))
    return client


async def test_a_client_that_does_not_read_a_whole_answer_is_cut(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start(limits={"write_timeout_s": 0.2})
    await assert_goes_on(gateway, upstream)
    aftermath = Aftermath(gateway)
    upstream.answers_whole(b" " * 16 * 2**20)

    with stalled(gateway):
        await until(lambda: len(upstream.received) == 2)
        assert await aftermath.is_quiet()

    assert [line["end"] for line in await gateway.stop()] == ["complete", "client_closed"]


async def test_a_connection_that_is_closed_does_not_flush_for_ever(
    start: Start, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.downstream.connection.FLUSH_S", 0.1)
    gateway = await start(limits={"drain_timeout_s": 0.1})
    upstream.answers_whole(b" " * 16 * 2**20)
    port = int(gateway.url.rpartition(":")[2])

    def held() -> bool:
        mine = psutil.Process().net_connections("tcp")
        return any(one.laddr.port == port and one.fd >= 0 for one in mine)

    with stalled(gateway):
        await until(lambda: len(upstream.received) == 1)
        await until(lambda: sample(gateway, "azeotrope_open_calls") == 1)
        assert held()
        await gateway.stop()
        await until(lambda: not held())
