"""False positives on human text under keys that marked none of it.

`python -m benchmarks.null.run [--quick]` prints the section of docs/results.md. Filters are built
of a third of the documents (by a hash of their names); the other two thirds are judged, in pieces
of 100 tokens, repeated ones included.
"""

import click
import numpy as np
from rich.console import Console
from rich.progress import Progress

from benchmarks.human.documents import DOMAINS
from benchmarks.human.packages import PACKAGES
from benchmarks.human.pieces import PIECE, Corpus, corpus, pieces
from benchmarks.keys import bench_keys
from benchmarks.null.doubling import print_doubling
from benchmarks.null.once import print_uniformity
from benchmarks.null.peers import print_peer
from benchmarks.null.rates import Rates, Spread, rates
from proxy.engine.weights import demo_model
from watermark.detect.calibrate import LEAST_WINDOWS, LEVELS
from watermark.detect.counts import Batch
from watermark.detect.filter import CommonFilter
from watermark.detect.filter_build import FilterBuilder
from watermark.detect.pvalues import clopper_pearson
from watermark.detect.tokenizer import TextTokenizer
from watermark.manifest import Parameters

_KEY = "null"
_QUICK = 20  # the part of everything that a quick run takes

Filters = dict[str, CommonFilter | None]


def _sample(batch: Batch, size: int) -> Batch:
    """Some documents or pieces, drawn at random, in their order."""
    if len(batch) <= size:
        return batch
    drawn = np.random.default_rng(1).choice(len(batch), size, replace=False)
    return batch.chosen(np.sort(drawn))


def _filters(every: dict[str, Corpus]) -> Filters:
    encoder = TextTokenizer(demo_model())
    with FilterBuilder(encoder.pin().sha256) as builder:
        for part in every.values():
            builder.add(part.part(reference=True))
        built = builder.build()
    print(
        f"Filters: *default* is the one that is shipped; *built* is `azeotrope build-filter` on "
        f"{built.corpus:,} reference documents ({built.ngrams:,} n-grams, {built.bits.nbytes:,} "
        f"bytes, {built.false_positive_rate:.1e} of others taken for common)."
    )
    return {"none": None, "default": CommonFilter.default(encoder), "built": built}


def _print_rates(domain: str, name: str, found: Rates) -> None:
    cells = []
    for i, level in enumerate(LEVELS):
        rejected = int(found.rejected[i])
        low, high = clopper_pearson(rejected, found.pieces)
        mark = " **above**" if low > level else ""
        interval = f"{low:.1e} to {high:.1e}; exact {found.size[i]:.1e}"
        cells.append(f"{rejected / found.pieces:.2e} ({interval}){mark}")
    print(
        f"| {domain} | {name} | {found.pieces:,} | {found.windows:.1f} | "
        + " | ".join(cells)
        + " |"
    )


def _print_one_key(judged: dict[str, Batch], filters: Filters, parameters: Parameters) -> None:
    print(
        "\n### One key, every piece\n\nShare rejected at each nominal level (95 % Clopper-Pearson; "
        "exact: the rate of fair coins on pieces with so many windows, below nominal because the "
        f"test is discrete). Pieces with fewer than {LEAST_WINDOWS} windows are left out. "
        "**above**: the interval excludes the nominal level from above.\n"
    )
    print("| domain | filter | pieces | windows | " + " | ".join(f"{x:g}" for x in LEVELS) + " |")
    print("|---|---|---|---|" + "---|" * len(LEVELS))
    for name, common in filters.items():
        total: list[Rates] = []
        for domain, batch in judged.items():
            total.append(rates(batch, _KEY, parameters, common))
            _print_rates(domain, name, total[-1])
        _print_rates("all", name, _together(total))


def _together(parts: list[Rates]) -> Rates:
    pieces_ = np.array([part.pieces for part in parts])
    return Rates(
        int(pieces_.sum()),
        np.sum([part.rejected for part in parts], axis=0),
        np.average([part.size for part in parts], axis=0, weights=pieces_),
        float(np.average([part.windows for part in parts], weights=pieces_)),
    )


def _print_keys(
    samples: dict[str, Batch], filters: Filters, parameters: Parameters, keys: int
) -> None:
    print(
        f"\n### {keys} keys\n\nRate of each key at nominal 1e-2 on the same pieces, drawn at "
        "random. Variance: that of the keys' counts over the binomial's; it grows with the number "
        "of pieces unless keys do not differ at all.\n"
    )
    print("| domain | filter | pieces | mean rate | least to greatest | variance ratio |")
    print("|---|---|---|---|---|---|")
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("keys", total=len(samples) * len(filters) * keys)
        for domain, batch in samples.items():
            for name, common in filters.items():
                every = []
                for number in range(keys):
                    every.append(rates(batch, f"{_KEY} {number}", parameters, common))
                    progress.advance(task)
                found = Spread.of(every)
                print(
                    f"| {domain} | {name} | {found.pieces:,} | {found.mean:.2e} | "
                    f"{found.least:.2e} to {found.greatest:.2e} | {found.ratio:.2f} |"
                )


def _print_sources(every: dict[str, Corpus], judged: dict[str, Batch]) -> None:
    print(
        f"Human text of {len(PACKAGES)} packages of Debian and PyPI "
        "(benchmarks/human/packages.py), SmolLM2's tokens, pieces of "
        f"{PIECE} tokens, repeats included: "
        + "; ".join(
            f"{domain} {len(judged[domain]):,} pieces of {int((~every[domain].reference).sum()):,} "
            "documents"
            for domain in DOMAINS
        )
        + f"; {sum(map(len, judged.values())):,} in all."
    )


@click.command()
@click.option("--quick", is_flag=True, help="A twentieth of everything.")
@click.option("--keys", "key_count", default=50, show_default=True)
@click.option("--per-key", default=20_000, show_default=True, help="Pieces a key and domain.")
def main(*, quick: bool, key_count: int, per_key: int) -> None:
    """Print the section."""
    share = _QUICK if quick else 1
    parameters, every = Parameters(), {domain: corpus(domain) for domain in DOMAINS}
    judged = {name: pieces(part.part(reference=False)) for name, part in every.items()}
    if quick:
        judged = {name: _sample(batch, len(batch) // share) for name, batch in judged.items()}
    _print_sources(every, judged)
    filters = _filters(every)
    _print_one_key(judged, filters, parameters)
    samples = {name: _sample(batch, per_key // share) for name, batch in judged.items()}
    _print_keys(samples, filters, parameters, key_count)
    print(
        "\n### Beside the z-test\n\ntransformers' KGW detector (left hash, gamma 1/4, its "
        "defaults: every token counts): share with z above the normal quantile, and "
        "that over the nominal.\n"
    )
    print_peer(samples)
    keys = bench_keys(_KEY, parameters)[0].current
    documents = [_sample(part.part(reference=False), 2_500 // share) for part in every.values()]
    print_doubling(documents, keys, parameters)
    print_uniformity(keys, parameters, 24_000 // share)


if __name__ == "__main__":
    main()
