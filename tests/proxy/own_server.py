"""A Valkey or Redis process of one test's own, to be killed, frozen and filled."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import redis

from proxy.guard.embedded import _program

PROGRAMS = ("valkey", "redis")


def program(name: str) -> str:
    """Path of a server's program; skips the test where it is not installed."""
    found = str(_program()) if name == "valkey" else shutil.which("redis-server")
    if found is None:
        pytest.skip("redis-server is not installed")
    return found


class OwnServer:
    """A server on a Unix socket, whose URL stays the same over restarts."""

    def __init__(self, name: str = "valkey", **options: str) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="azeotrope-test-"))
        self._socket = self._directory / "server.sock"
        self._program = program(name)
        self._options = options
        self.url = f"unix://{self._socket}"
        self.start()

    def start(self) -> None:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "dir": str(self._directory),
            "save": "",
            **self._options,
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self._process = subprocess.Popen(
            [self._program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with self.client() as client:
                    client.ping()
                return
            except redis.ConnectionError:
                time.sleep(0.01)
        raise TimeoutError("the server does not start")

    def client(self, database: int = 0) -> redis.Redis:
        """A client of its own, whose waits end."""
        return redis.Redis.from_url(
            self.url,
            db=database,
            password=self._options.get("requirepass"),
            socket_timeout=30,
            decode_responses=True,
        )

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)
