"""What turns texts into ids: a tokenizer, or the words of az1-words; and back to characters."""

from typing import Literal, Protocol

from watermark.detect.counts import Batch
from watermark.detect.normalise import Normalised, normalise
from watermark.detect.tokenizer import Encoded, TextTokenizer
from watermark.detect.words import WordEncoder
from watermark.errors import InputError
from watermark.keys import KeySet

Form = Literal["as given", "normalised"]


class Encoder(Protocol):
    """From texts to ids."""

    def encode(self, text: str) -> Encoded:
        """Return ids and character offsets of one text."""
        ...

    def encode_batch(self, texts: list[str]) -> Batch:
        """Return the ids of many texts."""
        ...


class Encoders:
    """The encoder of each epoch, oldest first: one tokenizer for all, or words, whose ids differ.

    Without a tokenizer and without `words` there is none, and every text raises InputError.
    """

    def __init__(self, keys: KeySet, tokenizer: TextTokenizer | None, *, words: bool) -> None:
        self._differ = words
        self._each: list[Encoder] = []
        if words:
            self._each = [WordEncoder(epoch.words) for epoch in keys.epochs]
        elif tokenizer is not None:
            self._each = [tokenizer] * len(keys.epochs)

    def __getitem__(self, epoch: int) -> Encoder:
        """Return the encoder of the epoch at that index."""
        if not self._each:
            raise InputError(
                "texts need the tokenizer of the marked model: give --tokenizer (or --words)"
            )
        return self._each[epoch]

    def encode(self, text: str) -> list[Encoded]:
        """Encode one text for each epoch."""
        first = self[0].encode(text)
        others = self._each[1:]
        return [first, *(one.encode(text) if self._differ else first for one in others)]

    def forms(self, text: str) -> dict[Form, list[Encoded]]:
        """Encode a text as given, and normalised if that changes it, for each epoch.

        Offsets are characters of the text as given.
        """
        found: dict[Form, list[Encoded]] = {"as given": self.encode(text)}
        normalised = normalise(text)
        if normalised.changes:
            others = self.encode(normalised.text)
            found["normalised"] = [in_original(encoded, normalised) for encoded in others]
        return found

    def encode_batch(self, texts: list[str]) -> list[Batch]:
        """Encode many texts for each epoch."""
        first = self[0].encode_batch(texts)
        others = self._each[1:]
        return [first, *(one.encode_batch(texts) if self._differ else first for one in others)]


def encode_normalised(encoder: Encoder, normalised: Normalised) -> Encoded:
    """Encode a normalised text, with the offsets of the characters it came from."""
    return in_original(encoder.encode(normalised.text), normalised)


def in_original(encoded: Encoded, normalised: Normalised) -> Encoded:
    """Return the ids with offsets into the text that was normalised."""
    if not normalised.changes:
        return encoded
    origin = normalised.origin.tolist()
    offsets = [(origin[start], origin[end]) for start, end in encoded.offsets]
    return Encoded(encoded.ids, offsets)
