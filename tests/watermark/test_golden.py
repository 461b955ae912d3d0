"""Texts that were marked once must be read for ever as they were read first."""

import json
import struct
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.golden import make
from watermark import reference
from watermark.detect.counts import Batch, EpochScheme, number_keys, search
from watermark.detect.pvalues import log10_tail
from watermark.detect.tokenizer import TextTokenizer
from watermark.detect.words import WordEncoder
from watermark.keys import EpochKeys
from watermark.manifest import CHANNELS, Parameters

TEXTS = {path.stem: json.loads(path.read_bytes()) for path in sorted(make.FOLDER.glob("*.json"))}
Entry = dict[str, Any]
entries = pytest.mark.parametrize("entry", TEXTS.values(), ids=TEXTS)


def keys_of(entry: Entry) -> EpochKeys:
    return EpochKeys.derive(1, "", bytes.fromhex(entry["master"]))


def ids_of(entry: Entry) -> list[int]:
    if entry["reads"] != "words":
        return list(entry["ids"])
    return WordEncoder(keys_of(entry).words).encode_batch([entry["text"]]).ids.tolist()


@entries
def test_ids_are_those_of_old(entry: Entry) -> None:
    ids, expected = ids_of(entry), entry["expected"]
    assert len(ids) == expected["ids"]
    packed = struct.pack(f"<{len(ids)}I", *ids)
    assert sha256(packed).hexdigest() == expected["ids_sha256"]
    if entry["reads"] == "words":
        key = keys_of(entry).words
        assert [reference.word_id(key, w) for w in reference.words(entry["text"])] == ids


def test_texts_are_tokenised_as_of_old(model_dir: Path) -> None:
    tokenizer = TextTokenizer(model_dir)
    read = [entry for entry in TEXTS.values() if entry["reads"] == "text"]
    assert len(read) >= 8
    for entry in read:
        assert tokenizer.pin().sha256 == entry["tokenizer"]["sha256"]
        assert tokenizer.encode(entry["text"]).ids == entry["ids"]


@entries
def test_the_reference_counts_as_of_old(entry: Entry) -> None:
    counts = reference.count(
        ids_of(entry),
        keys_of(entry),
        Parameters(**entry["parameters"]),
        account=entry["account"],
        call=entry["call"],
    )
    for channel, expected in entry["expected"]["channels"].items():
        found = counts[channel]
        assert (found.windows, found.hits) == (expected["windows"], expected["hits"])


@entries
def test_the_kernels_count_as_of_old(entry: Entry) -> None:
    scheme = EpochScheme(keys_of(entry), Parameters(**entry["parameters"]))
    numbers = {"account": entry["account"], "call": entry["call"]}
    batch = Batch.of([ids_of(entry)])
    counts, coins = scheme.coins(batch, **numbers)
    plain = scheme.count(batch, **numbers)
    assert np.array_equal(counts.windows, plain.windows)
    assert np.array_equal(counts.hits, plain.hits)
    for index, channel in enumerate(CHANNELS):
        expected = entry["expected"]["channels"][channel]
        windows, hits = int(counts.windows[0, index]), int(counts.hits[0, index])
        assert (windows, hits) == (expected["windows"], expected["hits"])
        log10_p = log10_tail(hits, windows, scheme.parameters.gamma)
        assert log10_p == pytest.approx(float(expected["log10_p"]), abs=2e-9)
    rows = zip(coins.position, coins.channel, coins.green, strict=True)
    first = [f"{p} {CHANNELS[c]} {g}" for p, c, g in islice(rows, make.COINS)]
    assert first == entry["expected"]["first_coins"]


@entries
def test_the_search_names_whom_it_named(entry: Entry) -> None:
    keys, parameters = keys_of(entry), Parameters(**entry["parameters"])
    _, coins = EpochScheme(keys, parameters).coins(Batch.of([ids_of(entry)]))
    own = coins.of("account")
    numbers = number_keys(keys.account_root, np.array(make.ACCOUNTS, np.uint64))
    hits = search(numbers, own.seed, own.token, parameters.gamma_bits)
    expected = entry["expected"]["best_account"]
    assert make.ACCOUNTS[int(hits.argmax())] == expected["number"]
    assert sorted(hits.tolist())[-2:] == [expected["runner_up_hits"], expected["hits"]]


def test_marked_texts_of_every_kind_are_there_and_name_their_account() -> None:
    marked = {"tokens", "tokens-half", "tokens-twice", "words", "words-half", "answer-0"}
    for name in marked:
        expected = TEXTS[name]["expected"]
        assert float(expected["channels"]["site"]["log10_p"]) < -5
        assert expected["best_account"]["number"] == TEXTS[name]["account"]
    for name in ("tokens-unmarked", "words-unmarked", "licence"):
        assert float(TEXTS[name]["expected"]["channels"]["site"]["log10_p"]) > -3


def test_a_text_that_is_there_is_never_written_again(tmp_path: Path) -> None:
    (name, golden), (_, other) = list(islice(make.planted(), 6, 8))
    assert make.add(tmp_path, name, golden)
    written = (tmp_path / f"{name}.json").read_bytes()
    assert written == (make.FOLDER / f"{name}.json").read_bytes()
    assert not make.add(tmp_path, name, other)
    assert (tmp_path / f"{name}.json").read_bytes() == written
