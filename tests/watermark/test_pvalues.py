"""Binomial tails against exact rational arithmetic and against a second formula."""

import math
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from watermark.detect.pvalues import (
    clopper_pearson,
    least_hits,
    log10_tail,
    log_binomial_pmf,
    power,
)

GAMMAS = [0.5, 0.25, 0.125, 0.3, 0.01, 0.9]
LEVELS = [-1, -3, -5, -12]


@cache
def exact_tails(windows: int, gamma: float) -> list[Fraction]:
    """P(X >= k) for k = 0 … windows + 1, without rounding: a float is a fraction."""
    share = Fraction(gamma)
    other = share.denominator - share.numerator
    tails, total = [0], 0
    for k in range(windows, -1, -1):
        total += math.comb(windows, k) * share.numerator**k * other ** (windows - k)
        tails.append(total)
    return [Fraction(tail, share.denominator**windows) for tail in reversed(tails)]


def log10_exact(p: Fraction) -> float:
    """Decimal logarithm, exact to the last places near 1 and far below 1e-308."""
    if p > Fraction(1, 2):
        return math.log1p(-float(1 - p)) / math.log(10)
    return math.log10(p.numerator) - math.log10(p.denominator)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("windows", [1, 2, 3, 5, 15, 16, 17, 40, 100, 257])
def test_tails_equal_exact_arithmetic(windows: int, gamma: float) -> None:
    tails = exact_tails(windows, gamma)
    for hits in range(windows + 1):
        expected = log10_exact(tails[hits])
        assert log10_tail(hits, windows, gamma) == pytest.approx(expected, rel=1e-10, abs=1e-290)


@settings(max_examples=60)
@given(st.integers(300, 900), st.sampled_from(GAMMAS), st.data())
def test_tails_of_longer_texts_equal_exact_arithmetic(
    windows: int, gamma: float, data: st.DataObject
) -> None:
    hits = data.draw(st.integers(0, windows))
    share = Fraction(gamma)
    terms = range(hits, windows + 1)
    other = share.denominator - share.numerator
    total = sum(math.comb(windows, k) * share.numerator**k * other ** (windows - k) for k in terms)
    expected = log10_exact(Fraction(total, share.denominator**windows))
    assert log10_tail(hits, windows, gamma) == pytest.approx(expected, rel=1e-10, abs=1e-290)


@pytest.mark.parametrize(
    ("hits", "windows", "gamma", "below"),
    [(1000, 1000, 0.5, -301), (2000, 2000, 0.25, -1204), (9000, 10_000, 0.25, -4000)],
)
def test_far_tails_do_not_underflow(hits: int, windows: int, gamma: float, below: float) -> None:
    found = log10_tail(hits, windows, gamma)
    bits = round(-math.log2(gamma))
    other = (1 << bits) - 1
    total = sum(math.comb(windows, k) * other ** (windows - k) for k in range(hits, windows + 1))
    assert found == pytest.approx(math.log10(total) - windows * bits * math.log10(2), rel=1e-12)
    assert found < below


def log10_tail_by_summation(hits: int, windows: int, gamma: float) -> float:
    """The tail from a sum of logarithms of single factors: no Stirling, no saddle point."""
    factors = np.arange(1, hits + 1, dtype=np.longdouble)
    log_choose = np.log((windows - hits + factors) / factors).sum()
    first = log_choose + hits * np.log(np.longdouble(gamma))
    first += (windows - hits) * np.log1p(-np.longdouble(gamma))
    k = np.arange(hits, min(windows, hits + 200_000), dtype=np.longdouble)
    ratios = np.log((windows - k) / (k + 1)) + np.log(np.longdouble(gamma / (1 - gamma)))
    series = 1 + np.exp(np.cumsum(ratios)).sum()
    return float((first + np.log(series)) / np.log(np.longdouble(10)))


@pytest.mark.parametrize("gamma", [0.5, 0.25])
@pytest.mark.parametrize("windows", [10_000, 200_000, 1_000_000])
@pytest.mark.parametrize("deviations", [0.01, 1, 3, 5, 10, 40, 100])
def test_tails_of_corpora_equal_a_second_formula(
    windows: int, gamma: float, deviations: float
) -> None:
    spread = math.sqrt(windows * gamma * (1 - gamma))
    hits = math.ceil(windows * gamma + deviations * spread)
    hits = min(hits, windows)
    expected = log10_tail_by_summation(hits, windows, gamma)
    assert log10_tail(hits, windows, gamma) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("gamma", [0.5, 0.25])
