"""The dialects that clients may speak: which path speaks which, in one place."""

from collections.abc import Mapping

from proxy.dialects.anthropic import ANTHROPIC
from proxy.dialects.anthropic_count_tokens import AnthropicCountTokens
from proxy.dialects.anthropic_messages import AnthropicMessages
from proxy.dialects.contract import Dialect, Speaker
from proxy.dialects.openai import OPENAI
from proxy.dialects.openai_chat import OpenAIChat
from proxy.dialects.openai_completions import OpenAICompletions
from proxy.dialects.openai_embeddings import OpenAIEmbeddings
from proxy.dialects.openai_responses import OpenAIResponses

DIALECTS: dict[str, Dialect] = {
    dialect.path: dialect
    for dialect in (
        OpenAIChat(),
        OpenAICompletions(),
        OpenAIResponses(),
        OpenAIEmbeddings(),
        AnthropicMessages(),
        AnthropicCountTokens(),
    )
}


def speaker_of(headers: Mapping[str, str]) -> Speaker:
    """Return the family of a request whose path does not tell it."""
    if "anthropic-version" in headers:
        return ANTHROPIC
    return ANTHROPIC if "x-api-key" in headers and "Authorization" not in headers else OPENAI
