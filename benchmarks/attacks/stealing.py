"""Stealing the mark: what a thief learns from marked answers, and how well he imitates them.

The thief (after Jovanović, Staab and Vechev, "Watermark Stealing in Large Language Models",
2024) has answers, not keys. He takes a token for green after two tokens if marked answers have
it there oftener than unmarked ones of the same length, and favours such tokens in a forgery.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.attacks.generated import Make
from benchmarks.generation import Processor
from benchmarks.keys import bench_keys
from watermark.detect.counts import Batch, EpochScheme
from watermark.manifest import CHANNELS, Parameters

_BIAS = 4.0
_WIDTH = 2  # the public context width of selector and site channel

Tokens = NDArray[np.int64]
Triple = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Loot:
    """Windows that a thief takes for green, and from how many answers he learnt them."""

    answers: int
    claims: frozenset[Triple]

    @classmethod
    def of(cls, marked: Tokens, unmarked: Tokens) -> "Loot":
        """Compare windows [answers, n] of marked and of unmarked answers."""
        here, there = Counter(_triples(marked)), Counter(_triples(unmarked))
        scale = marked.size / unmarked.size
        claims = (triple for triple, count in here.items() if count > there[triple] * scale)
        return cls(len(marked), frozenset(claims))

    def precision(self) -> tuple[float, float]:
        """Share of the claims that are in the site channel, and share of those that are green."""
        parameters = Parameters()
        scheme = EpochScheme(bench_keys("quality", parameters)[0].current, parameters)
        _, coins = scheme.coins(Batch.of(sorted(self.claims)))
        ends = coins.position == _WIDTH
        site = ends & (coins.channel == CHANNELS.index("site"))
        return float(site.sum() / len(self.claims)), float(coins.green[site].mean())

    def coverage(self, fresh: Tokens) -> float:
        """Share of the distinct windows of fresh answers that the thief claims, mean of answers."""
        shares = []
        for row in fresh:
            windows = set(_triples(row[None]))
            shares.append(len(windows & self.claims) / len(windows))
        return float(np.mean(shares))

    def forging(self) -> Make:
        """Return the processor that favours the claimed tokens in every context."""
        by_context: dict[tuple[int, int], list[int]] = defaultdict(list)
        for first, second, token in self.claims:
            by_context[first, second].append(token)

        def make(_: int, prompt: int) -> Processor:
            def process(ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
                if ids.shape[1] - prompt >= _WIDTH:
                    for row, (first, second) in enumerate(ids[:, -_WIDTH:].tolist()):
                        logits[row, by_context.get((first, second), [])] += _BIAS
                return logits

            return process

        return make


def _triples(rows: Tokens) -> Iterator[Triple]:
    for row in rows.tolist():
        yield from zip(row, row[1:], row[2:], strict=False)
