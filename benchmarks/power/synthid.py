"""SynthID-Text of transformers: its processor over a head of the vocabulary, and its score.

The processor and the hash are transformers' own. Two things are added, both in its favour: an
exact null distribution of the score, and the head where its own code takes the top 100.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

# The 30 example keys that its authors publish; n-grams of 5 tokens and the table as by default.
_KEYS = (
    *(654, 400, 836, 123, 340, 443, 597, 160, 57, 29, 590, 639, 13, 715, 468),
    *(990, 966, 226, 324, 585, 118, 504, 421, 521, 129, 669, 732, 225, 90, 960),
)
_NGRAM = 5
_DEPTH = len(_KEYS)
# Tokens of the tournament. The rest is sampled unmarked with its own probability, so that the
# distribution over all tokens is kept; over all 49,152 a step of 128 rows would take seconds.
HEAD = 512
# The published weights of the weighted mean fall linearly from 10 to 1. Times (depth - 1) they
# are whole numbers, so that the score of fair coins has an exact distribution.
_WEIGHTS = np.array([10 * (_DEPTH - 1) - 9 * depth for depth in range(_DEPTH)])
_SCORES = 2**21  # more than the greatest score of 400 tokens


def _original() -> Any:
    from transformers.generation.logits_process import SynthIDTextWatermarkLogitsProcessor

    return SynthIDTextWatermarkLogitsProcessor(
        ngram_len=_NGRAM,
        keys=list(_KEYS),
        sampling_table_size=2**16,
        sampling_table_seed=0,
        context_history_size=1024,
        device=torch.device("cpu"),
    )


class SynthId:
    """Tournament sampling of one batch, among the `HEAD` most probable tokens of each row."""

    def __init__(self) -> None:
        self._inner = _original()

    def __call__(self, ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Return logits [B, V] after the tournament; `ids` [B, prompt + answer so far]."""
        inner = self._inner
        if inner.state is None:
            inner._init_state(len(ids))
        else:
            inner.state.context = torch.cat([inner.state.context, ids[:, -1:]], 1)[:, 1:]
        head = logits.topk(HEAD)
        keys, context = inner._compute_keys(inner.state.context, head.indices)
        marked = inner.update_scores(head.values, inner.sample_g_values(keys))
        marked += head.values.logsumexp(1, keepdim=True)
        history = inner.state.context_history
        repeated = (history == context[:, None]).any(1, keepdim=True)
        inner.state.context_history = torch.cat([context[:, None], history], 1)[:, :-1]
        return logits.scatter(1, head.indices, torch.where(repeated, head.values, marked))


def log10_ps(tokens: NDArray[np.int64], lengths: tuple[int, ...]) -> list[float]:
    """log10 p of an answer's weighted mean over distinct contexts, cut to each length."""
    inner = _original()
    g_values = inner.compute_g_values(torch.from_numpy(tokens)[None])[0].numpy()  # [n - 4, depth]
    contexts = np.lib.stride_tricks.sliding_window_view(tokens[:-1], _NGRAM - 1)
    first = np.sort(np.unique(contexts, axis=0, return_index=True)[1])
    scores = np.cumsum(g_values[first] @ _WEIGHTS)
    counts = [int((first < length - _NGRAM + 1).sum()) for length in lengths]
    return [float(_log10_tails(n)[scores[n - 1]]) if n else 0.0 for n in counts]


@lru_cache(maxsize=512)
def _log10_tails(windows: int) -> NDArray[np.float64]:
    """log10 P(score >= s) for every s, if all coins of `windows` windows are fair.

    The score of n windows is the sum of n independent ones: its transform is a power. What the
    transform rounds away limits the tails to about 1e-14.
    """
    masses = np.fft.irfft(_one_window() ** windows, _SCORES)
    tails = np.cumsum(masses[::-1])[::-1]
    return np.log10(np.clip(tails, 1e-14, 1.0))


@lru_cache(maxsize=1)
def _one_window() -> NDArray[np.complex128]:
    """Fourier transform of the distribution of one window's score."""
    angles = -2 * np.pi * np.arange(_SCORES // 2 + 1) / _SCORES
    transform = np.ones(len(angles), np.complex128)
    for weight in _WEIGHTS:
        transform *= (1 + np.exp(1j * angles * weight)) / 2
    return transform
