"""Every metric of the gateway: names, labels and buckets, in one place.

Label values come from the configuration or from fixed sets, never from a request, so
the number of time series is bounded whatever clients send. docs/reference-metrics.md is
generated from this module and from proxy/workers/counted.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from proxy.families import Families
from proxy.tally import Level

# Answers of language models: from a cached first token to an hour of tokens.
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
# What the gateway itself takes: the target is below a millisecond.
_OWN_SECONDS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5)
# A round trip to the store: from a Unix socket to the deadline's default and beyond.
_STORE_SECONDS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)

NONE = "none"
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
    outstanding: Level
    breaker_open: Gauge
    retries: Counter


class Metrics:
    """The gateway's metrics, in a registry of their own."""

    def __init__(self, dialects: Iterable[str], models: Iterable[str]) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self.families = Families(self.registry)
        self._dialects, self._models = frozenset(dialects), frozenset(models)
        self._make_calls()
        self._make_timings()
        self._make_parts()
        self._make_upstreams()
        self._make_files()
        self._make_detection()

    def _make_calls(self) -> None:
        make = self.families
        self._requests = make.tallies(
            "requests", "Requests answered, by status.", "dialect", "model", "status"
        )
        self._ends = make.tallies(
            "calls", f"Calls settled; ends are {', '.join(ENDS)}.", "model", "end"
        )
        self._tokens = make.tallies(
            "tokens",
            "Tokens that engines reported, or counted where a stream broke off.",
            "model",
            "direction",
        )
        self._embedders = make.tallies(
            "embedded_calls", "Calls settled, by how their answer was marked.", "embedder"
        )
        self.tickets = make.tally("tickets_signed", "Tickets signed.")
        self._dropped = make.tallies(
            "dropped_fields", "Fields that no client may send, dropped from requests.", "field"
        )
        self.open_calls = make.level(
            make.gauge("open_calls", "Calls not yet settled.", across="livesum")
        )
        self.open_streams = make.level(
            make.gauge("open_streams", "Streams that are running.", across="livesum")
        )
        self.stalled = make.level(
            make.gauge(
                "stalled_connections",
                "Connections whose client does not read what waits for it.",
                across="livesum",
            )
        )
        self.connections_dropped = make.counter(
            "connections_dropped",
            "Connections closed because there were too many for the file descriptors.",
        )

    def _make_timings(self) -> None:
        make = self.families
        self.added_seconds = make.timing(
            "added_seconds",
            "What the gateway adds: from a request's head to sending the call, less its body.",
            _OWN_SECONDS,
        )
        self.first_byte_seconds = make.timing(
            "first_byte_seconds", "From a request's head to the first byte of its answer.", _SECONDS
        )
        self.upstream_seconds = make.timing(
            "upstream_seconds", "From sending a call to the end of its answer.", _SECONDS
        )
        self.store_seconds = make.timing(
            "store_seconds", "From sending a command to the store to its reply.", _STORE_SECONDS
        )

    def _make_parts(self) -> None:
        make = self.families
        self._limiter = make.tallies(
            "limiter_decisions",
            "Decisions: admitted, refused_requests or refused_concurrency; by store, remembered "
            "(a refusal of the store that still holds) or local (the store was away).",
            "decision",
            "source",
        )
        self._store_failures = make.counter(
            "store_failures",
            "Decisions that the store did not give: deadline, lost, error or overfull.",
            "reason",
        )
        self.store_up = make.gauge(
            "store_up", "1 while the store decides, 0 while this process does.", across="livemin"
        )
        self.epoch = make.gauge(
            "epoch", "Epoch of the keys that answers are marked with.", across="livemax"
        )
        self.accounts = make.gauge("accounts", "Accounts loaded.", across="livemax")
        self.accounts_stale = make.gauge(
            "accounts_stale",
            "1 while newer accounts cannot be read and older ones are in force.",
            across="livemax",
        )
        self._reloads = make.counter(
            "accounts_reloads", "Reloads of the accounts, by result, of each worker.", "result"
        )

    def _make_upstreams(self) -> None:
        make = self.families
        self._upstream_up = make.gauge(
            "upstream_up",
            "1 while the last look found the upstream healthy.",
            "upstream",
            across="livemin",
        )
        self._upstream_outstanding = make.gauge(
            "upstream_outstanding",
            "Calls that an upstream has not answered to the end.",
            "upstream",
            across="livesum",
        )
        self._upstream_breaker = make.gauge(
            "upstream_breaker_open",
            "1 while calls are kept from an upstream that fails them.",
            "upstream",
            across="livemax",
        )
        self._upstream_retries = make.counter(
            "upstream_retries",
            "Calls and looks sent again because an upstream had not begun.",
            "upstream",
        )

    def _make_files(self) -> None:
        make = self.families
        self.registry_lines = make.counter("registry_lines", "Lines written to the call registry.")
        self.registry_lost = make.counter(
            "registry_lines_lost",
            "Lines that the call registry could not take: the disk is full or too slow.",
        )
        self.registry_failures = make.counter(
            "registry_write_failures", "Failed attempts to write the call registry."
        )
        self.registry_digests_lost = make.counter(
            "registry_digests_lost",
            "Texts that the call registry could not hold until it had their digests.",
        )
        self.log_lost = make.counter(
            "log_lines_lost", "Log lines dropped because nobody reads standard error fast enough."
        )

    def _make_detection(self) -> None:
        make = self.families
        self._detections = make.counter("detections", "Verdicts of /detect.", "verdict")
        self._detections_refused = make.counter(
            "detections_refused",
            "Requests of /detect without a verdict: rate (of one address) or down.",
            "reason",
        )
        self._detection_seconds = make.timing(
            "detection_seconds", "From a text for /detect to its verdict.", _SECONDS
        )

    def upstream(self, name: str) -> UpstreamSeries:
        """Return the series of an upstream of the configuration."""
        return UpstreamSeries(
            up=self._upstream_up.labels(name),
            outstanding=self.families.level(self._upstream_outstanding.labels(name)),
            breaker_open=self._upstream_breaker.labels(name),
            retries=self._upstream_retries.labels(name),
        )

    def answered(self, dialect: str | None, model: str | None, status: int) -> None:
        """Count an answer; anything not configured falls under "none"."""
        known_dialect = dialect if dialect and dialect in self._dialects else NONE
        known_model = model if model and model in self._models else NONE
        self._requests[known_dialect, known_model, str(status)].inc()

    def settled(
        self,
        model: str,
        embedder: str,
        end: str,
        prompt_tokens: int | None,
        completion_tokens: int | None,
    ) -> None:
        """Count a settled call and its tokens."""
        self._ends[model, end].inc()
        self._embedders[embedder,].inc()
        self._tokens[model, "in"].inc(prompt_tokens or 0)
        self._tokens[model, "out"].inc(completion_tokens or 0)

    def decided(self, decision: str, source: str) -> None:
        """Count a decision of the limiter: admitted, refused_requests, refused_concurrency."""
        self._limiter[decision, source].inc()

    def store_failed(self, reason: str) -> None:
        """Count a decision that the store did not give; reasons are those of guard/wire.py."""
        self._store_failures.labels(reason).inc()

    def dropped(self, fields: Iterable[str]) -> None:
        """Count dropped fields; their names come from a fixed set."""
        for field in fields:
            self._dropped[field,].inc()

    def reloaded(self, *, accounts: int | None) -> None:
        """Count a reload of the accounts; None means that the old ones were kept."""
        self._reloads.labels("failed" if accounts is None else "done").inc()
        if accounts is not None:
            self.accounts.set(accounts)

    def detected(self, verdict: str, seconds: float) -> None:
        """Count a verdict of /detect, of the detector's few."""
        self._detections.labels(verdict).inc()
        self._detection_seconds.observe(seconds)

    def detections_refused(self, reason: str) -> None:
        """Count a request of /detect without a verdict: `rate` or `down`."""
        self._detections_refused.labels(reason).inc()

    def publish(self) -> None:
        """Hand on what was counted since the last time; `render` does it by itself."""
        self.families.counted.publish()

    def render(self) -> bytes:
        """Return the text exposition; slow with many series, so call it off the event loop."""
        self.publish()
        return generate_latest(self.registry)
