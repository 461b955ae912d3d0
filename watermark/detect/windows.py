"""The distinct windows of a text, by channel, and their hits under any key.

All tensors are int64 on one device; the integers are the same on every device.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from watermark.greenlist import (
    NO_CHANNEL,
    channels_of,
    context_seeds,
    green_bits,
    mix64,
    windows_contexts,
)
from watermark.keys import EpochKeys
from watermark.manifest import CHANNELS, Channel, Parameters

# Key-window pairs that a search holds at once: 2^21 int64 words are 16 MiB an operand.
_SEARCH_BATCH = 1 << 21


@dataclass(frozen=True, slots=True)
class Windows:
    """Distinct windows of one channel in one text.

    `positions` [n] index the tokens of the text (first occurrence of each window, ascending),
    `seeds` [n] are the context seeds without an account or call key, `tokens` [n] the ids.
    """

    positions: torch.Tensor
    seeds: torch.Tensor
    tokens: torch.Tensor
    gamma_bits: int

    def __len__(self) -> int:
        return len(self.positions)

    def green(self, key: int = 0) -> torch.Tensor:
        """Coins [n] (0 or 1) under a signed 64-bit channel key (0: the site's)."""
        return green_bits(self.seeds ^ key, self.tokens, self.gamma_bits)

    def hits(self, key: int = 0) -> int:
        """Count green windows under one key."""
        return int(self.green(key).sum())

    def hits_of(self, keys: torch.Tensor) -> torch.Tensor:
        """Hits [k] under each of the keys [k]: the exhaustive search."""
        if len(self) == 0:
            return torch.zeros_like(keys)
        batch = max(1, _SEARCH_BATCH // len(self))
        counts = [
            green_bits(self.seeds ^ part[:, None], self.tokens, self.gamma_bits).sum(1)
            for part in torch.split(keys, batch)
        ]
        return torch.cat(counts)


def distinct_windows(
    tokens: Sequence[int] | torch.Tensor,
    keys: EpochKeys,
    parameters: Parameters,
    device: torch.device | str = "cpu",
) -> dict[Channel, Windows]:
    """Distinct windows of a text's tokens [n] in each channel whose key is at hand.

    A window is the channel's context with the token after it. Positions without the full
    context of their channel are no windows: text that went before is unknown here.
    """
    ids = torch.as_tensor(tokens, dtype=torch.int64).to(device)
    contexts = windows_contexts(ids)  # [n, 4]
    places = torch.arange(len(ids), device=ids.device)
    selected = channels_of(keys, parameters, contexts)
    selected = torch.where(places >= parameters.selector_width, selected, NO_CHANNEL)
    found: dict[Channel, Windows] = {}
    for index, channel in enumerate(CHANNELS):
        if not getattr(keys, channel):
            continue
        enough = places >= parameters.width(channel)
        chosen = torch.nonzero((selected == index) & enough).squeeze(1)
        seeds = context_seeds(keys, parameters, channel, contexts[chosen])
        first = _first_occurrences(seeds, ids[chosen])
        found[channel] = Windows(
            chosen[first], seeds[first], ids[chosen][first], parameters.gamma_bits
        )
    return found


def _first_occurrences(seeds: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Indexes of the first occurrence of each (seed, token) pair, ascending.

    Pairs are compared by a 64-bit digest: two distinct windows of a text of a million
    tokens share one with probability 3e-8, and would then count once.
    """
    _, group = torch.unique(mix64(seeds ^ mix64(tokens + 1)), return_inverse=True)
    count = int(group.max()) + 1 if len(group) else 0
    order = torch.arange(len(group), device=group.device)
    first = torch.full((count,), len(group), device=group.device)
    first.scatter_reduce_(0, group, order, reduce="amin")
    return first.sort().values
