"""Distinct windows of a corpus of any size, counted in bounded memory.

A window is one 64-bit word: its digest, whose lowest bit gives way to the coin. Words are gathered
in a buffer; a full buffer is cut into 1,024 partitions by the top bits, rid of its repeats, and
kept as a *run*, in memory or on disk. At the end partition after partition is put together from
all runs and counted. Every table thus fits the cache while a buffer is full, and 1/1,024 of all
windows (up to 40 bytes each) has to fit into memory at the end: 40 MB for a thousand million.

Two distinct windows are taken for one with probability 2^-63 a pair: one pair is expected among
4 thousand million windows.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from watermark.detect.kernels import compiled, insert, table_size
from watermark.errors import InputError

Words = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]

PARTITIONS = 1024
_PARTITION_SHIFT = np.uint64(54)
BUFFER_WINDOWS = 1 << 22
_COIN, _DIGEST = np.uint64(1), np.uint64(2**64 - 2)
_MAGIC = np.uint64(0x317A615F6E757273)
_HEADER = PARTITIONS + 2


@dataclass(frozen=True, slots=True)
class Totals:
    """Distinct windows, and green ones among them."""

    windows: int
    hits: int


@dataclass(frozen=True, slots=True)
class Run:
    """Words ordered by partition, without repeats: `words` [n], `bounds` int64 [1025]."""

    words: Words
    bounds: Integers

    @classmethod
    def of(cls, words: Words) -> "Run":
        """Make a run of any words [n]."""
        arranged, bounds = _arrange(words)
        kept, sizes = _without_repeats(arranged, bounds)
        ends = np.concatenate([[0], np.cumsum(sizes)])
        return cls(kept[: ends[-1]], ends)

    def partition(self, index: int) -> Words:
        """Return the words of one partition."""
        return self.words[self.bounds[index] : self.bounds[index + 1]]

    def write(self, file: BinaryIO) -> None:
        """Append the run to a file."""
        file.write(np.concatenate([[_MAGIC], self.bounds.astype(np.uint64)]).tobytes())
        file.write(self.words.tobytes())


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run in a file, from word `first` on; a partition is read when it is asked for.

    Not mapped into memory: what is mapped counts as the process's until the kernel needs it.
    """

    path: Path
    first: int
    bounds: Integers

    def partition(self, index: int) -> Words:
        """Read the words of one partition."""
        start, end = self.bounds[index : index + 2].tolist()
        return np.fromfile(self.path, np.uint64, end - start, offset=8 * (self.first + start))


def read_runs(path: Path) -> Iterator[StoredRun]:
    """Yield the runs of a file; raises InputError if it is damaged."""
    length, place = path.stat().st_size // 8, 0
    while place < length:
        header = np.fromfile(path, np.uint64, _HEADER, offset=8 * place)
        bounds = header[1:].astype(np.int64)
        end = place + _HEADER + (int(bounds[-1]) if len(header) == _HEADER else length)
        if header[0] != _MAGIC or end > length:
            raise InputError(f"{path}: damaged; remove it and scan again")
        yield StoredRun(path, place + _HEADER, bounds)
        place = end


