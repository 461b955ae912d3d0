"""Texts judged as the detector judges them, and the scores of an attack."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.attacks.edits import kept_in_order, sentences, words
from benchmarks.keys import bench_keys
from benchmarks.statistics import interval, percent
from proxy.engine.weights import demo_model
from watermark.detect.detector import Detection, Detector
from watermark.detect.normalise import normalise
from watermark.detect.tokenizer import TextTokenizer
from watermark.manifest import Parameters

LEVELS = (-3.0, -5.0)
_SENTENCE_WORDS = 4  # shorter ones ("Yes.") recur by themselves


class Judge:
    """The detector of the benchmark's marks, for texts, as the command `detect` uses it."""

    def __init__(self) -> None:
        self.tokenizer = TextTokenizer(demo_model())
        self.detector = Detector(*bench_keys("quality", Parameters()))

    def look(self, text: str, *, normalised: bool = True) -> Detection:
        """Test a text as given, and normalised too if that changes it: the stronger of both."""
        forms = [text]
        if normalised and normalise(text).changes:
            forms.append(normalise(text).text)
        found = [
            self.detector.judge_each([self.tokenizer.encode(form).ids], forms=len(forms))
            for form in forms
        ]
        return min(found, key=lambda detection: detection.log10_p)

    def ids(self, text: str) -> list[int]:
        """Token ids of a text, normalised."""
        return self.tokenizer.encode(normalise(text).text).ids


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
    ps = np.array([judge.look(text, normalised=normalised).log10_p for text in after])
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
