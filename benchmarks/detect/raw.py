"""Raw text in, verdict out: `azeotrope scan` beside the tokenizer alone, and its memory."""

import json
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path

from benchmarks.detect.documents import FILES, text_files
from benchmarks.detect.processes import Usage, watched
from proxy.engine.weights import demo_model
from watermark.detect.sources import Fields, plan, read
from watermark.detect.tokenizer import TextTokenizer
from watermark.detect.tokenizers.fast import limit_threads
from watermark.keys import create_keyring

# Not a share of the corpus: Hugging Face's library would take minutes for all of it.
_REFERENCE_BATCHES = 3
_FINDINGS = (0, 1, 3)  # marked, not marked, open: whatever the corpus holds


@dataclass(frozen=True, slots=True)
class Tokenised:
    """What tokenising alone took: tokens, the longest process's wall time, everybody's CPU time."""

    tokens: int
    wall: float
    cpu: float


def _batches(files: Sequence[Path], most: int | None) -> list[list[str]]:
    shards = plan([str(file) for file in files]).shards
    texts: list[list[str]] = []
    for shard in shards:
        for batch in read(shard, Fields(), lambda *_: None):
            if batch.texts:
                texts.append(batch.texts)
            if most is not None and len(texts) == most:
                return texts
    return texts


def _tokenise(files: Sequence[Path], barrier: Barrier) -> Tokenised:
    limit_threads(1)
    encoder = TextTokenizer(demo_model())
    batches = _batches(files, None)
    encoder.encode_batch(["The probe comes with the first batch."])
    barrier.wait()
    wall, cpu = time.perf_counter(), time.process_time()
    tokens = sum(len(encoder.encode_batch(texts).ids) for texts in batches)
    return Tokenised(tokens, time.perf_counter() - wall, time.process_time() - cpu)


def _tokenise_slowly(files: Sequence[Path], barrier: Barrier) -> Tokenised:
    limit_threads(1)
    from tokenizers import Tokenizer

    encoder = Tokenizer.from_file(str(demo_model() / "tokenizer.json"))
    batches = _batches(files, _REFERENCE_BATCHES)
    barrier.wait()
    wall, cpu = time.perf_counter(), time.process_time()
    tokens = 0
    for texts in batches:
        encodings = encoder.encode_batch_fast(texts, add_special_tokens=False)
        tokens += sum(len(encoding.ids) for encoding in encodings)
    return Tokenised(tokens, time.perf_counter() - wall, time.process_time() - cpu)


def _at_once(
    work: Callable[[Sequence[Path], Barrier], Tokenised], files: Sequence[Path], processes: int
) -> Tokenised:
    """Share the files out to so many processes, which start together."""
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(processes) as pool:
        barrier = manager.Barrier(processes)
        shares = [(files[i::processes], barrier) for i in range(processes)]
        found = pool.starmap(work, shares, chunksize=1)
    return Tokenised(
        sum(one.tokens for one in found),
        max(one.wall for one in found),
        sum(one.cpu for one in found),
    )


@dataclass(frozen=True, slots=True)
class Scan:
    """One scan's cost, and how many tokens it judged."""

    usage: Usage
    tokens: int


