"""What a client may ask for: the two request bodies, checked, and OpenAI's errors for the rest.

Fields that change the answer and are not known here are refused rather than ignored; fields that
only label a request (`user`, `metadata`, ...) are ignored.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from proxy.engine.sampling import Sampling

MAX_CHOICES = 128
_MAX_TOP_LOGPROBS = 20
_COMPLETION_TOKENS = 16  # OpenAI's default for /v1/completions


class RequestError(Exception):
    """A request that is answered with OpenAI's error object: message, parameter, code, status."""

    def __init__(
        self,
        message: str,
        param: str | None = None,
        *,
        code: str | None = None,
        status: int = 400,
        kind: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.message, self.param, self.code = message, param, code
        self.status, self.kind = status, kind


class StreamOptions(Struct):
    """Options of a streamed answer."""

    include_usage: bool = False


class TextPart(Struct):
    """One part of a message's content."""

    type: Literal["text"]
    text: str


class Message(Struct):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart]


Positive = Annotated[int, Meta(ge=1)]
Stop = Annotated[str, Meta(min_length=1)]


class _Common(Struct):
    model: str
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=-1)] | None = None
    n: Annotated[int, Meta(ge=1, le=MAX_CHOICES)] | None = None
    max_tokens: Positive | None = None
    stop: Stop | Annotated[list[Stop], Meta(max_length=16)] | None = None
    seed: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    ignore_eos: bool = False
    vllm_xargs: dict[str, Any] | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None

    @property
    def ticket(self) -> str | None:
        """The ticket that the gateway put in; anything that is no text is a malformed one."""
        value = (self.vllm_xargs or {}).get("azeotrope")
        return value if value is None or isinstance(value, str) else ""

    @property
    def choices(self) -> int:
        """Answers per prompt."""
        return self.n or 1

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a usage record."""
        return self.stream_options is not None and self.stream_options.include_usage

    def sampling(self, max_tokens: int, logprobs: int | None) -> Sampling:
        """Sampling parameters with OpenAI's defaults filled in."""
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return Sampling(
            max_tokens=max_tokens,
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            top_k=max(self.top_k or 0, 0),
            seed=self.seed,
            stop=stop,
            logprobs=logprobs,
            ignore_end=self.ignore_eos,
        )


class ChatRequest(_Common, kw_only=True):
    """Body of POST /v1/chat/completions."""

    messages: Annotated[list[Message], Meta(min_length=1)]
    max_completion_tokens: Positive | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=_MAX_TOP_LOGPROBS)] | None = None
    response_format: dict[str, Any] | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None

    def conversation(self) -> list[dict[str, str]]:
        """Messages as chat templates want them: text contents, no `developer` role."""
        return [
            {
                "role": "system" if message.role == "developer" else message.role,
                "content": message.content
                if isinstance(message.content, str)
                else "".join(part.text for part in message.content),
            }
            for message in self.messages
        ]

    @property
    def token_limit(self) -> int | None:
        """Most tokens of an answer; None means as many as the context holds."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def logprobs_wanted(self) -> int | None:
        """Number of alternatives per token, None for no log-probabilities."""
        return (self.top_logprobs or 0) if self.logprobs else None


class CompletionRequest(_Common, kw_only=True):
    """Body of POST /v1/completions."""

    prompt: str | list[str | int | list[int]]
    logprobs: Annotated[int, Meta(ge=0, le=_MAX_TOP_LOGPROBS)] | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: int | None = None

    def prompts(self) -> list[str | list[int]]:
        """One entry per prompt: text or token ids. RequestError for an empty or mixed list."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        texts = [part for part in self.prompt if isinstance(part, str)]
        tokens = [part for part in self.prompt if isinstance(part, int)]
        lists = [part for part in self.prompt if isinstance(part, list)]
        if len(self.prompt) not in (len(texts), len(tokens), len(lists)):
            raise RequestError("prompt must not mix texts, ids and lists of ids.", "prompt")
        return [tokens] if tokens else [*texts, *lists]

    @property
    def token_limit(self) -> int | None:
        """Most tokens of an answer."""
        return self.max_tokens or _COMPLETION_TOKENS


_Request = TypeVar("_Request", ChatRequest, CompletionRequest)


def parse(body: bytes, kind: type[_Request]) -> _Request:
    """Decode and check a body; RequestError (400) with the name of the wrong field."""
    try:
        request = msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise RequestError(f"Invalid request: {error}.", _field_of(str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError("The body is not valid JSON.") from error
    _check_together(request)
    return request


# Fields that would change the answer and are not offered here, with the values that change nothing.
_NOT_OFFERED: dict[str, tuple[object, ...]] = {
    "frequency_penalty": (None, 0.0),
    "presence_penalty": (None, 0.0),
    "logit_bias": (None, {}),
    "response_format": (None, {"type": "text"}),
    "tools": (None, []),
    "functions": (None, []),
    "echo": (None, False),
    "suffix": (None, ""),
}


def _check_together(request: ChatRequest | CompletionRequest) -> None:
    for field, harmless in _NOT_OFFERED.items():
        if getattr(request, field, None) not in harmless:
            raise RequestError(f"{field} is not offered by this engine; leave it out.", field)
    if request.stream_options is not None and not request.stream:
        raise RequestError("stream_options is only allowed with stream: true.", "stream_options")
    if isinstance(request, ChatRequest):
        if request.top_logprobs and not request.logprobs:
            raise RequestError("top_logprobs is only allowed with logprobs: true.", "top_logprobs")
        return
    if request.best_of not in (None, request.choices):
        raise RequestError("best_of other than n is not offered by this engine.", "best_of")
    if not request.prompts() or not all(request.prompts()):
        raise RequestError("prompt must not be empty.", "prompt")
    if len(request.prompts()) * request.choices > MAX_CHOICES:
        raise RequestError(f"prompts times n must be at most {MAX_CHOICES}.", "prompt")


def _field_of(message: str) -> str | None:
    """Name of the field in msgspec's message (``... - at `$.temperature` ``)."""
    found = re.search(r"`\$\.([A-Za-z_]+)|required field `([A-Za-z_]+)`", message)
    return (found[1] or found[2]) if found else None
