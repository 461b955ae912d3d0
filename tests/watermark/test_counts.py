"""Counts and coins of batches: reference, compiled kernels and torch agree on every integer."""

import random
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watermark import reference
from watermark.detect import counts_torch
from watermark.detect.counts import (
    CHANNEL_INDEX,
    Batch,
    Coins,
    Counts,
    EpochScheme,
    number_keys,
    search,
)
from watermark.detect.counts_torch import TorchScheme
from watermark.detect.kernels import is_common, ngram_hash
from watermark.errors import InputError
from watermark.greenlist import green_bits, signed64
from watermark.keys import EpochKeys, KeySet
from watermark.manifest import CHANNELS, Parameters

ids = st.integers(0, 3) | st.integers(0, 151_935) | st.integers(2**32 - 9, 2**32 - 2)
pieces = st.lists(ids, min_size=1, max_size=9)
# Texts made of few pieces repeat themselves, as loops and boilerplate do.
texts = st.lists(pieces, min_size=1, max_size=4).flatmap(
    lambda few: st.lists(st.sampled_from(few), max_size=9).map(lambda parts: [*chain(*parts)])
)
documents = st.lists(texts | st.lists(ids, max_size=3), max_size=4)
parameters = st.builds(
    Parameters,
    gamma_bits=st.sampled_from([1, 2]),
    selector_width=st.integers(1, 4),
    site_width=st.integers(1, 4),
    account_width=st.integers(1, 4),
    call_width=st.integers(1, 4),
    site_share=st.sampled_from([0, 20_000]),
    account_share=st.sampled_from([5_000, 20_000]),
    call_share=st.sampled_from([20_000, 25_536]),
)
numbers = st.none() | st.integers(0, 2**64 - 1)


class Filter(NamedTuple):
    """The part of a common-n-gram filter that counting needs."""

    bits: Any
    probes: int


def filter_of(grams: list[list[int]], words: int = 8, probes: int = 3) -> Filter:
    """A Bloom filter of runs of five or three tokens, made with plain integers."""
    bits = [0] * words
    for gram in grams:
        padded = [2**32 - 1] * (5 - len(gram)) + gram
        place = int(ngram_hash(np.array(padded, np.uint64), 4))
        step = place >> 32 | 1
        for _ in range(probes):
            index = place % (64 * words)
            bits[index // 64] |= 1 << index % 64
            place = (place + step) % 2**64
    return Filter(np.array(bits, np.uint64), probes)


def assert_same_counts(a: Counts, b: Counts) -> None:
    np.testing.assert_array_equal(a.windows, b.windows)
    np.testing.assert_array_equal(a.hits, b.hits)


def assert_same_coins(a: Coins, b: Coins) -> None:
    for name in Coins.__dataclass_fields__:
        left, right = getattr(a, name), getattr(b, name)
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right, name)


# ---- kernels, torch and reference


@settings(max_examples=150)
@given(documents, parameters, numbers, numbers)
def test_batches_are_counted_as_the_reference_counts_each_document(
    keys: EpochKeys,
    some: list[list[int]],
    chosen: Parameters,
    account: int | None,
    call: int | None,
) -> None:
    batch = Batch.of(some)
    found = EpochScheme(keys, chosen).count(batch, account=account, call=call)
    for row, tokens in enumerate(some):
        expected = reference.count(tokens, keys, chosen, account=account, call=call)
        for channel, count in expected.items():
            at = row, CHANNEL_INDEX[channel]
            assert (found.windows[at], found.hits[at]) == (count.windows, count.hits)


@settings(max_examples=150)
@given(documents, parameters, numbers, numbers)
def test_torch_counts_and_lists_the_same_integers(
    keys: EpochKeys,
    some: list[list[int]],
    chosen: Parameters,
    account: int | None,
    call: int | None,
) -> None:
    batch = Batch.of(some)
    here, there = EpochScheme(keys, chosen), TorchScheme(keys, chosen, "cpu")
    counts, coins = here.coins(batch, account=account, call=call)
    torch_counts, torch_coins = there.coins(batch, account=account, call=call)
    assert_same_counts(counts, torch_counts)
    assert_same_coins(coins, torch_coins)
    assert_same_counts(counts, here.count(batch, account=account, call=call))
    assert_same_counts(counts, there.count(batch, account=account, call=call))


