"""A gateway that is killed at any moment leaves a registry without a gap, and goes on."""

from __future__ import annotations

import multiprocessing
import random
import time
from pathlib import Path

import pytest

from proxy.config import Registry
from proxy.metrics import Metrics
from proxy.registry import CallRegistry, Entry, writer
from watermark.detect.candidates import Candidates

# Else each writer imports it all again.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__, "pyarrow.parquet"])
DEADLINE_S = 60.0
SEGMENTS = 3


def write_for_ever(path: Path, number: int) -> None:
    writer.GATHER_S = 0.002
    settings = Registry(path=path, rotate_bytes=20_000, format="parquet")
    book = CallRegistry(settings, Metrics([], []))
    ended = "2026-01-01T00:00:00.000Z"
    while True:
        while len(book._queue) >= 100:
            time.sleep(0.001)  # let the thread have the interpreter that writes
        entry = (number, 1, "alice", ended, "m", "openai_chat", 1, 2, 200, "complete", 1)
        book.append(Entry(*entry, "engine"))
        number += 1


def run_until_killed(path: Path, first: int, rng: random.Random) -> None:
    """Write from call `first` until some segments are converted, and kill at a random moment."""
    before = len(list(path.parent.glob("*.parquet"))) if path.parent.exists() else 0
    process = PROCESSES.Process(target=write_for_ever, args=(path, first))
    process.start()
    try:
        limit = time.monotonic() + DEADLINE_S
        while len(list(path.parent.glob("*.parquet"))) < before + SEGMENTS:
            assert process.is_alive()
            assert time.monotonic() < limit
            time.sleep(0.005)
        time.sleep(rng.random() * 0.05)
    finally:
        process.kill()
        process.join()


@pytest.mark.parametrize("seed", [1, 2])
def test_no_line_that_was_written_is_lost(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    path = tmp_path / "registry" / "calls.jsonl"
    seen = 0
    for _ in range(3):
        run_until_killed(path, seen + 1, rng)
        torn: list[str] = []
        candidates = Candidates()
        candidates.add_registry(path, torn.append)
        numbers = candidates.calls.numbers.tolist()
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) > seen
        assert len(torn) <= 3  # one for each kill at most
        seen = len(numbers)
