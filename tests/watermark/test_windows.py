"""Distinct windows: those of the reference, each once, and the search over keys."""

import random
from itertools import chain
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from watermark import reference
from watermark.detect import windows as windows_module
from watermark.detect.windows import Windows, distinct_windows
from watermark.greenlist import signed64
from watermark.keys import EpochKeys
from watermark.manifest import CHANNELS, Channel, Parameters

ids = st.integers(0, 3) | st.integers(0, 151_935) | st.just(2**32 - 2)
pieces = st.lists(ids, min_size=1, max_size=9)
# Texts made of few pieces repeat themselves, as loops and boilerplate do.
texts = st.lists(pieces, min_size=1, max_size=4).flatmap(
    lambda few: st.lists(st.sampled_from(few), max_size=9).map(lambda parts: [*chain(*parts)])
)
parameters = st.builds(
    Parameters,
    gamma_bits=st.sampled_from([1, 2]),
    selector_width=st.integers(1, 4),
    site_width=st.integers(1, 4),
    account_width=st.integers(1, 4),
    call_width=st.integers(1, 4),
    site_share=st.sampled_from([0, 20_000]),
    account_share=st.sampled_from([5_000, 20_000]),
    call_share=st.just(20_000),
)


def counts(
    tokens: list[int], keys: EpochKeys, chosen: Parameters, account: int, call: int
) -> dict[Channel, reference.Count]:
    numbers = {"site": 0, "account": keys.account_key(account), "call": keys.call_key(call)}
    return {
        channel: reference.Count(len(found), found.hits(signed64(numbers[channel])))
        for channel, found in distinct_windows(tokens, keys, chosen).items()
    }


@settings(max_examples=120)
@given(texts, parameters, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_windows_and_hits_equal_the_reference(
    keys: EpochKeys, tokens: list[int], chosen: Parameters, account: int, call: int
) -> None:
    expected = reference.count(tokens, keys, chosen, account=account, call=call)
    assert counts(tokens, keys, chosen, account, call) == expected


@given(texts, parameters)
def test_each_window_is_named_by_its_first_occurrence(
    keys: EpochKeys, tokens: list[int], chosen: Parameters
) -> None:
    for channel, found in distinct_windows(tokens, keys, chosen).items():
        width = chosen.width(channel)
        seen: dict[tuple[int, ...], int] = {}
        for position in range(len(tokens)):
            if reference.channel_of(keys, chosen, tokens[:position]) == channel:
                seen.setdefault(tuple(tokens[position - width : position + 1]), position)
        assert found.positions.tolist() == sorted(seen.values())
        assert found.tokens.tolist() == [tokens[p] for p in found.positions.tolist()]


@pytest.mark.parametrize("length", range(7))
def test_a_text_shorter_than_a_context_has_no_windows(keys: EpochKeys, length: int) -> None:
    chosen = Parameters(selector_width=4, site_share=65_536, account_share=0, call_share=0)
    found = distinct_windows(list(range(length)), keys, chosen)
    assert [len(found[channel]) for channel in CHANNELS] == [max(length - 4, 0), 0, 0]
    assert found["site"].hits() <= max(length - 4, 0)


def test_repeating_a_text_adds_nothing_but_its_seam(keys: EpochKeys) -> None:
    rng = random.Random(1)
    text = [rng.randrange(49_152) for _ in range(300)]
    chosen = Parameters()
    once, twice, often = (counts(text * n, keys, chosen, 1, 2) for n in (1, 2, 40))
    assert often == twice
    seam = sum(twice[channel].windows - once[channel].windows for channel in CHANNELS)
    assert 0 <= seam <= 4


def test_a_token_said_over_and_over_is_one_window_a_channel(keys: EpochKeys) -> None:
    found = counts([7] * 5000, keys, Parameters(), 1, 2)
    assert sum(count.windows for count in found.values()) == 1


def test_a_large_text_loses_no_window(keys: EpochKeys) -> None:
    # Windows are told apart by a 64-bit digest: a shorter one would merge some of these.
    tokens = torch.arange(1_000_000) % 200_003 * 977 % 131_071 + torch.arange(1_000_000) // 7
    chosen = Parameters(
        selector_width=1, site_width=1, site_share=65_536, account_share=0, call_share=0
    )
    found = distinct_windows(tokens, keys, chosen)["site"]
    pairs = tokens[:-1] * 2**32 + tokens[1:]
    assert len(found) == len(pairs.unique())


def test_without_account_keys_only_the_site_is_tested(home: Any) -> None:
    path = home.keys_path.with_name("site.json")
    home.keyring.export("site-detector", path)
    from watermark.keys import KeySet

    rng = random.Random(2)
    tokens = [rng.randrange(49_152) for _ in range(200)]
    chosen = home.manifest.current.parameters
    found = distinct_windows(tokens, KeySet.load(path).current, chosen)
    full = distinct_windows(tokens, home.keyring.current, chosen)
    assert set(found) == {"site"}
    assert found["site"].positions.tolist() == full["site"].positions.tolist()


@pytest.mark.parametrize("number", [1, 2, 1000])
def test_a_search_counts_as_single_tests_do(
    keys: EpochKeys, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(3)
    tokens = [rng.randrange(49_152) for _ in range(500)]
    found = distinct_windows(tokens, keys, Parameters())["account"]
    words = torch.tensor([signed64(keys.account_key(n)) for n in range(number)])
    single = [found.hits(word) for word in words.tolist()]
    assert found.hits_of(words).tolist() == single
    monkeypatch.setattr(windows_module, "_SEARCH_BATCH", 7 * len(found) + 1)
    assert found.hits_of(words).tolist() == single
    monkeypatch.setattr(windows_module, "_SEARCH_BATCH", 1)
    assert found.hits_of(words).tolist() == single


def test_a_search_in_a_text_without_windows_finds_nothing() -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    found = Windows(nothing, nothing, nothing, 2)
    assert found.hits() == 0
    assert found.hits_of(torch.arange(5)).tolist() == [0] * 5


@pytest.mark.gpu
def test_the_gpu_counts_the_same(keys: EpochKeys) -> None:
    rng = random.Random(4)
    words = torch.tensor([signed64(keys.account_key(n)) for n in range(5000)])
    for length in (0, 3, 10, 1000, 100_000):
        tokens = [rng.randrange(rng.choice([50, 256_000])) for _ in range(length)]
        for chosen in (Parameters(), Parameters(gamma_bits=1, selector_width=1, site_width=1)):
            here = distinct_windows(tokens, keys, chosen)
            there = distinct_windows(tokens, keys, chosen, "cuda")
            for channel in CHANNELS:
                a, b = here[channel], there[channel]
                for name in ("positions", "seeds", "tokens"):
                    assert torch.equal(getattr(a, name), getattr(b, name).cpu())
                if len(a) < 2000:
                    assert torch.equal(a.hits_of(words), b.hits_of(words.cuda()).cpu())
