"""Speed of tracing: every account, and millions of calls, against one text.

Texts are random tokens: the search does the same work whatever the coins show.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.keys import bench_keys
from benchmarks.timing import median_ms
from watermark.detect.candidates import Candidates
from watermark.detect.counts import Batch, Coins, EpochScheme, number_keys, word_places
from watermark.detect.exhaustive import best_two
from watermark.detect.kernels import search_hits
from watermark.detect.trace import Tracer
from watermark.keys import EpochKeys
from watermark.manifest import Parameters

ACCOUNTS = 24_000
CALLS = 16_000_000
TOKENS = 400
_RATE_KEYS = 1 << 16


@dataclass(frozen=True, slots=True)
class Text:
    """One text of random tokens, its distinct windows, and the keys it is searched with."""

    tokens: list[int]
    coins: Coins
    keys: EpochKeys
    parameters: Parameters


def random_text() -> Text:
    parameters = Parameters()
    keys = bench_keys("trace", parameters)[0].current
    rng = random.Random(1)
    tokens = [rng.randrange(49_152) for _ in range(TOKENS)]
    _, coins = EpochScheme(keys, parameters).coins(Batch.of([tokens]))
    return Text(tokens, coins, keys, parameters)


def derivation_ms(text: Text, seconds: float) -> float:
    """Milliseconds to derive all account keys, on one core."""
    numbers = np.arange(1, ACCOUNTS + 1, dtype=np.uint64)
    return median_ms(lambda: number_keys(text.keys.account_root, numbers), seconds, _done)


def accounts_ms(text: Text, threads: int, device: str, seconds: float) -> float:
    """Milliseconds to try all accounts, keys derived anew."""
    windows, bits = text.coins.of("account"), text.parameters.gamma_bits
    root, numbers = text.keys.account_root, range(1, ACCOUNTS + 1)
    return median_ms(
        lambda: best_two(root, numbers, windows, bits, threads=threads, device=device),
        seconds,
        _done,
    )


def trace_ms(text: Text, threads: int, device: str, seconds: float) -> float:
    """Milliseconds of a whole trace over all accounts: tokens in, names and pieces out."""
    tracer = Tracer(*bench_keys("trace", text.parameters), threads=threads, device=device)
    candidates = Candidates()
    candidates.add_range(f"1-{ACCOUNTS}")
    return median_ms(lambda: tracer.trace(text.tokens, candidates, range(0)), seconds, _done)


def calls_seconds(text: Text, calls: int, threads: int, device: str) -> float:
    """Seconds to try so many calls, keys derived anew."""
    windows, bits = text.coins.of("call"), text.parameters.gamma_bits
    root, numbers = text.keys.call_root, range(1, calls + 1)
    start = time.perf_counter()
    best_two(root, numbers, windows, bits, threads=threads, device=device)
    return time.perf_counter() - start


def rate(text: Text, seconds: float) -> float:
    """Key-windows a second of the search alone, on one core."""
    windows, bits = text.coins.of("account"), text.parameters.gamma_bits
    keys = number_keys(text.keys.account_root, np.arange(_RATE_KEYS, dtype=np.uint64))
    steps, places = word_places(windows.token, bits)
    hits = np.zeros(len(keys), np.uint64)

    def search() -> None:
        search_hits(keys, windows.seed, steps, places, bits == 2, hits)

    return len(keys) * len(windows) / median_ms(search, seconds, _done) * 1e3


def _done() -> None:
    """Results are in host memory: there is nothing to wait for."""


def print_trace(*, quick: bool) -> None:
    """Print the section; `quick` tries a sixteenth of the calls."""
    print("\n### Tracing")
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        _print_device(device, quick=quick)


def _print_device(device: str, *, quick: bool) -> None:
    text, calls = random_text(), CALLS // 16 if quick else CALLS
    seconds = 0.3 if quick else 3.0
    accounts, requests = len(text.coins.of("account")), len(text.coins.of("call"))
    several = (1, 2) if device == "cpu" else (1,)
    print(
        f"\nOne text of {TOKENS} random tokens: {accounts} distinct windows of the account "
        f"channel, {requests} of the call channel. Device: {device}. Keys are derived within the "
        "time.\n"
    )
    print("| what | " + " | ".join(f"{n} thread{'s' * (n > 1)}" for n in several) + " |")
    print("|---|" + "---|" * len(several))
    rows: dict[str, Callable[[int], str]] = {
        f"{ACCOUNTS:,} accounts, search": lambda n: (
            f"{accounts_ms(text, n, device, seconds):.2f} ms"
        ),
        f"{ACCOUNTS:,} accounts, whole trace with pieces": lambda n: (
            f"{trace_ms(text, n, device, seconds):.2f} ms"
        ),
        f"{calls:,} calls, search": lambda n: f"{calls_seconds(text, calls, n, device):.2f} s",
    }
    for name, measured in rows.items():
        print(f"| {name} | " + " | ".join(measured(n) for n in several) + " |")
    print(
        f"\nDeriving {ACCOUNTS:,} account keys alone: {derivation_ms(text, seconds):.2f} ms on one "
        f"core. The compiled search alone: {rate(text, seconds):.2e} key-windows/s on one core."
    )
