"""The format on words: cutting, folding, spans and ids, against the letter-by-letter reference."""

import pickle
import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watermark import reference
from watermark.detect.counts import EpochScheme
from watermark.detect.pvalues import log10_tail
from watermark.detect.words import WordEncoder
from watermark.errors import InputError
from watermark.keys import EpochKeys
from watermark.manifest import Parameters
from watermark.words import WordIds, clusters, fold, word_id, word_spans, words

KEY = bytes(range(16))
# Characters that fold, join, decompose, vanish, stand alone or come close to one that does.
NASTY = (
    "aB1 _-'\u2019\u02bc\uff07"
    "\u00ad\u200b\u200d\ufe0f\u034f\u0301\u0323\u0345\u0130\u00df\ufb03\u00bd"
    "\u212b"
    "\u0958"
    "\u093c\u0915\u0e33\u0e2a\u1112\u1161\u11ab\uac00\u3042\u30ab\u3099\uff76\uff9e\u30fb\u4e00"
    "\uf900"
    "\U00020000\U0002f800\U0001d400\u0378\ud800\U0001f600\u20e3\u20dd\u09c7\u09be\u1e9b\u0149\u1fb3"
)
texts = st.text(st.sampled_from(NASTY), max_size=24) | st.text(max_size=24)


@given(texts)
@settings(max_examples=1500)
def test_words_are_those_of_the_reference(text: str) -> None:
    assert words(text) == reference.words(text)


@given(texts)
@settings(max_examples=1500)
def test_spans_hold_the_words_in_their_order(text: str) -> None:
    found = word_spans(text)
    assert [word for word, _, _ in found] == words(text)
    spans = [(start, end) for _, start, end in found]
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert all(a[0] <= b[0] and a[1] <= b[1] for a, b in pairwise(spans))
    # Words share at most a character, one that folds into several: the fraction one half does.
    assert all(b[0] >= a[1] or len(fold(text[b[0] : a[1]])) > 1 for a, b in pairwise(spans))
    for word, start, end in found:
        assert word in fold(text[start:end])


@given(texts)
@settings(max_examples=1000)
def test_parts_fold_as_the_whole_does(text: str) -> None:
    assert "".join(fold(text[a:b]) for a, b in clusters(text)) == fold(text)


@given(st.lists(texts, max_size=5))
def test_a_batch_has_the_ids_of_its_texts_one_by_one(many: list[str]) -> None:
    encoder = WordEncoder(KEY)
    batch = encoder.encode_batch(many)
    assert len(batch) == len(many)
    for index, text in enumerate(many):
        expected = [reference.word_id(KEY, word) for word in reference.words(text)]
        assert batch.document(index).tolist() == encoder.encode(text).ids == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don\u2019t, don't; DON\u02bcT", ["don't"] * 3),
        ("state-of-the-art 'tis' rock'n'roll", ["state", "of", "the", "art", "tis", "rock'n'roll"]),
        ("soft\u00adware zero\u200bwidth \ufeffbom", ["software", "zerowidth", "bom"]),
        ("Stra\u00dfe STRASSE \ufb01ne x\u00b2", ["strasse", "strasse", "fine", "x2"]),
        ("snake_case 3.14", ["snake", "case", "3", "14"]),
        ("\u65e5\u672c\u8a9eGPT", ["\u65e5", "\u672c", "\u8a9e", "gpt"]),
        ("\u2014 \u2026 \U0001f600 ''", []),
    ],
)
def test_what_a_word_is(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_spans_are_of_the_text_as_given() -> None:
    text = "\u201cNa\u00efve\u201d soft\u00adware: \ufb01ne \u00bd"
    assert [text[start:end] for _, start, end in word_spans(text)] == [
        "Na\u00efve",
        "soft\u00adware",
        "\ufb01ne",
        "\u00bd",
        "\u00bd",
    ]


def test_ids_are_of_the_upper_half_and_never_the_unused_slot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = {word_id(f"word{i}", KEY) for i in range(500)}
    assert len(ids) == 500
    assert min(ids) >= 2**31
    assert word_id("word0", KEY) != word_id("word0", bytes(16))
    # No known word hashes to it: the rule is tested at the hash.
    monkeypatch.setattr("watermark.words.siphash24", lambda key, message: 2**64 - 1)
    monkeypatch.setattr("watermark.reference.siphash24", lambda key, message: 2**64 - 1)
    assert word_id("word", KEY) == reference.word_id(KEY, "word") == 0xFFFFFFFE


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("watermark.words._MOST", 10)
    ids = WordIds(KEY)
    for i in range(100):
        text = f"word{i} caf\u00e9{i} {'x' * 50}{i}"
        assert ids.of_text(text) == [word_id(word, KEY) for word in words(text)]
        assert max(len(ids._ids), len(ids._chunks)) <= 10
    assert not any(len(word) > 40 for word in ids._ids)


def test_an_encoder_can_be_sent_to_another_process() -> None:
    encoder = WordEncoder(KEY)
    ids = encoder.encode("caf\u00e9 and words").ids
    assert pickle.loads(pickle.dumps(encoder)).encode("caf\u00e9 and words").ids == ids


def test_keys_without_one_for_words_are_refused(keys: EpochKeys) -> None:
    site_only = EpochKeys(keys.epoch, keys.created, keys.check, keys.channel, keys.site)
    with pytest.raises(InputError, match=r"no key for words.*detector export"):
        WordEncoder(site_only.words)


def test_a_mark_on_words_survives_what_breaks_one_on_tokens(keys: EpochKeys) -> None:
    parameters = Parameters()
    encoder, scheme = WordEncoder(keys.words), EpochScheme(keys, parameters)
    text = marked_text(keys, parameters)
    shouted = text.upper().replace(" ", "\u00a0 ").replace("A", "\uff21").replace("O", "\u00adO")
    counts = scheme.count(encoder.encode_batch([text, shouted, f"{text} {text}"]))
    assert np.array_equal(counts.hits[0], counts.hits[1])
    windows, hits = int(counts.windows[0, 0]), int(counts.hits[0, 0])
    assert log10_tail(hits, windows, parameters.gamma) < -20
    # A text put together twice has at most four windows more: those at the seam.
    assert (counts.windows[2] - counts.windows[0]).sum() <= 4


def marked_text(keys: EpochKeys, parameters: Parameters) -> str:
    """150 words, drawn until green where the site's channel is."""
    rng, vocabulary = random.Random(5), [f"word{chr(97 + i)}" for i in range(26)]
    chosen, ids = [], list[int]()
    for _ in range(150):
        word = rng.choice(vocabulary)
        if reference.channel_of(keys, parameters, ids) == "site":
            seed = reference.context_hash(keys.site, ids[-parameters.site_width :])
            for word in rng.sample(vocabulary, len(vocabulary)):
                if reference.is_green(seed, word_id(word, keys.words), parameters.gamma_bits):
                    break
        chosen.append(word)
        ids.append(word_id(word, keys.words))
    return " ".join(chosen)
