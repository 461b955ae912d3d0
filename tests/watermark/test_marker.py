"""The embedder: its bias is the reference's, in every type, batch and interruption."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from expected_bias import DTYPES, NOW, VOCABULARY, biased, random_logits, signer, step_seed
from hypothesis import given, settings
from hypothesis import strategies as st

from watermark import reference
from watermark.embed.bias import add_green_bias
from watermark.embed.marker import Marker
from watermark.greenlist import signed64
from watermark.keys import EpochKeys, KeySet
from watermark.manifest import CHANNELS, Manifest, ManifestEpoch, Parameters
from watermark.prf import splitmix64

# ---- the bias is the reference's


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("gamma_bits", [1, 2])
@pytest.mark.parametrize("vocabulary", [1, 33, 300])
def test_every_green_logit_and_no_other_gets_delta(
    dtype: torch.dtype, gamma_bits: int, vocabulary: int
) -> None:
    parameters = Parameters(gamma_bits=gamma_bits)
    words, deltas = [splitmix64(3, i) for i in range(4)], [2.0, 1.3, 0.0, 5.5]
    logits = random_logits(4, vocabulary).to(dtype)
    expected = torch.stack(
        [
            biased(row, word, parameters, delta)
            for row, word, delta in zip(logits, words, deltas, strict=True)
        ]
    )
    seeds = torch.tensor([signed64(word) for word in words])
    result = add_green_bias(logits, seeds, torch.tensor(deltas), gamma_bits)
    assert result is logits
    assert torch.equal(result, expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_masked_logits_stay_masked_and_others_keep_their_neighbours(dtype: torch.dtype) -> None:
    logits = torch.full((1, VOCABULARY), float("-inf"), dtype=dtype)
    logits[0, 7::50] = torch.finfo(dtype).min
    allowed = torch.isfinite(logits)
    result = add_green_bias(logits.clone(), torch.tensor([5]), torch.tensor([2.0]), 1)
    assert torch.equal(torch.isfinite(result), allowed)
    assert not result.isnan().any()


def test_a_padded_vocabulary_gets_the_same_lists(marker: Marker, ticket_for: Any) -> None:
    outputs = [[5, 9, 200, 3, 17], [1, 2, 3, 4, 5, 6]]
    wide, narrow = torch.zeros(2, VOCABULARY + 77), torch.zeros(2, VOCABULARY)
    for logits in (wide, narrow):
        rows = [marker.admit(ticket_for(n), now=NOW) for n in (1, 2)]
        marker.apply(logits, rows, outputs)
    assert torch.equal(wide[:, :VOCABULARY], narrow)
    assert wide[:, VOCABULARY:].any()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_whole_answer_is_biased_as_the_specification_says(
    home: Any, marker: Marker, ticket_for: Any, dtype: torch.dtype
) -> None:
    keys, parameters = home.keyring.current, home.manifest.current.parameters
    rng = random.Random(2)
    output: list[int] = []
    row, seen = marker.admit(ticket_for(12, 34), now=NOW), set()
    for step in range(60):
        logits = random_logits(1, seed=step).to(dtype)
        seed = step_seed(keys, parameters, output, 12, 34)
        expected = biased(logits[0], seed, parameters, 1.3)
        assert torch.equal(marker.apply(logits.clone(), [row], [output])[0], expected)
        seen.add(reference.channel_of(keys, parameters, output))
        output.append(rng.randrange(VOCABULARY))
    assert seen == {None, *CHANNELS}


@pytest.mark.parametrize("above", [0, 1])
def test_a_share_ends_before_its_bound(keys: EpochKeys, above: int) -> None:
    output = [3, 1, 4, 1]
    draw = reference.context_hash(keys.channel, output[-2:]) & 0xFFFF
    chosen = Parameters(site_share=draw + above, account_share=0, call_share=0)
    manifest = Manifest("", (ManifestEpoch(1, "", keys.check, chosen),))
    marker = Marker(KeySet(Path(), (keys,), b""), manifest)
    biased_row = marker.apply(torch.zeros(1, 99), [marker.admit(None)], [output])
    assert biased_row.any() == above


answers = st.lists(st.integers(0, 3) | st.integers(0, VOCABULARY - 1), max_size=14)
few_parameters = st.builds(
    Parameters,
    gamma_bits=st.sampled_from([1, 2]),
    selector_width=st.integers(1, 4),
    site_width=st.integers(1, 4),
    account_width=st.integers(1, 4),
    call_width=st.integers(1, 4),
    repeat_cap=st.integers(0, 3),
    site_share=st.sampled_from([0, 20_000]),
    account_share=st.just(20_000),
    call_share=st.just(20_000),
)


@settings(max_examples=60)
@given(few_parameters, st.lists(answers, min_size=1, max_size=5), st.integers(0, 5))
def test_a_batch_of_resumed_answers_is_biased_as_the_specification_says(
    keys: EpochKeys, parameters: Parameters, outputs: list[list[int]], ticketless: int
) -> None:
    manifest = Manifest("", (ManifestEpoch(1, "", keys.check, parameters),))
    marker, sign_for = Marker(KeySet(Path(), (keys,), b""), manifest), signer([keys])
    numbers = [None if n == ticketless else n for n in range(len(outputs))]
    rows = [marker.admit(None if n is None else sign_for(n, n), now=NOW) for n in numbers]
    logits = random_logits(len(outputs), 70)
    expected = [
        biased(
            before,
            step_seed(keys, parameters, output, n, n),
            parameters,
            2.0 if n is None else 1.3,
        )
        for before, output, n in zip(logits, outputs, numbers, strict=True)
    ]
    assert torch.equal(marker.apply(logits.clone(), rows, outputs), torch.stack(expected))


# ---- rows


def test_a_row_without_a_mark_is_left_untouched(marker: Marker, ticket_for: Any) -> None:
    outputs = [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10], [11, 12, 13, 14]]
    logits = random_logits(3)
    mark = marker.admit(ticket_for(3), now=NOW)
    result = marker.apply(logits.clone(), [None, mark, None], outputs)
    assert [torch.equal(a, b) for a, b in zip(result, logits, strict=True)] == [True, False, True]
    alone = marker.apply(logits[1:2].clone(), [marker.admit(ticket_for(3), now=NOW)], outputs[1:2])
    assert torch.equal(result[1:2], alone)


def test_an_empty_batch_and_a_batch_without_marks_pass_through(marker: Marker) -> None:
    logits = random_logits(2)
    assert torch.equal(marker.apply(logits.clone(), [None, None], [[], [1, 2, 3]]), logits)
    assert marker.apply(torch.zeros(0, VOCABULARY), [], []).shape == (0, VOCABULARY)


def test_an_answer_s_first_tokens_are_not_biased(marker: Marker, ticket_for: Any) -> None:
    width = marker.manifest.current.parameters.selector_width
    rows = [marker.admit(ticket_for(n), now=NOW) for n in range(width)]
    outputs = [list(range(length)) for length in range(width)]
    logits = random_logits(width)
    assert torch.equal(marker.apply(logits.clone(), rows, outputs), logits)


def test_rows_get_the_same_whatever_their_order_and_company(
    marker: Marker, ticket_for: Any
) -> None:
    rng = random.Random(3)
    outputs = [[rng.randrange(8) for _ in range(rng.randrange(3, 30))] for _ in range(12)]
    logits = random_logits(12)

    def apply(order: list[int]) -> list[torch.Tensor]:
        rows = [marker.admit(ticket_for(n % 5, n), now=NOW) for n in order]
        result = marker.apply(logits[order].clone(), rows, [outputs[n] for n in order])
        return [result[order.index(n)] for n in sorted(order)]

    together = apply(list(range(12)))
    assert torch.equal(torch.stack(together), torch.stack(apply(rng.sample(range(12), 12))))
    assert all(torch.equal(together[n], apply([n])[0]) for n in range(12))


def test_accounts_and_calls_get_marks_of_their_own(marker: Marker, ticket_for: Any) -> None:
    rng = random.Random(4)
    outputs = [[rng.randrange(VOCABULARY) for _ in range(10)] for _ in range(60)]
    zeros = torch.zeros(60, VOCABULARY)

    def apply(account: int, call: int) -> torch.Tensor:
        rows = [marker.admit(ticket_for(account, call), now=NOW) for _ in outputs]
        return marker.apply(zeros.clone(), rows, outputs)

    def same(first: torch.Tensor, second: torch.Tensor) -> set[str | None]:
        keys, parameters = marker._keys[1], marker.manifest.current.parameters
        return {
            reference.channel_of(keys, parameters, output)
            for output, a, b in zip(outputs, first, second, strict=True)
            if torch.equal(a, b)
        }

    first = apply(1, 1)
    assert same(first, apply(1, 1)) == {"site", "account", "call"}
    assert same(first, apply(1, 2)) == {"site", "account"}
    assert same(first, apply(2, 1)) == {"site", "call"}


def test_the_caller_s_outputs_are_not_changed(marker: Marker, ticket_for: Any) -> None:
    outputs = [[1, 2, 3], [4, 5, 6, 7, 8, 9]]
    rows = [marker.admit(ticket_for(1), now=NOW), marker.admit(None)]
    marker.apply(random_logits(2), rows, outputs)
    assert outputs == [[1, 2, 3], [4, 5, 6, 7, 8, 9]]


# ---- repeats and interruptions


def test_a_context_is_favoured_as_often_as_the_cap_says(make_home: Callable[..., Any]) -> None:
    for cap in (1, 3):
        parameters = Parameters(repeat_cap=cap, site_share=65_536, account_share=0, call_share=0)
        home = make_home(f"cap {cap}", parameters=parameters)
        marker = Marker.load(home.keys_path, home.manifest_path)
        row, output, favoured = marker.admit(None), [7, 8], []
        for _ in range(12):
            favoured.append(bool(marker.apply(torch.zeros(1, 999), [row], [output]).any()))
            output += [9, 7, 8]
        assert favoured == [True] * cap + [False] * (12 - cap)


def test_without_a_cap_a_context_is_always_favoured(make_home: Callable[..., Any]) -> None:
    parameters = Parameters(repeat_cap=0, site_share=65_536, account_share=0, call_share=0)
    home = make_home(parameters=parameters)
    marker = Marker.load(home.keys_path, home.manifest_path)
    row = marker.admit(None)
    for times in range(1, 30):
        assert marker.apply(torch.zeros(1, 999), [row], [[7, 8] * times]).any()


def test_a_resumed_answer_goes_on_as_if_it_had_not_been_interrupted(
    marker: Marker, ticket_for: Any
) -> None:
    rng = random.Random(5)
    output: list[int] = []
    row = marker.admit(ticket_for(1, 2), now=NOW)
    for step in range(80):
        logits = random_logits(1, seed=step)
        steady = marker.apply(logits.clone(), [row], [output])
        resumed = marker.admit(ticket_for(1, 2), now=NOW)
        assert torch.equal(marker.apply(logits.clone(), [resumed], [output]), steady)
        output.append(rng.randrange(3))


def test_a_step_that_is_computed_twice_gives_the_same_twice(
    marker: Marker, ticket_for: Any
) -> None:
    rng = random.Random(6)
    output: list[int] = []
    row = marker.admit(ticket_for(1, 2), now=NOW)
    for step in range(60):
        logits = random_logits(1, seed=step)
        first = marker.apply(logits.clone(), [row], [output])
        assert torch.equal(marker.apply(logits.clone(), [row], [output]), first)
        output.append(rng.randrange(3))


def test_a_step_that_was_skipped_is_counted_all_the_same(marker: Marker, ticket_for: Any) -> None:
    rng = random.Random(7)
    steady, skipping = (marker.admit(ticket_for(1, 2), now=NOW) for _ in range(2))
    output: list[int] = []
    for step in range(60):
        logits = random_logits(1, seed=step)
        expected = marker.apply(logits.clone(), [steady], [output])
        if step % 3 == 2:
            assert torch.equal(marker.apply(logits.clone(), [skipping], [output]), expected)
        output.append(rng.randrange(3))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_gpu_gives_the_same_logits(marker: Marker, ticket_for: Any, dtype: torch.dtype) -> None:
    rng = random.Random(10)
    outputs = [[rng.randrange(VOCABULARY) for _ in range(9)] for _ in range(64)]
    logits = random_logits(64, 151_936).to(dtype)
    results = []
    for device in ("cpu", "cuda"):
        rows = [marker.admit(ticket_for(n, n), now=NOW) for n in range(64)]
        results.append(marker.apply(logits.clone().to(device), rows, outputs).cpu())
    assert torch.equal(*results)
