"""Distinct windows of a corpus: exact, however they are cut, spilled and merged."""

from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from watermark.detect.distinct import (
    DistinctWindows,
    Run,
    Totals,
    WindowSample,
    count_distinct,
    distinct_in,
    read_runs,
)
from watermark.errors import InputError


def windows(seed: int, count: int, repeats: int) -> tuple[np.ndarray, np.ndarray]:
    """Digests with coins that follow from them, every window `repeats` times, shuffled."""
    rng = np.random.default_rng(seed)
    digests = rng.integers(0, 2**63, count, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    every = rng.permutation(np.repeat(digests, repeats))
    return every, coins_of(every)


def coins_of(digests: np.ndarray) -> np.ndarray:
    return (digests >> np.uint64(7) & np.uint64(3) == 0).astype(np.uint8)


def expected(digests: np.ndarray) -> Totals:
    distinct = np.unique(digests)
    return Totals(len(distinct), int(coins_of(distinct).sum()))


@pytest.mark.parametrize(("buffer", "count"), [(1, 20), (7, 100), (1000, 5000), (1 << 20, 5000)])
def test_the_size_of_the_buffer_changes_no_count(tmp_path: Path, buffer: int, count: int) -> None:
    digests, coins = windows(1, count, 3)
    counter = DistinctWindows(tmp_path / "site.runs", buffer)
    for part in np.array_split(np.arange(len(digests)), 11):
        counter.add(digests[part], coins[part])
    counter.flush()
    assert count_distinct(read_runs(tmp_path / "site.runs")) == expected(digests)
    assert count_distinct(read_runs(tmp_path / "site.runs"), threads=3) == expected(digests)


def test_runs_of_several_files_are_counted_together(tmp_path: Path) -> None:
    digests, coins = windows(2, 4000, 2)
    runs = []
    for index, part in enumerate(np.array_split(np.arange(len(digests)), 5)):
        counter = DistinctWindows(tmp_path / str(index), 512)
        counter.add(digests[part], coins[part])
        counter.flush()
        runs += list(read_runs(tmp_path / str(index)))
    assert len(runs) > 5
    assert count_distinct(runs) == expected(digests)


@given(st.lists(st.integers(0, 2**64 - 1), max_size=200))
def test_any_words_are_counted_as_a_set_counts_them(numbers: list[int]) -> None:
    digests = np.array(numbers, np.uint64)
    coins = (digests >> np.uint64(1) & np.uint64(1)).astype(np.uint8)
    pairs = {number >> 1: number >> 1 & 1 for number in numbers}
    found = distinct_in(digests, coins)
    # The words 0 and 1 share a slot: one window in 2^63 is given up for it.
    assert found.windows in {len(pairs), len(pairs) - 0}
    assert found == Totals(len(pairs), sum(pairs.values()))


def test_a_run_has_no_repeats_and_is_ordered_by_partition() -> None:
    digests, _ = windows(3, 2000, 4)
    run = Run.of(digests)
    assert len(run.words) == 2000
    partitions = (run.words >> np.uint64(54)).astype(np.int64)
    assert (np.diff(partitions) >= 0).all()
    assert run.bounds[-1] == 2000
    index = int(partitions[700])
    assert set(run.partition(index)) == set(run.words[partitions == index])


def test_nothing_counts_as_nothing(tmp_path: Path) -> None:
    DistinctWindows(tmp_path / "empty").flush()
    assert count_distinct(read_runs(tmp_path / "empty")) == Totals(0, 0)
    assert count_distinct([]) == Totals(0, 0)


@pytest.mark.parametrize("damage", ["cut", "magic", "bounds"])
def test_damage_is_told(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "site.runs"
    counter = DistinctWindows(path)
    counter.add(*windows(4, 100, 1))
    counter.flush()
    words = np.fromfile(path, np.uint64)
    if damage == "cut":
        words = words[:-1]
    else:
        words[0 if damage == "magic" else 1025] += np.uint64(1)
    words.tofile(path)
    with pytest.raises(InputError, match="damaged; remove it and scan again"):
        list(read_runs(path))


def test_a_sample_does_not_depend_on_how_the_windows_were_cut() -> None:
    digests, _ = windows(5, 3000, 2)
    seeds, tokens = digests ^ np.uint64(99), (digests >> np.uint64(40)).astype(np.uint32)
    whole = WindowSample.of(digests, seeds, tokens).merged([], 500)
    parts = [
        WindowSample.of(digests[part], seeds[part], tokens[part]).merged([], 500)
        for part in np.array_split(np.arange(len(digests)), 7)
    ]
    merged = WindowSample.empty().merged(parts, 500)
    assert len(whole) == 500
    for name in WindowSample.__slots__:
        assert getattr(merged, name).tolist() == getattr(whole, name).tolist()
    assert whole.digests.tolist() == sorted(set(digests.tolist()))[:500]
    assert (whole.seeds == whole.digests ^ np.uint64(99)).all()
