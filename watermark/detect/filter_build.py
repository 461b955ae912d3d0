"""Which n-grams are common: exact counts over a reference corpus, in bounded memory.

Hashes are gathered in a buffer; a full one is sorted and appended, cut by the top six bits, to 64
files in a temporary folder. At the end each file is sorted and its runs are counted: a 64th of
all hashes, 8 bytes each, is in memory (125 MB for a thousand million tokens).
"""

import tempfile
from pathlib import Path
from typing import Self

import numpy as np

from watermark.detect.counts import Batch, Integers
from watermark.detect.filter import CommonFilter, Words, document_ngrams
from watermark.detect.kernels import SHORT_NGRAM
from watermark.errors import InputError

_PARTITIONS_LOG2 = 6
_BUFFER_HASHES = 1 << 24
# Trigrams are counted over stretches of 100 tokens, so that a document's length is no matter.
STRETCH = 100
# More than one stretch in 5,000: their windows made the rates of keys differ (docs/results.md).
_STRETCH_SHARE = 1 / 5000


class OccurrenceCounter:
    """Counts how often each hash was added; `folder` takes what does not fit the buffer."""

    def __init__(self, folder: Path, buffer_hashes: int = _BUFFER_HASHES) -> None:
        folder.mkdir()
        self._folder, self._most = folder, buffer_hashes
        self._buffer: list[Words] = []
        self._buffered = 0

    def add(self, hashes: Words) -> None:
        """Count hashes [n]."""
        self._buffer.append(hashes)
        self._buffered += len(hashes)
        if self._buffered >= self._most:
            self._spill()

    def at_least(self, times: int) -> tuple[Words, Integers]:
        """Hashes [n] that were added so often, ascending, and how often [n]."""
        self._spill()
        found = [self._counted(part, times) for part in range(1 << _PARTITIONS_LOG2)]
        return np.concatenate([f[0] for f in found]), np.concatenate([f[1] for f in found])

    def _spill(self) -> None:
        if not self._buffer:
            return
        hashes = np.sort(np.concatenate(self._buffer))
        steps = np.arange(1, 1 << _PARTITIONS_LOG2, dtype=np.uint64)
        cuts = np.searchsorted(hashes, steps << np.uint64(64 - _PARTITIONS_LOG2))
        for part, words in enumerate(np.split(hashes, cuts)):
            with (self._folder / str(part)).open("ab") as file:
                file.write(words.tobytes())
        self._buffer, self._buffered = [], 0

    def _counted(self, part: int, times: int) -> tuple[Words, Integers]:
        file = self._folder / str(part)
        hashes = np.sort(np.fromfile(file, np.uint64)) if file.exists() else np.empty(0, np.uint64)
        starts = np.flatnonzero(np.diff(hashes, prepend=~hashes[:1]))
        counts = np.diff(starts, append=len(hashes))
        return hashes[starts][counts >= times], counts[counts >= times]


class FilterBuilder:
    """Takes documents, batch by batch, and gives the filter; a context manager.

    A 5-gram is common if it occurs in at least `documents` of them, a trigram if it does so in
    one of 5,000 stretches of 100 tokens (and in `documents` stretches at least). Raises
    InputError if `documents` is below 2.
    """

    def __init__(
        self, tokenizer: str, *, documents: int = 3, buffer_hashes: int = _BUFFER_HASHES
    ) -> None:
        if documents < 2:
            raise InputError("a common n-gram must occur in 2 documents at least")
        self.corpus = self.stretches = 0
        self._tokenizer, self._documents = tokenizer, documents
        self._folder = tempfile.TemporaryDirectory(prefix="azeotrope-filter-")
        folder = Path(self._folder.name)
        self._long = OccurrenceCounter(folder / "long", buffer_hashes)
        self._short = OccurrenceCounter(folder / "short", buffer_hashes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def add(self, batch: Batch) -> None:
        """Count the documents of a batch."""
        cut = stretches(batch)
        self.corpus += len(batch)
        self.stretches += len(cut)
        self._long.add(document_ngrams(batch))
        self._short.add(document_ngrams(cut, SHORT_NGRAM))

    def common(self) -> tuple[Words, Integers]:
        """Hashes [n] of the common 5-grams, and in how many documents [n] each occurs."""
        return self._long.at_least(self._documents)

    def common_short(self) -> tuple[Words, Integers]:
        """Hashes [n] of the common trigrams, and in how many stretches [n] each occurs."""
        least = max(self._documents, int(self.stretches * _STRETCH_SHARE))
        return self._short.at_least(least)

    def build(self) -> CommonFilter:
        """The filter of everything added."""
        hashes = np.concatenate([self.common()[0], self.common_short()[0]])
        return CommonFilter.of(
            hashes, self._tokenizer, documents=self._documents, corpus=self.corpus
        )


def stretches(batch: Batch) -> Batch:
    """Cut documents into consecutive stretches of 100 tokens, the last one shorter."""
    cuts = [
        np.arange(start, end, STRETCH)
        for start, end in zip(batch.offsets[:-1], batch.offsets[1:], strict=True)
    ]
    return Batch(batch.ids, np.concatenate([*cuts, batch.offsets[-1:]]).astype(np.int64))
