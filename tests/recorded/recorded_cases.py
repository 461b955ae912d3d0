"""What is asked of the engines for the recorded suite, case by case."""

from __future__ import annotations

from typing import Any

ASKED = "Write the alphabet, then say “grüß Gott” 🙂."
WEATHER = "What is the weather in Paris?"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}},
    "required": ["city"],
    "additionalProperties": False,
}
FUNCTION = {"name": "get_weather", "description": "Weather of a city", "parameters": SCHEMA}
TOOL = {"type": "function", "function": FUNCTION}
FORMAT = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}
ANTHROPIC_TOOL = {
    "name": "get_weather",
    "description": "Weather of a city",
    "input_schema": SCHEMA,
}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
WITH_USAGE = {"stream_options": {"include_usage": True}}

CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
EMBEDDINGS, MESSAGES, COUNT = "/v1/embeddings", "/v1/messages", "/v1/messages/count_tokens"


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def _bodies() -> dict[str, tuple[str, dict[str, Any]]]:
    """Requests that may be streamed, by name: path and body."""
    fixed = {"model": "m", "temperature": 0, "seed": 7}
    chat = {**fixed, "max_tokens": 24, "messages": user(ASKED)}
    tools = {**chat, "messages": user(WEATHER), "tools": [TOOL], "tool_choice": "required"}
    schema = {**chat, "messages": user(WEATHER), "response_format": FORMAT}
    messages = {"model": "m", "temperature": 0, "max_tokens": 24, "messages": user(ASKED)}
    forced = {"tools": [ANTHROPIC_TOOL], "tool_choice": {"type": "any"}}
    return {
        "openai_chat-plain": (CHAT, chat),
        "openai_chat-tools": (CHAT, tools),
        "openai_chat-json_schema": (CHAT, schema),
        "openai_chat-logprobs": (CHAT, {**chat, "logprobs": True, "top_logprobs": 2}),
        "openai_chat-choices": (CHAT, {**chat, "n": 2, "temperature": 1.0}),
        "openai_completions-plain": (
            COMPLETIONS,
            {**fixed, "max_tokens": 24, "prompt": "The old bridge over the river"},
        ),
        "openai_responses-plain": (
            RESPONSES,
            {"model": "m", "temperature": 0, "max_output_tokens": 24, "input": ASKED},
        ),
        "anthropic_messages-plain": (MESSAGES, messages),
        "anthropic_messages-tools": (MESSAGES, {**messages, "messages": user(WEATHER), **forced}),
    }


def cases() -> dict[str, tuple[str, dict[str, Any]]]:
    """Every case by its name, `<dialect>-<case>`: path and body of the client's request."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    chat = {"model": "m", "max_tokens": 4, "messages": user(ASKED)}
    for name, (path, body) in _bodies().items():
        found[name] = (path, body)
        found[f"{name}-stream"] = (path, {**body, "stream": True})
        if path in (CHAT, COMPLETIONS):
            found[f"{name}-stream-usage"] = (path, {**body, "stream": True, **WITH_USAGE})
    blind = {"model": "m", "max_tokens": 4, "messages": [{"role": "user", "content": [IMAGE]}]}
    found["openai_chat-refused"] = (CHAT, {**chat, "response_format": {"type": "none"}})
    found["anthropic_messages-refused"] = (MESSAGES, blind)
    found["anthropic_count_tokens-plain"] = (COUNT, {"model": "m", "messages": user(ASKED)})
    found["openai_embeddings-plain"] = (EMBEDDINGS, {"model": "m", "input": [ASKED, WEATHER]})
    return found