class Scanner:
    """Scans JSONL files with the command, as its user does, into a directory that is dropped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = folder / "keyring.json", folder / "manifest.json"
        tokenizer = TextTokenizer(demo_model())
        create_keyring(*self._files, tokenizer=tokenizer.pin())

    def scan(self, files: Sequence[Path], workers: int, *options: str) -> Scan:
        """Run `azeotrope scan` over files."""
        keys, manifest = map(str, self._files)
        out = self._folder / "out"
        command = [str(Path(sys.executable).with_name("azeotrope")), "scan", *map(str, files)]
        command += ["--keys", keys, "--manifest", manifest, "--tokenizer", str(demo_model())]
        command += ["--workers", str(workers), "--out", str(out), *options]
        usage = watched(command, _FINDINGS)
        summary = json.loads((out / "summary.json").read_bytes())
        shutil.rmtree(out)
        return Scan(usage, int(summary["corpus"]["tokens"]))

    def one_document(self, file: Path) -> Path:
        """Return a file with nothing but the first line of `file`."""
        target = self._folder / "one.jsonl"
        with file.open(encoding="utf-8") as source:
            target.write_text(source.readline(), "utf-8")
        return target


def print_raw(*, quick: bool) -> None:
    """Print both sections."""
    files = text_files()[: FILES // 16 if quick else FILES]
    with tempfile.TemporaryDirectory() as folder:
        scanner = Scanner(Path(folder))
        _print_speed(scanner, files)
        _print_memory(scanner, text_files()[: FILES // 4 if quick else FILES])


def _print_speed(scanner: Scanner, files: Sequence[Path]) -> None:
    size = sum(file.stat().st_size for file in files)
    print(
        f"\n### Raw text in, verdict out\n\n{size / 1e6:,.0f} MB of JSONL on disk. A scan's wall "
        "time is all of the command, from its start to the written report.\n"
    )
    print("| | M tokens | s | M tokens/s | s of CPU | wall ÷ the tokenizer's | CPU ÷ its |")
    print("|---|---|---|---|---|---|---|")
    alone = {processes: _at_once(_tokenise, files, processes) for processes in (1, 2)}
    slow = _at_once(_tokenise_slowly, files[:2], 2)
    _line("`tokenizers` alone, 2 processes", slow.tokens, slow.wall, slow.cpu, None)
    for processes, one in alone.items():
        name = f"fastokens alone, {processes} process{'es' * (processes > 1)}"
        _line(name, one.tokens, one.wall, one.cpu, one)
    start = scanner.scan([scanner.one_document(files[0])], 2, "--filter", "none", "--decoys", "0")
    _line("`scan` of one document", start.tokens, start.usage.wall, start.usage.cpu, None)
    for workers, options in _SCANS:
        scan = scanner.scan(files, workers, *options)
        name = f"`scan --workers {workers} {' '.join(options)}`"
        _line(name, scan.tokens, scan.usage.wall, scan.usage.cpu, alone[workers])


_SCANS = (
    (1, ("--filter", "none", "--decoys", "0")),
    (2, ("--filter", "none", "--decoys", "0")),
    (2, ("--filter", "default", "--decoys", "0")),
    (2, ("--filter", "default", "--decoys", "100")),
)


def _line(name: str, tokens: int, wall: float, cpu: float, alone: Tokenised | None) -> None:
    ratios = f"{wall / alone.wall:.2f} | {cpu / alone.cpu:.2f}" if alone else "- | -"
    print(
        f"| {name} | {tokens / 1e6:.1f} | {wall:.2f} | {tokens / wall / 1e6:.2f} | {cpu:.2f} "
        f"| {ratios} |",
        flush=True,
    )


def _print_memory(scanner: Scanner, files: Sequence[Path]) -> None:
    print(
        "\n### Memory of a scan\n\nPeak over all processes together, sampled 20 times a second. "
        "Pages of files count once for each process that maps them, and can be dropped.\n"
    )
    print("| corpus | MB | M tokens | peak RSS, MB | without pages of files, MB |")
    print("|---|---|---|---|---|")
    for count in (1, 4, 16):
        if count > len(files):
            break
        chosen = files[:count]
        size = sum(file.stat().st_size for file in chosen)
        scan = scanner.scan(chosen, 2, "--decoys", "0")
        print(
            f"| {len(chosen)}/{FILES} | {size / 1e6:,.0f} | {scan.tokens / 1e6:.1f} "
            f"| {scan.usage.resident / 1e6:,.0f} | {scan.usage.anonymous / 1e6:,.0f} |",
            flush=True,
        )
