"""Tracing: the account and call of planted texts, and each account of a spliced one."""

import math
import random
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watermark import reference
from watermark.detect import exhaustive
from watermark.detect.candidates import Candidates
from watermark.detect.counts import Batch, EpochScheme, number_keys, search, word_places
from watermark.detect.exhaustive import best_two, chunks
from watermark.detect.kernels_trace import LONGEST, PLACE_BITS, Windows, best_stretches
from watermark.detect.pvalues import log10_tail
from watermark.detect.splice import Track
from watermark.detect.trace import Trace, Tracer
from watermark.errors import InputError
from watermark.greenlist import green_bits
from watermark.keys import EpochKeys, KeySet
from watermark.manifest import Manifest, ManifestEpoch, Parameters

IDS = range(49_152)
PARAMETERS = Parameters()
OTHER = EpochKeys.derive(2, "2026-02-01T00:00:00Z", bytes(range(32, 64)))
Plant = Callable[..., list[int]]


def tracer(
    epochs: Sequence[EpochKeys], parameters: Sequence[Parameters] = (PARAMETERS,), **options: Any
) -> Tracer:
    entries = tuple(
        ManifestEpoch(keys.epoch, keys.created, keys.check, chosen)
        for keys, chosen in zip(epochs, parameters, strict=True)
    )
    return Tracer(KeySet(Path("keys"), tuple(epochs), b""), Manifest("", entries), **options)


def accounts(text: str = "1-2000") -> Candidates:
    found = Candidates()
    found.add_range(text)
    return found


def random_text(rng: random.Random, length: int) -> list[int]:
    return [rng.choice(IDS) for _ in range(length)]


def owners(found: Trace) -> list[int]:
    return [piece.account for piece in found.pieces]


# ---- the whole text


def test_winner_and_runner_up_are_those_of_the_reference(keys: EpochKeys, plant: Plant) -> None:
    text = plant(random.Random(1), keys, PARAMETERS, IDS, 300, account=17, share=0.7)
    found = tracer([keys]).trace(text, accounts("1-40"), range(0)).account
    counts = {
        number: reference.count(text, keys, PARAMETERS, account=number)["account"]
        for number in range(1, 41)
    }
    ordered = sorted(counts, key=lambda number: (-counts[number].hits, number))
    assert found is not None
    assert found.runner_up is not None
    assert [found.winner.number, found.runner_up.number] == ordered[:2]
    assert found.winner.number == 17
    for suspect in (found.winner, found.runner_up):
        expected = counts[suspect.number]
        assert (suspect.test.windows, suspect.test.hits) == (expected.windows, expected.hits)
        assert suspect.test.log10_p == log10_tail(expected.hits, expected.windows, 0.25)
    assert found.margin_hits == counts[ordered[0]].hits - counts[ordered[1]].hits > 0
    assert found.margin_log10_p == found.runner_up.test.log10_p - found.winner.test.log10_p > 3
    # Accounts are asked for twice: in the whole text and piece by piece.
    assert (found.searched, found.factor) == (40, 80)
    assert found.log10_family_p == found.winner.test.log10_p + math.log10(80)
    assert (found.named, found.possible) == (True, True)


def test_the_call_is_named_without_any_account_being_known(keys: EpochKeys, plant: Plant) -> None:
    text = plant(random.Random(2), keys, PARAMETERS, IDS, 600, call=123_456)
    found = tracer([keys], threads=2).trace(text, Candidates(), range(1, 500_001))
    assert found.account is None
    assert found.call is not None
    assert (found.call.winner.number, found.call.named) == (123_456, True)
    assert (found.call.searched, found.call.factor) == (500_000, 500_000)
    assert found.named


def test_a_call_that_is_not_searched_is_not_replaced_by_another(
    keys: EpochKeys, plant: Plant
) -> None:
    text = plant(random.Random(2), keys, PARAMETERS, IDS, 600, account=5, call=123_456)
    found = tracer([keys]).trace(text, accounts("1-100"), range(200_000, 400_000))
    assert found.call is not None
    assert not found.call.named
    assert found.account is not None
    assert found.account.named


