"""The request and the answer that every proxy is measured with: about 2 KB each.

`max_tokens` tells the upstream how many events a stream has and `seed` how many
milliseconds lie between two: fields that every proxy passes on. So is `user`: LARGE makes
events of 64 KiB, DIES an answer that breaks off.
"""

from __future__ import annotations

import json

MODEL = "bench"
PATH = "/v1/chat/completions"
LARGE, DIES = "large", "dies"
_SYSTEM = (
    "You are a careful assistant of a marine research station. Answer in complete sentences, "
    "name the unit of every quantity, and say what you do not know. "
)
_TEXT = (
    "The tide at the eastern pier rose faster than the tables said, and the buoy left a "
    "gap of two hours around noon. Compare the three readings below with the harmonic forecast, "
    "tell which of them can be trusted, and suggest what to measure tomorrow before sunrise. "
)


def question(
    *, events: int | None = None, gap_ms: int = 0, user: str | None = None, model: str = MODEL
) -> bytes:
    """Return the body of a chat request; with `events` one that asks for a stream."""
    body: dict[str, object] = {
        "model": model,
        "messages": [
            {"role": "system", "content": _SYSTEM * 2},
            {"role": "user", "content": _TEXT * 2},
            {"role": "assistant", "content": _TEXT},
            {"role": "user", "content": _TEXT * 2},
        ],
        "temperature": 0.7,
        "top_p": 0.95,
        "max_tokens": 400 if events is None else events,
    }
    if events is not None:
        body |= {"stream": True, "stream_options": {"include_usage": True}, "seed": gap_ms}
    if user is not None:
        body["user"] = user
    return json.dumps(body).encode()


def answer() -> bytes:
    """Return a whole answer, with usage; it has no backslash, which nginx would take away."""
    return json.dumps(
        {
            "id": "chatcmpl-0123456789abcdef",
            "object": "chat.completion",
            "created": 1767225600,
            "model": MODEL,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": (_TEXT * 6).strip()},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 402, "completion_tokens": 353, "total_tokens": 755},
        }
    ).encode()


def events(count: int) -> list[bytes]:
    """Return the events of a stream: `count` tokens, the usage record and the end."""
    deltas = [
        _event([{"index": 0, "delta": {"content": f" tide{place % 10}"}, "finish_reason": None}])
        for place in range(count)
    ]
    usage = {"prompt_tokens": 402, "completion_tokens": count, "total_tokens": 402 + count}
    return [*deltas, _event([], usage), b"data: [DONE]\n\n"]


def _event(choices: list[object], usage: object = None) -> bytes:
    content = {
        "id": "chatcmpl-0123456789abcdef",
        "object": "chat.completion.chunk",
        "created": 1767225600,
        "model": MODEL,
        "choices": choices,
        "usage": usage,
    }
    return b"data: " + json.dumps(content, separators=(",", ":")).encode() + b"\n\n"
