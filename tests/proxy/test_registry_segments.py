"""Segments of the call registry: closed by size or age, as JSON lines or Parquet, none torn."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_call_registry import entry

from proxy.config import Registry
from proxy.errors import StartError
from proxy.metrics import Metrics
from proxy.registry import CallRegistry, parquet, writer
from watermark.detect.candidates import Candidates

DEADLINE_S = 60.0
NAME = r"calls(\.w\d)?-\d{8}T\d{6}Z-\d+\.(jsonl|parquet)"


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "GATHER_S", 0.001)
    monkeypatch.setattr(writer, "RETRY_SECONDS", 0.01)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics([], [])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "registry"


def opened(folder: Path, metrics: Metrics, worker: int | None = None, **keys: Any) -> CallRegistry:
    settings = Registry(path=folder / "calls.jsonl", **keys)
    return CallRegistry(settings, metrics, worker=worker)


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < limit, "not within the deadline"
        time.sleep(0.005)


def closed(folder: Path, suffix: str = ".jsonl") -> list[Path]:
    return sorted(
        path for path in folder.glob(f"calls*-*{suffix}") if re.fullmatch(NAME, path.name)
    )


def calls_of(folder: Path) -> list[int]:
    """Every call that a detector finds there."""
    candidates = Candidates()
    candidates.add_registry(folder / "calls.jsonl", pytest.fail)
    return candidates.calls.numbers.tolist()


def fill(book: CallRegistry, folder: Path, segments: int, suffix: str = ".jsonl") -> int:
    """Append until so many segments are closed; return how many calls that took."""
    number = 0

    def enough() -> bool:
        nonlocal number
        number += 1
        book.append(entry(number))
        return len(closed(folder, suffix)) >= segments

    until(enough)
    return number


def test_a_segment_is_closed_by_size_and_no_line_is_lost(folder: Path, metrics: Metrics) -> None:
    book = opened(folder, metrics, rotate_bytes=500)
    count = fill(book, folder, 3)
    book.close()

    assert calls_of(folder) == list(range(1, count + 1))
    for path in closed(folder):
        assert path.stat().st_size >= 500
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.read_bytes().endswith(b"\n")


def test_a_segment_is_closed_by_age_while_no_call_comes(folder: Path, metrics: Metrics) -> None:
    book = opened(folder, metrics, rotate_bytes=None, rotate_s=0.05)
    book.append(entry(1))
    until(lambda: len(closed(folder)) == 1)
    book.close()

    assert calls_of(folder) == [1]
    assert (folder / "calls.jsonl").read_bytes() == b""


def test_a_restart_does_not_make_an_old_segment_young(folder: Path, metrics: Metrics) -> None:
    book = opened(folder, metrics)
    book.append(entry(1))  # its time is long past
    book.close()
    book = opened(folder, metrics, rotate_s=3600.0)
    until(lambda: len(closed(folder)) == 1)
    book.close()

    assert calls_of(folder) == [1]


def test_null_never_closes_a_segment(folder: Path, metrics: Metrics) -> None:
    book = opened(folder, metrics, rotate_bytes=None)
    for number in range(2000):
        book.append(entry(number))
    book.close()

    assert os.listdir(folder) == ["calls.jsonl"]


def test_workers_write_files_of_their_own_that_are_read_as_one(
    folder: Path, metrics: Metrics
) -> None:
    books = [opened(folder, metrics, worker) for worker in (0, 1)]
    for number, book in enumerate(books):
        book.append(entry(number))
        book.close()

    assert sorted(os.listdir(folder)) == ["calls.w0.jsonl", "calls.w1.jsonl"]
    assert calls_of(folder) == [0, 1]


def test_closed_segments_become_parquet_with_every_field(folder: Path, metrics: Metrics) -> None:
    book = opened(folder, metrics, format="parquet", rotate_bytes=2000)
    count = fill(book, folder, 2, ".parquet")
    book.close()

    assert calls_of(folder) == list(range(1, count + 1))
    table = pq.read_table(closed(folder, ".parquet")[0])
    first = table.slice(0, 1).to_pylist()[0]
    assert table.schema.field("call").type == pa.uint64()
    assert {name: value for name, value in first.items() if value is not None} == {
        "call": 1,
        "account": 1,
        "name": "alice",
        "time": "2026-01-01T00:00:00.000Z",
        "model": "m",
        "dialect": "openai_chat",
        "completion_tokens": 7,
        "status": 200,
        "end": "complete",
        "epoch": 1,
        "embedder": "engine",
    }
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600


def test_what_a_crash_left_is_converted_at_the_next_start(folder: Path, metrics: Metrics) -> None:
    book = opened(folder, metrics, rotate_bytes=500)
    count = fill(book, folder, 2)
    book.close()
    left = closed(folder)
    left[0].write_bytes(left[0].read_bytes() + b'{"call":9999,"acc\n{}\n')  # torn, and no entry
    half = folder / f".{left[0].stem}.parquet.part"
    half.write_bytes(b"half of a file")

    book = opened(folder, metrics, format="parquet")
    until(lambda: not closed(folder))
    book.close()

    assert calls_of(folder) == list(range(1, count + 1))
    assert len(closed(folder, ".parquet")) == len(left)
    assert not half.exists()


def test_lines_and_parquet_of_one_segment_count_once(folder: Path, metrics: Metrics) -> None:
    book = opened(folder, metrics, rotate_bytes=500)
    count = fill(book, folder, 1)
    book.close()
    (left,) = closed(folder)
    lines = left.read_bytes()
    for _ in parquet.convert(left):
        pass
    assert not left.exists()
    left.write_bytes(lines)  # as if the crash came before it was removed

    assert calls_of(folder) == list(range(1, count + 1))


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), pa.ArrowInvalid("x")])
def test_a_conversion_that_fails_leaves_the_lines(
    folder: Path,
    metrics: Metrics,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: Exception,
) -> None:
    def fail(*arguments: object) -> None:
        raise fault

    monkeypatch.setattr(parquet, "_settle", fail)
    book = opened(folder, metrics, format="parquet", rotate_bytes=500)
    count = fill(book, folder, 1)
    until(lambda: "registry_conversion_failed" in {record.message for record in caplog.records})
    book.close()

    assert calls_of(folder) == list(range(1, count + 1))
    assert not list(folder.glob("*.parquet"))
    assert not list(folder.glob(".*"))
    assert metrics.registry_failures._value.get() > 0


def test_a_file_with_too_few_rows_does_not_replace_the_lines(
    folder: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = opened(folder, metrics, rotate_bytes=500)
    fill(book, folder, 1)
    book.close()
    (left,) = closed(folder)
    monkeypatch.setattr(parquet._Writer, "write", lambda self, table: None)
    with pytest.raises(pa.ArrowInvalid, match="0 rows written"):
        list(parquet.convert(left))
    assert left.exists()


def test_a_rotation_that_fails_loses_nothing(
    folder: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", fail)
    book = opened(folder, metrics, rotate_bytes=100)
    for number in range(10):
        book.append(entry(number))
    until(lambda: metrics.registry_failures._value.get() > 0)
    book.close()

    assert [json.loads(line)["call"] for line in (folder / "calls.jsonl").open()] == [*range(10)]


def test_parquet_without_pyarrow_stops_the_start(
    folder: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(StartError, match=r"azeotrope\[parquet\]"):
        opened(folder, metrics, format="parquet")
