"""Shards put together into units of work: a large shard is one, small files share one."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from watermark.detect.scan.parts import Part
from watermark.detect.sources import Fields, Shard

SHARD_BYTES = 8 << 20
# A corpus is cut into 64 units, so that every worker has several, unless they would be smaller
# than a shard or larger than 64 MiB. The number of workers has no part in it: another machine
# can take up a scan.
_UNITS, _UNIT_BYTES = 64, 64 << 20
_UNIT_SHARDS = 4096
# Of the token sample of the whole corpus a unit keeps eight times its part, which is more than
# chance ever asks of one.
SAMPLE_TOKENS = 1 << 20
_SAMPLE_SURPLUS, _LEAST_SAMPLE = 8, 1 << 14


@dataclass(frozen=True, slots=True)
class Unit:
    """Shards that one worker scans in one go, and where their part is.

    Documents of up to `sample_tokens` tokens are kept for the sample of the corpus.
    """

    shards: tuple[Shard, ...]
    part: Part
    sample_tokens: int = SAMPLE_TOKENS

    @property
    def size(self) -> int:
        """Bytes to read, as far as they are known."""
        return sum(shard.size for shard in self.shards)


def units(shards: Sequence[Shard], fields: Fields, parts: Path) -> list[Unit]:
    """Group shards, in their order; a unit's part is named after all that it reads."""
    groups = list(_groups(shards))
    kept = _SAMPLE_SURPLUS * SAMPLE_TOKENS // max(len(groups), 1)
    kept = min(max(kept, _LEAST_SAMPLE), SAMPLE_TOKENS)
    return [Unit(tuple(group), Part(parts / _key(group, fields)), kept) for group in groups]


def _groups(shards: Sequence[Shard]) -> Iterator[list[Shard]]:
    whole = sum(shard.size for shard in shards)
    most = min(max(whole // _UNITS, SHARD_BYTES), _UNIT_BYTES)
    group: list[Shard] = []
    size = 0
    for shard in shards:
        if group and (size + shard.size > most or len(group) == _UNIT_SHARDS):
            yield group
            group, size = [], 0
        group.append(shard)
        size += shard.size
    if group:
        yield group


def _key(shards: Sequence[Shard], fields: Fields) -> str:
    keys = "".join(shard.key(fields) for shard in shards)
    return hashlib.sha256(keys.encode()).hexdigest()[:32]
