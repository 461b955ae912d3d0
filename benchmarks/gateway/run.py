"""The gateway beside nginx, HAProxy, bare aiohttp, vllm-router and LiteLLM, in one run.

`python -m benchmarks.gateway.run [--quick]` prints the tables of docs/results.md. Two cores: the
proxy has one to itself; load, upstream and Redis share the other. bash
benchmarks/gateway/install.sh installs what it needs. An answer that is not 200, or not the
upstream's, ends the run with an error.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from urllib.request import urlopen

import click

from benchmarks.gateway import parts, streams, whole
from benchmarks.gateway.field import LOAD_CORE, PROXY_CORE, Field, Figures, running
from benchmarks.gateway.peers import (
    BARE,
    OTHERS,
    Peer,
    gateway,
)
from benchmarks.gateway.processes import free_port
from benchmarks.gateway.questions import answer, question

_RATE = 200.0
_STREAMS_RATE = 50.0
# Share of decisions that Redis may be late for on a busy machine; the gateway takes those itself.
_MOST_LOCAL = 0.01
_INTRODUCTION = """Proxies have one core; load generator, upstream and Redis the other. Bodies: a \
chat request of {request:,} bytes, an answer of {answer:,}. Ours runs the example's configuration \
with high limits: keys checked, the limit kept in Redis, JSON read strictly, tickets and answers' \
headers signed, metrics, call registry, a log line a call. The others do nothing of that; LiteLLM, \
which checks one key and counts, gets a twentieth of the load where the load is fixed. Medians of \
{rounds} rounds."""

_WORKERS = """Two cores are too few to show how workers scale: two of them take the core that the \
load needs. What they can show is that a request does not cost more when there are several."""


def _whole(field: Field, peers: list[Peer], rounds: int, seconds: float, admin: int) -> Figures:
    figures = Figures()
    with running(peers, field.whole, (PROXY_CORE,)) as proxies:
        whole.throughput(proxies, field.redis, rounds, seconds, figures)
        print("### Answers in one piece, full load\n")
        print(whole.throughput_table([proxy.name for proxy in proxies], figures), flush=True)
        whole.latency(proxies, field.whole, _RATE, rounds, seconds, figures)
        print("\n### Latency at a fixed rate\n")
        print(whole.latency_table(proxies, _RATE, figures), flush=True)
        _refuse_local_decisions(admin)
    return figures


def _streams(field: Field, peers: list[Peer], rounds: int, seconds: float) -> Figures:
    figures = Figures()
    with running(peers, field.streams, (PROXY_CORE,)) as proxies:
        streams.event_cost(proxies, rounds, seconds, figures)
        streams.first_event(proxies, field.streams, _STREAMS_RATE, rounds, seconds, figures)
        print(f"\n### Streams: {streams.STREAMS} of an event every {streams.GAP_MS} ms\n")
        print(streams.events_table(proxies, figures), flush=True)
    return figures


def _refuse_local_decisions(admin: int) -> None:
    """Raise RuntimeError if Redis did not decide: another thing would have been measured."""
    with urlopen(f"http://127.0.0.1:{admin}/metrics") as response:
        lines = response.read().decode().splitlines()
    decided = {"store": 0.0, "local": 0.0}
    for line in lines:
        if line.startswith("azeotrope_limiter_decisions_total{"):
            labels, _, value = line.rpartition(" ")
            for source in decided:
                if f'source="{source}"' in labels:
                    decided[source] += float(value)
    if decided["local"] > _MOST_LOCAL * decided["store"]:
        raise RuntimeError(f"Redis was late too often: {decided}")


def _targets(ours: str, at_rest: Figures, flowing: Figures) -> str:
    cpu, event = at_rest.median(ours, "cpu"), flowing.median(ours, "event")
    first = flowing.excess(ours, whole.STRAIGHT, "p50")
    bare = BARE.name
    rows = (
        ("CPU a request", cpu, 375.0, "µs"),
        ("CPU a request, stretch", cpu, 200.0, "µs"),
        ("CPU a request, times bare aiohttp's", at_rest.ratio(ours, bare, "cpu"), 1.0, ""),
        ("CPU an event", event, 110.0, "µs"),
        ("CPU an event, times bare aiohttp's", flowing.ratio(ours, bare, "event"), 1.0, ""),
        ("first event later by, p50", first, 1.0, "ms"),
    )
    lines = ["| target | at most | measured | |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {most:g} {unit} | {value:.2f} {unit} | {_verdict(value, most)} |"
        for name, value, most, unit in rows
    ]
    return "\n".join(lines)


def _verdict(value: float, most: float) -> str:
    return "met" if value <= most else f"missed by {value / most - 1:.0%}"


@click.command()
@click.option("--quick", is_flag=True, help="Two short rounds, fewer open streams; noisier.")
@click.option("--only-bare", is_flag=True, help="Leave out all peers but bare aiohttp.")
def main(*, quick: bool, only_bare: bool) -> None:
    """Print the tables."""
    os.sched_setaffinity(0, {LOAD_CORE})
    rounds, seconds = (2, 2.0) if quick else (5, 3.0)
    with ExitStack() as stack:
        field, admin = Field(stack), free_port()
        ours = gateway(field.redis_port, admin=admin)
        peers = [*(() if only_bare else OTHERS), BARE, ours]
        sizes = {"request": len(question()), "answer": len(answer())}
        print(_INTRODUCTION.format(**sizes, rounds=rounds) + "\n")
        at_rest = _whole(field, peers, rounds, seconds, admin)
        flowing = _streams(field, peers, rounds, seconds)
        print("\n### Memory of open streams\n")
        scale = 0.2 if quick else 1.0
        print(streams.memory_table(peers, field.streams, PROXY_CORE, scale), flush=True)
        print(f"\n### Workers, both cores shared with load, upstream and Redis\n\n{_WORKERS}\n")
        workers = whole.workers_table(field.whole, field.redis, field.redis_port, rounds, seconds)
        print(workers, flush=True)
        print("\n### Where a request's CPU goes\n")
        print(parts.table(field, 3 if quick else 12), flush=True)
        print("\n### Targets\n")
        print(_targets(ours.name, at_rest, flowing), flush=True)


if __name__ == "__main__":
    main()
