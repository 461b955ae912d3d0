"""Conversion of a GGUF file: exact, once, whole or not at all, and clear about what it cannot."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny_model import TOKENS, write_tiny
from transformers import AutoModelForCausalLM

from proxy.engine.model import LanguageModel
from proxy.engine.weights import ModelError, demo_model, prepare


def test_the_converted_weights_are_those_that_transformers_reads_from_the_file(
    tmp_path: Path,
) -> None:
    source = write_tiny(tmp_path / "tiny.gguf")
    made = load_file(prepare(source, tmp_path / "tiny") / "model.safetensors")
    expected = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=source.name).state_dict()
    assert set(made) == set(expected) - {"lm_head.weight"}
    for name, values in made.items():
        assert np.array_equal(values, expected[name].float().numpy()), name


def test_the_converted_directory_loads_and_answers_in_its_template(tmp_path: Path) -> None:
    directory = prepare(write_tiny(tmp_path / "tiny.gguf"), tmp_path / "tiny")
    model = LanguageModel.load(directory, "float32", 2048)
    assert model.context == 64
    assert model.end_tokens == {256}
    assert model.encode_chat([{"role": "user", "content": "abc"}]) == [257, TOKENS.index("c")]
    assert model.decode([257, 256]) == "ab"


def test_digits_are_tokenised_one_by_one_as_the_model_was_trained(model: LanguageModel) -> None:
    assert [model.decode([token]) for token in model.encode("in 2026")] == [
        *("in", " "),
        *"2026",
    ]


def test_a_second_call_leaves_the_directory_as_it_is(tmp_path: Path) -> None:
    source = write_tiny(tmp_path / "tiny.gguf")
    told: list[str] = []
    directory = prepare(source, tmp_path / "tiny", lambda step, share: told.append(step))
    assert told[-1] == "done"
    stamp = (directory / "model.safetensors").stat().st_mtime_ns
    told.clear()
    assert prepare(source, directory, lambda step, share: told.append(step)) == directory
    assert not told
    assert (directory / "model.safetensors").stat().st_mtime_ns == stamp


def test_another_file_of_the_same_name_is_converted_anew(tmp_path: Path) -> None:
    prepare(write_tiny(tmp_path / "tiny.gguf"), tmp_path / "tiny")
    (tmp_path / "other").mkdir()
    untied = write_tiny(tmp_path / "other" / "tiny.gguf", extra="output.weight")
    made = load_file(prepare(untied, tmp_path / "tiny") / "model.safetensors")
    assert "lm_head.weight" in made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "mamba"}, "architecture 'mamba'"),
        ({"pre": "qwen2"}, "tokenizer gpt2/qwen2"),
        ({"drop": "blk.0.ffn_up.weight"}, "lacks 1 tensors"),
        ({"extra": "rope_freqs.weight"}, "rope_freqs.weight"),
    ],
)
def test_what_cannot_be_converted_rightly_is_refused_and_leaves_nothing(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    source = write_tiny(tmp_path / "odd.gguf", **change)
    with pytest.raises(ModelError, match=message):
        prepare(source, tmp_path / "out" / "odd")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF" + b"\xff" * 200, b"not a model" * 50])
def test_a_file_that_is_no_gguf_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.gguf").write_bytes(content)
    with pytest.raises(ModelError, match=r"bad\.gguf is not a GGUF file"):
        prepare(tmp_path / "bad.gguf", tmp_path / "bad")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model file"):
        prepare(tmp_path / "none.gguf", tmp_path / "none")


def test_a_directory_of_other_origin_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(ModelError, match="was not made by this converter"):
        prepare(write_tiny(tmp_path / "tiny.gguf"), tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"


def test_the_demo_model_is_where_the_environment_says(
    model_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZEOTROPE_CACHE", str(model_directory.parent))
    assert demo_model() == model_directory
