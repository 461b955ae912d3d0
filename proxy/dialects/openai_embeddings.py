"""OpenAI's embeddings: numbers, which carry no mark and so need no ticket."""

from __future__ import annotations

from proxy.dialects import request
from proxy.dialects.choices import ChoicesReading
from proxy.dialects.contract import Question
from proxy.dialects.openai import OPENAI


class OpenAIEmbeddings:
    """POST /v1/embeddings."""

    name = "openai_embeddings"
    path = "/v1/embeddings"
    speaker = OPENAI
    marked = False
    forwarded = ()

    def parse(self, body: bytes) -> Question:
        """Read a request's body; raises CallError (BAD_BODY, BAD_FIELD)."""
        fields, dropped = request.read(body)
        return Question(fields, request.model(fields), dropped)

    def apply(self, question: Question, *, model: str, ticket: str | None) -> bytes:
        """Return the body for the engine; members keep their order and their bytes."""
        return request.addressed(question, model, ticket)

    def reading(self, question: Question, *, texts: bool) -> ChoicesReading:
        """Return the reading of an answer, whose usage has the place that it has with choices."""
        return ChoicesReading(question, texts=False)
