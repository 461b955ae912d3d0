"""The same counts on a GPU, and what share of its memory bandwidth they reach."""

import numpy as np
import torch

from benchmarks.detect.documents import token_documents
from benchmarks.keys import bench_keys
from benchmarks.timing import median_ms
from watermark.detect.counts import EpochScheme
from watermark.detect.counts_torch import TorchScheme
from watermark.manifest import Parameters

_LENGTH, _ACCOUNT, _CALL = 500, 12_345, 12_345 << 40 | 678
_COPIED = 1 << 28  # bytes


def print_gpu(*, quick: bool) -> None:
    """Print the section."""
    print("\n### On a GPU\n")
    if torch.cuda.is_available():
        _measure("cuda", 1_000_000 if quick else 16_000_000, 0.5 if quick else 5.0)
    else:
        print("Not measured: no GPU here.")


def _measure(device: str, tokens: int, seconds: float) -> None:
    parameters = Parameters()
    keys = bench_keys("detect", parameters)[0].current
    batch = token_documents(_LENGTH, tokens)
    there, here = TorchScheme(keys, parameters, device), EpochScheme(keys, parameters)
    found = there.count(batch, account=_ACCOUNT, call=_CALL)
    expected = here.count(batch, account=_ACCOUNT, call=_CALL)
    same = np.array_equal(found.windows, expected.windows) and np.array_equal(
        found.hits, expected.hits
    )
    ms = median_ms(
        lambda: there.count(batch, account=_ACCOUNT, call=_CALL), seconds, torch.cuda.synchronize
    )
    per_second = len(batch.ids) / ms * 1e3
    within, to = _bandwidth(device, "device"), _bandwidth(device, "host")
    print(
        f"{torch.cuda.get_device_name()}: `TorchScheme.count`, {len(batch.ids):,} token ids from "
        f"host memory, counts back: {per_second:.3g} tokens/s. 4 bytes a token are "
        f"{4 * per_second / within:.2%} of the bandwidth of a copy within the device "
        f"({within / 1e9:,.0f} GB/s), {4 * per_second / to:.1%} of one from host memory "
        f"({to / 1e9:,.1f} GB/s). Integers equal those of the CPU: {'yes' if same else 'NO'}."
    )


def _bandwidth(device: str, source: str) -> float:
    """Bytes a second that are read by a large copy to the device, from there or from the host."""
    there = torch.empty(_COPIED, dtype=torch.uint8, device=device)
    data = torch.empty_like(there)
    if source == "host":
        data = torch.empty(_COPIED, dtype=torch.uint8, pin_memory=True)
    return _COPIED / median_ms(lambda: there.copy_(data), 0.5, torch.cuda.synchronize) * 1e3
