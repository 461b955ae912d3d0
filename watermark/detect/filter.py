"""The common-n-gram filter: windows of passages that everybody copies are not counted.

Under the null hypothesis a fixed key has its own false-positive rate on text that repeats itself
from document to document: a licence that happens to be green is green wherever it stands. The
filter is a Bloom filter of what recurs in a reference corpus: 5-grams of tokens that occur in
several documents (copied passages), and trigrams that occur everywhere (forms and idioms, whose
5-grams are new each time but whose windows are not). `watermark.detect.kernels.walk` leaves out
the windows that end a common n-gram. It depends on the text alone, never on the key, so that the
test stays exact.
"""

import hashlib
import json
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import zstandard

from watermark.cache import cache_root
from watermark.detect.counts import Batch
from watermark.detect.kernels import (
    NGRAM,
    SHORT_NGRAM,
    compiled,
    insert,
    is_common,
    ngram_hash,
    table_size,
)
from watermark.detect.tokenizer import TextTokenizer
from watermark.errors import InputError
from watermark.prf import UNUSED

Words = npt.NDArray[np.uint64]

_MAGIC = b"AZFILTER"
_VERSION = 1
# At 12 bits an entry and more, seven probes find an entry that is not there in at most 0.4 %.
_BITS, _PROBES = 12, 7
_LEAST_VOCABULARY = 4096
FILTER_DEFAULT, FILTER_NONE = "default", "none"
BOILERPLATE = "boilerplate.txt.zst"
# Between passages, and between the passages and the phrases (control characters: in no text).
PASSAGE_END, PHRASES = "\n\x1e\n", "\n\x1d\n"


