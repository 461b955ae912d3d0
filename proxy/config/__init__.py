"""The configuration: its schema, how it is read, and how its mistakes are told."""

from proxy.config.root import Config, load, parse, read
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
from proxy.config.upstreams import (
    Breaker,
    Health,
    Model,
    Passthrough,
    Timeouts,
    Tls,
    Upstream,
    upstream_key,
)

__all__ = [
    "Admin",
    "Breaker",
    "Config",
    "Detection",
    "Health",
    "Limits",
    "Listen",
    "Log",
    "Mark",
    "Model",
    "Passthrough",
    "Provenance",
    "RedisStore",
    "Registry",
    "Telemetry",
    "Tier",
    "Timeouts",
    "Tls",
    "Upstream",
    "load",
    "parse",
    "read",
    "upstream_key",
]