@given(texts, parameters)
def test_each_coin_is_the_first_of_its_window(
    keys: EpochKeys, tokens: list[int], chosen: Parameters
) -> None:
    _, coins = EpochScheme(keys, chosen).coins(Batch.of([[1, 2], tokens]))
    coins = coins.where(coins.document == 1)
    for channel in CHANNELS:
        width = chosen.width(channel)
        seen: dict[tuple[int, ...], int] = {}
        for position in range(len(tokens)):
            if reference.channel_of(keys, chosen, tokens[:position]) == channel:
                seen.setdefault(tuple(tokens[position - width : position + 1]), position)
        assert coins.of(channel).position.tolist() == sorted(seen.values())
        assert coins.of(channel).token.tolist() == [tokens[p] for p in sorted(seen.values())]


@settings(max_examples=60)
@given(documents, parameters)
def test_without_account_keys_only_the_site_has_windows(
    keys: EpochKeys, some: list[list[int]], chosen: Parameters
) -> None:
    names = ("epoch", "created", "check", "channel", "site")
    site_only = EpochKeys(**{name: getattr(keys, name) for name in names})
    batch = Batch.of(some)
    counts, coins = EpochScheme(site_only, chosen).coins(batch)
    full, _ = EpochScheme(keys, chosen).coins(batch)
    np.testing.assert_array_equal(counts.windows[:, 0], full.windows[:, 0])
    assert not counts.windows[:, 1:].any()
    torch_counts, torch_coins = TorchScheme(site_only, chosen, "cpu").coins(batch)
    assert_same_counts(counts, torch_counts)
    assert_same_coins(coins, torch_coins)


def test_a_detector_export_without_account_keys_is_enough_for_the_site(home: Any) -> None:
    path = home.keys_path.with_name("site.json")
    home.keyring.export("site-detector", path)
    batch = Batch.of([list(range(200))])
    chosen = home.manifest.current.parameters
    found = EpochScheme(KeySet.load(path).current, chosen).count(batch)
    full = EpochScheme(home.keyring.current, chosen).count(batch)
    assert found.windows[0, 0] == full.windows[0, 0] > 100
    assert found.hits[0, 0] == full.hits[0, 0]


# ---- the filter of common n-grams


@settings(max_examples=80)
@given(documents, parameters, st.data())
def test_common_windows_are_left_out_alike(
    keys: EpochKeys, some: list[list[int]], chosen: Parameters, data: Any
) -> None:
    grams = [
        text[i : i + length]
        for text in some
        for length in (3, 5)
        for i in range(len(text) - length + 1)
    ]
    picked = data.draw(st.lists(st.sampled_from(grams), max_size=5)) if grams else []
    common = filter_of(picked)
    batch = Batch.of(some)
    here, there = EpochScheme(keys, chosen, common), TorchScheme(keys, chosen, "cpu", common)
    counts, coins = here.coins(batch)
    torch_counts, torch_coins = there.coins(batch)
    assert_same_counts(counts, torch_counts)
    assert_same_coins(coins, torch_coins)
    for document, position, channel in zip(
        coins.document.tolist(), coins.position.tolist(), coins.channel.tolist(), strict=True
    ):
        # A window longer than a trigram is new where only the trigram is common.
        lengths = (3, 5) if chosen.width(CHANNELS[channel]) <= 2 else (5,)
        for length in lengths:
            first = position - length + 1
            assert first < 0 or some[document][first : position + 1] not in picked


def test_a_filter_of_everything_leaves_only_the_beginning(keys: EpochKeys) -> None:
    rng = random.Random(1)
    tokens = [rng.randrange(49_152) for _ in range(100)]
    full = Filter(np.full(8, 2**64 - 1, np.uint64), 3)
    chosen = Parameters(selector_width=1, site_width=1, site_share=65_536, account_share=0,
                        call_share=0)  # fmt: skip
    _, coins = EpochScheme(keys, chosen, full).coins(Batch.of([tokens]))
    assert coins.position.tolist() == [1]
    _, rest = EpochScheme(keys, chosen, filter_of([tokens[:5]], words=64)).coins(Batch.of([tokens]))
    assert rest.position.tolist() == [1, 2, 3, *range(5, 100)]
    _, rest = EpochScheme(keys, chosen, filter_of([tokens[:3]], words=64)).coins(Batch.of([tokens]))
    assert rest.position.tolist() == [1, *range(3, 100)]


