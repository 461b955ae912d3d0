"""Every metric of the gateway: names, labels and buckets, in one place.

Label values come from the configuration or from fixed sets, never from a request, so
the number of time series is bounded whatever clients send. Children are made once and
kept: `labels()` costs several times what an increment does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

# Answers of language models: from a cached first token to an hour of tokens.
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
# What the gateway itself takes: the target is below a millisecond.
_OWN_SECONDS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5)
# A round trip to the store: from a Unix socket to the deadline's default and beyond.
_STORE_SECONDS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)

NO_MODEL = "none"
ENDS = (
    "complete",
    "client_closed",
    "upstream_error",
    "upstream_timeout",
    "drained",
    "internal_error",
)


@dataclass(frozen=True, slots=True)
class UpstreamSeries:
    """The series of one upstream."""

    up: Gauge
    outstanding: Gauge
    breaker_open: Gauge
    retries: Counter


class Metrics:
    """The gateway's metrics, in a registry of their own."""

    def __init__(self, dialects: Iterable[str], models: Iterable[str]) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self._dialects, self._models = frozenset(dialects), frozenset(models)
        self._children: dict[tuple[Counter, tuple[str, ...]], Counter] = {}
        self._requests = self._counter(
            "requests", "Requests answered, by status.", "dialect", "model", "status"
        )
        self._tokens = self._counter(
            "tokens", "Tokens that engines reported.", "model", "direction"
        )
        self._ends = self._counter("calls", "Calls settled, by how they ended.", "model", "end")
        self._limiter = self._counter(
            "limiter_decisions", "Decisions on requests.", "decision", "source"
        )
        self._dropped = self._counter(
            "dropped_fields", "Fields that no client may send, dropped from requests.", "field"
        )
        self._store_failures = self._counter(
            "store_failures", "Decisions that the store failed to give in time.", "reason"
        )
        self._reloads = self._counter(
            "accounts_reloads", "Reloads of the accounts, by result.", "result"
        )
        self._make_plain()
        self._make_timings()
        self._make_upstreams()

    def _make_plain(self) -> None:
        plain = self.registry
        self.tickets = Counter("azeotrope_tickets_signed", "Tickets signed.", registry=plain)
        self.open_streams = Gauge(
            "azeotrope_open_streams",
            "Streams that are running.",
            registry=plain,
            multiprocess_mode="livesum",
        )
        self.open_calls = Gauge(
            "azeotrope_open_calls",
            "Calls not yet settled.",
            registry=plain,
            multiprocess_mode="livesum",
        )
        self.accounts = Gauge(
            "azeotrope_accounts", "Accounts loaded.", registry=plain, multiprocess_mode="livemax"
        )
        self.connections_dropped = Counter(
            "azeotrope_connections_dropped",
            "Connections closed because there were too many for the file descriptors.",
            registry=plain,
        )
        self.accounts_stale = Gauge(
            "azeotrope_accounts_stale",
            "1 while newer accounts cannot be read and older ones are in force.",
            registry=plain,
            multiprocess_mode="livemax",
        )
        self.store_up = Gauge(
            "azeotrope_store_up",
            "1 while the store decides, 0 while this process does.",
            registry=plain,
            multiprocess_mode="livemin",
        )
        self.registry_lines = Counter(
            "azeotrope_registry_lines", "Lines written to the call registry.", registry=plain
        )
        self.registry_lost = Counter(
            "azeotrope_registry_lines_lost",
            "Lines that the call registry could not take.",
            registry=plain,
        )
        self.registry_failures = Counter(
            "azeotrope_registry_write_failures",
            "Failed attempts to write the call registry.",
            registry=plain,
        )
        self.registry_digests_lost = Counter(
            "azeotrope_registry_digests_lost",
            "Texts that the call registry could not hold until it had their digests.",
            registry=plain,
        )
        self.log_lost = Counter(
            "azeotrope_log_lines_lost",
            "Log lines dropped because the reader is too slow.",
            registry=plain,
        )

    def _make_timings(self) -> None:
        self.upstream_seconds = self._histogram(
            "upstream_seconds", "From sending a call to the end of its answer.", _SECONDS
        )
        self.first_byte_seconds = self._histogram(
            "first_byte_seconds", "From a request's head to the first byte of its answer.", _SECONDS
        )
        self.added_seconds = self._histogram(
            "added_seconds",
            "What the gateway adds: from a request's head to sending the call, less its body.",
            _OWN_SECONDS,
        )
        self.store_seconds = self._histogram(
            "store_seconds", "From sending a command to the store to its reply.", _STORE_SECONDS
        )

    def _make_upstreams(self) -> None:
        self._upstream_up = self._upstream_gauge(
            "up", "1 while the last look found the upstream healthy.", "livemin"
        )
        self._upstream_outstanding = self._upstream_gauge(
            "outstanding", "Calls that an upstream has not answered to the end.", "livesum"
        )
        self._upstream_breaker = self._upstream_gauge(
            "breaker_open", "1 while calls are kept from an upstream that fails them.", "livemax"
        )
        self._upstream_retries = self._counter(
            "upstream_retries", "Calls sent again because an upstream had not begun.", "upstream"
        )

    def upstream(self, name: str) -> UpstreamSeries:
        """Return the series of an upstream of the configuration."""
        return UpstreamSeries(
            up=self._upstream_up.labels(name),
            outstanding=self._upstream_outstanding.labels(name),
            breaker_open=self._upstream_breaker.labels(name),
            retries=self._upstream_retries.labels(name),
        )

    def answered(self, dialect: str | None, model: str | None, status: int) -> None:
        """Count an answer; anything not configured falls under "none"."""
        known_dialect = dialect if dialect in self._dialects else NO_MODEL
        known_model = model if model in self._models else NO_MODEL
        self._child(self._requests, known_dialect or NO_MODEL, known_model or NO_MODEL, str(status))

    def settled(
        self, model: str, end: str, prompt_tokens: int | None, completion_tokens: int | None
    ) -> None:
        """Count a settled call and its tokens."""
        self._child(self._ends, model, end)
        self._child(self._tokens, model, "in", by=prompt_tokens or 0)
        self._child(self._tokens, model, "out", by=completion_tokens or 0)

    def decided(self, decision: str, source: str) -> None:
        """Count a decision of the limiter: admitted, refused_requests, refused_concurrency."""
        self._child(self._limiter, decision, source)

    def store_failed(self, reason: str) -> None:
        """Count a decision that the store did not give; reasons are those of guard/wire.py."""
        self._child(self._store_failures, reason)

    def dropped(self, fields: Iterable[str]) -> None:
        """Count dropped fields; their names come from a fixed set."""
        for field in fields:
            self._child(self._dropped, field)

    def reloaded(self, *, accounts: int | None) -> None:
        """Count a reload of the accounts; None means that the old ones were kept."""
        self._child(self._reloads, "failed" if accounts is None else "done")
        if accounts is not None:
            self.accounts.set(accounts)

    def render(self) -> bytes:
        """Return the text exposition; slow with many series, so call it off the event loop."""
        return generate_latest(self.registry)

    def _child(self, metric: Counter, *labels: str, by: int = 1) -> None:
        key = (metric, labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        child.inc(by)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"azeotrope_{name}", text, labels, registry=self.registry)

    def _upstream_gauge(
        self, name: str, text: str, mode: Literal["livemin", "livemax", "livesum"]
    ) -> Gauge:
        """A gauge of each worker; `mode` says how a scrape sums them up."""
        return Gauge(
            f"azeotrope_upstream_{name}",
            text,
            ("upstream",),
            registry=self.registry,
            multiprocess_mode=mode,
        )

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"azeotrope_{name}", text, buckets=buckets, registry=self.registry)
