"""A gateway under a mixture of good and bad clients: does it leak?

`python -m benchmarks.soak.run [--minutes 10]` prints the table of docs/results.md.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import click
import uvloop

from benchmarks.gateway import client
from benchmarks.gateway.peers import start_redis, write_site
from benchmarks.gateway.processes import Program, free_port
from benchmarks.gateway.questions import question
from benchmarks.soak.behaviour import GOOD, Clients
from benchmarks.soak.samples import QUANTITIES, WARM_UP, Probe, Series

_INSIDE = Path(__file__).parent / "inside"
_RATE = 60.0
_SAMPLE_S = 1.0
_RELOADS = 30  # of the accounts file, over the time
_CORES = (0, 1)
# Idle connections to an upstream are given up after 4 s, looks at its health come every 5 s.
_REST_S = 12.0
_OTHER_ACCOUNTS = 20


class _Soak:
    """A gateway with what it needs, all of it stopped at the end of the stack."""

    def __init__(self, stack: ExitStack) -> None:
        self._directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        self.port, upstream, self._redis_port = free_port(), free_port(), free_port()
        self._stack = stack
        emitter = self._start("emitter", "benchmarks.gateway.emitter", str(upstream))
        self._start_redis()
        self._config, key = write_site(
            self._directory, self.port, free_port(), upstream, self._redis_port
        )
        added = [self._azeotrope("accounts", "add", f"a{n}") for n in range(_OTHER_ACCOUNTS)]
        tasks = self._directory / "tasks"
        inside = os.pathsep.join([str(_INSIDE), os.environ.get("PYTHONPATH", "")])
        environment = {"PYTHONPATH": inside, "SOAK_TASKS": str(tasks)}
        serve = ("serve", "--config", str(self._config))
        gateway = self._start("gateway", "proxy", *serve, environment=environment)
        emitter.wait_until_open(upstream)
        gateway.wait_until_open(self.port)
        self.clients = Clients(self.port, [key, *added])
        self.probe = Probe(gateway, tasks, upstream, self._redis_port)

    def restart_redis(self) -> None:
        """Kill Redis with all it holds, and start it anew."""
        self._redis.stop()
        self._start_redis()

    def reload(self, turn: int) -> None:
        """Change the accounts file: an account that makes no calls is suspended or back."""
        self._azeotrope("accounts", "resume" if turn % 2 else "suspend", "idle")

    def prepare_reloads(self) -> None:
        """Add the account that reloads are about."""
        self._azeotrope("accounts", "add", "idle")

    def _start(
        self,
        name: str,
        module: str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
    ) -> Program:
        command = [sys.executable, "-m", module, *arguments]
        log = self._directory / f"{name}.log"
        program = Program.start(name, command, cores=_CORES, log=log, environment=environment)
        self._stack.callback(program.stop)
        return program

    def _start_redis(self) -> None:
        self._redis = start_redis(self._directory, self._redis_port, _CORES)
        self._stack.callback(self._redis.stop)

    def _azeotrope(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "proxy", *arguments, "--config", str(self._config)]
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()


async def _load(soak: _Soak, seconds: float) -> tuple[list[float], list[dict[str, float]]]:
    """Run the mixture, with reloads and a loss of Redis halfway; return the samples."""
    times: list[float] = []
    samples: list[dict[str, float]] = []
    begun = time.monotonic()

    async def sample() -> None:
        samples.append(await asyncio.to_thread(soak.probe.sample))
        times.append(time.monotonic() - begun)

    async def reload(turn: int) -> None:
        await asyncio.to_thread(soak.reload, turn)

    async def restart() -> None:
        await asyncio.to_thread(soak.restart_redis)

    helpers = [
        asyncio.create_task(_every(_SAMPLE_S, sample)),
        asyncio.create_task(_turns(seconds / _RELOADS, reload)),
    ]
    # Before the warm-up is over: the keys of the new Redis must not look like a leak.
    loss = asyncio.create_task(_once(seconds * WARM_UP / 2, restart))
    await _call_at_rate(soak.clients, seconds)
    for helper in helpers:
        helper.cancel()
    ends = await asyncio.gather(*helpers, return_exceptions=True)
    failures = [end for end in ends if not isinstance(end, asyncio.CancelledError)]
    if failures:
        raise ExceptionGroup("the load's helpers failed", failures)
    await loss
    return times, samples


async def _call_at_rate(clients: Clients, seconds: float) -> None:
    calls: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()
    due, end = loop.time(), loop.time() + seconds
    while (due := due + clients.draw.expovariate(_RATE)) < end:
        await asyncio.sleep(max(0.0, due - loop.time()))
        call = asyncio.create_task(clients.call())
        calls.add(call)
        call.add_done_callback(calls.discard)
    await asyncio.gather(*calls)


async def _every(pause_s: float, act: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(pause_s)
        await act()


async def _turns(pause_s: float, act: Callable[[int], Awaitable[None]]) -> None:
    turn = 0
    while True:
        await asyncio.sleep(pause_s)
        await act(turn)
        turn += 1


async def _once(pause_s: float, act: Callable[[], Awaitable[None]]) -> None:
    await asyncio.sleep(pause_s)
    await act()


async def _at_rest(soak: _Soak) -> dict[str, float]:
    """Return what is there when nobody has called for a while, after every account did."""
    for key in soak.clients.keys:
        answer = await client.once(soak.port, client.request(question(), key))
        assert answer.status == 200
    await asyncio.sleep(_REST_S)
    return soak.probe.sample()


async def _run(soak: _Soak, seconds: float) -> list[Series]:
    before = await _at_rest(soak)
    times, samples = await _load(soak, seconds)
    after = await _at_rest(soak)
    first = next(place for place, time_ in enumerate(times) if time_ > seconds * WARM_UP)
    return [
        Series(
            name,
            times[first:],
            [sample[name] for sample in samples[first:]],
            (before[name], after[name]),
        )
        for name in QUANTITIES
    ]


def _table(series: list[Series]) -> str:
    lines = [
        "| | at rest before | after warm-up | at the end | rise of the trend | allowed "
        "| at rest after | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in series:
        lines.append(
            f"| {each.name} | {each.rest[0]:.0f} | {each.values[0]:.0f} | {each.values[-1]:.0f} "
            f"| {each.rise:+.1f} | {each.allowed:.1f} | {each.rest[1]:.0f} "
            f"| {'**leak**' if each.leaks else 'no leak'} |"
        )
    return "\n".join(lines)


def _outcomes(clients: Clients) -> str:
    lines = ["| client | outcome | calls |", "|---|---|---|"]
    for (name, outcome), count in sorted(clients.outcomes.items()):
        lines.append(f"| {name} | {outcome} | {count:,} |")
    return "\n".join(lines)


@click.command()
@click.option("--minutes", default=10.0, show_default=True, help="Time under load.")
@click.option("--quick", is_flag=True, help="One minute.")
def main(*, minutes: float, quick: bool) -> None:
    """Print the tables; exit with status 1 at a leak or if a good call failed."""
    minutes = 1.0 if quick else minutes
    with ExitStack() as stack:
        soak = _Soak(stack)
        soak.prepare_reloads()
        series = uvloop.run(_run(soak, minutes * 60))
        outcomes = soak.clients.outcomes
    print(
        f"{minutes:g} minutes at {_RATE:.0f} calls/s, {sum(outcomes.values()):,} calls by "
        f"{len(soak.clients.keys)} accounts; the accounts file changed {_RELOADS} times, Redis was "
        f"lost with all it held once. Judged after a third of the time; a leak is a trend "
        "(least squares) that rises by more than is allowed (a twentieth, and at least 3 MB or 20 "
        "of anything), or anything but memory left over at rest.\n"
    )
    print(_table(series))
    print()
    print(_outcomes(soak.clients))
    good = {name for name, _ in GOOD}
    failed = sum(n for key, n in outcomes.items() if key[0] in good and key not in GOOD)
    if failed or any(each.leaks for each in series):
        sys.exit(1)


if __name__ == "__main__":
    main()
