"""Marked and unmarked answers of the same model to the same prompts, cached on disk."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch

from benchmarks.cache import cache
from benchmarks.generation import Answers, Generator, Processor
from benchmarks.keys import bench_keys
from benchmarks.power.synthid import SynthId
from benchmarks.prompts import prompts
from watermark.embed.huggingface import WatermarkLogitsProcessor
from watermark.embed.marker import Marker, RowMark
from watermark.manifest import Parameters
from watermark.ticket import Ticket

LENGTH = 400
ACCOUNTS = 24_000
_SEED = 20261122
_BATCH = 128
# transformers' own green list, as its WatermarkingConfig makes it by default but for the bias.
KGW_GAMMA = 0.25
_KGW_KEY = 15485863


@dataclass(frozen=True)
class Condition:
    """One way of generating: az1 with parameters, a mark of transformers, or none.

    `synthid` stays out of the repr, by which the cache knows a condition: the answers of the
    other conditions outlive its coming.
    """

    name: str
    parameters: Parameters | None = None
    kgw_bias: float | None = None
    synthid: bool = field(default=False, repr=False)


def account_of(row: int) -> int:
    """Account number of answer `row`: spread over all accounts."""
    return 1 + row * 7919 % ACCOUNTS


def call_of(row: int) -> int:
    """Call number of answer `row`, packed as the gateway does it."""
    return account_of(row) << 40 | 1000 + row


def answers(condition: Condition, count: int, generator: Callable[[], Generator]) -> Answers:
    """Return the condition's first `count` answers, generated now or before.

    `generator` loads the model. Batches have a fixed size, so that row i is the same whatever
    the count.
    """
    texts, parts = prompts(count), []
    for first in range(0, count, _BATCH):
        path = cache("quality") / f"{condition.name}-{_digest(condition)}-{first}.npz"
        batch = texts[first : first + _BATCH]
        if not path.exists() or len(Answers.load(path).tokens) < len(batch):
            seed = _SEED + first
            make = _maker(condition)
            made = generator().batch(batch, LENGTH, seed, make, first, condition.name)
            made.save(path)
        parts.append(Answers.load(path))
    return Answers(
        np.concatenate([part.tokens for part in parts])[:count],
        np.concatenate([part.logprobs for part in parts])[:count],
    )


def _digest(condition: Condition) -> str:
    return hashlib.sha256(repr((condition, LENGTH, _SEED)).encode()).hexdigest()[:12]


def _maker(condition: Condition) -> Callable[[int, int], Processor | None]:
    if condition.parameters is not None:
        return lambda first, prompt: _az1(condition, first, prompt)
    if condition.kgw_bias is not None:
        return lambda first, prompt: kgw(condition.kgw_bias or 0.0)
    if condition.synthid:
        return lambda first, prompt: SynthId()
    return lambda first, prompt: None


def _az1(condition: Condition, first: int, prompt: int) -> Processor:
    assert condition.parameters is not None
    marker = quality_marker(condition.parameters)

    def process(ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        nonlocal inner
        if inner is None:
            marks = row_marks(marker, range(first, first + len(ids)))
            inner = WatermarkLogitsProcessor(marker, marks, prompt)
        return inner(ids, logits)

    inner: WatermarkLogitsProcessor | None = None
    return process


def quality_marker(parameters: Parameters) -> Marker:
    """Return the marker of all answers of this benchmark."""
    return Marker(*bench_keys("quality", parameters))


def row_marks(marker: Marker, rows: Iterable[int]) -> list[RowMark]:
    """Return the marks of answers, each with its own account and call."""
    delta = marker.manifest.delta_millinats
    return [marker.row(Ticket(1, account_of(row), call_of(row), delta, 0, 1 << 40)) for row in rows]


def kgw(bias: float, vocabulary: int = 49152, device: str = "cpu") -> Processor:
    """Return the green-list processor of transformers (left hash, its default key)."""
    from transformers.generation.logits_process import WatermarkLogitsProcessor as Kgw

    processor: Processor = Kgw(
        vocab_size=vocabulary,
        device=device,
        greenlist_ratio=KGW_GAMMA,
        bias=bias,
        hashing_key=_KGW_KEY,
        seeding_scheme="lefthash",
        context_width=1,
    )
    return processor
