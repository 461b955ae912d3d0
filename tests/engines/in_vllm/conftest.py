"""Real configurations and keys for the checks that run inside the vLLM environment."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from marks import Keys
from vllm.config import VllmConfig
from vllm.engine.arg_utils import EngineArgs

from watermark.embed.vllm import AzeotropeLogitsProcessor

MODEL = os.environ["AZEOTROPE_TEST_MODEL"]
KEYS = Path(os.environ["AZEOTROPE_TEST_KEYS"])

Configure = Callable[..., VllmConfig]
NewProcessor = Callable[..., AzeotropeLogitsProcessor]


@pytest.fixture(scope="session")
def keys() -> Keys:
    return Keys.load(KEYS)


@pytest.fixture(scope="session")
def configure() -> Configure:
    """vLLM's own configuration of an engine with these arguments."""
    made: dict[str, VllmConfig] = {}

    def build(**arguments: Any) -> VllmConfig:
        name = repr(arguments)
        if name not in made:
            made[name] = EngineArgs(
                model=MODEL, dtype="float32", enforce_eager=True, max_num_seqs=8, **arguments
            ).create_engine_config()
        return made[name]

    return build


@pytest.fixture
def new_processor(
    configure: Configure, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> NewProcessor:
    """A processor as vLLM makes it, in an environment with keys."""
    for name, value in keys.environment().items():
        monkeypatch.setenv(name, value)

    def build(**arguments: Any) -> AzeotropeLogitsProcessor:
        return AzeotropeLogitsProcessor(configure(**arguments), torch.device("cpu"), False)

    return build
