"""A JSON request body: strictly parsed, then edited with its values left byte for byte.

The gateway and the engine must never read one body in two ways: what one parser
drops, another may obey. So whatever is ambiguous is refused: repeated keys, NaN,
invalid UTF-8, lone surrogates, absurd depth.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import msgspec

MAX_DEPTH = 64
# Parsed, `[],` takes twenty times its bytes: 20 MB of it would fill half a gigabyte. A
# million values are more than any conversation has, and than any prompt of token ids.
MAX_VALUES = 1_000_000
# Possessive, and closed by the end as well: linear time, whatever is thrown at it.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_MEMBER = re.compile(rb'"[ \t\r\n]*:')
_whole = msgspec.json.Decoder()
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])

Fields = dict[str, msgspec.Raw]


class BodyError(ValueError):
    """The body is not JSON that every parser reads alike; the message quotes none of it."""


def parse(body: bytes) -> Fields:
    """Return the top-level members in order, their values as the bytes that came.

    The values are views of `body`. Raises BodyError.
    """
    _refuse_too_many_values(body)
    try:
        whole = _whole.decode(body)
        members, depth = _measure(whole)
    except RecursionError:
        raise BodyError(f"it is nested deeper than {MAX_DEPTH} levels") from None
    except UnicodeDecodeError:
        raise BodyError("it is not valid UTF-8") from None
    except msgspec.DecodeError as error:
        raise BodyError(_reason(error)) from None
    if not isinstance(whole, dict):
        raise BodyError("it is not a JSON object")
    if depth > MAX_DEPTH:
        raise BodyError(f"it is nested deeper than {MAX_DEPTH} levels")
    # Every member has a quote and a colon, so there are at most this many. If all of them
    # are in the result, none was lost as a repetition, and the exact check can be spared.
    if len(_MEMBER.findall(body)) != members:
        _refuse_repeated_keys(body)
    return _members.decode(body)


def serialise(fields: Mapping[str, object]) -> bytes:
    """Return the body for the upstream; Raw values go out byte for byte."""
    return msgspec.json.encode(fields)


def _refuse_too_many_values(body: bytes) -> None:
    # Texts may be full of commas and brackets: take them out only if it matters.
    if len(body) <= MAX_VALUES or _separators(body) <= MAX_VALUES:
        return
    if _separators(_STRING.sub(b"", body)) > MAX_VALUES:
        raise BodyError(f"it has more than {MAX_VALUES} values")


def _separators(body: bytes) -> int:
    return body.count(b",") + body.count(b"[") + body.count(b"{")


def _measure(value: object) -> tuple[int, int]:
    """Return the number of members of all objects, and the depth of nesting."""
    members, depth, level = 0, 0, [value]
    while level and depth <= MAX_DEPTH:
        below: list[object] = []
        for item in level:
            if type(item) is dict:
                members += len(item)
                below.extend(item.values())
            elif type(item) is list:
                below.extend(item)
        depth, level = depth + 1, below
    return members, depth


def _refuse_repeated_keys(body: bytes) -> None:
    def unique(pairs: list[tuple[str, object]]) -> None:
        if len({key for key, _ in pairs}) != len(pairs):
            raise BodyError("a key is given twice in one object")

    json.loads(body, object_pairs_hook=unique)


def _reason(error: msgspec.DecodeError) -> str:
    # msgspec names positions, never content.
    text = str(error).removeprefix("JSON is malformed: ")
    return f"it is malformed: {text[:1].lower()}{text[1:]}"