def test_a_filter_holds_what_was_put_in_and_little_else() -> None:
    rng = random.Random(2)
    grams = [[rng.randrange(2**32 - 1) for _ in range(5)] for _ in range(200)]
    common = filter_of(grams[:100], words=32)
    words = [np.uint64(ngram_hash(np.array(gram, np.uint64), 4)) for gram in grams]
    held = [is_common(common.bits, common.probes, word) for word in words]
    assert all(held[:100])
    assert sum(held[100:]) < 20


# ---- shapes and borders


@pytest.mark.parametrize("length", range(7))
def test_a_text_shorter_than_a_context_has_no_windows(keys: EpochKeys, length: int) -> None:
    chosen = Parameters(selector_width=4, site_share=65_536, account_share=0, call_share=0)
    for scheme in (EpochScheme(keys, chosen), TorchScheme(keys, chosen, "cpu")):
        found = scheme.count(Batch.of([list(range(length))]))
        assert found.windows.tolist() == [[max(length - 4, 0), 0, 0]]


def test_a_batch_of_nothing_and_of_empty_documents_counts_nothing(keys: EpochKeys) -> None:
    for scheme in (EpochScheme(keys, Parameters()), TorchScheme(keys, Parameters(), "cpu")):
        assert scheme.count(Batch.of([])).windows.shape == (0, 3)
        counts, coins = scheme.coins(Batch.of([[], [], []]))
        assert not counts.windows.any()
        assert (counts.windows.shape, len(coins)) == ((3, 3), 0)


@pytest.mark.parametrize("token", [-1, 2**32 - 1, 2**40])
def test_an_id_that_is_no_token_is_refused(token: int) -> None:
    with pytest.raises(InputError, match="token ids"):
        Batch.of([[1, 2], [3, token]])


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_change_nothing(keys: EpochKeys, threads: int) -> None:
    rng = random.Random(3)
    lengths = [0, 1, 5000, 3, 0, 700, 1024, 1, 2]
    batch = Batch.of([[rng.randrange(300) for _ in range(length)] for length in lengths])
    scheme = EpochScheme(keys, Parameters())
    together = scheme.count(batch, account=5, call=6, threads=threads)
    alone = [scheme.count(batch.part(i, i + 1), account=5, call=6) for i in range(len(batch))]
    np.testing.assert_array_equal(together.windows, np.concatenate([c.windows for c in alone]))
    np.testing.assert_array_equal(together.hits, np.concatenate([c.hits for c in alone]))


def test_documents_of_a_batch_are_cut_out_again() -> None:
    some = [[1, 2, 3], [], [4], [5, 6]]
    batch = Batch.of(some)
    assert [batch.document(i).tolist() for i in range(4)] == some
    assert batch.part(1, 3).ids.tolist() == [4]
    assert [batch.chosen([3, 0]).document(i).tolist() for i in (0, 1)] == [[5, 6], [1, 2, 3]]


def test_repeating_a_text_adds_nothing_but_its_seam(keys: EpochKeys) -> None:
    rng = random.Random(1)
    text = [rng.randrange(49_152) for _ in range(300)]
    scheme = EpochScheme(keys, Parameters())
    once, twice, often = (scheme.count(Batch.of([text * n])) for n in (1, 2, 40))
    assert_same_counts(often, twice)
    assert 0 <= (twice.windows - once.windows).sum() <= 4


def test_a_token_said_over_and_over_is_one_window(keys: EpochKeys) -> None:
    found = EpochScheme(keys, Parameters()).count(Batch.of([[7] * 5000]))
    assert found.windows.sum() == 1


