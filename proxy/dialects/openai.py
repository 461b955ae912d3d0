"""The OpenAI dialect: chat completions and completions, which differ only in their path.

Errors have the shape {"error": {"message", "type", "param", "code"}}.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from proxy.dialects.body import BodyError, Fields, parse, serialise
from proxy.dialects.contract import Question, Reply
from proxy.errors import CallError, Kind
from proxy.guard.contract import Verdict

TICKET_FIELD = "vllm_xargs"
TICKET_NAME = "azeotrope"

# Arguments of an engine's processors, through which a request could choose, weaken or
# switch off its mark, or reach an answer that no processor has seen. A client's own are
# dropped, not refused: a client that sends them by habit keeps working.
DROPPED = frozenset(
    {
        "azeotrope",
        "custom_logit_processor",  # SGLang: code from the request
        "custom_params",  # SGLang: arguments of that code
        "ec_transfer_params",  # vLLM: encoder cache taken from another request
        "extra_args",
        "extra_body",
        "kv_transfer_params",  # vLLM: cache taken from another engine
        "logits_processor",
        "logits_processors",
        "sampling_params",
        "use_beam_search",  # vLLM: searches by log probabilities from before the processors
        "vllm_xargs",
        "watermark",  # SGLang: a key of the client's choice
        "watermarking",  # vLLM: `false` switches its own mark off
    }
)

_INVALID = "invalid_request_error"
_TIMEOUT = "timeout_error"
_SERVER = "server_error"
# Kind: status, type, code
_SHAPES: dict[Kind, tuple[int, str, str | None]] = {
    Kind.BAD_BODY: (400, _INVALID, "invalid_json"),
    Kind.BAD_FIELD: (400, _INVALID, None),
    Kind.BODY_TIMEOUT: (408, _INVALID, "request_timeout"),
    Kind.BODY_TOO_LARGE: (413, _INVALID, "request_too_large"),
    Kind.WRONG_CONTENT_TYPE: (415, _INVALID, "unsupported_content_type"),
    Kind.EXPECTATION_FAILED: (417, _INVALID, "expectation_failed"),
    Kind.UNKNOWN_PATH: (404, _INVALID, "unknown_url"),
    Kind.WRONG_METHOD: (405, _INVALID, "method_not_supported"),
    Kind.UNKNOWN_MODEL: (404, _INVALID, "model_not_found"),
    Kind.NO_KEY: (401, _INVALID, "invalid_api_key"),
    Kind.UNKNOWN_KEY: (401, _INVALID, "invalid_api_key"),
    Kind.SUSPENDED: (403, "permission_error", "account_suspended"),
    Kind.RATE_LIMITED: (429, "requests", "rate_limit_exceeded"),
    Kind.DRAINING: (503, _SERVER, "shutting_down"),
    Kind.UPSTREAM_UNREACHABLE: (502, _SERVER, "upstream_unreachable"),
    Kind.UPSTREAM_BROKEN: (502, _SERVER, "upstream_error"),
    Kind.UPSTREAM_TIMEOUT: (504, _TIMEOUT, "upstream_timeout"),
    Kind.INTERNAL: (500, _SERVER, "internal_error"),
}
_decode_str = msgspec.json.Decoder(str).decode
_decode_bool = msgspec.json.Decoder(bool | None).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@dataclass(frozen=True, slots=True)
class OpenAI:
    """One endpoint of the OpenAI API."""

    name: str
    path: str

    def credential(self, headers: Mapping[str, str]) -> str:
        """Return the key of an `Authorization: Bearer` header; raises CallError (NO_KEY)."""
        scheme, _, key = headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise CallError(
                Kind.NO_KEY,
                "You didn't provide an API key. Send it in an Authorization header "
                "(Authorization: Bearer YOUR_KEY).",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return key.strip()

    def parse(self, body: bytes) -> Question:
        """Read a request's body; raises CallError (BAD_BODY, BAD_FIELD)."""
        try:
            fields = parse(body)
        except BodyError as error:
            raise CallError(
                Kind.BAD_BODY, f"We could not parse the JSON body of your request: {error}."
            ) from None
        dropped = tuple(name for name in fields if name in DROPPED)
        for name in dropped:
            del fields[name]
        model = _text(fields, "model")
        added_usage = _flag(fields, "stream") and _ask_for_usage(fields)
        return Question(fields, model, dropped, added_usage)

    def apply(self, question: Question, *, model: str, ticket: str) -> bytes:
        """Return the body for the engine; members keep their order and their bytes."""
        fields: dict[str, object] = {**question.fields, TICKET_FIELD: {TICKET_NAME: ticket}}
        if model != question.model:
            fields["model"] = model
        return serialise(fields)

    def limits(self, verdict: Verdict) -> Mapping[str, str]:
        """Return the x-ratelimit-* headers, and retry-after with a refusal."""
        headers = {
            "x-ratelimit-limit-requests": str(verdict.limit),
            "x-ratelimit-remaining-requests": str(verdict.remaining),
            "x-ratelimit-reset-requests": duration(verdict.reset_s),
        }
        if not verdict.admitted:
            headers["retry-after"] = str(max(1, math.ceil(verdict.retry_after_s)))
            headers["retry-after-ms"] = str(max(1, math.ceil(verdict.retry_after_s * 1000)))
        return headers

    def error(self, error: CallError) -> Reply:
        """Render an error as a whole answer."""
        headers = {"content-type": "application/json", **error.headers}
        return Reply(_SHAPES[error.kind][0], headers, msgspec.json.encode(_shape(error)))

    def error_event(self, error: CallError) -> bytes:
        """Render an error as the last event of a stream; no [DONE] follows it."""
        return b"data: " + msgspec.json.encode(_shape(error)) + b"\n\n"


