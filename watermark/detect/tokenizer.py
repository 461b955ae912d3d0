"""From text to the token ids of the marked model, with character offsets."""

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from watermark.detect.counts import Batch
from watermark.detect.tokenizers.fast import FastPath, UnusableError
from watermark.detect.tokenizers.gguf import build_tokenizer
from watermark.detect.tokenizers.gguf_metadata import MAGIC, read_metadata
from watermark.errors import InputError
from watermark.manifest import TokenizerPin

_SURROGATES = re.compile("[\ud800-\udfff]")  # no text of UTF-8 has them; JSON escapes may


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids [n] of a text and the half-open character span of each."""

    ids: list[int]
    offsets: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class TokenizerDescription:
    """What a report must say for its token ids to be made again.

    `vocabulary_size` and `sha256` are those of the pin; `fallback_reason` tells why the fast
    path was not taken (None: it was).
    """

    path: str
    kind: Literal["tokenizer.json", "GGUF"]
    backend: str
    vocabulary_size: int
    sha256: str
    fallback_reason: str | None


class TextTokenizer:
    """The tokenizer of a model: a Hugging Face directory, a tokenizer.json, or a GGUF file.

    `slow_batches` counts the batches with a text that the fast path handed to the reference
    library, `slow_texts` these texts.
    """

    def __init__(self, path: Path) -> None:
        """Load the tokenizer; raises InputError if there is none at `path`."""
        file = path / "tokenizer.json" if path.is_dir() else path
        if not file.is_file():
            raise InputError(
                f"{path}: no tokenizer.json there; give the directory of the marked model, its "
                "tokenizer.json or its GGUF file"
            )
        self.path = file
        self.kind: Literal["tokenizer.json", "GGUF"] = (
            "GGUF" if _starts_like_gguf(file) else "tokenizer.json"
        )
        self._tokenizer = _load(file, self.kind)
        # A suspect text may spell out special tokens; to the model's users they are text.
        self._tokenizer.encode_special_tokens = True
        # A tokenizer saved for training may cut every text at 512 tokens.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.slow_batches = self.slow_texts = 0

    def __reduce__(self) -> tuple[type["TextTokenizer"], tuple[Path]]:
        return TextTokenizer, (self.path,)

    def encode(self, text: str) -> Encoded:
        """Tokenise a text as the continuation of nothing: no special tokens are added.

        Characters without a token (control characters, in some vocabularies) are left out.
        """
        encoding = self._tokenizer.encode(_readable(text), add_special_tokens=False)
        return Encoded(list(encoding.ids), list(encoding.offsets))

    def encode_batch(self, texts: list[str]) -> Batch:
        """Tokenise texts as `encode` does, without offsets and some 30 times as fast.

        The first call probes the fast path; `backend` and `fallback_reason` say what is used.
        """
        if isinstance(self._fast, UnusableError):
            return self._reference(texts)
        batch, slow = self._fast.encode(texts)
        self.slow_batches += slow > 0
        self.slow_texts += slow
        return batch

    @property
    def backend(self) -> str:
        """Library and version behind `encode_batch`."""
        if isinstance(self._fast, UnusableError):
            return f"tokenizers {version('tokenizers')}"
        return self._fast.backend

    @property
    def fallback_reason(self) -> str | None:
        """Why `encode_batch` goes through the reference library; None if it does not."""
        return str(self._fast) if isinstance(self._fast, UnusableError) else None

    def description(self) -> TokenizerDescription:
        """Describe the tokenizer for a report."""
        pin = self.pin()
        return TokenizerDescription(
            str(self.path),
            self.kind,
            self.backend,
            pin.vocabulary_size,
            pin.sha256,
            self.fallback_reason,
        )

    def document(self) -> str:
        """The tokenizer as the content of a tokenizer.json, of a GGUF's as well."""
        return str(self._tokenizer.to_str())

    def pin(self) -> TokenizerPin:
        """Identify the vocabulary: SHA-256 over "id NUL token NUL" in the order of the ids."""
        return self._pin

    def require(self, pin: TokenizerPin | None) -> None:
        """Raise InputError unless this is the tokenizer that the manifest names (if it does)."""
        if pin is not None and pin != self.pin():
            raise InputError(
                f"{self.path}: not the tokenizer that the marks were made with (the manifest "
                f"names a vocabulary of {pin.vocabulary_size} tokens, {pin.sha256[:12]}…)"
            )

    @cached_property
    def _pin(self) -> TokenizerPin:
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        digest = hashlib.sha256()
        for token, index in sorted(vocabulary.items(), key=lambda item: (item[1], item[0])):
            digest.update(f"{index}\0{token}\0".encode())
        return TokenizerPin(max(vocabulary.values()) + 1, digest.hexdigest())

    @cached_property
    def _fast(self) -> FastPath | UnusableError:
        added = [t.content for t in self._tokenizer.get_added_tokens_decoder().values()]
        try:
            return FastPath(self._tokenizer.to_str(), added, self._reference)
        except UnusableError as reason:
            return reason

    def _reference(self, texts: list[str]) -> Batch:
        readable = [_readable(text) for text in texts]
        encodings = self._tokenizer.encode_batch_fast(readable, add_special_tokens=False)
        return Batch.of([encoding.ids for encoding in encodings])


def _readable(text: str) -> str:
    """Put a replacement character, one character as well, for a lone surrogate."""
    return _SURROGATES.sub("\ufffd", text)


def _starts_like_gguf(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(MAGIC)) == MAGIC


def _load(file: Path, kind: Literal["tokenizer.json", "GGUF"]) -> Any:
    if kind == "GGUF":
        return build_tokenizer(read_metadata(file), file)
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception for a damaged file
        raise InputError(f"{file}: not a Hugging Face tokenizer ({error})") from error
