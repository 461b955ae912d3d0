"""p-values of a batch of documents, over every epoch and both forms of a text."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from watermark.detect.counts import Batch, Coins
from watermark.detect.detector import Scheme
from watermark.detect.pvalues import log10_tails
from watermark.detect.spans import scan_documents, whole_or_spans

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

HISTOGRAM_BINS = 20
_LOG10_2 = float(np.log10(2))


@dataclass(frozen=True, slots=True)
class Judgement:
    """Columns [d] of what the site channel says of each document.

    `epoch` indexes the epoch with the smallest p. `log10_p` is the whole document's exact p in
    that epoch, `log10_span_p` the family-wise p of its best span there; `log10_corrected_p` puts
    the two together (`whole_or_spans`), times the number of epochs.
    """

    tokens: Integers
    epoch: Integers
    windows: Integers
    hits: Integers
    log10_p: Floats
    log10_span_p: Floats
    log10_corrected_p: Floats


@dataclass(frozen=True, slots=True)
class EpochResult:
    """One epoch's site coins of the batch, and the histogram [20] of the documents' p.

    p is drawn uniformly within the step of its discrete value, so that under the null hypothesis
    it is exactly uniform.
    """

    coins: Coins
    histogram: Integers


def judge_batch(
    batches: Sequence[Batch], schemes: Sequence[Scheme], gammas: Sequence[float], draws: Floats
) -> tuple[Judgement, list[EpochResult]]:
    """Test every document in every epoch.

    `batches` holds the same d documents for each of the `schemes` (words have other ids in each
    epoch); `draws` [d], uniform on [0, 1), serve the histogram.
    """
    rows, results = [], []
    for batch, scheme, gamma in zip(batches, schemes, gammas, strict=True):
        counts, site = scheme.coins(batch, only="site")
        windows, hits = counts.windows[:, 0], counts.hits[:, 0]
        whole = log10_tails(hits, windows, gamma)
        span = scan_documents(site.green, _offsets(windows), gamma)
        rows.append((windows, hits, whole, span))
        results.append(EpochResult(site, _histogram(uniform_p(windows, hits, gamma, draws))))
    columns = [np.stack(column) for column in zip(*rows, strict=True)]  # each [epochs, d]
    both = whole_or_spans(columns[2], columns[3])
    places = np.argmin(both, axis=0), np.arange(len(draws))
    windows, hits, whole, span = (column[places] for column in columns)
    corrected = both[places] + np.log10(len(schemes))
    judgement = Judgement(
        tokens=np.diff(batches[-1].offsets),
        epoch=places[0],
        windows=windows,
        hits=hits,
        log10_p=whole,
        log10_span_p=span,
        log10_corrected_p=np.minimum(corrected, 0.0),
    )
    return judgement, results


def better_form(main: Judgement, other: Judgement, rows: Integers) -> npt.NDArray[np.bool_]:
    """Put the documents `rows` of `main` right for having been tested in a second form too.

    `other` holds their tests in that form. Changes `main` in place: each gets the smaller p,
    times two. Returns which of `rows` are better in the other form.
    """
    better = other.log10_corrected_p < main.log10_corrected_p[rows]
    for name in Judgement.__slots__:
        column = getattr(main, name)
        column[rows[better]] = getattr(other, name)[better]
    corrected = main.log10_corrected_p
    corrected[rows] = np.minimum(corrected[rows] + _LOG10_2, 0.0)
    return better


def _offsets(sizes: Integers) -> Integers:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])


def uniform_p(windows: Integers, hits: Integers, gamma: float, draws: Floats) -> Floats:
    """p-values [d], each drawn uniformly within its own step: exactly uniform under chance."""
    upper = 10 ** log10_tails(hits, windows, gamma)
    beyond = np.minimum(hits + 1, windows)
    lower = np.where(hits < windows, 10 ** log10_tails(beyond, windows, gamma), 0.0)
    drawn: Floats = lower + draws * (upper - lower)
    return drawn


def _histogram(p: Floats) -> Integers:
    bins = np.minimum((p * HISTOGRAM_BINS).astype(np.int64), HISTOGRAM_BINS - 1)
    return np.bincount(bins, minlength=HISTOGRAM_BINS).astype(np.int64)
