"""Run by vLLM's Python: prints the members of its requests as JSON, by the gateway's paths."""

import json
import sys
from typing import get_args

from vllm.entrypoints.anthropic.protocol import (
    AnthropicCountTokensRequest,
    AnthropicMessagesRequest,
)
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
from vllm.entrypoints.pooling.embed.protocol import EmbeddingRequest

MODELS = {
    "/v1/chat/completions": [ChatCompletionRequest],
    "/v1/completions": [CompletionRequest],
    "/v1/responses": [ResponsesRequest],
    "/v1/embeddings": list(get_args(get_args(EmbeddingRequest)[0])),
    "/v1/messages": [AnthropicMessagesRequest],
    "/v1/messages/count_tokens": [AnthropicCountTokensRequest],
}


def names(models: list[type]) -> list[str]:
    found = set()
    for model in models:
        for name, field in model.model_fields.items():
            found |= {name, field.alias or name}
            # An alias under which a member may come as well; a path into others has no name.
            other = field.validation_alias
            found |= set(getattr(other, "choices", [other] if isinstance(other, str) else []))
    return sorted(str(name) for name in found)


json.dump({path: names(models) for path, models in MODELS.items()}, sys.stdout)
