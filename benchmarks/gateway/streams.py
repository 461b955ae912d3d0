"""Streams: CPU an event, the time of the first event, memory of many open ones."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import uvloop

from benchmarks.gateway import client
from benchmarks.gateway.field import Figures, Running, running
from benchmarks.gateway.peers import BARE, Peer
from benchmarks.gateway.whole import STRAIGHT, Rate, at_fixed_rate

# 170 streams of 30 events a second: what one engine of a large GPU gives.
STREAMS = 170
GAP_MS = 33
_ENDLESS = 1_000_000
_RAMP_SECONDS = 1.0
# Short streams, so that many first events are seen: 10 events at 30 a second.
_SHORT_EVENTS = 10
_OPEN = 1000
_OPEN_GAP_MS = 1000
_CONNECTIONS = 32


def event_cost(proxies: Sequence[Running], rounds: int, seconds: float, figures: Figures) -> None:
    """Measure CPU an event with many streams open, one proxy after the other in each round."""
    for _ in range(rounds):
        for proxy in proxies:
            uvloop.run(_event_cost(proxy, seconds, figures))


async def _event_cost(proxy: Running, seconds: float, figures: Figures) -> None:
    wire = proxy.wire(events=_ENDLESS, gap_ms=GAP_MS)
    count = max(1, round(STREAMS * proxy.peer.share))
    async with client.Streams(proxy.port, wire, count, _RAMP_SECONDS) as streams:
        loop = asyncio.get_running_loop()
        events, cpu, begun = streams.events, proxy.program.cpu_seconds(), loop.time()
        await asyncio.sleep(seconds)
        events = streams.events - events
        figures.add(
            proxy.name,
            event=(proxy.program.cpu_seconds() - cpu) / events * 1e6,
            rate=events / (loop.time() - begun),
            resident=proxy.program.resident_mb(),
        )


def first_event(
    proxies: Sequence[Running],
    upstream: int,
    calls: float,
    rounds: int,
    seconds: float,
    figures: Figures,
) -> None:
    """Measure the time of a stream's first event at a fixed rate of new streams."""
    rate = Rate(
        calls,
        _CONNECTIONS,
        lambda proxy: proxy.wire(events=_SHORT_EVENTS, gap_ms=GAP_MS),
        lambda answer: answer.first,
    )
    at_fixed_rate(proxies, upstream, rate, rounds, seconds, figures)


def events_table(proxies: Sequence[Running], figures: Figures) -> str:
    """Return the table of `event_cost` and `first_event`."""
    lines = [
        "| proxy | events/s | CPU µs an event | ratio to bare aiohttp | first event: added p50 ms "
        "| added p99 ms | RSS MB |",
        "|---|---|---|---|---|---|---|",
        f"| ({STRAIGHT}, in itself) | - | - | - | {figures.median(STRAIGHT, 'p50'):.2f} "
        f"| {figures.median(STRAIGHT, 'p99'):.2f} | - |",
    ]
    for proxy in proxies:
        name = proxy.name
        lines.append(
            f"| {name} | {figures.median(name, 'rate'):,.0f} "
            f"| {figures.median(name, 'event'):,.0f} "
            f"| {figures.ratio(name, BARE.name, 'event'):.2f} "
            f"| {figures.excess(name, STRAIGHT, 'p50'):.2f} "
            f"| {figures.excess(name, STRAIGHT, 'p99'):.2f} "
            f"| {figures.median(name, 'resident'):.0f} |"
        )
    return "\n".join(lines)


def memory_table(peers: Sequence[Peer], upstream: int, core: int, scale: float) -> str:
    """Measure what open streams add to the memory of fresh proxies."""
    lines = [
        "| proxy | streams open | RSS before, MB | with them, MB | MB for 1,000 streams |",
        "|---|---|---|---|---|",
    ]
    for peer in peers:
        count = round(_OPEN * scale * (1 if peer.share == 1 else 0.1))
        with running([peer], upstream, (core,)) as proxies:
            before, after = uvloop.run(_memory(proxies[0], count))
        each = (after - before) / count * 1000
        lines.append(f"| {peer.name} | {count:,} | {before:.0f} | {after:.0f} | {each:.1f} |")
    return "\n".join(lines)


async def _memory(proxy: Running, count: int) -> tuple[float, float]:
    wire = proxy.wire(events=_ENDLESS, gap_ms=_OPEN_GAP_MS)
    # What the first calls load into memory is not the streams'.
    async with client.Streams(proxy.port, wire, 10, 0.5):
        pass
    before = proxy.program.resident_mb()
    async with client.Streams(proxy.port, wire, count, count / 200):
        await asyncio.sleep(2 * _OPEN_GAP_MS / 1000)
        return before, proxy.program.resident_mb()
