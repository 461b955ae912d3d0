"""The official clients before the real vLLM with our plugin, and its answers byte for byte."""

from collections.abc import Iterator
from typing import Any

import client_checks
import pytest
from client_checks import COMMON, Check
from engine_cases import CASES, MARKED
from faithful_checks import assert_same, call_of, straight, through
from gateway import CLIENTS, Gateway, gateway
from marks import Keys
from server_process import Server

pytestmark = [pytest.mark.engines, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def served(
    vllm: Server, mild_keys: Keys, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    names = [*CLIENTS, *MARKED]
    with gateway(tmp_path_factory.mktemp("gateway"), mild_keys, vllm, names) as running_gateway:
        yield running_gateway


@pytest.mark.parametrize(
    "check", [*COMMON, client_checks.chat_tools], ids=lambda check: check.__name__
)
def test_the_official_clients_do_not_notice(served: Gateway, check: Check) -> None:
    check(served)


@pytest.mark.parametrize("name", [name for name in CASES if name != "embeddings"])
def test_an_answer_is_the_engines_own_byte_for_byte(
    vllm: Server, served: Gateway, name: str
) -> None:
    """Without a ticket in both: the site's mark alone."""
    added: dict[str, Any] = {}
    if CASES[name][1].get("stream") and CASES[name][0].endswith("completions"):
        added = {"stream_options": {"include_usage": True}}
    assert_same(through(served, name), straight(vllm, name, **added), name)


@pytest.mark.parametrize("name", sorted(MARKED))
def test_a_marked_answer_is_what_the_engine_says_to_the_same_ticket(
    vllm: Server, served: Gateway, mild_keys: Keys, name: str
) -> None:
    came = through(served, name, "assistant", account=name)
    entry = call_of(served, name)
    ticket = mild_keys.ticket(entry["account"], call=entry["call"])
    added: dict[str, Any] = {"vllm_xargs": {"azeotrope": ticket}}
    if CASES[name][1].get("stream") and CASES[name][0].endswith("completions"):
        added["stream_options"] = {"include_usage": True}
    assert_same(came, straight(vllm, name, **added), name)
    assert (entry["end"], entry["usage_source"]) == ("complete", "engine")
