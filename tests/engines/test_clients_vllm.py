"""The official clients before the real vLLM with our plugin, and its answers byte for byte."""

from collections.abc import Iterator
from typing import Any

import client_checks
import pytest
from client_checks import COMMON, Check
from engine_cases import CASES, MARKED
from faithful_checks import assert_same, calls, last_call, straight, through
from gateway import CLIENTS, Gateway, gateway
from marks import Keys
from server_process import Server, StartVllm

pytestmark = [pytest.mark.engines, pytest.mark.timeout(300)]

TOOLS = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes")


@pytest.fixture(scope="module")
def engine(start_vllm: StartVllm, keys: Keys) -> Iterator[Server]:
    with start_vllm(keys.environment(), *TOOLS) as server:
        yield server


@pytest.fixture(scope="module")
def served(
    engine: Server, keys: Keys, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("gateway"), keys, engine, CLIENTS) as running_gateway:
        yield running_gateway


@pytest.mark.parametrize(
    "check", [*COMMON, client_checks.chat_tools], ids=lambda check: check.__name__
)
def test_the_official_clients_do_not_notice(served: Gateway, check: Check) -> None:
    check(served)


@pytest.mark.parametrize("name", [name for name in CASES if name != "embeddings"])
def test_an_answer_is_the_engines_own_byte_for_byte(
    engine: Server, served: Gateway, name: str
) -> None:
    """Without a ticket in both: the site's mark alone."""
    added: dict[str, Any] = {}
    if CASES[name][1].get("stream") and CASES[name][0].endswith("completions"):
        added = {"stream_options": {"include_usage": True}}
    assert_same(engine, through(served, name), straight(engine, name, **added), name)


@pytest.mark.parametrize("name", sorted(MARKED))
def test_a_marked_answer_is_what_the_engine_says_to_the_same_ticket(
    engine: Server, served: Gateway, keys: Keys, name: str
) -> None:
    before = len(calls(served))
    came = through(served, name, "assistant")
    entry = last_call(served, before)
    ticket = keys.ticket(entry["account"], call=entry["call"])
    added: dict[str, Any] = {"vllm_xargs": {"azeotrope": ticket}}
    if CASES[name][1].get("stream") and CASES[name][0].endswith("completions"):
        added["stream_options"] = {"include_usage": True}
    assert_same(engine, came, straight(engine, name, **added), name)
    assert (entry["end"], entry["usage_source"]) == ("complete", "engine")
