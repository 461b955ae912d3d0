"""A gateway under test, its files, and a client of it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from proxy import accounts
from proxy.server import Gateway


@dataclass
class Site:
    """A directory with everything that a gateway needs, and one account, alice."""

    directory: Path
    content: dict[str, Any]
    key: str
    # What servers in processes of their own have written to standard error and in metrics.
    said: list[str] = field(default_factory=list)

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
