"""Metrics as they are declared: made in one way, and remembered for the reference.

`across` says how a scrape sums up a gauge over workers (prometheus-client's multiprocess
mode); only modes of living processes are used, because the files of dead ones go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from proxy.tally import Level, Tallies, Tally, Timing

_PREFIX = "azeotrope_"
Across = Literal["livesum", "livemin", "livemax"]


@dataclass(frozen=True, slots=True)
class Described:
    """A metric as the reference tells it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


class Labelled(dict[tuple[str, ...], Tally]):
    """The tallies of a counter with labels, made when first needed: `labels()` is slow."""

    def __init__(self, metric: Counter, tallies: Tallies) -> None:
        super().__init__()
        self._metric = metric
        self._tallies = tallies

    def __missing__(self, labels: tuple[str, ...]) -> Tally:
        tally = self[labels] = Tally(self._metric.labels(*labels))
        self._tallies.add(tally)
        return tally


class Families:
    """Makes the metrics of one registry.

    `tally`, `tallies`, `level` and `timing` are for what happens at every call, on the event
    loop; the others are prometheus-client's own, for any thread.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.described: list[Described] = []
        self.counted = Tallies()
        self._registry = registry

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """Make a counter."""
        self._describe(f"{name}_total", "counter", labels, text)
        return Counter(_PREFIX + name, text, labels, registry=self._registry)

    def gauge(self, name: str, text: str, *labels: str, across: Across) -> Gauge:
        """Make a gauge."""
        self._describe(name, "gauge", labels, text)
        return Gauge(
            _PREFIX + name, text, labels, registry=self._registry, multiprocess_mode=across
        )

    def tally(self, name: str, text: str) -> Tally:
        """Make a counter for every call."""
        tally = Tally(self.counter(name, text))
        self.counted.add(tally)
        return tally

    def tallies(self, name: str, text: str, *labels: str) -> Labelled:
        """Make a counter with labels for every call: `tallies[values].inc()`."""
        return Labelled(self.counter(name, text, *labels), self.counted)

    def level(self, gauge: Gauge) -> Level:
        """Make a gauge one for every call."""
        level = Level(gauge)
        self.counted.add(level)
        return level

    def timing(self, name: str, text: str, bounds: Sequence[float]) -> Timing:
        """Make a histogram of seconds for every call."""
        self._describe(name, "histogram", (), text)
        metric = Histogram(_PREFIX + name, text, buckets=bounds, registry=self._registry)
        timing = Timing(metric, bounds)
        self.counted.add(timing)
        return timing

    def _describe(self, name: str, kind: str, labels: tuple[str, ...], text: str) -> None:
        self.described.append(Described(_PREFIX + name, kind, labels, text))
