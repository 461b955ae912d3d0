"""The commands `azeotrope build-filter` and `azeotrope calibrate`."""

import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from watermark.detect.calibrate import LEVELS, Calibration, Verdict, calibrate, pieces_of
from watermark.detect.cli import complain
from watermark.detect.counts import Batch, EpochScheme
from watermark.detect.decoys import decoy_keys
from watermark.detect.filter import CommonFilter, load_filter
from watermark.detect.filter_build import FilterBuilder
from watermark.detect.options import (
    FILE,
    filter_option,
    format_options,
    key_options,
    level_option,
    output_options,
    recursive_option,
    tokenizer_option,
)
from watermark.detect.sources import Fields, plan, read
from watermark.detect.terminal import console, format_rate
from watermark.detect.tokenizer import TextTokenizer
from watermark.errors import InputError
from watermark.keys import EpochKeys, KeySet
from watermark.manifest import Manifest

_STATUS = {"ordinary": 0, "unlucky": 1, "too little text": 3}
_GRAVEST_FIRST: tuple[Verdict, ...] = ("unlucky", "too little text", "ordinary")
_EXPLAINED = {
    "ordinary": "This key is ordinary on this text: its levels hold.",
    "unlucky": (
        "This key is unlucky on this text: use --level {level:.1e} for a rate of {wanted:g}."
    ),
    "too little text": "Too little text to tell: give at least 1,000 pieces.",
}


@dataclass(frozen=True, slots=True)
class Corpus:
    """Files to read, and the tokenizer of the marked model; iterating gives token ids."""

    paths: tuple[str, ...]
    form: str
    fields: Fields
    recursive: bool
    encoder: TextTokenizer

    def __iter__(self) -> Iterator[Batch]:
        shards = plan(self.paths, recursive=self.recursive, form=self.form).shards
        for shard in shards:

            def report(position: int, reason: str, url: str = shard.url) -> None:
                complain(f"{url}:{position}: {reason}; record left out")

            for records in read(shard, self.fields, report):
                if records.ids is not None:
                    yield records.ids
                elif records.texts:
                    yield self.encoder.encode_batch(records.texts)


def _corpus_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the arguments and options that say what is read."""
    paths = click.argument("paths", nargs=-1, required=True, metavar="PATH…")
    return paths(
        tokenizer_option(required=True)(format_options(ids=True)(recursive_option(command)))
    )


def _corpus(options: dict[str, Any]) -> Corpus:
    fields = Fields(options["text_field"], options["ids_field"])
    encoder = TextTokenizer(options["tokenizer"])
    return Corpus(options["paths"], options["form"], fields, options["recursive"], encoder)


@click.command("build-filter")
@_corpus_options
@click.option("--out", type=FILE, required=True, help="File to write, e.g. filter.azf.")
@click.option(
    "--documents",
    type=click.IntRange(2),
    default=3,
    show_default=True,
    help="Documents that a 5-gram must occur in to be common.",
)
def build_filter(*, out: Path, documents: int, **options: Any) -> None:
    """Find what recurs in your own texts, to leave it out of tests.

    Reads what `azeotrope scan` reads. Give texts like those that you test, written by people;
    the file is for `--filter` of detect, scan and calibrate.

    \b
    Example:
      azeotrope build-filter docs/ -r --tokenizer models/SmolLM2-135M-Instruct --out docs.azf
    """
    corpus = _corpus(options)
    with FilterBuilder(corpus.encoder.pin().sha256, documents=documents) as builder:
        for batch in corpus:
            builder.add(batch)
        if not builder.corpus:
            raise InputError("no text to build a filter of: the input holds no usable record")
        common = builder.build()
    common.save(out)
    click.echo(
        f"{out}: {common.ngrams:,} common n-grams of {common.corpus:,} documents, "
        f"{common.bits.nbytes:,} bytes; {common.false_positive_rate:.1e} of uncommon ones are "
        "taken for common"
    )


@click.command("calibrate")
@_corpus_options
@key_options
@filter_option
@click.option(
    "--piece", type=click.IntRange(50), default=200, show_default=True, help="Tokens of a piece."
)
@click.option(
    "--decoys",
    type=click.IntRange(2, 10_000),
    default=50,
    show_default=True,
    help="Never-used keys to compare with.",
)
@level_option("False-positive rate that you want.")
@output_options("Print one JSON object.")
def calibrate_command(
    *,
    keys_path: Path,
    manifest_path: Path,
    common: str,
    piece: int,
    decoys: int,
    level: float,
    as_json: bool,
    color: bool | None,
    **options: Any,
) -> None:
    """Measure your key's own false-positive rate on clean text of yours.

    The text must hold nothing marked. It is cut into pieces, and every piece is tested under each
    epoch's site key and under decoy keys, with and without the filter. The exit status is 0 if
    the rate keeps its level, 1 if not, 3 if the text is too short to tell, 2 on an error.

    \b
    Example:
      azeotrope calibrate clean.jsonl --tokenizer models/SmolLM2-135M-Instruct
    """
    keys = KeySet.load(keys_path)
    manifest = keys.manifest(manifest_path)
    corpus = _corpus(options)
    corpus.encoder.require(manifest.tokenizer)
    chosen = load_filter(common, corpus.encoder)
    found = [
        _Row(epoch.epoch, name, _calibrate(corpus, piece, _schemes(epoch, manifest, used, decoys)))
        for epoch in keys.epochs
        for name, used in _with_and_without(common, chosen)
    ]
    if as_json:
        click.echo(json.dumps([row.record(level) for row in found]))
    else:
        _print(console(color), found, piece, level)
    decisive = {row.found.verdict for row in found if row.filter == common}
    sys.exit(next(_STATUS[verdict] for verdict in _GRAVEST_FIRST if verdict in decisive))


def _with_and_without(
    name: str, common: CommonFilter | None
) -> list[tuple[str, CommonFilter | None]]:
    return [("none", None)] + ([(name, common)] if common is not None else [])


def _schemes(
    keys: EpochKeys, manifest: Manifest, common: CommonFilter | None, decoys: int
) -> list[EpochScheme]:
    """The epoch's own key, and the decoys."""
    parameters = manifest.parameters(keys.epoch)
    every = [keys, *map(decoy_keys, range(decoys))]
    return [EpochScheme(one, parameters, common) for one in every]


