"""OpenAI's responses: text in, text out; nothing is stored. Source: OpenAI's API reference.

An answer is one item of the output, a message with one part of text. Its stream opens them in
that order, sends the text, closes them in reverse, and repeats the whole response at its end.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import count
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct

from proxy.engine.events import Answer, JsonObject, TypedShape, new_id
from proxy.engine.requests import (
    ConversationRequest,
    NotOffered,
    Part,
    Positive,
    RequestError,
    message,
)
from proxy.engine.tasks import Delta


class TextPart(Part):
    """Text of a client, or of an earlier answer that it sends back."""

    type: Literal["input_text", "output_text"]


class Message(Struct):
    """One message of the input."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    type: Literal["message"] = "message"


class ResponsesRequest(ConversationRequest, kw_only=True):
    """Body of POST /v1/responses."""

    prompt_field = "input"
    not_offered: ClassVar[NotOffered] = {
        "background": (None, False),
        "context_management": (None, []),
        "conversation": (None,),
        "include": (None, []),
        "previous_response_id": (None,),
        "prompt": (None,),
        "reasoning": (None, {}),
        "text": (None, {}, {"format": {"type": "text"}}),
        "tools": (None, []),
        "top_logprobs": (None, 0),
        "truncation": (None, "disabled"),
    }

    input: str | Annotated[list[Message], Meta(min_length=1)]
    instructions: str | None = None
    max_output_tokens: Positive | None = None
    metadata: dict[str, str] | None = None

    background: bool | None = None
    context_management: list[Any] | None = None
    conversation: Any = None
    include: list[str] | None = None
    previous_response_id: str | None = None
    prompt: Any = None
    reasoning: dict[str, Any] | None = None
    text: dict[str, Any] | None = None
    tools: list[Any] | None = None
    top_logprobs: int | None = None
    truncation: str | None = None

    def turns(self) -> list[dict[str, str]]:
        """Messages as chat templates want them."""
        first = [] if self.instructions is None else [message("system", self.instructions)]
        if isinstance(self.input, str):
            return [*first, message("user", self.input)]
        return first + [message(entry.role, entry.content) for entry in self.input]

    @property
    def token_limit(self) -> int | None:
        """Most tokens of an answer; None means as many as the context holds."""
        return self.max_output_tokens


class ResponsesShape(TypedShape):
    """Objects of a response."""

    prefix = "resp_"

    def __init__(self, model: str, prompt_tokens: int, request: ResponsesRequest) -> None:
        super().__init__(model, prompt_tokens)
        self._request = request
        self._item_id = new_id("msg_")
        self._numbers = count()
        self._deltas: list[Delta] = []

    def answer(self, answers: Sequence[Answer]) -> JsonObject:
        """Return the response object of a finished answer."""
        (answer,) = answers
        status = _status(answer)
        return {
            **self._response(status, [self._item(status, [_part(answer.text)])]),
            "completed_at": int(time.time()) if status == "completed" else None,
            "incomplete_details": (
                None if status == "completed" else {"reason": "max_output_tokens"}
            ),
            "usage": _usage(self.prompt_tokens, answer.tokens),
        }

    def opening(self, choices: int) -> list[JsonObject]:
        """Return the events that open the response, its item and the item's part."""
        response = self._response("in_progress", [])
        return [
            self._event("response.created", response=response),
            self._event("response.in_progress", response=response),
            self._event(
                "response.output_item.added", output_index=0, item=self._item("in_progress", [])
            ),
            self._part_event("response.content_part.added", part=_part("")),
        ]

    def chunks(self, index: int, delta: Delta) -> list[JsonObject]:
        """Return the delta of the text."""
        self._deltas.append(delta)
        if not delta.text:
            return []
        return [self._part_event("response.output_text.delta", delta=delta.text, logprobs=[])]

    def closing(self, completion_tokens: int) -> list[JsonObject]:
        """Return the events that close part, item and response."""
        answer = Answer.of(self._deltas)
        response = self.answer([answer])
        (item,) = response["output"]
        return [
            self._part_event("response.output_text.done", text=answer.text, logprobs=[]),
            self._part_event("response.content_part.done", part=_part(answer.text)),
            self._event("response.output_item.done", output_index=0, item=item),
            self._event(f"response.{response['status']}", response=response),
        ]

    def failure(self, problem: RequestError) -> JsonObject:
        """Return the error event."""
        return self._event(
            "error", code=problem.code or problem.kind, message=problem.message, param=problem.param
        )

    def _event(self, kind: str, **fields: object) -> JsonObject:
        return {"type": kind, **fields, "sequence_number": next(self._numbers)}

    def _part_event(self, kind: str, **fields: object) -> JsonObject:
        place = {"item_id": self._item_id, "output_index": 0, "content_index": 0}
        return self._event(kind, **place, **fields)

    def _item(self, status: str, content: list[JsonObject]) -> JsonObject:
        return {
            "id": self._item_id,
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": content,
        }

    def _response(self, status: str, output: list[JsonObject]) -> JsonObject:
        """Return a response object; what was not asked for has the value that it had here."""
        request = self._request
        sampling = request.sampling(1)
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "completed_at": None,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": request.instructions,
            "max_output_tokens": request.max_output_tokens,
            "metadata": request.metadata or {},
            "model": self.model,
            "output": output,
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": False,
            "temperature": sampling.temperature,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_logprobs": 0,
            "top_p": sampling.top_p,
            "truncation": "disabled",
            "usage": None,
        }


def _status(answer: Answer) -> str:
    return "completed" if answer.finish == "stop" else "incomplete"


def _part(text: str) -> JsonObject:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(prompt_tokens: int, completion_tokens: int) -> JsonObject:
    return {
        "input_tokens": prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt_tokens + completion_tokens,
    }
