"""Fixtures of the watermark's tests: fixed keys, planted texts, the real model's directory."""

import json
import os
import random
import string
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from detect_texts import PLAIN, Texts
from expected_bias import signer
from key_files import Home

from watermark.detect.tokenizer import TextTokenizer
from watermark.embed.marker import Marker
from watermark.keys import EpochKeys, Keyring, write_manifest
from watermark.manifest import Manifest, ManifestEpoch, Parameters, TokenizerPin
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
CREATED = "2026-01-01T00:00:00Z"
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
    return EpochKeys.derive(1, CREATED, bytes(range(32)))


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


@pytest.fixture
def make_home(tmp_path: Path) -> Callable[..., Home]:
    """Make a keyring and its manifest: make_home(name, parameters=…, tokenizer=…).

    The keys follow from the name, so that no test depends on luck.
    """

    def make(
        name: str = "home",
        parameters: Parameters | None = None,
        tokenizer: TokenizerPin | None = None,
    ) -> Home:
        keys_path = tmp_path / name / "keyring.json"
        manifest_path = tmp_path / name / "manifest.json"
        master, seed = (sha256(f"{name} {part}".encode()).digest() for part in ("master", "seed"))
        public_key = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
        keys = EpochKeys.derive(1, CREATED, master)
        keyring = Keyring(keys_path, (keys,), public_key, (master,), seed)
        keyring.save(new=True)
        first = ManifestEpoch(1, CREATED, keys.check, parameters or Parameters())
        write_manifest(manifest_path, Manifest(CREATED, (first,), tokenizer), keyring)
        return Home(keyring, keys_path, manifest_path)

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


@pytest.fixture(scope="session")
def byte_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real tokenizer that loads at once: one token a byte, no merges."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


@pytest.fixture
def ticket_for(home: Any) -> Callable[..., str]:
    """Sign a ticket: ticket_for(account, **other fields)."""
    return signer(home.keyring.epochs)


@pytest.fixture
def marker(home: Any) -> Marker:
    """The embedder of `home`."""
    return Marker.load(home.keys_path, home.manifest_path)


@pytest.fixture
def letters(byte_tokenizer: Path) -> list[int]:
    """The ids of the letters: texts of them come back from the tokenizer as they were."""
    return TextTokenizer(byte_tokenizer).encode(string.ascii_letters).ids


@pytest.fixture
def texts(
    make_home: Callable[..., Any], byte_tokenizer: Path, plant: Plant, letters: list[int]
) -> Texts:
    """Texts that are quick to judge, and runs of the command over them."""
    return Texts(make_home(parameters=PLAIN), byte_tokenizer, plant, letters)
