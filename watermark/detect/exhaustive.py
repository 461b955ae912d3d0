"""The exhaustive search: every account or call tried against the windows of its channel.

Keys are derived chunk by chunk, so that memory stays flat whatever the number of candidates.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from heapq import nsmallest
from itertools import chain, islice
from typing import Literal, TypeVar

import numpy as np

from watermark.detect.counts import Coins, Integers, Words, number_keys, search
from watermark.keys import EpochKeys

Numbers = range | Words
Result = TypeVar("Result")
# Numbers of a chunk: numbers, keys and hits take 8 MiB a thread.
CHUNK = 1 << 18
# Key-window pairs below which starting threads takes longer than they save.
_WORTH_THREADS = 1 << 24


@dataclass(frozen=True, slots=True, order=True)
class Scored:
    """A number and its green windows; more hits sort first, then lower numbers."""

    misses: int
    number: int
    hits: int


def root_key(keys: EpochKeys, channel: Literal["account", "call"]) -> bytes:
    """Key from which the keys of a channel's numbers derive (empty: not at hand)."""
    return keys.account_root if channel == "account" else keys.call_root


def chunks(numbers: Numbers, size: int) -> Iterator[Words]:
    """Cut numbers into arrays of at most `size`."""
    for start in range(0, len(numbers), size):
        part = numbers[start : start + size]
        if isinstance(part, range):
            # Not arange: numpy takes bounds beyond 2^63 for floats.
            yield np.uint64(part.start) + np.arange(len(part), dtype=np.uint64)
        else:
            yield part


def chunk_size(numbers: Numbers, windows: int, threads: int) -> int:
    """Numbers of a chunk: all if they are few, else so many that every thread has some."""
    parts = threads if len(numbers) * windows > _WORTH_THREADS else 1
    return max(min(CHUNK, -(-len(numbers) // parts)), 1)


def best_two(
    root: bytes,
    numbers: Numbers,
    coins: Coins,
    gamma_bits: int,
    *,
    device: str = "cpu",
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> list[Scored]:
    """Return the one or two numbers with most hits among one channel's windows, best first.

    `progress` is told how many numbers were tried since it was last called.
    """
    hits_of = _hits_on(device)

    def run(part: Words) -> list[Scored]:
        hits = hits_of(number_keys(root, part), coins, gamma_bits)
        return _two_of(part, hits, len(coins))

    best: list[Scored] = []
    for part, found in each(
        run, chunks(numbers, chunk_size(numbers, len(coins), threads)), threads
    ):
        best = nsmallest(2, best + found)
        if progress is not None:
            progress(len(part))
    return best


def each(
    function: Callable[[Words], Result], parts: Iterator[Words], threads: int
) -> Iterator[tuple[Words, Result]]:
    """Apply a function to parts in threads, a few at a time, in order."""
    first = list(islice(parts, 2))
    if threads == 1 or len(first) < 2:  # a pool would take longer than a small search
        yield from ((part, function(part)) for part in chain(first, parts))
        return
    every = chain(first, parts)
    with ThreadPoolExecutor(threads) as pool:
        while group := list(islice(every, 2 * threads)):
            yield from zip(group, pool.map(function, group), strict=True)


def _hits_on(device: str) -> Callable[[Words, Coins, int], Integers]:
    if device == "cpu":
        return lambda keys, coins, gamma_bits: search(keys, coins.seed, coins.token, gamma_bits)
    from watermark.detect import counts_torch

    return lambda keys, coins, gamma_bits: counts_torch.search(
        keys, coins.seed, coins.token, gamma_bits, device=device
    )


def _two_of(numbers: Words, hits: Integers, windows: int) -> list[Scored]:
    found = []
    for _ in range(min(2, len(numbers))):
        top = int(np.argmax(hits))
        found.append(Scored(windows - int(hits[top]), int(numbers[top]), int(hits[top])))
        hits[top] = -1
    return found
