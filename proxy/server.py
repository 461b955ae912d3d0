"""Composition: builds the gateway from its configuration, and takes it down again.

This is the only module that knows every part. Order of the way up: files that may be
wrong, state, engines, ports; the way down is the reverse, after the drain.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from proxy import passthrough
from proxy.admin.api import AdminPort
from proxy.call import Policy, Treatment
from proxy.config import Config, upstream_key
from proxy.detection import DETECT, Detection, DetectorProcess
from proxy.detection.process import setup_of
from proxy.dialects import DIALECTS
from proxy.downstream.acceptor import bind
from proxy.downstream.listener import Listener
from proxy.embedders.engine import EngineEmbedder
from proxy.endpoints import MODELS, Endpoints
from proxy.errors import ConfigError
from proxy.guard.address import Address
from proxy.guard.embedded import EmbeddedValkey
from proxy.guard.gcra import LocalLimiter
from proxy.guard.limits import RateGuard
from proxy.guard.store import Store
from proxy.metrics import Metrics
from proxy.pipeline import Pipeline
from proxy.provenance import WELL_KNOWN, Provenance, description
from proxy.registry import CallRegistry
from proxy.relay import Relay
from proxy.reload import watched_accounts
from proxy.settle import Settler
from proxy.telemetry import Tracer
from proxy.upstream import Endpoint, Watcher, routes_of, tls_context
from watermark.copies import digest_key
from watermark.keys import Keyring
from watermark.manifest import Manifest

_log = logging.getLogger(__name__)
# A worker that is killed takes with it what it counted since.
_PUBLISH_S = 0.25


@dataclass(frozen=True, slots=True)
class Material:
    """What a configuration points to, read and checked: keys, manifest, bias, engines' keys."""

    keyring: Keyring
    manifest: Manifest
    delta_millinats: Mapping[str, int]  # by served model
    upstream_keys: Mapping[str, str | None]
    upstream_tls: Mapping[str, ssl.SSLContext | None]


def load_material(config: Config) -> Material:
    """Read and check every file that a configuration names.

    Accounts are not among them: they change while the gateway runs. Raises KeyringError,
    ManifestError or ConfigError.
    """
    keyring = Keyring.load(config.keyring)
    manifest = keyring.manifest(config.manifest)
    if config.redis.url is not None:
        Address.of(config.redis.url.get_secret_value())
    own = (MODELS, WELL_KNOWN, DETECT, *DIALECTS)
    passthrough.check(config.passthrough, own, below=f"{MODELS}/")
    keys = {
        upstream.name: upstream_key(f"upstreams[{place}]", upstream)
        for place, upstream in enumerate(config.upstreams)
    }
    contexts = {
        upstream.name: tls_context(f"upstreams[{place}]", upstream)
        for place, upstream in enumerate(config.upstreams)
    }
    return Material(keyring, manifest, _deltas(config, manifest), keys, contexts)


@dataclass(frozen=True, slots=True)
class Seat:
    """What a gateway gets that is one of several workers.

    The listening sockets and the store are shared by all; `number` tells it from every
    other worker that lives, those of an older configuration among them.
    """

    number: int
    workers: int
    sockets: list[socket.socket]
    store_url: str


