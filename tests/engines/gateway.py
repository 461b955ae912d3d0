"""`azeotrope serve` before an engine, as an operator sets it up."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from marks import Keys
from openai import OpenAI
from server_process import Server, free_port, running

from proxy import accounts

TIERS = {"default": {"requests_per_minute": 600}}


@dataclass(frozen=True)
class Gateway:
    """A running gateway, its directory, and the API keys of its accounts."""

    server: Server
    directory: Path
    api_keys: dict[str, str]

    def client(self, account: str) -> OpenAI:
        """The official client, as that account."""
        return OpenAI(
            base_url=f"{self.server.url}/v1", api_key=self.api_keys[account], max_retries=0
        )

    @property
    def registry(self) -> Path:
        return self.directory / "calls.jsonl"


@contextmanager
def gateway(directory: Path, keys: Keys, upstream: Server, names: list[str]) -> Iterator[Gateway]:
    """Start a gateway before `upstream`, whose model "smol" clients know as "assistant"."""
    port, admin = free_port(), free_port()
    content = {
        "listen": {"port": port},
        "admin": {"port": admin},
        "keyring": str(keys.keyring.path),
        "manifest": str(keys.manifest_path),
        "accounts": "accounts.json",
        "registry": "calls.jsonl",
        "tiers": TIERS,
        "upstreams": [{"name": "engine", "url": upstream.url, "models": {"assistant": "smol"}}],
    }
    config = directory / "azeotrope.yaml"
    config.write_text(yaml.safe_dump(content))
    file = directory / "accounts.json"
    api_keys = {name: accounts.add(file, name, tier="default", tiers=TIERS)[1] for name in names}
    command = [sys.executable, "-m", "proxy", "serve", "--config", config]
    ready = f"http://127.0.0.1:{admin}/readyz"
    with running(command, directory, port=port, ready=ready, environment={}) as server:
        yield Gateway(server, directory, api_keys)
