"""`azeotrope serve`: holds what the workers share, and keeps them serving.

It serves no client itself, so that nothing a client sends can reach it. It validates
a configuration once and hands its text on: a worker that is started again hours later
serves what was validated, not what the file says by then.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy import config
from proxy.admin.api import AdminPort
from proxy.config import Config
from proxy.downstream.acceptor import bind, close_all, url_of
from proxy.errors import ConfigError
from proxy.server import Material, load_material, open_embedded, started_fields
from proxy.workers.channel import Start
from proxy.workers.counted import Counted
from proxy.workers.crew import Crew, Seats
from watermark.errors import AzeotropeError

_log = logging.getLogger(__name__)
# Beyond the drain's own limit: to settle what was cut, flush the registry, and exit.
_GRACE_S = 15.0


@dataclass(frozen=True, slots=True)
class Plan:
    """A configuration that was found good, with the text that it came from."""

    path: Path
    text: str
    config: Config
    material: Material
    workers: int

    @classmethod
    def load(cls, path: Path, workers: int | None) -> Plan:
        """Read and check a configuration and the files it names; raises AzeotropeError.

        `workers` overrides what the configuration says.
        """
        text = config.read(path)
        settings = config.parse(path, text)
        try:
            material = load_material(settings)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None
        return cls(path, text, settings, material, workers or settings.workers)


class Supervisor:
    """Runs one plan, and changes to another on SIGHUP."""

    def __init__(self, plan: Plan, workers: int | None) -> None:
        self._plan = plan
        self._workers = workers
        self._crew: Crew | None = None
        self._retired: dict[Crew, asyncio.Task[None]] = {}
        self._seats = Seats()
        self._counted = Counted(self._processes)
        self._embedded_url: str | None = None
        self._draining = self._up = False
        self._interactive = sys.stdin.isatty()

    def log_lost(self) -> None:
        """Count a line of this process's log that had to be dropped."""
        self._counted.log_lost.inc()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; raises AzeotropeError if that cannot be."""
        self._stop, self._hurry, self._reload = (asyncio.Event() for _ in range(3))
        self._watch_signals()
        async with AsyncExitStack() as stack:
            stack.enter_context(self._counted)
            await self._open(stack)
            try:
                self._crew = self._new_crew(self._plan)
                if await self._unless_stopped(self._crew.up()):
                    self._up = True
                    self._tell_listening()
                    await self._supervise(self._crew)
            finally:
                await self._drain()
        _log.info("stopped")

    async def _open(self, stack: AsyncExitStack) -> None:
        listen, admin = self._plan.config.listen, self._plan.config.admin
        self._sockets = bind("listen", listen.host, listen.port)
        stack.callback(close_all, self._sockets)
        self._stack = stack
        port = AdminPort(self._counted.render, self.readiness)
        stack.push_async_callback(port.close)
        self._admin_url = await port.listen(admin.host, admin.port)

    def _new_crew(self, plan: Plan) -> Crew:
        start = Start(
            path=str(plan.path),
            text=plan.text,
            seat=0,  # each worker gets its own
            workers=plan.workers,
            sockets=[each.fileno() for each in self._sockets],
            store_url=self._store_url(plan.config),
        )
        return Crew(start, self._counted, self._seats)

    def _store_url(self, settings: Config) -> str:
        """Return the embedded store's URL, which is started when first needed."""
        if settings.redis.url is not None:
            return ""
        if self._embedded_url is None:
            self._embedded_url = open_embedded(self._stack)
        return self._embedded_url

    async def _supervise(self, crew: Crew) -> None:
        while not self._stop.is_set():
            await _first(self._reload.wait(), self._stop.wait(), crew.hopeless)
            if crew.hopeless.done():
                crew.hopeless.result()
            if self._reload.is_set() and not self._stop.is_set():
                self._reload.clear()
                crew = await self._change(crew)

    async def _change(self, old: Crew) -> Crew:
        """Put a new crew in the place of `old` if the configuration is good."""
        new: Crew | None = None
        try:
            plan = await asyncio.to_thread(Plan.load, self._plan.path, self._workers)
            _check_unchanged(self._plan.config, plan.config)
            new = self._new_crew(plan)
            if not await self._unless_stopped(new.up()):
                self._let_go(new)
                return old
        except AzeotropeError as error:
            if new is not None:
                self._let_go(new)
            self._counted.reloads_failed.inc()
            _log.error("config_kept", extra={"fields": {"reason": str(error)}})
            return old
        self._plan, self._crew = plan, new
        logging.getLogger("proxy").setLevel(plan.config.log.level.upper())
        self._let_go(old)
        self._counted.reloads_done.inc()
        fields = {"workers": plan.workers, **started_fields(plan.material)}
        _log.info("config_reloaded", extra={"fields": fields})
        return new

    def _let_go(self, crew: Crew) -> None:
        crew.retire()
        leaving = self._retired[crew] = asyncio.create_task(crew.gone())
        leaving.add_done_callback(lambda _: self._retired.pop(crew))

    async def _drain(self) -> None:
        limit = self._plan.config.limits.drain_timeout_s
        crews = [*self._retired, *([self._crew] if self._crew else [])]
        self._draining = True
        if self._up:
            _log.info("draining", extra={"fields": {"limit_s": limit}})
        for crew in crews:
            crew.drain()
        close_all(self._sockets)
        gone = asyncio.gather(*(crew.gone() for crew in crews))
        try:
            await _first(gone, self._hurry.wait(), timeout_s=limit)
            for crew in crews:
                crew.hurry()
            await _first(gone, timeout_s=_GRACE_S)
            if not gone.done():
                _log.error("workers_killed", extra={"fields": {"limit_s": limit + _GRACE_S}})
        finally:
            for crew in crews:
                crew.kill()
            await gone

    async def _unless_stopped(self, work: Coroutine[object, object, None]) -> bool:
        """Wait for `work`, but not beyond a signal to stop; true if it was done."""
        task = asyncio.create_task(work)
        await _first(task, self._stop.wait())
        if not task.done():
            task.cancel()
            return False
        task.result()
        return True

    async def readiness(self) -> dict[str, object]:
        """State of all workers together: ready if one of them is."""
        crew = self._crew
        states = [] if crew is None else await crew.states()
        workers = {
            "serving": len(states),
            "wanted": self._plan.workers,
            "retiring": sum(len(retired.pids) for retired in self._retired),
            "pids": [] if crew is None else list(crew.pids.values()),
        }
        if not states:
            return {"ready": False, "draining": self._draining, "workers": workers}
        return {
            **_together(states),
            "ready": any(state["ready"] for state in states) and not self._draining,
            "draining": self._draining,
            "workers": workers,
        }

    def _processes(self) -> dict[str, int]:
        pids = {} if self._crew is None else self._crew.pids
        workers = {f"worker-{seat}": pid for seat, pid in sorted(pids.items())}
        return {"supervisor": os.getpid(), **workers}

    def _tell_listening(self) -> None:
        fields = {
            "url": url_of(self._sockets[0].getsockname()),
            "admin_url": self._admin_url,
            "workers": self._plan.workers,
            **started_fields(self._plan.material),
        }
        _log.info("listening", extra={"fields": fields})

    def _watch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)

    def _on_stop(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    def _on_hangup(self) -> None:
        if self._interactive and not sys.stdin.isatty():
            self._on_stop()  # our terminal was closed: nobody asked for a reload
        else:
            self._reload.set()


async def _first(
    *awaited: asyncio.Future[Any] | Coroutine[Any, Any, object], timeout_s: float | None = None
) -> None:
    """Wait until the first is done, whatever its result; futures go on, coroutines end."""
    waiting: list[asyncio.Future[Any]] = [asyncio.ensure_future(each) for each in awaited]
    await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    for each, given in zip(waiting, awaited, strict=True):
        if each is not given:
            each.cancel()


def _together(states: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one readiness for all: what is wrong with one worker is wrong."""
    first, *others = states
    together = dict(first)
    for state in others:
        if state["limits"] == "local":
            together["limits"] = "local"
        together["registry"] = together["registry"] and state["registry"]
        together["upstreams"] = {
            name: up and state["upstreams"][name] for name, up in together["upstreams"].items()
        }
    return together


def _check_unchanged(old: Config, new: Config) -> None:
    for section in ("listen", "admin"):
        if getattr(old, section) != getattr(new, section):
            raise ConfigError(f"{section}: expected no change while running: restart for another")
