"""Which tokenizer was the marked model's? Judge the same texts with each, and pay for the tries.

A text tokenised with a wrong vocabulary has other windows and looks like one of nobody. Trying
several is a family of tests: p is multiplied by their number (Bonferroni).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from watermark.detect.detector import Detector
from watermark.detect.tokenizer import TextTokenizer
from watermark.errors import InputError
from watermark.manifest import TokenizerPin


@dataclass(frozen=True, slots=True)
class Trial:
    """The site channel's test of all texts together under one tokenizer.

    `log10_p` is corrected for the epochs tested, `log10_tried_p` for the tokenizers tried as well.
    """

    tokenizer: TextTokenizer
    tokens: int
    windows: int
    hits: int
    log10_p: float
    log10_tried_p: float


def choose_tokenizer(
    texts: Sequence[str],
    paths: Sequence[Path],
    detector: Detector,
    pin: TokenizerPin | None = None,
    report: Callable[[str], None] | None = None,
) -> list[Trial]:
    """Judge texts with the tokenizer at each path; the best trial comes first.

    With a `pin` (the manifest names the tokenizer), others are told to `report` and not tried.
    Two paths with the same vocabulary are two tries. Raises InputError if a path holds no
    tokenizer, or none is left.
    """
    tokenizers = [TextTokenizer(path) for path in paths]
    if pin is not None:
        tokenizers = _pinned(tokenizers, pin, report)
    if not tokenizers:
        raise InputError("no tokenizer to try; give the directory of at least one model")
    trials = [_trial(texts, tokenizer, detector, len(tokenizers)) for tokenizer in tokenizers]
    return sorted(trials, key=lambda trial: trial.log10_p)


def _pinned(
    tokenizers: list[TextTokenizer], pin: TokenizerPin, report: Callable[[str], None] | None
) -> list[TextTokenizer]:
    left = [tokenizer for tokenizer in tokenizers if tokenizer.pin() == pin]
    if not left:
        raise InputError(
            f"the manifest names one tokenizer ({pin.vocabulary_size} tokens, {pin.sha256[:12]}…) "
            f"and none of the {len(tokenizers)} given is it; give that of the marked model"
        )
    for other in tokenizers:
        if other not in left and report is not None:
            report(f"{other.path}: not the tokenizer that the manifest names; not tried")
    return left[:1]


def _trial(texts: Sequence[str], tokenizer: TextTokenizer, detector: Detector, tried: int) -> Trial:
    # The few windows across two texts are fair coins too: they cost power, not correctness.
    tokens = tokenizer.encode_batch(list(texts)).ids.tolist()
    found = detector.judge(tokens)
    corrected = min(found.log10_p + math.log10(tried), 0.0)
    return Trial(
        tokenizer, len(tokens), found.site.windows, found.site.hits, found.log10_p, corrected
    )


def trial_table(trials: Sequence[Trial]) -> Table:
    """One row per tokenizer, the best first."""
    table = Table(title=f"{len(trials)} tokenizers tried", title_justify="left")
    table.add_column("tokenizer", overflow="fold")
    for heading in ("vocabulary", "tokens", "windows", "green", "p", "p for all tried"):
        table.add_column(heading, justify="right")
    for trial in trials:
        share = trial.hits / trial.windows if trial.windows else 0.0
        table.add_row(
            str(trial.tokenizer.path),
            f"{trial.tokenizer.pin().vocabulary_size:,}",
            f"{trial.tokens:,}",
            f"{trial.windows:,}",
            f"{share:.1%}",
            _power_of_ten(trial.log10_p),
            _power_of_ten(trial.log10_tried_p),
        )
    return table


def _power_of_ten(log10_p: float) -> str:
    return f"{10**log10_p:.2g}" if log10_p > -4 else f"10^{log10_p:.1f}"
