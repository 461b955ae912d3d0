"""A server of the engine tests: started, waited for, asked for its counters, ended."""

import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

# Context of a vLLM server with our plugin: its environment, then options of the command line.
StartVllm = Callable[..., AbstractContextManager["Server"]]

_SAMPLE = re.compile(r"^(?P<name>[^{ ]+)(\{(?P<labels>.*)\})? (?P<value>\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Server:
    """A running process, its address, its log and the directory of its plugin's counters."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path
    stats: Path

    def get(self, path: str) -> str:
        """Body of a path, or of a URL elsewhere."""
        url = path if path.startswith("http") else self.url + path
        with urllib.request.urlopen(url, timeout=30) as response:
            return str(response.read().decode())

    def metric(self, name: str) -> float:
        """Sum of a metric over its labels, as the server itself reports it."""
        return sum(value for _, value in samples(self.get("/metrics"), name))

    def counters(self, name: str, label: str = "") -> dict[str, int]:
        """Plugin's counters of a name, by the value of `label`."""
        found: dict[str, int] = {}
        for file in self.stats.glob("azeotrope_engine_*.prom"):
            for labels, value in samples(file.read_text(), name):
                found[labels.get(label, "")] = found.get(labels.get(label, ""), 0) + int(value)
        return found

    def stop(self) -> None:
        """End the process and wait until it has."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=60)
            finally:
                _kill_group(self.process.pid)
                self.process.wait()


class NotReadyError(Exception):
    """A server that did not get ready, and all that it logged."""

    def __init__(self, reason: str, log: Path) -> None:
        super().__init__(reason)
        self.log = log.read_text(errors="replace")


@contextmanager
def running(
    command: Sequence[str | Path],
    directory: Path,
    *,
    port: int,
    ready: str,
    environment: Mapping[str, str],
    patience: float = 240,
) -> Iterator[Server]:
    """Start `command`, yield when `ready` (a path or a URL) answers with 200, end it afterwards.

    Raises NotReadyError if the process ends or stays mute; failures show the end of the log.
    """
    log, stats = directory / "log", directory / "stats"
    stats.mkdir(parents=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env={**os.environ, **environment, "AZEOTROPE_STATS_DIR": str(stats)},
            start_new_session=True,
        )
    server = Server(process, f"http://127.0.0.1:{port}", log, stats)
    try:
        _await_ready(server, ready, patience)
        yield server
    except BaseException as error:
        error.add_note(f"end of {log}:\n{tail(log)}")
        raise
    finally:
        server.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tail(log: Path, lines: int = 40) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def samples(text: str, name: str) -> list[tuple[dict[str, str], float]]:
    """Samples of one metric in a text of Prometheus' format."""
    return [
        (dict(re.findall(r'(\w+)="([^"]*)"', match["labels"] or "")), float(match["value"]))
        for match in _SAMPLE.finditer(text)
        if match["name"] == name
    ]


def _await_ready(server: Server, path: str, patience: float) -> None:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise NotReadyError(f"ended with code {server.process.returncode}", server.log)
        try:
            server.get(path)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.25)
        else:
            return
    raise NotReadyError(f"{path} did not answer within {patience} s", server.log)


def _kill_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return
