"""When the plugin must not load, and what it says then."""

import importlib
import os
import stat
import sys
import types
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import torch
from conftest import Configure, NewProcessor
from marks import Keys
from vllm.v1.sample.logits_processor import build_logitsprocs
from vllm.v1.worker.gpu.sample.logits_processor import loader
from vllm.v1.worker.gpu_input_batch import InputBatch

from watermark.errors import AzeotropeError, KeyringError, ManifestError
from watermark.manifest import TokenizerPin

PLUGIN = "watermark.embed.vllm:AzeotropeLogitsProcessor"
NGRAM = {"method": "ngram", "num_speculative_tokens": 2, "prompt_lookup_max": 2}


def check_a_missing_variable_is_named(
    new_processor: NewProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AZEOTROPE_KEYS", "AZEOTROPE_MANIFEST"):
        with monkeypatch.context() as patch:
            patch.delenv(name)
            with pytest.raises(AzeotropeError, match=f"{name} is not set"):
                new_processor()


def check_keys_that_cannot_be_read_are_named(
    new_processor: NewProcessor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AZEOTROPE_KEYS", str(tmp_path / "none.json"))
    with pytest.raises(KeyringError, match=r"none\.json: no such key file"):
        new_processor()


def check_a_manifest_of_other_keys_is_refused(
    new_processor: NewProcessor, monkeypatch: pytest.MonkeyPatch, keys: Keys
) -> None:
    other = keys.manifest_path.with_name("other-manifest.json")
    monkeypatch.setenv("AZEOTROPE_MANIFEST", str(other))
    with pytest.raises(ManifestError, match=r"other-manifest\.json"):
        new_processor()


def check_a_manifest_of_a_larger_tokenizer_is_refused(
    new_processor: NewProcessor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    large = Keys.create(tmp_path, tokenizer=TokenizerPin(151_936, "00" * 32))
    for name, value in large.environment().items():
        monkeypatch.setenv(name, value)
    with pytest.raises(AzeotropeError, match="151936 tokens, but this model has 49152"):
        new_processor()


def check_a_stats_directory_that_cannot_be_written_is_refused(
    new_processor: NewProcessor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AZEOTROPE_STATS_DIR", str(tmp_path / "none"))
    with pytest.raises(AzeotropeError, match=r"AZEOTROPE_STATS_DIR: .*none: cannot be written"):
        new_processor()


def check_logprobs_that_would_show_the_mark_are_refused(new_processor: NewProcessor) -> None:
    with pytest.raises(AzeotropeError, match="--logprobs-mode processed_logprobs would show"):
        new_processor(logprobs_mode="processed_logprobs")


def check_speculative_decoding_is_refused_by_vllm_and_by_the_plugin(
    new_processor: NewProcessor, configure: Configure
) -> None:
    config = configure(speculative_config=NGRAM)
    with pytest.raises(ValueError, match="not supported when speculative decoding"):
        build_logitsprocs(config, torch.device("cpu"), False, False, (PLUGIN,))
    with pytest.raises(AzeotropeError, match="cannot mark speculative decoding"):
        new_processor(speculative_config=NGRAM)


def check_async_scheduling_is_refused_when_vllm_no_longer_fills_in_the_tokens(
    new_processor: NewProcessor, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configure().scheduler_config, "async_scheduling", True)
    assert new_processor()
    monkeypatch.delattr(InputBatch, "update_async_output_token_ids")
    with pytest.raises(AzeotropeError, match="start with --no-async-scheduling"):
        new_processor()


def check_a_vllm_without_the_interface_is_refused_on_import(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = "vllm.v1.sample.logits_processor"
    monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.delitem(sys.modules, "watermark.embed.vllm")
    with pytest.raises(ImportError, match=r"lacks the V1 logits-processor interface.*vLLM 0\.32"):
        importlib.import_module("watermark.embed.vllm")


def check_the_v2_model_runner_refuses_this_class() -> None:
    with pytest.raises(ValueError, match="AzeotropeLogitsProcessor is not a subclass"):
        loader._load_v2_logitsprocs_by_fqcns([PLUGIN])


def check_the_plugin_has_no_entry_point() -> None:
    found = entry_points(group="vllm.logits_processors")
    assert not [entry for entry in found if "watermark" in entry.value]


def check_the_counters_are_readable_for_the_collector(
    new_processor: NewProcessor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AZEOTROPE_STATS_DIR", str(tmp_path))
    new_processor()
    (file,) = tmp_path.glob("*.prom")
    assert file.name == f"azeotrope_engine_{os.getpid()}.prom"
    assert file.stat().st_mode & stat.S_IRUSR
    assert 'azeotrope_engine_requests_total{ticket="forged",rank="0"' in file.read_text()
