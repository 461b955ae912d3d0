"""The scorecard of attacks on texts: what is found of the mark after each, and what is not.

`python -m benchmarks.attacks.run [--quick]` prints the section of docs/results.md and draws
docs/img/attacks.png. Needs what benchmarks/attacks/install.sh fetches; answers are generated
once and cached.
"""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import click

from benchmarks.attacks import generated, rows, tools
from benchmarks.attacks.mixtures import print_mixtures
from benchmarks.attacks.plot import FLOORS, draw
from benchmarks.attacks.rows import Marked
from benchmarks.attacks.scoring import HEADER, Row
from benchmarks.attacks.stealing import Loot
from benchmarks.attacks.texts import decoded
from benchmarks.attacks.tracing import print_tracing
from benchmarks.generation import Generator
from benchmarks.quality.conditions import Condition, answers
from benchmarks.statistics import interval, percent
from watermark.manifest import Parameters

_PICTURE = Path(__file__).parents[2] / "docs" / "img" / "attacks.png"
_QUICK_TEXTS, _QUICK_LENGTH = 8, 300
_THIEF_ANSWERS = (96, 192, 384)


@lru_cache(maxsize=1)
def generator() -> Generator:
    return Generator()


def _quick(marked: Marked) -> Iterator[Row]:
    yield from rows.controls(marked)
    yield from rows.word_edits(marked)
    yield from rows.order_and_length(marked)
    yield from rows.characters(marked)
    yield from rows.dilution(marked)


def _all(marked: Marked) -> Iterator[Row]:
    yield from _quick(marked)
    yield from rows.synonyms(marked)
    yield from rows.rewriting(marked, generator)
    yield from rows.asking(marked, generator)
    yield from rows.published(marked)


def _print_scorecard(found: list[Row], length: int) -> None:
    print(
        f"Answers of {length:,} tokens with the default mark (end of text forbidden, T = 1), "
        "decoded, attacked as text, encoded again and judged as `azeotrope detect` does: as given "
        "and normalised, whole and by spans, one p for all. Words changed: lost, replaced or put "
        "in, for each word of the marked text.\n"
    )
    print(HEADER)
    for row in sorted(found, key=lambda row: row.attack):
        print(row.render(), flush=True)
    print()
    for attack, strength, least in FLOORS:
        for row in found:
            if (row.attack, row.strength) == (attack, strength):
                share = row.found(-3) / len(row.log10_ps)
                verdict = "met" if share >= least else "NOT met"
                print(f"Floor, {attack}, {strength}: TPR at least {least:.0%}: {verdict}.")


def _print_stealing(marked: Marked) -> None:
    print(
        "\nA thief's table of green windows, learnt from marked answers of 400 tokens and "
        "unmarked ones.\n"
    )
    print(
        "| marked answers | claims | of these in the site channel | of those green (chance 25 %) "
        "| windows of a fresh marked answer that are claimed |\n|---|---|---|---|---|"
    )
    plain = answers(Condition("unmarked"), 128, generator).tokens
    taken = answers(Condition("az1-default", Parameters()), max(_THIEF_ANSWERS), generator).tokens
    for count in _THIEF_ANSWERS:
        loot = Loot.of(taken[:count], plain)
        site, green = loot.precision()
        covered = loot.coverage(marked.tokens)
        print(f"| {count} | {len(loot.claims):,} | {site:.1%} | {green:.1%} | {covered:.1%} |")
    forged = generated.spoofed("spoofed", Loot.of(taken, plain).forging(), generator)
    row = marked.alone("forgery", "", decoded(forged))
    hits, count = row.found(-5), len(row.log10_ps)
    print(
        f"\n{count} forged answers of {forged.shape[1]} tokens, claimed tokens favoured by 4 nats: "
        f"taken for ours at 1e-5: {percent(hits, count)} {interval(hits, count)}."
    )


@click.command()
@click.option("--quick", is_flag=True, help="8 short texts, edits only; draws nothing.")
def main(*, quick: bool) -> None:
    """Print the tables and draw the picture."""
    if quick:
        tokens = generated.marked(generator, _QUICK_TEXTS, _QUICK_LENGTH)
        _print_scorecard(list(_quick(Marked.of(tokens))), _QUICK_LENGTH)
        return
    if not tools.installed():
        raise click.ClickException("run benchmarks/attacks/install.sh first")
    marked = Marked.of(generated.marked(generator))
    found = list(_all(marked))
    _print_scorecard(found, generated.LENGTH)
    print_mixtures(marked)
    print_tracing(marked)
    _print_stealing(marked)
    draw(found, _PICTURE)


if __name__ == "__main__":
    main()
