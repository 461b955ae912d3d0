"""The demo's stage: keys, accounts, configuration, two engines and the gateway as processes."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import yaml

from proxy import accounts
from proxy.config import Config, load
from watermark.errors import AzeotropeError
from watermark.keys import create_keyring

MODEL = "smollm2"
_READY_SECONDS = 180


class DemoError(AzeotropeError):
    """Something that the demo started did not come up."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where everything is. `keys` are API keys by account name: a demo may show its own."""

    directory: Path
    model: Path
    gateway: str
    admin: str
    unmarked: str
    keys: dict[str, str]

    @property
    def registry(self) -> Path:
        """The gateway's call registry."""
        return self.directory / "calls.jsonl"


def build(directory: Path, model: Path, stack: ExitStack, tell: Callable[[str], None]) -> Stage:
    """Make keys and accounts, start engines and gateway, and wait until they answer.

    `stack` stops the processes on exit; `tell` is told each step. Raises DemoError.
    """
    tell("making keys and accounts")
    keyring = create_keyring(directory / "keyring.json", directory / "manifest.json")
    keyring.export("engine", directory / "engine.json")
    marked, unmarked, gateway, admin = (_free_port() for _ in range(4))
    config = _configure(directory, marked, gateway, admin)
    keys = {
        name: accounts.add(directory / "accounts.json", name, tier=tier, tiers=config.tiers)[1]
        for name, tier in (("alice", "default"), ("bob", "default"), ("carol", "trickle"))
    }
    tell("starting the engines, the embedded Valkey and the gateway")
    engine = ["engine", "--model", str(model), "--served-name", MODEL, "--port"]
    mark = ["--keys", str(directory / "engine.json")]
    mark += ["--manifest", str(directory / "manifest.json")]
    config_file = str(directory / "azeotrope.yaml")
    parts = [
        _start(stack, directory / "engine.log", [*engine, str(marked), *mark]),
        _start(stack, directory / "unmarked.log", [*engine, str(unmarked)]),
        _start(stack, directory / "gateway.log", ["serve", "--config", config_file]),
    ]
    stage = Stage(
        directory,
        model,
        f"http://127.0.0.1:{gateway}",
        f"http://127.0.0.1:{admin}",
        f"http://127.0.0.1:{unmarked}",
        keys,
    )
    tell("waiting for the model to load")
    urls = (
        f"http://127.0.0.1:{marked}/health",
        f"{stage.unmarked}/health",
        f"{stage.admin}/readyz",
    )
    for part, url in zip(parts, urls, strict=True):
        part.wait(url)
    return stage


def _configure(directory: Path, engine: int, gateway: int, admin: int) -> Config:
    path = directory / "azeotrope.yaml"
    content = {
        "listen": {"port": gateway},
        "admin": {"port": admin},
        "keyring": "keyring.json",
        "manifest": "manifest.json",
        "accounts": "accounts.json",
        "registry": "calls.jsonl",
        "tiers": {
            "default": {"requests_per_minute": 60, "burst": 20},
            "trickle": {"requests_per_minute": 6, "burst": 3},
        },
        "upstreams": [
            {"name": "demo", "url": f"http://127.0.0.1:{engine}", "models": {MODEL: MODEL}}
        ],
        "log": {"format": "text"},
    }
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return load(path)


@dataclass(frozen=True, slots=True)
class _Part:
    """A process of the stage and the file that its output goes to."""

    process: subprocess.Popen[bytes]
    log: Path

    def wait(self, url: str) -> None:
        """Wait until `url` answers; raises DemoError with the end of the log."""
        end = time.monotonic() + _READY_SECONDS
        while self.process.poll() is None and time.monotonic() < end:
            try:
                with urllib.request.urlopen(url, timeout=5):  # noqa: S310 (our own address)
                    return
            except OSError:
                time.sleep(0.1)
        tail = self.log.read_text("utf-8", "replace").strip().splitlines()[-1:]
        raise DemoError(f"{self.log.stem} did not come up; the end of {self.log}: {tail}")

    def stop(self) -> None:
        """End the process, in order if it will."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _start(stack: ExitStack, log: Path, arguments: list[str]) -> _Part:
    output = stack.enter_context(log.open("wb"))
    process = subprocess.Popen(  # noqa: S603 (our own command line)
        [sys.executable, "-m", "proxy", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        # A group of its own: Ctrl-C reaches the demo alone, which then stops them in order.
        process_group=0,
    )
    part = _Part(process, log)
    stack.callback(part.stop)
    return part


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
