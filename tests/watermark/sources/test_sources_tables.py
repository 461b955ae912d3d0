"""CSV, TSV, JSON, text and NumPy files: records, positions, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from source_files import read_file

from watermark.detect.sources.shard import MAX_RECORD

# ---- CSV


def csv(folder: Path, content: bytes, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_rows_are_read_below_the_header(tmp_path: Path) -> None:
    rows = b'id,text,x\n1,plain,y\n\n2,"two\nlines, ""quoted""",\r\n3,,\n4,\xe2\x80\xa8,z'
    found = read_file(csv(tmp_path, rows))
    assert found.values == ["plain", 'two\nlines, "quoted"', "", "\u2028"]
    assert found.places == [1, 2, 3, 4]
    assert not found.complaints


def test_tabs_separate_the_columns_of_tsv(tmp_path: Path) -> None:
    path = csv(tmp_path, b"\xef\xbb\xbfid\ttext\n1\ta, b\n", "a.tsv")
    assert read_file(path).values == ["a, b"]
    assert read_file(path, text_field="id").values == ["1"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"1", "no text in field 'text' (choose another with --text-field)"),
        (b"1,\xff", "not UTF-8 text"),
        (b'1,"a"b', "not valid CSV (',' expected after '\"')"),
    ],
)
def test_a_bad_row_is_told_and_left_out(tmp_path: Path, row: bytes, reason: str) -> None:
    path = csv(tmp_path, b"id,text\n0,a\n" + row + b"\n2,b\n")
    found = read_file(path)
    assert found.complaints == {f"{path}:2": reason}
    assert found.records == {f"{path}:1": "a", f"{path}:3": "b"}


def test_a_row_that_the_file_ends_in_is_bad(tmp_path: Path) -> None:
    path = csv(tmp_path, b'id,text\n0,a\n1,"cut o')
    found = read_file(path)
    assert found.complaints == {f"{path}:2": "not valid CSV (unexpected end of data)"}
    assert found.values == ["a"]


def test_a_row_over_the_limit_is_told_and_the_next_is_read(tmp_path: Path) -> None:
    path = csv(tmp_path, b"id,text\n1," + b"x" * MAX_RECORD + b"\n2,b\n")
    found = read_file(path)
    assert found.complaints == {f"{path}:1": "over 64 MiB long"}
    assert found.records == {f"{path}:2": "b"}


def test_a_document_longer_than_pythons_default_limit_is_read(tmp_path: Path) -> None:
    assert read_file(csv(tmp_path, b"text\n" + b"x" * 200_000)).values == ["x" * 200_000]


def test_a_table_without_the_column_is_refused(tmp_path: Path) -> None:
    path = csv(tmp_path, b"id,body\n1,a\n")
    error = f"{path}: no column 'text' (choose another with --text-field); it has 'id', 'body'"
    assert read_file(path).error == error
    assert "it has none" in read_file(csv(tmp_path, b"")).error
    assert "token ids are not read from CSV" in read_file(path, ids_field="id").error


# ---- JSON


def json_file(folder: Path, content: bytes) -> Path:
    path = folder / "a.json"
    path.write_bytes(content)
    return path


