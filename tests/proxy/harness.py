"""Fixtures: a real gateway on free ports, a real Valkey, and a scripted engine behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis
import uvloop
from fake_upstream import FakeUpstream
from running import Running, Site, Start
from secrecy import nothing_secret_is_told

from proxy.config import load
from proxy.guard.embedded import EmbeddedValkey
from proxy.server import Gateway
from watermark.keys import create_keyring

__all__ = [
    "clean_valkey",
    "key_files",
    "nothing_secret_is_told",
    "pytest_asyncio_loop_factories",
    "site",
    "start",
    "upstream",
    "valkey",
]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run the gateway in the event loop that `azeotrope serve` gives it."""
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
