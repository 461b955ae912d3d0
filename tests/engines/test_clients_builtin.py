"""The official clients before the built-in engine, and its answers byte for byte."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import client_checks
import pytest
from client_checks import Check
from engine_cases import CASES, MARKED
from faithful_checks import assert_same, call_of, straight, through
from gateway import CLIENTS, Gateway, gateway
from marks import Keys
from server_process import Server, free_port, running

pytestmark = [pytest.mark.engines, pytest.mark.timeout(300)]

SPOKEN = [
    "chat",
    "chat-stream",
    "chat-stream-usage",
    "chat-two-choices",
    "completions",
    "completions-stream",
    "completions-stream-usage",
    "responses",
    "responses-stream",
    "messages",
    "messages-stream",
    "count-tokens",
    "embeddings",
]
# All but structured answers, which it refuses.
CHECKS = [check for check in client_checks.COMMON if check is not client_checks.chat_schema]


@pytest.fixture(scope="module")
def engine(model: Path, keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    port = free_port()
    command = [
        *(sys.executable, "-m", "proxy", "engine", "--model", model, "--served-name", "smol"),
        *("--port", str(port), "--keys", keys.engine, "--manifest", keys.manifest_path),
    ]
    directory = tmp_path_factory.mktemp("builtin")
    with running(command, directory, port=port, ready="/health", environment={}) as server:
        yield server


@pytest.fixture(scope="module")
def served(
    engine: Server, keys: Keys, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    names = [*CLIENTS, *SPOKEN]
    with gateway(tmp_path_factory.mktemp("gateway"), keys, engine, names) as running_gateway:
        yield running_gateway


@pytest.mark.parametrize(
    "check", [*CHECKS, client_checks.embeddings], ids=lambda check: check.__name__
)
def test_the_official_clients_do_not_notice(served: Gateway, check: Check) -> None:
    check(served)


@pytest.mark.parametrize("name", [name for name in SPOKEN if name in MARKED])
def test_an_answer_is_what_the_engine_says_to_the_same_ticket(
    engine: Server, served: Gateway, keys: Keys, name: str
) -> None:
    came = through(served, name, "assistant", account=name)
    entry = call_of(served, name)
    ticket = keys.ticket(entry["account"], call=entry["call"])
    path, body = CASES[name]
    added: dict[str, Any] = {"vllm_xargs": {"azeotrope": ticket}}
    if body.get("stream") and path.endswith("completions"):
        added["stream_options"] = {"include_usage": True}
    assert_same(came, straight(engine, name, **added), name)
    assert (entry["end"], entry["usage_source"]) == ("complete", "engine")


@pytest.mark.parametrize("name", [name for name in SPOKEN if name not in MARKED])
def test_what_has_no_ticket_is_the_engines_own(engine: Server, served: Gateway, name: str) -> None:
    own = straight(engine, name)
    assert own.status == 200
    assert_same(through(served, name), own, name)
