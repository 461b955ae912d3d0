"""Parquet and Arrow files: columns of texts and of token ids, row groups, damage."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather
from source_files import read_cut, read_file

Write = Callable[..., Path]


def write_stream(table: Any, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


WRITERS: dict[str, Callable[[Any, Path], object]] = {
    "a.parquet": pq.write_table,
    "a.feather": lambda table, path: feather.write_feather(table, path, compression="zstd"),
    "a.arrow": write_stream,
}


@pytest.fixture(params=WRITERS)
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Write:
    """Write columns as each of the formats."""

    def to_file(**columns: Any) -> Path:
        path = tmp_path / str(request.param)
        WRITERS[path.name](pa.table(columns), path)
        return path

    return to_file


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.binary(),
        pa.large_binary(),
        pa.dictionary(pa.int32(), pa.string()),
    ],
    ids=str,
)
def test_texts_of_a_column_are_read_and_nulls_told(write: Write, kind: Any) -> None:
    texts = pa.array(["a", "é\u2028", "", "a"] * 3).cast(kind)
    path = write(id=[1] * 12, text=texts)
    assert read_file(path).values == ["a", "é\u2028", "", "a"] * 3
    path = write(text=pa.concat_arrays([texts, pa.nulls(1, texts.type), texts]))
    found = read_file(path)
    assert found.complaints == {
        f"{path}:13": "no text in field 'text' (choose another with --text-field)"
    }
    assert found.places == [*range(1, 13), *range(14, 26)]
    assert found.lines == 25


def test_a_text_that_is_not_utf_8_is_told(write: Write) -> None:
    # A writer that does not look: the type says text, the bytes are others.
    spoilt = pa.array([b"a", b"\xff", b"b"]).view(pa.string())
    path = write(text=spoilt)
    found = read_file(path)
    assert found.values == ["a", "b"]
    assert found.complaints == {f"{path}:2": "not UTF-8 text"}


def test_a_field_of_a_struct_is_read(write: Write) -> None:
    rows = [{"content": "a", "n": 1}, None, {"content": None, "n": 2}, {"content": "b", "n": 3}]
    path = write(response=rows, text=["x"] * 4)
    found = read_file(path, text_field="response.content")
    assert found.records == {f"{path}:1": "a", f"{path}:4": "b"}
    assert list(found.complaints) == [f"{path}:2", f"{path}:3"]


def test_a_column_may_have_a_dot_in_its_name(write: Write) -> None:
    path = write(**{"response.content": ["a", "b"]})
    assert read_file(path, text_field="response.content").values == ["a", "b"]


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.int64()),
        pa.list_(pa.uint16()),
        pa.large_list(pa.int32()),
        pa.list_(pa.uint64()),
        pa.list_(pa.int32(), 2),
    ],
    ids=str,
)
def test_lists_of_token_ids_are_read(write: Write, kind: Any) -> None:
    rows = [[1, 2], None, [3, None], [65535, 0], [7, 7]]
    path = write(ids=pa.array(rows, kind))
    found = read_file(path, ids_field="ids")
    assert found.records == {f"{path}:1": [1, 2], f"{path}:4": [65535, 0], f"{path}:5": [7, 7]}
    assert found.complaints == {
        f"{path}:2": "no token ids in field 'ids' (choose another with --ids-field)",
        f"{path}:3": "a token id is not a number from 0 to 2^32 - 2",
    }


def test_numbers_that_are_no_token_ids_are_told(write: Write) -> None:
    path = write(
        ids=pa.array(
            [[2**64 - 1], [2**63 + 5], [2**32 - 1], [2**32 - 2], []], pa.list_(pa.uint64())
        )
    )
    assert read_file(path, ids_field="ids").values == [[2**32 - 2], []]
    signed = write(ids=[[-1], [5], []])
    assert read_file(signed, ids_field="ids").values == [[5], []]


def test_a_missing_column_or_another_type_is_refused(write: Write) -> None:
    path = write(id=[1], body=["a"], numbers=[[0.5]])
    assert read_file(path).error == (
        f"{path}: no column 'text' (choose another with --text-field); "
        "it has 'id', 'body', 'numbers'"
    )
    assert read_file(path, text_field="id").error == f"{path}: column 'id' holds int64, not text"
    assert "not lists of token ids" in read_file(path, ids_field="numbers").error
    assert "no column 'body.x'" in read_file(path, text_field="body.x").error
    assert "with --ids-field" in read_file(path, ids_field="ids").error


def test_a_sample_is_of_rows(write: Write) -> None:
    path = write(text=[str(n) for n in range(3000)], ids=[[n] for n in range(3000)])
    found = read_file(path, sample=0.1)
    assert 240 < len(found.values) < 360
    assert found.values == [str(place - 1) for place in found.places]
    assert found.lines == 3000
    assert read_file(path, sample=0.1, ids_field="ids").values == [[int(t)] for t in found.values]


def test_a_table_without_rows_holds_nothing(write: Write) -> None:
    found = read_file(write(text=pa.array([], pa.string()), ids=pa.array([], pa.list_(pa.int64()))))
    assert (found.values, found.lines, found.error) == ([], 0, "")


def test_what_is_no_such_file_is_refused(write: Write) -> None:
    path = write(text=["a"])
    for content in (b"", b"not a table", path.read_bytes()[:40]):
        path.write_bytes(content)
        assert read_file(path).error.startswith(f"{path}: ")


def test_long_texts_come_in_several_batches(write: Write) -> None:
    texts = [f"{n:07}" * 10_000 for n in range(500)]
    found = read_file(write(text=texts))
    assert found.values == texts
    assert all(sum(map(len, batch.texts or [])) <= 20 << 20 for batch in found.batches)


# ---- Parquet only


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    """Ten row groups of a hundred rows."""
    path = tmp_path / "groups.parquet"
    rows = [f"{n} " + f"{n * n:040}" * 50 for n in range(1000)]
    pq.write_table(
        pa.table({"text": rows, "ids": [[n] for n in range(1000)]}),
        path,
        row_group_size=100,
        compression="none",
    )
    return path


@pytest.mark.parametrize("share", [1.0, 0.2])
def test_shards_are_row_groups_and_read_every_row_once(groups: Path, share: float) -> None:
    whole = read_file(groups, sample=share)
    assert whole.lines == 1000
    for size in (1, 450_000, 1 << 40):
        cut = read_cut(groups, size, sample=share)
        assert (cut.records, cut.lines) == (whole.records, 1000)
    assert len(read_cut(groups, 1, ids_field="ids").batches) == 10


def test_rows_before_the_damage_are_kept(groups: Path) -> None:
    start = pq.ParquetFile(groups).metadata.row_group(5).column(0).data_page_offset
    content = bytearray(groups.read_bytes())
    content[start : start + 64] = b"\xff" * 64
    groups.write_bytes(content)
    found = read_file(groups)
    assert found.places == list(range(1, 501))
    assert "damaged" in found.error or "cannot be read" in found.error
    assert len(read_cut(groups, 1).records) >= 900


def test_records_before_the_cut_of_a_stream_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.arrow"
    table = pa.table({"text": [str(n) for n in range(1000)]})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=100)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    found = read_file(path)
    assert found.places == list(range(1, len(found.values) + 1))
    assert 400 < len(found.values) < 700
    assert found.error
