"""Anthropic's counting of a prompt's tokens: nothing is generated, so nothing is marked."""

from __future__ import annotations

from proxy.dialects import request
from proxy.dialects.anthropic import ANTHROPIC
from proxy.dialects.anthropic_messages import MessagesReading
from proxy.dialects.contract import Question


class AnthropicCountTokens:
    """POST /v1/messages/count_tokens."""

    name = "anthropic_count_tokens"
    path = "/v1/messages/count_tokens"
    speaker = ANTHROPIC
    marked = False
    forwarded = ("anthropic-version", "anthropic-beta")

    def parse(self, body: bytes) -> Question:
        """Read a request's body; raises CallError (BAD_BODY, BAD_FIELD)."""
        fields, dropped = request.read(body)
        return Question(fields, request.model(fields), dropped)

    def apply(self, question: Question, *, model: str, ticket: str | None) -> bytes:
        """Return the body for the engine; members keep their order and their bytes."""
        return request.addressed(question, model, ticket)

    def reading(self, question: Question, *, texts: bool) -> MessagesReading:
        """Return the reading of an answer: it has no usage, since no token was spent."""
        return MessagesReading(texts=False)
