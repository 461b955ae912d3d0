"""A gateway that is killed at any moment leaves a registry without a gap, and goes on."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from watermark.detect.candidates import Candidates

WRITER = """
import sys
from pathlib import Path
from proxy.config import Registry
from proxy.metrics import Metrics
from proxy.registry import CallRegistry, Entry, writer

writer.GATHER_S = 0.002
settings = Registry(path=Path(sys.argv[1]), rotate_bytes=20_000, format="parquet")
book = CallRegistry(settings, Metrics([], []))
number = int(sys.argv[2])
while True:
    if len(book._queue) < 100:
        book.append(Entry(number, 1, "alice", "2026-01-01T00:00:00.000Z", "m", "openai_chat",
                          1, 2, 200, "complete", 1, "engine"))
        number += 1
"""
DEADLINE_S = 60.0
SEGMENTS = 3


def run_until_killed(path: Path, first: int, rng: random.Random) -> None:
    """Write from call `first` until some segments are converted, and kill at a random moment."""
    before = len(list(path.parent.glob("*.parquet"))) if path.parent.exists() else 0
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(first)])
    try:
        limit = time.monotonic() + DEADLINE_S
        while len(list(path.parent.glob("*.parquet"))) < before + SEGMENTS:
            assert process.poll() is None
            assert time.monotonic() < limit
            time.sleep(0.005)
        time.sleep(rng.random() * 0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


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