def test_an_array_holds_records_or_strings(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf\n [{"text": "a"}, "b",\n 7, {"text": null}, {"text": "c"}]\n'
    path = json_file(tmp_path, content)
    found = read_file(path)
    assert found.records == {f"{path}:1": "a", f"{path}:2": "b", f"{path}:5": "c"}
    assert list(found.complaints) == [f"{path}:3", f"{path}:4"]
    assert found.lines == 5


@pytest.mark.parametrize("content", [b'{"text": "a"}\n', b'"a"', b'{"x": NaN, "text": "a"}'])
def test_a_single_record_bears_the_name_of_its_file(tmp_path: Path, content: bytes) -> None:
    path = json_file(tmp_path, content)
    assert read_file(path).records == {str(path): "a"}


def test_a_bad_record_does_not_lose_the_array(tmp_path: Path) -> None:
    for spoilt in (b'"\\ud800"', b'{"x": NaN}', b'{"text": "\\udc00"}', b'"\xff"'):
        path = json_file(tmp_path, b'["a", ' + spoilt + b', "b"]')
        found = read_file(path)
        assert found.values == ["a", "b"]
        assert list(found.complaints) == [f"{path}:2"]


@pytest.mark.parametrize("content", [b"", b'["a",', b'{"text": "a"}\n{"text": "b"}'])
def test_what_is_not_one_json_value_is_refused(tmp_path: Path, content: bytes) -> None:
    found = read_file(json_file(tmp_path, content))
    assert "not one valid JSON value (records a line? then choose --format jsonl)" in found.error
    assert not found.records


def test_token_ids_in_an_array(tmp_path: Path) -> None:
    path = json_file(tmp_path, b'[{"ids": [1, 2]}, [3], {"ids": "x"}, []]')
    found = read_file(path, ids_field="ids")
    assert found.records == {f"{path}:1": [1, 2], f"{path}:2": [3], f"{path}:4": []}
    assert list(found.complaints) == [f"{path}:3"]


# ---- text


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a", "a.unknown"])
def test_a_text_file_is_one_document(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes("\ufeffone\u2028two\r\n\0".encode())
    assert read_file(path).records == {str(path): "one\u2028two\r\n\0"}


def test_a_text_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"ab\xff")
    assert read_file(path).error == f"{path}: not UTF-8 text (byte 2)"
    assert "holds no token ids" in read_file(path, ids_field="ids").error
    with path.open("wb") as file:
        file.truncate(MAX_RECORD + 1)
    assert "over 64 MiB long" in read_file(path).error


# ---- NumPy


def npy(folder: Path, array: Any) -> Path:
    path = folder / "a.npy"
    np.save(path, array)
    return path


@pytest.mark.parametrize("dtype", ["<i8", ">i4", "<u2", "u1", "<u4", "<u8"])
def test_rows_of_an_array_are_documents(tmp_path: Path, dtype: str) -> None:
    path = npy(tmp_path, np.arange(12).reshape(3, 4).astype(dtype))
    found = read_file(path)
    assert found.records == {f"{path}:{n + 1}": list(range(4 * n, 4 * n + 4)) for n in range(3)}
    assert found.lines == 3


def test_a_flat_array_is_one_document(tmp_path: Path) -> None:
    path = npy(tmp_path, np.array([5, 6, 7]))
    assert read_file(path).records == {str(path): [5, 6, 7]}


def test_a_row_with_what_is_no_token_id_is_told(tmp_path: Path) -> None:
    rows = np.array([[1, 2], [-1, 2], [1, 2**32 - 1], [3, 2**32 - 2]], np.int64)
    path = npy(tmp_path, rows)
    found = read_file(path)
    assert found.places == [1, 4]
    assert list(found.complaints) == [f"{path}:2", f"{path}:3"]
    huge = npy(tmp_path, np.array([[2**64 - 1], [2**63], [4]], np.uint64))
    assert read_file(huge).places == [3]


def test_many_rows_come_in_several_batches(tmp_path: Path) -> None:
    rows = np.arange(60_000, dtype=np.uint32).reshape(-1, 3)
    found = read_file(npy(tmp_path, rows))
    assert len(found.batches) > 1
    parts = [batch.ids.ids for batch in found.batches if batch.ids is not None]
    assert np.array_equal(np.concatenate(parts), rows.ravel())


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 2)),
        np.zeros((2, 2, 2), int),
        np.array(7),
        np.array(["a"]),
        np.asfortranarray(np.zeros((2, 3), int)),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, array: Any) -> None:
    assert "not rows of token ids" in read_file(npy(tmp_path, array)).error


def test_a_cut_array_yields_its_whole_rows(tmp_path: Path) -> None:
    path = npy(tmp_path, np.arange(12).reshape(4, 3))
    path.write_bytes(path.read_bytes()[:-30])
    found = read_file(path)
    assert found.values == [[0, 1, 2], [3, 4, 5]]
    assert found.error == f"{path}: cut off after 2 of 4 rows"
    path.write_bytes(b"no array")
    assert "not a NumPy array" in read_file(path).error


# ---- samples


def test_every_format_reads_a_sample(tmp_path: Path) -> None:
    texts = [str(n) for n in range(2000)]
    files = {
        "a.csv": "\n".join(["text", *texts]).encode(),
        "a.json": json.dumps(texts).encode(),
        "a.jsonl": "\n".join(json.dumps({"text": text}) for text in texts).encode(),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        found = read_file(tmp_path / name, sample=0.1)
        assert 150 < len(found.values) < 250
        assert found.values == [str(place - 1) for place in found.places]
        assert found.lines == 2000
    rows = read_file(npy(tmp_path, np.arange(2000).reshape(-1, 1)), sample=0.1)
    assert rows.values == [[place - 1] for place in rows.places]
    assert 150 < len(rows.values) < 250
    documents = []
    for n in range(100):
        (tmp_path / f"{n}.txt").write_text(str(n), "utf-8")
        documents += read_file(tmp_path / f"{n}.txt", sample=0.3).values
    assert 15 < len(documents) < 45
