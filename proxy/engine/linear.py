"""Linear layers with oneDNN's packed weights: faster than MKL's, and the same for any batch.

`python -m benchmarks.engine.run` times both. A row's result is bit for bit the same with
any number of other rows from 1 up (MKL's is not), which is why one row is run as two: with
`attention.py`, a seeded answer does not depend on what else is in the batch.
"""

from __future__ import annotations

import torch
from torch import nn

_ROWS = 8  # rows that oneDNN lays the weights out for


class PackedLinear(nn.Module):
    """Stands in for an nn.Linear at inference; `x` is `[..., in]`, the result `[..., out]`."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS)
        self._bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layer."""
        single = x.numel() == x.shape[-1]
        rows = x.expand(2, *x.shape[1:]) if single else x
        result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            rows, self._weight, self._bias, "none", [], ""
        )
        return result[:1] if single else result


def pack_linears(network: nn.Module) -> None:
    """Replace every linear layer of a network for the CPU, where torch is built with oneDNN."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return  # other builds of torch: slower, and rounding then depends on the batch
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear:
                setattr(module, name, PackedLinear(child))
