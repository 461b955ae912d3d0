"""Token ids in, verdict out: three channels with account and call keys, beside other detectors."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.detect.documents import token_documents
from benchmarks.detect.peers import Judge, peers
from benchmarks.keys import bench_keys
from watermark import reference
from watermark.detect.counts import Batch, EpochScheme
from watermark.detect.pvalues import log10_tails
from watermark.manifest import CHANNELS, Parameters

_LENGTHS = (200, 500, 2000)
_BATCH_TOKENS = 1 << 22
_ACCOUNT, _CALL = 12_345, 12_345 << 40 | 678
_CHECKED = 20
_PEER_DOCUMENTS = 32  # that many at a time
_PARAMETERS = Parameters()


@dataclass(frozen=True, slots=True)
class Rate:
    """Tokens a second of wall time, and a second of CPU time (of all threads together)."""

    wall: float
    cpu: float

    @classmethod
    def of(cls, tokens: int, start: tuple[float, float]) -> "Rate":
        """Work out the rate since `start`, which `now` told."""
        wall, cpu = (end - begin for begin, end in zip(start, now(), strict=True))
        return cls(tokens / wall, tokens / cpu)


def now() -> tuple[float, float]:
    """Wall and CPU time."""
    return time.perf_counter(), time.process_time()


def scheme() -> EpochScheme:
    """The arithmetic under test."""
    return EpochScheme(bench_keys("detect", _PARAMETERS)[0].current, _PARAMETERS)


def rate(batch: Batch, threads: int) -> Rate:
    """Judge all documents: distinct windows, hits, and an exact p in every channel."""
    judged, size = scheme(), max(1, _BATCH_TOKENS // int(batch.offsets[1]))
    _judge(judged, batch.part(0, 1), threads)  # compiles, or loads what was compiled
    start = now()
    for first in range(0, len(batch), size):
        _judge(judged, batch.part(first, min(first + size, len(batch))), threads)
    return Rate.of(len(batch.ids), start)


def _judge(judged: EpochScheme, batch: Batch, threads: int) -> None:
    counts = judged.count(batch, account=_ACCOUNT, call=_CALL, threads=threads)
    log10_tails(counts.hits, counts.windows, _PARAMETERS.gamma)


def peer_rate(judge: Judge, batch: Batch, seconds: float) -> Rate:
    """Judge documents from the first on until the time is over."""
    documents = batch.ids.reshape(len(batch), -1).astype(np.int64)
    judge(documents[:_PEER_DOCUMENTS])  # some compile for every new number of windows
    start, done = now(), _PEER_DOCUMENTS
    while done < len(documents) and time.perf_counter() - start[0] < seconds:
        judge(documents[done : done + _PEER_DOCUMENTS])
        done += _PEER_DOCUMENTS
    return Rate.of(documents[_PEER_DOCUMENTS:done].size, start)


def differing(batch: Batch) -> int:
    """Of the first documents' integers, those that the reference counts otherwise."""
    judged = scheme()
    counts = judged.count(batch.part(0, _CHECKED), account=_ACCOUNT, call=_CALL)
    wrong = 0
    for index in range(_CHECKED):
        expected = reference.count(
            batch.document(index).tolist(), judged.keys, _PARAMETERS, account=_ACCOUNT, call=_CALL
        )
        for column, channel in enumerate(CHANNELS):
            one = expected[channel]
            found = int(counts.windows[index, column]), int(counts.hits[index, column])
            wrong += found != (one.windows, one.hits)
    return wrong


def print_ids(*, quick: bool) -> None:
    """Print the section."""
    tokens, seconds = (3_000_000, 0.5) if quick else (48_000_000, 5.0)
    print(
        "### Token ids in, verdict out\n\nHuman text, cut into documents of equal length. Ours: "
        "distinct windows and an exact p-value in three channels, an account and a call key given."
        " Peers judge the first of the same documents, as many as a few seconds allow, one key, "
        "one thread. Tokens a second (wall), and a second of CPU time; ratios are those of CPU "
        "times of one thread.\n"
    )
    print("| | tokens/document | documents | M tokens/s | M tokens/s of CPU | ours ÷ it |")
    print("|---|---|---|---|---|---|")
    ours: dict[int, Rate] = {}
    wrong = 0
    for length in _LENGTHS:
        batch = token_documents(length, tokens)
        wrong += differing(batch)
        for threads in (1, 2):
            measured = rate(batch, threads)
            ours[length] = ours.get(length, measured)
            name = f"`EpochScheme.count`, {threads} thread{'s' * (threads > 1)}"
            _row(name, length, f"{len(batch):,}", measured)
    for line in _peer_rows(ours, tokens, seconds):
        _row(*line)
    print(
        f"\nThe integers of {_CHECKED * len(_LENGTHS)} documents against the reference "
        f"implementation: {wrong} differ."
    )


def _peer_rows(
    ours: dict[int, Rate], tokens: int, seconds: float
) -> Iterator[tuple[str, int, str, Rate | None, float]]:
    torch.set_num_threads(1)
    length = _LENGTHS[0]
    batch = token_documents(length, tokens)
    for name, judge in peers():
        if judge is None:
            yield f"{name}: not installed", length, "", None, 0.0
        else:
            measured = peer_rate(judge, batch, seconds)
            yield name, length, "the first", measured, ours[length].cpu / measured.cpu


def _row(name: str, length: int, documents: str, rate: Rate | None, ratio: float = 0.0) -> None:
    figures = f"{rate.wall / 1e6:,.4g} | {rate.cpu / 1e6:,.4g}" if rate else "- | -"
    times = f"{ratio:,.3g}" if ratio else ""
    print(f"| {name} | {length} | {documents} | {figures} | {times} |", flush=True)
