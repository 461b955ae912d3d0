"""Distinct windows of a corpus of 10^9 windows: time, memory and disk.

`python -m benchmarks.detect.windows PATH WINDOWS` runs the count itself, so that another process
can watch its memory; it prints its figures as JSON.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.cache import cache
from benchmarks.detect.processes import watched
from watermark.detect.distinct import DistinctWindows, count_distinct, read_runs
from watermark.prf import GOLDEN, MIX1, MIX2

_ADDED = 1 << 20  # windows at a time
_THREADS = 2


def made(windows: int) -> Iterator[tuple[npt.NDArray[np.uint64], int]]:
    """Yield digests, and how many of them are new: of eight, six new, one recent, one old.

    Digests are SplitMix64 of counters, which never gives one word twice.
    """
    rng = np.random.default_rng(1)
    known = 0
    for first in range(0, windows, _ADDED):
        size = min(_ADDED, windows - first)
        new = size - size // 8 * 2
        recent = rng.integers(known, known + new, size // 8)
        old = rng.integers(0, max(known, 1), size // 8)
        counters = np.concatenate([np.arange(known, known + new), recent, old])
        rng.shuffle(counters)
        known += new
        yield _mixed(counters.astype(np.uint64)), new


def _mixed(counters: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    word = (counters + np.uint64(1)) * np.uint64(GOLDEN)
    word = (word ^ word >> np.uint64(30)) * np.uint64(MIX1)
    word = (word ^ word >> np.uint64(27)) * np.uint64(MIX2)
    mixed: npt.NDArray[np.uint64] = word ^ word >> np.uint64(31)
    return mixed


def count(path: Path, windows: int) -> dict[str, float]:
    """Add the windows, count them, and compare with what is known of them."""
    distinct, known, adding = DistinctWindows(path), 0, 0.0
    for digests, new in made(windows):
        known += new
        start = time.perf_counter()
        # The coin is the digest's own lowest bit: no two words become one.
        distinct.add(digests, (digests & np.uint64(1)).astype(np.uint8))
        adding += time.perf_counter() - start
    start = time.perf_counter()
    distinct.flush()
    disk = path.stat().st_size
    totals = count_distinct(read_runs(path), _THREADS)
    counting = time.perf_counter() - start
    return {
        "known": known,
        "found": totals.windows,
        "adding": adding,
        "counting": counting,
        "disk": disk,
    }


def print_windows(*, quick: bool) -> None:
    """Print the section."""
    windows = 10**7 if quick else 10**9
    folder = cache("detect")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path = str(Path(temporary) / "runs")
        command = [sys.executable, "-m", "benchmarks.detect.windows", path, str(windows)]
        usage = watched(command)
    figures = json.loads(usage.output)
    print(
        f"\n### Distinct windows of a large corpus\n\n{windows:,} windows, a quarter of them "
        "repeats, near and far. Added on one core, counted on two; making them is not timed.\n"
    )
    print(
        "| adding, s | counting, s | distinct | exact | on disk, GB | peak RSS, MB "
        "| without pages of files, MB |\n|---|---|---|---|---|---|---|"
    )
    exact = "yes" if figures["found"] == figures["known"] else f"no: {figures['known']:,}"
    print(
        f"| {figures['adding']:.1f} | {figures['counting']:.1f} | {figures['found']:,} | {exact} "
        f"| {figures['disk'] / 1e9:.2f} | {usage.resident / 1e6:,.0f} "
        f"| {usage.anonymous / 1e6:,.0f} |",
        flush=True,
    )


if __name__ == "__main__":
    print(json.dumps(count(Path(sys.argv[1]), int(sys.argv[2]))))
