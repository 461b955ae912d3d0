"""Run by the interpreter of the tools' own environment (install.sh): published tools on texts.

Reads a JSON list of texts from standard input; prints the list of what the tool named by the
argument makes of each: text, or the token ids of another model's tokenizer.
"""

import json
import sys
from typing import Any


def _dewatermark(text: str) -> str:
    import dewatermark

    return str(dewatermark.sanitize(text, profile="aggressive"))


def _antiwatermark(text: str) -> str:
    import antiwatermark

    return str(antiwatermark.clean_text(text)[0])


def _o200k(text: str) -> list[int]:
    import bpe_openai

    return list(bpe_openai.get_encoding("o200k_base").encode(text))


if __name__ == "__main__":
    tool: Any = {
        "dewatermark": _dewatermark,
        "antiwatermark": _antiwatermark,
        "o200k": _o200k,
    }[sys.argv[1]]
    json.dump([tool(text) for text in json.load(sys.stdin)], sys.stdout)
