"""Anthropic's messages and their count of tokens. Source: Anthropic's API reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct

from proxy.engine.events import Answer, JsonObject, TypedShape
from proxy.engine.requests import (
    ConversationRequest,
    NotOffered,
    Part,
    Positive,
    RequestError,
    Stop,
    message,
)
from proxy.engine.tasks import Delta

# https://docs.anthropic.com/en/api/errors
_ERROR_TYPES = {404: "not_found_error", 413: "request_too_large", 503: "overloaded_error"}


class TextBlock(Part):
    """One block of a message's content."""

    type: Literal["text"]


class Message(Struct):
    """One message of a conversation."""

    role: Literal["user", "assistant", "system"]
    content: str | list[TextBlock]


class CountRequest(ConversationRequest, kw_only=True):
    """Body of POST /v1/messages/count_tokens."""

    prompt_field = "messages"
    not_offered: ClassVar[NotOffered] = {
        "container": (None,),
        "mcp_servers": (None, []),
        "output_config": (None, {}),
        "output_format": (None,),
        "thinking": (None, {"type": "disabled"}),
        "tools": (None, []),
    }

    messages: Annotated[list[Message], Meta(min_length=1)]
    system: str | list[TextBlock] | None = None
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None

    container: Any = None
    mcp_servers: list[Any] | None = None
    output_config: dict[str, Any] | None = None
    output_format: Any = None
    thinking: dict[str, Any] | None = None
    tools: list[Any] | None = None

    def check(self) -> None:
        """Raise RequestError for what is not offered here."""
        super().check()
        if self.messages[-1].role == "assistant":
            raise RequestError(
                "messages must not end with an assistant's: "
                "prefilled answers are not offered by this engine.",
                "messages",
            )

    def turns(self) -> list[dict[str, str]]:
        """Messages as chat templates want them."""
        first = [] if self.system is None else [message("system", self.system)]
        return first + [message(entry.role, entry.content) for entry in self.messages]


class MessagesRequest(CountRequest, kw_only=True):
    """Body of POST /v1/messages."""

    max_tokens: Positive
    stop_sequences: Annotated[list[Stop], Meta(max_length=16)] | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """Strings that end an answer."""
        return tuple(self.stop_sequences or ())

    @property
    def token_limit(self) -> int | None:
        """Most tokens of an answer."""
        return self.max_tokens


class MessagesShape(TypedShape):
    """Objects of a message."""

    prefix = "msg_"

    def answer(self, answers: Sequence[Answer]) -> JsonObject:
        """Return the whole message."""
        (answer,) = answers
        return {
            **self._message([{"type": "text", "text": answer.text}], answer.tokens),
            **_reason(answer),
        }

    def opening(self, choices: int) -> list[JsonObject]:
        """Return the events that open the message and its block."""
        return [
            {"type": "message_start", "message": self._message([], 0)},
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "text", "text": ""},
            },
        ]

    def chunks(self, index: int, delta: Delta) -> list[JsonObject]:
        """Return the delta of the text; the last one closes block and message as well."""
        made = []
        if delta.text:
            text = {"type": "text_delta", "text": delta.text}
            made.append({"type": "content_block_delta", "index": 0, "delta": text})
        if delta.finish:
            made += [
                {"type": "content_block_stop", "index": 0},
                {
                    "type": "message_delta",
                    "delta": _reason(delta),
                    "usage": _usage(self.prompt_tokens, delta.tokens),
                },
            ]
        return made

    def closing(self, completion_tokens: int) -> list[JsonObject]:
        """Return the last event."""
        return [{"type": "message_stop"}]

    def failure(self, problem: RequestError) -> JsonObject:
        """Return the error event."""
        return error(problem)

    def _message(self, content: list[JsonObject], made: int) -> JsonObject:
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _usage(self.prompt_tokens, made),
        }


def error(problem: RequestError) -> JsonObject:
    """Anthropic's error object of a request that is refused."""
    other = "api_error" if problem.status >= 500 else "invalid_request_error"
    kind = _ERROR_TYPES.get(problem.status, other)
    return {"type": "error", "error": {"type": kind, "message": problem.message}}


def _reason(end: Delta | Answer) -> JsonObject:
    reason = "end_turn" if end.finish == "stop" else "max_tokens"
    return {
        "stop_reason": reason if end.stop is None else "stop_sequence",
        "stop_sequence": end.stop,
    }


def _usage(prompt_tokens: int, completion_tokens: int) -> JsonObject:
    return {
        "input_tokens": prompt_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": completion_tokens,
    }
