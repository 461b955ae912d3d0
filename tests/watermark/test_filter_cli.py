"""The commands build-filter and calibrate: what goes in, what comes out, with which status."""

import json
import random
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from detect_texts import Texts

from watermark.detect.calibrate import LEVELS, Rejections, pieces_of
from watermark.detect.counts import Batch
from watermark.detect.filter import CommonFilter
from watermark.detect.filter_cli import build_filter, calibrate_command
from watermark.detect.pvalues import least_hits, log10_tail
from watermark.errors import AzeotropeError


def run(command: Any, *arguments: object) -> Result:
    return CliRunner().invoke(command, list(map(str, arguments)), env={"COLUMNS": "200"})


def refused(command: Any, *arguments: object) -> str:
    result = run(command, *arguments)
    assert isinstance(result.exception, AzeotropeError), result.output
    return str(result.exception)


def chance(seed: int, length: int) -> str:
    rng = random.Random(seed)
    return "".join(rng.choice(string.ascii_letters) for _ in range(length))


def jsonl(path: Path, documents: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
    return path


# ---- build-filter


def test_a_filter_is_built_of_what_several_documents_share(
    texts: Texts, byte_tokenizer: Path, tmp_path: Path
) -> None:
    stock = chance(1, 60)
    path = jsonl(tmp_path / "a.jsonl", [chance(10 + i, 80) + stock for i in range(3)])
    out = tmp_path / "a.azf"
    result = run(build_filter, path, "--tokenizer", byte_tokenizer, "--out", out)
    assert result.exit_code == 0, result.output
    assert (
        f"{out}: {CommonFilter.load(out).ngrams:,} common n-grams of 3 documents" in result.stdout
    )
    assert CommonFilter.load(out).corpus == 3


def test_a_bad_record_is_named_and_left_out(byte_tokenizer: Path, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [chance(i, 80) for i in range(3)])
    path.write_text("no json\n" + path.read_text())
    result = run(build_filter, path, "--tokenizer", byte_tokenizer, "--out", tmp_path / "a.azf")
    assert result.exit_code == 0, result.output
    assert f"{path}:1: " in result.stderr
    assert "of 3 documents" in result.stdout


def test_nothing_to_build_of_is_an_error(byte_tokenizer: Path, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [])
    options = ("--tokenizer", byte_tokenizer, "--out", tmp_path / "a.azf")
    assert "no text to build a filter of" in refused(build_filter, path, *options)
    assert not (tmp_path / "a.azf").exists()


# ---- calibrate


def test_chance_text_is_ordinary_for_a_key(texts: Texts, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [chance(i, 10_000) for i in range(25)])
    options = (*texts.options, "--filter", "none", "--decoys", 3)
    result = run(calibrate_command, path, *options, "--json")
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)
    assert (row["verdict"], row["pieces"], row["level"]) == ("ordinary", 1_250, 1e-5)
    assert [rate["level"] for rate in row["rates"]] == list(LEVELS)
    low, high = row["rates"][0]["interval"]
    assert low < row["rates"][0]["expected"] / row["pieces"] < high
    assert row["decoys"] == 3


def test_a_key_that_text_was_marked_with_is_called_unlucky_on_it(
    texts: Texts, tmp_path: Path
) -> None:
    path = jsonl(tmp_path / "a.jsonl", [texts.text(2_000)])
    options = (*texts.options, "--filter", "none", "--decoys", 2)
    result = run(calibrate_command, path, *options)
    assert result.exit_code == 1, result.output
    assert "This key is unlucky on this text: use --level" in result.stdout
    (row,) = json.loads(run(calibrate_command, path, *options, "--json").stdout)
    assert row["level"] < 1e-9
    assert row["decoys_above"] == 0


def test_a_few_pieces_are_too_little_text(texts: Texts, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [chance(1, 2_000)])
    options = (*texts.options, "--filter", "none", "--decoys", 2)
    result = run(calibrate_command, path, *options)
    assert result.exit_code == 3, result.output
    assert "Too little text to tell" in result.stdout


def test_a_filter_is_compared_with_none(texts: Texts, byte_tokenizer: Path, tmp_path: Path) -> None:
    stock = chance(1, 4_000)
    path = jsonl(tmp_path / "a.jsonl", [stock + chance(9 + i, 1_000) for i in range(4)])
    out = tmp_path / "a.azf"
    assert run(build_filter, path, "--tokenizer", byte_tokenizer, "--out", out).exit_code == 0
    options = (*texts.options, "--decoys", 2)
    result = run(calibrate_command, path, *options, "--filter", out, "--json")
    without, filtered = json.loads(result.stdout)
    assert (without["filter"], filtered["filter"]) == ("none", str(out))
    assert without["pieces"] == 100
    assert filtered["pieces"] <= 24  # the copied 4,000 tokens leave no window


def test_a_text_that_cannot_be_read_is_an_error(texts: Texts, tmp_path: Path) -> None:
    assert "none.txt" in refused(calibrate_command, tmp_path / "none.txt", *texts.options)


# ---- the figures


def test_rejections_are_those_of_the_exact_test() -> None:
    windows = np.array([19, 20, 60, 60, 200], np.int64)
    hits = np.array([19, 20, 27, 15, 80], np.int64)
    found = Rejections.none()
    found.add(windows, hits, 0.25)
    tails = [log10_tail(hits[i], windows[i], 0.25) for i in range(1, 5)]
    assert found.pieces == 4
    for i, level in enumerate(np.log10(LEVELS)):
        assert found.rejected[i] == sum(tail <= level for tail in tails)
    least = {n: least_hits(n, 0.25, -2) or 0 for n in (20, 60, 200)}
    sizes = [10 ** log10_tail(least[n], n, 0.25) for n in (20, 60, 60, 200)]
    assert found.expected[0] == pytest.approx(sum(sizes))


def test_pieces_never_span_two_documents() -> None:
    cut = pieces_of(Batch.of([[1] * 120, [2] * 40, [3] * 50]), 50)
    assert cut.offsets.tolist() == [0, 50, 100, 150]
    assert cut.document(2).tolist() == [3] * 50
