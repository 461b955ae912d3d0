"""Each window once: pieces are then independent, and their p-values exactly uniform."""

from itertools import islice

import numpy as np
import numpy.typing as npt
from scipy.stats import binom, kstest

from benchmarks.human import human_documents
from proxy.engine.weights import demo_model
from watermark.detect.counts import CHANNEL_INDEX, Batch, EpochScheme
from watermark.detect.pvalues import clopper_pearson, log10_tails
from watermark.detect.tokenizer import TextTokenizer
from watermark.keys import EpochKeys
from watermark.manifest import Channel, Parameters

PIECE = 200
LEAST_WINDOWS = 20
_ACCOUNT = 12_345
_AT_ONCE = 512
_LEVELS = (0.1, 0.01, 0.001, 0.0001)

Integers = npt.NDArray[np.int64]


def installed_pieces(wanted: int) -> Batch:
    """Consecutive pieces of 200 tokens of the text that is installed beside Python."""
    encoder, documents = TextTokenizer(demo_model()), human_documents()
    kept: list[npt.NDArray[np.uint32]] = []
    # Twice as many: some have too few windows that are new.
    while len(kept) < 2 * wanted and (group := list(islice(documents, _AT_ONCE))):
        batch = encoder.encode_batch([text for _, text in group])
        for ids in map(batch.document, range(len(batch))):
            kept += [ids[i : i + PIECE] for i in range(0, len(ids) - PIECE + 1, PIECE)]
    return Batch.of(kept[: 2 * wanted])


def counts_once(
    batch: Batch, keys: EpochKeys, parameters: Parameters, channel: Channel
) -> tuple[Integers, Integers]:
    """Windows and hits of each piece that has 20 windows and more which no earlier piece had."""
    _, coins = EpochScheme(keys, parameters).coins(batch, account=_ACCOUNT)
    chosen = coins.where(coins.channel == CHANNEL_INDEX[channel])
    _, first = np.unique(chosen.digest, return_index=True)
    document, green = chosen.document[first], chosen.green[first]
    windows = np.bincount(document, minlength=len(batch))
    hits = np.bincount(document, weights=green, minlength=len(batch)).astype(np.int64)
    enough = windows >= LEAST_WINDOWS
    return windows[enough], hits[enough]


def print_uniformity(keys: EpochKeys, parameters: Parameters, wanted: int) -> None:
    """Print the test of uniformity, channel by channel."""
    batch = installed_pieces(wanted)
    print(
        "\n### Each window once\n\nDocumentation strings and text files of the Python standard "
        f"library and of installed packages, in pieces of {PIECE} tokens with at least "
        f"{LEAST_WINDOWS} windows that no earlier piece had. Exact p-values are discrete and so "
        "lie above the nominal level, never below."
    )
    for channel in ("site", "account"):
        windows, hits = counts_once(batch, keys, parameters, channel)
        _print_channel(channel, windows[:wanted], hits[:wanted], parameters.gamma)


def _print_channel(channel: Channel, windows: Integers, hits: Integers, gamma: float) -> None:
    exact = 10 ** log10_tails(hits, windows, gamma)
    # A discrete p-value cannot be uniform; drawn uniformly within its own step it is, exactly.
    draws = np.random.default_rng(1).random(len(hits))
    smooth = binom.sf(hits, windows, gamma) + draws * binom.pmf(hits, windows, gamma)
    test = kstest(smooth, "uniform")
    print(
        f"\n**{channel}**: {len(hits):,} pieces, {windows.sum():,} windows, each once; "
        f"green share {hits.sum() / windows.sum():.5f} (gamma {gamma}); Kolmogorov-Smirnov against"
        f" the uniform: D = {test.statistic:.4f}, p = {test.pvalue:.3f}."
        f" Smallest p {exact.min():.1e} (1 / pieces = {1 / len(hits):.1e}).\n"
    )
    print("| nominal level | rejected | share | 95 % Clopper-Pearson |")
    print("|---|---|---|---|")
    for level in _LEVELS:
        rejected = int((exact <= level).sum())
        low, high = clopper_pearson(rejected, len(hits))
        print(f"| {level:g} | {rejected} | {rejected / len(hits):.2e} | {low:.2e} to {high:.2e} |")
