"""Pydantic's findings as one line for a person: where, what was expected, what was there."""

from __future__ import annotations

import json
import os
import re
import typing
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

ENV_PREFIX = "AZEOTROPE_"
ENV_DELIMITER = "__"

# Never echoed: what stands at the place of Redis's URL, and whatever has a password before a host.
_SECRET = frozenset({"redis.url"})
_WITH_PASSWORD = re.compile(r"//[^/\s]*@")
_SHOWN = 60
_EXPECTED = {
    "model_type": "expected a section with keys",
    "model_attributes_type": "expected a section with keys",
    "dict_type": "expected a mapping",
    "list_type": "expected a list",
    "too_short": "expected at least one entry",
}


def describe(file: str, error: ValidationError, schema: type[BaseModel]) -> str:
    """Return "FILE: path.of.key: expected …, got …" for the first finding."""
    findings = error.errors(include_url=False)
    first = findings[0]
    path = _path(first["loc"])
    text = f"{_source(file, first)}{path}{': ' if path else ''}{_finding(first, path, schema)}"
    if len(findings) > 1:
        others = len(findings) - 1
        text += f" (and {others} more {'mistake' if others == 1 else 'mistakes'})"
    return text


def section_of(annotation: Any) -> type[BaseModel] | None:
    """Return the section class inside Optional, Annotated, list or dict; None for a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in reversed(typing.get_args(annotation)):
        section = section_of(inner)
        if section is not None:
            return section
    return None


def _finding(finding: ErrorDetails, path: str, schema: type[BaseModel]) -> str:
    kind = finding["type"]
    if kind in ("missing", "extra_forbidden"):
        section = _section_at(finding["loc"][:-1], schema)
        if kind == "missing":
            description = section.model_fields[str(finding["loc"][-1])].description
            return f"missing; expected: {description}"
        return f"unknown key; expected one of {', '.join(section.model_fields)}"
    expected = finding["msg"] if kind == "expected" else _EXPECTED.get(kind, finding["msg"])
    if path in _SECRET or isinstance(finding["input"], dict) or not path:
        return expected
    shown = json.dumps(finding["input"], ensure_ascii=False, default=str)
    if _WITH_PASSWORD.search(shown):
        return expected
    return f"{expected}, got {shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '…'}"


def _section_at(loc: tuple[int | str, ...], schema: type[BaseModel]) -> type[BaseModel]:
    section = schema
    for part in loc:
        field = section.model_fields.get(str(part))
        if field is not None:  # else a list index or a key of a mapping: same section class
            section = section_of(field.annotation) or section
    return section


def _path(loc: tuple[int | str, ...]) -> str:
    """Return a.b[0].c for the location of a finding."""
    path = ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part != "[key]":
            path += f".{part}" if path else part
    return path


def _source(file: str, finding: ErrorDetails) -> str:
    """Say whether the value came from the environment: the file would be searched in vain."""
    names = [str(part) for part in finding["loc"]]
    for depth in range(len(names), 0, -1):
        variable = ENV_PREFIX + ENV_DELIMITER.join(names[:depth]).upper()
        if any(name.upper() == variable for name in os.environ):
            return f"environment variable {variable}: "
    return f"{file}: "
