"""The configuration: one YAML file, one schema.

Environment variables override the file: AZEOTROPE_LISTEN__PORT=8081 sets
`listen.port`. Relative paths are relative to the file. Unknown keys are refused.
docs/reference-config.md is generated from this module.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from proxy.config.errors import ENV_DELIMITER, ENV_PREFIX, describe
from proxy.config.kinds import AccountsPlace, File, PositiveInt, Text
from proxy.config.sections import (
    Admin,
    Detection,
    Limits,
    Listen,
    Log,
    Mark,
    Provenance,
    RedisStore,
    Registry,
    Telemetry,
    Tier,
)
from proxy.config.upstreams import Model, Passthrough, Upstream
from proxy.errors import ConfigError


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
    workers: PositiveInt = Field(
        default=1, description="Processes that serve clients; --workers overrides it."
    )
    keyring: File = Field(description="Keyring made by `azeotrope keys new` (mode 0600).")
    manifest: File = Field(description="The signed manifest that belongs to the keyring.")
    accounts: AccountsPlace = Field(
        description="Accounts file, written by `azeotrope accounts`; the word redis keeps them at "
        "redis.url, for several gateways."
    )
    registry: Registry | None = Field(
        default=None,
        description="Call registry; a path alone means the defaults, null keeps none.",
    )
    redis: RedisStore = Field(default_factory=RedisStore, description="Shared state.")
    tiers: dict[Text, Tier] = Field(min_length=1, description="Limits by tier name.")
    upstreams: list[Upstream] = Field(min_length=1, description="The engines.")
    models: dict[Text, Model] = Field(
        default_factory=dict, description="Settings by served model; those not named take defaults."
    )
    passthrough: list[Passthrough] = Field(
        default_factory=list, description="Paths that are passed on untouched."
    )
    mark: Mark = Field(default_factory=Mark, description="The mark that answers get.")
    provenance: Provenance = Field(
        default_factory=Provenance, description="What answers say of their mark."
    )
    detection: Detection = Field(
        default_factory=Detection, description="The public detection endpoint."
    )
    telemetry: Telemetry = Field(default_factory=Telemetry, description="OpenTelemetry traces.")
    limits: Limits = Field(default_factory=Limits, description="Sizes and times.")
    log: Log = Field(default_factory=Log, description="The log on standard error.")

    @property
    def served(self) -> frozenset[str]:
        """The models that clients may name."""
        return frozenset(model for upstream in self.upstreams for model in upstream.models)

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

    @field_validator("registry", mode="before")
    @classmethod
    def _path_alone(cls, value: object) -> object:
        return {"path": value} if isinstance(value, str | Path) else value

    @model_validator(mode="after")
    def _names_fit(self) -> Config:
        if self.accounts == "redis" and self.redis.url is None:
            raise _mistake("redis.url: expected a URL, since accounts are in redis")
        names = [upstream.name for upstream in self.upstreams]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise _mistake("upstreams: expected every name once, got {0} twice", repeated[0])
        for model in self.models:
            if model not in self.served:
                raise _mistake("models.{0}: expected a model that an upstream serves", model)
        for place, route in enumerate(self.passthrough):
            if route.upstream not in names:
                where = f"passthrough[{place}].upstream"
                raise _mistake(
                    "{0}: expected the name of an upstream, got {1}", where, route.upstream
                )
        return self


def _mistake(template: str, *values: str) -> PydanticCustomError:
    return PydanticCustomError("expected", "{text}", {"text": template.format(*values)})


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
    return parse(path, read(path))


def read(path: Path) -> str:
    """Return the text of a configuration file; raises ConfigError."""
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such configuration file; `azeotrope config example` prints one"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: expected UTF-8 text") from None


def parse(path: Path, text: str) -> Config:
    """Check and resolve the text of the configuration file `path`; raises ConfigError."""
    content = _content(path, text)
    try:
        config = Config(**content)
    except ValidationError as error:
        raise ConfigError(describe(str(path), error, Config)) from None
    except SettingsError as error:
        raise ConfigError(f"environment: {error}: expected JSON") from None
    return _resolved(config, path.parent)


def _content(path: Path, text: str) -> dict[str, Any]:
    try:
        content = yaml.load(text, _Loader)  # noqa: S506 (a SafeLoader)
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
    paths: dict[str, object] = {
        name: resolve(getattr(config, name)) for name in ("keyring", "manifest")
    }
    if isinstance(config.accounts, Path):
        paths["accounts"] = resolve(config.accounts)
    if config.registry is not None:
        file = resolve(config.registry.path)
        paths["registry"] = config.registry.model_copy(update={"path": file})
    tokenizer = resolve(config.detection.tokenizer)
    paths["detection"] = config.detection.model_copy(update={"tokenizer": tokenizer})
    paths["upstreams"] = [_resolved_upstream(upstream, resolve) for upstream in config.upstreams]
    return config.model_copy(update=paths)


def _resolved_upstream(
    upstream: Upstream, resolve: Callable[[Path | None], Path | None]
) -> Upstream:
    files = ("ca_file", "client_cert_file", "client_key_file")
    tls = upstream.tls.model_copy(
        update={name: resolve(getattr(upstream.tls, name)) for name in files}
    )
    key = resolve(upstream.api_key_file)
    return upstream.model_copy(update={"api_key_file": key, "tls": tls})
