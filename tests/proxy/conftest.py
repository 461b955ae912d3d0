"""A real gateway on free ports, a real Valkey, and a scripted engine behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis
import uvloop
import yaml
from fake_upstream import FakeUpstream

from proxy import accounts
from proxy.config import load
from proxy.guard.embedded import EmbeddedValkey
from proxy.server import Gateway
from watermark.keys import create_keyring


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run the gateway in the event loop that `azeotrope serve` gives it."""
    if item.path.parent != Path(__file__).parent:
        return {"asyncio": asyncio.new_event_loop}
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def valkey() -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey()
    yield server
    server.close()


@pytest.fixture
def clean_valkey(valkey: EmbeddedValkey) -> str:
    """URL of the shared Valkey, emptied."""
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    return valkey.url


@pytest.fixture(scope="session")
def key_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Keyring and manifest."""
    directory = tmp_path_factory.mktemp("keys")
    keyring, manifest = directory / "keyring.json", directory / "manifest.json"
    create_keyring(keyring, manifest)
    return keyring, manifest


@dataclass
class Site:
    """A directory with everything that a gateway needs, and one account, alice."""

    directory: Path
    content: dict[str, Any]
    key: str

    @property
    def file(self) -> Path:
        return self.directory / "azeotrope.yaml"

    @property
    def registry(self) -> Path:
        return self.directory / "calls.jsonl"

    def write(self) -> Path:
        self.file.write_text(yaml.safe_dump(self.content))
        return self.file

    def add(self, name: str, tier: str = "default", models: list[str] | None = None) -> str:
        return accounts.add(
            self.directory / "accounts.json",
            name,
            tier=tier,
            tiers=self.content["tiers"],
            models=models,
        )[1]


@pytest.fixture
def site(tmp_path: Path, key_files: tuple[Path, Path], clean_valkey: str) -> Site:
    content = {
        "listen": {"port": 0},
        "admin": {"port": 0},
        "keyring": str(key_files[0]),
        "manifest": str(key_files[1]),
        "accounts": "accounts.json",
        "registry": "calls.jsonl",
        # A loaded test machine must not look like a Redis that is away.
        "redis": {"url": clean_valkey, "deadline_ms": 5000, "probe_interval_ms": 20},
        "tiers": {
            "default": {"requests_per_minute": 60_000},
            "tiny": {"requests_per_minute": 2, "burst": 2},
        },
        "upstreams": [
            {"name": "fake", "url": "http://127.0.0.1:9", "models": {"m": "engine-m", "n": "n"}}
        ],
        "limits": {"drain_timeout_s": 5},
    }
    site = Site(tmp_path, content, "")
    site.key = site.add("alice")
    return site


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as server:
        yield server


@dataclass
class Running:
    """A running gateway and a client of it."""

    gateway: Gateway
    site: Site
    http: aiohttp.ClientSession
    stack: AsyncExitStack

    @property
    def url(self) -> str:
        return self.gateway.url

    def headers(self, key: str | None = None) -> dict[str, str]:
        return {"authorization": f"Bearer {key or self.site.key}"}

    def chat(
        self, body: dict[str, Any] | bytes | None = None, key: str | None = None, **options: Any
    ) -> Any:
        """Begin a chat completion; use as `async with`."""
        content = body if isinstance(body, bytes) else json.dumps(body or question()).encode()
        return self.http.post(
            f"{self.url}/v1/chat/completions",
            data=content,
            headers={"content-type": "application/json", **self.headers(key)},
            **options,
        )

    async def metrics(self) -> str:
        async with self.http.get(f"{self.gateway.admin_url}/metrics") as response:
            return await response.text()

    async def metric(self, line: str) -> float:
        """Value of one series, 0 if it does not exist yet."""
        for text in (await self.metrics()).splitlines():
            if text.rpartition(" ")[0] == line:
                return float(text.rpartition(" ")[2])
        return 0.0

    async def ready(self) -> tuple[int, dict[str, Any]]:
        async with self.http.get(f"{self.gateway.admin_url}/readyz") as response:
            return response.status, await response.json()

    async def stop(self) -> list[dict[str, Any]]:
        """Drain and stop the gateway; return the lines of its call registry."""
        await self.stack.aclose()
        return self.registry_lines()

    def registry_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.site.registry.read_text().splitlines()]


def question(**fields: Any) -> dict[str, Any]:
    """Return a small chat request."""
    return {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}


Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start(site: Site, upstream: FakeUpstream) -> AsyncIterator[Start]:
    """Start a gateway in front of the fake upstream; arguments override its configuration."""
    async with AsyncExitStack() as stack:

        async def run(**sections: Any) -> Running:
            site.content["upstreams"][0]["url"] = upstream.url
            for name, section in sections.items():
                if isinstance(section, dict):
                    site.content[name] = {**site.content.get(name, {}), **section}
                else:
                    site.content[name] = section
            client = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
            own = await stack.enter_async_context(AsyncExitStack())
            gateway = await own.enter_async_context(Gateway(load(site.write())))
            return Running(gateway, site, client, own)

        yield run
