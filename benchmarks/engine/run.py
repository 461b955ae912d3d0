"""Decode speed of the built-in engine, and its linear layers beside torch's own.

`python -m benchmarks.engine.run [--quick]` prints the section of docs/results.md.
"""

import os

# Read when torch is first loaded; as `azeotrope engine` does it.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import click
import torch
from torch import nn

from benchmarks.timing import median_ms
from proxy.engine.batching import Batcher
from proxy.engine.linear import PackedLinear
from proxy.engine.metrics import EngineMetrics
from proxy.engine.model import LanguageModel
from proxy.engine.sampling import Sampling
from proxy.engine.tasks import GenerationTask
from proxy.engine.weights import demo_model

_ROWS = (1, 8, 32)
_SHAPES = ((576, 576), (576, 192), (576, 1536), (1536, 576), (576, 49152))


def _decode(model: LanguageModel, rows: int, seconds: float) -> float:
    """Tokens per second of `rows` running sequences, prompts already read."""
    batcher = Batcher(model, None, EngineMetrics(), rows, rows)
    prompt = model.encode_chat([{"role": "user", "content": "Tell me about the sea."}])
    sampling = Sampling(max_tokens=1500, ignore_end=True)
    batcher.submit([GenerationTask(list(prompt), sampling, lambda _: None) for _ in range(rows)])
    while batcher.running < rows:
        batcher.step()
    return rows * 1000 / median_ms(batcher.step, seconds, lambda: None)


def _linears(rows: int, seconds: float) -> tuple[float, float]:
    """Milliseconds of one layer of each shape of the model, torch's own and packed."""
    plain = [nn.Linear(*shape, bias=False) for shape in _SHAPES]
    packed = [PackedLinear(layer) for layer in plain]
    inputs = [torch.randn(rows, 1, shape[0]) for shape in _SHAPES]

    def run(layers: list[nn.Linear] | list[PackedLinear]) -> None:
        for layer, x in zip(layers, inputs, strict=True):
            layer(x)

    with torch.inference_mode():
        return (
            median_ms(lambda: run(plain), seconds, lambda: None),
            median_ms(lambda: run(packed), seconds, lambda: None),
        )


@click.command()
@click.option("--quick", is_flag=True, help="A tenth of the time; noisier.")
def main(*, quick: bool) -> None:
    """Print the tables."""
    seconds = 0.5 if quick else 5.0
    names = " | ".join(f"{rows} at once" for rows in _ROWS)
    print("SmolLM2-135M-Instruct, tokens per second while decoding (median step).\n")
    print(f"| dtype | {names} |\n|---|---|---|---|")
    for dtype in ("float32", "bfloat16"):
        model = LanguageModel.load(demo_model(), dtype, 2048)
        speeds = [f"{_decode(model, rows, seconds):.0f}" for rows in _ROWS]
        print(f"| {dtype} | " + " | ".join(speeds) + " |", flush=True)
    print("\nOne linear layer of each shape of the model in float32, milliseconds together.\n")
    print("| layers | " + " | ".join(f"{rows} rows" for rows in _ROWS) + " |\n|---|---|---|---|")
    times = [_linears(rows, seconds / 5) for rows in _ROWS]
    for name, column in (("torch's own", 0), ("packed by oneDNN", 1)):
        print(f"| {name} | " + " | ".join(f"{pair[column]:.2f}" for pair in times) + " |")


if __name__ == "__main__":
    main()
