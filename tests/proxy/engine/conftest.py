"""One loaded model for all engine tests, and engines served from it in a thread."""

import os

# Before torch is loaded: see proxy/engine/cli.py.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from engine_bench import NAME, Bench, Keys, served

from proxy.engine.batching import Batcher
from proxy.engine.metrics import EngineMetrics
from proxy.engine.model import LanguageModel
from proxy.engine.server import EngineServer
from proxy.engine.weights import demo_model
from watermark.embed.marker import Marker

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def model_directory() -> Path:
    return demo_model(ROOT / ".cache")


@pytest.fixture(scope="session")
def model(model_directory: Path) -> LanguageModel:
    return LanguageModel.load(model_directory, "float32", 1024)


@pytest.fixture(scope="session")
def server(model: LanguageModel) -> EngineServer:
    return EngineServer(model, NAME, max_batch=8, max_waiting=16)


@pytest.fixture(scope="session")
def url(server: EngineServer) -> Iterator[str]:
    with served(server) as address:
        yield address


@pytest.fixture
def bench(model: LanguageModel) -> Callable[..., Bench]:
    """Make a batch loop: bench(max_batch=..., marker=...)."""

    def make(max_batch: int = 8, marker: Marker | None = None, max_waiting: int = 64) -> Bench:
        metrics = EngineMetrics()
        return Bench(Batcher(model, marker, metrics, max_batch, max_waiting), metrics)

    return make


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys.create(tmp_path_factory.mktemp("keys"))
