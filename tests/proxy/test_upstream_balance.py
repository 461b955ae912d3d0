"""Several upstreams for a model: who gets a call, who gets it next, and who gets none."""

from __future__ import annotations

import asyncio
import json

import pytest
from asking import GOOD, error_of
from fake_upstream import Conversation, FakeUpstream
from persistent import ANSWER, PersistentUpstream
from running import Running, Start, question
from several import NO_LOOKS, entry, pair, second, status_of, until_metric

__all__ = ["second"]


async def test_idle_upstreams_take_turns_each_with_its_own_name_of_the_model(
    start: Start, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    gateway = await start(upstreams=pair(upstream, second))
    upstream.answers_whole(GOOD)
    second.answers_whole(GOOD)

    for _ in range(4):
        assert await status_of(gateway) == 200

    for server, model in ((upstream, "m-at-one"), (second, "m-at-two")):
        assert [json.loads(call.body)["model"] for call in server.received] == [model] * 2


async def test_the_least_busy_upstream_gets_the_call(
    start: Start, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    gateway = await start(upstreams=pair(upstream, second))
    upstream.answers_until_hung_up(b"data: 1\n\n")
    second.answers_whole(GOOD)
    while not upstream.received:  # the first turn may be the second's
        streaming = await gateway.chat(question(stream=True))
    assert await gateway.metric('azeotrope_upstream_outstanding{upstream="one"}') == 1

    before = len(second.received)
    for _ in range(4):
        assert await status_of(gateway) == 200

    assert (len(upstream.received), len(second.received)) == (1, before + 4)
    streaming.close()
    await until_metric(gateway, 'azeotrope_upstream_outstanding{upstream="one"}', 0)


async def test_a_call_goes_on_to_another_upstream_if_one_is_down(
    start: Start, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    gateway = await start(upstreams=pair(upstream, second, health=NO_LOOKS))
    upstream.goes_down()
    second.answers_whole(GOOD)

    for _ in range(4):
        assert await status_of(gateway) == 200

    assert len(second.received) == 4
    assert await gateway.metric('azeotrope_upstream_retries_total{upstream="one"}') == 2
    assert {line["end"] for line in await gateway.stop()} == {"complete"}


async def test_each_upstream_is_tried_once(
    start: Start, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    gateway = await start(upstreams=pair(upstream, second, health=NO_LOOKS))
    upstream.goes_down()
    second.goes_down()

    async with gateway.chat() as response:
        status, error = await error_of(response)

    assert (status, error["code"]) == (502, "upstream_unreachable")
    retries = [
        await gateway.metric(f'azeotrope_upstream_retries_total{{upstream="{name}"}}')
        for name in ("one", "two")
    ]
    assert sum(retries) == 1


async def test_a_call_that_reached_an_upstream_goes_to_no_other(
    start: Start, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    gateway = await start(upstreams=pair(upstream, second))

    async def dies(conversation: Conversation) -> None:
        conversation.reset()

    upstream.answers(dies)
    second.answers(dies)

    assert await status_of(gateway) == 502
    assert len(upstream.received) + len(second.received) == 1


async def one(start: Start, server: PersistentUpstream) -> Running:
    return await start(upstreams=[entry("one", server.url, health=NO_LOOKS)])


async def test_a_connection_serves_many_calls(start: Start) -> None:
    async with PersistentUpstream(lambda connection, request: ANSWER) as server:
        gateway = await one(start, server)
        for _ in range(5):
            assert await status_of(gateway) == 200
        assert server.requests == [5]


async def test_a_call_is_sent_again_if_its_kept_connection_was_closing(start: Start) -> None:
    """The engine closes it just as the request arrives: no byte of an answer comes."""
    async with PersistentUpstream(
        lambda connection, request: None if (connection, request) == (0, 1) else ANSWER
    ) as server:
        gateway = await one(start, server)
        assert [await status_of(gateway) for _ in range(3)] == [200] * 3
        assert server.requests == [2, 2]
        assert await gateway.metric('azeotrope_upstream_retries_total{upstream="one"}') == 1


async def test_a_new_connection_that_dies_is_not_tried_again(start: Start) -> None:
    async with PersistentUpstream(lambda connection, request: None) as server:
        gateway = await one(start, server)
        assert await status_of(gateway) == 502
        assert server.requests == [1]


async def test_a_call_is_sent_again_once(start: Start) -> None:
    async with PersistentUpstream(
        lambda connection, request: ANSWER if (connection, request) == (0, 0) else None
    ) as server:
        gateway = await one(start, server)
        assert [await status_of(gateway) for _ in range(2)] == [200, 502]
        assert server.requests == [2, 1]


async def test_a_call_of_which_a_byte_was_answered_is_not_sent_again(start: Start) -> None:
    async with PersistentUpstream(
        lambda connection, request: ANSWER if request == 0 else b"HTTP/1.1 garbage\r\n\r\n"
    ) as server:
        gateway = await one(start, server)
        assert [await status_of(gateway) for _ in range(2)] == [200, 502]
        assert server.requests == [2]


async def test_a_connection_closed_in_between_is_not_used(start: Start) -> None:
    async with PersistentUpstream(lambda connection, request: ANSWER) as server:
        gateway = await one(start, server)
        endpoint = gateway.gateway._upstreams["one"]
        assert await status_of(gateway) == 200
        server.closes_all()
        async with asyncio.timeout(10):
            while endpoint._pool._idle:
                await gateway.ready()
        assert await status_of(gateway) == 200
        assert server.requests == [1, 1]
        assert await gateway.metric('azeotrope_upstream_retries_total{upstream="one"}') == 0


async def test_beyond_max_outstanding_the_model_is_overloaded(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start(upstreams=[entry("one", upstream.url, max_outstanding=1)])
    upstream.answers_until_hung_up(b"data: 1\n\n")
    async with gateway.chat(question(stream=True)):
        async with gateway.chat() as refused:
            status, error = await error_of(refused)
            assert (status, error["type"], error["code"]) == (503, "server_error", "overloaded")
            assert refused.headers["retry-after"] == "1"
        assert len(upstream.received) == 1
    await until_metric(gateway, 'azeotrope_upstream_outstanding{upstream="one"}', 0)

    upstream.answers_whole(GOOD)
    assert await status_of(gateway) == 200


async def test_failures_open_the_breaker_and_a_trial_closes_it(
    start: Start, upstream: FakeUpstream
) -> None:
    settings = entry("one", upstream.url, health=NO_LOOKS, breaker={"failures": 2, "open_s": 0.3})
    gateway = await start(upstreams=[settings])
    upstream.answers_whole(b"{}", "503 Busy")
    assert [await status_of(gateway) for _ in range(2)] == [503, 503]

    async with gateway.chat() as refused:
        status, error = await error_of(refused)
        assert (status, error["code"]) == (502, "upstream_unreachable")
        assert refused.headers["retry-after"] == "1"
    assert len(upstream.received) == 2
    line = 'azeotrope_upstream_breaker_open{upstream="one"}'
    assert await gateway.metric(line) == 1
    assert (await gateway.ready())[0] == 503

    upstream.answers_whole(GOOD)
    async with asyncio.timeout(10):
        while await status_of(gateway) != 200:
            pass
    assert await gateway.metric(line) == 0
    assert (await gateway.ready())[0] == 200


@pytest.mark.parametrize("status", ["400 No", "404 No", "429 Slowly", "500 Oops", "401 Who"])
async def test_other_errors_of_an_upstream_open_no_breaker(
    start: Start, upstream: FakeUpstream, status: str
) -> None:
    gateway = await start(upstreams=[entry("one", upstream.url, breaker={"failures": 1})])
    upstream.answers_whole(b"{}", status)
    for _ in range(3):
        await status_of(gateway)
    assert len(upstream.received) == 3


async def test_a_client_that_hangs_up_opens_no_breaker(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start(upstreams=[entry("one", upstream.url, breaker={"failures": 1})])
    upstream.answers_until_hung_up()
    asking = asyncio.create_task(status_of(gateway))
    async with asyncio.timeout(10):
        await upstream.arrived.wait()
        asking.cancel()
        await upstream.hung_up.wait()

    upstream.answers_whole(GOOD)
    assert await status_of(gateway) == 200


async def test_an_upstream_with_an_open_breaker_is_passed_over(
    start: Start, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    gateway = await start(upstreams=pair(upstream, second, breaker={"failures": 1, "open_s": 60}))
    upstream.answers_whole(b"{}", "502 Bad")
    second.answers_whole(GOOD)

    answered = [await status_of(gateway) for _ in range(6)]

    assert answered.count(502) == 1
    assert len(upstream.received) == 1


async def test_an_upstream_gets_only_the_dialects_that_it_speaks(
    start: Start, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    settings = pair(upstream, second)
    settings[0]["dialects"] = ["openai_completions"]
    gateway = await start(upstreams=settings)
    second.answers_whole(GOOD)

    for _ in range(4):
        assert await status_of(gateway) == 200
    assert not upstream.received


async def test_a_model_that_no_upstream_speaks_in_a_dialect_is_404(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start(upstreams=[entry("one", upstream.url, dialects=["openai_completions"])])

    async with gateway.chat() as response:
        status, error = await error_of(response)

    assert (status, error["code"], error["param"]) == (404, "model_not_found", "model")
