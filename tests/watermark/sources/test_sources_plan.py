"""Which files are read, in which order, cut where, and under which identity."""

import io
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_files import read_shards

from watermark.detect.sources import Fields, Shard, plan, whole_file
from watermark.errors import InputError

LINE = b'{"text": "a"}\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of many kinds of files, entered."""
    contents = {
        "b.jsonl": LINE * 2,
        "a.txt": b"text",
        "deep/c.JSONL.GZ": b"",
        "deep/er/d.csv": b"text\n",
        "deep/notes.unknown": b"?",
        "deep/README": b"?",
        "deep/.hidden.jsonl": LINE,
        ".git/config.txt": b"?",
        "set[1].md": b"brackets",
    }
    for name, content in contents.items():
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


def urls(*paths: str, **options: object) -> list[str]:
    return [shard.url for shard in plan(paths, **options).shards]  # type: ignore[arg-type]


def refused(*paths: str, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        urls(*paths, **options)
    return str(caught.value)


# ---- which files


def test_a_folder_is_read_in_order_and_what_is_not_read_is_listed(folder: Path) -> None:
    found = plan(["data"], recursive=True)
    assert [(shard.url, shard.format, shard.compression) for shard in found.shards] == [
        ("data/a.txt", "text", None),
        ("data/b.jsonl", "jsonl", None),
        ("data/deep/c.JSONL.GZ", "jsonl", "gzip"),
        ("data/deep/er/d.csv", "csv", None),
        ("data/set[1].md", "text", None),
    ]
    assert found.hidden == ("data/.git/config.txt", "data/deep/.hidden.jsonl")
    assert found.unknown == ("data/deep/README", "data/deep/notes.unknown")


def test_a_folder_needs_a_word_more(folder: Path) -> None:
    assert refused("data") == "data: a folder (--recursive reads the files in it)"
    assert refused(f"file://{folder}").endswith(": a folder (--recursive reads the files in it)")


def test_the_order_of_the_paths_does_not_matter_and_none_is_read_twice(folder: Path) -> None:
    paths = ["data/b.jsonl", "data/a.txt", "data/*.txt", str(folder / "a.txt"), "data/b.jsonl"]
    assert urls(*paths) == ["data/a.txt", "data/b.jsonl"]
    assert urls(*paths[1::-1]) == urls(*paths[:2])


def test_patterns_match_files_and_with_recursion_folders(folder: Path) -> None:
    assert urls("data/*") == ["data/a.txt", "data/b.jsonl", "data/set[1].md"]
    assert urls("data/**/*.csv") == ["data/deep/er/d.csv"]
    assert urls("data/d*", recursive=True) == ["data/deep/c.JSONL.GZ", "data/deep/er/d.csv"]


def test_a_name_that_looks_like_a_pattern_is_a_name_if_it_exists(folder: Path) -> None:
    assert urls("data/set[1].md") == ["data/set[1].md"]


def test_a_named_file_of_unknown_kind_is_text_and_a_format_reads_all(folder: Path) -> None:
    assert [s.format for s in plan(["data/deep/README", "data/deep/.hidden.jsonl"]).shards] == [
        "jsonl",
        "text",
    ]
    assert [s.format for s in plan(["data/b.jsonl"], form="text").shards] == ["text"]
    forced = plan(["data/deep"], recursive=True, form="csv")
    assert {(s.url, s.format, s.compression) for s in forced.shards} == {
        ("data/deep/README", "csv", None),
        ("data/deep/c.JSONL.GZ", "csv", "gzip"),
        ("data/deep/er/d.csv", "csv", None),
        ("data/deep/notes.unknown", "csv", None),
    }
    assert forced.unknown == ()


def test_what_stands_for_nothing_is_named(folder: Path) -> None:
    assert refused("none.txt") == "none.txt: cannot be read (No such file or directory)"
    assert refused("data/a.txt", "data/*.xml") == "data/*.xml: no file there"
    assert refused("memory://none/a.txt").startswith("memory://none/a.txt: cannot be read (")
    assert refused("memory://none/*.txt") == "memory://none/*.txt: no file there"
    assert refused("nosuch://a/b.txt").startswith("nosuch://a/b.txt: cannot be read (ValueError")
    (folder / "unknown").mkdir()
    (folder / "unknown" / "x.bin").write_bytes(b"?")
    message = refused("data/unknown", recursive=True)
    assert message == (
        "data/unknown: none of its 1 files is of a known format (choose one with --format)"
    )
    with pytest.raises(InputError, match=r"none\.txt: cannot be read"):
        whole_file("none.txt")


def test_pipes_in_folders_are_passed_over_and_named_ones_are_read(folder: Path) -> None:
    os.mkfifo(folder / "pipe.txt")
    assert "data/pipe.txt" not in urls("data", recursive=True)
    reader, writer = os.pipe()
    os.write(writer, LINE * 3)
    os.close(writer)
    try:
        shards = plan([f"/dev/fd/{reader}"], form="jsonl", shard_bytes=1).shards
        assert read_shards(shards, Fields()).values == ["a"] * 3
    finally:
        os.close(reader)


# ---- URLs and standard input


@pytest.fixture
def memory() -> Iterator[str]:
    """The URL of a folder in a file system that is no disk."""
    system = fsspec.filesystem("memory")
    for name, content in {"a.jsonl": LINE * 20, "b.txt": b"text", ".c.txt": b"?"}.items():
        system.pipe(f"/corpus/{name}", content)
    table = pa.table({"text": [str(n) for n in range(100)]})
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=10)
    system.pipe("/corpus/deep/d.parquet", sink.getvalue())
    yield "memory://corpus"
    system.rm("/corpus", recursive=True)


