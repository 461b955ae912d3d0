"""From text to the token ids of the marked model, with character offsets."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from watermark.errors import InputError
from watermark.manifest import TokenizerPin


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids [n] of a text and the half-open character span of each."""

    ids: list[int]
    offsets: list[tuple[int, int]]


class TextTokenizer:
    """A Hugging Face fast tokenizer, read from a model directory or a tokenizer.json."""

    def __init__(self, path: Path) -> None:
        """Load the tokenizer; raises InputError if there is none at `path`."""
        from tokenizers import Tokenizer

        file = path / "tokenizer.json" if path.is_dir() else path
        if not file.is_file():
            raise InputError(
                f"{path}: no tokenizer.json there; give the directory of the marked model"
            )
        try:
            self._tokenizer: Any = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception for a damaged file
            raise InputError(f"{file}: not a Hugging Face tokenizer ({error})") from error
        # A suspect text may spell out special tokens; to the model's users they are text.
        self._tokenizer.encode_special_tokens = True
        self.path = file

    def encode(self, text: str) -> Encoded:
        """Tokenise a text as the continuation of nothing: no special tokens are added."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return Encoded(list(encoding.ids), list(encoding.offsets))

    def pin(self) -> TokenizerPin:
        """Identify the vocabulary: SHA-256 over "id NUL token NUL" in the order of the ids."""
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        digest = hashlib.sha256()
        for token, index in sorted(vocabulary.items(), key=lambda item: (item[1], item[0])):
            digest.update(f"{index}\0{token}\0".encode())
        return TokenizerPin(max(vocabulary.values()) + 1, digest.hexdigest())

    def require(self, pin: TokenizerPin | None) -> None:
        """Raise InputError unless this is the tokenizer that the manifest names (if it does)."""
        if pin is not None and pin != self.pin():
            raise InputError(
                f"{self.path}: not the tokenizer that the marks were made with (the manifest "
                f"names a vocabulary of {pin.vocabulary_size} tokens, {pin.sha256[:12]}…)"
            )
