"""Real engines for the tests: vLLM in an environment of its own."""

import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from marks import Keys
from places import HERE, PLUGIN, ROOT
from server_process import Server, StartVllm, free_port, running

# Run inside the vLLM environment, by test_vllm_interface.py.
collect_ignore = ["in_vllm"]


@pytest.fixture(scope="session")
def vllm_bin() -> Path:
    """Directory of the programs of the vLLM environment, which is made if it is missing."""
    environment = ROOT / ".venv-vllm"
    subprocess.run(["bash", HERE / "install_vllm.sh", environment], check=True)
    return environment / "bin"


@pytest.fixture(scope="session")
def model() -> Path:
    """Directory of SmolLM2-135M-Instruct."""
    from proxy.engine.weights import demo_model

    return demo_model(ROOT / ".cache")


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys.create(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def mild_keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Keys of a mark that leaves a small model able to finish a JSON object."""
    return Keys.create(tmp_path_factory.mktemp("mild"), delta_millinats=2000)


@pytest.fixture(scope="session")
def vllm(start_vllm: StartVllm, mild_keys: Keys) -> Iterator[Server]:
    """One vLLM with our plugin, for everything that asks through a gateway: a minute to start."""
    tools = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes")
    with start_vllm(mild_keys.environment(), *tools) as server:
        yield server


@pytest.fixture(scope="session")
def start_vllm(vllm_bin: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> StartVllm:
    """Start `vllm serve` with our plugin: start_vllm(environment, *options)."""

    def start(environment: dict[str, str], *options: str) -> AbstractContextManager[Server]:
        port = free_port()
        command = [
            *(vllm_bin / "vllm", "serve", model, "--served-model-name", "smol"),
            *("--dtype", "float32", "--enforce-eager", "--max-model-len", "2048"),
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--logits-processors", PLUGIN, *options),
        ]
        offline = {
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            **environment,
        }
        directory = tmp_path_factory.mktemp("vllm")
        return running(command, directory, port=port, ready="/health", environment=offline)

    return start
