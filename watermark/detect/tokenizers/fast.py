"""Token ids of whole batches through fastokens, where it agrees with the reference library.

Both libraries run a pool of threads of their own, made on first use: a process that shares the
machine with others calls `limit_threads` before its first batch.
"""

import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from typing import Any

import numpy as np

from watermark.detect.counts import Batch
from watermark.detect.tokenizers.probe import literal_texts, plain_texts

# "Digits one by one, then GPT-2's expression" (SmolLM, StarCoder, Command R) in one expression:
# fastokens takes it 3 times as fast as the two steps. A run of space ends at a digit as at the end.
_DIGITS_THEN_GPT2 = (
    r"'s|'t|'re|'ve|'m|'ll|'d|\p{N}| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+"
)

# A text that only the reference takes costs that many texts a second pass, no more.
_AT_ONCE = 256

Encode = Callable[[list[str]], Batch]


def limit_threads(count: int) -> None:
    """Bound the threads that tokenise in this process; acts only before its first batch."""
    os.environ["RAYON_NUM_THREADS"] = os.environ["FASTOKENS_BPE_THREADS"] = str(count)
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if count > 1 else "false"


class UnusableError(Exception):
    """Why the fast path cannot stand in for the reference."""


class FastPath:
    """fastokens for one tokenizer, with the reference for the texts that it cannot take.

    `document` is the tokenizer.json, `added` the contents of its added tokens, `reference`
    encodes a list of texts slowly and surely. Raises UnusableError if the package is missing,
    refuses the tokenizer, or differs from the reference on the probe.
    """

    def __init__(self, document: str, added: list[str], reference: Encode) -> None:
        try:
            from fastokens import Tokenizer
        except ImportError as error:
            raise UnusableError("fastokens is not installed (pip install fastokens)") from error
        self.backend = f"fastokens {version('fastokens')}"
        try:
            self._encoder: Any = Tokenizer.from_json_str(in_one_step(document))
        except Exception as error:  # whatever a foreign parser raises, the reference still works
            raise UnusableError(f"{self.backend} refuses the tokenizer ({error})") from error
        self._reference = reference
        self._literal: re.Pattern[str] | None = None
        self._probe(added)

    def encode(self, texts: list[str]) -> tuple[Batch, int]:
        """Encode a batch; also returns how many of its texts took the reference path."""
        starts = range(0, max(len(texts), 1), _AT_ONCE)
        parts = [part for first in starts for part in self._parts(texts[first : first + _AT_ONCE])]
        return _joined([part for part, _ in parts]), sum(slow for _, slow in parts)

    def _parts(self, texts: list[str]) -> list[tuple[Batch, int]]:
        """Encode in halves around the texts that only the reference takes."""
        if self._literal is None or not any(map(self._literal.search, texts)):
            # Fails for bytes without a token and lone surrogates: halving finds the texts.
            with suppress(Exception):
                return [(self._flat(texts), 0)]
        if len(texts) == 1:
            return [(self._reference(texts), 1)]
        middle = len(texts) // 2
        return self._parts(texts[:middle]) + self._parts(texts[middle:])

    def _flat(self, texts: list[str]) -> Batch:
        # `split_special_tokens` reads a special token in a text as text.
        ids, offsets = self._encoder.encode_batch_flat(texts, split_special_tokens=True)
        # Copied, because the compiled kernels would be compiled again for read-only arrays.
        return Batch(
            np.frombuffer(ids, "<u4").astype(np.uint32),
            np.frombuffer(offsets, "<u8").astype(np.int64),
        )

    def _probe(self, added: list[str]) -> None:
        plain = plain_texts()
        differs, slow = self._differences(plain)
        if differs:
            raise UnusableError(
                f"{self.backend} differs from the reference on {len(differs)} of {len(plain)} "
                f"probe texts, the first is {differs[0]!r}"
            )
        if slow > len(plain) // 2:
            raise UnusableError(f"{self.backend} fails on {slow} of {len(plain)} probe texts")
        if self._differences(literal_texts(added))[0]:
            longest_first = sorted(added, key=len, reverse=True)
            self._literal = re.compile("|".join(map(re.escape, longest_first)))

    def _differences(self, texts: list[str]) -> tuple[list[str], int]:
        got, slow = self.encode(texts)
        expected = self._reference(texts)
        return [
            text
            for i, text in enumerate(texts)
            if not np.array_equal(got.document(i), expected.document(i))
        ], slow


def in_one_step(document: str) -> str:
    """Rewrite the pre-tokenizer of a tokenizer.json where that is faster and the same."""
    parsed = json.loads(document)
    match parsed.get("pre_tokenizer"):
        case {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True} as level,
            ] as steps,
        }:
            pattern = {"Regex": _DIGITS_THEN_GPT2}
            steps[0] = {
                "type": "Split",
                "pattern": pattern,
                "behavior": "Isolated",
                "invert": False,
            }
            level["use_regex"] = False
    return json.dumps(parsed)


def _joined(parts: list[Batch]) -> Batch:
    if len(parts) == 1:
        return parts[0]
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
    return Batch(np.concatenate([part.ids for part in parts]), offsets)
