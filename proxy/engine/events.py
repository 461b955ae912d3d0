"""The objects of an answer, whole and streamed: what every dialect has of them. Pure."""

from __future__ import annotations

import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from proxy.engine.requests import RequestError
from proxy.engine.sampling import TokenLogprob
from proxy.engine.tasks import Delta

JsonObject = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """All of a finished sequence."""

    text: str
    logprobs: tuple[TokenLogprob, ...]
    finish: str
    tokens: int
    stop: str | None

    @classmethod
    def of(cls, deltas: Sequence[Delta]) -> Answer:
        """Join the deltas of one sequence; the last one carries its end."""
        last = deltas[-1]
        return cls(
            "".join(delta.text for delta in deltas),
            tuple(entry for delta in deltas for entry in delta.logprobs),
            last.finish or "stop",
            last.tokens,
            last.stop,
        )


class Shape(ABC):
    """The objects of one request, which share its id and time, and how they are streamed."""

    prefix: str
    last_bytes = b""  # of a stream, after all events

    def __init__(self, model: str, prompt_tokens: int) -> None:
        self.model, self.prompt_tokens = model, prompt_tokens
        self.id = new_id(self.prefix)
        self.created = int(time.time())

    @abstractmethod
    def answer(self, answers: Sequence[Answer]) -> JsonObject:
        """Return the whole answer of a request that is not streamed."""

    @abstractmethod
    def opening(self, choices: int) -> list[JsonObject]:
        """Return the events before the first text."""

    @abstractmethod
    def chunks(self, index: int, delta: Delta) -> list[JsonObject]:
        """Return the events of one delta."""

    @abstractmethod
    def closing(self, completion_tokens: int) -> list[JsonObject]:
        """Return the events after all choices have ended."""

    @abstractmethod
    def failure(self, problem: RequestError) -> JsonObject:
        """Return the event of a stream that cannot go on: too late for a status."""

    def sse(self, value: JsonObject) -> bytes:
        """One server-sent event."""
        return b"data: " + msgspec.json.encode(value) + b"\n\n"


class TypedShape(Shape):
    """A shape whose events have a type, which is the event's name as well."""

    def sse(self, value: JsonObject) -> bytes:
        """One server-sent event."""
        return b"event: %b\n" % str(value["type"]).encode() + super().sse(value)


def new_id(prefix: str) -> str:
    """Make an id of an answer or of a part of it."""
    return prefix + secrets.token_hex(16)


def error(problem: RequestError) -> JsonObject:
    """OpenAI's error object of a request that is refused."""
    return {
        "error": {
            "message": problem.message,
            "type": problem.kind,
            "param": problem.param,
            "code": problem.code,
        }
    }


def model(name: str, created: int, context: int) -> JsonObject:
    """OpenAI's model object; `max_model_len` as vLLM gives it."""
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "azeotrope",
        "max_model_len": context,
    }
