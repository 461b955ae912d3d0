"""Attention of one decode step without copies of the cache, for large batches on the CPU.

transformers repeats keys and values for every query head, over the whole static cache; for 64
rows of 1,000 tokens that copy takes several times as long as all the rest of the step.
"""

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

NAME = "grouped"


def register() -> None:
    """Make the implementation known to transformers under `NAME`."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attend with query [B, H, T, D], key and value [B, G, S, D], mask [B, 1, T, S]."""
    rows, heads, steps, width = query.shape
    if steps != 1 or attention_mask is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        attended: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
        return attended
    # The heads of a group are rows of queries to the same keys; rows end at the same place.
    filled = int(attention_mask[0, 0, 0].nonzero()[-1]) + 1
    groups = key.shape[1]
    output = scaled_dot_product_attention(
        query.view(rows, groups, heads // groups, width),
        key[:, :, :filled],
        value[:, :, :filled],
        attn_mask=attention_mask[..., :filled],
        scale=scaling,
    )
    return output.reshape(rows, 1, heads, width), None
