"""The reference page of the configuration, generated from the schema itself."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from proxy.config import Config
from proxy.config.errors import ENV_DELIMITER, ENV_PREFIX, section_of

_HEAD = """# Configuration reference

<!-- Generated: azeotrope config reference > docs/reference-config.md -->

One YAML file; `azeotrope config example` prints one to begin with, `azeotrope config schema`
its JSON Schema. Unknown keys are refused. Relative paths are relative to the file. The
environment overrides the file where a variable is named.
"""
_SHAPES: dict[Any, str] = {dict: "mapping of sections", list: "list of sections"}
_NAMES: dict[Any, str] = {
    bool: "true or false",
    int: "integer",
    float: "number",
    str: "text",
    SecretStr: "text",
    NoneType: "null",
}
_SUFFIXES: dict[Any, str] = {dict: ".NAME", list: "[]"}


def reference() -> str:
    """Return the page as Markdown."""
    lines = [_HEAD]
    for path, section in _sections("", Config):
        lines += [f"## {path or 'Top level'}", "", inspect.cleandoc(section.__doc__ or ""), ""]
        lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
        lines += [_row(path, name, field) for name, field in section.model_fields.items()]
        lines.append("")
    return "\n".join(lines)


def _sections(path: str, section: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    yield path, section
    for name, field in section.model_fields.items():
        inner = section_of(field.annotation)
        if inner is not None:
            suffix = _SUFFIXES.get(get_origin(field.annotation), "")
            yield from _sections(f"{path}.{name}{suffix}".lstrip("."), inner)


def _row(path: str, name: str, field: FieldInfo) -> str:
    meaning = field.description or ""
    if section_of(field.annotation) is None and "[" not in path and "NAME" not in path:
        parts = [part for part in (*path.split("."), name) if part]
        meaning += f" Variable: `{ENV_PREFIX}{ENV_DELIMITER.join(parts).upper()}`."
    return f"| `{name}` | {_type(field.annotation)} | {_default(field)} | {meaning} |"


def _type(annotation: Any) -> str:
    if section_of(annotation) is not None:
        return _SHAPES.get(get_origin(annotation), "section")
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if get_origin(annotation) is dict:
        return "mapping of text to text"
    arguments = get_args(annotation)
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(map(_type, arguments))
    if hasattr(annotation, "__metadata__"):
        return _type(arguments[0])
    return _NAMES.get(annotation, "path")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default_factory is not None:
        return "its own"
    return f"`{json.dumps(field.default)}`"
