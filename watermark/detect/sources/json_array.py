"""A JSON file: an array of records or of strings, or one record."""

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from watermark.detect.sources.files import opened
from watermark.detect.sources.gather import Piece
from watermark.detect.sources.json_field import JsonField
from watermark.detect.sources.sampling import Sampler
from watermark.detect.sources.shard import MAX_RECORD, TOO_LONG, Fields, Report, Shard
from watermark.errors import InputError

# Read as a whole: an array ends where its last element says so.
MAX_FILE = 1 << 30


def read_json(shard: Shard, fields: Fields, report: Report) -> Iterator[Piece]:
    """Yield the elements of an array from position 1, or the only record at position 0."""
    field = JsonField(fields, bare=True)
    sampler = Sampler(shard.url, fields.sample)
    elements, first = _elements(_whole(shard), shard.url)
    for position, element in enumerate(elements, first):
        end = max(position, 1)
        if not sampler.chooses(position):
            yield _piece((), [], end, fields)
            continue
        try:
            yield _piece((position,), [_value(element, field)], end, fields)
        except ValueError as error:
            report(position, str(error))
            yield _piece((), [], end, fields)


def _whole(shard: Shard) -> bytes:
    with opened(shard) as stream:
        data = stream.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise InputError(
            f"{shard.url}: a JSON file over {MAX_FILE >> 30} GiB is not read "
            "(make it JSON lines, a record a line)"
        )
    return data.removeprefix(b"\xef\xbb\xbf")


def _elements(data: bytes, url: str) -> tuple[list[Any], int]:
    array = re.match(rb"\s*\[", data) is not None
    try:
        if array:
            return msgspec.json.decode(data, type=list[msgspec.Raw]), 1
        return [msgspec.json.decode(data, type=msgspec.Raw)], 0
    except (msgspec.MsgspecError, RecursionError):
        pass  # json takes NaN, and half surrogate pairs, which spoil a record and not the file
    try:
        value = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{url}: not one valid JSON value (records a line? then choose --format jsonl)"
        ) from error
    return (value, 1) if array else ([value], 0)


def _value(element: object, field: JsonField) -> Any:
    if not isinstance(element, msgspec.Raw):
        return field.of(element)
    if len(memoryview(element)) > MAX_RECORD:
        raise ValueError(TOO_LONG)
    return field.one(element)


def _piece(positions: tuple[int, ...], values: list[Any], end: int, fields: Fields) -> Piece:
    if fields.ids_field is None:
        return Piece(positions, values, end)
    from watermark.detect.counts import Batch

    return Piece(positions, Batch.of(values), end)
