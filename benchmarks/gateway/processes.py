"""Programs pinned to a core, their CPU time and their memory."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_START_SECONDS = 90.0
_STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Program:
    """A running program and all its descendants."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def start(
        cls,
        name: str,
        command: Sequence[str],
        *,
        cores: Sequence[int],
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> Program:
        """Start a command on `cores`; its output goes to `log`."""
        pinned = ["taskset", "--cpu-list", ",".join(map(str, cores)), *command]
        with log.open("ab") as output:
            process = subprocess.Popen(
                pinned,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        return cls(name, process, log)

    def wait_until_open(self, port: int) -> None:
        """Wait until HTTP is spoken on a port; raises RuntimeError with the log's end."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
                connection.request("GET", "/v1/models")
                if connection.getresponse().status < 500:
                    return
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.1)
        raise RuntimeError(f"{self.name} does not start: {self.log.read_text()[-2000:]}")

    def cpu_seconds(self) -> float:
        """User and system time of the program and its descendants, threads included."""
        return sum(sum(process.cpu_times()[:4]) for process in self.family())

    def resident_mb(self) -> float:
        """Resident memory of all processes together, in 10^6 bytes."""
        return sum(process.memory_info().rss for process in self.family()) / 1e6

    def stop(self) -> None:
        """End the program and whatever it started."""
        family = self.family() if self.process.poll() is None else []
        self.process.terminate()
        _, alive = psutil.wait_procs(family, timeout=_STOP_SECONDS)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()

    def family(self) -> list[psutil.Process]:
        """Return the program's process and all its descendants."""
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
