"""Traces reach a collector, say what they should and nothing that they must not."""

from __future__ import annotations

import asyncio
import gzip
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from fake_upstream import FakeUpstream
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from running import Start, question

from proxy.config import Telemetry
from proxy.errors import StartError
from proxy.telemetry import Tracer

GOOD = (
    b'{"choices":[{"message":{"content":"zebra"}}],'
    b'"usage":{"prompt_tokens":3,"completion_tokens":4}}'
)
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Collector:
    """Receives spans over OTLP/HTTP."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.bodies = b""
        self.services: set[str] = set()
        self.url = ""

    async def receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.bodies += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.services |= {
                each.value.string_value
                for each in resource.resource.attributes
                if each.key == "service.name"
            }
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        return web.Response(body=b"", content_type="application/x-protobuf")


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    received = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", received.receive)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    received.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield received
    await runner.cleanup()


def attributes(span: Span) -> dict[str, Any]:
    return {
        each.key: getattr(each.value, str(each.value.WhichOneof("value")))
        for each in span.attributes
    }


async def test_a_call_becomes_a_span_without_prompt_answer_or_key(
    start: Start, upstream: FakeUpstream, collector: Collector
) -> None:
    gateway = await start(telemetry={"otlp_endpoint": collector.url, "service_name": "gate"})
    upstream.answers_whole(GOOD)
    messages = [{"role": "user", "content": "xylophone"}]
    async with gateway.chat(question(messages=messages)) as response:
        assert await response.read() == GOOD
        request_id = response.headers["x-request-id"]
    await gateway.stop()

    (span,) = collector.spans
    said = attributes(span)
    host, port = upstream.url.removeprefix("http://").split(":")
    assert (span.name, span.kind, span.parent_span_id) == ("chat m", Span.SPAN_KIND_CLIENT, b"")
    assert said.pop("azeotrope.first_byte_s") > 0
    assert said == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m",
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 4,
        "http.response.status_code": 200,
        "server.address": host,
        "server.port": int(port),
        "azeotrope.request_id": request_id,
        "azeotrope.embedder": "engine",
        "azeotrope.stream": False,
        "azeotrope.end": "complete",
        "azeotrope.upstream": "fake",
    }
    assert span.status.code == Status.STATUS_CODE_UNSET
    assert 0 < span.end_time_unix_nano - span.start_time_unix_nano < 60e9
    assert collector.services == {"gate"}
    for secret in (gateway.site.key, "xylophone", "zebra", "alice"):
        assert secret.encode() not in collector.bodies


async def test_the_engine_continues_our_trace_and_the_clients_is_a_link(
    start: Start, upstream: FakeUpstream, collector: Collector
) -> None:
    gateway = await start(telemetry={"otlp_endpoint": f"{collector.url}/v1/traces"})
    upstream.answers_whole(GOOD)
    for header in (TRACEPARENT, "00-" + "0" * 32 + "-00f067aa0ba902b7-01", "x" * 1000):
        gateway.http.headers["traceparent"] = header
        async with gateway.chat() as response:
            await response.read()
    await gateway.stop()

    linked = [[link.trace_id.hex() for link in span.links] for span in collector.spans]
    assert linked == [["4bf92f3577b34da6a3ce929d0e0e4736"], [], []]
    for span, received in zip(collector.spans, upstream.received[-3:], strict=True):
        assert received.headers["traceparent"] == (
            f"00-{span.trace_id.hex()}-{span.span_id.hex()}-01"
        )


async def test_a_failed_call_is_a_failed_span(
    start: Start, upstream: FakeUpstream, collector: Collector
) -> None:
    gateway = await start(telemetry={"otlp_endpoint": collector.url})
    upstream.answers(_break_off)
    async with gateway.chat() as response:
        assert response.status == 502
    await gateway.stop()

    (span,) = collector.spans
    said = attributes(span)
    assert (said["error.type"], said["azeotrope.end"]) == ("upstream_error", "upstream_error")
    assert span.status.code == Status.STATUS_CODE_ERROR


async def test_a_share_of_the_calls_can_be_traced(
    start: Start, upstream: FakeUpstream, collector: Collector
) -> None:
    gateway = await start(telemetry={"otlp_endpoint": collector.url, "sample": 0})
    upstream.answers_whole(GOOD)
    gateway.http.headers["traceparent"] = TRACEPARENT
    async with gateway.chat() as response:
        await response.read()
    await gateway.stop()

    assert collector.spans == []
    assert upstream.received[-1].headers["traceparent"].endswith("-00")


async def test_a_collector_that_is_down_disturbs_no_call(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start(telemetry={"otlp_endpoint": "http://127.0.0.1:9"})
    upstream.answers_whole(GOOD)
    for _ in range(3):
        async with gateway.chat() as response:
            assert (response.status, await response.read()) == (200, GOOD)
    async with asyncio.timeout(30):
        lines = await gateway.stop()
    assert [line["end"] for line in lines] == ["complete"] * 3


async def test_without_a_collector_a_traceparent_of_a_client_goes_nowhere(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    upstream.answers_whole(GOOD)
    gateway.http.headers["traceparent"] = TRACEPARENT
    async with gateway.chat() as response:
        await response.read()
    assert "traceparent" not in upstream.received[-1].headers


def test_the_gateway_needs_no_opentelemetry() -> None:
    code = "import sys; sys.modules['opentelemetry'] = None; import proxy.workers.worker"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_extra_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(StartError, match=r"azeotrope\[otel\]"):
        Tracer(Telemetry(otlp_endpoint="http://127.0.0.1:4318"), [])


async def _break_off(conversation: Any) -> None:
    await conversation.head(content_type="application/json", content_length="100")
    await conversation.send(b"{")
    conversation.reset()


async def test_a_call_of_a_path_passed_untouched_is_a_span_too(
    start: Start, upstream: FakeUpstream, collector: Collector
) -> None:
    images = "/v1/images/generations"
    gateway = await start(
        telemetry={"otlp_endpoint": collector.url},
        passthrough=[{"path": images, "upstream": "fake"}],
    )
    upstream.answers_whole(b"{}")
    url, headers = gateway.url + images, gateway.headers()
    async with gateway.http.post(url, data=b"x", headers=headers) as response:
        assert response.status == 200
    await gateway.stop()

    (span,) = collector.spans
    said = attributes(span)
    assert span.name == f"passthrough {images}"
    assert (said["gen_ai.operation.name"], said["gen_ai.request.model"]) == ("passthrough", images)
    assert "gen_ai.provider.name" not in said
