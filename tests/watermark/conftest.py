"""Fixtures of the watermark's tests: fixed keys, planted texts, the real model's directory."""

import json
import os
import random
from collections.abc import Callable, Iterator, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import hypothesis
import pytest
import torch

from watermark.keys import EpochKeys, Keyring, create_keyring
from watermark.manifest import Manifest, Parameters
from watermark.reference import channel_of, context_hash, is_green

# Derandomised: a run is the same on every machine, and a failure shows up in every run.
# The fixtures in question are folders that every example may use again.
hypothesis.settings.register_profile(
    "fixed",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("fixed")

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests" / "vectors"
Plant = Callable[..., list[int]]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Keep torch from spinning on cores that others use: on a busy machine ten times slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def keys() -> EpochKeys:
    """Keys of a fixed epoch 1."""
    return EpochKeys.derive(1, "2026-01-01T00:00:00Z", bytes(range(32)))


@pytest.fixture(scope="session")
def plant() -> Plant:
    """Write a marked text with the plain reference: see `_plant`."""
    return _plant


def _plant(
    rng: random.Random,
    keys: EpochKeys,
    parameters: Parameters,
    vocabulary: Sequence[int],
    length: int,
    *,
    account: int | None = None,
    call: int | None = None,
    share: float = 1.0,
    start: Sequence[int] = (),
) -> list[int]:
    """`length` tokens; a share of those whose number is known are drawn until green."""
    extra = {"site": 0}
    if account is not None:
        extra["account"] = keys.account_key(account)
    if call is not None:
        extra["call"] = keys.call_key(call)
    tokens = list(start)
    while len(tokens) < length:
        channel = channel_of(keys, parameters, tokens)
        token = rng.choice(vocabulary)
        if channel in extra and rng.random() < share:
            context = tokens[-parameters.width(channel) :]
            seed = context_hash(getattr(keys, channel), context) ^ extra[channel]
            while not is_green(seed, token, parameters.gamma_bits):
                token = rng.choice(vocabulary)
        tokens.append(token)
    return tokens


class Home(NamedTuple):
    """A keyring and its manifest on disk."""

    keyring: Keyring
    keys_path: Path
    manifest_path: Path

    @property
    def manifest(self) -> Manifest:
        return self.keyring.manifest(self.manifest_path)


@pytest.fixture
def make_home(tmp_path: Path) -> Callable[..., Home]:
    """Make a keyring and its manifest: make_home(**arguments of create_keyring)."""

    def make(name: str = "home", **arguments: Any) -> Home:
        keys_path = tmp_path / name / "keyring.json"
        manifest_path = tmp_path / name / "manifest.json"
        return Home(create_keyring(keys_path, manifest_path, **arguments), keys_path, manifest_path)

    return make


@pytest.fixture
def home(make_home: Callable[..., Home]) -> Home:
    """A keyring with one epoch and the default parameters."""
    return make_home()


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:
    """The public test vectors."""
    return json.loads((VECTORS / "az1.json").read_bytes())


@pytest.fixture(scope="session")
def vector_module() -> Callable[[str], ModuleType]:
    """Load a module of tests/vectors by name."""

    def load(name: str) -> ModuleType:
        spec = spec_from_file_location(f"az1_{name}", VECTORS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def model_dir() -> Path:
    """Directory of SmolLM2-135M-Instruct, converted once into AZEOTROPE_CACHE or .cache."""
    from proxy.engine.weights import demo_model

    return demo_model(Path(os.environ.get("AZEOTROPE_CACHE") or ROOT / ".cache"))
