"""Bad engines: down, broken, silent or in error; the client is told, and the server goes on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from asking import GOOD, assert_goes_on, chat_error
from fake_upstream import Conversation, FakeUpstream
from running import Site, Start, question


async def test_an_engine_that_is_down_is_502(start: Start, upstream: FakeUpstream) -> None:
    gateway = await start()
    upstream.goes_down()

    status, error = await chat_error(gateway, json.dumps(question()).encode())

    assert (status, error["type"], error["code"]) == (502, "server_error", "upstream_unreachable")
    assert "127.0.0.1" not in error["message"]
    await upstream.comes_up()
    await assert_goes_on(gateway, upstream)
    assert [line["end"] for line in await gateway.stop()] == ["upstream_error", "complete"]


async def _garbage(conversation: Conversation) -> None:
    await conversation.send(b"\x00\x01 this is no HTTP\r\n\r\n")


async def _silence(conversation: Conversation) -> None:
    conversation.reset()


async def _half_a_body(conversation: Conversation) -> None:
    await conversation.head(content_type="application/json", content_length="100")
    await conversation.send(b'{"choices":')
    conversation.reset()


async def _half_a_chunked_body(conversation: Conversation) -> None:
    await conversation.head(content_type="application/json", transfer_encoding="chunked")
    await conversation.chunk(b'{"choices":')


async def _redirect(conversation: Conversation) -> None:
    await conversation.head("307 Temporary Redirect", location="http://elsewhere/")


async def _refused_key(conversation: Conversation) -> None:
    await conversation.whole(b'{"error":{"message":"bad key sk-ab***yz"}}', "401 Unauthorized")


@pytest.mark.parametrize(
    "script", [_garbage, _silence, _half_a_body, _half_a_chunked_body, _redirect, _refused_key]
)
async def test_an_engine_that_breaks_is_502(
    start: Start, upstream: FakeUpstream, script: Callable[[Conversation], Awaitable[None]]
) -> None:
    gateway = await start()
    upstream.answers(script)

    status, error = await chat_error(gateway, json.dumps(question()).encode())

    assert (status, error["code"]) == (502, "upstream_error")
    assert "sk-" not in error["message"]
    await assert_goes_on(gateway, upstream)
    lines = await gateway.stop()
    assert [(line["status"], line["end"]) for line in lines] == [
        (502, "upstream_error"),
        (200, "complete"),
    ]


async def test_an_answer_beyond_the_limit_is_502(start: Start, upstream: FakeUpstream) -> None:
    gateway = await start(limits={"max_answer_bytes": len(GOOD)})
    upstream.answers_whole(GOOD + b" ")

    status, _ = await chat_error(gateway, json.dumps(question()).encode())

    assert status == 502
    await assert_goes_on(gateway, upstream)


@pytest.mark.parametrize("timeouts", [{"first_byte": 0.05}, {"total": 0.05}])
async def test_an_engine_that_stalls_is_504(
    start: Start, upstream: FakeUpstream, site: Site, timeouts: dict[str, float]
) -> None:
    site.content["upstreams"][0]["timeouts"] = timeouts
    gateway = await start()
    upstream.answers_until_hung_up()

    status, error = await chat_error(gateway, json.dumps(question()).encode())

    assert (status, error["type"], error["code"]) == (504, "timeout_error", "upstream_timeout")
    async with asyncio.timeout(10):
        await upstream.hung_up.wait()
    lines = await gateway.stop()
    assert [(line["status"], line["end"]) for line in lines] == [(504, "upstream_timeout")]


async def test_an_answer_that_stops_coming_is_504(
    start: Start, upstream: FakeUpstream, site: Site
) -> None:
    site.content["upstreams"][0]["timeouts"] = {"idle": 0.05}
    gateway = await start()

    async def script(conversation: Conversation) -> None:
        await conversation.head(content_type="application/json", content_length="100")
        await conversation.until_hung_up()

    upstream.answers(script)

    status, error = await chat_error(gateway, json.dumps(question()).encode())

    assert (status, error["code"]) == (504, "upstream_timeout")
    await assert_goes_on(gateway, upstream)


@pytest.mark.parametrize(
    "status", ["400 Bad Request", "403 Forbidden", "404 Not Found", "429 Too Many", "500 Oops"]
)
async def test_an_error_of_the_engine_passes_as_it_is(
    start: Start, upstream: FakeUpstream, status: str
) -> None:
    gateway = await start()
    body = b'{"object":"error",  "message":"as the engine says"}'
    upstream.answers_whole(body, status)

    async with gateway.chat(question(stream=True)) as response:
        assert response.status == int(status[:3])
        assert await response.read() == body

    await assert_goes_on(gateway, upstream)
    lines = await gateway.stop()
    assert [(line["status"], line["end"]) for line in lines] == [
        (int(status[:3]), "complete"),
        (200, "complete"),
    ]


async def test_a_fault_of_our_own_is_500_and_settled(
    start: Start, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await start()
    with monkeypatch.context() as patch:

        def fail(*arguments: object) -> str:
            raise RuntimeError("a bug")

        patch.setattr("proxy.embedders.engine.sign", fail)
        status, error = await chat_error(gateway, json.dumps(question()).encode())

    assert (status, error["code"]) == (500, "internal_error")
    assert "bug" not in error["message"]
    await assert_goes_on(gateway, upstream)
    assert [line["end"] for line in await gateway.stop()] == ["internal_error", "complete"]
