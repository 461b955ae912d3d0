"""Key-value cache with one slot per running sequence, allocated once.

transformers' DynamicCache concatenates the whole cache at every step and wants left-padded rows of
one length. Here row i of the batch is slot i, position p of a sequence lies at index p of its slot,
and a step writes one position per row in place. So joining, leaving and rows of unequal length cost
nothing but a mask, which hides what lies beyond a row's own length.

Layout: keys and values are `[slots, key-value heads, capacity, head size]` per layer.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from transformers import Cache, PreTrainedConfig

# Prompt tokens read between two decode steps: about the time of three steps of a full batch, so
# that running answers go on while a long prompt is read. Fixed, so that a prompt is always cut at
# the same places whatever else runs.
PIECE = 256


class SlotCache(Cache):
    """The cache that is handed to the model as `past_key_values`.

    Before each forward pass say which part it writes: `begin_decode` or `begin_prefill`; both
    return the attention mask and the position ids for that pass. `slots` is the number of rows,
    `capacity` the most positions that a row can hold.
    """

    def __init__(
        self, config: PreTrainedConfig, slots: int, capacity: int, dtype: torch.dtype
    ) -> None:
        super().__init__(layers=[])
        text = config.get_text_config(decoder=True)
        heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
        size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        shape = (slots, heads, capacity, size)
        self.capacity = capacity
        self.keys = [_lazy_zeros(shape, dtype) for _ in range(text.num_hidden_layers)]
        self.values = [_lazy_zeros(shape, dtype) for _ in range(text.num_hidden_layers)]
        self._rows: Any = slice(0, 0)
        self._written: Any = (slice(0, 0), slice(None), slice(0, 0))
        self._visible = 0

    def begin_decode(self, lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Prepare one new position for each of the rows 0..B-1 that hold `lengths` positions.

        Returns the mask bool `[B, 1, 1, longest + 1]` and the position ids int64 `[B, 1]`.
        """
        positions = torch.tensor(lengths)  # [B]
        self._visible = max(lengths) + 1
        self._rows = slice(0, len(lengths))
        # An index pair (rows, positions) with the heads between them: result [B, heads, size].
        self._written = (torch.arange(len(lengths)), slice(None), positions)
        mask = torch.arange(self._visible)[None, :] <= positions[:, None]  # [B, longest + 1]
        return mask[:, None, None, :], positions[:, None]

    def begin_prefill(self, slot: int, start: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Prepare positions start..start+count-1 of one slot, whose earlier positions are filled.

        Returns the mask bool `[1, 1, count, start + count]` and the position ids `[1, count]`.
        """
        self._visible = start + count
        self._rows = slice(slot, slot + 1)
        self._written = (self._rows, slice(None), slice(start, self._visible))
        positions = torch.arange(start, self._visible)
        mask = torch.arange(self._visible)[None, :] <= positions[:, None]  # [count, start + count]
        return mask[None, None], positions[None]

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write new positions `[B, heads, new, size]`; return all visible ones of these rows."""
        seen = []
        for store, new in ((self.keys, key_states), (self.values, value_states)):
            layer = store[layer_idx]
            decoding = isinstance(self._written[2], torch.Tensor)
            layer[self._written] = new[:, :, 0] if decoding else new
            seen.append(layer[self._rows, :, : self._visible])
        return seen[0], seen[1]

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` positions of one slot to another."""
        for layer in (*self.keys, *self.values):
            layer[target, :, :length] = layer[source, :, :length]


def _lazy_zeros(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Zeros whose memory is only taken when it is written to.

    torch.zeros writes every page; numpy asks the system for pages that are zero already. Never
    torch.empty: a masked position has weight 0, but 0 x NaN left there by chance is NaN.
    """
    flat = np.zeros(math.prod(shape) * dtype.itemsize, dtype=np.uint8)
    return torch.from_numpy(flat).view(dtype).view(shape)
