"""The command line as a user has it: processes, exit codes, one line on standard error."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import command_line
import pytest
import yaml
from fake_upstream import Conversation, FakeUpstream
from running import Site, question
from serving import AZEOTROPE, serving

EVENT = b'data: {"choices":[{}]}\n\n'
DONE = b"data: [DONE]\n\n"


def azeotrope(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*AZEOTROPE, *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


def complaint(*arguments: str, cwd: Path | None = None) -> str:
    """Run a command that must fail; return its one line."""
    return command_line.complaint_of(azeotrope(*arguments, cwd=cwd))


@pytest.fixture
def here(site: Site) -> Path:
    """A directory with a good configuration in it."""
    site.write()
    return site.directory


def test_check_says_good_or_what_is_wrong(here: Path, site: Site) -> None:
    result = azeotrope("serve", "--check", cwd=here)
    assert (result.returncode, result.stdout) == (0, "azeotrope.yaml: good\n")

    site.content["tiers"]["default"]["requests_per_minute"] = "many"
    site.write()
    assert complaint("serve", "--check", cwd=here) == (
        'azeotrope.yaml: tiers.default.requests_per_minute: expected a positive integer, got "many"'
    )


def test_files_that_are_missing_or_of_another_version_are_named(here: Path, site: Site) -> None:
    good = dict(site.content)

    def complaint_with(**changes: Any) -> str:
        site.content = {**good, **changes}
        site.write()
        return command_line.complaint("serve", "--check", cwd=here)

    assert complaint_with(keyring="none.json").startswith("none.json: no such key file")
    assert complaint_with(manifest="none.json").startswith("none.json: no such manifest")
    assert complaint_with(accounts="none.json").startswith("none.json: no such accounts file")
    keyring = json.loads(Path(good["keyring"]).read_text())
    (here / "keyring.json").write_text(json.dumps({**keyring, "version": 9}))
    (here / "keyring.json").chmod(0o600)
    assert "version 9" in complaint_with(keyring="keyring.json")
    (here / "keyring.json").chmod(0o644)
    assert "chmod 600" in complaint_with(keyring="keyring.json")
    assert complaint_with(mark={"delta": 0.001}).startswith("azeotrope.yaml: mark.delta: expected")
    site.content = {**good, "registry": "."}
    site.write()
    assert complaint("serve", cwd=here).startswith("registry: ")


@pytest.mark.parametrize("section", ["listen", "admin"])
def test_a_port_in_use_is_told(here: Path, site: Site, section: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        site.content[section] = {"port": port}
        site.write()
        result = azeotrope("serve", cwd=here)

    last = result.stderr.splitlines()[-1]
    assert result.returncode == 2
    assert last.startswith(f"azeotrope: error: {section}.port: 127.0.0.1:{port} is in use")


def test_a_missing_configuration_is_told(tmp_path: Path) -> None:
    assert complaint("serve", cwd=tmp_path).startswith("azeotrope.yaml: no such configuration file")


def test_accounts_are_added_and_listed(here: Path) -> None:
    added = azeotrope("accounts", "add", "bob", "--tier", "tiny", "--model", "m", cwd=here)
    (key,) = added.stdout.splitlines()
    assert key.startswith("az-")
    assert "bob" in added.stderr

    listed = azeotrope("accounts", "list", cwd=here)
    assert key not in listed.stdout
    rows = [line.split() for line in listed.stdout.splitlines()]
    assert rows[0] == ["NUMBER", "NAME", "TIER", "MODELS", "STATE", "KEYS", "CREATED", "OWNER"]
    assert rows[2][:5] == ["2", "bob", "tiny", "m", "active"]

    assert "already" in complaint("accounts", "add", "bob", cwd=here)
    assert "gold" in complaint("accounts", "add", "eve", "--tier", "gold", cwd=here)
    wrong_model = azeotrope("accounts", "add", "eve", "--model", "x", cwd=here)
    assert wrong_model.returncode == 2
    assert "x is not served" in wrong_model.stderr


def test_the_configuration_can_be_shown() -> None:
    assert "listen" in yaml.safe_load(azeotrope("config", "example").stdout)
    assert "properties" in json.loads(azeotrope("config", "schema").stdout)
    assert azeotrope("config", "reference").stdout.startswith("# Configuration reference")


def test_version_and_help() -> None:
    assert azeotrope("--version").stdout.startswith("azeotrope, version ")
    assert "Begin with:" in azeotrope("--help").stdout
    for command in (
        ["serve"],
        ["accounts", "add"],
        ["accounts", "list"],
        ["config", "example"],
        ["config", "schema"],
        ["config", "reference"],
    ):
        result = azeotrope(*command, "--help")
        assert result.returncode == 0
        assert f"azeotrope {' '.join(command)}" in result.stdout.partition("Example")[2]


def test_a_command_that_does_not_exist_is_refused() -> None:
    result = azeotrope("sreve")
    assert result.returncode == 2
    assert "sreve" in result.stderr


def test_a_reader_that_goes_away_is_no_error(here: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer) as output:
        result = subprocess.run(
            [*AZEOTROPE, "config", "reference"], stdout=output, stderr=subprocess.PIPE, check=False
        )
    assert result.stderr == b""


def test_the_gateway_needs_no_torch() -> None:
    code = "import proxy.commands.serve, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("command", [["detect", "x", "--tokenizer", "y"], ["demo"]])
def test_a_command_without_its_optional_packages_says_what_to_install(command: list[str]) -> None:
    without = "import sys; sys.modules['numba'] = None; from proxy.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", without, *command], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stderr.startswith("azeotrope: error: numba is not installed: run `pip install")
    assert result.stderr.count("\n") == 1


async def test_sigterm_lets_a_stream_end_then_writes_the_registry_and_exits_with_0(
    site: Site, upstream: FakeUpstream
) -> None:
    go_on = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await conversation.begin_stream()
        await conversation.chunk(EVENT)
        await go_on.wait()
        await conversation.chunk(DONE)
        await conversation.end_stream()

    upstream.answers(script)
    site.content["upstreams"][0]["url"] = upstream.url
    site.content["redis"] = {}
    async with serving(site) as server, aiohttp.ClientSession() as http:
        assert [line["event"] for line in server.log] == ["embedded_store", "listening"]
        embedded = server.log[0]["pid"]
        async with http.post(
            f"{server.url}/v1/chat/completions",
            json=question(stream=True),
            headers={"authorization": f"Bearer {site.key}"},
        ) as response:
            assert await response.content.readuntil(b"\n\n") == EVENT
            server.process.send_signal(signal.SIGTERM)
            await server.log_until("draining")
            async with http.get(f"{server.admin_url}/readyz") as ready:
                assert ready.status == 503
            go_on.set()
            assert await response.read() == DONE
        await server.log_until("stopped")
        assert await server.ended() == 0

    (line,) = [json.loads(text) for text in site.registry.read_text().splitlines()]
    assert (line["name"], line["end"]) == ("alice", "complete")
    with pytest.raises(ProcessLookupError):
        os.kill(embedded, 0)
    logged = json.dumps(server.log)
    assert site.key not in logged
    assert '"hi"' not in logged


async def test_a_second_signal_does_not_wait(site: Site, upstream: FakeUpstream) -> None:
    upstream.answers_until_hung_up(EVENT)
    site.content["upstreams"][0]["url"] = upstream.url
    site.content["limits"] = {"drain_timeout_s": 3600}
    async with serving(site) as server, aiohttp.ClientSession() as http:
        async with http.post(
            f"{server.url}/v1/chat/completions",
            json=question(stream=True),
            headers={"authorization": f"Bearer {site.key}"},
        ) as response:
            await response.content.readuntil(b"\n\n")
            server.process.send_signal(signal.SIGINT)
            await server.log_until("draining")
            server.process.send_signal(signal.SIGINT)
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
        assert await server.ended() == 0

    assert json.loads(site.registry.read_text())["end"] == "drained"
