"""transformers' WatermarkDetector (KGW, left hash) on the same pieces, computed fast.

The library shuffles the vocabulary anew for every token. Here each list is made once, by the
same calls in the same order; the first pieces are judged by the real detector as well.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import track
from scipy.stats import norm

from proxy.engine.weights import demo_model
from watermark.detect.calibrate import LEVELS
from watermark.detect.counts import Batch

_GAMMA = 0.25
_HASHING_KEY = 15485863
_CHECKED = 5


class GreenLists:
    """The green list after each token, one bit a token id."""

    def __init__(self, tokens: npt.NDArray[np.uint32], vocabulary: int) -> None:
        self._row = {int(token): row for row, token in enumerate(np.unique(tokens))}
        self._lists = np.zeros((len(self._row), -(-vocabulary // 8)), np.uint8)
        generator = torch.Generator()
        for token, row in track(self._row.items(), "green lists", console=Console(stderr=True)):
            generator.manual_seed(_HASHING_KEY * token)
            order = torch.randperm(vocabulary, generator=generator).numpy()
            green = np.zeros(vocabulary, np.bool_)
            green[order[: int(vocabulary * _GAMMA)]] = True
            self._lists[row] = np.packbits(green)

    def green(self, ids: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]:
        """Coins [n - 1] of the tokens [n] of a text, but for the first."""
        rows = np.array([self._row[int(token)] for token in ids[:-1]])
        bytes_ = self._lists[rows, ids[1:] >> 3]
        return (bytes_ >> (7 - (ids[1:] & 7))) & 1


def z_scores(batch: Batch, lists: GreenLists) -> npt.NDArray[np.float64]:
    """Standard scores [pieces] of the library's default: every token counts, repeated or not."""
    hits = np.array([int(lists.green(batch.document(i)).sum()) for i in range(len(batch))])
    scored = np.diff(batch.offsets) - 1
    return np.asarray((hits - _GAMMA * scored) / np.sqrt(scored * _GAMMA * (1 - _GAMMA)))


def vocabulary_size() -> int:
    """Vocabulary of the demo model."""
    return int(_config().vocab_size)


def disagreements(batch: Batch, scores: npt.NDArray[np.float64]) -> int:
    """Of the first pieces, those whose z the real detector gives otherwise."""
    from transformers import WatermarkDetector, WatermarkingConfig

    config = WatermarkingConfig(
        greenlist_ratio=_GAMMA, hashing_key=_HASHING_KEY, seeding_scheme="lefthash", context_width=1
    )
    detector = WatermarkDetector(_config(), "cpu", config, ignore_repeated_ngrams=False)
    differing = 0
    for i in range(_CHECKED):
        ids = torch.as_tensor(batch.document(i).astype(np.int64))[None]
        real = float(detector(ids, return_dict=True).z_score[0])
        differing += abs(real - scores[i]) > 1e-5
    return differing


def _config() -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(demo_model())


def print_peer(samples: dict[str, Batch]) -> None:
    """Print how often the z-test rejects, beside its nominal level."""
    lists = GreenLists(np.concatenate([batch.ids for batch in samples.values()]), vocabulary_size())
    wrong = 0
    print("| domain | pieces | " + " | ".join(f"{level:g}" for level in LEVELS) + " |")
    print("|---|---|" + "---|" * len(LEVELS))
    for domain, batch in samples.items():
        scores = z_scores(batch, lists)
        wrong += disagreements(batch, scores)
        shares = [float((scores > norm.isf(level)).mean()) for level in LEVELS]
        cells = [
            f"{share:.2e} ({share / level:.3g} times)"
            for share, level in zip(shares, LEVELS, strict=True)
        ]
        print(f"| {domain} | {len(batch):,} | " + " | ".join(cells) + " |")
    print(
        f"\nThe real detector judged {_CHECKED * len(samples)} of these pieces as well; its z "
        f"differs in {wrong}."
    )