def _calibrate(corpus: Corpus, piece: int, schemes: list[EpochScheme]) -> Calibration:
    batches = (pieces_of(batch, piece) for batch in corpus)
    return calibrate(batches, schemes[0], schemes[1:])


@dataclass(frozen=True, slots=True)
class _Row:
    """What was found of one epoch with one filter."""

    epoch: int
    filter: str
    found: Calibration

    def record(self, level: float) -> dict[str, Any]:
        """Return the JSON form."""
        own = self.found.own
        rates = [
            {
                "level": nominal,
                "rejected": int(own.rejected[i]),
                "expected": float(own.expected[i]),
                "interval": list(own.interval(i)),
            }
            for i, nominal in enumerate(LEVELS)
        ]
        ratio = self.found.variance_ratio
        return {
            "epoch": self.epoch,
            "filter": self.filter,
            "pieces": own.pieces,
            "rates": rates,
            "decoys": len(self.found.decoys),
            "decoys_above": self.found.rank,
            "variance_ratio": None if math.isnan(ratio) else ratio,
            "verdict": self.found.verdict,
            "level": self.found.advised_level(level),
        }


def _print(screen: Console, rows: list[_Row], piece: int, wanted: float) -> None:
    table = Table(
        title=f"Pieces of {piece} tokens rejected in the site channel (95 % interval)",
        title_justify="left",
        box=None,
        header_style="dim",
    )
    for heading in ("epoch", "filter", "pieces", *map(format_rate, LEVELS), "variance", "rank"):
        table.add_column(heading, justify="right")
    for row in rows:
        own = row.found.own
        table.add_row(
            str(row.epoch),
            row.filter,
            f"{own.pieces:,}",
            *(_share(row.found, i) for i in range(len(LEVELS))),
            f"{row.found.variance_ratio:.2f}",
            f"{row.found.rank + 1} of {len(row.found.decoys) + 1}",
        )
    screen.print(table)
    screen.print(
        "variance: of the decoy keys' counts at 1e-02, over the binomial's (1: keys do not "
        "differ); rank: of this key among the decoys, by its rate.",
        style="dim",
    )
    for row in rows:
        level = row.found.advised_level(wanted)
        text = _EXPLAINED[row.found.verdict].format(level=level, wanted=wanted)
        screen.print(f"Epoch {row.epoch}, filter {row.filter}: {text}")


def _share(found: Calibration, level: int) -> str:
    own = found.own
    low, high = own.interval(level)
    share = int(own.rejected[level]) / own.pieces if own.pieces else 0.0
    return f"{share:.1e} ({low:.0e} to {high:.0e})"
