"""Real engines' answers, through the gateway, into the official clients: sync, async, helpers."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import anthropic
import openai
import pytest
from fake_upstream import FakeUpstream
from recordings import RECORDINGS, Recording
from running import Running, Start
from test_recorded_answers import named, replay


def of(path: str, *, streams: bool) -> list[Recording]:
    """The good recordings of one endpoint."""
    return [
        recording
        for recording in RECORDINGS
        if (recording.path, recording.streams, recording.status) == (path, streams, 200)
    ]


CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
MESSAGES = "/v1/messages"


def openai_client(gateway: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.site.key, max_retries=0)


def async_openai(gateway: Running) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.site.key, max_retries=0)


def anthropic_client(gateway: Running) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=gateway.url, api_key=gateway.site.key, max_retries=0)


def async_anthropic(gateway: Running) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(
        base_url=gateway.url, auth_token=gateway.site.key, api_key=None, max_retries=0
    )


def asked(recording: Recording) -> dict[str, Any]:
    """The request as this client takes it: it knows no temperature any more."""
    body = recording.body
    extra = {"temperature": body.pop("temperature")} if "temperature" in body else {}
    return {**body, "extra_body": extra}


def pieces(recording: Recording) -> list[bytes]:
    return recording.events if recording.streams else [recording.answer]


@pytest.mark.parametrize("recording", of(CHAT, streams=False), ids=named)
async def test_chat(start: Start, upstream: FakeUpstream, recording: Recording) -> None:
    gateway = await start()
    replay(upstream, recording, pieces(recording))
    body = recording.body

    first = await asyncio.to_thread(openai_client(gateway).chat.completions.create, **body)
    second = await async_openai(gateway).chat.completions.create(**body)

    assert first == second
    assert json.loads(first.model_dump_json(exclude_unset=True)) == json.loads(recording.answer)
    (sent,) = {received.body.partition(b',"vllm_xargs"')[0] for received in upstream.received}
    assert json.loads(sent + b"}") == {**body, "model": "engine-m"}


@pytest.mark.parametrize("recording", of(CHAT, streams=True), ids=named)
async def test_chat_streams(start: Start, upstream: FakeUpstream, recording: Recording) -> None:
    gateway = await start()
    replay(upstream, recording, pieces(recording))

    def read() -> list[Any]:
        return list(openai_client(gateway).chat.completions.create(**recording.body))

    first = await asyncio.to_thread(read)
    stream = await async_openai(gateway).chat.completions.create(**recording.body)
    second = [chunk async for chunk in stream]

    assert first == second
    texts: dict[int, str] = {}
    for choice in (choice for chunk in first for choice in chunk.choices):
        texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
    assert [texts[index] for index in sorted(texts) if texts[index]] == recording.texts
    asked = "stream_options" in recording.body
    assert any(chunk.usage for chunk in first if not chunk.choices) is asked


# The helper wants the first choice to come first, and tools to be strict.
HELPED = [one for one in of(CHAT, streams=True) if not {"n", "tools"} & one.body.keys()]


@pytest.mark.parametrize("recording", HELPED, ids=named)
async def test_the_chat_stream_helper(
    start: Start, upstream: FakeUpstream, recording: Recording
) -> None:
    gateway = await start()
    replay(upstream, recording, pieces(recording))
    body = {name: value for name, value in recording.body.items() if name != "stream"}
    text = ""
    async with async_openai(gateway).chat.completions.stream(**body) as stream:
        # Raised at the end of an answer that max_tokens cut.
        with contextlib.suppress(openai.LengthFinishReasonError):
            async for event in stream:
                text += event.delta if event.type == "content.delta" else ""

    assert [text] == (recording.texts or [""])


@pytest.mark.parametrize("streams", [False, True])
async def test_completions(start: Start, upstream: FakeUpstream, streams: bool) -> None:
    gateway = await start()
    for recording in of(COMPLETIONS, streams=streams):
        replay(upstream, recording, pieces(recording))
        answer: Any = await async_openai(gateway).completions.create(**recording.body)
        if streams:
            chunks = [chunk async for chunk in answer]
            text = "".join(choice.text for chunk in chunks for choice in chunk.choices)
        else:
            text = answer.choices[0].text
        assert [text] == recording.texts


async def test_responses(start: Start, upstream: FakeUpstream) -> None:
    gateway = await start()
    for recording in of(RESPONSES, streams=False):
        replay(upstream, recording, pieces(recording))
        answer = await async_openai(gateway).responses.create(**recording.body)
        assert [answer.output_text] == recording.texts
        assert answer.usage is not None
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == recording.usage


async def test_responses_stream(start: Start, upstream: FakeUpstream) -> None:
    gateway = await start()
    for recording in of(RESPONSES, streams=True):
        replay(upstream, recording, pieces(recording))
        client = openai_client(gateway)

        def read(client: openai.OpenAI = client, body: Any = recording.body) -> list[Any]:
            return list(client.responses.create(**body))

        first = await asyncio.to_thread(read)
        second = [
            event async for event in await async_openai(gateway).responses.create(**recording.body)
        ]

        assert first == second
        assert [event.type for event in first] == [
            content["type"] for content in recording.contents
        ]
        deltas = (event.delta for event in first if event.type == "response.output_text.delta")
        assert ["".join(deltas)] == recording.texts
        assert first[-1].response.usage.output_tokens == recording.usage[1]


async def test_the_responses_stream_helper(start: Start, upstream: FakeUpstream) -> None:
    gateway = await start()
    # llama.cpp's events have no output_index, without which the helper cannot place them.
    for recording in of(RESPONSES, streams=True):
        if recording.name.startswith("vllm"):
            replay(upstream, recording, pieces(recording))
            body = {name: value for name, value in recording.body.items() if name != "stream"}
            async with async_openai(gateway).responses.stream(**body) as stream:
                answer = await stream.get_final_response()
            assert [answer.output_text] == recording.texts


@pytest.mark.parametrize("recording", of(MESSAGES, streams=False), ids=named)
async def test_messages(start: Start, upstream: FakeUpstream, recording: Recording) -> None:
    gateway = await start()
    replay(upstream, recording, pieces(recording))

    first = await asyncio.to_thread(anthropic_client(gateway).messages.create, **asked(recording))
    second = await async_anthropic(gateway).messages.create(**asked(recording))

    assert first == second
    assert [block.text for block in first.content if block.type == "text"] == recording.texts
    assert first.usage.output_tokens == recording.usage[1]
    assert all("anthropic-version" in received.headers for received in upstream.received)
    assert not any("x-api-key" in received.headers for received in upstream.received)


@pytest.mark.parametrize("recording", of(MESSAGES, streams=True), ids=named)
async def test_messages_stream(start: Start, upstream: FakeUpstream, recording: Recording) -> None:
    gateway = await start()
    replay(upstream, recording, pieces(recording))
    body = {name: value for name, value in asked(recording).items() if name != "stream"}

    def read() -> Any:
        with anthropic_client(gateway).messages.stream(**body) as stream:
            return stream.get_final_message()

    first = await asyncio.to_thread(read)
    events = [
        event async for event in await async_anthropic(gateway).messages.create(**asked(recording))
    ]

    assert [block.text for block in first.content if block.type == "text"] == recording.texts
    assert first.usage.output_tokens == recording.usage[1]
    assert [event.type for event in events] == [content["type"] for content in recording.contents]


async def test_counting_and_embeddings(start: Start, upstream: FakeUpstream) -> None:
    gateway = await start()
    for recording in of("/v1/messages/count_tokens", streams=False):
        replay(upstream, recording, pieces(recording))
        counted = await async_anthropic(gateway).messages.count_tokens(**recording.body)
        assert counted.input_tokens == json.loads(recording.answer)["input_tokens"]
    for recording in of("/v1/embeddings", streams=False):
        replay(upstream, recording, pieces(recording))
        vectors = await async_openai(gateway).embeddings.create(**recording.body)
        assert len(vectors.data) == 2
        assert vectors.usage.prompt_tokens == recording.usage[0]


async def test_an_engines_refusal_is_the_clients_exception(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    for recording in RECORDINGS:
        if recording.status == 200:
            continue
        replay(upstream, recording, pieces(recording))
        caught: pytest.ExceptionInfo[openai.APIStatusError | anthropic.APIStatusError]
        if recording.path == MESSAGES:
            with pytest.raises(anthropic.APIStatusError) as caught:
                await async_anthropic(gateway).messages.create(**asked(recording))
        else:
            with pytest.raises(openai.APIStatusError) as caught:
                await async_openai(gateway).chat.completions.create(**recording.body)
        assert caught.value.status_code == recording.status
        assert caught.value.response.content == recording.answer