class Gateway:
    """A running gateway. `async with Gateway(config) as gateway` starts and stops it.

    Alone it opens both ports and, if need be, its own Valkey; with a `seat` it is one of
    a supervisor's workers, which has done that. `url` and `admin_url` are where it
    listens, once it is started.
    """

    def __init__(
        self, config: Config, metrics: Metrics | None = None, seat: Seat | None = None
    ) -> None:
        self.config = config
        self.metrics = metrics or new_metrics(config)
        self._seat = seat
        self.url = self.admin_url = ""
        self._stack = AsyncExitStack()
        self._hurry = asyncio.Event()
        self._draining = False

    async def __aenter__(self) -> Gateway:
        """Start everything; on failure, stop what was started and raise AzeotropeError."""
        async with AsyncExitStack() as stack:
            await self._start(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        """Drain, then stop everything."""
        await self.drain()
        await self._stack.aclose()
        self._tell("stopped")

    async def retire(self) -> None:
        """Stop accepting connections, and return when the last one has closed.

        Calls go on, also new ones on open connections, of which each is the last there.
        """
        self._endpoints.retiring = True
        await self._listener.retire()

    async def drain(self) -> None:
        """Stop accepting calls, and let running ones end within the configured time."""
        if self._draining:
            return
        self._draining = self._endpoints.draining = True
        limit = self.config.limits.drain_timeout_s
        self._tell("draining", limit_s=limit)
        if not await self._listener.drain(limit, self._hurry):
            _log.warning("drain_cut", extra={"fields": {"limit_s": limit}})
        self._settler.draining_is_over = True

    def hurry(self) -> None:
        """Cut short a drain that is under way."""
        self._hurry.set()

    async def _start(self, stack: AsyncExitStack) -> None:
        config, metrics = self.config, self.metrics
        material = load_material(config)
        self._epoch = material.manifest.current_epoch
        metrics.epoch.set(self._epoch)
        self._accounts = await watched_accounts(config, metrics)
        self._registry = self._open_registry(stack, material)
        self._store = await self._open_store(stack)
        self._open_upstreams(stack, material)
        self._settler = Settler(self._registry, metrics, self._epoch, self._open_tracer(stack))
        share, index = (seat.workers, seat.number) if (seat := self._seat) else (1, 0)
        local = LocalLimiter(time.monotonic, time.time, share=share, index=index)
        guard = RateGuard(self._store, local, metrics)
        await stack.enter_async_context(guard.running())
        pipeline = Pipeline(
            accounts=self._accounts,
            guard=guard,
            routes=routes_of(config, self._upstreams),
            policy=Policy(
                {model: Treatment(delta, 0) for model, delta in material.delta_millinats.items()}
            ),
            embedder=EngineEmbedder(material.keyring.current, config.mark.ticket_ttl_s, metrics),
            relay=Relay(config.limits.max_answer_bytes, metrics, _provenance(config, material)),
            settler=self._settler,
            metrics=metrics,
        )
        untouched = passthrough.passages(config.passthrough, pipeline, self._upstreams)
        signed = config.provenance.headers and config.provenance.sign
        self._detection = self._open_detection(stack, material)
        detect = DETECT if self._detection else None
        keyring, manifest = material.keyring, material.manifest
        public = {WELL_KNOWN: description(keyring, manifest, sign=signed, detect=detect)}
        self._endpoints = Endpoints(
            pipeline, untouched, public, self._detection, limits=config.limits, metrics=metrics
        )
        await self._open_ports(stack)
        _run_until_closed(stack, self._accounts.watch())
        if self._seat is not None:
            _run_until_closed(stack, _publish(metrics))
        self._tell(
            "listening",
            url=self.url,
            admin_url=self.admin_url,
            **started_fields(material),
        )

    def _open_registry(self, stack: AsyncExitStack, material: Material) -> CallRegistry | None:
        settings = self.config.registry
        if settings is None:
            return None
        key = digest_key(material.keyring.current) if settings.digest else None
        worker = self._seat.number or None if self._seat else None
        registry = CallRegistry(settings, self.metrics, digest_key=key, worker=worker)
        stack.push_async_callback(asyncio.to_thread, registry.close)
        return registry

    def _open_detection(self, stack: AsyncExitStack, material: Material) -> Detection | None:
        settings = self.config.detection
        if not settings.enabled:
            return None
        setup = setup_of(material.keyring, material.manifest, settings.tokenizer)
        process = DetectorProcess(setup, settings.timeout_s)
        stack.push_async_callback(process.close)
        workers = self._seat.workers if self._seat else 1
        return Detection(settings, self.config.limits, process, self.metrics, workers)

    def _open_tracer(self, stack: AsyncExitStack) -> Tracer | None:
        settings = self.config.telemetry
        if settings.otlp_endpoint is None:
            return None
        tracer = Tracer(settings, self.config.upstreams)
        stack.push_async_callback(asyncio.to_thread, tracer.close)
        return tracer

    async def _open_store(self, stack: AsyncExitStack) -> Store:
        settings = self.config.redis
        if settings.url is not None:
            url = settings.url.get_secret_value()
        elif self._seat is not None:
            url = self._seat.store_url
        else:
            url = open_embedded(stack)
        store = Store(
            url,
            self.metrics,
            deadline_s=settings.deadline_ms / 1000,
            probe_interval_s=settings.probe_interval_ms / 1000,
        )
        stack.push_async_callback(store.close)
        await store.start()
        return store

    def _open_upstreams(self, stack: AsyncExitStack, material: Material) -> None:
        self._upstreams: dict[str, Endpoint] = {}
        self._watchers: dict[str, Watcher] = {}
        for settings in self.config.upstreams:
            name = settings.name
            endpoint = Endpoint(
                settings,
                material.upstream_keys[name],
                material.upstream_tls[name],
                self.metrics.upstream(name),
            )
            stack.callback(endpoint.close)
            watcher = Watcher(endpoint, settings.health)
            stack.push_async_callback(watcher.close)
            watcher.start()
            self._upstreams[name], self._watchers[name] = endpoint, watcher

    async def _open_ports(self, stack: AsyncExitStack) -> None:
        listen, admin = self.config.listen, self.config.admin
        if self._seat is None:
            port = AdminPort(self.metrics.render, self.readiness)
            # It closes after the clients' port: a drain must be seen from outside.
            stack.push_async_callback(port.close)
            self.admin_url = await port.listen(admin.host, admin.port)
        self._listener = Listener(
            self._endpoints.answer,
            self.config.limits.header_timeout_s,
            self.metrics.connections_dropped.inc,
            self.metrics.stalled,
        )
        stack.push_async_callback(self._listener.close)
        sockets = self._seat.sockets if self._seat else bind("listen", listen.host, listen.port)
        self.url = self._listener.listen(sockets)

    def _tell(self, event: str, **fields: object) -> None:
        """Log a change of state, unless the supervisor logs it for all workers."""
        if self._seat is None:
            _log.info(event, extra={"fields": fields})

    async def readiness(self) -> dict[str, object]:
        """State of every part; ready means that calls are accepted and may succeed."""
        upstreams = {name: await watcher.state() for name, watcher in self._watchers.items()}
        return {
            "ready": any(upstreams.values()) and not self._draining,
            "draining": self._draining,
            "limits": "store" if self._store.up else "local",
            "store": "embedded" if self.config.redis.url is None else "configured",
            "upstreams": upstreams,
            "keyring": {"epoch": self._epoch},
            "registry": self._registry is None or self._registry.healthy,
            "detection": self._detection.process.state if self._detection else "off",
        }


def open_embedded(stack: AsyncExitStack) -> str:
    """Start an embedded Valkey that ends with `stack`; return its URL. Raises StartError."""
    embedded = EmbeddedValkey()
    stack.push_async_callback(asyncio.to_thread, embedded.close)
    fields = {"reason": "redis.url is not set", "pid": embedded.pid}
    _log.info("embedded_store", extra={"fields": fields})
    return embedded.url


def started_fields(material: Material) -> dict[str, object]:
    """Return what the log says of a configuration that is being served."""
    return {
        "epoch": material.manifest.current_epoch,
        "manifest": material.manifest.digest,
        "delta_millinats": dict(material.delta_millinats),
        "models": list(material.delta_millinats),
    }


def new_metrics(config: Config) -> Metrics:
    """Return the metrics of a gateway with this configuration."""
    models = [model for upstream in config.upstreams for model in upstream.models]
    paths = [entry.path for entry in config.passthrough]
    dialects = [dialect.name for dialect in DIALECTS.values()]
    return Metrics([*dialects, passthrough.NAME], models + paths)


def _deltas(config: Config, manifest: Manifest) -> dict[str, int]:
    """Return the bias of every served model, in thousandths of a nat; raises ConfigError."""
    least = manifest.delta_millinats
    general = _delta("mark.delta", config.mark.delta, least) or least
    deltas = {}
    for model in (model for upstream in config.upstreams for model in upstream.models):
        own = config.models[model].delta if model in config.models else None
        deltas[model] = _delta(f"models.{model}.delta", own, least) or general
    return deltas


def _delta(path: str, nats: float | None, least: int) -> int | None:
    if nats is None:
        return None
    delta = round(nats * 1000)
    if delta < least:
        raise ConfigError(
            f"{path}: expected at least the manifest's {least / 1000:g} nats, got {nats:g}"
        )
    return delta


def _provenance(config: Config, material: Material) -> Provenance | None:
    settings = config.provenance
    return Provenance(material.keyring, sign=settings.sign) if settings.headers else None


async def _publish(metrics: Metrics) -> None:
    """Hand a worker's counts on to where the supervisor reads them."""
    try:
        while True:
            metrics.publish()
            await asyncio.sleep(_PUBLISH_S)
    finally:
        metrics.publish()


def _run_until_closed(stack: AsyncExitStack, work: Coroutine[object, object, None]) -> None:
    task = asyncio.create_task(work)

    async def stop() -> None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    stack.push_async_callback(stop)
