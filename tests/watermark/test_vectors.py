"""The public vectors: what the reference makes, what a stranger makes, what the arrays make."""

import ast
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from watermark import ed25519, greenlist
from watermark.detect.counts import Batch, EpochScheme
from watermark.detect.counts_torch import TorchScheme
from watermark.detect.pvalues import log10_tail
from watermark.detect.words import WordEncoder
from watermark.errors import TicketError
from watermark.keys import SUBKEYS, EpochKeys
from watermark.manifest import CHANNELS, Manifest, Parameters
from watermark.prf import siphash24, splitmix64
from watermark.ticket import Ticket, sign, verify
from watermark.words import word_id
from watermark.words import words as words_of

Vectors = dict[str, Any]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def stranger(vector_module: Callable[[str], ModuleType]) -> ModuleType:
    return vector_module("stranger")


def epoch_keys(vectors: Vectors, epoch: int) -> EpochKeys:
    entry = vectors["epochs"][epoch - 1]
    return EpochKeys.derive(epoch, "", bytes.fromhex(entry["master"]))


def parameters_of(vectors: Vectors, epoch: int) -> Parameters:
    return Parameters(**vectors["epochs"][epoch - 1]["parameters"])


def test_the_file_is_what_the_reference_makes(
    vector_module: Callable[[str], ModuleType],
) -> None:
    made = vector_module("make")
    assert made.PATH.read_text("utf-8") == made.text()


def test_subkeys_and_number_keys_agree(vectors: Vectors) -> None:
    for entry in vectors["epochs"]:
        keys = epoch_keys(vectors, entry["epoch"])
        assert keys.check == entry["check"]
        assert {name: getattr(keys, name).hex() for name in SUBKEYS} == entry["subkeys"]
        for number, key in entry["account_keys"].items():
            assert f"{keys.account_key(int(number)):016x}" == key
        for number, key in entry["call_keys"].items():
            assert f"{keys.call_key(int(number)):016x}" == key


@pytest.mark.parametrize("kind", ["torch", "numpy"])
def test_array_code_draws_the_channels_and_seeds(vectors: Vectors, kind: str) -> None:
    for entry in vectors["contexts"]:
        keys = epoch_keys(vectors, entry["epoch"])
        parameters = parameters_of(vectors, entry["epoch"])
        rows = np.array([row["before"] for row in entry["rows"]], dtype=np.int64)
        contexts = torch.from_numpy(rows) if kind == "torch" else rows
        drawn = greenlist.channels_of(keys, parameters, contexts).tolist()
        assert [(*CHANNELS, None)[i] for i in drawn] == [row["channel"] for row in entry["rows"]]
        extra = {
            "site": 0,
            "account": greenlist.signed64(keys.account_key(entry["account"])),
            "call": greenlist.signed64(keys.call_key(entry["call"])),
        }
        for channel in CHANNELS:
            hashes = greenlist.context_seeds(keys, parameters, channel, contexts)
            for name, words in (("hashes", hashes), ("seeds", hashes ^ extra[channel])):
                expected = [row[name][channel] for row in entry["rows"]]
                assert [f"{word % 2**64:016x}" for word in words.tolist()] == expected


def test_array_code_makes_the_green_lists(vectors: Vectors) -> None:
    for entry in vectors["green_lists"]:
        seed = torch.tensor([greenlist.signed64(int(entry["seed"], 16))])
        for size, expected in entry["vocabularies"].items():
            packed = greenlist.green_words(seed, int(size), entry["gamma_bits"])
            bits = np.unpackbits(packed.numpy(), axis=1, bitorder="little")[0, : int(size)]
            assert int(bits.sum()) == expected["green"]
            assert sha256(bits.tobytes()).hexdigest() == expected["sha256"]
            if size == "100":
                assert np.flatnonzero(bits).tolist() == entry["green_below_100"]


