"""Paths, folders, patterns and URLs → the shards that a job reads, always in the same order."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from watermark.detect.sources.files import is_remote
from watermark.detect.sources.formats import identify
from watermark.detect.sources.listing import Found, find, stat
from watermark.detect.sources.parquet import row_group_sizes
from watermark.detect.sources.shard import Shard
from watermark.errors import InputError


@dataclass(frozen=True, slots=True)
class Plan:
    """The shards to read, sorted by URL and range, and the files of folders that are not read.

    `hidden` are files whose name, or a folder's, begins with a dot; `unknown` those whose suffix
    names no format.
    """

    shards: tuple[Shard, ...]
    hidden: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def plan(
    paths: Iterable[str],
    *,
    recursive: bool = False,
    form: str = "auto",
    shard_bytes: int = 64 << 20,
) -> Plan:
    """Find the files of `paths` and cut large ones into shards of about `shard_bytes`.

    A path is a file, a folder (with `recursive`), a pattern, an fsspec URL of any of these, or
    "-". Without a format in `form`, the suffix tells it; a file that was named itself and has an
    unknown one is a text. Raises InputError if a path stands for nothing, or for nothing that
    can be read.
    """
    files: dict[str, Found] = {}
    for path in paths:
        found = find(path, recursive=recursive)
        for file in found:
            files.setdefault(_place(file.url), file)
        if all(_unread(file, form) for file in found):
            raise InputError(
                f"{path}: none of its {len(found)} files is of a known format "
                "(choose one with --format)"
            )
    ordered = sorted(files.values(), key=lambda file: file.url)
    read = [file for file in ordered if _unread(file, form) is None]
    return Plan(
        tuple(shard for file in read for shard in _cut(_shard(file, form), shard_bytes)),
        tuple(file.url for file in ordered if _unread(file, form) == "hidden"),
        tuple(file.url for file in ordered if _unread(file, form) == "unknown"),
    )


def whole_file(url: str, form: str = "auto") -> Shard:
    """Return one shard for the whole of one file; raises InputError if it is not there."""
    return _shard(stat(url), form)


def _place(url: str) -> str:
    return url if is_remote(url) or url == "-" else str(Path(url).absolute())


def _unread(file: Found, form: str) -> str | None:
    if not file.listed:
        return None
    if file.hidden:
        return "hidden"
    return "unknown" if form == "auto" and identify(file.url)[0] is None else None


def _shard(file: Found, form: str) -> Shard:
    known, compression = identify(file.url)
    chosen = (known or "text") if form == "auto" else form
    return Shard(file.url, chosen, compression, size=file.size, version=file.version)


def _cut(shard: Shard, shard_bytes: int) -> Iterator[Shard]:
    if shard.size <= shard_bytes or shard.compression is not None:
        yield shard
    elif shard.format == "jsonl":
        count = -(-shard.size // shard_bytes)
        cuts = [shard.size * part // count for part in range(count + 1)]
        yield from _ranges(shard, cuts, [b - a for a, b in pairwise(cuts)])
    elif shard.format == "parquet":
        yield from _row_groups(shard, shard_bytes)
    else:
        yield shard


def _ranges(shard: Shard, cuts: list[int], sizes: list[int]) -> Iterator[Shard]:
    # The last range is open: lines that were appended since are read as well.
    lasts = [*cuts[1:-1], None]
    for first, last, size in zip(cuts, lasts, sizes, strict=False):
        yield replace(shard, first=first, last=last, size=size)


def _row_groups(shard: Shard, shard_bytes: int) -> Iterator[Shard]:
    try:
        groups = row_group_sizes(shard)
    except InputError:
        yield shard  # reading it says what is wrong with it, and the other files are read
        return
    cuts, sizes = [0], [0]
    for index, size in enumerate(groups):
        if sizes[-1] and sizes[-1] + size > shard_bytes:
            cuts.append(index)
            sizes.append(0)
        sizes[-1] += size
    yield from _ranges(shard, [*cuts, len(groups)], sizes)
