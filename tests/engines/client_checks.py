"""What the official clients must be able to do, each as a check against a running gateway.

A check takes the gateway and fails by assertion; the engines' test modules pick those
that their engine can answer.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest
from engine_cases import OSLO, SEA, TOOL
from gateway import Gateway
from pydantic import BaseModel

MODEL = "assistant"
Check = Callable[[Gateway], None]


class City(BaseModel):
    """What a structured answer holds."""

    city: str
    warm: bool


def chat(served: Gateway) -> None:
    answer = served.client("alice").chat.completions.create(
        model=MODEL, messages=_sea(), max_tokens=16
    )
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0


def chat_stream(served: Gateway) -> None:
    with served.client("alice").chat.completions.stream(
        model=MODEL, messages=_sea(), max_tokens=16
    ) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        whole = stream.current_completion_snapshot
    assert len(deltas) > 1
    assert "".join(deltas) == whole.choices[0].message.content


def chat_async(served: Gateway) -> None:
    async def both() -> tuple[Any, list[Any]]:
        async with served.async_client("alice") as client:
            create = client.chat.completions.create
            whole = await create(model=MODEL, messages=_sea(), max_tokens=8)
            stream = await create(
                model=MODEL,
                messages=_sea(),
                max_tokens=8,
                stream=True,
                stream_options={"include_usage": True},
            )
            return whole, [chunk async for chunk in stream]

    whole, chunks = asyncio.run(both())
    assert whole.choices[0].message.content
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens > 0


def chat_tools(served: Gateway) -> None:
    tools: Any = [{"type": "function", "function": TOOL}]
    asked: dict[str, Any] = {
        "model": MODEL,
        "messages": OSLO,
        "tools": tools,
        "max_tokens": 200,
        "temperature": 0,
    }
    create = served.client("alice").chat.completions.create
    answer = create(**asked, tool_choice="required")
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].type == "function"
    assert calls[0].function.name == "weather"
    pieces = [
        call
        for chunk in create(**asked, tool_choice="required", stream=True)
        for choice in chunk.choices
        for call in choice.delta.tool_calls or []
    ]
    assert pieces[0].function is not None
    assert pieces[0].function.name == "weather"
    assert len(pieces) > 1


def chat_schema(served: Gateway) -> None:
    answer = served.client("alice").chat.completions.parse(
        model=MODEL, messages=_sea(), response_format=City, max_tokens=120, temperature=0
    )
    assert isinstance(answer.choices[0].message.parsed, City)


def completions(served: Gateway) -> None:
    create = served.client("alice").completions.create
    asked: dict[str, Any] = {"model": MODEL, "prompt": "Once upon a time", "max_tokens": 8}
    assert create(**asked).choices[0].text
    assert len([chunk for chunk in create(**asked, stream=True) if chunk.choices]) > 1


def responses(served: Gateway) -> None:
    create = served.client("alice").responses.create
    answer = create(model=MODEL, input="Say hello to the sea.", max_output_tokens=16)
    assert answer.output_text
    assert answer.usage is not None
    assert answer.usage.output_tokens > 0
    events = list(
        create(model=MODEL, input="Say hello to the sea.", max_output_tokens=16, stream=True)
    )
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(deltas) > 1
    assert events[-1].type in ("response.completed", "response.incomplete")


def models(served: Gateway) -> None:
    assert [model.id for model in served.client("alice").models.list()] == ["assistant", "plain"]
    assert served.anthropic("alice").models.list().data[0].id == "assistant"


def embeddings(served: Gateway) -> None:
    answer = served.client("alice").embeddings.create(model=MODEL, input=["the sea", "a river"])
    assert [len(item.embedding) for item in answer.data] == [576, 576]
    assert answer.data[0].embedding != answer.data[1].embedding


def messages(served: Gateway) -> None:
    answer = served.anthropic("alice").messages.create(model=MODEL, messages=_sea(), max_tokens=16)
    assert answer.content[0].type == "text"
    assert answer.content[0].text
    assert answer.usage.output_tokens > 0


def messages_stream(served: Gateway) -> None:
    with served.anthropic("alice").messages.stream(
        model=MODEL, messages=_sea(), max_tokens=16
    ) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert len(pieces) > 1
    assert final.content[0].type == "text"
    assert final.content[0].text == "".join(pieces)
    assert final.stop_reason in ("end_turn", "max_tokens")


def messages_async(served: Gateway) -> None:
    async def both() -> tuple[Any, list[Any]]:
        async with served.async_anthropic("alice") as client:
            whole = await client.messages.create(model=MODEL, messages=_sea(), max_tokens=8)
            stream = await client.messages.create(
                model=MODEL, messages=_sea(), max_tokens=8, stream=True
            )
            return whole, [event async for event in stream]

    whole, events = asyncio.run(both())
    assert whole.content[0].text
    assert events[0].type == "message_start"
    assert events[-1].type == "message_stop"


def count_tokens(served: Gateway) -> None:
    counted = served.anthropic("alice").messages.count_tokens(model=MODEL, messages=_sea())
    assert counted.input_tokens > 10


def errors(served: Gateway) -> None:
    client = served.client("alice")
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="az-wrong").chat.completions.create(
            model=MODEL, messages=_sea()
        )
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="none", messages=_sea())
    theirs = served.anthropic("alice")
    with pytest.raises(anthropic.AuthenticationError):
        theirs.with_options(api_key="az-wrong").messages.create(
            model=MODEL, messages=_sea(), max_tokens=4
        )
    with pytest.raises(anthropic.NotFoundError) as caught:
        theirs.messages.create(model="none", messages=_sea(), max_tokens=4)
    assert caught.value.request_id


def timeouts(served: Gateway) -> None:
    """A client that gives up cancels its call: the engine is free again, the call is settled."""
    with pytest.raises(openai.APITimeoutError):
        served.client("alice").with_options(timeout=0.3).chat.completions.create(
            model=MODEL, messages=_sea(), max_tokens=1500, extra_body={"ignore_eos": True}
        )
    with pytest.raises(anthropic.APITimeoutError):
        served.anthropic("alice").with_options(timeout=0.3).messages.create(
            model=MODEL, messages=_sea(), max_tokens=1500, extra_body={"ignore_eos": True}
        )
    deadline = time.monotonic() + 30
    while served.open_calls() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert served.open_calls() == 0


def retries(served: Gateway) -> None:
    """The clients' own retries read our 429: the third call waits, and is answered."""
    create = served.client("eager").with_options(max_retries=4).chat.completions.create
    for _ in range(3):
        assert create(model=MODEL, messages=_sea(), max_tokens=2).choices
    theirs = served.anthropic("hasty").with_options(max_retries=4)
    for _ in range(3):
        assert theirs.messages.create(model=MODEL, messages=_sea(), max_tokens=2).content
    assert served.limited() >= 2


def _sea() -> Any:
    return SEA


COMMON: tuple[Check, ...] = (
    chat,
    chat_stream,
    chat_async,
    chat_schema,
    completions,
    responses,
    models,
    messages,
    messages_stream,
    messages_async,
    count_tokens,
    errors,
    timeouts,
    retries,
)
