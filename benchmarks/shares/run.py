"""Realised channel shares over many keys, for selector widths 1 and 2.

`python -m benchmarks.shares.run [--quick]` prints the section of docs/results.md.
"""

import hashlib
from dataclasses import replace
from itertools import pairwise

import click
import numpy as np
import torch

from benchmarks.human import human_documents
from benchmarks.quality.conditions import LENGTH, Condition, answers
from benchmarks.quality.run import generator
from proxy.engine.weights import demo_model
from watermark.detect.tokenizer import TextTokenizer
from watermark.greenlist import channels_of, windows_contexts
from watermark.keys import EpochKeys
from watermark.manifest import CHANNELS, SHARE_UNIT, Parameters

_HUMAN_TOKENS = 200_000


def _human() -> torch.Tensor:
    tokenizer, ids = TextTokenizer(demo_model()), []
    for _, text in human_documents():
        ids += tokenizer.encode(text).ids
        if len(ids) >= _HUMAN_TOKENS:
            break
    return torch.tensor(ids[:_HUMAN_TOKENS])


def _model(count: int) -> torch.Tensor:
    return torch.from_numpy(answers(Condition("unmarked"), count, generator).tokens.reshape(-1))


def realised(tokens: torch.Tensor, width: int, key_count: int) -> np.ndarray:
    """Shares [keys, 3] of the positions of `tokens` [n] that each channel gets."""
    parameters = replace(Parameters(), selector_width=width)
    contexts, counts = torch.unique(windows_contexts(tokens)[:, -width:], dim=0, return_counts=True)
    padded = torch.cat([torch.zeros(len(contexts), 4 - width, dtype=torch.int64), contexts], 1)
    shares = []
    for index in range(key_count):
        master = hashlib.sha256(f"azeotrope benchmark shares {index}".encode()).digest()
        keys = EpochKeys.derive(1, "", master)
        chosen = channels_of(keys, parameters, padded)
        weights = torch.bincount(chosen, weights=counts.double(), minlength=4)[:3]
        shares.append((weights / counts.sum()).numpy())
    return np.array(shares)


@click.command()
@click.option("--quick", is_flag=True, help="20 keys, 16 answers.")
def main(*, quick: bool) -> None:
    """Print the table."""
    key_count, count = (20, 16) if quick else (200, 128)
    bounds = (0, *Parameters().bounds())
    intended = [(b - a) / SHARE_UNIT for a, b in pairwise(bounds)]
    texts = {
        f"{_HUMAN_TOKENS:,} tokens of human text": _human(),
        f"{count * LENGTH:,} tokens of the model": _model(count),
    }
    print(f"Over {key_count} keys: mean ± standard deviation (smallest to largest).\n")
    print("| text | selector width | " + " | ".join(CHANNELS) + " |")
    print("|---|---|---|---|---|")
    print("| intended | | " + " | ".join(f"{share:.3f}" for share in intended) + " |")
    for name, tokens in texts.items():
        for width in (1, 2):
            shares = realised(tokens, width, key_count)
            cells = [
                f"{part.mean():.3f} ± {part.std():.3f} ({part.min():.3f} to {part.max():.3f})"
                for part in shares.T
            ]
            print(f"| {name} | {width} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