def test_a_text_is_traced_in_whatever_epoch_it_was_marked(keys: EpochKeys, plant: Plant) -> None:
    half = Parameters(gamma_bits=1, selector_width=1, site_width=1)
    search_both = tracer([keys, OTHER], [PARAMETERS, half])
    for epoch_keys, chosen in ((keys, PARAMETERS), (OTHER, half)):
        text = plant(random.Random(3), epoch_keys, chosen, IDS, 400, account=5, call=9)
        found = search_both.trace(text, accounts("1-500"), range(1, 501))
        assert found.epochs_searched == 2
        for search_of, number, factor in ((found.account, 5, 2000), (found.call, 9, 1000)):
            assert search_of is not None
            assert (search_of.winner.number, search_of.named) == (number, True)
            assert search_of.winner.epoch == epoch_keys.epoch
            assert search_of.winner.test.gamma == chosen.gamma
            assert search_of.factor == factor


def test_pieces_of_two_epochs_are_told_apart(keys: EpochKeys, plant: Plant) -> None:
    old = plant(random.Random(4), keys, PARAMETERS, IDS, 400, account=5)
    new = plant(random.Random(5), OTHER, PARAMETERS, IDS, 400, account=6)
    found = tracer([keys, OTHER], [PARAMETERS] * 2).trace(old + new, accounts(), range(0))
    assert [(piece.epoch, piece.account) for piece in found.pieces] == [(1, 5), (2, 6)]


@pytest.mark.parametrize("length", [0, 1, 2, 3, 12])
def test_a_text_too_short_to_name_anybody_is_told_from_an_innocent_one(
    keys: EpochKeys, length: int
) -> None:
    among = accounts()
    short = tracer([keys]).trace(random_text(random.Random(6), length), among, range(1, 100))
    assert (short.named, short.possible, short.tokens) == (False, False, length)
    long = tracer([keys]).trace(random_text(random.Random(6), 400), among, range(1, 100))
    assert (long.named, long.possible) == (False, True)


def test_two_numbers_that_do_equally_well_are_not_told_apart(keys: EpochKeys) -> None:
    search_two, rng, tied = tracer([keys], family_level=0.99), random.Random(7), 0
    for _ in range(60):
        found = search_two.trace(random_text(rng, 12), Candidates(), range(1, 3)).call
        assert found is not None
        equal = found.margin_hits == 0
        assert not (equal and found.named)
        tied += equal and found.log10_family_p <= math.log10(0.99)
    assert tied > 2


def test_doubling_a_text_changes_no_figure_but_its_length(keys: EpochKeys, plant: Plant) -> None:
    text = plant(random.Random(8), keys, PARAMETERS, IDS, 400, account=5, call=7)
    trace = tracer([keys]).trace
    twice, often = (trace(text * n, accounts("1-50"), range(1, 50)) for n in (2, 20))
    assert twice.account == often.account
    assert twice.call == often.call
    assert twice.pieces == often.pieces


def test_keys_that_can_name_nobody_are_refused(home: Any) -> None:
    path = home.keys_path.with_name("site.json")
    home.keyring.export("site-detector", path)
    with pytest.raises(InputError, match="no account keys in this export"):
        Tracer(KeySet.load(path), home.manifest)


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, math.nan])
def test_a_level_that_is_no_probability_is_refused(keys: EpochKeys, level: float) -> None:
    with pytest.raises(InputError, match="family level"):
        tracer([keys], family_level=level)


# ---- the exhaustive search


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("low", [0, 7, 2**63 - 500, 2**64 - 1000])
def test_chunks_and_threads_find_the_two_best(
    keys: EpochKeys, low: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exhaustive, "CHUNK", 64)
    _, coins = EpochScheme(keys, PARAMETERS).coins(Batch.of([random_text(random.Random(9), 200)]))
    windows, numbers, told = coins.of("call"), range(low, low + 1000), []
    array = np.array(list(numbers), np.uint64)
    hits = search(number_keys(keys.call_root, array), windows.seed, windows.token, 2)
    expected = sorted(zip(-hits, array.tolist(), strict=True))[:2]
    for some in (numbers, array):
        best = best_two(
            keys.call_root, some, windows, 2, threads=threads, progress=told.append
        )  # fmt: skip
        assert [(-scored.hits, scored.number) for scored in best] == expected
    assert sum(told) == 2000


