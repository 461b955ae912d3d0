"""Power against length: az1 beside transformers' KGW and SynthID-Text on the same model.

`python -m benchmarks.power.run [--quick]` prints the section of docs/results.md. Answers are those
of benchmarks.quality and its cache.
"""

from collections.abc import Callable
from functools import lru_cache

import click
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.attacks.texts import human_tokens
from benchmarks.generation import Answers, Generator
from benchmarks.keys import bench_keys
from benchmarks.power import synthid
from benchmarks.quality.conditions import KGW_GAMMA, Condition, answers, kgw
from benchmarks.statistics import interval, percent
from proxy.engine.weights import demo_model
from watermark.detect.counts import Batch, EpochScheme
from watermark.detect.filter import FILTER_DEFAULT, CommonFilter, load_filter
from watermark.detect.pvalues import log10_tails
from watermark.detect.tokenizer import TextTokenizer
from watermark.manifest import Parameters

_LENGTHS = (25, 50, 100, 200, 400)
_LEVELS = (-3.0, -5.0, -6.0)
_DEFAULT = 384
_SLIGHT = Parameters(delta_millinats=1000)
_UNMARKED = Condition("unmarked")
_MARKS = (
    Condition("az1-default", Parameters()),
    Condition("kgw-bias-1.75", kgw_bias=1.75),
    Condition("kgw-bias-2.75", kgw_bias=2.75),
    Condition("az1-delta-1", _SLIGHT),
    Condition("kgw-bias-1.25", kgw_bias=1.25),
    Condition("synthid-text", synthid=True),
)


@lru_cache(maxsize=1)
def generator() -> Generator:
    return Generator()


def _az1(
    parameters: Parameters, made: Answers, common: CommonFilter | None = None
) -> NDArray[np.float64]:
    """log10 p [n, lengths] of the site test."""
    scheme = EpochScheme(bench_keys("quality", parameters)[0].current, parameters, common)
    columns = []
    for length in _LENGTHS:
        counts = scheme.count(Batch.of(list(made.tokens[:, :length])))
        columns.append(log10_tails(counts.hits[:, 0], counts.windows[:, 0], parameters.gamma))
    return np.stack(columns, 1)


@lru_cache(maxsize=1)
def _greenlists() -> Callable[[int], NDArray[np.uint8]]:
    """KGW's green bits after a token, packed; each list costs a shuffle of the vocabulary."""
    processor = kgw(0.0)

    @lru_cache(maxsize=49152)
    def greenlist(previous: int) -> NDArray[np.uint8]:
        bits = np.zeros(49152, np.uint8)
        bits[processor._get_greenlist_ids(torch.tensor([previous]))] = 1  # type: ignore[attr-defined]
        return np.packbits(bits)

    return greenlist


def _kgw(tokens: NDArray[np.int64]) -> list[float]:
    """log10 p of distinct (previous, token) pairs, cut to each length: the exact test."""
    greenlist = _greenlists()
    green: dict[tuple[int, int], int] = {}
    found = []
    for place in range(1, _LENGTHS[-1]):
        pair = int(tokens[place - 1]), int(tokens[place])
        green[pair] = int(greenlist(pair[0])[pair[1] // 8] >> (7 - pair[1] % 8) & 1)
        if place + 1 in _LENGTHS:
            found.append((sum(green.values()), len(green)))
    hits, windows = np.array(found).T
    return list(log10_tails(hits, windows, KGW_GAMMA))


def log10_ps(condition: Condition, made: Answers) -> NDArray[np.float64]:
    """log10 p [n, lengths] of every answer under its own mark's test."""
    if condition.parameters is not None:
        return _az1(condition.parameters, made)
    score = _kgw if condition.kgw_bias is not None else _synthid
    return np.array([score(tokens) for tokens in made.tokens])


def _synthid(tokens: NDArray[np.int64]) -> list[float]:
    return synthid.log10_ps(tokens, _LENGTHS)


def _filtered(made: Answers) -> NDArray[np.float64]:
    """log10 p of the default mark's test without the windows of common n-grams."""
    common = load_filter(FILTER_DEFAULT, TextTokenizer(demo_model()))
    return _az1(Parameters(), made, common)


def _print_rows(name: str, ps: NDArray[np.float64], made: Answers, plain: Answers) -> None:
    count = len(made.tokens)
    # The same prompts on both sides: some topics are harder to predict than others.
    differences = (plain.logprobs - made.logprobs[: len(plain.logprobs)]).mean(1)
    cost, error = differences.mean(), differences.std() / np.sqrt(len(differences))
    for level in _LEVELS:
        hits = (ps <= level).sum(0).tolist()
        cells = [f"{percent(found, count)} {interval(found, count)}" for found in hits]
        start = f"{name} | {cost:+.2f} ± {error:.2f}"
        print(f"| {start} | {count} | 1e{level:.0f} | {' | '.join(cells)} |", flush=True)


def _print_null(pieces: int) -> None:
    """Show that the peers' p-values are honest too, so that powers can be compared."""
    human = human_tokens(pieces * _LENGTHS[-1]).reshape(pieces, -1)
    unmarked = Answers(human, np.zeros(human.shape))
    print(
        f"\nThe same tests on {pieces:,} pieces of {_LENGTHS[-1]} tokens of human prose "
        "(benchmarks.human): share below a level (95 %).\n"
    )
    print("| test | 0.1 | 0.01 | 0.001 |\n|---|---|---|---|")
    for condition in (_MARKS[0], _MARKS[1], _MARKS[-1]):
        ps = log10_ps(condition, unmarked)[:, -1]
        hits = [int((ps <= level).sum()) for level in (-1, -2, -3)]
        cells = [f"{percent(found, pieces)} {interval(found, pieces)}" for found in hits]
        print(f"| {condition.name.split('-')[0]} | {' | '.join(cells)} |", flush=True)


@click.command()
@click.option("--quick", is_flag=True, help="16 answers a mark.")
def main(*, quick: bool) -> None:
    """Print the tables."""
    usual, default = (16, 16) if quick else (128, _DEFAULT)
    print(
        "Share of answers found (95 % Clopper-Pearson), cut to so many tokens; T = 1, whole "
        "vocabulary, the answers of the section above. Cost: nats per token above the unmarked "
        "answers to the same prompts, under the unmarked model (± standard error). KGW and "
        "SynthID-Text are those of transformers: KGW under the exact test of distinct pairs; "
        "SynthID-Text with 30 layers and n-grams of 5, its tournament among the "
        f"{synthid.HEAD} most probable tokens, its weighted mean over distinct contexts against "
        "the exact distribution of fair coins. “Filtered”: windows of common n-grams left out, as "
        "the detector does by default.\n"
    )
    print(f"| mark | cost | answers | FPR | {' | '.join(f'{n} tokens' for n in _LENGTHS)} |")
    print("|---" * (4 + len(_LENGTHS)) + "|")
    plain = answers(_UNMARKED, usual, generator)
    for condition in _MARKS:
        made = answers(condition, default if condition is _MARKS[0] else usual, generator)
        _print_rows(condition.name, log10_ps(condition, made), made, plain)
        if condition is _MARKS[0]:
            _print_rows(f"{condition.name}, filtered", _filtered(made), made, plain)
    _print_null(100 if quick else 1000)


if __name__ == "__main__":
    main()