@dataclass(frozen=True, slots=True)
class CommonFilter:
    """A Bloom filter of common 5-grams and trigrams under one tokenizer.

    `bits` are a power of two of words, `probes` the bits that an entry sets, `tokenizer` the
    SHA-256 of the vocabulary (TokenizerPin). Of its `ngrams` entries the 5-grams occur in at least
    `documents` of the `corpus` reference documents (0 and 0: the default, made of passages).
    """

    bits: Words
    probes: int
    tokenizer: str
    ngrams: int
    documents: int = 0
    corpus: int = 0

    @classmethod
    def of(cls, hashes: Words, tokenizer: str, *, documents: int = 0, corpus: int = 0) -> Self:
        """Make a filter of distinct n-gram hashes [n]."""
        size = 1
        while size * 64 < _BITS * len(hashes):
            size *= 2
        bits = np.zeros(size, np.uint64)
        _set_bits(bits, _PROBES, hashes)
        return cls(bits, _PROBES, tokenizer, len(hashes), documents, corpus)

    @classmethod
    def default(cls, tokenizer: TextTokenizer) -> Self:
        """Make the filter that comes with the package: licences and stock phrases of manuals.

        Its passages are text (`python -m benchmarks.human.boilerplate` chose them), so that it
        serves every tokenizer.
        """
        return cls.of_passages(*shipped(), tokenizer)

    @classmethod
    def of_passages(
        cls, passages: Sequence[str], phrases: Sequence[str], tokenizer: TextTokenizer
    ) -> Self:
        """Make a filter of all 5-grams of some passages and all trigrams of some phrases."""
        long = document_ngrams(tokenizer.encode_batch(list(passages)))
        short = document_ngrams(tokenizer.encode_batch(list(phrases)), SHORT_NGRAM)
        return cls.of(np.unique(np.concatenate([long, short])), tokenizer.pin().sha256)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a filter; raises InputError if it is missing, damaged or of another version."""
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: the filter cannot be read ({error.strerror})") from error
        if raw[:8] != _MAGIC:
            raise InputError(f"{path}: no filter; make one with: azeotrope build-filter")
        try:
            return cls._parse(raw)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: damaged ({error}); build it again") from error

    @classmethod
    def _parse(cls, raw: bytes) -> Self:
        end = 12 + int.from_bytes(raw[8:12], "little")
        header: dict[str, Any] = json.loads(raw[12:end])
        if (header["version"], header["ngram"]) != (_VERSION, NGRAM):
            raise ValueError(f"version {header['version']}, this release reads {_VERSION}")
        if hashlib.sha256(raw[end:]).hexdigest() != header["sha256"]:
            raise ValueError("not as it was written")
        numbers = (int(header[name]) for name in ("ngrams", "documents", "corpus"))
        # Copied, because the compiled kernels would be compiled again for read-only arrays.
        bits = np.frombuffer(raw[end:], np.uint64).copy()
        return cls(bits, int(header["probes"]), str(header["tokenizer"]), *numbers)

    def save(self, path: Path) -> None:
        """Write the filter; raises InputError if that fails."""
        body = self.bits.astype("<u8").tobytes()
        header = json.dumps(
            {
                "version": _VERSION,
                "ngram": NGRAM,
                "probes": self.probes,
                "tokenizer": self.tokenizer,
                "ngrams": self.ngrams,
                "documents": self.documents,
                "corpus": self.corpus,
                "sha256": hashlib.sha256(body).hexdigest(),
            }
        ).encode()
        try:
            path.write_bytes(_MAGIC + len(header).to_bytes(4, "little") + header + body)
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror})") from error

    def require(self, tokenizer: TextTokenizer) -> None:
        """Raise InputError unless the filter was built with this tokenizer."""
        if tokenizer.pin().sha256 != self.tokenizer:
            raise InputError(
                f"{tokenizer.path}: the filter was built with another tokenizer "
                f"(vocabulary {self.tokenizer[:12]}…); build one with this tokenizer"
            )

    @property
    def sha256(self) -> str:
        """SHA-256 of the bits, in hex: names the filter in reports."""
        return hashlib.sha256(self.bits.astype("<u8").tobytes()).hexdigest()

    @property
    def false_positive_rate(self) -> float:
        """Share of uncommon n-grams that are taken for common ones."""
        share = int(np.bitwise_count(self.bits).sum()) / (64 * len(self.bits))
        return math.pow(share, self.probes)

    def holds(self, hashes: Words) -> npt.NDArray[np.bool_]:
        """Whether each hash [n] is that of a common n-gram, [n]."""
        found = np.empty(len(hashes), np.bool_)
        _look_up(self.bits, self.probes, hashes, found)
        return found


def load_filter(source: str, tokenizer: TextTokenizer | None) -> CommonFilter | None:
    """Return the filter that an option names: "default", "none", or a file.

    The default's passages are text: without a tokenizer there is nothing to make of them, and no
    filter; nor with a vocabulary of letters or bytes, whose runs of five are common in any text.
    Raises InputError if the file cannot be used with the tokenizer.
    """
    if source == FILTER_DEFAULT:
        if tokenizer is None or tokenizer.pin().vocabulary_size < _LEAST_VOCABULARY:
            return None
        return _kept_default(tokenizer)
    if source == FILTER_NONE:
        return None
    common = CommonFilter.load(Path(source))
    if tokenizer is not None:
        common.require(tokenizer)
    return common


def _kept_default(tokenizer: TextTokenizer) -> CommonFilter:
    """Return the default filter, kept in the cache: its passages take a second to tokenise."""
    content = hashlib.sha256(_boilerplate()).hexdigest()[:16]
    pin = tokenizer.pin().sha256
    path = cache_root() / "filters" / f"{pin[:16]}-{content}-{_VERSION}.azf"
    with suppress(InputError):
        kept = CommonFilter.load(path)
        if kept.tokenizer == pin:
            return kept
    common = CommonFilter.default(tokenizer)
    # A cache that cannot be written costs time, and nothing else.
    with suppress(InputError, OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        common.save(temporary)
        temporary.replace(path)
    return common


def shipped() -> tuple[list[str], list[str]]:
    """The passages and the phrases of the default filter."""
    passages, phrases = zstandard.decompress(_boilerplate()).decode().split(PHRASES)
    return passages.split(PASSAGE_END), phrases.split(PASSAGE_END)


def _boilerplate() -> bytes:
    return files("watermark.detect").joinpath(BOILERPLATE).read_bytes()


@compiled
def _set_bits(bits: Words, probes: int, hashes: Words) -> None:
    mask = np.uint64(len(bits) * 64 - 1)
    for word in hashes:
        step, place = (word >> np.uint64(32)) | np.uint64(1), word
        for _ in range(probes):
            bits[(place & mask) >> np.uint64(6)] |= np.uint64(1) << (place & np.uint64(63))
            place += step


@compiled
def _look_up(bits: Words, probes: int, hashes: Words, found: npt.NDArray[np.bool_]) -> None:
    for i in range(len(hashes)):
        found[i] = is_common(bits, probes, hashes[i])


def document_ngrams(batch: Batch, length: int = NGRAM) -> Words:
    """Hashes [m] of the distinct 5-grams (or trigrams) of each document, document by document.

    A trigram is hashed as the 5-gram whose first two tokens are UNUSED.
    """
    hashes = np.empty(len(batch.ids), np.uint64)
    count = _document_ngrams(batch.ids.astype(np.uint64), batch.offsets, length, hashes)
    return hashes[:count]


@compiled
def ngram_hashes(tokens: Words, length: int) -> Words:
    """Hash [n] of the `length` tokens that end at each place; 0 where there are too few."""
    hashes = np.zeros(len(tokens), np.uint64)
    window = np.full(NGRAM, np.uint64(UNUSED), np.uint64)
    for end in range(length - 1, len(tokens)):
        for i in range(length):
            window[NGRAM - 1 - i] = tokens[end - i]
        hashes[end] = ngram_hash(window, NGRAM - 1)
    return hashes


@compiled
def _document_ngrams(
    tokens: Words, offsets: npt.NDArray[np.int64], length: int, hashes: Words
) -> int:
    count = 0
    for d in range(len(offsets) - 1):
        slots = table_size(offsets[d + 1] - offsets[d])
        table, mask = np.zeros(slots, np.uint64), np.uint64(slots - 1)
        for word in ngram_hashes(tokens[offsets[d] : offsets[d + 1]], length):
            # 0 marks an empty slot of the table, and a place without its n-gram.
            if word != np.uint64(0) and insert(table, mask, word):
                hashes[count] = word
                count += 1
    return count
