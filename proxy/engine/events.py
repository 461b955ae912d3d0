"""OpenAI's response objects for chat completions and completions, whole and streamed.

Source: OpenAI's API reference, objects `chat.completion`, `chat.completion.chunk`,
`text_completion`, `list` and the error object. Pure: everything here returns JSON-ready values.
"""

from __future__ import annotations

import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from proxy.engine.batching import Delta
from proxy.engine.requests import RequestError
from proxy.engine.sampling import TokenLogprob

DONE = b"data: [DONE]\n\n"

JsonObject = dict[str, Any]


@dataclass(frozen=True)
class Vocabulary:
    """What the log-probability objects need of the tokenizer."""

    token_bytes: Callable[[int], bytes]

    def text(self, token: int) -> str:
        """Text of one token; part of a character shows as U+FFFD, its bytes are given beside."""
        return self.token_bytes(token).decode("utf-8", errors="replace")


@dataclass(frozen=True)
class Answer:
    """All of a finished sequence."""

    text: str
    logprobs: tuple[TokenLogprob, ...]
    finish: str
    tokens: int

    @classmethod
    def of(cls, deltas: Sequence[Delta]) -> Answer:
        """Join the deltas of one sequence; the last one carries its end."""
        last = deltas[-1]
        return cls(
            "".join(delta.text for delta in deltas),
            tuple(entry for delta in deltas for entry in delta.logprobs),
            last.finish or "stop",
            last.tokens,
        )


def usage(prompt_tokens: int, completion_tokens: int) -> JsonObject:
    """Usage record: tokens read (each prompt once) and tokens made (all choices)."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def sse(value: JsonObject) -> bytes:
    """One server-sent event."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def error(problem: RequestError) -> JsonObject:
    """Error object of a request that is refused."""
    return {
        "error": {
            "message": problem.message,
            "type": problem.kind,
            "param": problem.param,
            "code": problem.code,
        }
    }


def model(name: str, created: int, context: int) -> JsonObject:
    """Model object; `max_model_len` as vLLM gives it."""
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "azeotrope",
        "max_model_len": context,
    }


class Shape(ABC):
    """The objects of one request, which share its id and time."""

    prefix: str
    whole: str
    streamed: str

    def __init__(self, model: str, vocabulary: Vocabulary, include_usage: bool) -> None:
        self.model, self.vocabulary, self.include_usage = model, vocabulary, include_usage
        self.id = self.prefix + secrets.token_hex(16)
        self.created = int(time.time())

    def _object(self, kind: str, choices: list[JsonObject]) -> JsonObject:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }

    def _chunk(self, choice: JsonObject) -> JsonObject:
        chunk = self._object(self.streamed, [choice])
        # With include_usage every chunk has the field; only the last one has a value.
        return {**chunk, "usage": None} if self.include_usage else chunk

    def usage_chunk(self, prompt_tokens: int, completion_tokens: int) -> JsonObject:
        """The chunk after all choices, if include_usage was asked for."""
        return {
            **self._object(self.streamed, []),
            "usage": usage(prompt_tokens, completion_tokens),
        }

    def answer(self, answers: Sequence[Answer], prompt_tokens: int) -> JsonObject:
        """The whole answer of a request that is not streamed."""
        made = sum(answer.tokens for answer in answers)
        choices = [self._choice(index, answer) for index, answer in enumerate(answers)]
        return {**self._object(self.whole, choices), "usage": usage(prompt_tokens, made)}

    @abstractmethod
    def opening(self, index: int) -> list[JsonObject]:
        """Return the chunks of a choice before its first text."""

    @abstractmethod
    def chunks(self, index: int, delta: Delta) -> list[JsonObject]:
        """Return the chunks of one delta."""

    @abstractmethod
    def _choice(self, index: int, answer: Answer) -> JsonObject: ...


class ChatShape(Shape):
    """Objects of a chat completion."""

    prefix, whole, streamed = "chatcmpl-", "chat.completion", "chat.completion.chunk"

    def opening(self, index: int) -> list[JsonObject]:
        """Return the chunk that names the role."""
        return [self._piece(index, {"role": "assistant", "content": ""}, (), None)]

    def chunks(self, index: int, delta: Delta) -> list[JsonObject]:
        """Return the delta's text, and its end in a chunk of its own."""
        made = []
        if delta.text or delta.logprobs:
            made.append(self._piece(index, {"content": delta.text}, delta.logprobs, None))
        if delta.finish:
            made.append(self._piece(index, {}, (), delta.finish))
        return made

    def _piece(
        self,
        index: int,
        delta: JsonObject,
        logprobs: Sequence[TokenLogprob],
        finish: str | None,
    ) -> JsonObject:
        return self._chunk(
            {
                "index": index,
                "delta": delta,
                "logprobs": self._logprobs(logprobs),
                "finish_reason": finish,
            }
        )

    def _choice(self, index: int, answer: Answer) -> JsonObject:
        return {
            "index": index,
            "message": {"role": "assistant", "content": answer.text, "refusal": None},
            "logprobs": self._logprobs(answer.logprobs),
            "finish_reason": answer.finish,
        }

    def _logprobs(self, entries: Sequence[TokenLogprob]) -> JsonObject | None:
        if not entries:
            return None
        content = [
            {
                **self._entry(entry.token, entry.logprob),
                "top_logprobs": [self._entry(token, value) for token, value in entry.top],
            }
            for entry in entries
        ]
        return {"content": content, "refusal": None}

    def _entry(self, token: int, logprob: float) -> JsonObject:
        return {
            "token": self.vocabulary.text(token),
            "logprob": logprob,
            "bytes": list(self.vocabulary.token_bytes(token)),
        }


class CompletionShape(Shape):
    """Objects of a completion."""

    prefix = "cmpl-"
    whole = streamed = "text_completion"

    def __init__(self, model: str, vocabulary: Vocabulary, include_usage: bool) -> None:
        super().__init__(model, vocabulary, include_usage)
        self._offsets: dict[int, int] = {}

    def opening(self, index: int) -> list[JsonObject]:
        """Return nothing: completions begin with their first text."""
        return []

    def chunks(self, index: int, delta: Delta) -> list[JsonObject]:
        """Return one chunk; the last one carries the end beside its text."""
        offset = self._offsets.get(index, 0)
        self._offsets[index] = offset + sum(
            len(self.vocabulary.text(entry.token)) for entry in delta.logprobs
        )
        return [self._chunk(self._part(index, delta, offset))]

    def _choice(self, index: int, answer: Answer) -> JsonObject:
        return self._part(index, answer, 0)

    def _part(self, index: int, part: Delta | Answer, offset: int) -> JsonObject:
        return {
            "index": index,
            "text": part.text,
            "logprobs": self._logprobs(part.logprobs, offset),
            "finish_reason": part.finish,
        }

    def _logprobs(self, entries: Sequence[TokenLogprob], offset: int) -> JsonObject | None:
        if not entries:
            return None
        texts = [self.vocabulary.text(entry.token) for entry in entries]
        return {
            "tokens": texts,
            "token_logprobs": [entry.logprob for entry in entries],
            # Several tokens can show the same text (parts of characters): the likeliest keeps it.
            "top_logprobs": [
                {self.vocabulary.text(token): value for token, value in reversed(entry.top)}
                for entry in entries
            ],
            "text_offset": [offset + sum(map(len, texts[:i])) for i in range(len(texts))],
        }
