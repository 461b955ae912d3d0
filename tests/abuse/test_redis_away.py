"""The store taken away under load, in every way: no request fails or hangs for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field

import pytest
from fake_upstream import FakeUpstream
from own_server import PROGRAMS, OwnServer
from running import Running, Site, Start
from waiting import until

DEADLINE_S = 0.2
# Beyond the deadline: a loaded test machine. Without a deadline it would be for ever.
SLACK_S = 10.0
CLIENTS = 12
TIERS = {
    "steady": {"requests_per_minute": 60_000, "concurrent_calls": 50},
    "slow": {"requests_per_minute": 1, "burst": 1},
    "five": {"requests_per_minute": 5, "burst": 5},
}
ANSWER = b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}'


@dataclass
class Load:
    """Clients that ask without pause, and what they got."""

    gateway: Running
    key: str
    limited: str
    statuses: list[int] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    limited_statuses: list[int] = field(default_factory=list)

    async def client(self) -> None:
        while True:
            begun = time.monotonic()
            async with self.gateway.chat(key=self.key) as response:
                await response.read()
                self.statuses.append(response.status)
            self.waits.append(time.monotonic() - begun)

    async def limited_client(self) -> None:
        while True:
            async with self.gateway.chat(key=self.limited) as response:
                await response.read()
                self.limited_statuses.append(response.status)
            await asyncio.sleep(0.01)

    async def more(self, calls: int = 30) -> None:
        """Wait until so many more calls were answered."""
        enough = len(self.statuses) + calls
        await until(lambda: len(self.statuses) >= enough, within_s=60)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.client()) for _ in range(CLIENTS)]
        tasks.append(asyncio.create_task(self.limited_client()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            failed = [each for each in results if not isinstance(each, asyncio.CancelledError)]
            assert failed == []


@pytest.fixture
def server() -> Iterator[OwnServer]:
    own = OwnServer()
    yield own
    own.close()


async def loaded(start: Start, upstream: FakeUpstream, site: Site, server: OwnServer) -> Load:
    site.content["tiers"].update(TIERS)
    keys = site.add("steady", tier="steady"), site.add("limited", tier="five")
    store = {"url": server.url, "deadline_ms": int(DEADLINE_S * 1000), "probe_interval_ms": 20}
    gateway = await start(redis=store)
    upstream.answers_whole(ANSWER)
    return Load(gateway, *keys)


async def is_back(gateway: Running) -> None:
    async with asyncio.timeout(60):
        while (await gateway.ready())[1]["limits"] != "store":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert await gateway.metric("azeotrope_store_up") == 1


async def stopped_clean(load: Load, server: OwnServer) -> None:
    """All that must hold at the end, whatever happened to the store."""
    with server.client() as client:
        await until(lambda: not client.keys("az:*:leases"))
    lines = await load.gateway.stop()
    calls = [line["call"] for line in lines]
    assert len(set(calls)) == len(calls)
    assert set(load.statuses) == {200}
    assert max(load.waits) < DEADLINE_S + SLACK_S
    # 5 of the burst, and one for each 12 s: what was used is known without the store too.
    minutes = sum(load.waits) / CLIENTS / 60
    assert load.limited_statuses.count(200) <= 5 + 5 * minutes + 1
    assert set(load.limited_statuses) <= {200, 429}


def kill(server: OwnServer) -> Callable[[], None]:
    server.kill()
    return server.start


def freeze(server: OwnServer) -> Callable[[], None]:
    server.freeze()
    return server.thaw


def fill(server: OwnServer) -> Callable[[], None]:
    with server.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1")

    def empty() -> None:
        with server.client() as client:
            client.config_set("maxmemory", "0")

    return empty


def demote(server: OwnServer) -> Callable[[], None]:
    with server.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")

    def promote() -> None:
        with server.client() as client:
            client.execute_command("REPLICAOF", "NO", "ONE")

    return promote


@pytest.mark.parametrize("fault", [kill, freeze, fill, demote])
async def test_a_store_that_is_away_for_a_while_is_not_noticed_by_clients(
    start: Start,
    upstream: FakeUpstream,
    site: Site,
    server: OwnServer,
    fault: Callable[[OwnServer], Callable[[], None]],
) -> None:
    load = await loaded(start, upstream, site, server)
    async with load.running():
        for _ in range(3):
            await load.more()
            heal = await asyncio.to_thread(fault, server)
            await load.more(3 * CLIENTS)
            status, state = await load.gateway.ready()
            assert (status, state["limits"]) == (200, "local")
            assert await load.gateway.metric("azeotrope_store_up") == 0
            await asyncio.to_thread(heal)
            await is_back(load.gateway)
        await load.more()
    metrics = await load.gateway.metrics()
    assert 'source="local"' in metrics
    assert "azeotrope_store_failures_total{reason=" in metrics
    await stopped_clean(load, server)


async def test_a_store_that_asks_for_a_password_meanwhile_goes_on_and_is_lost_with_the_connection(
    start: Start, upstream: FakeUpstream, site: Site, server: OwnServer
) -> None:
    load = await loaded(start, upstream, site, server)
    async with load.running():
        await load.more()
        with server.client() as client:
            client.config_set("requirepass", "hunter2")
            await load.more()
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await until(lambda: not load.gateway.gateway._store.up)
            await load.more(3 * CLIENTS)
            assert (await load.gateway.ready())[1]["limits"] == "local"
            client.config_set("requirepass", "")
        await is_back(load.gateway)
        await load.more()
    await stopped_clean(load, server)


@pytest.mark.parametrize(
    "nuisance",
    [("FLUSHALL",), ("SCRIPT", "FLUSH"), ("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")],
    ids=" ".join,
)
async def test_a_store_that_is_emptied_or_cut_under_load_changes_nothing(
    start: Start,
    upstream: FakeUpstream,
    site: Site,
    server: OwnServer,
    nuisance: tuple[str, ...],
) -> None:
    load = await loaded(start, upstream, site, server)
    async with load.running():
        with server.client() as client:
            for _ in range(10):
                client.execute_command(*nuisance)
                await load.more(10)
        await is_back(load.gateway)
    await stopped_clean(load, server)


async def test_leases_of_streams_outlive_the_store_and_end_with_them(
    start: Start, upstream: FakeUpstream, site: Site, server: OwnServer
) -> None:
    load = await loaded(start, upstream, site, server)
    gateway = load.gateway
    upstream.answers_until_hung_up(b"data: {}\n\n")
    stream = json.dumps(
        {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    ).encode()

    def leases() -> int:
        with server.client() as client:
            return sum(client.zcard(key) for key in client.keys("az:*:leases"))

    async with contextlib.AsyncExitStack() as open_streams:
        for _ in range(10):
            response = await open_streams.enter_async_context(gateway.chat(stream, key=load.key))
            assert response.status == 200
        assert leases() == 10
        server.kill()
        await until(lambda: not gateway.gateway._store.up)
        async with gateway.chat(stream, key=load.key) as response:
            assert response.status == 200
        await asyncio.to_thread(server.start)
        await is_back(gateway)
        # The eleventh was hung up on while the store was away.
        await until(lambda: leases() == 10)
    await until(lambda: leases() == 0)


@pytest.mark.parametrize("program", PROGRAMS)
async def test_clients_that_go_during_admission_leak_no_lease(
    start: Start, upstream: FakeUpstream, site: Site, program: str
) -> None:
    server = OwnServer(program)
    try:
        load = await loaded(start, upstream, site, server)
        for turn in range(60):
            asking = asyncio.create_task(load.gateway.chat(key=load.key).__aenter__())
            await asyncio.sleep(turn % 20 * 0.0002)
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                (await asking).close()
        with server.client() as client:
            await until(lambda: not client.keys("az:*:leases"))
        assert await load.gateway.metric("azeotrope_open_calls") == 0
    finally:
        server.close()


async def test_a_client_that_goes_while_a_frozen_store_is_asked_leaks_no_lease(
    start: Start, upstream: FakeUpstream, site: Site, server: OwnServer
) -> None:
    load = await loaded(start, upstream, site, server)
    server.freeze()
    asking = [asyncio.create_task(load.gateway.chat(key=load.key).__aenter__()) for _ in range(20)]
    await asyncio.sleep(DEADLINE_S / 4)  # under way, and not yet given up
    for each in asking:
        each.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    server.thaw()
    await is_back(load.gateway)
    with server.client() as client:
        await until(lambda: not client.keys("az:*:leases"))


async def test_the_clock_of_the_process_set_back_repeats_no_number(
    start: Start,
    upstream: FakeUpstream,
    site: Site,
    server: OwnServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load = await loaded(start, upstream, site, server)
    real = time.time
    local = load.gateway.gateway._endpoints._pipeline.guard._local
    async with load.running():
        await load.more()
        await asyncio.to_thread(server.kill)
        for step in (-3600.0, 7200.0, -7200.0):
            monkeypatch.setattr(local, "_wall", lambda step=step: real() + step)
            await load.more()
        await asyncio.to_thread(server.start)
        await is_back(load.gateway)
        await load.more()
    await stopped_clean(load, server)
