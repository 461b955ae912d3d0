"""Sampling against its definition, and against transformers' own truncation."""

import math

import pytest
import torch
from transformers import TopKLogitsWarper, TopPLogitsWarper

from proxy.engine.sampling import Sampling, generator, logprobs, sample


def _row(**fields: float) -> Sampling:
    return Sampling(max_tokens=1, **fields)  # type: ignore[arg-type]


def _support(logits: torch.Tensor, row: Sampling, draws: int) -> set[int]:
    random = generator(5, 0)
    return {sample(logits.clone()[None], [row], [random])[0] for _ in range(draws)}


def test_frequencies_follow_the_softmax_at_the_temperature() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, -math.inf, 0.5]])
    expected = (logits[0] / 0.8).softmax(-1)
    random = generator(11, 0)
    draws = 20_000
    counts = torch.zeros(5)
    for _ in range(draws):
        counts[sample(logits.clone(), [_row(temperature=0.8)], [random])[0]] += 1
    # Five standard deviations; the seed makes the outcome the same every time.
    spread = 5 * (expected * (1 - expected) / draws).sqrt()
    assert ((counts / draws - expected).abs() <= spread).all()
    assert counts[3] == 0


@pytest.mark.parametrize(("top_k", "top_p"), [(3, 1.0), (0, 0.6), (10, 0.5), (0, 0.999)])
def test_truncation_keeps_the_tokens_that_transformers_keeps(top_k: int, top_p: float) -> None:
    logits = torch.randn(600, generator=torch.Generator().manual_seed(1)) * 1.5
    kept = logits[None]
    if top_k:
        kept = TopKLogitsWarper(top_k)(None, kept)
    if top_p < 1:
        kept = TopPLogitsWarper(top_p)(None, kept)
    expected = set(kept[0].isfinite().nonzero()[:, 0].tolist())
    row = _row(temperature=1.0, top_k=top_k, top_p=top_p)
    drawn = _support(logits, row, 4000)
    assert drawn <= expected
    if len(expected) < 50:
        assert drawn == expected


def test_a_greedy_row_in_a_mixed_batch_takes_its_most_likely_token() -> None:
    logits = torch.randn(3, 100, generator=torch.Generator().manual_seed(2))
    best = logits.argmax(-1).tolist()
    rows = [_row(temperature=0), _row(temperature=1.0), _row(temperature=0)]
    tokens = sample(logits, rows, [generator(1, i) for i in range(3)])
    assert (tokens[0], tokens[2]) == (best[0], best[2])


def test_a_row_draws_the_same_whatever_its_neighbours_are() -> None:
    logits = torch.randn(4, 100, generator=torch.Generator().manual_seed(3))
    rows = [_row(temperature=1.0, top_p=0.9)] * 4
    together = sample(logits.clone(), rows, [generator(9, i) for i in range(4)])
    alone = [sample(logits[i : i + 1].clone(), rows[:1], [generator(9, i)])[0] for i in range(4)]
    assert together == alone


def test_seeds_above_32_bits_and_choices_give_different_numbers() -> None:
    firsts = {
        torch.rand((), generator=generator(seed, choice)).item()
        for seed in (1, 1 + 2**32, 1 + 2**64, -1)
        for choice in range(4)
    }
    assert len(firsts) == 16


def test_logprobs_are_of_the_given_logits_with_the_likeliest_first() -> None:
    raw = torch.tensor([[1.0, 3.0, 2.0], [0.0, 0.0, 5.0]])
    first, second = logprobs(raw, [0, 2], [_row(logprobs=2), _row(logprobs=0)])
    table = raw.log_softmax(-1)
    assert first.logprob == pytest.approx(table[0, 0].item())
    assert [token for token, _ in first.top] == [1, 2]
    assert [value for _, value in first.top] == pytest.approx(table[0, [1, 2]].tolist())
    assert (second.token, second.top) == (2, ())
