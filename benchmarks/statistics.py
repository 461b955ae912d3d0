"""Shares with their uncertainty."""

from scipy.stats import beta


def clopper_pearson(hits: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact two-sided interval of a binomial share."""
    tail = (1 - confidence) / 2
    low = beta.ppf(tail, hits, trials - hits + 1) if hits else 0.0
    high = beta.ppf(1 - tail, hits + 1, trials - hits) if hits < trials else 1.0
    return float(low), float(high)


def percent(hits: int, trials: int) -> str:
    return f"{100 * hits / trials:.1f} %"


def interval(hits: int, trials: int) -> str:
    low, high = clopper_pearson(hits, trials)
    return f"({100 * low:.1f} to {100 * high:.1f})"