def test_chunks_cover_every_number_once() -> None:
    for numbers in (range(5, 28), np.arange(5, 28, dtype=np.uint64)):
        parts = list(chunks(numbers, 10))
        assert [len(part) for part in parts] == [10, 10, 3]
        assert np.concatenate(parts).tolist() == list(range(5, 28))


def test_one_candidate_has_no_runner_up(keys: EpochKeys, plant: Plant) -> None:
    text = plant(random.Random(10), keys, PARAMETERS, IDS, 300, account=4)
    found = tracer([keys]).trace(text, accounts("4-4"), range(0)).account
    assert found is not None
    assert found.runner_up is None
    assert (found.margin_hits, found.margin_log10_p, found.named) == (None, None, True)


# ---- stretches


@given(
    st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=30),
    st.integers(1, 2000),
    st.integers(1, 2000),
    st.sampled_from([1, 2]),
)
def test_the_best_stretch_is_the_best_of_all_stretches(
    words: list[int], gain: int, loss: int, bits: int
) -> None:
    seeds = np.array(words, np.uint64)
    tokens = (seeds >> np.uint64(32)).astype(np.uint32) >> 1
    keys = np.arange(20, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    windows = Windows(seeds, *word_places(tokens, bits), bits == 2)
    best, ends = best_stretches(keys, windows, gain, loss)
    for key, found, last in zip(keys, best.tolist(), ends.tolist(), strict=True):
        greens = green_bits((seeds ^ key).view(np.int64), tokens.astype(np.int64), bits)
        scores = np.where(greens == 1, gain, -loss)
        sums = [scores[i:j].sum() for i in range(len(seeds)) for j in range(i + 1, len(seeds) + 1)]
        score, first = found >> PLACE_BITS, found & LONGEST
        assert score == max(0, *sums)
        if score:
            assert scores[first : last + 1].sum() == score
            assert scores[first] == scores[last] == gain


def test_stretches_of_chance_are_no_more_significant_than_they_say(keys: EpochKeys) -> None:
    # Every key tosses the coins of one text anew: 100,000 experiments.
    for length, bits in ((150, 2), (800, 2), (400, 1)):
        chosen = Parameters(gamma_bits=bits)
        text = random_text(random.Random(11), length)
        _, coins = EpochScheme(keys, chosen).coins(Batch.of([text]))
        windows = coins.of("account")
        track = Track(1, keys.account_root, windows, bits, 0.48 if bits == 2 else 0.75)
        p = track.best(np.arange(100_000, dtype=np.uint64), 0, len(windows)).log10_p
        for level in (0.1, 0.01, 0.001):
            significant = int((p <= math.log10(level)).sum())
            # Never above the level, and within a factor of 200 of it: the bound is no empty one.
            assert level * 100_000 / 200 <= significant <= level * 100_000


# ---- several accounts in one text


@pytest.mark.parametrize("seed", range(5))
def test_two_accounts_spliced_are_both_named_with_their_spans(
    keys: EpochKeys, plant: Plant, seed: int
) -> None:
    rng = random.Random(seed)
    first, second = rng.sample(range(1, 2001), 2)
    a = plant(rng, keys, PARAMETERS, IDS, 300, account=first)
    b = plant(rng, keys, PARAMETERS, IDS, 300, account=second)
    found = tracer([keys]).trace(a + b, accounts(), range(0))
    assert owners(found) == [first, second]
    left, right = found.pieces
    assert left.first < 40
    assert 260 < left.last < right.first < 340
    assert right.last > 560
    for piece in found.pieces:
        assert piece.hits > 0.9 * piece.windows > 40
        assert piece.log10_family_p <= -3
        assert piece.log10_family_p == pytest.approx(piece.log10_p + math.log10(4000))


def test_pieces_around_foreign_text_are_told_apart_from_it(keys: EpochKeys, plant: Plant) -> None:
    rng = random.Random(12)
    parts = [
        plant(rng, keys, PARAMETERS, IDS, 300, account=8),
        random_text(rng, 400),
        plant(rng, keys, PARAMETERS, IDS, 300, account=9),
        random_text(rng, 400),
        plant(rng, keys, PARAMETERS, IDS, 300, account=8),
    ]
    found = tracer([keys]).trace([*chain(*parts)], accounts(), range(0))
    assert owners(found) == [8, 9, 8]
    for piece, start, end in zip(found.pieces, (0, 700, 1400), (300, 1000, 1700), strict=True):
        assert abs(piece.first - start) < 50
        assert abs(piece.last - end) < 50


def test_a_text_of_one_account_is_one_piece_of_it(keys: EpochKeys, plant: Plant) -> None:
    text = plant(random.Random(13), keys, PARAMETERS, IDS, 1500, account=3, share=0.5)
    found = tracer([keys]).trace(text, accounts(), range(0))
    assert owners(found) == [3]
    assert found.account is not None
    assert (found.account.winner.number, found.account.named) == (3, True)
    assert found.pieces[0].windows > 0.9 * found.account.winner.test.windows


def test_an_account_behind_a_twentieth_of_a_text_is_named_for_its_piece_only(
    keys: EpochKeys, plant: Plant
) -> None:
    rng = random.Random(14)
    text = [
        *random_text(rng, 5000),
        *plant(rng, keys, PARAMETERS, IDS, 300, account=3),
        *random_text(rng, 700),
    ]
    found = tracer([keys]).trace(text, accounts(), range(0))
    assert found.account is not None
    assert not found.account.named
    assert owners(found) == [3]
    assert found.named


def test_pieces_do_not_overlap_and_their_counts_are_the_reference_s(
    keys: EpochKeys, plant: Plant
) -> None:
    rng = random.Random(15)
    parts = [plant(rng, keys, PARAMETERS, IDS, 250, account=n, share=0.9) for n in (1, 2, 3)]
    text = [*chain(*parts)]
    found = tracer([keys]).trace(text, accounts(), range(0))
    assert owners(found) == [1, 2, 3]
    for left, right in zip(found.pieces, found.pieces[1:], strict=False):
        assert left.last < right.first
    _, coins = EpochScheme(keys, PARAMETERS).coins(Batch.of([text]))
    windows = coins.of("account")
    for piece in found.pieces:
        inside = (windows.position >= piece.first) & (windows.position <= piece.last)
        some = windows.where(inside)
        key = np.array([keys.account_key(piece.account)], np.uint64)
        assert piece.windows == len(some)
        assert piece.hits == search(key, some.seed, some.token, 2)[0]


def test_texts_of_chance_name_nobody_more_often_than_the_family_level(keys: EpochKeys) -> None:
    rng, among = random.Random(16), accounts("1-500")
    search_lax = tracer([keys], family_level=0.05)
    found = [search_lax.trace(random_text(rng, 250), among, range(0)) for _ in range(200)]
    named = sum(trace.named for trace in found)
    # The exact test of "at most 5 %": a true rate of 5 % fails it once in a thousand.
    assert log10_tail(named, 200, 0.05) > -3


def test_texts_of_marked_strangers_name_nobody_who_is_searched(
    keys: EpochKeys, plant: Plant
) -> None:
    among = accounts("1-1000")
    for seed in range(10):
        rng = random.Random(seed)
        text = plant(rng, keys, PARAMETERS, IDS, 200, account=5000)
        text += plant(rng, keys, PARAMETERS, IDS, 200, account=5001)
        assert not tracer([keys]).trace(text, among, range(1, 1000)).named


def test_threads_change_nothing(
    keys: EpochKeys, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(17)
    text = plant(rng, keys, PARAMETERS, IDS, 300, account=8)
    text += plant(rng, keys, PARAMETERS, IDS, 300, account=9)
    monkeypatch.setattr(exhaustive, "_WORTH_THREADS", 0)
    traces = [
        tracer([keys], threads=threads).trace(text, accounts(), range(1, 3000))
        for threads in (1, 2, 3)
    ]
    assert traces[0] == traces[1] == traces[2]


@pytest.mark.gpu
def test_the_gpu_finds_the_same(keys: EpochKeys, plant: Plant) -> None:
    rng = random.Random(18)
    text = plant(rng, keys, PARAMETERS, IDS, 400, account=8, call=77)
    text += plant(rng, keys, PARAMETERS, IDS, 400, account=9)
    here, there = (
        tracer([keys], device=device).trace(text, accounts(), range(1, 1_000_000))
        for device in ("cpu", "cuda")
    )
    assert here == there
