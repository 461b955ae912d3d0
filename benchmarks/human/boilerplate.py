"""Choose the passages of the default filter: `python -m benchmarks.human.boilerplate`.

From the reference third of the human text: passages whose 5-grams occur in at least 7 documents,
each part once, and phrases of three tokens that occur everywhere. Lines that may name a person are
left out. Writes watermark/detect/boilerplate.txt.zst (at most 1 MB) and says what is in it.
"""

import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import zstandard
from rich.progress import track
from tokenizers import Tokenizer

import watermark.detect
from benchmarks.human.documents import DOMAINS
from benchmarks.human.pieces import corpus
from proxy.engine.weights import demo_model
from watermark.detect.counts import Batch
from watermark.detect.filter import (
    BOILERPLATE,
    PASSAGE_END,
    PHRASES,
    CommonFilter,
    Words,
    ngram_hashes,
)
from watermark.detect.filter_build import FilterBuilder
from watermark.detect.kernels import NGRAM, SHORT_NGRAM
from watermark.detect.tokenizer import TextTokenizer

Ids = npt.NDArray[np.uint32]

_MOST_BYTES = 1_000_000
_LEAST_NEW = 2
_PERSON = re.compile(r"@|copyright|\(c\)|©|author|written by|maintainer|[Bb]y [A-Z]\w+ [A-Z]", re.I)


class Passages:
    """Takes texts out of documents until every common n-gram has been taken once."""

    def __init__(self, hashes: Words, length: int, decode: Callable[[list[int]], str]) -> None:
        self._hashes, self._length, self._decode = np.sort(hashes), length, decode
        self._taken = np.zeros(len(hashes), np.bool_)

    def passages(self, ids: Ids) -> Iterator[str]:
        """Yield the runs of common n-grams of one document [n] that hold something new."""
        places, common = self._find(ids)
        edges = np.flatnonzero(np.diff(common, prepend=False, append=False))
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            new = np.flatnonzero(~self._taken[places[start:end]])
            if len(new) >= _LEAST_NEW:
                self._taken[places[start:end]] = True
                text = self._text(ids, start + new[0], start + new[-1])
                yield "\n".join(line for line in text.split("\n") if not _PERSON.search(line))

    def phrases(self, ids: Ids) -> Iterator[str]:
        """Yield, each once, the common n-grams of one document [n]."""
        places, common = self._find(ids)
        for end in np.flatnonzero(common & ~self._taken[places]):
            if not self._taken[places[end]]:
                self._taken[places[end]] = True
                text = self._text(ids, end, end)
                yield "" if _PERSON.search(text) else text

    def _find(self, ids: Ids) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        found = ngram_hashes(ids.astype(np.uint64), self._length)
        places = np.searchsorted(self._hashes, found).clip(max=len(self._hashes) - 1)
        return places, self._hashes[places] == found

    def _text(self, ids: Ids, first: int, last: int) -> str:
        """Decode the n-grams that end at `first` to `last`."""
        return self._decode(ids[first - self._length + 1 : last + 1].tolist())


def _chosen(texts: Iterator[str]) -> list[str]:
    return [text for text in texts if text.strip() and "�" not in text and "\x1e" not in text]


def _references() -> list[Batch]:
    return [corpus(domain).part(reference=True) for domain in DOMAINS]


def _documents(batches: list[Batch]) -> Iterator[Ids]:
    for batch in batches:
        for start, end in pairwise(batch.offsets):
            yield batch.ids[start:end]


@click.command()
@click.option("--least", default=7, show_default=True, help="Documents that share a 5-gram.")
def main(*, least: int) -> None:
    """Write the file."""
    encoder, batches = TextTokenizer(demo_model()), _references()
    with FilterBuilder(encoder.pin().sha256) as builder:
        for batch in track(batches, "counting"):
            builder.add(batch)
        (long, often), (short, _) = builder.common(), builder.common_short()
    wanted = long[often >= least]
    decode = partial(Tokenizer.from_file(str(encoder.path)).decode, skip_special_tokens=False)
    copied, idioms = Passages(wanted, NGRAM, decode), Passages(short, SHORT_NGRAM, decode)
    texts = _chosen(text for ids in _documents(batches) for text in copied.passages(ids))
    few = _chosen(text for ids in _documents(batches) for text in idioms.phrases(ids))
    raw = (PASSAGE_END.join(texts) + PHRASES + PASSAGE_END.join(few)).encode()
    packed = zstandard.ZstdCompressor(level=19).compress(raw)
    if len(packed) > _MOST_BYTES:
        raise click.ClickException(f"{len(packed):,} bytes: over the limit; raise --least")
    (Path(watermark.detect.__path__[0]) / BOILERPLATE).write_bytes(packed)
    common = CommonFilter.of_passages(texts, few, encoder)
    click.echo(
        f"{len(texts):,} passages, {len(few):,} phrases, {len(raw):,} bytes, {len(packed):,} "
        f"compressed; holds {common.holds(wanted).mean():.1%} of {len(wanted):,} 5-grams and "
        f"{common.holds(short).mean():.1%} of {len(short):,} trigrams ({common.ngrams:,} n-grams)"
    )


if __name__ == "__main__":
    main()
