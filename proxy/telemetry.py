"""OpenTelemetry traces: one span for each call that goes to an engine.

Names follow the GenAI semantic conventions. A span holds no prompt, answer, key or
account; its request id leads to the log, which knows both.
OpenTelemetry is an extra, and only imported where a collector is configured.

A client's `traceparent` becomes a link and not the parent: whether a call is traced is
the operator's choice, and a public client must not force it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from proxy.call import Call
from proxy.config import Telemetry, Upstream
from proxy.dialects.contract import Usage
from proxy.errors import StartError

if TYPE_CHECKING:
    from opentelemetry.trace import Link, Span

# https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/
_OPERATIONS = {
    "openai_chat": "chat",
    "openai_completions": "text_completion",
    "openai_responses": "chat",
    "openai_embeddings": "embeddings",
    "anthropic_messages": "chat",
    "anthropic_count_tokens": "count_tokens",
}
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_PATH = "/v1/traces"
_QUEUE = 8192
_BATCH = 512
_DELAY_MS = 1000
_TIMEOUT_S = 5

Address = tuple[str, int]


class Trace:
    """The span of one call."""

    def __init__(self, span: Span, addresses: Mapping[str, Address]) -> None:
        self._span = span
        self._addresses = addresses

    @property
    def traceparent(self) -> str:
        """The header that makes the engine's spans children of this one (W3C)."""
        context = self._span.get_span_context()
        sampled = context.trace_flags & 1  # version 00 knows no other flag
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{sampled:02x}"

    def end(
        self,
        *,
        upstream: str | None,
        end: str,
        status: int,
        usage: Usage | None,
        first_byte_s: float | None,
    ) -> None:
        """Close the span with how the call ended, one of metrics.ENDS."""
        span = self._span
        if span.is_recording():
            said: dict[str, str | int | float | None] = {
                "http.response.status_code": status,
                "azeotrope.end": end,
                "azeotrope.upstream": upstream,
                "azeotrope.first_byte_s": first_byte_s,
                "gen_ai.usage.input_tokens": usage.prompt_tokens if usage else None,
                "gen_ai.usage.output_tokens": usage.completion_tokens if usage else None,
            }
            if upstream is not None:
                said["server.address"], said["server.port"] = self._addresses[upstream]
            if end != "complete" or status >= 400:
                said["error.type"] = end if end != "complete" else str(status)
                _mark_failed(span)
            span.set_attributes({name: value for name, value in said.items() if value is not None})
        span.end()


class Tracer:
    """Begins the spans of calls; a thread of its own sends them to the collector."""

    def __init__(self, settings: Telemetry, upstreams: Iterable[Upstream]) -> None:
        """Raises StartError if the `otel` extra is missing."""
        assert settings.otlp_endpoint is not None
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
        except ImportError:
            raise StartError(
                "telemetry.otlp_endpoint: OpenTelemetry is not installed: "
                "run `pip install 'azeotrope[otel]'`"
            ) from None
        self._addresses = {upstream.name: _address(upstream.url) for upstream in upstreams}
        self._provider = TracerProvider(
            sampler=TraceIdRatioBased(settings.sample),
            resource=Resource.create({"service.name": settings.service_name}),
            shutdown_on_exit=False,  # `close` does it
        )
        exporter = OTLPSpanExporter(
            endpoint=_traces_url(settings.otlp_endpoint), timeout=_TIMEOUT_S
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                exporter,
                max_queue_size=_QUEUE,
                max_export_batch_size=_BATCH,
                schedule_delay_millis=_DELAY_MS,
            )
        )
        self._tracer = self._provider.get_tracer("azeotrope")

    def begin(self, call: Call, client_headers: Mapping[str, str], age_s: float) -> Trace:
        """Begin the span of a call that arrived `age_s` ago."""
        from opentelemetry.context import Context
        from opentelemetry.trace import SpanKind

        dialect, model = call.dialect.name, call.route.served
        operation = _OPERATIONS.get(dialect)
        known: dict[str, str | bool] = {
            "gen_ai.operation.name": operation or dialect,
            "gen_ai.request.model": model,
            "azeotrope.request_id": call.request_id,
            "azeotrope.embedder": call.embedder,
            "azeotrope.stream": call.question.streams,
        }
        if operation is not None:  # what is passed untouched is of no family that is known
            known["gen_ai.provider.name"] = dialect.partition("_")[0]
        span = self._tracer.start_span(
            f"{operation or dialect} {model}",
            Context(),  # the root of a trace, whatever runs in this thread
            SpanKind.CLIENT,
            known,
            _links(client_headers.get("traceparent")),
            time.time_ns() - int(age_s * 1e9),
        )
        return Trace(span, self._addresses)

    def close(self) -> None:
        """Send what is left, within the exporter's time; blocks, so call it off the loop."""
        self._provider.shutdown()


def _mark_failed(span: Span) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_status(Status(StatusCode.ERROR))


def _links(traceparent: str | None) -> list[Link]:
    from opentelemetry.trace import Link, SpanContext, TraceFlags

    found = _TRACEPARENT.fullmatch(traceparent or "")
    if found is None:
        return []
    trace, span, flags = (int(part, 16) for part in found.groups())
    context = SpanContext(trace, span, is_remote=True, trace_flags=TraceFlags(flags))
    return [Link(context)] if context.is_valid else []


def _address(url: str) -> Address:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _traces_url(endpoint: str) -> str:
    """Return the URL for traces of a collector given by its root, or by the URL itself."""
    has_path = urlsplit(endpoint).path.strip("/")
    return endpoint if has_path else endpoint.rstrip("/") + _PATH
