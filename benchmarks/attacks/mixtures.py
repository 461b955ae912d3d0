"""A marked passage inside human text, at several lengths and shares."""

import numpy as np

from benchmarks.attacks.edits import dilute
from benchmarks.attacks.rows import Marked
from benchmarks.attacks.texts import decoded, human_tokens
from benchmarks.statistics import interval, percent

_PASSAGES = (100, 200, 300, 500, 1000)
_SHARES = (0.05, 0.1, 0.25, 0.5, 0.9)
_LEVEL = -3.0


def print_mixtures(marked: Marked) -> None:
    """Print the table: share found by the whole text alone, and by the detector."""
    print(
        "\nA marked passage in the middle of human text; share of texts found at 1e-3 by the "
        "test of the whole text alone / by the detector, which looks for spans too.\n"
    )
    print(f"| passage | {' | '.join(f'{share:.0%} marked' for share in _SHARES)} |")
    print("|---" * (len(_SHARES) + 1) + "|")
    for passage in _PASSAGES:
        if passage <= marked.tokens.shape[1]:
            cells = [_cell(marked, passage, share) for share in _SHARES]
            print(f"| {passage:,} tokens | {' | '.join(cells)} |", flush=True)


def _cell(marked: Marked, passage: int, share: float) -> str:
    count = len(marked.texts)
    human = round(passage * (1 - share) / share)
    longest = round(max(_PASSAGES) * (1 - min(_SHARES)) / min(_SHARES))
    pool = human_tokens(count * longest).reshape(count, longest)[:, :human]
    passages = decoded(marked.tokens[:, :passage])
    looks = [
        marked.judge.look(dilute(text, other))
        for text, other in zip(passages, decoded(pool), strict=True)
    ]
    ps = np.array([(look.site.log10_p, look.log10_p) for look in looks])
    whole, both = (ps <= _LEVEL).sum(0).tolist()
    return f"{percent(whole, count)} / {percent(both, count)} {interval(both, count)}"
