"""Decoy keys: chance on any text under any key, and a verdict of "invalid" where it is not."""

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detect_texts import Texts, invoke, records

from watermark import reference
from watermark.detect import decoys as decoys_module
from watermark.detect.counts import Batch
from watermark.detect.decoys import Decoys, decoy_keys, decoys
from watermark.detect.detector import Detector
from watermark.detect.pvalues import log10_tail
from watermark.keys import EpochKeys, KeySet
from watermark.manifest import Manifest, ManifestEpoch, Parameters

PARAMETERS = Parameters()


def text(seed: int, length: int = 400, vocabulary: int = 5000) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(vocabulary) for _ in range(length)]


def test_decoys_count_what_the_reference_counts_under_their_keys() -> None:
    tokens = text(1)
    found = decoys(Batch.of([tokens]), PARAMETERS, 5)
    for index in range(5):
        expected = reference.count(tokens, decoy_keys(index), PARAMETERS)["site"]
        assert (found.windows[index], found.hits[index]) == (expected.windows, expected.hits)
        assert found.log10_p[index] == log10_tail(expected.hits, expected.windows, 0.25)


def test_a_window_of_two_documents_counts_once() -> None:
    one, other = text(2), text(3)
    for together, apart in (([one, one], [one]), ([one, other, one], [other, one])):
        twice = decoys(Batch.of(together), PARAMETERS, 4)
        once = decoys(Batch.of(apart), PARAMETERS, 4)
        np.testing.assert_array_equal(twice.windows, once.windows)
        np.testing.assert_array_equal(twice.hits, once.hits)


def test_decoy_keys_differ_from_each_other_and_are_the_same_on_every_run() -> None:
    keys = [decoy_keys(index) for index in range(200)]
    assert len({key.channel for key in keys} | {key.site for key in keys}) == 400
    assert keys[0].channel.hex() == "3da17809f52dc11dc9b32e778621a99f"
    assert not any(key.account or key.call or key.words or key.ticket for key in keys)


def test_on_any_text_the_decoys_show_chance(
    keys: EpochKeys, plant: Callable[..., list[int]]
) -> None:
    marked = plant(random.Random(4), keys, PARAMETERS, range(5000), 400)
    for tokens in (marked, text(5), text(6, vocabulary=30), text(7, length=20) * 50):
        found = decoys(Batch.of([tokens]), PARAMETERS, 300)
        check = found.check(1, 0.0)
        assert check is not None
        assert check.ok, check
        assert abs(check.mean_z) < 4 / math.sqrt(300)
        assert 0.8 < check.sd_z < 1.25


def test_a_true_key_that_stands_out_ranks_first() -> None:
    found = decoys(Batch.of([text(8)]), PARAMETERS, 50)
    first, last = found.check(1, 12.0), found.check(1, -12.0)
    assert first is not None
    assert last is not None
    assert (first.rank, last.rank, first.count) == (1, 51, 50)


@pytest.mark.parametrize(
    ("shift", "stretch", "ok"), [(0.0, 1.0, True), (0.6, 1.0, False), (0.0, 1.6, False)]
)
def test_decoys_that_are_shifted_or_spread_are_off(shift: float, stretch: float, ok: bool) -> None:
    # Windows counted twice double the spread of the hits; a mean off zero is a key that is known.
    windows = np.full(200, 1200)
    z = np.random.default_rng(9).standard_normal(200) * stretch + shift
    hits = np.rint(300 + z * math.sqrt(1200 * 0.25 * 0.75)).astype(np.int64)
    check = Decoys(windows, hits, 0.25).check(1, 0.0)
    assert check is not None
    assert check.ok is ok


def test_a_text_without_windows_cannot_be_checked() -> None:
    for tokens in ([], [1], [1, 2]):
        assert decoys(Batch.of([tokens]), PARAMETERS, 10).check(1, 0.0) is None


# ---- the detector and the command


def test_a_detector_checks_its_verdict_with_decoys(
    keys: EpochKeys, plant: Callable[..., list[int]]
) -> None:
    manifest = Manifest("", (ManifestEpoch(1, "", keys.check, PARAMETERS),))
    judge = Detector(KeySet(Path(), (keys,), b""), manifest, decoy_count=100)
    found = judge.judge(plant(random.Random(10), keys, PARAMETERS, range(5000), 300))
    assert found.verdict == "marked"
    assert found.decoys is not None
    assert (found.decoys.ok, found.decoys.rank, found.decoys.count) == (True, 1, 100)
    assert found.decoys.true_z == found.site.z
    assert judge.judge([1]).decoys is None


def test_the_command_prints_mean_spread_and_rank(texts: Texts) -> None:
    path = texts.file("a.txt", texts.text())
    result = invoke(path, *texts.options, "--decoys", 100, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "100 decoy keys: mean z " in result.stdout
    assert "the true key ranks 1 of 101" in result.stdout
    (found,) = records(invoke(path, *texts.options, "--decoys", 100, "--json"))
    assert found["decoys"].keys() >= {"count", "mean_z", "sd_z", "rank", "ok"}
    assert found["decoys"]["ok"] is True


def test_a_run_whose_decoys_are_off_has_no_verdict(
    texts: Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The fault to be caught: "decoys" that are the very key of the mark.
    monkeypatch.setattr(decoys_module, "decoy_keys", lambda _: texts.keys)
    path = texts.file("a.txt", texts.text())
    result = invoke(path, *texts.options, "--decoys", 20, "--json")
    assert result.exit_code == 2
    assert [r["verdict"] for r in records(result)] == ["invalid"]
    assert result.stderr == (
        f"azeotrope: error: {path}: the decoy keys are off, so there is no verdict\n"
    )


@pytest.mark.parametrize("count", ["1", "0", "-3", "x"])
def test_a_number_of_decoys_that_checks_nothing_is_a_usage_error(texts: Texts, count: Any) -> None:
    result = invoke(texts.file("a.txt", "text"), *texts.options, "--decoys", count)
    assert result.exit_code == 2
    assert "--decoys" in result.stderr
