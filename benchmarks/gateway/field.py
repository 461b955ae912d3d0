"""The parts of a run: proxies on one core, what they are measured with on another."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from benchmarks.gateway import client
from benchmarks.gateway.peers import Peer, start_nginx_upstream, start_redis
from benchmarks.gateway.processes import Program, free_port
from benchmarks.gateway.questions import answer, events, question

PROXY_CORE, LOAD_CORE = 0, 1
_CHECKED_EVENTS = 20


class Field:
    """The upstreams and Redis of a run, on the load's core."""

    def __init__(self, stack: ExitStack) -> None:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        core = (LOAD_CORE,)
        self.whole, self.streams, self.redis_port = free_port(), free_port(), free_port()
        upstream = start_nginx_upstream(directory, self.whole, core)
        stack.callback(upstream.stop)
        command = [sys.executable, "-m", "benchmarks.gateway.emitter", str(self.streams)]
        emitter = Program.start("emitter", command, cores=core, log=directory / "emitter.log")
        stack.callback(emitter.stop)
        self.redis = start_redis(directory, self.redis_port, core)
        stack.callback(self.redis.stop)
        upstream.wait_until_open(self.whole)
        emitter.wait_until_open(self.streams)


@dataclass(frozen=True, slots=True)
class Running:
    """A proxy that is up."""

    peer: Peer
    program: Program
    port: int
    key: str

    @property
    def name(self) -> str:
        """Name in the tables."""
        return self.peer.name

    def wire(self, *, events: int | None = None, gap_ms: int = 0) -> bytes:
        """Return a request to it as it goes over the wire."""
        return client.request(question(events=events, gap_ms=gap_ms), self.key)


@contextmanager
def running(peers: Sequence[Peer], upstream: int, cores: Sequence[int]) -> Iterator[list[Running]]:
    """Start proxies before an upstream, check what they answer, and stop them."""
    with ExitStack() as stack:
        started = []
        for peer in peers:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            port = free_port()
            program, key = peer.start(directory, port, upstream, cores)
            stack.callback(program.stop)
            started.append(Running(peer, program, port, key))
        for proxy in started:
            proxy.program.wait_until_open(proxy.port)
        for proxy in started:
            _check(proxy, upstream)
        yield started


def _check(proxy: Running, upstream: int) -> None:
    """Raise RuntimeError unless a proxy passes on what the upstream answers."""
    for wire, expected in (
        (proxy.wire(), answer()),
        (proxy.wire(events=_CHECKED_EVENTS, gap_ms=2), b"".join(events(_CHECKED_EVENTS))),
    ):
        straight = uvloop.run(client.once(upstream, wire))
        if b"".join(straight.body) != expected:
            continue  # this upstream has no streams
        got = uvloop.run(client.once(proxy.port, wire))
        body = b"".join(got.body)
        same = body == expected if proxy.peer.exact else _texts(body) == _texts(expected)
        if got.status != 200 or not same:
            raise RuntimeError(f"{proxy.name}: status {got.status}, another body: {body[:500]!r}")


def _texts(body: bytes) -> tuple[str, list[object]]:
    """Return the text and the usage of an answer: what a proxy that rewrites it must keep."""
    records = [body] if body.startswith(b"{") else body.split(b"data: ")[1:]
    text, usage = "", []
    for record in records:
        if record.strip() == b"[DONE]":
            continue
        content = json.loads(record)
        for choice in content["choices"]:
            part = choice.get("message") or choice.get("delta")
            text += part.get("content") or ""
        if content.get("usage"):
            usage.append(content["usage"]["completion_tokens"])
    return text, usage


@dataclass(slots=True)
class Figures:
    """Figures by proxy and quantity, one of each round."""

    rounds: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, proxy: str, **quantities: float) -> None:
        """Keep one round's figures of a proxy."""
        for quantity, value in quantities.items():
            self.rounds[proxy, quantity].append(value)

    def median(self, proxy: str, quantity: str) -> float:
        """Median over the rounds."""
        return statistics.median(self.rounds[proxy, quantity])

    def spread(self, proxy: str, quantity: str) -> tuple[float, float]:
        """Least and greatest of the rounds."""
        return min(self.rounds[proxy, quantity]), max(self.rounds[proxy, quantity])

    def ratio(self, proxy: str, other: str, quantity: str) -> float:
        """Median over the rounds of one proxy's figure divided by another's of that round."""
        pairs = zip(self.rounds[proxy, quantity], self.rounds[other, quantity], strict=True)
        return statistics.median(one / two for one, two in pairs)

    def excess(self, proxy: str, other: str, quantity: str) -> float:
        """Median over the rounds of one proxy's figure less another's of that round."""
        pairs = zip(self.rounds[proxy, quantity], self.rounds[other, quantity], strict=True)
        return statistics.median(one - two for one, two in pairs)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the empirical quantile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
