"""From text to tokens and back to pieces of the text."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watermark.detect.detector import Detector
from watermark.detect.segments import segments
from watermark.detect.tokenizer import TextTokenizer
from watermark.errors import InputError
from watermark.manifest import TokenizerPin

texts = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from("aé€😀👩‍👩‍👧\u0301\n  "), max_size=60
)


@pytest.fixture(scope="session")
def encoder(model_dir: Path) -> TextTokenizer:
    return TextTokenizer(model_dir)


def test_a_directory_and_its_tokenizer_file_are_the_same(model_dir: Path) -> None:
    first, second = TextTokenizer(model_dir), TextTokenizer(model_dir / "tokenizer.json")
    assert first.path == second.path
    assert first.pin() == second.pin()


def test_no_special_token_is_added(encoder: TextTokenizer) -> None:
    assert encoder.encode("").ids == []
    assert encoder.encode("Hello").ids == encoder.encode("Hello Hello").ids[:1]


def test_special_tokens_spelled_out_in_a_text_are_text(encoder: TextTokenizer) -> None:
    # Otherwise a text that quotes a chat template would be cut up, and its windows lost.
    ids = encoder.encode("<|im_start|>user<|im_end|>").ids
    special = {encoder._tokenizer.token_to_id(t) for t in ("<|im_start|>", "<|im_end|>")}
    assert None not in special
    assert not special & set(ids)


@settings(max_examples=150)
@given(texts)
def test_offsets_lie_in_the_text_and_ascend(encoder: TextTokenizer, text: str) -> None:
    # Some control characters have no token in this vocabulary, so there may be gaps.
    encoded = encoder.encode(text)
    assert len(encoded.ids) == len(encoded.offsets)
    assert all(0 <= start <= end <= len(text) for start, end in encoded.offsets)
    assert encoded.offsets == sorted(encoded.offsets)


@given(texts)
def test_a_tokenizer_of_bytes_leaves_nothing_out(byte_tokenizer: Path, text: str) -> None:
    encoded = TextTokenizer(byte_tokenizer).encode(text)
    assert len(encoded.ids) == len(text.encode())
    covered = {place for span in encoded.offsets for place in range(*span)}
    assert covered == set(range(len(text)))


@settings(max_examples=150)
@given(texts)
def test_coloured_pieces_join_to_the_text(encoder: TextTokenizer, home: Any, text: str) -> None:
    encoded = encoder.encode(text)
    detection = Detector(home.keyring, home.manifest).judge(encoded.ids)
    pieces = segments(text, encoded.offsets, detection.coins)
    assert "".join(piece.text for piece in pieces) == text
    assert all(piece.text for piece in pieces)
    assert all((piece.colour == "plain") == (piece.note == "") for piece in pieces)


def test_a_piece_has_the_colour_of_its_coin(home: Any, byte_tokenizer: Path) -> None:
    encoder, text = TextTokenizer(byte_tokenizer), "abcdefghijklmnopqrstuvwxyz" * 3
    encoded = encoder.encode(text)
    detection = Detector(home.keyring, home.manifest).judge(encoded.ids)
    colours = dict.fromkeys(range(len(text)), "plain")
    colours |= {c.position: "green" if c.green else "red" for c in detection.coins}
    place = 0
    for piece in segments(text, encoded.offsets, detection.coins):
        assert {colours[i] for i in range(place, place + len(piece.text))} == {piece.colour}
        place += len(piece.text)
    assert {"plain", "green", "red"} == set(colours.values())


def test_the_pin_is_that_of_the_specification(byte_tokenizer: Path) -> None:
    vocabulary = json.loads(byte_tokenizer.read_text())["model"]["vocab"]
    listed = b"".join(
        f"{i}\0{token}\0".encode() for i, token in sorted((i, t) for t, i in vocabulary.items())
    )
    assert TextTokenizer(byte_tokenizer).pin() == TokenizerPin(256, sha256(listed).hexdigest())


def test_the_pin_notices_a_swapped_or_an_added_token(byte_tokenizer: Path, tmp_path: Path) -> None:
    before = TextTokenizer(byte_tokenizer).pin()

    def pin_after(change: Callable[[dict[str, Any]], None]) -> TokenizerPin:
        document = json.loads(byte_tokenizer.read_text())
        change(document)
        path = tmp_path / "tokenizer.json"
        path.write_text(json.dumps(document))
        return TextTokenizer(path).pin()

    def swap(document: dict[str, Any]) -> None:
        vocabulary = document["model"]["vocab"]
        vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]

    def add(document: dict[str, Any]) -> None:
        flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
        token = {"id": 256, "content": "<end>", **dict.fromkeys(flags, False)}
        document["added_tokens"].append(token)

    assert pin_after(lambda _: None) == before
    assert pin_after(swap).sha256 != before.sha256
    assert pin_after(add).vocabulary_size == 257


def test_only_the_tokenizer_of_the_manifest_is_accepted(byte_tokenizer: Path) -> None:
    encoder = TextTokenizer(byte_tokenizer)
    pin = encoder.pin()
    encoder.require(None)
    encoder.require(pin)
    for wrong in (TokenizerPin(257, pin.sha256), TokenizerPin(256, "0" * 64)):
        with pytest.raises(InputError, match="not the tokenizer that the marks were made with"):
            encoder.require(wrong)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"\xff", b'{"model": {"type": "BPE"}}', b"[" * 999]
)
def test_a_damaged_tokenizer_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"tokenizer\.json: not a Hugging Face tokenizer"):
        TextTokenizer(tmp_path)
