"""A JSON request body: strictly parsed, then edited with its values left byte for byte.

The gateway and the engine must never read one body in two ways: what one parser
drops, another may obey. So whatever is ambiguous is refused: repeated keys, NaN,
invalid UTF-8, lone surrogates, absurd depth.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

MAX_DEPTH = 64
# Parsed, `[],` takes twenty times its bytes: 20 MB of it would fill half a gigabyte. A
# million values are more than any conversation has, and than any prompt of token ids.
MAX_VALUES = 1_000_000
# The same for members of objects, which cost more: ten thousand messages have fifty thousand.
MAX_MEMBERS = 100_000
# Regular expressions and decoders hold the interpreter until they are done, also in a
# thread. So texts are searched a piece at a time, and other calls go on in between.
_PIECE = 64 * 1024
# The rest of a text, to its quote (1) or to a piece's end, be it within an escape (2).
_TEXT = re.compile(rb'(?:[^"\\]++|\\.)*+(?:(")|(\\)?\Z)', re.DOTALL)
_WHOLE_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_BEFORE_COLON = (b'":', b" :", b"\t:", b"\n:", b"\r:")
_whole = msgspec.json.Decoder()
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])

Fields = dict[str, msgspec.Raw]


class BodyError(ValueError):
    """The body is not JSON that every parser reads alike; the message quotes none of it."""


def parse(body: bytes) -> Fields:
    """Return the top-level members in order, their values as the bytes that came.

    The values are views of `body`. Raises BodyError.
    """
    _refuse_too_many(body)
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
    if not _all_members(body, members):
        raise BodyError("a key is given twice in one object")
    return _members.decode(body)


def serialise(fields: Mapping[str, object]) -> bytes:
    """Return the body for the upstream; Raw values go out byte for byte."""
    return msgspec.json.encode(fields)


def _refuse_too_many(body: bytes) -> None:
    if len(body) <= MAX_MEMBERS:
        return
    # Texts may be full of commas and brackets: leave them out only if it matters.
    if body.count(b":") <= MAX_MEMBERS and _separators(body, 0, len(body)) <= MAX_VALUES:
        return
    values = members = 0
    for texts, (start, end) in enumerate(_outside_texts(body)):
        values += _separators(body, start, end)
        members += body.count(b":", start, end)
        if members > MAX_MEMBERS:
            raise BodyError(f"it has more than {MAX_MEMBERS} members")
        if values > MAX_VALUES or texts > MAX_VALUES / 2:
            raise BodyError(f"it has more than {MAX_VALUES} values")


def _all_members(body: bytes, read: int) -> bool:
    """Tell whether as many members were read as are written: none was lost as a repetition.

    Every member has a colon, and one of few bytes before it, so there are at most so many;
    exactly, there is one colon outside of texts for each.
    """
    return (
        body.count(b":") == read
        or sum(body.count(mark) for mark in _BEFORE_COLON) == read
        or _colons_outside_texts(body) == read
    )


def _colons_outside_texts(body: bytes) -> int:
    if len(body) <= _PIECE:
        return _WHOLE_TEXT.sub(b"", body).count(b":")
    return sum(body.count(b":", start, end) for start, end in _outside_texts(body))


def _outside_texts(body: bytes) -> Iterator[tuple[int, int]]:
    """Find what lies between the texts of a document, be it well-formed or not."""
    at = 0
    while at < len(body):
        quote = body.find(b'"', at)
        end = len(body) if quote < 0 else quote
        yield at, end
        at = _end_of_text(body, end + 1)


def _separators(body: bytes, start: int, end: int) -> int:
    return sum(body.count(mark, start, end) for mark in (b",", b"[", b"{"))


def _end_of_text(body: bytes, at: int) -> int:
    """Return the place behind the text that `at` is in."""
    while at < len(body):
        found = _TEXT.match(body, at, at + _PIECE)
        assert found is not None
        at = found.end()
        if found.group(1):
            break
        if found.group(2):
            at += 1
    return at


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


def _reason(error: msgspec.DecodeError) -> str:
    # msgspec names positions, never content.
    text = str(error).removeprefix("JSON is malformed: ")
    return f"it is malformed: {text[:1].lower()}{text[1:]}"
