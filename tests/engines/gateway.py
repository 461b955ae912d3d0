"""`azeotrope serve` before an engine, as an operator sets it up."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from anthropic import Anthropic, AsyncAnthropic
from marks import Keys
from openai import AsyncOpenAI, OpenAI
from server_process import Server, free_port, running, samples

from proxy import accounts

TIERS = {
    "default": {"requests_per_minute": 600},
    # Two at once, then one every three seconds: what the clients' own retries wait for. Two
    # short calls must be over sooner, or the third one has nothing to wait for.
    "eager": {"requests_per_minute": 20, "burst": 2},
}
TIER_OF = {"eager": "eager", "hasty": "eager"}
CLIENTS = ["alice", "bob", "eager", "hasty"]


@dataclass(frozen=True)
class Gateway:
    """A running gateway, its directory, and the API keys of its accounts."""

    server: Server
    admin_url: str
    directory: Path
    api_keys: dict[str, str]

    def client(self, account: str) -> OpenAI:
        """The official client, as that account."""
        return OpenAI(
            base_url=f"{self.server.url}/v1", api_key=self.api_keys[account], max_retries=0
        )

    def async_client(self, account: str) -> AsyncOpenAI:
        """The same, asynchronous."""
        key = self.api_keys[account]
        return AsyncOpenAI(base_url=f"{self.server.url}/v1", api_key=key, max_retries=0)

    def anthropic(self, account: str) -> Anthropic:
        """The other official client, as that account."""
        key = self.api_keys[account]
        return Anthropic(base_url=self.server.url, api_key=key, max_retries=0)

    def async_anthropic(self, account: str) -> AsyncAnthropic:
        """The same, asynchronous."""
        key = self.api_keys[account]
        return AsyncAnthropic(base_url=self.server.url, api_key=key, max_retries=0)

    def open_calls(self) -> int:
        """Calls that are not yet settled."""
        return int(self._metric("azeotrope_open_calls"))

    def limited(self) -> int:
        """Answers with status 429."""
        found = samples(self.server.get(f"{self.admin_url}/metrics"), "azeotrope_requests_total")
        return int(sum(value for labels, value in found if labels["status"] == "429"))

    def _metric(self, name: str) -> float:
        found = samples(self.server.get(f"{self.admin_url}/metrics"), name)
        return sum(value for _, value in found)

    @property
    def registry(self) -> Path:
        return self.directory / "calls.jsonl"


@contextmanager
def gateway(
    directory: Path,
    keys: Keys,
    upstream: Server,
    names: list[str],
    *,
    delta: float | None = None,
) -> Iterator[Gateway]:
    """Start a gateway before `upstream`, whose model "smol" clients know by two names.

    "assistant" gets a ticket with every call, "plain" nothing of ours.
    """
    port, admin = free_port(), free_port()
    content = {
        "listen": {"port": port},
        "admin": {"port": admin},
        "keyring": str(keys.keyring.path),
        "manifest": str(keys.manifest_path),
        "accounts": "accounts.json",
        "registry": "calls.jsonl",
        "tiers": TIERS,
        "upstreams": [
            {
                "name": "engine",
                "url": upstream.url,
                "models": {"assistant": "smol", "plain": "smol"},
            }
        ],
        "mark": {"delta": delta},
        "models": {"plain": {"embedder": "none"}},
    }
    config = directory / "azeotrope.yaml"
    config.write_text(yaml.safe_dump(content))
    file = directory / "accounts.json"
    api_keys = {
        name: accounts.add(file, name, tier=TIER_OF.get(name, "default"), tiers=TIERS)[1]
        for name in names
    }
    command = [sys.executable, "-m", "proxy", "serve", "--config", config]
    ready = f"http://127.0.0.1:{admin}/readyz"
    with running(command, directory, port=port, ready=ready, environment={}) as server:
        yield Gateway(server, f"http://127.0.0.1:{admin}", directory, api_keys)
