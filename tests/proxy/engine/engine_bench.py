"""Parts of the engine tests: a batch loop stepped by hand, a served engine, keys and tickets."""

import asyncio
import http.client
import json
import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

from proxy.engine.batching import Batcher
from proxy.engine.listen import bind, running
from proxy.engine.metrics import EngineMetrics
from proxy.engine.sampling import Sampling, TokenLogprob
from proxy.engine.server import EngineServer
from proxy.engine.tasks import Delta, Failure, GenerationTask
from watermark.embed.marker import Marker
from watermark.keys import Keyring, create_keyring
from watermark.manifest import Manifest, Parameters
from watermark.reference import Count, count
from watermark.ticket import Ticket, sign

NAME = "smol"
DELTA_MILLINATS = 6000  # strong, so that short answers suffice


@dataclass
class Run:
    """A submitted task and what it emitted."""

    task: GenerationTask
    events: list[Delta | Failure] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def of(cls, prompt: Sequence[int], sampling: Sampling, **fields: object) -> "Run":
        run = cls(GenerationTask(prompt, sampling, lambda event: None, **fields))  # type: ignore[arg-type]
        run.task.emit = run._hear
        return run

    def _hear(self, event: Delta | Failure) -> None:
        self.events.append(event)
        if isinstance(event, Failure) or event.finish is not None:
            self.done.set()

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, Delta))

    @property
    def logprobs(self) -> list[TokenLogprob]:
        return [
            entry for event in self.events if isinstance(event, Delta) for entry in event.logprobs
        ]

    @property
    def finish(self) -> str | None:
        last = self.events[-1]
        return last.finish if isinstance(last, Delta) else f"failed: {last.message}"


@dataclass
class Bench:
    """A batch loop that is stepped by hand."""

    batcher: Batcher
    metrics: EngineMetrics

    def submit(self, prompt: Sequence[int], sampling: Sampling, **fields: object) -> Run:
        run = Run.of(prompt, sampling, **fields)
        self.batcher.submit([run.task])
        return run

    def run(self, *runs: Run, steps: int = 500) -> None:
        for _ in range(steps):
            if all(run.done.is_set() for run in runs):
                return
            self.batcher.step()
        raise AssertionError("the batch loop made no end")

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


@contextmanager
def served(server: EngineServer) -> Iterator[str]:
    """Serve in a thread with an event loop of its own; gives the URL."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    context = running(server, bind("127.0.0.1", 0))
    try:
        yield asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result()
    finally:
        ended = context.__aexit__(None, None, None)
        asyncio.run_coroutine_threadsafe(ended, loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def post(url: str, path: str, body: bytes | dict[str, Any]) -> tuple[int, str]:
    """Status and body of an answer."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    data = body if isinstance(body, bytes) else json.dumps(body)
    connection.request("POST", path, data, {"Content-Type": "application/json"})
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def typed_events(url: str, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """Events of a stream whose every event has a name, which must be its type."""
    status, text = post(url, path, {**body, "stream": True})
    assert status == 200
    *blocks, rest = text.split("\n\n")
    assert rest == ""
    events = []
    for block in blocks:
        name, data = block.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    return events


@dataclass(frozen=True)
class Keys:
    """A keyring with its manifest, what an engine gets of it, and tickets."""

    keyring: Keyring
    manifest: Manifest
    engine: Path
    manifest_path: Path

    @classmethod
    def create(cls, directory: Path) -> "Keys":
        engine, manifest_path = directory / "engine.json", directory / "manifest.json"
        # Account and call get more than their usual share, so that short answers suffice.
        shares = Parameters(
            site_share=21846,
            account_share=21845,
            call_share=21845,
            delta_millinats=DELTA_MILLINATS,
        )
        # Fixed keys and seeds: how green an answer comes out is then no matter of luck.
        draw = random.Random(1)
        with patch("watermark.keys.secrets.token_bytes", draw.randbytes):
            keyring = create_keyring(directory / "keyring.json", manifest_path, parameters=shares)
        keyring.export("engine", engine)
        return cls(keyring, keyring.manifest(manifest_path), engine, manifest_path)

    def marker(self) -> Marker:
        return Marker.load(self.engine, self.manifest_path)

    def ticket(self, account: int, call: int, seconds: int = 3600) -> str:
        fields = Ticket(
            epoch=self.keyring.current.epoch,
            account=account,
            call=call,
            delta_millinats=DELTA_MILLINATS,
            level=0,
            expires=int(time.time()) + seconds,
        )
        return sign(fields, self.keyring.current.ticket)

    def count(self, tokens: Sequence[int], channel: str, account: int = 0, call: int = 0) -> Count:
        """Count the channel's windows by the plain-integer reference of the format."""
        epoch = self.keyring.current
        parameters = self.manifest.parameters(epoch.epoch)
        found = count(tokens, epoch, parameters, account=account, call=call)
        return found[channel]  # type: ignore[index]
