"""Whose answer was it? Accounts found among 24,000 in attacked texts, whole and by stretch."""

import hashlib
from collections.abc import Sequence

import numpy as np

from benchmarks.attacks.edits import dilute, edit_words
from benchmarks.attacks.generated import ROWS
from benchmarks.attacks.rows import Marked, splices
from benchmarks.attacks.texts import decoded, human_tokens
from benchmarks.keys import bench_keys
from benchmarks.quality.conditions import ACCOUNTS, account_of
from benchmarks.statistics import percent
from watermark.detect.candidates import Candidates
from watermark.detect.trace import Tracer
from watermark.manifest import Parameters


def print_tracing(marked: Marked) -> None:
    """Print the table."""
    count, length = marked.tokens.shape
    human = decoded(human_tokens(count * length).reshape(count, length))
    writers = [{account_of(row)} for row in ROWS[:count]]
    print(
        f"\nAccounts searched among {ACCOUNTS:,} by exhaustive search, named at family-wise 1e-3, "
        "for the whole text or a stretch of it.\n"
    )
    print("| attack | all writers named | some writer named | texts with a wrong name |")
    print("|---|---|---|---|")
    _print_row("none", marked, marked.texts, writers)
    edited = [edit_words(t, _random(place), 0.1) for place, t in enumerate(marked.texts)]
    _print_row("random word edits, 10%", marked, edited, writers)
    diluted = [dilute(*pair) for pair in zip(marked.texts, human, strict=True)]
    _print_row(f"{length:,} tokens in {length:,} of human text", marked, diluted, writers)
    both = [writers[i] | writers[(i + 1) % count] for i in range(count)]
    _print_row("halves of two accounts' answers", marked, splices(marked), both)


def _random(place: int) -> np.random.Generator:
    digest = hashlib.sha256(f"tracing\0{place}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


def _print_row(name: str, marked: Marked, texts: Sequence[str], writers: list[set[int]]) -> None:
    tracer = Tracer(*bench_keys("quality", Parameters()))
    candidates = Candidates()
    candidates.add_range(f"1-{ACCOUNTS}")
    every = some = wrong = 0
    for text, expected in zip(texts, writers, strict=True):
        found = tracer.trace(marked.judge.ids(text), candidates, range(0))
        named = {piece.account for piece in found.pieces}
        if found.account is not None and found.account.named:
            named.add(found.account.winner.number)
        every += expected <= named
        some += bool(expected & named)
        wrong += bool(named - expected)
    total = len(texts)
    print(f"| {name} | {percent(every, total)} | {percent(some, total)} | {wrong} of {total} |")
