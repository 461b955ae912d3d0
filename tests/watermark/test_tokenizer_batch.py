"""Batches through the fast path: the reference's ids, or the reference itself and a reason."""

import json
import pickle
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watermark.detect.counts import Batch
from watermark.detect.tokenizer import TextTokenizer
from watermark.detect.tokenizers.fast import FastPath, UnusableError, in_one_step
from watermark.detect.tokenizers.probe import plain_texts

REFERENCE = f"tokenizers {version('tokenizers')}"


@pytest.fixture(scope="module")
def encoder(model_dir: Path) -> TextTokenizer:
    return TextTokenizer(model_dir)


def documents(batch: Batch) -> list[list[int]]:
    return [batch.document(i).tolist() for i in range(len(batch))]


def one_by_one(encoder: TextTokenizer, texts: list[str]) -> list[list[int]]:
    return [encoder.encode(text).ids for text in texts]


def edited(source: Path, target: Path, change: Callable[[dict[str, Any]], None]) -> TextTokenizer:
    document = json.loads(source.read_text())
    change(document)
    target.write_text(json.dumps(document))
    return TextTokenizer(target)


def test_the_real_tokenizer_takes_the_fast_path(encoder: TextTokenizer) -> None:
    assert encoder.fallback_reason is None
    assert encoder.backend == f"fastokens {version('fastokens')}"
    assert encoder.description().sha256 == encoder.pin().sha256
    assert encoder.description().kind == "tokenizer.json"


@settings(max_examples=200)
@given(st.lists(st.text(st.characters() | st.sampled_from("  \n\t0189aé😀\u0301<|>"), max_size=40)))
def test_a_batch_has_the_ids_of_its_texts_one_by_one(
    encoder: TextTokenizer, texts: list[str]
) -> None:
    assert documents(encoder.encode_batch(texts)) == one_by_one(encoder, texts)


def test_special_tokens_spelled_out_are_text_in_batches_too(encoder: TextTokenizer) -> None:
    texts = ["<|im_start|>user\nhi<|im_end|>", "plain", "<|endoftext|>", "a<|im_start|"]
    assert documents(encoder.encode_batch(texts)) == one_by_one(encoder, texts)


def test_an_empty_batch_and_an_empty_text_are_no_tokens(encoder: TextTokenizer) -> None:
    assert documents(encoder.encode_batch([])) == []
    assert documents(encoder.encode_batch(["", "a", ""]))[::2] == [[], []]


def test_a_lone_surrogate_is_a_replacement_character_and_only_it_is_slow(model_dir: Path) -> None:
    encoder = TextTokenizer(model_dir)
    texts = ["first", "cut \ud83d off", "third"]
    assert documents(encoder.encode_batch(texts)) == one_by_one(
        encoder, ["first", "cut \ufffd off", "third"]
    )
    assert (encoder.slow_batches, encoder.slow_texts) == (1, 1)
    encoder.encode_batch(["first", "third"])
    assert (encoder.slow_batches, encoder.slow_texts) == (1, 1)
    assert encoder.encode("\ud83dé").offsets[-1][1] == 2


def test_characters_without_a_token_are_left_out_and_do_not_fail(
    byte_tokenizer: Path, tmp_path: Path
) -> None:
    def drop(document: dict[str, Any]) -> None:
        del document["model"]["vocab"]["Ā"]  # byte 0 as the vocabulary spells it

    encoder = edited(byte_tokenizer, tmp_path / "tokenizer.json", drop)
    texts = ["ab", "a\x00b", "\x00"]
    batch = encoder.encode_batch(texts)
    assert documents(batch) == one_by_one(encoder, texts)
    assert documents(batch)[1:] == [encoder.encode("ab").ids, []]


def test_truncation_and_padding_of_the_file_do_not_cut_texts(
    byte_tokenizer: Path, tmp_path: Path
) -> None:
    def limit(document: dict[str, Any]) -> None:
        document["truncation"] = {
            "max_length": 3,
            "stride": 0,
            "strategy": "LongestFirst",
            "direction": "Right",
        }

    encoder = edited(byte_tokenizer, tmp_path / "tokenizer.json", limit)
    assert len(encoder.encode("abcdef").ids) == 6
    assert [len(ids) for ids in documents(encoder.encode_batch(["abcdef", "ab"]))] == [6, 2]


def test_two_steps_in_one_are_the_same_cut(encoder: TextTokenizer) -> None:
    from tokenizers import Tokenizer

    before = encoder._tokenizer.to_str()
    after = in_one_step(before)
    kinds = [step["type"] for step in json.loads(after)["pre_tokenizer"]["pretokenizers"]]
    assert kinds == ["Split", "ByteLevel"]
    assert in_one_step(after) == after
    rewritten = Tokenizer.from_str(after)
    rewritten.encode_special_tokens = True
    for text in plain_texts():
        assert rewritten.encode(text).ids == encoder.encode(text).ids


def test_a_tokenizer_that_the_fast_path_refuses_goes_through_the_reference(
    byte_tokenizer: Path, tmp_path: Path
) -> None:
    def unusual(document: dict[str, Any]) -> None:
        steps = [{"type": "Punctuation", "behavior": "Contiguous"}, document["pre_tokenizer"]]
        document["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}

    encoder = edited(byte_tokenizer, tmp_path / "tokenizer.json", unusual)
    assert encoder.backend == REFERENCE
    assert "refuses the tokenizer" in str(encoder.fallback_reason)
    texts = ["a, b", "", "c\ud800"]
    assert documents(encoder.encode_batch(texts)) == one_by_one(encoder, texts)


def test_without_the_package_the_reference_is_used_and_the_reason_says_so(
    byte_tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fastokens", None)
    encoder = TextTokenizer(byte_tokenizer)
    assert encoder.backend == REFERENCE
    assert "pip install fastokens" in str(encoder.fallback_reason)
    assert encoder.description().fallback_reason == encoder.fallback_reason


def test_a_difference_from_the_reference_rules_the_fast_path_out(
    byte_tokenizer: Path, tmp_path: Path
) -> None:
    def swap(document: dict[str, Any]) -> None:
        vocabulary = document["model"]["vocab"]
        vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]

    other = edited(byte_tokenizer, tmp_path / "tokenizer.json", swap)
    document = TextTokenizer(byte_tokenizer)._tokenizer.to_str()
    with pytest.raises(UnusableError, match="differs from the reference on"):
        FastPath(document, [], other._reference)


def test_a_difference_in_added_tokens_sends_only_texts_with_them_to_the_reference(
    byte_tokenizer: Path, tmp_path: Path
) -> None:
    def add(document: dict[str, Any]) -> None:
        flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
        token = {"id": 256, "content": "<tool>", **dict.fromkeys(flags, False)}
        document["added_tokens"].append(token)

    other = edited(byte_tokenizer, tmp_path / "tokenizer.json", add)
    document = TextTokenizer(byte_tokenizer)._tokenizer.to_str()
    fast = FastPath(document, ["<tool>"], other._reference)
    texts = ["plain", "a <tool>", "more", "<tool"]
    batch, slow = fast.encode(texts)
    assert documents(batch) == one_by_one(other, texts)
    assert slow == 1


def test_a_tokenizer_can_be_sent_to_another_process(byte_tokenizer: Path) -> None:
    encoder = TextTokenizer(byte_tokenizer)
    encoder.encode_batch(["abc"])
    copy = pickle.loads(pickle.dumps(encoder))
    assert copy.pin() == encoder.pin()
    assert documents(copy.encode_batch(["abc"])) == documents(encoder.encode_batch(["abc"]))
