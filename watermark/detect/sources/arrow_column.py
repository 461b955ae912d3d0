"""A column of Arrow data, as Parquet and Arrow files hold it: texts, or lists of token ids."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from watermark.detect.sources.gather import Piece, ids_piece
from watermark.detect.sources.sampling import Sampler
from watermark.detect.sources.shard import MAX_RECORD, TOO_LONG, Fields, Report, Shard
from watermark.errors import InputError


class ArrowColumn:
    """Reads one column, by name or by the path of a field of structs ("response.content").

    `name` is that of the top-level column. Raises InputError if the schema has no such column or
    it holds something else.
    """

    def __init__(self, schema: Any, shard: Shard, fields: Fields, report: Report) -> None:
        field = fields.text_field if fields.ids_field is None else fields.ids_field
        self._fields = fields
        self._report = report
        self._sampler = Sampler(shard.url, fields.sample)
        self._path: list[str] = []
        self.name = field
        if field not in schema.names:
            self.name, *self._path = field.split(".")
        kind = _kind(schema, self.name, self._path)
        if kind is None:
            option = "--text-field" if fields.ids_field is None else "--ids-field"
            raise InputError(
                f"{shard.url}: no column {field!r} (choose another with {option}); "
                f"it has {', '.join(map(repr, schema.names)) or 'none'}"
            )
        if not (_is_text(kind) if fields.ids_field is None else _is_ids(kind)):
            wanted = "text" if fields.ids_field is None else "lists of token ids"
            raise InputError(f"{shard.url}: column {field!r} holds {kind}, not {wanted}")

    def piece(self, batch: Any, row: int, before: int) -> Piece:
        """Read a record batch; its first row is `row` in the file, `before` + 1 in the shard."""
        import pyarrow as pa
        import pyarrow.compute as pc

        array = batch.column(self.name)
        if self._path:
            array = pc.struct_field(array, self._path)
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        end = before + len(array)
        positions = np.arange(before + 1, end + 1)
        if not self._sampler.all:
            chosen = self._sampler.chosen(np.arange(row, row + len(array)))
            array, positions = array.filter(pa.array(chosen)), positions[chosen]
        read = self._texts if self._fields.ids_field is None else self._lists
        return read(array, positions, end)

    def _texts(self, array: Any, positions: npt.NDArray[np.int64], end: int) -> Piece:
        import pyarrow as pa

        plain = not (pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type))
        if plain and not array.null_count and array.nbytes <= MAX_RECORD:
            try:
                return Piece(positions.tolist(), array.to_pylist(), end)
            except UnicodeDecodeError:
                pass  # writers need not check what they write: find the row
        values = array.cast(pa.large_binary()).to_pylist()
        return Piece(*self._decoded(positions.tolist(), values), end)

    def _decoded(
        self, positions: Sequence[int], values: Sequence[bytes | None]
    ) -> tuple[list[int], list[str]]:
        good, texts = [], []
        for position, value in zip(positions, values, strict=True):
            try:
                texts.append(_text(value, self._fields))
                good.append(position)
            except ValueError as error:
                self._report(position, str(error))
        return good, texts

    def _lists(self, array: Any, positions: npt.NDArray[np.int64], end: int) -> Piece:
        import pyarrow as pa
        import pyarrow.compute as pc

        if array.null_count:
            nulls = np.array(array.is_null().to_pylist())
            for position in positions[nulls]:
                self._report(int(position), self._fields.missing)
            array, positions = array.drop_null(), positions[~nulls]
        # Unsigned numbers above 2^63 turn negative: no token id either way.
        values = array.flatten().cast(pa.int64(), safe=False)
        if values.null_count:
            values = values.fill_null(-1)
        lengths = pc.list_value_length(array).cast(pa.int64())
        # Not to_numpy(): it loads pandas where there is one.
        flat, sizes = (np.asarray(np.from_dlpack(x), np.int64) for x in (values, lengths))
        return ids_piece(flat, sizes, positions, end, self._report)


def _text(value: bytes | None, fields: Fields) -> str:
    if value is None:
        raise ValueError(fields.missing)
    if len(value) > MAX_RECORD:
        raise ValueError(TOO_LONG)
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise ValueError("not UTF-8 text") from error


def _kind(schema: Any, name: str, path: list[str]) -> Any:
    import pyarrow as pa

    if name not in schema.names:
        return None
    kind = schema.field(name).type
    for part in path:
        if not pa.types.is_struct(kind) or kind.get_field_index(part) < 0:
            return None
        kind = kind.field(part).type
    return kind


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    tests = ("string", "large_string", "string_view", "binary", "large_binary")
    return any(getattr(pa.types, f"is_{test}")(kind) for test in tests)


def _is_ids(kind: Any) -> bool:
    import pyarrow as pa

    lists = ("list", "large_list", "fixed_size_list")
    return any(getattr(pa.types, f"is_{test}")(kind) for test in lists) and pa.types.is_integer(
        kind.value_type
    )
