"""The batch operation of the green-list mark: add delta to every green logit."""

from functools import lru_cache

import torch

from watermark.greenlist import green_words


def add_green_bias(
    logits: torch.Tensor, seeds: torch.Tensor, deltas: torch.Tensor, gamma_bits: int
) -> torch.Tensor:
    """Add `deltas[i]` nats to the green logits of row i, in place, and return `logits`.

    `logits` [B, V] float32, float16 or bfloat16; `seeds` int64 [B]; `deltas` float32 [B]
    (0 leaves a row as it is); all on one device. V may exceed the tokenizer's vocabulary.

    Expanding bits by a table of all bytes is the cheapest way in plain torch: a shift per
    bit would move eight bytes of int64 for each logit (figures: benchmarks/embed).
    """
    rows, vocabulary = logits.shape
    packed = green_words(seeds, vocabulary, gamma_bits)  # [B, n] bytes
    table = _byte_table(logits.dtype, logits.device)
    bits = torch.index_select(table, 0, packed.reshape(-1).to(torch.int32)).view(rows, -1)
    return logits.addcmul_(bits[:, :vocabulary], deltas[:, None].to(logits.dtype))


@lru_cache(maxsize=16)
def _byte_table(dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return the eight bits of each byte, lowest first, as numbers [256, 8]."""
    values = torch.arange(256, device=device)[:, None] >> torch.arange(8, device=device)
    return (values & 1).to(dtype)
