"""The common-n-gram filter: what is common, what a file keeps, and what it leaves out."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from watermark.detect.counts import Batch, EpochScheme
from watermark.detect.filter import (
    CommonFilter,
    document_ngrams,
    load_filter,
    ngram_hashes,
    shipped,
)
from watermark.detect.filter_build import FilterBuilder, stretches
from watermark.detect.kernels import NGRAM, SHORT_NGRAM, ngram_hash
from watermark.detect.tokenizer import TextTokenizer
from watermark.errors import InputError
from watermark.keys import EpochKeys
from watermark.manifest import Parameters

NOTICE = (
    "This program is distributed in the hope that it will be useful, but WITHOUT ANY WARRANTY; "
    "without even the implied warranty of MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE. "
    "See the GNU General Public License for more details."
)
SPEECH = (
    "But in a larger sense we can not dedicate, we can not consecrate, we can not hallow this "
    "ground. The brave men, living and dead, who struggled here, have consecrated it far above "
    "our poor power to add or detract."
)


def tokens(seed: int, length: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(49_152) for _ in range(length)]


def hashes_of(ids: list[int]) -> np.ndarray:
    return document_ngrams(Batch.of([ids]))


def built(corpus: list[list[int]], **options: int) -> CommonFilter:
    with FilterBuilder("tokenizer", **options) as builder:
        for document in corpus:
            builder.add(Batch.of([document]))
        return builder.build()


@pytest.fixture
def common() -> CommonFilter:
    return CommonFilter.of(hashes_of(tokens(1, 3_000)), "tokenizer", documents=3, corpus=7)


# ---- which n-grams are common


def test_a_passage_of_three_documents_is_common_and_one_of_two_is_not() -> None:
    thrice, twice = tokens(1, 40), tokens(2, 40)
    documents = [tokens(10 + i, 50) + thrice + (twice if i < 2 else []) for i in range(3)]
    found = built(documents)
    assert found.holds(hashes_of(thrice)).all()
    assert not found.holds(hashes_of(twice)).any()
    assert (found.documents, found.corpus) == (3, 3)


def test_a_passage_three_times_in_one_document_is_not_common() -> None:
    passage = tokens(1, 30)
    document = [t for i in range(3) for t in (*passage, *tokens(5 + i, 9))]
    assert not built([document, tokens(2, 90)]).holds(hashes_of(passage)).any()


def test_the_number_of_documents_can_be_chosen() -> None:
    passage = tokens(1, 30)
    assert built([passage, passage], documents=2).holds(hashes_of(passage)).all()


def test_a_small_buffer_gives_the_same_filter_as_a_large_one() -> None:
    passages = [tokens(i, 20) for i in range(30)]
    documents = [passages[i % 30] + passages[i * 7 % 30] + tokens(99 + i, 30) for i in range(90)]
    small, large = built(documents, buffer_hashes=64), built(documents)
    assert small.ngrams == large.ngrams > 0
    assert (small.bits == large.bits).all()


def test_a_trigram_of_many_stretches_is_common_though_its_five_grams_are_new() -> None:
    form = [7, 8, 9]
    documents = [[*tokens(i, 6), *form, *tokens(50 + i, 6)] for i in range(4)]
    short = document_ngrams(Batch.of([form]), SHORT_NGRAM)
    found = built(documents)
    assert found.holds(short).all()
    assert not found.holds(hashes_of(documents[0])).any()


def test_long_documents_are_cut_into_stretches_of_a_hundred_tokens() -> None:
    cut = stretches(Batch.of([tokens(1, 250), [], tokens(2, 100)]))
    assert np.diff(cut.offsets).tolist() == [100, 100, 50, 100]


def test_one_document_is_not_several() -> None:
    with pytest.raises(InputError, match="2 documents at least"):
        FilterBuilder("tokenizer", documents=1)


# ---- hashes


def test_hashes_are_those_of_the_kernels() -> None:
    words = np.array(tokens(3, 20), np.uint64)
    found = ngram_hashes(words, NGRAM)
    assert found.tolist() == [0] * 4 + [int(ngram_hash(words, end)) for end in range(4, 20)]


def test_each_n_gram_of_a_document_counts_once_and_none_spans_two() -> None:
    assert len(hashes_of(tokens(1, 9) * 3)) == 9
    assert len(document_ngrams(Batch.of([tokens(1, 4), tokens(2, 5)]))) == 1


# ---- the filter


def test_every_entry_is_found_and_few_others_are(common: CommonFilter) -> None:
    assert common.holds(hashes_of(tokens(1, 3_000))).all()
    others = common.holds(hashes_of(tokens(2, 50_000))).mean()
    assert others <= 2 * common.false_positive_rate + 1e-4
    assert common.false_positive_rate < 0.004


def test_windows_of_a_common_passage_are_not_counted_and_others_are(
    keys: EpochKeys, common: CommonFilter
) -> None:
    copied, own = tokens(1, 3_000)[100:300], tokens(2, 200)
    batch = Batch.of([copied, own])
    parameters = Parameters()
    every = EpochScheme(keys, parameters).count(batch).windows.sum(axis=1)
    kept = EpochScheme(keys, parameters, common).count(batch).windows.sum(axis=1)
    assert kept[0] <= NGRAM - 1
    assert kept[1] == every[1]


def test_a_filter_comes_back_from_its_file(common: CommonFilter, tmp_path: Path) -> None:
    common.save(tmp_path / "a.azf")
    again = CommonFilter.load(tmp_path / "a.azf")
    assert (again.bits == common.bits).all()
    assert again.sha256 == common.sha256
    for name in ("probes", "tokenizer", "ngrams", "documents", "corpus"):
        assert getattr(again, name) == getattr(common, name)


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-1],
        lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]),
        lambda raw: raw[:10],
        lambda raw: raw.replace(b'"version": 1', b'"version": 9'),
        lambda raw: raw.replace(b'"probes"', b'"prober"'),
    ],
)
def test_a_damaged_file_is_refused(
    damage: Callable[[bytes], bytes], common: CommonFilter, tmp_path: Path
) -> None:
    path = tmp_path / "a.azf"
    common.save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match="damaged"):
        CommonFilter.load(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        CommonFilter.load(tmp_path / "none.azf")
    (tmp_path / "a.azf").write_text("text")
    with pytest.raises(InputError, match="no filter; make one with: azeotrope build-filter"):
        CommonFilter.load(tmp_path / "a.azf")
    with pytest.raises(InputError, match="cannot be written"):
        CommonFilter.of(hashes_of(tokens(1, 9)), "").save(tmp_path / "no" / "a.azf")


def test_a_filter_of_another_tokenizer_is_refused(
    common: CommonFilter, byte_tokenizer: Path, tmp_path: Path
) -> None:
    common.save(tmp_path / "a.azf")
    with pytest.raises(InputError, match="built with another tokenizer"):
        load_filter(str(tmp_path / "a.azf"), TextTokenizer(byte_tokenizer))


# ---- the default


def test_the_default_leaves_out_a_licence_and_keeps_a_speech(model_dir: Path) -> None:
    encoder = TextTokenizer(model_dir)
    common = load_filter("default", encoder)
    assert common is not None
    assert common.holds(document_ngrams(encoder.encode_batch([NOTICE]))).mean() > 0.9
    assert common.holds(document_ngrams(encoder.encode_batch([SPEECH]))).mean() < 0.15


def test_the_default_names_no_address_and_no_copyright() -> None:
    passages, phrases = shipped()
    assert len(passages) > 1_000
    assert len(phrases) > 1_000
    assert not [text for text in passages + phrases if "@" in text or "copyright" in text.lower()]


def test_no_filter_and_no_tokenizer_are_told_apart(byte_tokenizer: Path) -> None:
    assert load_filter("none", TextTokenizer(byte_tokenizer)) is None
    assert load_filter("default", None) is None


def test_a_vocabulary_of_bytes_gets_no_default_filter(byte_tokenizer: Path) -> None:
    assert load_filter("default", TextTokenizer(byte_tokenizer)) is None
    assert load_filter("default", None) is None
    assert load_filter("none", TextTokenizer(byte_tokenizer)) is None


def test_the_default_filter_is_made_once(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZEOTROPE_CACHE", str(tmp_path))
    tokenizer = TextTokenizer(model_dir)
    made = load_filter("default", tokenizer)
    assert made is not None
    monkeypatch.setattr(TextTokenizer, "encode_batch", None)
    kept = load_filter("default", tokenizer)
    assert kept is not None
    assert (kept.sha256, kept.ngrams) == (made.sha256, made.ngrams)
    (file,) = (tmp_path / "filters").iterdir()
    file.write_bytes(file.read_bytes()[:-8])
    monkeypatch.undo()
    monkeypatch.setenv("AZEOTROPE_CACHE", str(tmp_path))
    again = load_filter("default", tokenizer)
    assert again is not None
    assert again.sha256 == made.sha256
