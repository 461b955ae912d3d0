"""Answers that are not streamed: CPU a request at full load, latency at a fixed rate, workers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks.gateway import client, wrk
from benchmarks.gateway.field import Figures, Running, quantile, running
from benchmarks.gateway.peers import BARE, gateway
from benchmarks.gateway.processes import Program

_WARM_SECONDS = 1.0
_CONNECTIONS = 16
STRAIGHT = "straight to the upstream"


def throughput(
    proxies: Sequence[Running], redis: Program, rounds: int, seconds: float, figures: Figures
) -> None:
    """Measure requests a second and CPU a request, one proxy after the other in each round."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        for turn in range(rounds):
            for proxy in proxies:
                if turn == 0:
                    wrk.run(Path(directory), proxy.port, proxy.key, _WARM_SECONDS)
                before, redis_before = proxy.program.cpu_seconds(), redis.cpu_seconds()
                load = wrk.run(Path(directory), proxy.port, proxy.key, seconds)
                cpu = proxy.program.cpu_seconds() - before
                redis_cpu = redis.cpu_seconds() - redis_before
                figures.add(
                    proxy.name,
                    rate=load.requests / load.seconds,
                    cpu=cpu / load.requests * 1e6,
                    redis=redis_cpu / load.requests * 1e6,
                    resident=proxy.program.resident_mb(),
                )


def throughput_table(names: Sequence[str], figures: Figures) -> str:
    """Return the table of `throughput`."""
    lines = [
        "| proxy | req/s | CPU µs a request | least and most | ratio to bare aiohttp "
        "| Redis CPU µs a request | RSS MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in names:
        least, most = figures.spread(name, "cpu")
        redis = f"{figures.median(name, 'redis'):.0f}" if name.startswith("azeotrope") else "-"
        lines.append(
            f"| {name} | {figures.median(name, 'rate'):,.0f} | {figures.median(name, 'cpu'):,.0f} "
            f"| {least:,.0f} to {most:,.0f} | {figures.ratio(name, BARE.name, 'cpu'):.2f} "
            f"| {redis} | {figures.median(name, 'resident'):.0f} |"
        )
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Rate:
    """A fixed rate of calls, what each asks for, and which of its times (in seconds) counts."""

    calls: float
    connections: int
    wire: Callable[[Running], bytes]
    of: Callable[[client.Answer], float]


def at_fixed_rate(
    proxies: Sequence[Running],
    upstream: int,
    rate: Rate,
    rounds: int,
    seconds: float,
    figures: Figures,
) -> None:
    """Measure quantiles of a time in milliseconds, also straight to the upstream."""

    def times(port: int, wire: bytes, share: float) -> dict[str, float]:
        calls = rate.calls * share
        answers = uvloop.run(client.at_rate(port, wire, calls, seconds, rate.connections))
        ms = [rate.of(answer) * 1000 for answer in answers]
        return {"p50": quantile(ms, 0.5), "p99": quantile(ms, 0.99)}

    for _ in range(rounds):
        figures.add(STRAIGHT, **times(upstream, rate.wire(proxies[0]), 1.0))
        for proxy in proxies:
            figures.add(proxy.name, **times(proxy.port, rate.wire(proxy), proxy.peer.share))


def latency(
    proxies: Sequence[Running],
    upstream: int,
    calls: float,
    rounds: int,
    seconds: float,
    figures: Figures,
) -> None:
    """Measure the time of a whole answer at a fixed rate."""
    rate = Rate(calls, _CONNECTIONS, lambda proxy: proxy.wire(), lambda answer: answer.whole)
    at_fixed_rate(proxies, upstream, rate, rounds, seconds, figures)


def latency_table(proxies: Sequence[Running], rate: float, figures: Figures) -> str:
    """Return the table of `latency`."""
    lines = ["| proxy | req/s | added p50 ms | added p99 ms |", "|---|---|---|---|"]
    lines.append(
        f"| ({STRAIGHT}, in itself) | {rate:.0f} | {figures.median(STRAIGHT, 'p50'):.2f} "
        f"| {figures.median(STRAIGHT, 'p99'):.2f} |"
    )
    lines += [
        f"| {proxy.name} | {rate * proxy.peer.share:.0f} "
        f"| {figures.excess(proxy.name, STRAIGHT, 'p50'):.2f} "
        f"| {figures.excess(proxy.name, STRAIGHT, 'p99'):.2f} |"
        for proxy in proxies
    ]
    return "\n".join(lines)


def workers_table(
    upstream: int, redis: Program, redis_port: int, rounds: int, seconds: float
) -> str:
    """Measure the gateway with one and two workers on two cores that load and upstream share."""
    figures = Figures()
    counts = (1, 2)
    for count in counts:
        peer = gateway(redis_port, "--workers", str(count))
        with running([peer], upstream, (0, 1)) as proxies:
            throughput(proxies, redis, rounds, seconds, each := Figures())
            for quantity in ("rate", "cpu", "resident"):
                for value in each.rounds[peer.name, quantity]:
                    figures.add(str(count), **{quantity: value})
    lines = ["| workers | req/s | CPU µs a request | RSS MB, all processes |", "|---|---|---|---|"]
    lines += [
        f"| {count} | {figures.median(str(count), 'rate'):,.0f} "
        f"| {figures.median(str(count), 'cpu'):,.0f} "
        f"| {figures.median(str(count), 'resident'):.0f} |"
        for count in counts
    ]
    return "\n".join(lines)
