"""CPU of one limiter decision in the gateway's process, by client, and in the server.

All clients run the same script (admit.lua) on the same embedded Valkey, in one process
and one uvloop, in turns; the figure is the median over the turns. Process CPU time, so
what the server takes is not in it: that is read from its own INFO commandstats.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from importlib import resources

import click
import redis.asyncio
import uvloop
from redis.asyncio import BlockingConnectionPool

from proxy.accounts import Account
from proxy.config import Tier
from proxy.guard.embedded import EmbeddedValkey
from proxy.guard.gcra import Known, LocalLimiter, Rate
from proxy.guard.keyspace import CALLS_TTL_S, EPOCH_2026, LEASE_MS, account_keys
from proxy.guard.limits import RateGuard
from proxy.guard.store import Store
from proxy.metrics import Metrics

DEADLINE_S = 5.0
ACCOUNTS = 1000
RATE = Rate(interval_us=1, burst=1_000_000)
NOTHING = Known(0, 0)
TIER = Tier(requests_per_minute=60_000_000)
LEASED = Tier(requests_per_minute=60_000_000, concurrent_calls=1_000_000)

Decide = Callable[[int], Awaitable[object]]


def redis_py(url: str) -> Decide:
    """The script through redis-py with hiredis, a pool of 64 connections and a deadline."""
    pool = BlockingConnectionPool.from_url(url, max_connections=64)
    client = redis.asyncio.Redis.from_pool(pool)
    script = client.register_script(
        resources.files("proxy.guard").joinpath("admit.lua").read_text("utf-8")
    )
    values = (*RATE, EPOCH_2026, CALLS_TTL_S, LEASE_MS, 0, 0, "-")

    async def decide(number: int) -> object:
        async with asyncio.timeout(DEADLINE_S):
            return await script(keys=account_keys(number), args=values)

    return decide


def own(store: Store) -> Decide:
    """The script through proxy/guard/wire.py."""

    def decide(number: int) -> Awaitable[object]:
        return store.decide(number, RATE, NOTHING)

    return decide


def guard(store: Store, tier: Tier, metrics: Metrics) -> Decide:
    """The whole guard on top of it: local limiter kept up, numbers, verdict, metrics."""
    limits = RateGuard(store, LocalLimiter(time.monotonic, time.time), metrics)
    accounts = [Account(number, "", tier, None, True) for number in range(ACCOUNTS + 1)]

    async def decide(number: int) -> None:
        limits.release(await limits.admit(accounts[number]))

    return decide


async def cpu_us(decide: Decide, decisions: int, concurrency: int) -> float:
    """Process CPU in µs per decision."""

    async def client(first: int) -> None:
        for place in range(decisions // concurrency):
            await decide(1 + (first + place * concurrency) % ACCOUNTS)

    begun = time.process_time()
    await asyncio.gather(*map(client, range(concurrency)))
    return (time.process_time() - begun) / (decisions // concurrency * concurrency) * 1e6


async def idle_us(decisions: int, concurrency: int) -> float:
    """The same loop with nothing to wait for: what the measuring itself costs."""

    async def nothing(number: int) -> None:
        await asyncio.sleep(0)

    return await cpu_us(nothing, decisions, concurrency)


async def server_us(url: str, decide: Decide, decisions: int) -> float:
    """The server's own time per script call, in µs."""
    client = redis.asyncio.Redis.from_url(url)
    await client.config_resetstat()
    await cpu_us(decide, decisions, 32)
    stats = await client.info("commandstats")
    await client.aclose()
    return float(stats["cmdstat_evalsha"]["usec_per_call"])


async def measure(url: str, decisions: int, rounds: int) -> str:
    metrics = Metrics([], [])
    store = Store(url, metrics, deadline_s=DEADLINE_S, probe_interval_s=1.0)
    await store.start()
    leased = guard(store, LEASED, metrics)
    clients = {
        "redis-py with hiredis": redis_py(url),
        "own connection": own(store),
        "own connection, whole guard": guard(store, TIER, metrics),
        "own connection, whole guard, lease taken and released": leased,
    }
    found: dict[tuple[str, int], list[float]] = {}
    for _ in range(rounds + 1):
        for name, decide in clients.items():
            for concurrency in (1, 32):
                used = await cpu_us(decide, decisions, concurrency)
                found.setdefault((name, concurrency), []).append(used)
    rows = [
        f"| {name} | {_median(found[name, 1])} | {_median(found[name, 32])} |" for name in clients
    ]
    idle = f"{await idle_us(decisions, 32):.1f}"
    plain = await server_us(url, clients["own connection"], decisions)
    with_lease = await server_us(url, leased, decisions)
    await store.close()
    return "\n".join(
        [
            "| CPU µs per decision in the gateway | 1 at a time | 32 at once |",
            "|---|---|---|",
            *rows,
            "",
            f"The loop that measures takes {idle} µs of each. In the server, per script call: "
            f"{plain:.1f} µs, with a lease {with_lease:.1f} µs.",
        ]
    )


def _median(values: list[float]) -> str:
    return f"{statistics.median(values[1:]):.1f}"  # the first turn warms up


@click.command()
@click.option("--quick", is_flag=True, help="A tenth of the decisions.")
def main(*, quick: bool) -> None:
    """Print the table."""
    server = EmbeddedValkey()
    try:
        decisions = 1_000 if quick else 10_000
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            print(runner.run(measure(server.url, decisions, rounds=3)))
    finally:
        server.close()


if __name__ == "__main__":
    main()