def test_array_code_counts_the_answers(vectors: Vectors) -> None:
    for entry in vectors["answers"]:
        keys = epoch_keys(vectors, entry["epoch"])
        parameters = parameters_of(vectors, entry["epoch"])
        batch = Batch.of([entry["tokens"]])
        for scheme in (EpochScheme(keys, parameters), TorchScheme(keys, parameters, "cpu")):
            for suspect in entry["scores"]:
                numbers = {"account": suspect["account"], "call": suspect["call"]}
                counts = scheme.count(batch, **numbers)
                for channel, expected in suspect["channels"].items():
                    at = 0, CHANNELS.index(channel)
                    windows, hits = int(counts.windows[at]), int(counts.hits[at])
                    assert (windows, hits) == (expected["windows"], expected["hits"])
                    log10_p = log10_tail(hits, windows, parameters.gamma)
                    assert log10_p == pytest.approx(float(expected["log10_p"]), abs=1e-9)


def test_array_code_reads_and_counts_the_words(vectors: Vectors) -> None:
    for entry in vectors["words"]["folding"]:
        assert words_of(entry["text"]) == entry["words"]
    for word, number in vectors["words"]["ids"].items():
        assert word_id(word, epoch_keys(vectors, 1).words) == number
    for entry in vectors["words"]["texts"]:
        keys = epoch_keys(vectors, entry["epoch"])
        parameters = parameters_of(vectors, entry["epoch"])
        encoder = WordEncoder(keys.words)
        assert encoder.encode(entry["text"]).ids == entry["ids"]
        batch = encoder.encode_batch([entry["text"]])
        assert batch.ids.tolist() == entry["ids"]
        for suspect in entry["scores"]:
            numbers = {"account": suspect["account"], "call": suspect["call"]}
            counts = EpochScheme(keys, parameters).count(batch, **numbers)
            for channel, expected in suspect["channels"].items():
                at = 0, CHANNELS.index(channel)
                found = int(counts.windows[at]), int(counts.hits[at])
                assert found == (expected["windows"], expected["hits"])


def test_tails_agree(vectors: Vectors) -> None:
    for entry in vectors["tails"]:
        log10_p = log10_tail(entry["hits"], entry["windows"], 2.0 ** -entry["gamma_bits"])
        assert log10_p == pytest.approx(float(entry["log10_p"]), rel=1e-10, abs=1e-9)


def test_ticket_is_signed_and_refused_as_listed(vectors: Vectors) -> None:
    entry = vectors["ticket"]
    key, ticket = bytes.fromhex(entry["key"]), Ticket(**entry["fields"])
    assert sign(ticket, key) == entry["text"]
    assert verify(entry["text"], {1: key}, entry["now"]) == ticket
    for reason, texts in entry["refused"].items():
        for text in texts:
            with pytest.raises(TicketError) as caught:
                verify(text, {1: key}, entry["now"])
            assert caught.value.reason == reason


def test_manifest_is_verified_and_named(vectors: Vectors, tmp_path: Path) -> None:
    entry = vectors["manifest"]
    path = tmp_path / "manifest.json"
    path.write_text(entry["file"])
    manifest = Manifest.load(path, bytes.fromhex(entry["public_key"]))
    assert manifest.canonical().decode() == entry["canonical"]
    assert manifest.digest == entry["digest"]
    assert [manifest.parameters(epoch) for epoch in (1, 2)] == [
        parameters_of(vectors, epoch) for epoch in (1, 2)
    ]


def test_the_stranger_shares_no_code_with_the_package(stranger: ModuleType) -> None:
    assert stranger.__file__ is not None
    tree = ast.parse(Path(stranger.__file__).read_text("utf-8"))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
        )
    }
    assert imported <= sys.stdlib_module_names


def test_the_stranger_derives_the_same_keys(vectors: Vectors, stranger: ModuleType) -> None:
    for entry in vectors["epochs"]:
        derived = {n: k.hex() for n, k in stranger.subkeys(bytes.fromhex(entry["master"])).items()}
        assert derived == {**entry["subkeys"], "check": entry["check"]}
        for root in ("account", "call"):
            key = bytes.fromhex(derived[f"{root}_root"])
            for number, expected in entry[f"{root}_keys"].items():
                assert f"{stranger.number_key(key, int(number)):016x}" == expected


def test_the_stranger_has_the_same_primitives(vectors: Vectors, stranger: ModuleType) -> None:
    for entry in vectors["primitives"]["siphash"]:
        key, message = bytes.fromhex(entry["key"]), bytes.fromhex(entry["message"])
        assert f"{stranger.siphash(key, message):016x}" == entry["hash"]
        assert stranger.siphash(key, message) == siphash24(key, message)
    for entry in vectors["primitives"]["splitmix64"]:
        seed = int(entry["seed"], 16)
        for block, expected in enumerate(entry["outputs"]):
            assert f"{stranger.word(seed, block):016x}" == expected
            assert stranger.word(seed, block) == splitmix64(seed, block)