class DistinctWindows:
    """Gathers the windows of one channel and epoch; full buffers go to `path` as runs."""

    def __init__(self, path: Path, buffer_windows: int = BUFFER_WINDOWS) -> None:
        self._path = path
        self._buffer = np.empty(buffer_windows, np.uint64)
        self._filled = 0
        path.write_bytes(b"")

    def add(self, digests: Words, greens: npt.NDArray[np.uint8]) -> None:
        """Add windows [n] by digest and coin."""
        words = (digests & _DIGEST) | greens
        while len(words):
            taken = words[: len(self._buffer) - self._filled]
            self._buffer[self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            words = words[len(taken) :]
            if self._filled == len(self._buffer):
                self.flush()

    def flush(self) -> None:
        """Write what is in the buffer."""
        if self._filled:
            run = Run.of(self._buffer[: self._filled])
            with self._path.open("ab") as file:
                run.write(file)
            self._filled = 0


def count_distinct(runs: Iterable[Run | StoredRun], threads: int = 1) -> Totals:
    """Count the distinct windows of all runs together."""
    every = list(runs)

    def count(index: int) -> tuple[int, int]:
        words = np.concatenate([run.partition(index) for run in every])
        windows, hits = _count(words)
        return int(windows), int(hits)

    if not every:
        return Totals(0, 0)
    with ThreadPoolExecutor(threads) as pool:
        counts = list(pool.map(count, range(PARTITIONS)))
    return Totals(sum(windows for windows, _ in counts), sum(hits for _, hits in counts))


def distinct_in(digests: Words, greens: npt.NDArray[np.uint8]) -> Totals:
    """Count the distinct windows [n] of one array."""
    return count_distinct([Run.of((digests & _DIGEST) | greens)])


@dataclass(slots=True)
class WindowSample:
    """The distinct windows with the smallest digests: a uniform sample of the distinct ones.

    `digests` uint64 [k] ascending, `seeds` uint64 [k], `tokens` uint32 [k]; samples of parts merge
    into the sample of the whole (bottom-k sketch: Cohen and Kaplan, PODC 2007).
    """

    digests: Words
    seeds: Words
    tokens: npt.NDArray[np.uint32]

    @classmethod
    def empty(cls) -> "WindowSample":
        """Return a sample of nothing."""
        none = np.empty(0, np.uint64)
        return cls(none, none, np.empty(0, np.uint32))

    @classmethod
    def of(cls, digests: Words, seeds: Words, tokens: npt.NDArray[np.uint32]) -> "WindowSample":
        """Return the sample that holds all the windows [n] given, each once."""
        kept, first = np.unique(digests, return_index=True)
        return cls(kept, seeds[first], tokens[first])

    def __len__(self) -> int:
        return len(self.digests)

    def merged(self, others: Sequence["WindowSample"], size: int) -> "WindowSample":
        """Return the sample of at most `size` windows of all together."""
        samples = [self, *others]
        digests, first = np.unique(
            np.concatenate([sample.digests for sample in samples]), return_index=True
        )
        kept = first[:size]
        return WindowSample(
            digests[:size],
            np.concatenate([sample.seeds for sample in samples])[kept],
            np.concatenate([sample.tokens for sample in samples])[kept],
        )


@compiled
def _arrange(words: Words) -> tuple[Words, Integers]:
    """Order words by partition (counting sort); bounds int64 [1025]."""
    bounds = np.zeros(PARTITIONS + 1, np.int64)
    for word in words:
        bounds[np.int64(word >> _PARTITION_SHIFT) + 1] += 1
    for index in range(PARTITIONS):
        bounds[index + 1] += bounds[index]
    following = bounds[:-1].copy()
    arranged = np.empty_like(words)
    for word in words:
        place = np.int64(word >> _PARTITION_SHIFT)
        arranged[following[place]] = word
        following[place] += 1
    return arranged, bounds


@compiled
def _without_repeats(words: Words, bounds: Integers) -> tuple[Words, Integers]:
    """Drop repeats within each partition; the kept words first, and their numbers [1024]."""
    largest = 0
    for index in range(PARTITIONS):
        largest = max(largest, bounds[index + 1] - bounds[index])
    table = np.empty(table_size(largest), np.uint64)
    sizes = np.zeros(PARTITIONS, np.int64)
    kept = 0
    for index in range(PARTITIONS):
        slots = table_size(bounds[index + 1] - bounds[index])
        table[:slots] = np.uint64(0)
        mask = np.uint64(slots - 1)
        for i in range(bounds[index], bounds[index + 1]):
            # 0 marks an empty slot.
            if insert(table, mask, max(words[i], np.uint64(1))):
                words[kept] = words[i]
                kept += 1
                sizes[index] += 1
    return words, sizes


@compiled
def _count(words: Words) -> tuple[int, int]:
    slots = table_size(len(words))
    table = np.zeros(slots, np.uint64)
    mask = np.uint64(slots - 1)
    windows, hits = 0, 0
    for word in words:
        if insert(table, mask, max(word, np.uint64(1))):
            windows += 1
            hits += int(word & _COIN)
    return windows, hits
