"""Kept token ids: the same again, whole or not at all, and never those of another tokenizer."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from watermark.detect.counts import Batch
from watermark.detect.tokenizers.cache import CachedShard, TokenCache
from watermark.errors import InputError
from watermark.manifest import TokenizerPin

PIN = TokenizerPin(256, "ab" * 32)
FIRST, SECOND = Batch.of([[1, 2, 3], []]), Batch.of([[4_000_000_000]])


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def cache(tmp_path: Path, told: list[str]) -> TokenCache:
    return TokenCache(tmp_path / "cache", PIN, normalised=False, warn=told.append)


def keep(cache: TokenCache, key: str = "a.jsonl#0") -> None:
    with cache.put(key) as writer:
        writer.add(np.array([1, 3]), FIRST)
        writer.add(np.array([7]), SECOND)
        writer.notes["left out"] = 2


def contents(shard: CachedShard | None) -> tuple[list[int], list[list[int]]]:
    assert shard is not None
    documents = [shard.ids.document(i).tolist() for i in range(len(shard.ids))]
    return shard.positions.tolist(), documents


def test_a_shard_comes_back_as_it_was_added(cache: TokenCache, told: list[str]) -> None:
    assert cache.get("a.jsonl#0") is None
    keep(cache)
    shard = cache.get("a.jsonl#0")
    assert contents(shard) == ([1, 3, 7], [[1, 2, 3], [], [4_000_000_000]])
    assert shard is not None
    assert shard.notes == {"left out": 2}
    assert not told


def test_it_is_read_in_batches_of_the_size_asked_for(cache: TokenCache) -> None:
    keep(cache)
    shard = cache.get("a.jsonl#0")
    assert shard is not None
    pieces = [(p.tolist(), b.ids.tolist(), b.offsets.tolist()) for p, b in shard.batches(2)]
    assert pieces == [([1, 3], [1, 2, 3], [0, 3, 3]), ([7], [4_000_000_000], [0, 1])]


def test_a_shard_without_records_is_kept_too(cache: TokenCache) -> None:
    with cache.put("empty"):
        pass
    assert contents(cache.get("empty")) == ([], [])


def test_other_keys_tokenizers_and_normalisation_have_entries_of_their_own(
    cache: TokenCache, tmp_path: Path, told: list[str]
) -> None:
    keep(cache)
    assert cache.get("a.jsonl#1") is None
    for pin, normalised in ((TokenizerPin(256, "cd" * 32), False), (PIN, True)):
        other = TokenCache(tmp_path / "cache", pin, normalised=normalised, warn=told.append)
        assert other.get("a.jsonl#0") is None


def test_a_shard_that_fails_half_way_leaves_nothing(cache: TokenCache, tmp_path: Path) -> None:
    def fail() -> None:
        with cache.put("a") as writer:
            writer.add(np.array([1, 3]), FIRST)
            raise InputError("the file ends early")

    with pytest.raises(InputError, match="the file ends early"):
        fail()
    assert cache.get("a") is None
    assert list((tmp_path / "cache").iterdir()) == []


def test_two_writers_of_one_shard_leave_one_entry(cache: TokenCache, tmp_path: Path) -> None:
    with cache.put("a.jsonl#0") as writer:
        writer.add(np.array([1, 3]), FIRST)
        writer.add(np.array([7]), SECOND)
        keep(cache)
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert contents(cache.get("a.jsonl#0"))[0] == [1, 3, 7]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["ids.npy", "offsets.npy", "positions.npy", "entry.json"])
@pytest.mark.parametrize(
    "damage",
    [
        flip,
        Path.unlink,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-3]),
        lambda path: path.write_bytes(b"[" * 500),
    ],
    ids=["flipped bit", "missing", "empty", "cut", "nonsense"],
)
def test_a_damaged_entry_is_told_and_made_again(
    cache: TokenCache, tmp_path: Path, told: list[str], name: str, damage: Callable[[Path], object]
) -> None:
    keep(cache)
    (entry,) = (tmp_path / "cache").iterdir()
    damage(entry / name)
    assert cache.get("a.jsonl#0") is None
    assert [message.split(": ", 1)[1][:25] for message in told] == ["damaged token cache entry"]
    keep(cache)
    assert contents(cache.get("a.jsonl#0"))[0] == [1, 3, 7]


def test_a_cache_that_cannot_be_made_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="no token cache can be made there"):
        TokenCache(tmp_path / "file" / "cache", PIN, normalised=False, warn=print)
