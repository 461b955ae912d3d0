"""Where a call's CPU goes: the gateway with one part of its policy left out at a time.

`python -m benchmarks.gateway.parts [--turns 12]` prints a table: short turns, one after the other,
and of each the lower quartile, which work of others on the machine disturbs least.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import click

from benchmarks.gateway import wrk
from benchmarks.gateway.field import (
    LOAD_CORE,
    PROXY_CORE,
    Field,
    Figures,
    Running,
    quantile,
    running,
)
from benchmarks.gateway.peers import BARE, Peer, Started, gateway
from benchmarks.gateway.processes import Program
from benchmarks.gateway.questions import MODEL

_TURN_SECONDS = 1.0
_WHOLE = "the whole policy"
_WITHOUT = {
    "the signature of the headers": {"provenance": {"sign": False}},
    "the headers that say what is marked": {"provenance": {"headers": False}},
    "the ticket, for a model without a mark": {"models": {MODEL: {"embedder": "none"}}},
    "the call registry": {"registry": None},
    "a log line a call": {"log": {"level": "warning"}},
}


def _start_floor(directory: Path, port: int, upstream: int, cores: Sequence[int]) -> Started:
    command = [sys.executable, "-m", "benchmarks.gateway.floor", str(port)]
    return Program.start("floor", command, cores=cores, log=directory / "floor.log"), ""


def _turns(proxies: Sequence[Running], turns: int) -> Figures:
    figures = Figures()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        for turn in range(turns + 1):
            for proxy in proxies:
                before = proxy.program.cpu_seconds()
                load = wrk.run(Path(directory), proxy.port, proxy.key, _TURN_SECONDS)
                cpu = proxy.program.cpu_seconds() - before
                if turn:  # the first one warms up
                    figures.add(proxy.name, cpu=cpu / load.requests * 1e6)
    return figures


def table(field: Field, turns: int) -> str:
    """Measure, and return the table."""
    floor = Peer("aiohttp's server alone", _start_floor)
    whole = gateway(field.redis_port, name=_WHOLE)
    less = [
        gateway(field.redis_port, name=f"without {name}", changes=changes)
        for name, changes in _WITHOUT.items()
    ]
    peers = [floor, BARE, whole, *less]
    with running(peers, field.whole, (PROXY_CORE,)) as proxies:
        figures = _turns(proxies, turns)
    cpu = {peer.name: quantile(figures.rounds[peer.name, "cpu"], 0.25) for peer in peers}
    lines = ["| | CPU µs a request | less than the whole |", "|---|---|---|"]
    for peer in peers:
        saved = "" if peer is whole else f"{cpu[_WHOLE] - cpu[peer.name]:.0f}"
        lines.append(f"| {peer.name} | {cpu[peer.name]:.0f} | {saved} |")
    return "\n".join(lines)


@click.command()
@click.option("--turns", default=12, show_default=True, help="Turns of one second each.")
def main(*, turns: int) -> None:
    """Print the table."""
    os.sched_setaffinity(0, {LOAD_CORE})
    with ExitStack() as stack:
        print(table(Field(stack), turns))


if __name__ == "__main__":
    main()
