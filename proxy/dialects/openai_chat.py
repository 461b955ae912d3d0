"""OpenAI's chat completions."""

from __future__ import annotations

from proxy.dialects import request
from proxy.dialects.choices import ChoicesReading, ask_for_usage
from proxy.dialects.contract import Question
from proxy.dialects.openai import OPENAI


class OpenAIChat:
    """POST /v1/chat/completions."""

    name = "openai_chat"
    path = "/v1/chat/completions"
    speaker = OPENAI
    marked = True
    forwarded = ()

    def parse(self, body: bytes) -> Question:
        """Read a request's body; raises CallError (BAD_BODY, BAD_FIELD)."""
        fields, dropped = request.read(body)
        model, streams = request.model(fields), request.flag(fields, "stream")
        most = request.most_tokens(fields)
        added_usage = streams and ask_for_usage(fields)
        return Question(fields, model, dropped, added_usage, streams, most)

    def apply(self, question: Question, *, model: str, ticket: str | None) -> bytes:
        """Return the body for the engine; members keep their order and their bytes."""
        return request.addressed(question, model, ticket)

    def reading(self, question: Question, *, texts: bool) -> ChoicesReading:
        """Return the reading of an answer."""
        return ChoicesReading(question, texts=texts)
