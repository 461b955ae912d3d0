"""What the requests of all dialects share: a model, members that no client may send, a ticket."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from proxy.dialects.body import BodyError, Fields, parse, serialise
from proxy.dialects.contract import Question
from proxy.dialects.dropped import DROPPED
from proxy.errors import CallError, Kind

T = TypeVar("T")
TICKET_FIELD = "vllm_xargs"
TICKET_NAME = "azeotrope"

_BOUNDS = (
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "n_predict",  # llama.cpp, beside any of the others
)
_decode_str = msgspec.json.Decoder(str)
_decode_bool = msgspec.json.Decoder(bool | None)
_decode_count = msgspec.json.Decoder(int | None)
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw] | None)


def read(body: bytes) -> tuple[Fields, tuple[str, ...]]:
    """Return a body's members and the names of the dropped ones; raises CallError (BAD_BODY)."""
    try:
        fields = parse(body)
    except BodyError as error:
        raise CallError(
            Kind.BAD_BODY, f"We could not parse the JSON body of your request: {error}."
        ) from None
    dropped = tuple(name for name in fields if name in DROPPED)
    for name in dropped:
        del fields[name]
    return fields, dropped


def model(fields: Fields) -> str:
    """Return the model's name; raises CallError (BAD_FIELD)."""
    if "model" not in fields:
        raise CallError(Kind.BAD_FIELD, "You must provide a model parameter.", param="model")
    return _member(fields, "model", _decode_str, "a string")


def flag(fields: Fields, name: str) -> bool:
    """Return a boolean, False if it is null or not there; raises CallError (BAD_FIELD)."""
    return name in fields and bool(_member(fields, name, _decode_bool, "a boolean"))


def count(fields: Fields, name: str) -> int | None:
    """Return an integer, None if it is null or not there; raises CallError (BAD_FIELD)."""
    return _member(fields, name, _decode_count, "an integer") if name in fields else None


def most_tokens(fields: Fields) -> int | None:
    """Return the largest of the members that bound an answer; raises CallError (BAD_FIELD).

    Engines differ in which of two names wins. None where none is given, or with -1,
    which llama.cpp takes for "no bound".
    """
    given = [count(fields, name) for name in _BOUNDS]
    return max((tokens for tokens in given if tokens is not None and tokens >= 0), default=None)


def members(fields: Fields, name: str) -> Fields:
    """Return an object's members, none if it is null or not there; raises CallError (BAD_FIELD)."""
    return (name in fields and _member(fields, name, _decode_fields, "an object")) or {}


def addressed(question: Question, model: str, ticket: str | None) -> bytes:
    """Return the body for an engine; members keep their order and their bytes."""
    fields: dict[str, object] = {**question.fields}
    if model != question.model:
        fields["model"] = model
    if ticket is not None:
        fields[TICKET_FIELD] = {TICKET_NAME: ticket}
    return serialise(fields)


def _member(fields: Fields, name: str, decoder: msgspec.json.Decoder[T], expected: str) -> T:
    try:
        return decoder.decode(fields[name])
    except msgspec.DecodeError:
        raise CallError(Kind.BAD_FIELD, f"{name} must be {expected}.", param=name) from None
