"""The gateway's own surface as an OpenAPI 3.1 document (`azeotrope openapi`, docs/openapi.json).

Bodies are typed no further than the gateway reads them: everything else is between client
and engine. Errors come from the tables that the dialects answer with.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from proxy.detection import DETECT
from proxy.dialects import DIALECTS
from proxy.dialects import anthropic as anthropic_family
from proxy.dialects import openai as openai_family
from proxy.dialects.anthropic import ANTHROPIC
from proxy.dialects.contract import Dialect, Speaker
from proxy.endpoints import MODELS
from proxy.errors import Kind
from proxy.identity import DISTRIBUTION
from proxy.provenance.signer import HEADER, WELL_KNOWN

Json = dict[str, Any]

_MODEL: Json = {"type": "string", "description": "A model of the gateway's configuration."}
_FLAG: Json = {"type": ["boolean", "null"]}
_COUNT: Json = {"type": ["integer", "null"]}
_OBJECT: Json = {"type": ["object", "null"]}
_MESSAGES: Json = {"type": "array", "items": {"type": "object"}}
_TEXTS: Json = {"description": "A text, texts, or tokens."}
# name: what it is, and its members beside `model`
_BODIES: dict[str, tuple[str, Json]] = {
    "openai_chat": (
        "OpenAI chat completion",
        {
            "messages": _MESSAGES,
            "stream": _FLAG,
            "stream_options": _OBJECT,
            "max_tokens": _COUNT,
            "max_completion_tokens": _COUNT,
        },
    ),
    "openai_completions": (
        "OpenAI completion",
        {"prompt": _TEXTS, "stream": _FLAG, "stream_options": _OBJECT, "max_tokens": _COUNT},
    ),
    "openai_responses": (
        "OpenAI response",
        {"input": _TEXTS, "stream": _FLAG, "background": _FLAG, "max_output_tokens": _COUNT},
    ),
    "openai_embeddings": ("OpenAI embeddings", {"input": _TEXTS}),
    "anthropic_messages": (
        "Anthropic message",
        {"messages": _MESSAGES, "stream": _FLAG, "max_tokens": _COUNT},
    ),
    "anthropic_count_tokens": ("Anthropic count of tokens", {"messages": _MESSAGES}),
}
# Of no body and no call.
_OF_BODIES = {
    Kind.BAD_BODY,
    Kind.BAD_FIELD,
    Kind.BODY_TIMEOUT,
    Kind.BODY_TOO_LARGE,
    Kind.WRONG_CONTENT_TYPE,
    Kind.EXPECTATION_FAILED,
}
_OF_CALLS = {
    Kind.RATE_LIMITED,
    Kind.OVERLOADED,
    Kind.UPSTREAM_UNREACHABLE,
    Kind.UPSTREAM_BROKEN,
    Kind.UPSTREAM_TIMEOUT,
}
_OF_GET = set(Kind) - _OF_BODIES - _OF_CALLS
_OF_KEYS = {Kind.NO_KEY, Kind.UNKNOWN_KEY, Kind.SUSPENDED, Kind.UNKNOWN_MODEL}
_OF_DETECTION = set(Kind) - _OF_KEYS - (_OF_CALLS - {Kind.RATE_LIMITED, Kind.OVERLOADED})
_DESCRIPTION = (
    "Answers of engines pass byte for byte, their errors (4xx, 5xx) included: the default response "
    "stands for those. All others are the gateway's own; docs/how-to-serve.md has the reasons."
)
_STATUSES = {
    "openai": {kind: shape[0] for kind, shape in openai_family.SHAPES.items()},
    "anthropic": {kind: shape[0] for kind, shape in anthropic_family.SHAPES.items()},
}


def render() -> str:
    """Return the document as text."""
    return json.dumps(document(), indent=2) + "\n"


def document() -> Json:
    """Return the document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Azeotrope gateway",
            "version": version(DISTRIBUTION),
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            **{dialect.path: {"post": _call(dialect)} for dialect in DIALECTS.values()},
            MODELS: {"get": _get_models("models", "Models that the account may use")},
            f"{MODELS}/{{model}}": {
                "parameters": [{"name": "model", "in": "path", "required": True, "schema": _MODEL}],
                "get": _get_models("model", "One model"),
            },
            WELL_KNOWN: {"get": _get_provenance()},
            DETECT: {"post": _detect()},
        },
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
            "responses": {
                f"{family}-{status}": _error(family, status)
                for family, kinds in (
                    *((one, set(Kind)) for one in _STATUSES),
                    ("either", _OF_GET | _OF_DETECTION),
                )
                for status in _statuses(family, kinds)
            },
        },
    }


