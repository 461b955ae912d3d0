"""The scan statistic: valid under chance, and right about where the mark is."""

import numpy as np
import pytest

from watermark.detect.pvalues import clopper_pearson, log10_tail, log10_tails
from watermark.detect.spans import (
    find_spans,
    interval_count,
    interval_lengths,
    scan_documents,
    whole_or_spans,
)

GAMMA = 0.25
MARKED = 0.6


def coins(seed: int, *parts: tuple[int, float]) -> np.ndarray:
    """Coins of stretches of (windows, green share)."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.random(n) < share for n, share in parts]).astype(np.uint8)


def family_p(greens: np.ndarray) -> float:
    return float(scan_documents(greens, np.array([0, len(greens)]), GAMMA)[0])


def slow_family_p(greens: np.ndarray) -> float:
    """The docstring's formula, interval by interval."""
    lengths = interval_lengths(len(greens))
    best = 0.0
    for length in lengths:
        stride = max(length // 8, 1)
        starts = range(0, len(greens) - length + 1, stride)
        for start in starts:
            p = log10_tail(int(greens[start : start + length].sum()), length, GAMMA)
            best = min(best, p + np.log10(len(lengths) * len(starts)))
    return best


@pytest.mark.parametrize("windows", [0, 5, 15, 16, 17, 22, 23, 40, 100, 333])
def test_the_compiled_scan_follows_the_formula(windows: int) -> None:
    for seed in range(5):
        greens = coins(seed, (windows // 2, GAMMA), (windows - windows // 2, MARKED))
        assert family_p(greens) == pytest.approx(slow_family_p(greens), abs=1e-9)


def test_documents_of_a_batch_are_scanned_apart() -> None:
    texts = [coins(seed, (n, MARKED)) for seed, n in enumerate([50, 0, 16, 200, 3, 90])]
    offsets = np.cumsum([0, *map(len, texts)])
    together = scan_documents(np.concatenate(texts), offsets, GAMMA)
    assert together.tolist() == [family_p(text) for text in texts]


@pytest.mark.parametrize("windows", [20, 67, 134, 700])
def test_chance_rejects_no_more_often_than_the_level_says(windows: int) -> None:
    documents = 20_000
    greens = coins(windows, (documents * windows, GAMMA))
    p = scan_documents(greens, np.arange(documents + 1) * windows, GAMMA)
    for level in (0.1, 0.01, 0.001):
        rejected = int((p <= np.log10(level)).sum())
        low, _ = clopper_pearson(rejected, documents, 0.999)
        assert low <= level


def test_the_cover_is_of_about_twice_the_windows() -> None:
    windows = 10_000
    intervals = sum(interval_count(windows, n) for n in interval_lengths(windows))
    assert windows < intervals < 2 * windows


def test_every_stretch_shares_most_of_its_windows_with_an_interval() -> None:
    windows = 300
    cover = [
        (start, start + length)
        for length in interval_lengths(windows)
        for start in range(0, windows - length + 1, max(length // 8, 1))
    ]
    for first in range(0, windows - 24, 7):
        for last in range(first + 24, windows, 11):
            best = max(
                (min(last, end) - max(first, start)) / (max(last, end) - min(first, start))
                for start, end in cover
            )
            assert best > 0.6


def test_marked_passages_are_found_where_they_are() -> None:
    greens = coins(3, (200, GAMMA), (120, MARKED), (180, GAMMA), (60, 0.75), (140, GAMMA))
    found = find_spans(greens, GAMMA, MARKED, -3)
    assert [(span.first, span.last) for span in found] == [
        (pytest.approx(200, abs=12), pytest.approx(319, abs=12)),
        (pytest.approx(500, abs=12), pytest.approx(559, abs=12)),
    ]
    for span in found:
        part = greens[span.first : span.last + 1]
        assert (span.windows, span.hits) == (len(part), part.sum())
        assert span.log10_p <= -3


def test_a_wholly_marked_text_is_one_span() -> None:
    (span,) = find_spans(coins(1, (600, MARKED)), GAMMA, MARKED, -3)
    assert (span.first, span.last) == (pytest.approx(0, abs=6), pytest.approx(599, abs=6))


def test_chance_has_no_span() -> None:
    found = [find_spans(coins(seed, (300, GAMMA)), GAMMA, MARKED, -3) for seed in range(200)]
    assert sum(map(bool, found)) <= 3  # 0.2 expected


def test_spans_never_overlap_and_come_in_text_order() -> None:
    for seed in range(30):
        parts = [(40, GAMMA), (35, MARKED)] * 8
        found = find_spans(coins(seed, *parts), GAMMA, MARKED, -2)
        ends = [place for span in found for place in (span.first, span.last)]
        assert ends == sorted(ends)


def test_the_whole_and_its_spans_share_the_error() -> None:
    whole, span = np.array([-5.0, -5.0, 0.0]), np.array([0.0, -20.0, 0.0])
    p = whole_or_spans(whole, span)
    assert p == pytest.approx([-5 - np.log10(0.9), -20 + 1, 0.0])


def test_the_combined_p_is_valid_under_chance() -> None:
    documents, windows = 20_000, 150
    greens = coins(11, (documents * windows, GAMMA))
    hits = greens.reshape(documents, windows).sum(1, dtype=np.int64)
    whole = log10_tails(hits, windows, GAMMA)
    span = scan_documents(greens, np.arange(documents + 1) * windows, GAMMA)
    for level in (0.1, 0.01, 0.001):
        rejected = int((whole_or_spans(whole, span) <= np.log10(level)).sum())
        assert clopper_pearson(rejected, documents, 0.999)[0] <= level