def test_files_behind_urls_are_found_cut_and_read(memory: str) -> None:
    found = plan([memory], recursive=True, shard_bytes=50)
    assert {shard.url for shard in found.shards} == {
        "memory:///corpus/a.jsonl",
        "memory:///corpus/b.txt",
        "memory:///corpus/deep/d.parquet",
    }
    assert found.hidden == ("memory:///corpus/.c.txt",)
    assert len(found.shards) > 10
    values = read_shards(found.shards, Fields()).values
    assert values == ["a"] * 20 + ["text"] + [str(n) for n in range(100)]


def test_one_url_and_a_pattern_of_urls(memory: str) -> None:
    assert urls(f"{memory}/b.txt") == [f"{memory}/b.txt"]
    assert urls(f"{memory}/*.jsonl") == ["memory:///corpus/a.jsonl"]


def test_a_local_url_is_read_like_its_path(folder: Path) -> None:
    url = f"file://{folder}/b.jsonl"
    found = read_shards(plan([url], shard_bytes=5).shards, Fields())
    assert found.records == {f"{url}:1": "a", f"{url}:2": "a"}


def test_standard_input_is_text_or_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for form, content, records in (
        ("auto", b"some text", {"-": "some text"}),
        ("jsonl", LINE + LINE, {"-:1": "a", "-:2": "a"}),
        ("csv", b"text\na\n", {"-:1": "a"}),
    ):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert read_shards(plan(["-"], form=form).shards, Fields()).records == records
    refusal = read_shards(plan(["-"], form="parquet").shards, Fields()).error
    assert refusal == "-: parquet is not read from standard input (give a file)"


# ---- shards


def test_only_large_files_that_can_be_cut_are_cut(folder: Path) -> None:
    (folder / "large.jsonl").write_bytes(LINE * 1000)
    (folder / "large.txt").write_bytes(b"x" * 14_000)
    shards = plan(["data/large.*"], shard_bytes=3000).shards
    assert [shard.name for shard in shards] == [
        "data/large.jsonl[0:2800]",
        "data/large.jsonl[2800:5600]",
        "data/large.jsonl[5600:8400]",
        "data/large.jsonl[8400:11200]",
        "data/large.jsonl[11200:]",
        "data/large.txt",
    ]
    assert sum(shard.size for shard in shards) == 28_000
    assert len(plan(["data/large.jsonl"]).shards) == 1


def test_row_groups_are_put_together_to_shards(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows = [f"{n:01000}" for n in range(100)]
    plain = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    pq.write_table(pa.table({"text": rows}), path, row_group_size=10, **plain)
    shards = plan([str(path)], shard_bytes=35_000).shards
    assert [(shard.first, shard.last) for shard in shards] == [(0, 3), (3, 6), (6, 9), (9, None)]
    assert all(0 < shard.size <= 35_000 for shard in shards)


def test_a_damaged_table_does_not_stop_the_plan(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1" + b"?" * 100)
    (shard,) = plan([str(path)], shard_bytes=10).shards
    assert read_shards([shard], Fields()).error.startswith(f"{path}: damaged or not what its")


def test_a_key_names_file_version_range_and_fields(folder: Path) -> None:
    (shard,) = plan(["data/b.jsonl"]).shards
    key = shard.key(Fields())
    assert len(key) == 32
    assert pickle.loads(pickle.dumps(shard)).key(Fields()) == key
    assert plan(["data/b.jsonl"]).shards[0].key(Fields()) == key
    changed = [
        replace(shard, url="data/c.jsonl"),
        replace(shard, format="text"),
        replace(shard, compression="gzip"),
        replace(shard, first=1),
        replace(shard, last=9),
        replace(shard, size=1),
        replace(shard, version="1"),
    ]
    others = {other.key(Fields()) for other in changed}
    others |= {shard.key(f) for f in (Fields("t"), Fields(ids_field="t"), Fields(sample=0.5))}
    assert len(others - {key}) == 10
    os.utime("data/b.jsonl", ns=(1, 1))
    assert plan(["data/b.jsonl"]).shards[0].key(Fields()) != key


def test_keys_are_the_same_on_every_machine() -> None:
    # Results of earlier versions are taken up by these names.
    shard = Shard("s3://bucket/a.jsonl", "jsonl", None, 0, 100, 100, "etag")
    assert shard.key(Fields("text", None, 0.5)) == "2f3c67d761ba2a74edc8f1994788e93f"


# ---- start-up


def test_libraries_of_other_formats_are_not_loaded(folder: Path) -> None:
    script = (
        "import sys\n"
        "from watermark.detect.sources import Fields, plan, read\n"
        "shards = plan(['data/b.jsonl', 'data/a.txt']).shards\n"
        "assert [len(b) for s in shards for b in read(s, Fields(), print)] == [1, 2]\n"
        "print({'pyarrow', 'zstandard', 'fsspec', 'numba', 'torch'} & {*sys.modules})\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout == "set()\n"
