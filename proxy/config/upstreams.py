"""The engines behind the gateway, the models that they serve, and routes passed untouched."""

from __future__ import annotations

import os
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from proxy.config.kinds import (
    File,
    Nats,
    PositiveInt,
    Seconds,
    Section,
    Text,
    UpstreamUrl,
    UrlPath,
    expects,
)
from proxy.errors import ConfigError

# The dialects' names, in the order of proxy/dialects: configuration must not import those.
DialectName = Annotated[
    Literal[
        "openai_chat",
        "openai_completions",
        "openai_responses",
        "openai_embeddings",
        "anthropic_messages",
        "anthropic_count_tokens",
    ],
    expects(
        "one of openai_chat, openai_completions, openai_responses, openai_embeddings, "
        "anthropic_messages, anthropic_count_tokens"
    ),
]


class Timeouts(Section):
    """How long an upstream may take."""

    connect: Seconds = Field(default=5.0, description="Until the connection stands.")
    first_byte: Seconds = Field(default=300.0, description="From the request to the answer's head.")
    idle: Seconds = Field(default=60.0, description="Between two pieces of an answer's body.")
    total: Seconds = Field(default=3600.0, description="For the whole call.")


class Tls(Section):
    """TLS to an upstream with an https:// URL. Certificates are always verified."""

    ca_file: File | None = Field(
        default=None, description="Certificates to trust, PEM; null takes the system's."
    )
    client_cert_file: File | None = Field(
        default=None, description="Certificate to show to the upstream, PEM."
    )
    client_key_file: File | None = Field(default=None, description="Its private key, PEM.")
    server_name: Text | None = Field(
        default=None, description="Name to expect in the certificate; null takes the URL's."
    )

    @model_validator(mode="after")
    def _both_or_none(self) -> Tls:
        if (self.client_cert_file is None) != (self.client_key_file is None):
            raise PydanticCustomError(
                "expected", "expected client_cert_file and client_key_file together", {}
            )
        return self


class Health(Section):
    """How an upstream is watched. One that fails gets no calls while another serves the model."""

    path: UrlPath | None = Field(
        default="/v1/models",
        description="Asked for with GET; a status below 500 is healthy. null asks nothing.",
    )
    interval_s: Seconds = Field(default=5.0, description="Between two looks.")
    timeout_s: Seconds = Field(default=2.0, description="Longest wait for one look.")


class Breaker(Section):
    """When calls themselves show that an upstream is down."""

    failures: PositiveInt = Field(
        default=5, description="Failed calls in a row that open the breaker."
    )
    open_s: Seconds = Field(
        default=5.0, description="While open: until one call may try the upstream again."
    )


class Upstream(Section):
    """One engine behind the gateway; of several for one model the least busy gets a call."""

    name: Text = Field(description="Name in metrics, logs and readiness.")
    url: UpstreamUrl = Field(
        description="Root of the engine's API; the request's own path (/v1/…) is appended."
    )
    models: dict[Text, Text] = Field(
        min_length=1, description="Model name that clients use: name that the engine knows."
    )
    api_key_env: Text | None = Field(
        default=None, description="Environment variable that holds the engine's API key."
    )
    api_key_file: File | None = Field(
        default=None, description="File that holds the engine's API key."
    )
    auth: Annotated[Literal["bearer", "x-api-key"], expects("bearer or x-api-key")] = Field(
        default="bearer",
        description="How the key is sent: `Authorization: Bearer`, or as Anthropic's API has it.",
    )
    dialects: list[DialectName] | None = Field(
        default=None, description="What the engine speaks; null means every dialect."
    )
    max_outstanding: PositiveInt | None = Field(
        default=None,
        description="Calls at once; beyond it the model answers 503 unless another one serves it.",
    )
    tls: Tls = Field(default_factory=Tls, description="See upstreams[].tls.")
    health: Health = Field(default_factory=Health, description="See upstreams[].health.")
    breaker: Breaker = Field(default_factory=Breaker, description="See upstreams[].breaker.")
    timeouts: Timeouts = Field(default_factory=Timeouts, description="See upstreams[].timeouts.")

    @model_validator(mode="after")
    def _one_key_source(self) -> Upstream:
        if self.api_key_env is not None and self.api_key_file is not None:
            raise PydanticCustomError(
                "expected", "expected api_key_env or api_key_file, not both", {}
            )
        return self


class Model(Section):
    """Settings of one served model, whichever upstream answers."""

    embedder: Annotated[Literal["engine", "none"], expects("engine or none")] = Field(
        default="engine",
        description="engine: the upstream runs our plugin and gets a ticket; none: nothing of ours "
        "is sent (for APIs that refuse unknown fields), and answers carry no mark.",
    )
    delta: Nats | None = Field(
        default=None, description="As mark.delta, for this model; null takes that one."
    )
    max_body_bytes: PositiveInt | None = Field(
        default=None, description="Largest request body (413); null takes limits.max_body_bytes."
    )
    max_output_tokens: PositiveInt | None = Field(
        default=None, description="Most output tokens that a request may ask for (400)."
    )


class Passthrough(Section):
    """A path that is passed on untouched, for authenticated accounts: no mark, no usage."""

    path: UrlPath = Field(description="The exact path, here and at the upstream.")
    upstream: Text = Field(description="Name of an upstream.")
    methods: list[Annotated[Literal["GET", "POST", "DELETE"], expects("GET, POST or DELETE")]] = (
        Field(default=["POST"], min_length=1, description="Methods that may be used.")
    )


def upstream_key(path: str, upstream: Upstream) -> str | None:
    """Return the API key for an upstream, if one is configured; raises ConfigError.

    `path` is the key's place in the configuration, for the error.
    """
    if upstream.api_key_env is not None:
        key = os.environ.get(upstream.api_key_env, "").strip()
        source = f"{path}.api_key_env: the environment variable {upstream.api_key_env}"
    elif upstream.api_key_file is not None:
        source = f"{path}.api_key_file: {upstream.api_key_file}"
        try:
            key = upstream.api_key_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise ConfigError(f"{source} cannot be read") from None
    else:
        return None
    if not key or not key.isascii() or not key.isprintable():
        raise ConfigError(f"{source}: expected an API key, got nothing usable")
    return key
