"""OpenAI's chat completions."""

from __future__ import annotations

from proxy.dialects.choices import ChoicesDialect


class OpenAIChat(ChoicesDialect):
    """POST /v1/chat/completions."""

    name = "openai_chat"
    path = "/v1/chat/completions"
