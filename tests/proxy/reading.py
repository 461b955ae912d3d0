"""Other readers of JSON, as engines have them, and how they see a document."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import orjson


def strict_json(body: bytes) -> Any:
    """Read as the standard library does, refusing what is no JSON; raises ValueError."""

    def refuse(constant: str) -> Any:
        raise ValueError(constant)

    return json.loads(body.decode("utf-8"), parse_constant=refuse)


def same(value: Any, other: Any) -> bool:
    """Tell whether two readers read the same: numbers by value, members in order."""
    if isinstance(value, dict) and isinstance(other, dict):
        return list(value) == list(other) and all(same(value[key], other[key]) for key in value)
    if isinstance(value, list) and isinstance(other, list):
        return len(value) == len(other) and all(map(same, value, other))
    if isinstance(value, bool | str) or isinstance(other, bool | str) or value is None:
        return type(value) is type(other) and bool(value == other)
    return float(value) == float(other)


def readings(body: bytes) -> list[Any]:
    """Return what each reader reads; raises ValueError if one of them cannot."""
    return [strict_json(body), msgspec.json.decode(body), orjson.loads(body)]
