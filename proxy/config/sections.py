"""The sections of the configuration that are not about upstreams."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from proxy.config.kinds import (
    File,
    Host,
    Nats,
    Port,
    PositiveInt,
    RedisUrl,
    Seconds,
    Section,
    Switch,
    Text,
    expects,
)


class Listen(Section):
    """Where clients connect."""

    host: Host = Field(default="127.0.0.1", description="Address to listen on.")
    port: Port = Field(default=8080, description="Port to listen on; 0 takes a free one.")


class Admin(Section):
    """Where operators connect: metrics, health, readiness. Never expose it to clients."""

    host: Host = Field(default="127.0.0.1", description="Address to listen on.")
    port: Port = Field(default=9090, description="Port to listen on; 0 takes a free one.")


class RedisStore(Section):
    """Shared state of the limits. Without a URL an embedded Valkey is started."""

    url: RedisUrl | None = Field(
        default=None,
        description="redis://, rediss:// or unix:// URL; null starts an embedded Valkey.",
    )
    deadline_ms: PositiveInt = Field(
        default=50, description="Longest wait for a decision; then the local limiter takes over."
    )
    probe_interval_ms: PositiveInt = Field(
        default=500, description="While the store is away: pause between attempts to reach it."
    )


class Tier(Section):
    """The limits of the accounts of one tier."""

    requests_per_minute: PositiveInt = Field(description="Sustained rate of one account.")
    burst: PositiveInt | None = Field(
        default=None,
        description="Requests that may come at once; null means requests_per_minute.",
    )

    concurrent_calls: PositiveInt | None = Field(
        default=None, description="Calls of one account that may run at once; null sets no limit."
    )

    @model_validator(mode="after")
    def _burst_fits(self) -> Tier:
        if self.burst is not None and self.burst > self.requests_per_minute:
            raise PydanticCustomError(
                "expected", "expected a burst of at most requests_per_minute", {}
            )
        return self


class Mark(Section):
    """The mark that answers get."""

    delta: Nats | None = Field(
        default=None,
        description="Bias of green tokens in nats; null takes the manifest's, lower is refused.",
    )
    ticket_ttl_s: PositiveInt = Field(
        default=600, description="Seconds in which the engine must have begun with a call."
    )


class Limits(Section):
    """Sizes and times that protect the gateway itself."""

    max_body_bytes: PositiveInt = Field(
        default=8 * 2**20,
        description="Largest request body (413); a body is read and parsed as a whole.",
    )
    max_answer_bytes: PositiveInt = Field(
        default=64 * 2**20, description="Largest answer that is not streamed (502)."
    )
    header_timeout_s: Seconds = Field(
        default=75.0,
        description="For a request's head, also on a connection kept alive: then it closes.",
    )
    body_timeout_s: Seconds = Field(default=60.0, description="For a request's body (408).")
    write_timeout_s: Seconds = Field(
        default=60.0, description="For a client to read something of its answer: then it is cut."
    )
    drain_timeout_s: Seconds = Field(
        default=120.0, description="After SIGTERM: how long running answers may still take."
    )


class Log(Section):
    """What the gateway writes to standard error. Never keys, prompts or answers."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        expects("one of debug, info, warning, error"),
    ] = Field(default="info", description="Least severe level that is written.")
    format: Annotated[Literal["json", "text"], expects("json or text")] = Field(
        default="json", description="One JSON object a line, or plain text for a terminal."
    )


class Registry(Section):
    """Which call was whose: what `azeotrope detect` and `azeotrope trace` name calls from."""

    path: File = Field(
        description="File that is appended to (mode 0600); closed segments stand beside it."
    )
    format: Annotated[Literal["jsonl", "parquet"], expects("jsonl or parquet")] = Field(
        default="jsonl", description="Format of closed segments; the open one is JSON lines."
    )
    rotate_bytes: PositiveInt | None = Field(
        default=256 * 2**20, description="Size at which a segment is closed; null never."
    )
    rotate_s: Seconds | None = Field(
        default=None, description="Age at which a segment is closed; null never."
    )
    digest: Switch = Field(
        default=False,
        description="Keep a keyed digest of every answer's text, to find an exact copy.",
    )


class Provenance(Section):
    """What answers say of their mark, in headers that anyone can verify."""

    headers: Switch = Field(
        default=True, description="Say in `azeotrope-mark` what an answer carries."
    )
    sign: Switch = Field(
        default=True, description="Sign those headers (RFC 9421, Ed25519, the manifest's key)."
    )


class Detection(Section):
    """A public endpoint, POST /detect, that tells whether a text carries the site's mark."""

    enabled: Switch = Field(default=False, description="Open it; needs the `detect` extra.")
    tokenizer: File | None = Field(
        default=None, description="Directory or file of the marked model's tokenizer."
    )
    requests_per_minute: PositiveInt = Field(default=10, description="For one client address.")
    max_characters: PositiveInt = Field(default=50_000, description="Longest text (413).")
    timeout_s: Seconds = Field(default=10.0, description="Longest time for one text (503).")


class Telemetry(Section):
    """OpenTelemetry traces, with the GenAI conventions; needs the `otel` extra."""

    otlp_endpoint: Text | None = Field(
        default=None, description="URL of a collector (OTLP over HTTP); null sends nothing."
    )
    sample: Annotated[float, Field(ge=0, le=1), expects("a number from 0 to 1")] = Field(
        default=1.0, description="Share of the calls that are traced."
    )
    service_name: Text = Field(default="azeotrope", description="Name of this service.")
