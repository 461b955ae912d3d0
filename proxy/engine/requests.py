"""What the requests of all dialects share: decoding, what is refused, how an answer is sampled.

Fields that change the answer and are not known here are refused rather than ignored; fields that
only label a request (`user`, `metadata`, ...) are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec
from msgspec import Meta, Struct

from proxy.engine.sampling import Sampling

Positive = Annotated[int, Meta(ge=1)]
Stop = Annotated[str, Meta(min_length=1)]
# Fields that are refused, with the values of each that change nothing.
NotOffered = Mapping[str, tuple[object, ...]]


class RequestError(Exception):
    """A request that is answered with an error object: message, parameter, code, status.

    `kind` and `code` are OpenAI's words; other dialects tell by the status.
    """

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


class Request(Struct, kw_only=True):
    """Body of any request."""

    not_offered: ClassVar[NotOffered] = {}

    model: str

    def check(self) -> None:
        """Raise RequestError for what is not offered here, or does not go together."""
        for field, harmless in self.not_offered.items():
            if getattr(self, field) not in harmless:
                raise RequestError(f"{field} is not offered by this engine; leave it out.", field)


class GenerationRequest(Request, kw_only=True):
    """Body of a request for an answer. `prompt_field` is where the dialect has the prompt."""

    prompt_field: ClassVar[str]

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=-1)] | None = None
    seed: int | None = None
    stream: bool | None = None
    ignore_eos: bool = False
    vllm_xargs: dict[str, Any] | None = None

    @property
    def ticket(self) -> str | None:
        """The ticket that the gateway put in; anything that is no text is a malformed one."""
        value = (self.vllm_xargs or {}).get("azeotrope")
        return value if value is None or isinstance(value, str) else ""

    @property
    def choices(self) -> int:
        """Answers per prompt."""
        return 1

    @property
    def stops(self) -> tuple[str, ...]:
        """Strings that end an answer."""
        return ()

    @property
    def token_limit(self) -> int | None:
        """Most tokens of an answer; None means as many as the context holds."""
        return None

    @property
    def logprobs_wanted(self) -> int | None:
        """Number of alternatives per token, None for no log-probabilities."""
        return None

    def sampling(self, max_tokens: int) -> Sampling:
        """Sampling parameters with the defaults filled in, which all dialects share."""
        return Sampling(
            max_tokens=max_tokens,
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            top_k=max(self.top_k or 0, 0),
            seed=self.seed,
            stop=self.stops,
            logprobs=self.logprobs_wanted,
            ignore_end=self.ignore_eos,
        )


class ConversationRequest(GenerationRequest, kw_only=True):
    """Body of a request for the next turn of a conversation."""

    def turns(self) -> list[dict[str, str]]:
        """Messages as chat templates want them: text contents, no `developer` role."""
        raise NotImplementedError


class Part(Struct):
    """One part of a message's content; the dialects name its type."""

    text: str


def message(role: str, content: str | Sequence[Part]) -> dict[str, str]:
    """One message as chat templates want it."""
    text = content if isinstance(content, str) else "".join(part.text for part in content)
    return {"role": "system" if role == "developer" else role, "content": text}


_Request = TypeVar("_Request", bound=Request)


def parse(body: bytes, kind: type[_Request]) -> _Request:
    """Decode and check a body; RequestError (400) with the name of the wrong field."""
    try:
        request = msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise RequestError(f"Invalid request: {error}.", _field_of(str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError("The body is not valid JSON.") from error
    request.check()
    return request


def _field_of(message: str) -> str | None:
    """Name of the field in msgspec's message (``... - at `$.temperature` ``)."""
    found = re.search(r"`\$\.([A-Za-z_]+)|required field `([A-Za-z_]+)`", message)
    return (found[1] or found[2]) if found else None