def _call(dialect: Dialect) -> Json:
    what, members = _BODIES[dialect.name]
    body = {
        "type": "object",
        "required": ["model"],
        "properties": {"model": _MODEL, **members},
        "additionalProperties": True,
    }
    content: Json = {"application/json": {"schema": {"type": "object"}}}
    if "stream" in members:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    answer = {
        "description": "The engine's answer.",
        "headers": {
            **_headers(dialect.speaker),
            HEADER: _header("What mark the answer carries."),
        },
        "content": content,
    }
    family = "anthropic" if dialect.speaker is ANTHROPIC else "openai"
    schemes: list[Json] = [{"bearer": []}]
    return {
        "operationId": dialect.name,
        "summary": what,
        "security": [{"x-api-key": []}, *schemes] if family == "anthropic" else schemes,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": answer,
            **_errors(family, set(Kind)),
            "default": {"description": "An error of the engine, as it came."},
        },
    }


def _get_models(name: str, what: str) -> Json:
    schema = {"type": "object"}
    answer = {"description": what, "content": {"application/json": {"schema": schema}}}
    return {
        "operationId": name,
        "summary": what,
        "description": "In Anthropic's shape for requests with `anthropic-version` or `x-api-key`.",
        "security": [{"bearer": []}, {"x-api-key": []}],
        "responses": {"200": answer, **_errors("either", _OF_GET)},
    }


def _get_provenance() -> Json:
    what = "How to verify what answers say of their mark"
    schema = {"type": "object"}
    answer = {"description": what, "content": {"application/json": {"schema": schema}}}
    kinds = _OF_GET - _OF_KEYS
    return {
        "operationId": "provenance",
        "summary": what,
        "security": [],
        "responses": {"200": answer, **_errors("either", kinds)},
    }


def _detect() -> Json:
    body = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}
    verdict = {
        "verdict": {"type": "string"},
        "level": {"type": "number"},
        "format": {"type": "string"},
        "scope": {"type": "string"},
    }
    content = {"application/json": {"schema": _closed(verdict)}}
    return {
        "operationId": "detect",
        "summary": "Whether a text carries the site's mark",
        "description": "Where the operator has opened it (`detection.enabled`); else 404.",
        "security": [],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": {"description": "The verdict.", "content": content},
            **_errors("either", _OF_DETECTION),
        },
    }


def _statuses(family: str, kinds: set[Kind]) -> list[int]:
    """Return the statuses of errors; "either" is for paths where the headers tell the family."""
    families = list(_STATUSES) if family == "either" else [family]
    return sorted({_STATUSES[one][kind] for one in families for kind in kinds})


def _errors(family: str, kinds: set[Kind]) -> Json:
    return {
        str(status): {"$ref": f"#/components/responses/{family}-{status}"}
        for status in _statuses(family, kinds)
    }


def _error(family: str, status: int) -> Json:
    shapes = []
    for one, schema in (("openai", _openai_error), ("anthropic", _anthropic_error)):
        kinds = [kind for kind in Kind if _STATUSES[one][kind] == status]
        if kinds and family in (one, "either"):
            shapes.append(schema(kinds))
    headers = {}
    if status == 405:
        headers["allow"] = _header("The methods that are.", required=True)
    if status == 429:
        headers["retry-after"] = _header("Seconds.", required=True)
    return {
        "description": HTTPStatus(status).phrase if status != 529 else "Overloaded",
        "headers": headers,
        "content": {"application/json": {"schema": {"anyOf": shapes}}},
    }


def _openai_error(kinds: list[Kind]) -> Json:
    shapes = [openai_family.SHAPES[kind] for kind in kinds]
    error = {
        "message": {"type": "string"},
        "type": {"enum": _each(shape[1] for shape in shapes)},
        "param": {"type": ["string", "null"]},
        "code": {"enum": _each(shape[2] for shape in shapes)},
    }
    return _closed({"error": _closed(error)})


def _anthropic_error(kinds: list[Kind]) -> Json:
    types = _each(anthropic_family.SHAPES[kind][1] for kind in kinds)
    error = {"type": {"enum": types}, "message": {"type": "string"}}
    members = {
        "type": {"const": "error"},
        "error": _closed(error),
        "request_id": {"type": "string"},
    }
    return _closed(members)


def _closed(properties: Json) -> Json:
    return {
        "type": "object",
        "required": list(properties),
        "properties": properties,
        "additionalProperties": False,
    }


def _each(values: Iterable[object]) -> list[object]:
    return list(dict.fromkeys(values))


def _headers(speaker: Speaker) -> Json:
    return {speaker.id_header: _header("Random; the log has the same.", required=True)}


def _header(description: str, *, required: bool = False) -> Json:
    return {"description": description, "required": required, "schema": {"type": "string"}}
