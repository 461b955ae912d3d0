"""The official clients, sync and async, in front of the gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, TypeVar

import anthropic
import openai
import pytest
from fake_upstream import Conversation, FakeUpstream
from running import Running, Site, Start

T = TypeVar("T")
MESSAGES: Any = [{"role": "user", "content": "hi"}]
CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "engine-m",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
}
COMPLETION = {
    "id": "cmpl-1",
    "object": "text_completion",
    "created": 1,
    "model": "engine-m",
    "choices": [{"index": 0, "text": "Hello", "finish_reason": "stop", "logprobs": None}],
}


def chunk(content: str) -> bytes:
    delta = {"index": 0, "delta": {"content": content}, "finish_reason": None}
    body = {**CHAT, "object": "chat.completion.chunk", "choices": [delta], "usage": None}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


USAGE = {**CHAT, "object": "chat.completion.chunk", "choices": []}
STREAM = (
    chunk("Hel"),
    chunk("lo"),
    b"data: " + json.dumps(USAGE).encode() + b"\n\n",
    b"data: [DONE]\n\n",
)


def sync_client(gateway: Running, key: str | None = None) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{gateway.url}/v1", api_key=key or gateway.site.key, max_retries=0
    )


def async_client(gateway: Running) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.site.key, max_retries=0)


async def in_thread(work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work)


async def test_the_sync_client_gets_an_answer(start: Start, upstream: FakeUpstream) -> None:
    gateway = await start()
    upstream.answers_whole(json.dumps(CHAT).encode())

    answer = await in_thread(
        lambda: sync_client(gateway).chat.completions.create(model="m", messages=MESSAGES)
    )

    assert answer.choices[0].message.content == "Hello"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 2
    assert json.loads(upstream.received[0].body)["model"] == "engine-m"


async def test_the_sync_client_streams(start: Start, upstream: FakeUpstream) -> None:
    gateway = await start()
    upstream.answers_stream(*STREAM)

    def read() -> list[Any]:
        client = sync_client(gateway)
        return list(client.chat.completions.create(model="m", messages=MESSAGES, stream=True))

    pieces = await in_thread(read)

    assert [piece.choices[0].delta.content for piece in pieces] == ["Hel", "lo"]


async def test_the_async_client_streams_with_usage_if_it_asks(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    upstream.answers_stream(*STREAM)

    stream = await async_client(gateway).chat.completions.create(
        model="m", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    pieces = [piece async for piece in stream]

    assert [len(piece.choices) for piece in pieces] == [1, 1, 0]
    assert pieces[-1].usage is not None
    assert pieces[-1].usage.total_tokens == 3


async def test_the_async_client_completes_text(start: Start, upstream: FakeUpstream) -> None:
    gateway = await start()
    upstream.answers_whole(json.dumps(COMPLETION).encode())

    answer = await async_client(gateway).completions.create(model="m", prompt="x")

    assert answer.choices[0].text == "Hello"
    assert upstream.received[0].line == "POST /v1/completions HTTP/1.1"


async def test_models_are_those_that_the_account_may_use(
    start: Start, upstream: FakeUpstream, site: Site
) -> None:
    key = site.add("bob", models=["n"])
    site.content["upstreams"][0]["models"]["org/model-1"] = "x"
    gateway = await start()

    def names(who: str) -> list[str]:
        return [model.id for model in sync_client(gateway, who).models.list()]

    assert await in_thread(lambda: names(site.key)) == ["m", "n", "org/model-1"]
    assert await in_thread(lambda: names(key)) == ["n"]
    found = await async_client(gateway).models.retrieve("org/model-1")
    assert found.id == "org/model-1"
    with pytest.raises(openai.NotFoundError):
        await async_client(gateway).models.retrieve("none")
    assert upstream.received == []


async def test_errors_reach_the_client_as_its_own_exceptions(
    start: Start, upstream: FakeUpstream, site: Site
) -> None:
    tiny = site.add("eager", tier="tiny")
    gateway = await start()
    upstream.answers_whole(json.dumps(CHAT).encode())

    async def create(key: str, model: str = "m") -> None:
        client = async_client(gateway).with_options(api_key=key)
        await client.chat.completions.create(model=model, messages=MESSAGES)

    with pytest.raises(openai.AuthenticationError):
        await create("az-wrong")
    with pytest.raises(openai.NotFoundError) as not_found:
        await create(site.key, "none")
    assert not_found.value.code == "model_not_found"
    for _ in range(2):
        await create(tiny)
    with pytest.raises(openai.RateLimitError) as limited:
        await create(tiny)
    assert limited.value.code == "rate_limit_exceeded"
    assert limited.value.request_id is not None


async def test_a_cut_stream_raises_in_the_client(start: Start, upstream: FakeUpstream) -> None:
    gateway = await start()

    async def dies(conversation: Conversation) -> None:
        await conversation.begin_stream()
        await conversation.chunk(STREAM[0])
        conversation.reset()

    upstream.answers(dies)
    stream = await async_client(gateway).chat.completions.create(
        model="m", messages=MESSAGES, stream=True
    )
    pieces = aiter(stream)
    assert (await anext(pieces)).choices[0].delta.content == "Hel"

    with pytest.raises(openai.APIError, match="failed to answer"):
        await anext(pieces)


async def test_a_client_that_closes_its_stream_cancels_the_engine(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    upstream.answers_until_hung_up(STREAM[0])
    stream = await async_client(gateway).chat.completions.create(
        model="m", messages=MESSAGES, stream=True
    )

    async with asyncio.timeout(10):
        async for _ in stream:
            break
        await stream.close()
        await upstream.hung_up.wait()

    (line,) = await gateway.stop()
    assert line["end"] == "client_closed"


def anthropic_client(gateway: Running, key: str | None = None) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(
        base_url=gateway.url, api_key=key or gateway.site.key, max_retries=0
    )


async def ask_message(client: anthropic.AsyncAnthropic, model: str = "m", **options: Any) -> Any:
    return await client.messages.create(model=model, max_tokens=9, messages=MESSAGES, **options)


MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "engine-m",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 2},
}


async def test_errors_reach_the_anthropic_client_as_its_own_exceptions(
    start: Start, upstream: FakeUpstream, site: Site
) -> None:
    tiny = site.add("eager", tier="tiny")
    gateway = await start(limits={"max_body_bytes": 2000})
    upstream.answers_whole(json.dumps(MESSAGE).encode())

    with pytest.raises(anthropic.AuthenticationError) as unknown:
        await ask_message(anthropic_client(gateway, "az-wrong"))
    assert unknown.value.request_id is not None
    assert unknown.value.request_id.startswith("req_")
    with pytest.raises(anthropic.NotFoundError):
        await ask_message(anthropic_client(gateway), "none")
    with pytest.raises(anthropic.RequestTooLargeError):
        await ask_message(anthropic_client(gateway), system="x" * 3000)
    for _ in range(2):
        assert (await ask_message(anthropic_client(gateway, tiny))).content[0].text == "Hello"
    with pytest.raises(anthropic.RateLimitError) as limited:
        await ask_message(anthropic_client(gateway, tiny))
    assert limited.value.response.headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert int(limited.value.response.headers["retry-after"]) >= 1


async def test_an_anthropic_client_retries_when_it_is_told_to(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    answers = iter(["529 Overloaded", "200 OK"])

    async def script(conversation: Conversation) -> None:
        await conversation.whole(json.dumps(MESSAGE).encode(), next(answers))

    upstream.answers(script)
    client = anthropic_client(gateway).with_options(max_retries=2)

    assert (await ask_message(client)).content[0].text == "Hello"
    assert len(upstream.received) == 2


async def test_the_anthropic_client_lists_models_in_its_own_shape(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    client = anthropic_client(gateway)

    assert [model.id async for model in client.models.list()] == ["m", "n"]
    assert (await client.models.retrieve("n")).display_name == "n"
    with pytest.raises(anthropic.NotFoundError):
        await client.models.retrieve("none")
    assert upstream.received == []


async def test_a_cut_stream_raises_in_the_anthropic_client(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    begun = {"type": "message_start", "message": {**MESSAGE, "content": []}}
    upstream.answers_stream(f"event: message_start\ndata: {json.dumps(begun)}\n\n".encode())

    events = aiter(await ask_message(anthropic_client(gateway), stream=True))
    assert (await anext(events)).type == "message_start"
    with pytest.raises(anthropic.APIError, match="failed to answer"):
        await anext(events)


@pytest.mark.parametrize("family", [openai.AsyncOpenAI, anthropic.AsyncAnthropic])
async def test_a_client_that_gives_up_cancels_the_engine(
    start: Start, upstream: FakeUpstream, family: Any
) -> None:
    gateway = await start()
    upstream.answers_until_hung_up()
    base = f"{gateway.url}/v1" if family is openai.AsyncOpenAI else gateway.url
    client = family(base_url=base, api_key=gateway.site.key, max_retries=0, timeout=0.5)

    if family is openai.AsyncOpenAI:
        asking = client.chat.completions.create(model="m", messages=MESSAGES)
    else:
        asking = ask_message(client)
    with pytest.raises((openai.APITimeoutError, anthropic.APITimeoutError)):
        await asking

    async with asyncio.timeout(10):
        await upstream.hung_up.wait()


async def test_two_different_keys_and_an_unknown_path_are_told_in_the_clients_family(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    both = {"x-api-key": "az-other", "anthropic-version": "2023-06-01", **gateway.headers()}

    for path, status, kind in (
        ("/v1/messages", 401, "authentication_error"),
        ("/v1/models", 401, "authentication_error"),
        ("/v1/messages/batches", 404, "not_found_error"),
    ):
        method = "GET" if path == "/v1/models" else "POST"
        async with gateway.http.request(
            method, gateway.url + path, json={"model": "m"}, headers=both
        ) as response:
            body = await response.json()
            assert (response.status, body["type"], body["error"]["type"]) == (status, "error", kind)
            assert body["request_id"] == response.headers["request-id"]


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT"])
async def test_other_methods_are_refused_and_browsers_get_no_permission(
    start: Start, upstream: FakeUpstream, method: str
) -> None:
    gateway = await start()
    for path, allowed in (("/v1/messages", "POST"), ("/v1/models", "GET")):
        async with gateway.http.request(
            method, gateway.url + path, headers={"origin": "http://x"}
        ) as response:
            assert (response.status, response.headers["allow"]) == (405, allowed)
            assert not any(name.lower().startswith("access-control") for name in response.headers)
