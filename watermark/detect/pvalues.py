"""Exact binomial tails in log space, and what a test could have seen.

Under the null hypothesis the hits among n distinct windows are Binomial(n, gamma)
whatever the text, because each distinct window tosses its own coin once.
"""

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from watermark.detect.kernels import compiled

LN10 = math.log(10)


def log_binomial_pmf(hits: int, windows: int, gamma: float) -> float:
    """Natural logarithm of P(X = hits) for X ~ Binomial(windows, gamma).

    Loader's saddle-point form ("Fast and Accurate Computation of Binomial Probabilities",
    2000): its terms stay small, so nothing cancels at large counts, as lgamma would.
    """
    if hits in (0, windows):
        share = gamma if hits else 1 - gamma
        return windows * math.log(share)
    misses = windows - hits
    deviance = _deviance(hits, windows * gamma) + _deviance(misses, windows * (1 - gamma))
    correction = _stirling_error(windows) - _stirling_error(hits) - _stirling_error(misses)
    return correction - deviance + 0.5 * math.log(windows / (2 * math.pi * hits * misses))


def log10_tail(hits: int, windows: int, gamma: float) -> float:
    """Decimal logarithm of P(X >= hits) for X ~ Binomial(windows, gamma); never underflows.

    Raises ValueError unless 0 <= hits <= windows.
    """
    if not 0 <= hits <= windows:
        raise ValueError(f"{hits} hits among {windows} windows")
    if hits == 0:
        return 0.0
    odds = gamma / (1 - gamma)
    if hits > windows * gamma:
        log_first = log_binomial_pmf(hits, windows, gamma)
        return min((log_first + math.log(_series(hits, windows, odds))) / LN10, 0.0)
    log_last = log_binomial_pmf(hits - 1, windows, gamma)
    below = math.exp(log_last) * _series(windows - hits + 1, windows, 1 / odds)
    return math.log1p(-min(below, 1 - 2**-53)) / LN10


_remembered = lru_cache(maxsize=1 << 18)(log10_tail)


def log10_tails(
    hits: npt.NDArray[np.int64], windows: npt.NDArray[np.int64] | int, gamma: float
) -> npt.NDArray[np.float64]:
    """Elementwise `log10_tail` of arrays that broadcast; each distinct pair is computed once."""
    hits, windows = np.broadcast_arrays(hits, windows)
    pairs = (windows.astype(np.uint64) << np.uint64(32)) | hits.astype(np.uint64)
    distinct, inverse = np.unique(pairs, return_inverse=True)
    tails = [_remembered(pair & 0xFFFFFFFF, pair >> 32, gamma) for pair in distinct.tolist()]
    found: npt.NDArray[np.float64] = np.array(tails, np.float64)[inverse.reshape(hits.shape)]
    return found


@compiled
def _series(start: int, windows: int, odds: float) -> float:
    """Sum over k >= start of pmf(k) / pmf(start), for start on the falling side."""
    total = term = 1.0
    for k in range(start, windows):
        term *= (windows - k) / (k + 1) * odds
        total += term
        if term < total * 1e-17:
            break
    return total


def _deviance(x: float, mean: float) -> float:
    """Return x log(x / mean) + mean - x, without cancellation near x = mean."""
    if abs(x - mean) < 0.1 * (x + mean):
        v = (x - mean) / (x + mean)
        total, power, j = (x - mean) * v, 2 * x * v, 0
        while True:
            power *= v * v
            j += 1
            following = total + power / (2 * j + 1)
            if following == total:
                return total
            total = following
    return x * math.log(x / mean) + mean - x


def _stirling_error(n: int) -> float:
    """Return log n! minus Stirling's formula (Loader 2000, eq. 5)."""
    if n < 16:
        return math.lgamma(n + 1) - (n + 0.5) * math.log(n) + n - 0.5 * math.log(2 * math.pi)
    square = n * n
    series = 1 / 12 - (1 / 360 - (1 / 1260 - (1 / 1680) / square) / square) / square
    return series / n


def least_hits(windows: int, gamma: float, log10_level: float) -> int | None:
    """Return the least hits whose tail is at most 10^log10_level; None if none is."""
    low, high = 0, windows + 1
    while low < high:
        middle = (low + high) // 2
        if middle > windows or log10_tail(middle, windows, gamma) <= log10_level:
            high = middle
        else:
            low = middle + 1
    return low if low <= windows else None


def clopper_pearson(hits: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact two-sided interval of a binomial share (Clopper and Pearson 1934), by bisection."""
    if trials == 0:
        return 0.0, 1.0
    log10_tail_mass = math.log10((1 - confidence) / 2)

    def bound(successes: int) -> float:
        """Return the share at which P(X >= successes) is the mass of one tail."""
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            if log10_tail(successes, trials, middle) < log10_tail_mass:
                low = middle
            else:
                high = middle
        return low

    lower = bound(hits) if hits else 0.0
    upper = 1 - bound(trials - hits) if hits < trials else 1.0
    return lower, upper


def power(windows: int, gamma: float, green_share: float, log10_level: float) -> float:
    """Probability that the exact test at that level rejects if `green_share` of windows hit."""
    hits = least_hits(windows, gamma, log10_level)
    if hits is None:
        return 0.0
    return 1.0 if green_share == 1 else float(10 ** log10_tail(hits, windows, green_share))
