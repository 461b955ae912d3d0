"""The process that serves: `python -m proxy.workers.worker`, started by a supervisor only.

Its standard input is the channel to the supervisor. SIGTERM drains it alone (the
supervisor then starts another); it starts in a session of its own, so that the
terminal's Ctrl-C goes to the supervisor, which drains all.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import shutil
import signal
import socket
import sys
from collections.abc import Coroutine
from pathlib import Path

import uvloop

from proxy import config, logs
from proxy.server import Gateway, Seat, new_metrics
from proxy.workers.channel import Ask, Channel, Drain, Failed, Hurry, Retire, Serving, Start, State
from watermark.errors import AzeotropeError

_EXIT_ERROR = 2
_YOUNG_OBJECTS = 10_000


class Worker:
    """A gateway in the hands of a supervisor."""

    def __init__(self, gateway: Gateway, channel: Channel) -> None:
        self._gateway = gateway
        self._channel = channel
        self._leaving = asyncio.Event()
        self._asked: set[asyncio.Task[None]] = set()
        self.orphaned = False

    async def serve(self) -> None:
        """Serve until told to stop, or until the supervisor is gone."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._leaving.set)
        loop.add_signal_handler(signal.SIGINT, self._leaving.set)
        self._channel.send(Serving())
        listening = asyncio.create_task(self._obey())
        await self._leaving.wait()
        await self._gateway.drain()
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening

    async def _obey(self) -> None:
        while (message := await self._channel.receive()) is not None:
            match message:
                case Ask():
                    self._do(self._tell_state())
                case Retire():
                    self._do(self._retire())
                case Drain():
                    self._leaving.set()
                case Hurry():
                    self._gateway.hurry()
        self.orphaned = True
        self._leaving.set()

    def _do(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    async def _retire(self) -> None:
        await self._gateway.retire()
        self._leaving.set()

    async def _tell_state(self) -> None:
        self._channel.send(State(await self._gateway.readiness()))


async def run(control: socket.socket) -> int:
    """Serve what the supervisor at the other end of `control` says; return the exit status."""
    channel = await Channel.over(control)
    start = await channel.receive()
    if not isinstance(start, Start):
        return 0  # the supervisor has gone
    settings = config.parse(Path(start.path), start.text)
    metrics = new_metrics(settings)
    stop_log = logs.start(settings.log.level, settings.log.format, metrics.log_lost.inc)
    sockets = [_shared(number) for number in start.sockets]
    seat = Seat(start.seat, start.workers, sockets, start.store_url)
    try:
        async with Gateway(settings, metrics, seat) as gateway:
            _settle_memory()
            worker = Worker(gateway, channel)
            await worker.serve()
        if worker.orphaned:
            _clear_metrics()
    except AzeotropeError as error:
        channel.send(Failed(str(error)))
        return _EXIT_ERROR
    finally:
        await channel.close()
        stop_log()
    return 0


def _settle_memory() -> None:
    """Keep the collector of reference cycles from going over what stays anyway.

    A call leaves no cycles behind; looking for them with Python's defaults took 4 % of it, and
    a full collection goes over 80,000 objects of modules: tens of milliseconds of the loop.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)


def _shared(number: int) -> socket.socket:
    listening = socket.socket(fileno=number)
    listening.setblocking(False)
    return listening


def _clear_metrics() -> None:
    """Remove what a supervisor that was killed could not; it may be memory (/dev/shm)."""
    shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)


def main() -> None:
    """Run a worker whose standard input is the channel to its supervisor."""
    control = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    sys.exit(uvloop.run(run(control)))


if __name__ == "__main__":
    main()
