"""Anthropic's messages as its own client sees them, and its errors."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from engine_bench import NAME, post, typed_events

from proxy.engine.model import LanguageModel
from proxy.engine.server import MAX_BODY

HELLO: Any = [{"role": "user", "content": "Say hello to the crew of a ship."}]
ASKED: dict[str, Any] = {"model": NAME, "messages": HELLO, "max_tokens": 10, "temperature": 0}
# The client of today has no argument for the temperature; that of yesterday had.
BY_CLIENT: Any = {**ASKED, "extra_body": {"temperature": ASKED["temperature"]}}
del BY_CLIENT["temperature"]


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as made:
        yield made


def test_a_message_is_the_chat_answer_to_the_same_conversation(
    client: anthropic.Anthropic, url: str
) -> None:
    message = client.messages.create(**BY_CLIENT, system="Be brief.")
    messages = [{"role": "system", "content": "Be brief."}, *HELLO]
    _, text = post(url, "/v1/chat/completions", {**ASKED, "messages": messages})
    chat = json.loads(text)
    assert message.content[0].type == "text"
    assert message.content[0].text == chat["choices"][0]["message"]["content"]
    assert message.usage.input_tokens == chat["usage"]["prompt_tokens"]
    assert (message.usage.output_tokens, message.stop_reason) == (10, "max_tokens")


def test_blocks_are_read_as_text(client: anthropic.Anthropic) -> None:
    blocks: Any = [{"type": "text", "text": "Say hello to "}, {"type": "text", "text": "Ann."}]
    system: Any = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    in_blocks = client.messages.create(
        **{**BY_CLIENT, "system": system, "messages": [{"role": "user", "content": blocks}]}
    )
    plain = [{"role": "user", "content": "Say hello to Ann."}]
    in_text = client.messages.create(**{**BY_CLIENT, "system": "Be brief.", "messages": plain})
    assert (in_blocks.content, in_blocks.usage) == (in_text.content, in_text.usage)


def test_a_stream_opens_fills_and_closes_message_and_block(url: str) -> None:
    events = typed_events(url, "/v1/messages", ASKED)
    kinds = [event["type"] for event in events]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert events[0]["message"]["usage"]["output_tokens"] == 0
    assert events[-2]["usage"]["output_tokens"] == 10


def test_the_client_s_stream_ends_with_the_whole_message(client: anthropic.Anthropic) -> None:
    whole = client.messages.create(**BY_CLIENT)
    with client.messages.stream(**BY_CLIENT) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert len(pieces) > 1
    assert whole.content[0].type == final.content[0].type == "text"
    assert final.content[0].text == "".join(pieces) == whole.content[0].text
    assert final.usage == whole.usage
    assert (final.stop_reason, final.stop_sequence) == ("max_tokens", None)


def test_the_stop_sequence_that_ended_a_message_is_named(client: anthropic.Anthropic) -> None:
    text = client.messages.create(**BY_CLIENT).content[0]
    assert text.type == "text"
    stop = text.text[8:12]
    with client.messages.stream(**BY_CLIENT, stop_sequences=["never said", stop]) as stream:
        final = stream.get_final_message()
    assert (final.stop_reason, final.stop_sequence) == ("stop_sequence", stop)
    assert final.content[0].type == "text"
    assert final.content[0].text == text.text[: text.text.index(stop)]


def test_a_message_that_ends_by_itself_says_end_turn(
    client: anthropic.Anthropic, model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = client.messages.create(**BY_CLIENT).content[0]
    assert text.type == "text"
    monkeypatch.setitem(model.__dict__, "end_tokens", frozenset(model.encode(text.text)[2:3]))
    assert client.messages.create(**BY_CLIENT).stop_reason == "end_turn"


def test_tokens_are_counted_as_a_message_would_read_them(client: anthropic.Anthropic) -> None:
    asked: Any = {"model": NAME, "messages": HELLO, "system": "Be brief."}
    counted = client.messages.count_tokens(**asked)
    assert counted.input_tokens == client.messages.create(**asked, max_tokens=1).usage.input_tokens


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 5000}, "context"),
        ({"temperature": 1.5}, "temperature"),
        ({"messages": []}, "messages"),
        ({"messages": [*HELLO, {"role": "assistant", "content": "Ahoy"}]}, "prefilled"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages"),
        ({"tools": [{"name": "weather", "input_schema": {}}]}, "tools"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking"),
        ({"output_config": {"effort": "low"}}, "output_config"),
    ],
)
def test_what_is_not_offered_is_a_400_in_anthropic_s_shape(
    url: str, change: dict[str, Any], word: str
) -> None:
    status, text = post(url, "/v1/messages", {**ASKED, **change})
    refusal = json.loads(text)
    assert (status, refusal["type"]) == (400, "error")
    assert refusal["error"]["type"] == "invalid_request_error"
    assert word in refusal["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        ("/v1/messages", json.dumps({**ASKED, "model": "none"}).encode(), 404, "not_found_error"),
        ("/v1/messages/count_tokens", b"{", 400, "invalid_request_error"),
        ("/v1/messages", b" " * (MAX_BODY + 1), 413, "request_too_large"),
    ],
)
def test_other_refusals_have_anthropic_s_types(
    url: str, path: str, body: bytes, status: int, kind: str
) -> None:
    got, text = post(url, path, body)
    assert (got, json.loads(text)["error"]["type"]) == (status, kind)
