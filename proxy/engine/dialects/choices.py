"""Bodies of OpenAI's chat completions and completions. Source: OpenAI's API reference."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct

from proxy.engine.requests import (
    ConversationRequest,
    GenerationRequest,
    NotOffered,
    Part,
    Positive,
    RequestError,
    Stop,
    message,
)

MAX_CHOICES = 128
_MAX_TOP_LOGPROBS = 20
_COMPLETION_TOKENS = 16  # OpenAI's default for /v1/completions
_NOT_OFFERED: NotOffered = {
    "frequency_penalty": (None, 0.0),
    "presence_penalty": (None, 0.0),
    "logit_bias": (None, {}),
}


class StreamOptions(Struct):
    """Options of a streamed answer."""

    include_usage: bool = False


class TextPart(Part):
    """One part of a message's content."""

    type: Literal["text"]


class Message(Struct):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart]


class _Choices(GenerationRequest, kw_only=True):
    n: Annotated[int, Meta(ge=1, le=MAX_CHOICES)] | None = None
    max_tokens: Positive | None = None
    stop: Stop | Annotated[list[Stop], Meta(max_length=16)] | None = None
    stream_options: StreamOptions | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None

    def check(self) -> None:
        super().check()
        if self.stream_options is not None and not self.stream:
            raise RequestError(
                "stream_options is only allowed with stream: true.", "stream_options"
            )

    @property
    def choices(self) -> int:
        return self.n or 1

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a usage record."""
        return self.stream_options is not None and self.stream_options.include_usage


class ChatRequest(_Choices, ConversationRequest, kw_only=True):
    """Body of POST /v1/chat/completions."""

    prompt_field = "messages"
    not_offered: ClassVar[NotOffered] = {
        **_NOT_OFFERED,
        "response_format": (None, {"type": "text"}),
        "tools": (None, []),
        "functions": (None, []),
    }

    messages: Annotated[list[Message], Meta(min_length=1)]
    max_completion_tokens: Positive | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=_MAX_TOP_LOGPROBS)] | None = None
    response_format: dict[str, Any] | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None

    def check(self) -> None:
        """Raise RequestError for what is not offered here, or does not go together."""
        super().check()
        if self.top_logprobs and not self.logprobs:
            raise RequestError("top_logprobs is only allowed with logprobs: true.", "top_logprobs")

    def turns(self) -> list[dict[str, str]]:
        """Messages as chat templates want them."""
        return [message(entry.role, entry.content) for entry in self.messages]

    @property
    def token_limit(self) -> int | None:
        """Most tokens of an answer; None means as many as the context holds."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def logprobs_wanted(self) -> int | None:
        """Number of alternatives per token, None for no log-probabilities."""
        return (self.top_logprobs or 0) if self.logprobs else None


class CompletionRequest(_Choices, kw_only=True):
    """Body of POST /v1/completions."""

    prompt_field = "prompt"
    not_offered: ClassVar[NotOffered] = {
        **_NOT_OFFERED,
        "echo": (None, False),
        "suffix": (None, ""),
    }

    prompt: str | list[str | int | list[int]]
    logprobs: Annotated[int, Meta(ge=0, le=_MAX_TOP_LOGPROBS)] | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: int | None = None

    def check(self) -> None:
        """Raise RequestError for what is not offered here, or does not go together."""
        super().check()
        if self.best_of not in (None, self.choices):
            raise RequestError("best_of other than n is not offered by this engine.", "best_of")
        if len(self.prompts()) * self.choices > MAX_CHOICES:
            raise RequestError(f"prompts times n must be at most {MAX_CHOICES}.", "prompt")

    def prompts(self) -> list[str | list[int]]:
        """One entry per prompt: text or token ids. RequestError for an empty or mixed list."""
        return texts_or_tokens(self.prompt, "prompt")

    @property
    def token_limit(self) -> int | None:
        """Most tokens of an answer."""
        return self.max_tokens or _COMPLETION_TOKENS

    @property
    def logprobs_wanted(self) -> int | None:
        """Number of alternatives per token, None for no log-probabilities."""
        return self.logprobs


def texts_or_tokens(given: str | list[str | int | list[int]], field: str) -> list[str | list[int]]:
    """One entry per prompt: text or token ids. RequestError if they are mixed or one is empty."""
    if isinstance(given, str):
        given = [given]
    texts = [part for part in given if isinstance(part, str)]
    tokens = [part for part in given if isinstance(part, int)]
    lists = [part for part in given if isinstance(part, list)]
    if len(given) not in (len(texts), len(tokens), len(lists)):
        raise RequestError(f"{field} must not mix texts, ids and lists of ids.", field)
    prompts: list[str | list[int]] = [tokens] if tokens else [*texts, *lists]
    if not prompts or not all(prompts):
        raise RequestError(f"{field} must not be empty.", field)
    return prompts