def test_a_large_text_loses_no_window(keys: EpochKeys) -> None:
    # Windows are told apart by a 64-bit digest: a shorter one would merge some of these.
    places = np.arange(1_000_000)
    tokens = places % 200_003 * 977 % 131_071 + places // 7
    chosen = Parameters(
        selector_width=1, site_width=1, site_share=65_536, account_share=0, call_share=0
    )
    pairs = len(np.unique(tokens[:-1] * 2**32 + tokens[1:]))
    for scheme in (EpochScheme(keys, chosen), TorchScheme(keys, chosen, "cpu")):
        assert scheme.count(Batch.of([tokens])).windows[0, 0] == pairs


# ---- keys of numbers, and the search


@given(st.lists(st.integers(0, 2**64 - 1), max_size=50))
def test_keys_of_numbers_are_those_of_the_reference(keys: EpochKeys, some: list[int]) -> None:
    words = np.array(some, np.uint64)
    assert number_keys(keys.account_root, words).tolist() == [keys.account_key(n) for n in some]
    assert number_keys(keys.call_root, words).tolist() == [keys.call_key(n) for n in some]


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("bits", [1, 2])
@pytest.mark.parametrize("count", [0, 1, 2, 1500])
def test_a_search_counts_the_green_coins_of_every_key(
    keys: EpochKeys, bits: int, count: int, threads: int
) -> None:
    rng = np.random.default_rng(4)
    seeds = rng.integers(0, 2**64, 60, np.uint64)
    tokens = rng.integers(0, 2**32 - 1, 60).astype(np.uint32)
    words = number_keys(keys.account_root, np.arange(count, dtype=np.uint64))
    expected = [
        int(green_bits(seeds.view(np.int64) ^ signed64(k), tokens.astype(np.int64), bits).sum())
        for k in words.tolist()
    ]
    assert search(words, seeds, tokens, bits, threads=threads).tolist() == expected
    assert counts_torch.search(words, seeds, tokens, bits, device="cpu").tolist() == expected


def test_a_search_in_chunks_on_a_device_is_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    seeds, words = rng.integers(0, 2**64, (2, 50), np.uint64)
    tokens = rng.integers(0, 49_152, 50).astype(np.uint32)
    expected = search(words, seeds, tokens, 2)
    for size in (1, 7 * 50 + 1):
        monkeypatch.setattr(counts_torch, "_SEARCH_BATCH", size)
        found = counts_torch.search(words, seeds, tokens, 2, device="cpu")
        np.testing.assert_array_equal(found, expected)


def test_a_search_without_windows_finds_nothing() -> None:
    none, words = np.empty(0, np.uint64), np.arange(5, dtype=np.uint64)
    tokens = np.empty(0, np.uint32)
    assert search(words, none, tokens, 2).tolist() == [0] * 5
    assert counts_torch.search(words, none, tokens, 2, device="cpu").tolist() == [0] * 5


@pytest.mark.gpu
def test_the_gpu_counts_the_same(keys: EpochKeys) -> None:
    rng = random.Random(4)
    batch = Batch.of(
        [
            [rng.randrange(rng.choice([50, 256_000, 2**32 - 1])) for _ in range(length)]
            for length in (0, 3, 10, 1000, 100_000)
        ]
    )
    words = number_keys(keys.account_root, np.arange(5000, dtype=np.uint64))
    common = filter_of([batch.ids[100 * i : 100 * i + 5].tolist() for i in range(1, 300)], 1024)
    for chosen in (Parameters(), Parameters(gamma_bits=1, selector_width=1, site_width=1)):
        for some in (None, common):
            here = EpochScheme(keys, chosen, some)
            there = TorchScheme(keys, chosen, "cuda", some)
            counts, coins = here.coins(batch, account=7, call=8)
            gpu_counts, gpu_coins = there.coins(batch, account=7, call=8)
            assert_same_counts(counts, gpu_counts)
            assert_same_coins(coins, gpu_coins)
        few = coins.where(coins.document == 3).of("account")
        np.testing.assert_array_equal(
            search(words, few.seed, few.token, chosen.gamma_bits),
            counts_torch.search(words, few.seed, few.token, chosen.gamma_bits, device="cuda"),
        )
