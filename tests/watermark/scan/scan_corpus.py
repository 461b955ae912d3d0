"""A small corpus with everything in it that a scan has to cope with."""

import gzip
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detect_texts import Texts

from watermark.detect.filter import FILTER_NONE
from watermark.detect.scan.job import ScanJob
from watermark.detect.scan.plan import Unit, units
from watermark.detect.sources import Fields, plan

MARKED, PLAIN_TEXTS = 6, 8
BAD_LINE = '{"text": "cut off'
_CYRILLIC = str.maketrans("aeo", "\u0430\u0435\u043e")


@dataclass(frozen=True, slots=True)
class Corpus:
    """Files in a folder, and the options to scan them with.

    `marked.jsonl` (6 marked texts of one account), `plain.jsonl` (8 unmarked ones, the third
    line of the file cut off), `both.jsonl.gz` (one of each), `damaged.jsonl.gz` (ends early),
    `tricks.jsonl` (marked texts with invisible characters, Cyrillic letters, odd spaces),
    `one.txt` (marked).
    """

    folder: Path
    registry: Path
    job: ScanJob

    @property
    def options(self) -> list[object]:
        """Options of the command for the keys, the tokenizer and the registry."""
        job = self.job
        assert job.tokenizer is not None
        return [
            *("--keys", job.keys, "--manifest", job.manifest, "--tokenizer", job.tokenizer),
            *("--registry", self.registry, "--filter", job.common),
        ]

    def units(self, parts: Path) -> list[Unit]:
        """One unit a file, in the order of the names; their parts in the folder `parts`."""
        shards = plan([str(self.folder)], recursive=True).shards
        return [units([shard], self.job.fields, parts)[0] for shard in shards]


def write_corpus(texts: Texts, **options: Any) -> Corpus:
    """Write the files; `options` go to the job."""
    folder = texts.folder / "corpus"
    folder.mkdir()
    marked = [texts.text(seed=seed) for seed in range(1, MARKED + 1)]
    plain = [texts.text(300, share=0.0, seed=100 + seed) for seed in range(PLAIN_TEXTS)]
    lines = _lines(plain)
    (folder / "marked.jsonl").write_text(_joined(_lines(marked)), "utf-8")
    (folder / "plain.jsonl").write_text(_joined([*lines[:2], BAD_LINE, *lines[2:]]), "utf-8")
    both = _joined(_lines([marked[0], plain[0]])).encode()
    (folder / "both.jsonl.gz").write_bytes(gzip.compress(both, mtime=0))
    many = gzip.compress(_joined(_lines(plain * 2)).encode(), mtime=0)
    (folder / "damaged.jsonl.gz").write_bytes(many[: len(many) // 2])
    (folder / "tricks.jsonl").write_text(_joined(_lines(tricks(marked))), "utf-8")
    (folder / "one.txt").write_text(marked[1], "utf-8")
    _, keys, _, manifest, _, tokenizer = texts.options
    registry = texts.registry()
    job = ScanJob(
        **{
            "keys": Path(keys),
            "manifest": Path(manifest),
            "encoding": "tokens",
            "tokenizer": Path(tokenizer),
            "fields": Fields(),
            "common": FILTER_NONE,
            "registries": (registry,),
        }
        | options
    )
    return Corpus(folder, registry, job)


def tricks(marked: Iterable[str]) -> list[str]:
    """Marked texts, disguised in three ways."""
    first, second, third, *_ = marked
    return [
        "\u200b".join(first[i : i + 7] for i in range(0, len(first), 7)),
        second.translate(_CYRILLIC),
        f"\ufeff{third}\u00a0\u2009",
    ]


def _lines(texts: Iterable[str]) -> list[str]:
    return [json.dumps({"text": text}, ensure_ascii=False) for text in texts]


def _joined(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
