"""The OpenAI family: bearer keys, x-ratelimit-* headers, errors, the list of models.

Errors have the shape {"error": {"message", "type", "param", "code"}}.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import msgspec

from proxy.dialects.contract import Reply
from proxy.errors import CallError, Kind
from proxy.guard.contract import Verdict

_INVALID = "invalid_request_error"
_TIMEOUT = "timeout_error"
_SERVER = "server_error"
# Kind: status, type, code
SHAPES: dict[Kind, tuple[int, str, str | None]] = {
    Kind.BAD_HTTP: (400, _INVALID, "invalid_http"),
    Kind.HEAD_TOO_LARGE: (431, _INVALID, "head_too_large"),
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
    Kind.OVERLOADED: (503, _SERVER, "overloaded"),
    Kind.UPSTREAM_UNREACHABLE: (502, _SERVER, "upstream_unreachable"),
    Kind.UPSTREAM_BROKEN: (502, _SERVER, "upstream_error"),
    Kind.UPSTREAM_TIMEOUT: (504, _TIMEOUT, "upstream_timeout"),
    Kind.INTERNAL: (500, _SERVER, "internal_error"),
}


class OpenAI:
    """The family's common words."""

    id_header = "x-request-id"

    def credential(self, headers: Mapping[str, str]) -> str:
        """Return the key of an `Authorization: Bearer` header; raises CallError (NO_KEY)."""
        key = bearer(headers)
        if key is None:
            raise CallError(
                Kind.NO_KEY,
                "You didn't provide an API key. Send it in an Authorization header "
                "(Authorization: Bearer YOUR_KEY).",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return key

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

    def error(self, error: CallError, request_id: str) -> Reply:
        """Render an error as a whole answer."""
        headers = {"content-type": "application/json", **error.headers}
        return Reply(SHAPES[error.kind][0], headers, msgspec.json.encode(error_object(error)))

    def models(self, names: Iterable[str], created: int) -> bytes:
        """Return the body of GET /v1/models; `created` is a Unix time."""
        data = [_model(name, created) for name in names]
        return msgspec.json.encode({"object": "list", "data": data})

    def model(self, name: str, created: int) -> bytes:
        """Return the body of GET /v1/models/{id}."""
        return msgspec.json.encode(_model(name, created))


OPENAI = OpenAI()


def bearer(headers: Mapping[str, str]) -> str | None:
    """Return the key of an `Authorization: Bearer` header; None if there is none."""
    scheme, _, key = headers.get("Authorization", "").partition(" ")
    return (key.strip() or None) if scheme.lower() == "bearer" else None


def error_object(error: CallError) -> dict[str, object]:
    """Return an error as this family writes it, in answers and in streams alike."""
    _, kind, code = SHAPES[error.kind]
    shape = {"message": error.message, "type": kind, "param": error.param, "code": code}
    return {"error": shape}


def error_event(error: CallError) -> bytes:
    """Return an error as the last event of a stream without types; no [DONE] follows it."""
    return b"data: " + msgspec.json.encode(error_object(error)) + b"\n\n"


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


def _model(name: str, created: int) -> dict[str, object]:
    return {"id": name, "object": "model", "created": created, "owned_by": "azeotrope"}
