"""Shares with their uncertainty."""

from watermark.detect.pvalues import clopper_pearson


def percent(hits: int, trials: int) -> str:
    return f"{100 * hits / trials:.1f} %"


def interval(hits: int, trials: int) -> str:
    low, high = clopper_pearson(hits, trials)
    return f"({100 * low:.1f} to {100 * high:.1f})"
