"""Texts of token ids, and human text to hide them in."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.human import domain_documents
from proxy.engine.weights import demo_model

Tokens = NDArray[np.int64]


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(demo_model() / "tokenizer.json"))


def decoded(tokens: Tokens) -> list[str]:
    """Texts of token ids [n, length]."""
    texts: list[str] = _tokenizer().decode_batch(tokens.tolist())
    return texts


@lru_cache(maxsize=8)
def human_tokens(count: int) -> Tokens:
    """Return the first `count` tokens of the prose of benchmarks.human, one text after another.

    Other domains repeat themselves (licences, tables of test data): their windows count once, so
    that they would dilute less than their length.
    """
    parts: list[Tokens] = []
    total = 0
    for document in domain_documents("prose"):
        if total >= count:
            break
        ids = np.array(_tokenizer().encode(document.text).ids)
        parts.append(ids)
        total += len(ids)
    return np.concatenate(parts)[:count]
