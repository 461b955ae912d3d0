"""The dialects that clients may speak: which path speaks which, in one place."""

from proxy.dialects.contract import Dialect
from proxy.dialects.openai_chat import OpenAIChat
from proxy.dialects.openai_completions import OpenAICompletions

DIALECTS: dict[str, Dialect] = {
    dialect.path: dialect for dialect in (OpenAIChat(), OpenAICompletions())
}
