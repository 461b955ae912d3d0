"""Attackers' tools that run outside this process; install.sh fetches them."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks.attacks.kept import kept
from benchmarks.attacks.wordnet import WordNet
from benchmarks.cache import cache

_PIVOT = ("eng-spa", "spa-eng")


def directory() -> Path:
    return cache("attacks") / "tools"


def installed() -> bool:
    """Whether install.sh has run here."""
    return (directory() / "venv" / "bin" / "dewatermark").exists()


def wordnet() -> WordNet:
    return WordNet(directory() / "wordnet")


def back_translated(texts: Sequence[str]) -> list[str]:
    """Return texts translated into Spanish and back by apertium, from the cache or now."""
    return kept("back-translated", texts, lambda: [_there_and_back(text) for text in texts])


def _there_and_back(text: str) -> str:
    for mode in _PIVOT:
        # -u: unknown words without the asterisk that nobody would leave in.
        done = subprocess.run(
            ["apertium", "-u", mode], input=text, capture_output=True, text=True, check=True
        )
        text = done.stdout
    return text


def cleaned(tool: str, texts: Sequence[str]) -> list[str]:
    """Return texts as the published remover leaves them: "dewatermark" or "antiwatermark"."""
    return [str(text) for text in _in_tools(tool, texts)]


def other_ids(texts: Sequence[str]) -> list[list[int]]:
    """Token ids of OpenAI's o200k_base vocabulary, which the marks were not made with."""
    return [list(map(int, ids)) for ids in _in_tools("o200k", texts)]


def _in_tools(tool: str, texts: Sequence[str]) -> list[list[int] | str]:
    python = directory() / "venv" / "bin" / "python"
    script = Path(__file__).with_name("in_tools.py")
    done = subprocess.run(
        [python, script, tool],
        input=json.dumps(list(texts)),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    made: list[list[int] | str] = json.loads(done.stdout)
    return made
