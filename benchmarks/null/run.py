"""p-values of human text under a key that marked none of it.

`python -m benchmarks.null.run [--quick]` prints the section of docs/results.md. Text is cut into
pieces of 200 tokens; a window that occurred in an earlier piece is left out, so that pieces are
independent and each hit count is exactly binomial if the format is sound.
"""

from collections.abc import Iterator

import click
import numpy as np
from rich.console import Console
from rich.progress import Progress
from scipy.stats import binom, kstest

from benchmarks.human import human_documents
from benchmarks.keys import bench_keys
from benchmarks.statistics import clopper_pearson
from proxy.engine.weights import demo_model
from watermark.detect.pvalues import log10_tail
from watermark.detect.tokenizer import TextTokenizer
from watermark.detect.windows import distinct_windows
from watermark.greenlist import signed64
from watermark.keys import EpochKeys
from watermark.manifest import Channel, Parameters

_PIECE = 200
_LEAST_WINDOWS = 20
_ACCOUNT = 12_345
_LEVELS = (0.1, 0.01, 0.001, 0.0001)

Counts = dict[Channel, list[tuple[int, int]]]


def pieces(tokenizer: TextTokenizer) -> Iterator[list[int]]:
    """Token ids of consecutive pieces of the human documents."""
    for _, text in human_documents():
        ids = tokenizer.encode(text).ids
        for start in range(0, len(ids) - _PIECE + 1, _PIECE):
            yield ids[start : start + _PIECE]


def counts(keys: EpochKeys, parameters: Parameters, wanted: int) -> Counts:
    """(windows, hits) of `wanted` pieces by channel, each window counted in one piece only."""
    tokenizer = TextTokenizer(demo_model())
    channel_keys: dict[Channel, int] = {
        "site": 0,
        "account": signed64(keys.account_key(_ACCOUNT)),
    }
    seen: dict[Channel, set[tuple[int, int]]] = {"site": set(), "account": set()}
    found: Counts = {"site": [], "account": []}
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("human text", total=wanted)
        for ids in pieces(tokenizer):
            windows = distinct_windows(ids, keys, parameters)
            for channel, key in channel_keys.items():
                part = windows[channel]
                pairs = list(zip(part.seeds.tolist(), part.tokens.tolist(), strict=True))
                new = [i for i, pair in enumerate(pairs) if pair not in seen[channel]]
                seen[channel].update(pairs)
                if len(new) >= _LEAST_WINDOWS:
                    green = part.green(key)[new]
                    found[channel].append((len(new), int(green.sum())))
            progress.update(task, completed=len(found["site"]))
            if len(found["site"]) >= wanted:
                break
    return found


def _section(channel: Channel, found: list[tuple[int, int]], gamma: float) -> None:
    windows, hits = np.array(found).T
    exact = np.array([10 ** log10_tail(int(h), int(n), gamma) for n, h in found])
    # A discrete p-value cannot be uniform; drawn uniformly within its own step it is, exactly.
    draws = np.random.default_rng(1).random(len(found))
    smooth = binom.sf(hits, windows, gamma) + draws * binom.pmf(hits, windows, gamma)
    test = kstest(smooth, "uniform")
    print(
        f"\n**{channel}**: {len(found):,} pieces, {windows.sum():,} windows, each once; "
        f"green share {hits.sum() / windows.sum():.5f} (gamma {gamma}); Kolmogorov-Smirnov against"
        f" the uniform: D = {test.statistic:.4f}, p = {test.pvalue:.3f}."
        f" Smallest p {exact.min():.1e} (1 / pieces = {1 / len(found):.1e}).\n"
    )
    print("| nominal level | rejected | share | 95 % Clopper-Pearson |")
    print("|---|---|---|---|")
    for level in _LEVELS:
        rejected = int((exact <= level).sum())
        low, high = clopper_pearson(rejected, len(found))
        print(f"| {level:g} | {rejected} | {rejected / len(found):.2e} | {low:.2e} to {high:.2e} |")


@click.command()
@click.option("--quick", is_flag=True, help="2,000 pieces.")
@click.option("--pieces", "wanted", default=24_000, show_default=True)
def main(*, quick: bool, wanted: int) -> None:
    """Print the section."""
    parameters = Parameters()
    keys = bench_keys("null", parameters)[0].current
    found = counts(keys, parameters, 2_000 if quick else wanted)
    print(
        f"Documentation strings and text files of the Python standard library and of installed "
        f"packages, in pieces of {_PIECE} tokens with at least {_LEAST_WINDOWS} new windows. "
        "Exact p-values are discrete and so lie above the nominal level, never below."
    )
    for channel, part in found.items():
        _section(channel, part, parameters.gamma)


if __name__ == "__main__":
    main()
