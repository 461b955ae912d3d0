"""One worker as its supervisor sees it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from proxy.errors import StartError
from proxy.workers.channel import Ask, Channel, Failed, Serving, Start, State, ToWorker


class Member:
    """A worker's process and the channel to it."""

    def __init__(self, process: asyncio.subprocess.Process, channel: Channel) -> None:
        self.serving = False
        self.complaint: str | None = None
        self._process = process
        self._channel = channel
        self._asking: asyncio.Future[Mapping[str, object]] | None = None

    @classmethod
    async def spawn(cls, start: Start, metrics: Path) -> Member:
        """Start a worker; raises StartError where not even a process can be had."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *_command(),
                    stdin=theirs.fileno(),
                    pass_fds=start.sockets,
                    start_new_session=True,
                    env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(metrics)},
                )
        except OSError as error:
            ours.close()
            raise StartError(f"a worker cannot be started ({error.strerror})") from None
        member = cls(process, await Channel.over(ours))
        member.send(start)
        return member

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def send(self, message: ToWorker) -> None:
        """Tell the worker something."""
        self._channel.send(message)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if the process is still there."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def follow(self, began_to_serve: asyncio.Event) -> int:
        """Hear the worker until it ends; return its exit status, -N for a signal."""
        while (message := await self._channel.receive()) is not None:
            match message:
                case Serving():
                    self.serving = True
                    began_to_serve.set()
                case Failed(complaint):
                    self.complaint = complaint
                case State(state):
                    if self._asking is not None and not self._asking.done():
                        self._asking.set_result(state)
        status = await self._process.wait()
        self.serving = False
        await self._channel.close()
        return status

    async def readiness(self, within_s: float) -> Mapping[str, object] | None:
        """Ask for the readiness; None if no answer comes in time."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().create_future()
            self.send(Ask())
        done, _ = await asyncio.wait({self._asking}, timeout=within_s)
        return self._asking.result() if done else None


def _command() -> list[str]:
    # -P keeps a directory `proxy` that happens to lie here from being imported, as the
    # console script does; `python -m proxy` in a checkout needs that very directory.
    here = sys.path and sys.path[0] in ("", str(Path.cwd()))
    return [sys.executable, *([] if here else ["-P"]), "-m", "proxy.workers.worker"]
