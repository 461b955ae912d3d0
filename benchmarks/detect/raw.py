"""Raw text in, verdict out: `azeotrope scan` beside the tokenizer alone, and its memory."""

import json
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
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
