"""Requests of every dialect, as clients send them, for comparing a gateway with its engine."""

from typing import Any

SEA = [{"role": "user", "content": "Say hello to the sea in one sentence: “grüß Gott” 🙂."}]
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "warm": {"type": "boolean"}},
    "required": ["city", "warm"],
    "additionalProperties": False,
}
TOOL = {"name": "weather", "description": "Weather of a city", "parameters": CITY}
OSLO = [{"role": "user", "content": "What is the weather in Oslo?"}]

_SAME = {"temperature": 0, "seed": 7}
_CHAT = {**_SAME, "messages": SEA, "max_tokens": 24}
_TOOLS = {
    **_SAME,
    "messages": OSLO,
    "max_tokens": 60,
    "tools": [{"type": "function", "function": TOOL}],
    "tool_choice": "required",
}
_SCHEMA = {"name": "city", "schema": CITY, "strict": True}
_STREAM = {"stream": True}
_USAGE = {"stream_options": {"include_usage": True}}
_RESPONSE = {"input": "Say hello to the sea.", "max_output_tokens": 16, "temperature": 0}
_MESSAGES = {"messages": SEA, "max_tokens": 16, "temperature": 0}
_TEXT = {**_SAME, "prompt": "Once upon a time", "max_tokens": 16}

# name: path, body without the model
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", _CHAT),
    "chat-stream": ("/v1/chat/completions", {**_CHAT, **_STREAM}),
    "chat-stream-usage": ("/v1/chat/completions", {**_CHAT, **_STREAM, **_USAGE}),
    "chat-logprobs": ("/v1/chat/completions", {**_CHAT, "logprobs": True, "top_logprobs": 3}),
    "chat-two-choices": (
        "/v1/chat/completions",
        {**_CHAT, **_STREAM, "n": 2, "max_tokens": 8, "temperature": 1},  # vLLM wants chance for 2
    ),
    "chat-tools": ("/v1/chat/completions", _TOOLS),
    "chat-tools-stream": ("/v1/chat/completions", {**_TOOLS, **_STREAM}),
    "chat-schema": (
        "/v1/chat/completions",
        {
            **_CHAT,
            "max_tokens": 60,
            "response_format": {"type": "json_schema", "json_schema": _SCHEMA},
        },
    ),
    "completions": ("/v1/completions", _TEXT),
    "completions-stream": ("/v1/completions", {**_TEXT, **_STREAM}),
    "completions-stream-usage": ("/v1/completions", {**_TEXT, **_STREAM, **_USAGE}),
    "responses": ("/v1/responses", _RESPONSE),
    "responses-stream": ("/v1/responses", {**_RESPONSE, **_STREAM}),
    "messages": ("/v1/messages", _MESSAGES),
    "messages-stream": ("/v1/messages", {**_MESSAGES, **_STREAM}),
    "count-tokens": ("/v1/messages/count_tokens", {"messages": SEA}),
    "embeddings": ("/v1/embeddings", {"input": ["the sea", "a river"]}),
    "a-mistake": ("/v1/chat/completions", {"messages": "none", "max_tokens": 4}),
}
MARKED = {name for name in CASES if name not in ("count-tokens", "embeddings", "a-mistake")}
