"""The call registry and the headers of answers: what a call costs, and how fast segments are read.

Everything in one process; append and headers as the event loop does them, with the writing
thread at work. A registry of N calls with a digest each is written, converted and read as
`azeotrope trace` reads it.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import msgspec
import pyarrow.json
import pyarrow.parquet  # noqa: F401

from proxy.config import Registry
from proxy.metrics import Metrics
from proxy.provenance import Provenance
from proxy.registry import CallRegistry, Entry
from proxy.registry.parquet import convert
from watermark.detect.candidates import Candidates
from watermark.keys import create_keyring

ANSWER = b"x" * 2048
ROUNDS = 5
BATCH = 5_000
ACCOUNTS = 24_000


def entry(number: int, digest: list[str] | None = None) -> Entry:
    account = number % ACCOUNTS
    return Entry(
        call=account << 40 | number,
        account=account,
        name=f"account {account}",
        time="2026-03-01T10:00:00.000Z",
        model="some-model",
        dialect="openai_chat",
        prompt_tokens=500,
        completion_tokens=700,
        status=200,
        end="complete",
        epoch=1,
        embedder="engine",
        usage_source="engine",
        upstream="local",
        digest=digest,
    )


def microseconds(do: Callable[[], object], count: int) -> float:
    begun = time.perf_counter()
    for _ in range(count):
        do()
    return (time.perf_counter() - begun) / count * 1e6


def append_cost(folder: Path) -> float:
    """Median over turns that leave the writer time to finish."""
    book = CallRegistry(Registry(path=folder / "append.jsonl"), Metrics([], []))
    one, found = entry(1), []
    for _ in range(ROUNDS):
        found.append(microseconds(lambda: book.append(one), BATCH))
        time.sleep(1.0)
    book.close()
    return sorted(found)[ROUNDS // 2]


async def header_costs(folder: Path) -> tuple[float, float]:
    provenance = Provenance(create_keyring(folder / "k.json", folder / "m.json"), sign=True)
    request_id = ("x-request-id", "req_0123456789abcdef0123456789abcdef")

    async def cost(body: bytes | None) -> float:
        begun = time.perf_counter()
        for _ in range(BATCH):
            await provenance.headers("engine", 200, request_id, body)
        return (time.perf_counter() - begun) / BATCH * 1e6

    return await cost(ANSWER), await cost(None)


def rate(path: Path, count: int) -> float:
    """Calls a second; raises AssertionError if not all were found."""
    candidates = Candidates(digests=True)
    begun = time.perf_counter()
    candidates.add_registry(path, print)
    seconds = time.perf_counter() - begun
    assert len(candidates.calls) == count
    return count / seconds


@click.command()
@click.option("--quick", is_flag=True, help="50,000 calls instead of a million.")
def main(*, quick: bool) -> None:
    count = 50_000 if quick else 1_000_000
    with tempfile.TemporaryDirectory(prefix="azeotrope-") as name:
        folder = Path(name)
        whole, stream = asyncio.run(header_costs(folder))
        print("| on the event loop | µs |\n|---|---|")
        print(f"| registry entry appended | {append_cost(folder):.2f} |")
        print(f"| headers of an answer of 2 KiB, signed with its digest | {whole:.0f} |")
        print(f"| headers of a stream, signed | {stream:.0f} |")
        print(f"\n| {count:,} calls with digests | MB | calls/s read |\n|---|---|---|")
        lines = folder / "calls-20260301T100000Z-0.jsonl"
        encode = msgspec.json.Encoder().encode
        with lines.open("wb") as file:
            for number in range(count):
                file.write(encode(entry(number, [os.urandom(16).hex()])) + b"\n")
        size, speed = lines.stat().st_size, rate(lines, count)
        print(f"| JSON lines | {size / 1e6:.0f} | {speed:,.0f} |")
        begun = time.perf_counter()
        for _ in convert(lines):
            pass
        seconds = time.perf_counter() - begun
        parquet = lines.with_suffix(".parquet")
        size, speed = parquet.stat().st_size, rate(parquet, count)
        print(f"| Parquet | {size / 1e6:.0f} | {speed:,.0f} |")
        print(f"\nConversion: {count / seconds:,.0f} calls/s.")


if __name__ == "__main__":
    main()
