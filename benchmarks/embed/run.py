"""Time of one decode step's mark, beside a copy of the logits and transformers' green list.

`python -m benchmarks.embed.run [--quick]` prints the table of docs/results.md.
"""

import random

import click
import torch

from benchmarks.keys import bench_keys
from benchmarks.quality.conditions import kgw
from benchmarks.timing import median_ms
from watermark.embed.bias import add_green_bias
from watermark.embed.marker import Marker
from watermark.manifest import Parameters
from watermark.ticket import Ticket

_CPU_SHAPES = ((1, 49152), (32, 49152), (32, 151936))
_GPU_SHAPES = ((256, 151936),)


def _finish(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _row(rows: int, vocabulary: int, device: str, dtype: torch.dtype, seconds: float) -> str:
    draw = random.Random(1)
    keys, manifest = bench_keys("embed", Parameters())
    marker = Marker(keys, manifest)
    marks = [marker.row(Ticket(1, row, row, 2000, 0, 1 << 40)) for row in range(rows)]
    outputs = [[draw.randrange(vocabulary) for _ in range(200)] for _ in range(rows)]
    logits = torch.randn(rows, vocabulary, device=device).to(dtype)
    copy, seeds = logits.clone(), torch.arange(rows, device=device)
    deltas = torch.full((rows,), 2.0, device=device)
    ids = torch.tensor(outputs, device=device)
    peer = kgw(2.0, vocabulary, device)

    def measure(operation: object) -> float:
        assert callable(operation)
        return median_ms(operation, seconds, lambda: _finish(device))

    whole = measure(lambda: marker.apply(logits, marks, outputs))
    bias = measure(lambda: add_green_bias(logits, seeds, deltas, 2))
    floor = measure(lambda: copy.copy_(logits))
    other = measure(lambda: peer(ids, logits))
    name = str(dtype).removeprefix("torch.")
    return (
        f"| {device} | [{rows}, {vocabulary}] {name} | {whole:.3f} | {bias:.3f} | {floor:.3f} "
        f"| {other:.1f} | {other / whole:.0f} |"
    )


@click.command()
@click.option("--quick", is_flag=True, help="A tenth of the time; noisier.")
def main(*, quick: bool) -> None:
    """Print the table."""
    seconds = 0.3 if quick else 3.0
    print(
        "Milliseconds a step, median. “Whole step” is `Marker.apply`: contexts, seeds, repeat cap "
        "and bias; “bias” the batch operation on the logits alone.\n"
    )
    print("| device | logits | whole step | bias | copy of the logits | transformers | ratio |")
    print("|---|---|---|---|---|---|---|")
    for shape in _CPU_SHAPES:
        print(_row(*shape, "cpu", torch.float32, seconds), flush=True)
    if torch.cuda.is_available():
        for shape in _GPU_SHAPES:
            for dtype in (torch.float32, torch.bfloat16):
                print(_row(*shape, "cuda", dtype, seconds), flush=True)
    else:
        print("\nNo GPU here: the figure at [256, 151936] on a GPU is not measured.")


if __name__ == "__main__":
    main()
