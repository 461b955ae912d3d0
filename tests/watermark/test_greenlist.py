"""Array code against the plain reference, and the statistics of green lists.

The statistical tests use fixed keys: they give the same figures in every run. Their bounds
are 6 standard deviations and more, which a sound hash would break once in 5·10^8 keys.
"""

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from watermark import greenlist, reference
from watermark.keys import EpochKeys
from watermark.manifest import CHANNELS, SHARE_UNIT, Parameters
from watermark.prf import splitmix64

LARGEST_ID = 2**32 - 2
token_ids = st.one_of(st.integers(0, 255), st.integers(0, 2**18), st.integers(0, LARGEST_ID))
widths = st.integers(1, 4)
seeds = st.integers(0, 2**64 - 1)
Bits = npt.NDArray[np.uint8]


@st.composite
def parameters(draw: st.DrawFn) -> Parameters:
    total = draw(st.integers(1, SHARE_UNIT))
    site = draw(st.integers(0, total))
    account = draw(st.integers(0, total - site))
    return Parameters(
        gamma_bits=draw(st.sampled_from([1, 2])),
        selector_width=draw(widths),
        site_width=draw(widths),
        account_width=draw(widths),
        call_width=draw(widths),
        site_share=site,
        account_share=account,
        call_share=total - site - account,
    )


def random_seeds(number: int, name: int) -> torch.Tensor:
    return torch.tensor([greenlist.signed64(splitmix64(name, i)) for i in range(number)])


