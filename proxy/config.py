"""The configuration: one YAML file, one schema.

Environment variables override the file: AZEOTROPE_LISTEN__PORT=8081 sets
`listen.port`. Relative paths are relative to the file. Unknown keys are refused.
docs/reference-config.md is generated from this module.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from proxy.config_errors import ENV_DELIMITER, ENV_PREFIX, describe
from proxy.errors import ConfigError


def _expects(what: str) -> WrapValidator:
    """Make every failure of a type say `what` it wants, in the user's words."""

    def check(value: object, handler: ValidatorFunctionWrapHandler) -> object:
        # YAML's `yes` is a boolean, and a boolean is an integer to pydantic: never meant.
        if not isinstance(value, bool):
            try:
                return handler(value)
            except ValidationError:
                pass
        raise PydanticCustomError("expected", "expected {what}", {"what": what})

    return WrapValidator(check)


def _upstream_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError
    if parts.path.rstrip("/").endswith("/v1"):
        raise ValueError
    return value.rstrip("/")


def _redis_url(value: SecretStr) -> SecretStr:
    parts = urlsplit(value.get_secret_value())
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError
    return value


PositiveInt = Annotated[int, Field(gt=0), _expects("a positive integer")]
# A ticket carries the bias in thousandths of a nat, in 16 bits.
Nats = Annotated[float, Field(gt=0, le=65.535), _expects("a positive number of nats")]
Seconds = Annotated[float, Field(gt=0), _expects("a positive number of seconds")]
Port = Annotated[int, Field(ge=0, le=65535), _expects("a port number from 0 to 65535")]
Host = Annotated[str, Field(min_length=1), _expects("a host name or address")]
File = Annotated[Path, _expects("the path of a file")]
Text = Annotated[str, Field(min_length=1), _expects("a non-empty text")]
UpstreamUrl = Annotated[
    str,
    AfterValidator(_upstream_url),
    _expects("an http:// or https:// URL without user, query or the trailing /v1"),
]
RedisUrl = Annotated[
    SecretStr,
    AfterValidator(_redis_url),
    _expects("a redis://, rediss:// or unix:// URL"),
]


class Section(BaseModel):
    """A part of the configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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
    max_connections: PositiveInt = Field(
        default=64, description="Connections to the store at most."
    )


class Tier(Section):
    """The limits of the accounts of one tier."""

    requests_per_minute: PositiveInt = Field(description="Sustained rate of one account.")
    burst: PositiveInt | None = Field(
        default=None,
        description="Requests that may come at once; null means requests_per_minute.",
    )

    @model_validator(mode="after")
    def _burst_fits(self) -> Tier:
        if self.burst is not None and self.burst > self.requests_per_minute:
            raise PydanticCustomError(
                "expected", "expected a burst of at most requests_per_minute", {}
            )
        return self


class Timeouts(Section):
    """How long an upstream may take."""

    connect: Seconds = Field(default=5.0, description="Until the connection stands.")
    first_byte: Seconds = Field(default=300.0, description="From the request to the answer's head.")
    idle: Seconds = Field(default=60.0, description="Between two pieces of an answer's body.")
    total: Seconds = Field(default=3600.0, description="For the whole call.")


class Upstream(Section):
    """One engine behind the gateway."""

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
    timeouts: Timeouts = Field(default_factory=Timeouts, description="See upstreams[].timeouts.")

    @model_validator(mode="after")
    def _one_key_source(self) -> Upstream:
        if self.api_key_env is not None and self.api_key_file is not None:
            raise PydanticCustomError(
                "expected", "expected api_key_env or api_key_file, not both", {}
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
        default=20 * 2**20, description="Largest request body (413)."
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
        _expects("one of debug, info, warning, error"),
    ] = Field(default="info", description="Least severe level that is written.")
    format: Annotated[Literal["json", "text"], _expects("json or text")] = Field(
        default="json", description="One JSON object a line, or plain text for a terminal."
    )


class Config(BaseSettings):
    """Everything `azeotrope serve` can be told."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_DELIMITER,
        title="azeotrope.yaml",
    )

    listen: Listen = Field(default_factory=Listen, description="Where clients connect.")
    admin: Admin = Field(default_factory=Admin, description="Where operators connect.")
    keyring: File = Field(description="Keyring made by `azeotrope keys new` (mode 0600).")
    manifest: File = Field(description="The signed manifest that belongs to the keyring.")
    accounts: File = Field(description="Accounts file, written by `azeotrope accounts add`.")
    registry: File | None = Field(
        default=None, description="Call registry (JSON lines, mode 0600); null keeps none."
    )
    redis: RedisStore = Field(default_factory=RedisStore, description="Shared state.")
    tiers: dict[Text, Tier] = Field(min_length=1, description="Limits by tier name.")
    upstreams: list[Upstream] = Field(min_length=1, description="The engines.")
    mark: Mark = Field(default_factory=Mark, description="The mark that answers get.")
    limits: Limits = Field(default_factory=Limits, description="Sizes and times.")
    log: Log = Field(default_factory=Log, description="The log on standard error.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment override the file, whose content comes in as arguments."""
        return env_settings, init_settings

    @model_validator(mode="after")
    def _names_are_unique(self) -> Config:
        names = [upstream.name for upstream in self.upstreams]
        models = [model for upstream in self.upstreams for model in upstream.models]
        for what, values in (("name", names), ("model", models)):
            repeated = sorted({value for value in values if values.count(value) > 1})
            if repeated:
                raise PydanticCustomError(
                    "expected",
                    "upstreams: expected every {what} once, got {value} twice",
                    {"what": what, "value": repeated[0]},
                )
        return self


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice: PyYAML silently takes the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping; raises ConstructorError at a repeated key."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def load(path: Path) -> Config:
    """Read, check and resolve a configuration file; raises ConfigError."""
    content = _read(path)
    try:
        config = Config(**content)
    except ValidationError as error:
        raise ConfigError(describe(str(path), error, Config)) from None
    except SettingsError as error:
        raise ConfigError(f"environment: {error}: expected JSON") from None
    return _resolved(config, path.parent)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text("utf-8"), _Loader)  # noqa: S506 (a SafeLoader)
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such configuration file; `azeotrope config example` prints one"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: expected UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}: line {line}: {error.problem or 'not valid YAML'}") from None
    except yaml.YAMLError:
        raise ConfigError(f"{path}: not valid YAML") from None
    if content is None:
        content = {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(f"{path}: expected a mapping of sections")
    return content


def _resolved(config: Config, base: Path) -> Config:
    """Make relative paths relative to the configuration file."""
    resolve: Callable[[Path | None], Path | None] = lambda file: file and base / file  # noqa: E731
    upstreams = [
        upstream.model_copy(update={"api_key_file": resolve(upstream.api_key_file)})
        for upstream in config.upstreams
    ]
    paths = {
        name: resolve(getattr(config, name))
        for name in ("keyring", "manifest", "accounts", "registry")
    }
    return config.model_copy(update={**paths, "upstreams": upstreams})


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