def models_list(models: Iterable[str], created: int) -> bytes:
    """Return the body of GET /v1/models; `created` is a Unix time."""
    data = [_model(model, created) for model in models]
    return msgspec.json.encode({"object": "list", "data": data})


def model_object(model: str, created: int) -> bytes:
    """Return the body of GET /v1/models/{id}."""
    return msgspec.json.encode(_model(model, created))


def duration(seconds: float) -> str:
    """Return a duration as this API writes it: 120ms, 1s, 1.5s, 6m0s, 1h0m0s."""
    ms = math.ceil(seconds * 1000)
    if ms < 1000:
        return f"{ms}ms"
    whole, rest = divmod(ms, 1000)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    text = f"{second}.{rest:03}".rstrip("0").rstrip(".") if rest else str(second)
    if hours:
        return f"{hours}h{minute}m{text}s"
    return f"{minute}m{text}s" if minute else f"{text}s"


def _model(model: str, created: int) -> dict[str, object]:
    return {"id": model, "object": "model", "created": created, "owned_by": "azeotrope"}


def _shape(error: CallError) -> dict[str, object]:
    _, kind, code = _SHAPES[error.kind]
    shape = {"message": error.message, "type": kind, "param": error.param, "code": code}
    return {"error": shape}


def _text(fields: Fields, name: str) -> str:
    try:
        return _decode_str(fields[name])
    except KeyError:
        raise CallError(
            Kind.BAD_FIELD, f"You must provide a {name} parameter.", param=name
        ) from None
    except msgspec.DecodeError:
        raise CallError(Kind.BAD_FIELD, f"{name} must be a string.", param=name) from None


def _flag(fields: Fields, name: str) -> bool:
    if name not in fields:
        return False
    try:
        return bool(_decode_bool(fields[name]))
    except msgspec.DecodeError:
        raise CallError(Kind.BAD_FIELD, f"{name} must be a boolean.", param=name) from None


def _ask_for_usage(fields: Fields) -> bool:
    """Ask for the stream's usage record; true if the client did not ask for it itself."""
    raw = bytes(fields.get("stream_options", b"null"))
    options: Fields = {} if raw == b"null" else _options(raw)
    asked = _flag(options, "include_usage")
    if not asked:
        options["include_usage"] = msgspec.Raw(b"true")
        fields["stream_options"] = msgspec.Raw(serialise(options))
    return not asked


def _options(raw: bytes) -> Fields:
    try:
        return _decode_fields(raw)
    except msgspec.DecodeError:
        raise CallError(
            Kind.BAD_FIELD, "stream_options must be an object.", param="stream_options"
        ) from None
