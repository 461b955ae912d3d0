"""The dialects that clients may speak: which path speaks which, in one place."""

from proxy.dialects.contract import Dialect
from proxy.dialects.openai import OpenAI

OPENAI_CHAT = OpenAI("openai_chat", "/v1/chat/completions")
OPENAI_COMPLETIONS = OpenAI("openai_completions", "/v1/completions")

DIALECTS: dict[str, Dialect] = {
    dialect.path: dialect for dialect in (OPENAI_CHAT, OPENAI_COMPLETIONS)
}
