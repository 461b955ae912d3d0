"""The Anthropic family: x-api-key, anthropic-ratelimit-* headers, errors, the list of models.

Errors have the shape {"type": "error", "error": {"type", "message"}, "request_id"}; their
types and statuses are those of https://docs.anthropic.com/en/api/errors.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from proxy.dialects.contract import Reply
from proxy.dialects.openai import bearer
from proxy.errors import CallError, Kind
from proxy.guard.contract import Verdict

_INVALID = "invalid_request_error"
_AUTHENTICATION = "authentication_error"
# Kind: status, type
SHAPES: dict[Kind, tuple[int, str]] = {
    Kind.BAD_HTTP: (400, _INVALID),
    Kind.HEAD_TOO_LARGE: (431, _INVALID),
    Kind.BAD_BODY: (400, _INVALID),
    Kind.BAD_FIELD: (400, _INVALID),
    Kind.BODY_TIMEOUT: (408, _INVALID),
    Kind.BODY_TOO_LARGE: (413, "request_too_large"),
    Kind.WRONG_CONTENT_TYPE: (415, _INVALID),
    Kind.EXPECTATION_FAILED: (417, _INVALID),
    Kind.UNKNOWN_PATH: (404, "not_found_error"),
    Kind.WRONG_METHOD: (405, _INVALID),
    Kind.UNKNOWN_MODEL: (404, "not_found_error"),
    Kind.NO_KEY: (401, _AUTHENTICATION),
    Kind.UNKNOWN_KEY: (401, _AUTHENTICATION),
    Kind.SUSPENDED: (403, "permission_error"),
    Kind.RATE_LIMITED: (429, "rate_limit_error"),
    Kind.DRAINING: (529, "overloaded_error"),
    Kind.OVERLOADED: (529, "overloaded_error"),
    Kind.UPSTREAM_UNREACHABLE: (502, "api_error"),
    Kind.UPSTREAM_BROKEN: (502, "api_error"),
    Kind.UPSTREAM_TIMEOUT: (504, "timeout_error"),
    Kind.INTERNAL: (500, "api_error"),
}


class Anthropic:
    """The family's common words."""

    id_header = "request-id"

    def credential(self, headers: Mapping[str, str]) -> str:
        """Return the key of `x-api-key`, or of `Authorization: Bearer` (the SDK's auth_token).

        Raises CallError (NO_KEY), also where the two differ: it would be unclear who asks.
        """
        own, borne = headers.get("x-api-key", "").strip(), bearer(headers)
        if own and borne and not hmac.compare_digest(_bytes(own), _bytes(borne)):
            raise CallError(Kind.NO_KEY, "x-api-key and Authorization carry different keys.")
        key = own or borne
        if not key:
            raise CallError(Kind.NO_KEY, "x-api-key header is required")
        return key

    def limits(self, verdict: Verdict) -> Mapping[str, str]:
        """Return the anthropic-ratelimit-* headers, and retry-after with a refusal."""
        reset = datetime.now(UTC) + timedelta(seconds=math.ceil(verdict.reset_s))
        headers = {
            "anthropic-ratelimit-requests-limit": str(verdict.limit),
            "anthropic-ratelimit-requests-remaining": str(verdict.remaining),
            "anthropic-ratelimit-requests-reset": f"{reset:%Y-%m-%dT%H:%M:%SZ}",
        }
        if not verdict.admitted:
            headers["retry-after"] = str(max(1, math.ceil(verdict.retry_after_s)))
        return headers

    def error(self, error: CallError, request_id: str) -> Reply:
        """Render an error as a whole answer."""
        headers = {"content-type": "application/json", **error.headers}
        body = {**error_object(error), "request_id": request_id}
        return Reply(SHAPES[error.kind][0], headers, msgspec.json.encode(body))

    def models(self, names: Iterable[str], created: int) -> bytes:
        """Return the body of GET /v1/models, all on one page; `created` is a Unix time."""
        data = [_model(name, created) for name in names]
        first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
        page = {"data": data, "has_more": False, "first_id": first, "last_id": last}
        return msgspec.json.encode(page)

    def model(self, name: str, created: int) -> bytes:
        """Return the body of GET /v1/models/{id}."""
        return msgspec.json.encode(_model(name, created))


ANTHROPIC = Anthropic()


def _bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")  # as it came: headers hold any bytes


def error_object(error: CallError) -> dict[str, object]:
    """Return an error as this family writes it, in answers and in streams alike."""
    return {
        "type": "error",
        "error": {"type": SHAPES[error.kind][1], "message": error.message},
    }


def _model(name: str, created: int) -> dict[str, str]:
    created_at = f"{datetime.fromtimestamp(created, UTC):%Y-%m-%dT%H:%M:%SZ}"
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": created_at,
        "lifecycle": "active",  # since version 2026-10-21 of the API
    }
