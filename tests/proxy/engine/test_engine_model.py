"""What a model directory must be to be served."""

import json
from pathlib import Path

import pytest
import torch
from engine_bench import Bench
from safetensors.numpy import load_file, save_file
from tiny_model import write_tiny
from transformers import AutoModelForCausalLM

from proxy.engine.batching import Batcher
from proxy.engine.metrics import EngineMetrics
from proxy.engine.model import LanguageModel
from proxy.engine.sampling import Sampling
from proxy.engine.weights import ModelError, prepare


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return prepare(write_tiny(tmp_path / "tiny.gguf"), tmp_path / "tiny")


def _load(directory: Path) -> LanguageModel:
    return LanguageModel.load(directory, "float32", 64)


def test_damaged_weights_are_told(tiny: Path) -> None:
    weights = tiny / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(ModelError, match="is not a model that transformers can load"):
        _load(tiny)


def test_weights_that_lack_a_tensor_are_never_filled_with_noise(tiny: Path) -> None:
    state = load_file(tiny / "model.safetensors")
    del state["model.layers.0.mlp.up_proj.weight"]
    save_file(state, tiny / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="incomplete"):
        _load(tiny)


def test_a_model_with_a_sliding_window_is_refused(tiny: Path) -> None:
    config = json.loads((tiny / "config.json").read_text())
    config.update(model_type="mistral", architectures=["MistralForCausalLM"], sliding_window=16)
    (tiny / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="serve it with vLLM"):
        _load(tiny)


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_an_incomplete_directory_is_told(tiny: Path, missing: str) -> None:
    (tiny / missing).unlink()
    with pytest.raises(ModelError, match=str(tiny)):
        _load(tiny)


def test_the_packed_network_computes_what_transformers_does(tiny: Path) -> None:
    tokens = torch.arange(40)[None]
    with torch.inference_mode():
        packed = _load(tiny).network(tokens).logits
        plain = AutoModelForCausalLM.from_pretrained(tiny)(tokens).logits
    torch.testing.assert_close(packed, plain, rtol=1e-4, atol=1e-4)


def test_in_bfloat16_too_an_answer_is_the_same_in_any_batch(tiny: Path) -> None:
    model = LanguageModel.load(tiny, "bfloat16", 64)
    sampling = Sampling(max_tokens=20, seed=1, logprobs=2, ignore_end=True)
    crowd, quiet = (
        Bench(Batcher(model, None, metrics, 4), metrics)
        for metrics in (EngineMetrics(), EngineMetrics())
    )
    others = [crowd.submit(list(range(n)), Sampling(max_tokens=9)) for n in (3, 20, 40)]
    crowded = crowd.submit(list(range(30, 42)), sampling)
    crowd.run(crowded, *others)
    alone = quiet.submit(list(range(30, 42)), sampling)
    quiet.run(alone)
    assert len(alone.logprobs) == 20
    assert crowded.logprobs == alone.logprobs


def test_token_bytes_are_the_bytes_of_the_text(model: LanguageModel) -> None:
    text = "naïve 東京 🜁"
    tokens = model.encode(text)
    assert b"".join(model.token_bytes(token) for token in tokens) == text.encode()
    assert model.token_bytes(model.vocabulary + 5) == b""
