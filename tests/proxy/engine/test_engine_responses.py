"""OpenAI's responses as its own client sees them, and as raw events."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from engine_bench import NAME, post, typed_events

from proxy.engine.model import LanguageModel

ASKED: dict[str, Any] = {"model": NAME, "input": "Say hello to the sea.", "temperature": 0}


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as made:
        yield made


def test_a_response_is_the_chat_answer_to_the_same_conversation(client: openai.OpenAI) -> None:
    response = client.responses.create(
        model=NAME,
        instructions="Be brief.",
        input=[{"role": "user", "content": [{"type": "input_text", "text": "Hello!"}]}],
        max_output_tokens=12,
        temperature=0,
    )
    chat = client.chat.completions.create(
        model=NAME,
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello!"},
        ],
        max_tokens=12,
        temperature=0,
    )
    assert response.output_text == chat.choices[0].message.content
    assert response.usage is not None
    assert chat.usage is not None
    assert response.usage.input_tokens == chat.usage.prompt_tokens
    assert response.usage.output_tokens == chat.usage.completion_tokens
    assert response.instructions == "Be brief."


def test_an_answer_can_be_sent_back_as_input(client: openai.OpenAI, model: LanguageModel) -> None:
    first = client.responses.create(**ASKED, max_output_tokens=6)
    turns: Any = [
        {"role": "user", "content": ASKED["input"]},
        *(item.to_dict() for item in first.output),
        {"role": "user", "content": "And to the land?"},
    ]
    second = client.responses.create(model=NAME, input=turns, max_output_tokens=6)
    read = model.encode_chat(
        [
            {"role": "user", "content": ASKED["input"]},
            {"role": "assistant", "content": first.output_text},
            {"role": "user", "content": "And to the land?"},
        ]
    )
    assert second.usage is not None
    assert second.usage.input_tokens == len(read)


def test_a_stream_opens_fills_and_closes_response_item_and_part(url: str) -> None:
    events = typed_events(url, "/v1/responses", {**ASKED, "max_output_tokens": 8})
    kinds = [event["type"] for event in events]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert set(kinds[4:-4]) == {"response.output_text.delta"}
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    text = "".join(event["delta"] for event in events[4:-4])
    final = events[-1]["response"]
    assert final["output"][0]["content"][0]["text"] == events[-4]["text"] == text
    assert {event["item_id"] for event in events[3:-2]} == {final["output"][0]["id"]}
    assert final["incomplete_details"] == {"reason": "max_output_tokens"}
    assert final["usage"]["output_tokens"] == 8


def test_the_client_s_stream_ends_with_the_whole_response(client: openai.OpenAI) -> None:
    whole = client.responses.create(**ASKED, max_output_tokens=10)
    with client.responses.stream(**ASKED, max_output_tokens=10) as stream:
        events = list(stream)
    assert [event.type for event in events].count("response.output_text.delta") > 1
    last = events[-1]
    assert last.type == "response.incomplete"
    assert last.response.output_text == whole.output_text
    assert last.response.usage == whole.usage


def test_an_answer_that_ends_by_itself_is_completed(
    client: openai.OpenAI, model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = client.responses.create(**ASKED, max_output_tokens=4).output_text
    end = frozenset(model.encode(text)[2:3])
    monkeypatch.setitem(model.__dict__, "end_tokens", end)
    events = list(client.responses.create(**ASKED, max_output_tokens=50, stream=True))
    last = events[-1]
    assert last.type == "response.completed"
    assert (last.response.status, last.response.incomplete_details) == ("completed", None)
    assert text.startswith(last.response.output_text)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": []}, "input"),
        ({"input": [{"role": "pirate", "content": "Arr"}]}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input"),
        ({"input": [{"type": "function_call_output", "output": ""}]}, "input"),
        ({"input": "x " * 2000}, "input"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"text": {"format": {"type": "json_object"}}}, "text"),
        ({"reasoning": {"effort": "high"}}, "reasoning"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"truncation": "auto"}, "truncation"),
    ],
)
def test_what_is_not_offered_is_a_400_that_names_the_field(
    url: str, change: dict[str, Any], param: str
) -> None:
    status, text = post(url, "/v1/responses", {**ASKED, **change})
    error = json.loads(text)["error"]
    assert (status, error["param"]) == (400, param)
    assert error["type"] == "invalid_request_error"


def test_values_that_change_nothing_are_taken(client: openai.OpenAI) -> None:
    harmless: Any = {
        "tools": [],
        "text": {"format": {"type": "text"}},
        "truncation": "disabled",
        "store": True,
        "metadata": {"for": "me"},
        "user": "somebody",
    }
    response = client.responses.create(**ASKED, max_output_tokens=1, **harmless)
    assert response.metadata == {"for": "me"}
