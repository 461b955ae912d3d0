"""Perplexity against detection power: the table from which the default mark was chosen.

`python -m benchmarks.quality.run [--quick]` prints the sections of docs/results.md. Answers are
generated once and cached; detection and perplexity are computed from them anew.
"""

from functools import lru_cache
from itertools import pairwise

import click
import numpy as np
import torch

from benchmarks.generation import Answers, Generator
from benchmarks.keys import bench_keys
from benchmarks.quality.conditions import (
    ACCOUNTS,
    KGW_GAMMA,
    LENGTH,
    Condition,
    account_of,
    answers,
    kgw,
)
from benchmarks.statistics import interval, percent
from watermark.detect.candidates import Candidates
from watermark.detect.detector import Detection, Detector
from watermark.detect.pvalues import log10_tail
from watermark.manifest import Parameters

_LEVEL = -5.0
_LENGTHS = (50, 100, 200, 400)
_DEFAULT = Parameters()
_CONDITIONS = (
    Condition("unmarked"),
    Condition("az1-delta-1", Parameters(delta_millinats=1000)),
    Condition("az1-default", _DEFAULT),
    Condition("az1-delta-3", Parameters(delta_millinats=3000)),
    Condition("az1-gamma-half", Parameters(gamma_bits=1, delta_millinats=1750)),
    Condition("kgw-bias-1.25", kgw_bias=1.25),
    Condition("kgw-bias-1.75", kgw_bias=1.75),
)


@lru_cache(maxsize=1)
def generator() -> Generator:
    return Generator()


def kgw_log10_p(tokens: np.ndarray) -> float:
    """Exact p-value of transformers' mark on distinct (previous token, token) pairs."""
    processor = kgw(0.0)
    green: dict[tuple[int, int], bool] = {}
    for previous, token in zip(tokens[:-1].tolist(), tokens[1:].tolist(), strict=True):
        if (previous, token) not in green:
            ids = processor._get_greenlist_ids(torch.tensor([previous]))  # type: ignore[attr-defined]
            green[previous, token] = token in set(ids.tolist())
    return log10_tail(sum(green.values()), len(green), KGW_GAMMA)


def log10_ps(condition: Condition, made: Answers, length: int) -> np.ndarray:
    """log10 p of the site test (or KGW's) of every answer cut to `length` tokens."""
    if condition.parameters is None:
        return np.array([kgw_log10_p(tokens[:length]) for tokens in made.tokens])
    detector = Detector(*bench_keys("quality", condition.parameters))
    return np.array([detector.judge(tokens[:length]).site.log10_p for tokens in made.tokens])


def distinct_pairs(made: Answers) -> float:
    """Mean share of an answer's adjacent token pairs that occur for the first time in it."""
    shares = [len(set(pairwise(tokens))) / (LENGTH - 1) for tokens in made.tokens.tolist()]
    return float(np.mean(shares))


def _cost_row(condition: Condition, made: Answers, base: float) -> str:
    nats = -made.logprobs.mean()
    error = made.logprobs.mean(1).std() / np.sqrt(len(made.tokens))
    cells = ["-"] * len(_LENGTHS)
    if condition.parameters is not None or condition.kgw_bias is not None:
        cells = [
            percent(int((log10_ps(condition, made, n) <= _LEVEL).sum()), len(made.tokens))
            for n in _LENGTHS
        ]
    median = np.median(made.perplexity())
    return (
        f"| {condition.name} | {np.exp(nats):.1f} | {median:.1f} | {nats - base:+.2f} ± {error:.2f}"
        f" | {distinct_pairs(made):.3f} | " + " | ".join(cells) + " |"
    )


def _cost_table(count: int) -> None:
    print(
        f"Answers of {LENGTH} tokens (end of text forbidden), T = 1, whole vocabulary; perplexity "
        "under the unmarked model. Power: share of answers with p < 1e-5, cut to so many tokens; "
        "KGW is transformers' `WatermarkingConfig` (left hash, gamma 0.25) under the same exact, "
        "de-duplicated test.\n"
    )
    print(
        "| mark | perplexity | median | nats per token above unmarked (s.e.) | distinct pairs | "
        + " | ".join(f"power at {n}" for n in _LENGTHS)
        + " |"
    )
    print("|---|---|---|---|---|" + "---|" * len(_LENGTHS))
    base = -answers(_CONDITIONS[0], count, generator).logprobs.mean()
    for condition in _CONDITIONS:
        made = answers(condition, count, generator)
        print(_cost_row(condition, made, base), flush=True)


def _naming(results: list[Detection]) -> str:
    right = wrong = best = 0
    for row, result in enumerate(results):
        assert result.account is not None
        hit = result.account.number == account_of(row)
        best += hit
        right += hit and result.account.named
        wrong += result.account.named and not hit
    total = len(results)
    return f"{percent(right, total)} | {percent(best, total)} | {wrong} of {total}"


def _default_table(count: int) -> None:
    made = answers(Condition("az1-default", _DEFAULT), count, generator)
    keys, manifest = bench_keys("quality", _DEFAULT)
    detector = Detector(keys, manifest)
    candidates = Candidates()
    candidates.add_range(f"1-{ACCOUNTS}")
    print(
        f"\nThe default mark on {count} answers (95 % Clopper-Pearson intervals); accounts are "
        f"searched among {ACCOUNTS:,}, named at family-wise 1e-3.\n"
    )
    print(
        "| tokens | p < 1e-5 | distinct windows | green share | median p | account named | "
        "best candidate right | named wrongly |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for length in _LENGTHS:
        results = [detector.judge(tokens[:length], candidates) for tokens in made.tokens]
        found = sum(result.site.log10_p <= _LEVEL for result in results)
        windows = np.mean([result.site.windows for result in results])
        share = np.mean([result.site.green_share for result in results])
        median = np.median([result.site.log10_p for result in results])
        print(
            f"| {length} | {percent(found, count)} {interval(found, count)} | {windows:.0f} | "
            f"{share:.3f} | 1e{median:.1f} | {_naming(results)} |",
            flush=True,
        )


@click.command()
@click.option("--quick", is_flag=True, help="16 answers a condition.")
@click.option("--count", default=128, show_default=True, help="Answers a condition.")
@click.option("--default-count", default=384, show_default=True, help="Answers of the default.")
def main(*, quick: bool, count: int, default_count: int) -> None:
    """Print the tables."""
    if quick:
        count = default_count = 16
    _cost_table(count)
    _default_table(default_count)


if __name__ == "__main__":
    main()
