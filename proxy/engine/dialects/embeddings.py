"""OpenAI's embeddings. Source: OpenAI's API reference."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from proxy.engine.dialects.choices import texts_or_tokens
from proxy.engine.events import JsonObject
from proxy.engine.requests import NotOffered, Request, RequestError

# OpenAI's bounds of one request.
_MAX_INPUTS = 2048
MAX_TOKENS = 300_000


class EmbeddingsRequest(Request, kw_only=True):
    """Body of POST /v1/embeddings."""

    not_offered: ClassVar[NotOffered] = {"dimensions": (None,)}

    input: str | list[str | int | list[int]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None

    def check(self) -> None:
        """Raise RequestError for what is not offered here, or is too much."""
        super().check()
        if len(self.inputs()) > _MAX_INPUTS:
            raise RequestError(f"input must have at most {_MAX_INPUTS} entries.", "input")

    def inputs(self) -> list[str | list[int]]:
        """One entry per input: text or token ids. RequestError for an empty or mixed list."""
        return texts_or_tokens(self.input, "input")

    def answer(
        self, model: str, vectors: Sequence[Sequence[float]], prompt_tokens: int
    ) -> JsonObject:
        """Return the list of embeddings."""
        data = [
            {"object": "embedding", "index": index, "embedding": self._encoded(vector)}
            for index, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens}
        return {"object": "list", "data": data, "model": model, "usage": usage}

    def _encoded(self, vector: Sequence[float]) -> str | Sequence[float]:
        if self.encoding_format == "base64":
            return base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode()
        return vector
