"""The benchmarks' own arithmetic: exact tails of SynthID's score, grouped attention, the thief."""

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from benchmarks import attention
from benchmarks.attacks.stealing import Loot
from benchmarks.power import synthid


@pytest.fixture(scope="module")
def tails() -> np.ndarray:
    return 10 ** synthid._log10_tails(1)


def test_the_greatest_score_of_one_window_needs_all_thirty_coins(tails: np.ndarray) -> None:
    greatest = int(synthid._WEIGHTS.sum())
    assert tails[greatest] == pytest.approx(2.0**-30, rel=1e-4)
    assert tails[greatest + 1] < 2.0**-32


def test_the_scores_of_fair_coins_are_symmetric(tails: np.ndarray) -> None:
    greatest = int(synthid._WEIGHTS.sum())
    for score in (1000, 2000, 2700):
        assert tails[score] == pytest.approx(1 - tails[greatest - score + 1], abs=1e-9)


def test_tails_agree_with_tossed_coins(tails: np.ndarray) -> None:
    scores = np.random.default_rng(3).integers(0, 2, (100_000, 30)) @ synthid._WEIGHTS
    for score in (2000, 2400, 3000):
        assert (scores >= score).mean() == pytest.approx(tails[score], abs=0.006)


def test_grouped_attention_is_attention_with_repeated_heads() -> None:
    random = torch.Generator().manual_seed(5)
    query = torch.randn(2, 6, 1, 8, generator=random)
    key, value = torch.randn(2, 2, 2, 5, 8, generator=random)
    mask = torch.tensor([[1, 1, 1, 0, 0], [0, 1, 1, 0, 0]], dtype=torch.bool)[:, None, None]
    expected = scaled_dot_product_attention(
        query, key.repeat_interleave(3, 1), value.repeat_interleave(3, 1), attn_mask=mask
    )
    found, _ = attention._attend(torch.nn.Identity(), query, key, value, mask)
    torch.testing.assert_close(found, expected.transpose(1, 2))


def test_a_thief_claims_what_marked_answers_have_oftener_than_unmarked_ones() -> None:
    marked = np.array([[1, 2, 3, 1, 2, 3, 1, 2]])
    unmarked = np.array([[1, 2, 3, 9, 9, 2, 3, 1]])
    claims = Loot.of(marked, unmarked).claims
    assert (1, 2, 3) in claims
    assert (2, 3, 9) not in claims
