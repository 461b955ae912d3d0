"""Compressed files: whatever was packed comes out, and damage costs nothing that came before it."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from source_files import read_file

Pack = Callable[[bytes], bytes]
PACKERS: dict[str, Pack] = {"gz": gzip.compress, "zst": zstandard.ZstdCompressor().compress}
LINES = [json.dumps({"text": f"text {n}"}).encode() + b"\n" for n in range(1000)]
TEXTS = [f"text {n}" for n in range(1000)]
# RFC 8878, section 3.1.2: decoders jump over it.
SKIPPABLE = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"


@pytest.fixture(params=PACKERS)
def suffix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def packed(suffix: str, tmp_path: Path) -> Callable[[bytes], Path]:
    def to_file(content: bytes) -> Path:
        path = tmp_path / f"set.jsonl.{suffix}"
        path.write_bytes(content)
        return path

    return to_file


def test_packed_records_are_read(suffix: str, packed: Callable[[bytes], Path]) -> None:
    found = read_file(packed(PACKERS[suffix](b"".join(LINES))))
    assert found.values == TEXTS
    assert (found.lines, found.error) == (1000, "")


def test_several_members_are_one_file(suffix: str, packed: Callable[[bytes], Path]) -> None:
    data = b"".join(LINES)
    members = [data[:5], data[5:7000], b"", data[7000:]]
    assert read_file(packed(b"".join(map(PACKERS[suffix], members)))).values == TEXTS


def test_padding_and_skippable_frames_are_no_data(tmp_path: Path) -> None:
    padded, framed = tmp_path / "a.jsonl.gz", tmp_path / "a.jsonl.zst"
    padded.write_bytes(gzip.compress(b"".join(LINES)) + b"\0" * 20_000)
    frame = PACKERS["zst"](b"".join(LINES))
    framed.write_bytes(SKIPPABLE + frame + SKIPPABLE)
    for path in (padded, framed):
        found = read_file(path)
        assert (found.values, found.error) == (TEXTS, "")


def test_a_cut_file_yields_what_is_there_and_then_an_error(
    suffix: str, packed: Callable[[bytes], Path]
) -> None:
    # A member a hundred lines, so that a cut leaves whole ones.
    members = [PACKERS[suffix](b"".join(LINES[n : n + 100])) for n in range(0, 1000, 100)]
    whole = b"".join(members)
    ends = {sum(map(len, members[:n])) for n in range(1, 11)}
    for cut in range(0, len(whole), 37):
        found = read_file(packed(whole[:cut]))
        good = sum(end <= cut for end in ends) * 100
        assert found.values[:good] == TEXTS[:good]
        assert found.values == TEXTS[: len(found.values)]
        if cut not in ends:
            assert "set.jsonl" in found.error
            assert "cut off: the compressed data end too early" in found.error


def test_a_damaged_file_yields_what_came_before(
    suffix: str, packed: Callable[[bytes], Path]
) -> None:
    for tail in (b"garbage after the data", bytes(range(255, 0, -1))):
        found = read_file(packed(PACKERS[suffix](b"".join(LINES)) + tail))
        assert found.values == TEXTS
        assert "damaged: " in found.error
    assert "damaged: " in read_file(packed(b"not packed at all")).error


def test_text_and_tables_are_unpacked_as_well(suffix: str, tmp_path: Path) -> None:
    for name, content, form in (
        ("a.txt", b"the text", "auto"),
        ("a", b"the text", "auto"),
        ("a.log", b"the text", "text"),
        ("a.json", b'["the text"]', "auto"),
        ("a.csv", b"text\nthe text\n", "auto"),
    ):
        path = tmp_path / f"{name}.{suffix}"
        path.write_bytes(PACKERS[suffix](content))
        assert read_file(path, form).values == ["the text"]


def test_a_file_that_is_read_by_seeking_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.parquet.{suffix}"
    path.write_bytes(b"")
    assert read_file(path).error == f"{path}: compressed parquet is not read (unpack it first)"


def test_a_few_bytes_cannot_fill_the_memory(tmp_path: Path) -> None:
    # 300 MB of zeros in 10 KB: one line over the limit, and the good one behind it.
    path = tmp_path / "bomb.jsonl.zst"
    path.write_bytes(PACKERS["zst"](b"\0" * (300 << 20)) + PACKERS["zst"](b"\n" + LINES[0]))
    found = read_file(path)
    assert found.records == {f"{path}:2": "text 0"}
    assert found.complaints == {f"{path}:1": "over 64 MiB long"}
