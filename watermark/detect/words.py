"""From text to word ids: the encoder of the format az1-words, in a tokenizer's place."""

from collections.abc import Sequence
from itertools import chain

import numpy as np

from watermark.detect.counts import Batch
from watermark.detect.tokenizer import Encoded
from watermark.errors import InputError
from watermark.words import WordIds, word_spans


class WordEncoder:
    """Turns texts into the word ids of one epoch; used like a TextTokenizer.

    `words_key` is the epoch's (16 bytes); raises InputError if the keys lack it. Ids depend on
    the epoch, so each epoch needs an encoder of its own. They are remembered: one encoder a
    process is quick, and not for several threads at once.
    """

    def __init__(self, words_key: bytes) -> None:
        if not words_key:
            raise InputError(
                "keys: no key for words in this export; give a detector export or the keyring "
                "(a site-detector export tests tokens only)"
            )
        self._key = words_key
        self._ids = WordIds(words_key)

    def __reduce__(self) -> tuple[type["WordEncoder"], tuple[bytes]]:
        return WordEncoder, (self._key,)

    def encode(self, text: str) -> Encoded:
        """Word ids of a text, with the characters of `text` that each word spans."""
        found = word_spans(text)
        ids = [self._ids[word] for word, _, _ in found]
        return Encoded(ids, [(start, end) for _, start, end in found])

    def encode_batch(self, texts: Sequence[str]) -> Batch:
        """Word ids of many texts."""
        documents = [self._ids.of_text(text) for text in texts]
        offsets = np.zeros(len(documents) + 1, np.int64)
        np.cumsum([len(document) for document in documents], out=offsets[1:])
        ids = np.fromiter(chain.from_iterable(documents), np.uint32, count=int(offsets[-1]))
        return Batch(ids, offsets)
