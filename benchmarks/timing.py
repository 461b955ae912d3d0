"""Timing of short operations inside one process."""

import statistics
import time
from collections.abc import Callable


def median_ms(operation: Callable[[], object], seconds: float, finish: Callable[[], None]) -> float:
    """Median milliseconds of `operation` over about `seconds`; `finish` waits for the device."""
    for _ in range(3):
        operation()
    finish()
    samples: list[float] = []
    end = time.perf_counter() + seconds
    while len(samples) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        operation()
        finish()
        samples.append((time.perf_counter() - start) * 1e3)
    return statistics.median(samples)
