"""Texts judged as the detector judges them, and the scores of an attack."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.attacks.edits import kept_in_order, sentences, words
from benchmarks.keys import bench_keys
from benchmarks.statistics import interval, percent
from proxy.engine.weights import demo_model
from watermark.detect.counts import Batch, EpochScheme
from watermark.detect.detector import Detector
from watermark.detect.normalise import normalise
from watermark.detect.spans import scan_documents
from watermark.detect.tokenizer import TextTokenizer
from watermark.manifest import Parameters

LEVELS = (-3.0, -5.0)
_SENTENCE_WORDS = 4  # shorter ones ("Yes.") recur by themselves


class Judge:
    """The detector of the benchmark's marks, for texts."""

    def __init__(self) -> None:
        parameters = Parameters()
        keys, manifest = bench_keys("quality", parameters)
        self.tokenizer = TextTokenizer(demo_model())
        self.detector = Detector(keys, manifest)
        self._scheme = EpochScheme(keys.current, parameters)
        self._gamma = parameters.gamma

    def ids(self, text: str, *, normalised: bool = True) -> list[int]:
        """Token ids of a text, normalised first unless told otherwise."""
        return self.tokenizer.encode(normalise(text).text if normalised else text).ids

    def log10_p(self, ids: Sequence[int]) -> float:
        """log10 p of the site test of the whole text."""
        return self.detector.judge(ids).log10_p

    def log10_p_with_spans(self, ids: Sequence[int]) -> float:
        """log10 of twice the smaller of the whole text's p and that of its best span."""
        _, coins = self._scheme.coins(Batch.of([ids]))
        site = coins.of("site")
        bounds = np.array([0, len(site)])
        span = float(scan_documents(site.green, bounds, self._gamma)[0])
        return min(min(self.log10_p(ids), span) + math.log10(2), 0.0)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the scorecard: p-values of the attacked texts, and what is left of these.

    `changed` and `sentences` are means over the texts, None where the comparison says nothing.
    """

    attack: str
    strength: str
    log10_ps: NDArray[np.float64]
    changed: float | None = None
    sentences: float | None = None

    def found(self, level: float) -> int:
        """How many texts were found at 10^level."""
        return int((self.log10_ps <= level).sum())

    def render(self) -> str:
        """Return the line of the table."""
        count = len(self.log10_ps)
        rates = [f"{percent(hits, count)} {interval(hits, count)}" for hits in self._hits()]
        cells = [self.attack, self.strength, str(count), _share(self.changed)]
        cells += [_share(self.sentences), *rates, f"1e{np.median(self.log10_ps):.1f}"]
        return f"| {' | '.join(cells)} |"

    def _hits(self) -> list[int]:
        return [self.found(level) for level in LEVELS]


HEADER = (
    "| attack | strength | texts | words changed | sentences kept | "
    "TPR at FPR 1e-3 (95 %) | TPR at FPR 1e-5 (95 %) | median p |\n" + "|---" * 8 + "|"
)


def scored(
    attack: str,
    strength: str,
    before: Sequence[str],
    after: Sequence[str],
    judge: Judge,
    *,
    normalised: bool = True,
) -> Row:
    """Judge attacked texts, and compare them with the texts `before`."""
    ps = np.array([judge.log10_p(judge.ids(text, normalised=normalised)) for text in after])
    pairs = list(zip(before, after, strict=True))
    changed = float(np.mean([_changed(old, new) for old, new in pairs]))
    return Row(attack, strength, ps, changed, float(np.mean([_kept(*pair) for pair in pairs])))


def _changed(before: str, after: str) -> float:
    """Words lost, replaced or put in, for each word that was there."""
    old, new = words(before), words(after)
    return (max(len(old), len(new)) - kept_in_order(old, new)) / len(old)


def _kept(before: str, after: str) -> float:
    """Share of the sentences that the new text has word for word."""
    long = [part for part in sentences(before) if len(words(part)) >= _SENTENCE_WORDS]
    return sum(part in after for part in long) / len(long)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"