def random_contexts(number: int, name: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(name)
    return torch.randint(0, 49_152, (number, 4), generator=generator)


def green_matrix(seed_words: torch.Tensor, vocabulary: int, gamma_bits: int) -> Bits:
    """Coins [seeds, vocabulary], one byte each."""
    packed = greenlist.green_words(seed_words, vocabulary, gamma_bits).numpy()
    return np.unpackbits(packed, axis=1, bitorder="little")[:, :vocabulary]


def agreement_z(first: Bits, second: Bits, gamma: float) -> float:
    """Standardised number of places where two lists agree, if they were independent."""
    share = gamma**2 + (1 - gamma) ** 2
    spread = math.sqrt(first.size * share * (1 - share))
    return float(((first == second).sum() - first.size * share) / spread)


# ---- the same integers as the plain reference


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@given(parameters(), st.lists(st.tuples(*[token_ids] * 4), min_size=1, max_size=6), st.data())
def test_channels_seeds_and_coins_equal_the_reference(
    keys: EpochKeys,
    kind: str,
    chosen: Parameters,
    rows: list[tuple[int, ...]],
    data: st.DataObject,
) -> None:
    array = np.array(rows, dtype=np.int64)
    contexts = torch.from_numpy(array) if kind == "torch" else array
    drawn = greenlist.channels_of(keys, chosen, contexts).tolist()
    expected = [reference.channel_of(keys, chosen, row) for row in rows]
    assert [(*CHANNELS, None)[index] for index in drawn] == expected
    tokens = data.draw(st.lists(token_ids, min_size=len(rows), max_size=len(rows)))
    ids = torch.tensor(tokens) if kind == "torch" else np.array(tokens, dtype=np.int64)
    for channel in CHANNELS:
        found = greenlist.context_seeds(keys, chosen, channel, contexts)
        wanted = [
            reference.context_hash(getattr(keys, channel), row[-chosen.width(channel) :])
            for row in rows
        ]
        assert [seed % 2**64 for seed in found.tolist()] == wanted
        coins = greenlist.green_bits(found, ids, chosen.gamma_bits).tolist()
        assert coins == [
            reference.is_green(seed, token, chosen.gamma_bits)
            for seed, token in zip(wanted, tokens, strict=True)
        ]


@given(seeds, st.integers(1, 200), st.sampled_from([1, 2]))
def test_a_whole_list_equals_the_reference(seed: int, vocabulary: int, gamma_bits: int) -> None:
    listed = green_matrix(torch.tensor([greenlist.signed64(seed)]), vocabulary, gamma_bits)[0]
    assert listed.tolist() == [
        reference.is_green(seed, token, gamma_bits) for token in range(vocabulary)
    ]


@pytest.mark.parametrize("gamma_bits", [1, 2])
@pytest.mark.parametrize("vocabulary", [1, 31, 32, 33, 63, 64, 65, 1000, 49_159, 151_669])
def test_packed_lists_equal_single_coins_for_any_vocabulary(
    vocabulary: int, gamma_bits: int
) -> None:
    seed_words = random_seeds(3, name=1)
    single = greenlist.green_bits(seed_words[:, None], torch.arange(vocabulary), gamma_bits)
    assert np.array_equal(green_matrix(seed_words, vocabulary, gamma_bits), single.numpy())
    packed = greenlist.green_words(seed_words, vocabulary, gamma_bits)
    assert packed.shape[1] * 8 >= vocabulary


@given(st.lists(token_ids, max_size=12))
def test_contexts_of_a_text_are_the_tokens_before_each_position(tokens: list[int]) -> None:
    padded = [greenlist.UNUSED] * 4 + tokens
    expected = [padded[i : i + 4] for i in range(len(tokens))]
    for ids in (torch.tensor(tokens, dtype=torch.int64), np.array(tokens, dtype=np.int64)):
        assert greenlist.windows_contexts(ids).tolist() == expected


# ---- shares


@pytest.mark.parametrize("gamma_bits", [1, 2])
@pytest.mark.parametrize("vocabulary", [49_152, 151_936, 256_000])
def test_green_share_is_gamma(vocabulary: int, gamma_bits: int) -> None:
    gamma = 2.0**-gamma_bits
    counts = green_matrix(random_seeds(64, name=2), vocabulary, gamma_bits).sum(1)
    z = (counts - vocabulary * gamma) / math.sqrt(vocabulary * gamma * (1 - gamma))
    assert abs(z.sum()) / math.sqrt(len(z)) < 6
    assert np.abs(z).max() < 6
    # The spread too: lists that are all alike would pass the two lines above.
    assert 0.35 < (z**2).mean() < 2.1


@pytest.mark.parametrize("gamma_bits", [1, 2])
def test_every_token_is_green_under_its_share_of_seeds(gamma_bits: int) -> None:
    gamma, number, vocabulary = 2.0**-gamma_bits, 4096, 2048
    counts = green_matrix(random_seeds(number, name=3), vocabulary, gamma_bits).sum(0)
    z = (counts - number * gamma) / math.sqrt(number * gamma * (1 - gamma))
    assert np.abs(z).max() < 6


def test_channels_get_their_shares(keys: EpochKeys) -> None:
    chosen = Parameters(site_share=30_000, account_share=20_000, call_share=10_000)
    drawn = greenlist.channels_of(keys, chosen, random_contexts(60_000, name=4))
    found = torch.bincount(drawn, minlength=4).tolist()
    for number, share in zip(found, (30_000, 20_000, 10_000, 5_536), strict=True):
        expected, spread = 60_000 * share / SHARE_UNIT, share / SHARE_UNIT
        assert abs(number - expected) < 6 * math.sqrt(60_000 * spread * (1 - spread))


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_a_share_ends_before_its_bound(keys: EpochKeys, kind: str) -> None:
    row = [3, 1, 4, 1]
    draw = reference.context_hash(keys.channel, row[-2:]) & 0xFFFF
    contexts = torch.tensor([row]) if kind == "torch" else np.array([row])
    for site, account, expected in ((draw, 1, "account"), (draw + 1, 1, "site"), (1, 1, None)):
        chosen = Parameters(site_share=site, account_share=account, call_share=0)
        assert reference.channel_of(keys, chosen, row) == expected
        (index,) = greenlist.channels_of(keys, chosen, contexts).tolist()
        assert (*CHANNELS, None)[index] == expected


# ---- no token, context or key stands for another


@pytest.mark.parametrize("gamma_bits", [1, 2])
@pytest.mark.parametrize(
    "distance", [1, 8, 31, 32, 33, 63, 64, 8191, *(1 << k for k in range(7, 18))]
)
def test_ids_at_a_distance_have_coins_of_their_own(distance: int, gamma_bits: int) -> None:
    # Distances of a power of two, 65,536 above all: peers alias such ids.
    coins = green_matrix(random_seeds(40, name=5), 256_000, gamma_bits)
    apart, shifted = coins[:, :-distance], coins[:, distance:]
    # One in 2 * distance ids, so that no coin is used twice and the comparisons are independent.
    first_half = (np.arange(apart.shape[1]) // distance) % 2 == 0
    z = agreement_z(apart[:, first_half], shifted[:, first_half], 2.0**-gamma_bits)
    assert abs(z) < 6


@pytest.mark.parametrize("gamma_bits", [1, 2])
def test_token_pairs_are_uncorrelated_over_seeds(gamma_bits: int) -> None:
    # Ids of the same word, of neighbouring words and of the same place in distant words.
    ids = torch.tensor([*range(128), *(65_536 + 64 * k for k in range(64))])
    number, gamma = 8192, 2.0**-gamma_bits
    coins = greenlist.green_bits(random_seeds(number, name=6)[:, None], ids, gamma_bits).numpy()
    centred = coins - gamma
    products = centred.T @ centred / (gamma * (1 - gamma) * math.sqrt(number))
    z = products[np.triu_indices(len(ids), 1)]
    assert np.abs(z).max() < 6.5  # 18,336 pairs
    assert 0.9 < (z**2).mean() < 1.1


@pytest.mark.parametrize("gamma_bits", [1, 2])
def test_account_keys_are_uncorrelated_over_windows(keys: EpochKeys, gamma_bits: int) -> None:
    number, gamma = 8192, 2.0**-gamma_bits
    contexts, ids = random_contexts(number, name=7), random_contexts(number, name=9)[:, 0]
    hashes = greenlist.context_seeds(keys, Parameters(), "account", contexts)
    # Neighbouring numbers and numbers that differ in one high bit.
    numbers = [*range(100), *(1 << k for k in range(7, 64))]
    words = torch.tensor([greenlist.signed64(keys.account_key(n)) for n in numbers])
    coins = greenlist.green_bits(hashes ^ words[:, None], ids, gamma_bits).numpy()
    centred = coins - gamma
    products = centred @ centred.T / (gamma * (1 - gamma) * math.sqrt(number))
    z = products[np.triu_indices(len(numbers), 1)]
    assert np.abs(z).max() < 6.5  # 12,246 pairs
    assert 0.88 < (z**2).mean() < 1.12


def test_each_bit_of_each_context_token_gives_another_list(keys: EpochKeys) -> None:
    base = [17, 151_000, 4, 70_000]
    for width in (1, 2, 3, 4):
        chosen = Parameters(site_width=width)
        rows = [base]
        for slot in range(4 - width, 4):
            rows += [
                [t ^ (1 << bit if i == slot else 0) for i, t in enumerate(base)]
                for bit in range(18)
            ]
        hashes = greenlist.context_seeds(keys, chosen, "site", torch.tensor(rows))
        coins = green_matrix(hashes, 20_000, 1)
        for other in coins[1:]:
            assert abs(agreement_z(coins[0], other, 0.5)) < 6


def test_tokens_beyond_the_width_do_not_matter(keys: EpochKeys) -> None:
    for width in (1, 2, 3):
        chosen = Parameters(site_width=width)
        contexts = torch.tensor([[5, 6, 7, 8], [9, 9, 9, 8], [9, 9, 7, 8], [9, 6, 7, 8]])
        hashes = greenlist.context_seeds(keys, chosen, "site", contexts).tolist()
        same = [row[4 - width :] == [5, 6, 7, 8][4 - width :] for row in contexts.tolist()]
        assert [found == hashes[0] for found in hashes] == same


def test_order_and_width_of_a_context_matter(keys: EpochKeys) -> None:
    contexts = torch.tensor([[1, 2, 3, 4], [2, 1, 3, 4], [4, 3, 2, 1], [1, 2, 4, 3]])
    hashes = [
        seed
        for width in (1, 2, 3, 4)
        for seed in greenlist.context_seeds(
            keys, Parameters(site_width=width), "site", contexts
        ).tolist()
    ]
    suffixes = {tuple(row[-width:]) for width in (1, 2, 3, 4) for row in contexts.tolist()}
    assert len(set(hashes)) == len(suffixes)


def test_each_key_bit_gives_another_list(keys: EpochKeys) -> None:
    contexts = torch.tensor([[17, 151_000, 4, 70_000]])
    words = greenlist.context_words(contexts, 4)
    key = int.from_bytes(keys.site, "little")
    hashes = [
        greenlist.siphash24(*greenlist.key_words((key ^ flip).to_bytes(16, "little")), *words)
        for flip in (0, *(1 << bit for bit in range(128)))
    ]
    coins = green_matrix(torch.cat(hashes), 20_000, 1)
    for other in coins[1:]:
        assert abs(agreement_z(coins[0], other, 0.5)) < 6
    z = [agreement_z(a, b, 0.5) for a in coins[1:12] for b in coins[100:]]
    assert max(map(abs, z)) < 6


def test_each_master_key_bit_changes_every_subkey(keys: EpochKeys) -> None:
    master = int.from_bytes(bytes(range(32)), "big")
    for bit in range(256):
        other = EpochKeys.derive(1, "", (master ^ 1 << bit).to_bytes(32, "big"))
        for name in ("channel", "site", "account", "account_root", "call", "call_root", "ticket"):
            assert getattr(other, name) != getattr(keys, name)


def test_the_channels_of_one_context_have_lists_of_their_own(keys: EpochKeys) -> None:
    chosen = Parameters(site_width=4)
    contexts = torch.tensor([[17, 151_000, 4, 70_000]])
    hashes = torch.cat([greenlist.context_seeds(keys, chosen, c, contexts) for c in CHANNELS])
    coins = green_matrix(hashes, 100_000, 1)
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert abs(agreement_z(coins[first], coins[second], 0.5)) < 6


def test_the_selector_does_not_predict_the_site_coin(keys: EpochKeys) -> None:
    # The same context, hashed under the channel key, decides whose coin it is.
    chosen = Parameters()
    contexts = random_contexts(50_000, name=8)
    hashes = greenlist.context_seeds(keys, chosen, "site", contexts)
    coins = greenlist.green_bits(hashes, contexts[:, 0], chosen.gamma_bits)
    drawn = greenlist.channels_of(keys, chosen, contexts)
    for index in range(3):
        part = coins[drawn == index]
        spread = math.sqrt(len(part) * chosen.gamma * (1 - chosen.gamma))
        assert abs(int(part.sum()) - len(part) * chosen.gamma) < 6 * spread
