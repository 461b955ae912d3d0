"""The JSON summary: complete, plain, and never a verdict from an invalid run."""

import json
import math
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_samples import everything, marked, nothing

from watermark.detect.pvalues import log10_tail
from watermark.detect.report.summary import (
    BINS,
    DecoyCheck,
    DocumentFacts,
    PooledTest,
    ScanSummary,
)
from watermark.detect.report.wording import odds, percent

SAMPLES = everything()


@pytest.mark.parametrize("name", SAMPLES)
def test_a_summary_survives_strict_json(name: str) -> None:
    plain = SAMPLES[name].to_json()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert set(plain) == {"format", *(field.name for field in fields(ScanSummary))}


def test_the_json_holds_the_numbers_and_no_suspect_text() -> None:
    plain = marked().to_json()
    assert plain["pooled"][0]["hits"] == 551_020
    assert plain["share"]["windows"] == {"point": 0.0298, "low": 0.0282, "high": 0.0313}
    assert plain["options"]["level"] == "1e-05"
    assert plain["strongest"][0]["spans"][0]["log10_p"] == pytest.approx(-29.7)
    assert "pieces" not in plain["strongest"][0]
    assert "harbour" not in json.dumps(plain)


def test_what_is_no_number_becomes_null() -> None:
    assert nothing().to_json()["log10_p"] is None
    broken = replace(marked(), power=math.nan, log10_p=-math.inf).to_json()
    assert (broken["power"], broken["log10_p"]) == (None, None)


def test_decoys_that_are_off_allow_no_verdict() -> None:
    off = DecoyCheck.of(1, [3.0, 4.0, 5.0], 9.0)
    assert not off.ok
    with pytest.raises(ValueError, match="decoy keys are off"):
        replace(marked(), decoys=off)
    assert replace(marked(), decoys=off, verdict="invalid").verdict == "invalid"
    with pytest.raises(ValueError, match="decoy keys are off"):
        replace(marked(), verdict="invalid")


@pytest.mark.parametrize(
    ("values", "ok"),
    [
        ([-1.0, 1.0] * 50, True),
        ([-0.6, 1.5] * 50, False),
        ([-1.5, 1.5] * 50, False),
        ([-0.6, 0.6] * 50, False),
    ],
)
def test_decoys_are_off_if_mean_or_spread_is(values: list[float], ok: bool) -> None:
    assert DecoyCheck.of(1, values, 0.0).ok is ok


def test_the_rank_counts_the_decoys_that_reach_the_true_key() -> None:
    values = [-1.0, 0.0, 1.0, 2.0]
    ranks = [DecoyCheck.of(1, values, z).rank for z in (3.0, 2.0, 1.5, -2.0)]
    assert ranks == [1, 2, 2, 5]


@pytest.mark.parametrize(("values", "true_z"), [([0.0], 1.0), ([0.0, math.nan], 1.0),
                                                ([0.0, 1.0], math.inf)])  # fmt: skip
def test_one_decoy_or_a_z_that_is_no_number_is_no_check(values: list[float], true_z: float) -> None:
    with pytest.raises(ValueError, match="at least two, with finite z"):
        DecoyCheck.of(1, values, true_z)


def test_a_histogram_must_hold_every_document() -> None:
    with pytest.raises(ValueError, match="5 documents"):
        DocumentFacts(5, 0, 0.01, None, (4,) + (0,) * (BINS - 1))
    with pytest.raises(ValueError, match="20 bins"):
        DocumentFacts(5, 0, 0.01, None, (5,))


def test_a_pooled_test_is_the_exact_tail() -> None:
    test = PooledTest.of(1, "as given", "site", windows=40, hits=22, gamma=0.25)
    assert (test.green_share, test.log10_p) == (0.55, log10_tail(22, 40, 0.25))
    assert PooledTest.of(1, "as given", "site", windows=0, hits=0, gamma=0.25).green_share is None


@given(st.floats(-5000, -10))
def test_odds_never_promise_more_than_p(log10_p: float) -> None:
    power = odds(log10_p).split("one in 10")[1]
    exponent = int(power.translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")))
    assert -exponent - 1 < log10_p <= -exponent + 1e-9


@pytest.mark.parametrize(
    ("log10_p", "words"),
    [
        (-5.0, "one in 100,000"),
        (-5.3, "less than one in 100,000"),
        (-9.5, "less than one in 1,000,000,000"),
        (-40.2, "less than one in 10⁴⁰"),
        (-39.96, "less than one in 10³⁹"),
    ],
)
def test_small_probabilities_are_said_in_words(log10_p: float, words: str) -> None:
    assert odds(log10_p) == words


def test_shares_are_written_with_the_digits_they_need() -> None:
    shown = [percent(share) for share in (0.0, 0.00021, 0.634, 1.0, None)]
    assert shown == ["0.0 %", "0.021 %", "63.4 %", "100.0 %", "-"]
