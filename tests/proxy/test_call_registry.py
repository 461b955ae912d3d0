"""The call registry: every line whole, none lost silently, nothing waits for the disk."""

from __future__ import annotations

import hmac
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from proxy.config import Registry
from proxy.errors import StartError
from proxy.metrics import Metrics
from proxy.registry import CallRegistry, Entry, writer


def entry(call: int) -> Entry:
    return Entry(
        call=call,
        account=1,
        name="alice",
        time="2026-01-01T00:00:00.000Z",
        model="m",
        dialect="openai_chat",
        prompt_tokens=None,
        completion_tokens=7,
        status=200,
        end="complete",
        epoch=1,
        embedder="engine",
    )


def opened(path: Path, metrics: Metrics, **options: Any) -> CallRegistry:
    return CallRegistry(Registry(path=path), metrics, **options)


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "GATHER_S", 0.001)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics([], [])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sub" / "calls.jsonl"


def calls(file: Path) -> list[int]:
    return [json.loads(line)["call"] for line in file.read_text().splitlines()]


def test_closing_writes_all_that_was_appended_in_order(file: Path, metrics: Metrics) -> None:
    book = opened(file, metrics)
    for number in range(5_000):
        book.append(entry(number))
    book.close()

    assert calls(file) == list(range(5_000))
    assert metrics.registry_lines._value.get() == 5_000
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_line_says_all_that_a_detector_needs(file: Path, metrics: Metrics) -> None:
    book = opened(file, metrics)
    book.append(entry(2**64 - 1))
    book.close()

    assert json.loads(file.read_text()) == {
        "call": 2**64 - 1,
        "account": 1,
        "name": "alice",
        "time": "2026-01-01T00:00:00.000Z",
        "model": "m",
        "dialect": "openai_chat",
        "prompt_tokens": None,
        "completion_tokens": 7,
        "status": 200,
        "end": "complete",
        "epoch": 1,
        "embedder": "engine",
    }


def test_a_second_run_goes_on_behind_the_first(file: Path, metrics: Metrics) -> None:
    for number in (1, 2):
        book = opened(file, metrics)
        book.append(entry(number))
        book.close()

    assert calls(file) == [1, 2]


def test_a_line_torn_by_a_crash_does_not_spoil_the_next(file: Path, metrics: Metrics) -> None:
    file.parent.mkdir()
    file.write_text('{"call":1}\n{"call":2,"acc')
    book = opened(file, metrics)
    book.append(entry(3))
    book.close()

    lines = file.read_text().splitlines()
    assert lines[1] == '{"call":2,"acc'
    assert json.loads(lines[2])["call"] == 3


def test_a_file_that_cannot_be_written_stops_the_start(tmp_path: Path, metrics: Metrics) -> None:
    with pytest.raises(StartError, match="registry"):
        opened(tmp_path, metrics)


class Disk:
    """os.write with a disk that is full, or takes a few bytes only, or stands still."""

    def __init__(self) -> None:
        self.takes = 10**9
        self.reached = threading.Event()
        self.moves = threading.Event()
        self.moves.set()
        self._write = os.write

    def write(self, descriptor: int, data: bytes) -> int:
        self.reached.set()
        self.moves.wait()
        if self.takes <= 0:
            raise OSError(28, "No space left on device")
        piece = data[: self.takes]
        self.takes -= len(piece)
        return self._write(descriptor, piece)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr("proxy.registry.segments.os.write", disk.write)
    monkeypatch.setattr(writer, "RETRY_SECONDS", 0.001)
    return disk


def test_a_full_disk_loses_nothing_that_fits_later(
    file: Path, metrics: Metrics, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    disk.takes = 100  # less than one line
    book = opened(file, metrics)
    book.append(entry(1))
    disk.reached.wait()
    book.append(entry(2))
    disk.takes = 10**9
    book.close()

    assert calls(file) == [1, 2]


def test_a_disk_that_stays_full_is_counted_and_logged(
    file: Path, metrics: Metrics, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    disk.takes = 0
    book = opened(file, metrics)
    for number in range(3):
        book.append(entry(number))
    disk.reached.wait()
    assert not book.healthy
    book.close()

    assert metrics.registry_lost._value.get() == 3
    assert metrics.registry_failures._value.get() > 0
    assert {"registry_write_failed", "registry_lines_lost"} <= {r.message for r in caplog.records}
    assert file.read_text() == ""


def test_a_disk_that_stands_still_holds_up_nobody(
    file: Path,
    metrics: Metrics,
    disk: Disk,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(writer, "QUEUE_SIZE", 10)
    disk.moves.clear()
    book = opened(file, metrics)
    book.append(entry(0))
    disk.reached.wait()  # the writer hangs with the first line in its hands
    for number in range(1, 16):
        book.append(entry(number))
    assert metrics.registry_lost._value.get() == 5
    disk.moves.set()
    book.close()

    assert calls(file) == list(range(11))
    assert [r.message for r in caplog.records] == ["registry_line_lost"] * 5


def test_texts_become_keyed_digests_and_are_not_kept(file: Path, metrics: Metrics) -> None:
    key = bytes(range(32))
    book = opened(file, metrics, digest_key=key)
    assert book.digests
    book.append(entry(1), ["Two  words\n", "", "cafe\u0301"])
    book.append(entry(2), [" \n"])
    book.append(entry(3))
    book.close()

    first, *others = map(json.loads, file.read_text().splitlines())
    expected = [
        hmac.digest(key, text.encode(), "sha256").hex()[:32] for text in ("Two words", "caf\u00e9")
    ]
    assert first["digest"] == expected
    assert all("digest" not in other for other in others)
    assert "words" not in file.read_text()


def test_texts_that_wait_for_a_dead_disk_are_bounded(
    file: Path, metrics: Metrics, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "QUEUE_CHARACTERS", 10)
    disk.moves.clear()
    book = opened(file, metrics, digest_key=b"k" * 32)
    book.append(entry(0))
    disk.reached.wait()
    for number in range(1, 4):
        book.append(entry(number), ["five5"])
    disk.moves.set()
    book.close()

    assert metrics.registry_digests_lost._value.get() == 1
    assert ["digest" in json.loads(line) for line in file.read_text().splitlines()] == [
        False, True, True, False,
    ]  # fmt: skip
