"""Human documents for timing the detector: token ids cut to a length, and JSONL files of texts."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.cache import cache
from benchmarks.human import Domain, domain_documents
from benchmarks.human.pieces import corpus
from watermark.detect.counts import Batch

_DOMAINS: tuple[Domain, ...] = ("prose", "manuals", "licences")
FILES = 16


def token_documents(length: int, tokens: int) -> Batch:
    """About `tokens` ids of human text, in documents of `length`, some of every domain."""
    parts = []
    for domain in _DOMAINS:
        ids = corpus(domain).batch.ids
        wanted = min(len(ids), tokens // len(_DOMAINS)) // length * length
        parts.append(ids[:wanted])
    ids = np.concatenate(parts)
    return Batch(ids, np.arange(0, len(ids) + 1, length, dtype=np.int64))


def text_files() -> list[Path]:
    """All texts of three domains, each once, dealt out evenly to 16 JSONL files."""
    folder = cache("detect") / "texts"
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        partial.mkdir(parents=True, exist_ok=True)
        files = [(partial / f"{i:02}.jsonl").open("w", encoding="utf-8") for i in range(FILES)]
        for index, text in enumerate(_texts()):
            files[index % FILES].write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
        for file in files:
            file.close()
        partial.rename(folder)
    return sorted(folder.glob("*.jsonl"))


def _texts() -> Iterator[str]:
    for domain in _DOMAINS:
        for document in domain_documents(domain):
            yield document.text