@pytest.mark.parametrize("windows", [1_000, 1_000_000])
@pytest.mark.parametrize("deviations", [0, 0.5, 2, 6])
def test_both_tails_add_up_to_one(windows: int, gamma: float, deviations: float) -> None:
    # P(X >= k) by one side of the implementation, P(X <= k - 1) by the other coin's tail.
    hits = round(windows * gamma - deviations * math.sqrt(windows * gamma * (1 - gamma)))
    upper = 10 ** log10_tail(hits, windows, gamma)
    lower = 10 ** log10_tail(windows - hits + 1, windows, 1 - gamma)
    assert upper + lower == pytest.approx(1, abs=1e-11)


@given(st.integers(1, 3000), st.sampled_from(GAMMAS), st.data())
def test_more_hits_are_less_probable_and_more_windows_make_them_likelier(
    windows: int, gamma: float, data: st.DataObject
) -> None:
    hits = data.draw(st.integers(0, windows - 1))
    assert log10_tail(hits + 1, windows, gamma) <= log10_tail(hits, windows, gamma) <= 0
    assert log10_tail(hits, windows + 1, gamma) >= log10_tail(hits, windows, gamma) - 1e-12


@pytest.mark.parametrize("gamma", GAMMAS)
def test_the_ends_are_what_they_must_be(gamma: float) -> None:
    assert log10_tail(0, 0, gamma) == log10_tail(0, 500, gamma) == 0.0
    assert log10_tail(500, 500, gamma) == pytest.approx(500 * math.log10(gamma), rel=1e-13)
    assert log10_tail(1, 1, gamma) == pytest.approx(math.log10(gamma), rel=1e-13)


@pytest.mark.parametrize(("hits", "windows"), [(-1, 10), (11, 10), (1, 0), (0, -1)])
def test_impossible_counts_are_refused(hits: int, windows: int) -> None:
    with pytest.raises(ValueError, match="windows"):
        log10_tail(hits, windows, 0.25)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("windows", [1, 7, 60, 400])
def test_probabilities_of_all_counts_add_up_to_one(windows: int, gamma: float) -> None:
    terms = [math.exp(log_binomial_pmf(hits, windows, gamma)) for hits in range(windows + 1)]
    assert math.fsum(terms) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("windows", [0, 1, 5, 30, 100, 257])
@pytest.mark.parametrize("log10_level", LEVELS)
def test_least_hits_is_the_first_count_that_rejects(
    windows: int, gamma: float, log10_level: float
) -> None:
    tails = exact_tails(windows, gamma)
    level = Fraction(10) ** int(log10_level)
    rejecting = [hits for hits in range(windows + 1) if tails[hits] <= level]
    assert least_hits(windows, gamma, log10_level) == (rejecting[0] if rejecting else None)


@pytest.mark.parametrize("windows", [0, 1, 20, 100, 257])
@pytest.mark.parametrize("share", [0.25, 0.4, 0.6, 0.9])
def test_power_is_the_probability_of_the_rejecting_counts(windows: int, share: float) -> None:
    for log10_level in LEVELS:
        hits = least_hits(windows, 0.25, log10_level)
        found = power(windows, 0.25, share, log10_level)
        if hits is None:
            assert found == 0
        else:
            assert found == pytest.approx(float(exact_tails(windows, share)[hits]), rel=1e-9)


def test_the_test_keeps_its_level() -> None:
    # Under the null hypothesis the power is the size: never above the level.
    for windows in (10, 50, 200, 1000, 5000):
        for gamma in (0.25, 0.5):
            for log10_level in LEVELS:
                assert power(windows, gamma, gamma, log10_level) <= 10**log10_level * (1 + 1e-9)


@pytest.mark.parametrize("confidence", [0.95, 0.999])
@pytest.mark.parametrize(
    ("hits", "trials"), [(0, 10), (10, 10), (3, 10), (1, 20_000), (250_000, 1_000_000)]
)
def test_intervals_of_shares_are_those_of_the_beta_distribution(
    hits: int, trials: int, confidence: float
) -> None:
    tail = (1 - confidence) / 2
    low = beta.ppf(tail, hits, trials - hits + 1) if hits else 0.0
    high = beta.ppf(1 - tail, hits + 1, trials - hits) if hits < trials else 1.0
    assert clopper_pearson(hits, trials, confidence) == pytest.approx((low, high), rel=1e-9)


def test_without_trials_a_share_may_be_anything() -> None:
    assert clopper_pearson(0, 0) == (0.0, 1.0)
