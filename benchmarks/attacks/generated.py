"""Everything that the model writes for the scorecard token by token, made once and cached.

The marked answers are those of rows 448 to 511: prompts, accounts and calls that no other
benchmark uses, under the key of benchmarks.quality.
"""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.cache import cache
from benchmarks.generation import Answers, Generator, Processor
from benchmarks.prompts import prompts
from benchmarks.quality.conditions import quality_marker, row_marks
from watermark.manifest import Parameters

LENGTH = 1000
ROWS = range(448, 512)
KEPT_PREFIX = 300
SYMBOL_LENGTH = 500
SYMBOL_EVERY = (2, 4, 8)
SPOOFED_LENGTH = 400
_FEW = 32  # rows of what is made of the marked answers
_SYMBOL = 1672  # any id will do: the mark hashes it, the stripped text does not show it
_SEED = 20261124

Load = Callable[[], Generator]
Make = Callable[[int, int], Processor | None]
View = Callable[[list[int]], list[int]]
Tokens = NDArray[np.int64]


def marked(load: Load, count: int = len(ROWS), length: int = LENGTH) -> Tokens:
    """Tokens [count, length] of answers with the default mark."""
    rows = ROWS[:count]
    return _made("marked", rows, length, _marking(rows, [list] * count), load)


def regenerated(load: Load) -> Tokens:
    """Tokens [32, 600]: the first 300 of marked answers, and the unmarked model's own next 300."""
    prefixes = torch.from_numpy(marked(load)[:_FEW, :KEPT_PREFIX])

    def make(first: int, prompt: int) -> Processor:
        def process(ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
            place = ids.shape[1] - prompt
            if place >= KEPT_PREFIX:
                return logits
            return torch.full_like(logits, -torch.inf).scatter(1, prefixes[:, place, None], 0.0)

        return process

    return _made("regenerated", ROWS[:_FEW], 2 * KEPT_PREFIX, make, load)


def symbols_stripped(load: Load) -> dict[int, Tokens]:
    """Tokens [32, 500] for each n of SYMBOL_EVERY: marked with a symbol after each n tokens.

    The tokens are without the symbols, as the pupil keeps them. The model itself does not see
    the symbols: it stands for one that writes as well with them.
    """
    views = [_with_symbols(every) for every in SYMBOL_EVERY for _ in range(_FEW)]
    rows = list(ROWS[:_FEW]) * len(SYMBOL_EVERY)
    made = _made("symbols", rows, SYMBOL_LENGTH, _marking(rows, views), load)
    return dict(zip(SYMBOL_EVERY, np.split(made, len(SYMBOL_EVERY)), strict=True))


def _with_symbols(every: int) -> View:
    def view(output: list[int]) -> list[int]:
        seen: list[int] = []
        for place, token in enumerate(output, 1):
            seen.extend([token] if place % every else [token, _SYMBOL])
        return seen

    return view


def spoofed(name: str, make: Make, load: Load) -> Tokens:
    """Tokens [32, 400] of a thief who imitates the mark by the processor that `make` gives."""
    return _made(name, ROWS[:_FEW], SPOOFED_LENGTH, make, load)


def _marking(rows: Sequence[int], views: Sequence[View]) -> Make:
    """The default mark of `rows`, hashing what its view makes of each row's output."""

    def make(first: int, prompt: int) -> Processor:
        marker = quality_marker(Parameters())
        marks = row_marks(marker, rows)

        def process(ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
            written = ids[:, prompt:].tolist()
            outputs = [view(row) for view, row in zip(views, written, strict=True)]
            return marker.apply(logits, marks, outputs)

        return process

    return make


def _made(name: str, rows: Sequence[int], length: int, make: Make, load: Load) -> Tokens:
    """Tokens [rows, length] under this name, from the cache or generated now."""
    known = repr((name, list(rows), length, _SEED))
    digest = hashlib.sha256(known.encode()).hexdigest()[:12]
    path = cache("attacks") / f"{name}-{digest}.npz"
    if not path.exists():
        every = prompts(ROWS[-1] + 1)
        texts = [every[row] for row in rows]
        load().batch(texts, length, _SEED, make, rows[0], name).save(path)
    return Answers.load(path).tokens
