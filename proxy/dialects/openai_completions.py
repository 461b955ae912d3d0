"""OpenAI's completions, the older API: a prompt is continued."""

from __future__ import annotations

from proxy.dialects.choices import ChoicesDialect


class OpenAICompletions(ChoicesDialect):
    """POST /v1/completions."""

    name = "openai_completions"
    path = "/v1/completions"