def test_the_stranger_draws_the_same_channels_and_lists(
    vectors: Vectors, stranger: ModuleType
) -> None:
    for entry in vectors["contexts"]:
        epoch = vectors["epochs"][entry["epoch"] - 1]
        keys = stranger.subkeys(bytes.fromhex(epoch["master"]))
        for row in entry["rows"]:
            channel = stranger.channel_at(keys, epoch["parameters"], row["before"])
            assert channel == row["channel"]
            selector = row["before"][-epoch["parameters"]["selector_width"] :]
            assert stranger.context_hash(keys["channel"], selector) % 65_536 == row["draw"]
    for entry in vectors["green_lists"]:
        seed, bits = int(entry["seed"], 16), entry["gamma_bits"]
        assert [f"{stranger.word(seed, b):016x}" for b in range(4)] == entry["words"]
        for size, expected in entry["vocabularies"].items():
            if int(size) > 50_000:  # the stranger is slow, and the lists begin alike
                continue
            listed = bytes(stranger.green(seed, token, bits) for token in range(int(size)))
            assert (sum(listed), sha256(listed).hexdigest()) == tuple(expected.values())


def test_the_stranger_counts_and_embeds_the_same(vectors: Vectors, stranger: ModuleType) -> None:
    for entry in vectors["answers"]:
        epoch = vectors["epochs"][entry["epoch"] - 1]
        keys = stranger.subkeys(bytes.fromhex(epoch["master"]))
        parameters, tokens = epoch["parameters"], entry["tokens"]
        steps = stranger.embedding(keys, parameters, tokens, entry["account"], entry["call"])
        assert [step and [step[0], f"{step[1]:016x}"] for step in steps] == entry["embedding"]
        for suspect in entry["scores"]:
            account, call = suspect["account"], suspect["call"]
            counts = stranger.score(keys, parameters, tokens, account, call)
            assert {
                channel: (expected["windows"], expected["hits"])
                for channel, expected in suspect["channels"].items()
            } == counts
            for channel, (windows, hits) in counts.items():
                log10_p = stranger.log10_tail(hits, windows, parameters["gamma_bits"])
                expected = float(suspect["channels"][channel]["log10_p"])
                assert log10_p == pytest.approx(expected, abs=1e-9)


def test_the_stranger_reads_the_same_words(vectors: Vectors, stranger: ModuleType) -> None:
    for entry in vectors["words"]["folding"]:
        assert stranger.cut_words(entry["text"]) == entry["words"]
    for entry in vectors["words"]["texts"]:
        epoch = vectors["epochs"][entry["epoch"] - 1]
        keys = stranger.subkeys(bytes.fromhex(epoch["master"]))
        ids = [stranger.id_of_word(keys["words"], w) for w in stranger.cut_words(entry["text"])]
        assert ids == entry["ids"]
        for suspect in entry["scores"]:
            counts = stranger.score(
                keys, epoch["parameters"], ids, suspect["account"], suspect["call"]
            )
            assert counts == {
                channel: (expected["windows"], expected["hits"])
                for channel, expected in suspect["channels"].items()
            }


def test_the_stranger_reads_ticket_and_manifest_alike(
    vectors: Vectors, stranger: ModuleType
) -> None:
    ticket, manifest = vectors["ticket"], vectors["manifest"]
    ticket_keys = {1: bytes.fromhex(ticket["key"])}
    assert stranger.read_ticket(ticket["text"], ticket_keys, ticket["now"]) == ticket["fields"]
    for reason, texts in ticket["refused"].items():
        for text in texts:
            assert stranger.read_ticket(text, ticket_keys, ticket["now"]) == reason
    canonical = stranger.canonical_manifest(manifest["file"])
    assert canonical.decode() == manifest["canonical"]
    assert sha256(canonical).hexdigest() == manifest["digest"]
    signature = bytes.fromhex(manifest["file"].split('"signature": "')[1][:128])
    assert ed25519.verify(bytes.fromhex(manifest["public_key"]), canonical, signature)
