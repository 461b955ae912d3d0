"""From logits to the next token of each row, and to the log-probabilities that a client may see.

One uniform number of the row's own generator decides a row, by inversion of the distribution
function: so a row's answer depends on its seed and its logits and on nothing else in the batch,
and a step costs a softmax and a running sum instead of a random number per vocabulary entry.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch

_GREEDY_BELOW = 1e-5  # temperatures below are greedy, as in vLLM
_NUCLEUS_GUESS = 256  # most nuclei are smaller; a larger one costs a full sort


@dataclass(frozen=True)
class Sampling:
    """How one sequence is sampled; `top_k` 0 means no limit, `logprobs` None means none asked."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    ignore_end: bool = False

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is taken."""
        return self.temperature < _GREEDY_BELOW


@dataclass(frozen=True)
class TokenLogprob:
    """Log-probability of a sampled token, and the most likely (token, log-probability) pairs."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


def generator(seed: int | None, choice: int) -> torch.Generator:
    """Make the random generator of choice number `choice` of a request.

    torch's CPU generator keeps 32 bits of its seed, so seed and choice are hashed into it.
    """
    made = torch.Generator()
    if seed is None:
        made.seed()
        return made
    digest = hashlib.blake2b(f"{seed}:{choice}".encode(), digest_size=4).digest()
    return made.manual_seed(int.from_bytes(digest, "little"))


def sample(
    logits: torch.Tensor, rows: Sequence[Sampling], generators: Sequence[torch.Generator]
) -> list[int]:
    """Draw one token for each row of `logits` float32 `[B, V]`, which is overwritten."""
    tokens: list[int] = logits.argmax(-1).tolist()
    drawn = [index for index, row in enumerate(rows) if not row.greedy]
    if not drawn:
        return tokens
    if len(drawn) < len(rows):
        logits = logits[drawn]
    logits /= torch.tensor([[rows[index].temperature] for index in drawn])
    for position, index in enumerate(drawn):
        row = rows[index]
        if row.top_k or row.top_p < 1:
            logits[position] = _truncate(logits[position], row.top_k, row.top_p)
    cumulative = torch.cumsum(logits.softmax(-1), -1, dtype=torch.float64)  # [drawn, V]
    uniform = [torch.rand((), generator=generators[i], dtype=torch.float64) for i in drawn]
    threshold = torch.stack(uniform)[:, None] * cumulative[:, -1:]
    # right: the first entry strictly above, so a token of probability 0 is never drawn
    found = torch.searchsorted(cumulative, threshold, right=True)[:, 0]
    for index, token in zip(drawn, found.clamp(max=logits.shape[-1] - 1).tolist(), strict=True):
        tokens[index] = token
    return tokens


def _truncate(logits: torch.Tensor, top_k: int, top_p: float) -> torch.Tensor:
    """Keep the `top_k` best of `[V]`, then the fewest that hold `top_p` of what is left; else -inf.

    Holtzman et al. 2020 (arXiv:1904.09751), in the order of transformers and vLLM.
    """
    size = logits.shape[-1]
    count = min(top_k or _NUCLEUS_GUESS, size)
    values, ids = logits.topk(count)  # descending
    if top_p < 1:
        rest = values if top_k else logits
        mass = (values - rest.logsumexp(-1)).exp().cumsum(-1, dtype=torch.float64)
        if not top_k and mass[-1] < top_p and count < size:
            return _truncate(logits, size, top_p)
        keep = int((mass < top_p).sum()) + 1
        values, ids = values[:keep], ids[:keep]
    return torch.full_like(logits, -torch.inf).scatter_(0, ids, values)


def logprobs(
    raw: torch.Tensor, tokens: Sequence[int], rows: Sequence[Sampling]
) -> list[TokenLogprob]:
    """Log-probabilities under the logits `raw` `[B, V]`, of rows that all asked for some."""
    table = raw.float().log_softmax(-1)
    found = []
    for line, token, row in zip(table, tokens, rows, strict=True):
        values, ids = line.topk(min(row.logprobs or 0, line.shape[-1]))
        top = tuple(zip(ids.tolist(), values.tolist(), strict=True))
        found.append(TokenLogprob(token, float(line[token]), top))
    return found
