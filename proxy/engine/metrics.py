"""Every metric of the engine: names, labels and buckets in one place.

Marks appear only as counts of ticket states; no label ever names an account.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily

_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)
_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class EngineMetrics:
    """Metrics of one engine, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "azeotrope_engine_requests",
            "Answered requests.",
            ["endpoint", "status"],
            registry=self.registry,
        )
        self.tokens = Counter(
            "azeotrope_engine_tokens",
            "Tokens of prompts that were read and of answers that were made.",
            ["kind"],
            registry=self.registry,
        )
        self.sequences = Counter(
            "azeotrope_engine_sequences",
            "Sequences and embeddings that ended: stop, length, embedded, cancelled or failed.",
            ["reason"],
            registry=self.registry,
        )
        self.running = Gauge(
            "azeotrope_engine_running_sequences", "Rows of the batch.", registry=self.registry
        )
        self.waiting = Gauge(
            "azeotrope_engine_waiting_sequences", "Sequences in the queue.", registry=self.registry
        )
        self.batch = Histogram(
            "azeotrope_engine_batch_rows",
            "Rows of each decode step.",
            buckets=_ROWS,
            registry=self.registry,
        )
        self.step = Histogram(
            "azeotrope_engine_step_seconds",
            "Time of each decode step.",
            buckets=_SECONDS,
            registry=self.registry,
        )

    def watch_tickets(self, states: Mapping[str, int]) -> None:
        """Export the marker's live counts of ticket states."""
        self.registry.register(_TicketStates(states))

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class _TicketStates:
    def __init__(self, states: Mapping[str, int]) -> None:
        self._states = states

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(
            "azeotrope_engine_tickets",
            "Marked sequences by state of their ticket.",
            labels=["state"],
        )
        for state, count in list(self._states.items()):
            family.add_metric([state], count)
        yield family
