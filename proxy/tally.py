"""Counting on the way of a call: plain numbers, handed on to prometheus-client in batches.

An increment in prometheus-client takes a lock and, in a worker, writes to a mapped file:
23 µs for all of a call, 3 for tallies (`python -m benchmarks.gateway.bookkeeping`). Only
the event loop's thread may count, and it never takes back what it counted: another thread publishes
without a lock around the counting, because each number remembers how far it was handed on.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol

from prometheus_client import Counter, Gauge, Histogram


class Publishes(Protocol):
    """Something counted that can be handed on."""

    def publish(self) -> None:
        """Bring the metric up to what was counted."""


class Tally:
    """A counter."""

    __slots__ = ("_counted", "_metric", "_published")

    def __init__(self, metric: Counter) -> None:
        self._metric = metric
        self._counted = self._published = 0

    def inc(self, by: int = 1) -> None:
        """Count."""
        self._counted += by

    def publish(self) -> None:
        """Bring the metric up to what was counted."""
        counted = self._counted
        if counted != self._published:
            self._metric.inc(counted - self._published)
            self._published = counted


class Level:
    """A gauge that goes up and down; `with level.track_inprogress()` counts what is inside."""

    __slots__ = ("_level", "_metric", "_published")

    def __init__(self, metric: Gauge) -> None:
        self._metric = metric
        self._level = self._published = 0

    def inc(self, by: int = 1) -> None:
        """Go up."""
        self._level += by

    def dec(self) -> None:
        """Go down."""
        self._level -= 1

    def track_inprogress(self) -> Level:
        """Return what counts the time of a `with`."""
        return self

    def __enter__(self) -> None:
        self._level += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._level -= 1

    def publish(self) -> None:
        """Bring the metric to the level."""
        level = self._level
        if level != self._published:
            self._metric.set(level)
            self._published = level


class Timing:
    """A histogram of seconds."""

    __slots__ = ("_bounds", "_counts", "_metric", "_published", "_published_sum", "_sum")

    def __init__(self, metric: Histogram, bounds: Sequence[float]) -> None:
        self._metric = metric
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._published = list(self._counts)
        self._sum = self._published_sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        self._sum += seconds
        self._counts[bisect_left(self._bounds, seconds)] += 1

    def publish(self) -> None:
        """Bring the metric up to what was observed."""
        counts, total = self._counts.copy(), self._sum
        if counts == self._published:
            return
        # The histogram's public `observe` takes one value at a time.
        for bucket, count, published in zip(
            self._metric._buckets, counts, self._published, strict=True
        ):
            if count != published:
                bucket.inc(count - published)
        self._metric._sum.inc(total - self._published_sum)
        self._published, self._published_sum = counts, total


class Tallies:
    """All that is counted in a process."""

    def __init__(self) -> None:
        self._all: list[Publishes] = []
        self._lock = threading.Lock()

    def add(self, tally: Publishes) -> None:
        """Let `publish` hand on what `tally` counts."""
        self._all.append(tally)

    def publish(self) -> None:
        """Hand everything on; from any thread."""
        with self._lock:
            for tally in self._all.copy():
                tally.publish()
