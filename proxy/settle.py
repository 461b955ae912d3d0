"""Settling a call: tokens, registry, metrics and log, exactly once, whatever happened."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from types import TracebackType

from proxy import logs
from proxy.call import Call
from proxy.dialects.contract import Reading, Usage
from proxy.downstream.exchange import Exchange
from proxy.errors import CallError, Kind
from proxy.metrics import Metrics
from proxy.registry import CallRegistry, Entry
from proxy.telemetry import Trace, Tracer

_log = logging.getLogger(__name__)
_CLIENT_CLOSED = 499  # as nginx logs it: no status ever reached the client
_UPSTREAM = frozenset({Kind.UPSTREAM_BROKEN, Kind.UPSTREAM_UNREACHABLE})


class Settler:
    """Opens the settlements of calls; knows where they are recorded."""

    def __init__(
        self,
        registry: CallRegistry | None,
        metrics: Metrics,
        epoch: int,
        tracer: Tracer | None = None,
    ) -> None:
        self.draining_is_over = False
        self.metrics = metrics
        self.tracer = tracer
        self.wants_texts = registry is not None and registry.digests
        self._registry = registry
        self._epoch = epoch

    def open(self, call: Call, exchange: Exchange) -> Settlement:
        """Begin with a call: use the result in a `with` around all that is done for it."""
        return Settlement(self, call, exchange)

    def end_of(self, error: BaseException | None) -> str:
        """Name how a call ended, one of metrics.ENDS."""
        if error is None:
            return "complete"
        if isinstance(error, asyncio.CancelledError):
            return "drained" if self.draining_is_over else "client_closed"
        if isinstance(error, ConnectionError):
            return "client_closed"  # of our writing; an upstream's is a CallError by now
        if isinstance(error, CallError) and error.kind in _UPSTREAM:
            return "upstream_error"
        if isinstance(error, CallError) and error.kind is Kind.UPSTREAM_TIMEOUT:
            return "upstream_timeout"
        return "internal_error"

    def record(self, settlement: Settlement, end: str, status: int) -> None:
        """Write a finished call everywhere."""
        call, usage = settlement.call, settlement.usage or Usage()
        prompt, completion = usage.prompt_tokens, usage.completion_tokens
        self.metrics.settled(call.route.served, call.embedder, end, prompt, completion)
        if self._registry is not None:
            entry = Entry(
                call=call.number,
                account=call.account.number,
                name=call.account.name,
                time=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                model=call.route.served,
                dialect=call.dialect.name,
                prompt_tokens=prompt,
                completion_tokens=completion,
                status=status,
                end=end,
                epoch=self._epoch,
                embedder=call.embedder,
                usage_source=usage.source if completion is not None else None,
                upstream=settlement.upstream,
            )
            self._registry.append(entry, settlement.texts)


class Settlement:
    """One call's account of itself, filled in along the way, closed at the end."""

    def __init__(self, settler: Settler, call: Call, exchange: Exchange) -> None:
        self.call = call
        self.reading: Reading | None = None
        self.upstream: str | None = None  # the name of the one that answers
        self.wants_texts = settler.wants_texts and call.dialect.marked
        self._settler = settler
        self._exchange = exchange
        self._sent: float | None = None
        self._trace: Trace | None = None

    def __enter__(self) -> Settlement:
        tracer, exchange = self._settler.tracer, self._exchange
        if tracer is not None:
            age_s = time.perf_counter() - exchange.received
            self._trace = tracer.begin(self.call, exchange.headers, age_s)
        self._settler.metrics.open_calls.inc()  # last: nothing may fail once it is counted
        return self

    @property
    def traceparent(self) -> str | None:
        """Header for the engine, None where calls are not traced."""
        return None if self._trace is None else self._trace.traceparent

    @property
    def usage(self) -> Usage | None:
        """Tokens, as far as they are known."""
        return None if self.reading is None else self.reading.usage

    @property
    def texts(self) -> list[str]:
        """Texts of the answer, as far as they came; empty where nobody wants them."""
        return self.reading.text() if self.reading is not None and self.wants_texts else []

    def sending(self) -> None:
        """Note that the call now goes to the engine."""
        self._sent = time.perf_counter()
        exchange = self._exchange
        added = self._sent - exchange.received - exchange.body_seconds
        self._settler.metrics.added_seconds.observe(added)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        now = time.perf_counter()
        metrics = self._settler.metrics
        metrics.open_calls.dec()
        if self._sent is not None:
            metrics.upstream_seconds.observe(now - self._sent)
        if self._exchange.first_byte is not None:
            metrics.first_byte_seconds.observe(self._exchange.first_byte - self._exchange.received)
        end, status = self._settler.end_of(error), self._status(error)
        self._settler.record(self, end, status)
        self._write_log(error, end, status, now)
        if self._trace is not None:
            self._end_trace(self._trace, end, status)

    def _end_trace(self, trace: Trace, end: str, status: int) -> None:
        first, begun = self._exchange.first_byte, self._exchange.received
        trace.end(
            upstream=self.upstream,
            end=end,
            status=status,
            usage=self.usage,
            first_byte_s=None if first is None else first - begun,
        )

    def _status(self, error: BaseException | None) -> int:
        if self._exchange.status is not None:
            return self._exchange.status
        if isinstance(error, CallError):
            return self.call.dialect.speaker.error(error, "").status
        if error is None or not isinstance(error, asyncio.CancelledError | ConnectionError):
            return 500
        return _CLIENT_CLOSED

    def _write_log(self, error: BaseException | None, end: str, status: int, now: float) -> None:
        call, exchange, usage = self.call, self._exchange, self.usage
        begun, first, sent = exchange.received, exchange.first_byte, self._sent
        fields = {
            "request_id": call.request_id,
            "call": call.number,
            "account": call.account.number,
            "dialect": call.dialect.name,
            "model": call.route.served,
            "upstream": self.upstream,
            "status": status,
            "end": end,
            "prompt_tokens": usage and usage.prompt_tokens,
            "completion_tokens": usage and usage.completion_tokens,
            "usage_source": usage and usage.source,
            "total_ms": _ms(now - begun),
            "upstream_ms": None if sent is None else _ms(now - sent),
            "first_byte_ms": None if first is None else _ms(first - begun),
            "dropped_fields": list(call.question.dropped),
            "detail": error.detail if isinstance(error, CallError) else None,
        }
        logs.event(_log, "call", fields)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
