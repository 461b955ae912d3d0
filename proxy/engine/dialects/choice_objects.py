"""Objects of OpenAI's chat completions and completions, whole and streamed.

Source: OpenAI's API reference, objects `chat.completion`, `chat.completion.chunk`,
`text_completion`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from proxy.engine.events import Answer, JsonObject, Shape, error
from proxy.engine.requests import RequestError
from proxy.engine.sampling import TokenLogprob
from proxy.engine.tasks import Delta


@dataclass(frozen=True)
class Vocabulary:
    """What the log-probability objects need of the tokenizer."""

    token_bytes: Callable[[int], bytes]

    def text(self, token: int) -> str:
        """Text of one token; part of a character shows as U+FFFD, its bytes are given beside."""
        return self.token_bytes(token).decode("utf-8", errors="replace")


def usage(prompt_tokens: int, completion_tokens: int) -> JsonObject:
    """Usage record: tokens read (each prompt once) and tokens made (all choices)."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


class _ChoicesShape(Shape):
    whole: str
    streamed: str
    last_bytes = b"data: [DONE]\n\n"

    def __init__(
        self, model: str, prompt_tokens: int, vocabulary: Vocabulary, include_usage: bool
    ) -> None:
        super().__init__(model, prompt_tokens)
        self.vocabulary, self.include_usage = vocabulary, include_usage

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

    def opening(self, choices: int) -> list[JsonObject]:
        return []

    def closing(self, completion_tokens: int) -> list[JsonObject]:
        """Return the usage record if it was asked for."""
        if not self.include_usage:
            return []
        record = usage(self.prompt_tokens, completion_tokens)
        return [{**self._object(self.streamed, []), "usage": record}]

    def answer(self, answers: Sequence[Answer]) -> JsonObject:
        made = sum(answer.tokens for answer in answers)
        choices = [self._choice(index, answer) for index, answer in enumerate(answers)]
        record = usage(self.prompt_tokens, made)
        return {**self._object(self.whole, choices), "usage": record}

    def failure(self, problem: RequestError) -> JsonObject:
        return error(problem)

    @abstractmethod
    def _choice(self, index: int, answer: Answer) -> JsonObject: ...


class ChatShape(_ChoicesShape):
    """Objects of a chat completion."""

    prefix, whole, streamed = "chatcmpl-", "chat.completion", "chat.completion.chunk"

    def opening(self, choices: int) -> list[JsonObject]:
        """Return the chunks that name the role, one for each choice."""
        first = {"role": "assistant", "content": ""}
        return [self._piece(index, first, (), None) for index in range(choices)]

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


class CompletionShape(_ChoicesShape):
    """Objects of a completion."""

    prefix = "cmpl-"
    whole = streamed = "text_completion"

    def __init__(
        self, model: str, prompt_tokens: int, vocabulary: Vocabulary, include_usage: bool
    ) -> None:
        super().__init__(model, prompt_tokens, vocabulary, include_usage)
        self._offsets: dict[int, int] = {}

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
