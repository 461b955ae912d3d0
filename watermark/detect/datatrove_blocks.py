"""Pipeline blocks for datatrove: annotate documents with the test of our mark, or drop them.

    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter
    from watermark.detect.datatrove_blocks import AzeotropeFilter

    keys = {"keys": "detector.json", "manifest": "manifest.json", "tokenizer": "MODEL_DIR"}
    LocalPipelineExecutor(
        pipeline=[
            JsonlReader("crawl/"),
            AzeotropeFilter(**keys, exclusion_writer=JsonlWriter("marked/")),
            JsonlWriter("clean/"),
        ],
        tasks=8,
        logging_dir="logs/",
    ).run()

Both write into the metadata of every document, as `azeotrope scan` would find it:

azeotrope_log10_p    decimal logarithm of p, corrected for epochs and forms of the text
azeotrope_windows    distinct windows of the whole document
azeotrope_hits       green ones among them
azeotrope_marked     whether p is at most the level
azeotrope_spans      marked spans: start and end in characters, log10_p; none where p > 0.01
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from watermark.detect.filter import FILTER_DEFAULT
from watermark.detect.scan.documents import Examiner
from watermark.detect.scan.forms import Forms
from watermark.detect.scan.job import Equipment, ScanJob
from watermark.detect.scan.unit import CANDIDATE_LOG10_P
from watermark.detect.sources import Fields
from watermark.detect.tokenizers.fast import limit_threads
from watermark.errors import InputError

try:
    from datatrove.pipeline.base import PipelineStep
    from datatrove.pipeline.filters.base_filter import BaseFilter
    from datatrove.utils.batching import batched
    from datatrove.utils.typeshelper import StatHints
except ImportError as error:
    raise ImportError(
        "these blocks need datatrove, which is not installed: pip install 'azeotrope[datatrove]'"
    ) from error

if TYPE_CHECKING:
    from datatrove.data import Document
    from datatrove.pipeline.writers.disk_base import DiskWriter

# Documents that are tested in one pass.
BATCH_SIZE = 512
_TYPE = "💧 - WATERMARK"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known of one document; `spans` are (first character, end, log10 p)."""

    log10_p: float
    windows: int
    hits: int
    marked: bool
    spans: list[tuple[int, int, float]]

    def annotate(self, document: "Document") -> None:
        """Write everything into the metadata."""
        document.metadata |= {
            "azeotrope_log10_p": self.log10_p,
            "azeotrope_windows": self.windows,
            "azeotrope_hits": self.hits,
            "azeotrope_marked": self.marked,
            "azeotrope_spans": [
                {"start": start, "end": end, "log10_p": log10_p}
                for start, end, log10_p in self.spans
            ],
        }


class AzeotropeAnnotator(PipelineStep):  # type: ignore[misc]
    """Writes the test of every document into its metadata, and passes all on.

    `keys` is a keyring or, better, an export of it; `tokenizer` the marked model's directory, its
    tokenizer.json or a GGUF, not needed with `words`; `common` the common n-grams to leave out
    ("default", "none" or a file); `level` the false-positive rate of a document's
    `azeotrope_marked`. Files are read when a task begins, on the machine that runs it, where a
    fault in them raises AzeotropeError.
    """

    name = "💧 Azeotrope annotator"
    type = _TYPE

    def __init__(
        self,
        keys: str | Path,
        manifest: str | Path,
        tokenizer: str | Path | None = None,
        *,
        words: bool = False,
        common: str = FILTER_DEFAULT,
        level: float = 1e-5,
        device: str = "cpu",
        batch_size: int = BATCH_SIZE,
    ) -> None:
        """Take the options; raises InputError if there is no way to encode a text."""
        super().__init__()
        self.job = _job(
            keys, manifest, tokenizer, words=words, common=common, level=level, device=device
        )
        self.batch_size = batch_size

    def run(
        self, data: "Iterator[Document]", rank: int = 0, world_size: int = 1
    ) -> "Iterator[Document]":
        """Annotate the documents batch by batch."""
        for batch in batched(data, self.batch_size):
            with self.track_time("batch"):
                findings = _judge(self.job).judge([document.text for document in batch])
            for document, finding in zip(batch, findings, strict=True):
                finding.annotate(document)
                self.stat_update(StatHints.total)
                self.stat_update("marked" if finding.marked else "not_marked")
                self.update_doc_stats(document)
                yield document


class AzeotropeFilter(BaseFilter):  # type: ignore[misc]
    """Drops the marked documents, or with `keep` "marked" all others.

    Whatever it drops goes to `exclusion_writer`, if there is one, with the metadata that
    `AzeotropeAnnotator` writes and the reason, "marked" or "not_marked"; the other options are
    the annotator's.
    """

    name = "💧 Azeotrope filter"

    def __init__(
        self,
        keys: str | Path,
        manifest: str | Path,
        tokenizer: str | Path | None = None,
        *,
        keep: Literal["unmarked", "marked"] = "unmarked",
        words: bool = False,
        common: str = FILTER_DEFAULT,
        level: float = 1e-5,
        device: str = "cpu",
        exclusion_writer: "DiskWriter | None" = None,
        batch_size: int = BATCH_SIZE,
    ) -> None:
        """Take the options; raises InputError if there is no way to encode a text."""
        super().__init__(exclusion_writer, batch_size)
        self.job = _job(
            keys, manifest, tokenizer, words=words, common=common, level=level, device=device
        )
        self.keep_marked = keep == "marked"

    def filter(self, doc: "Document") -> bool | tuple[bool, str]:
        """Tell whether one document is kept, and if not, why."""
        return self.filter_batch([doc])[0]

    def filter_batch(self, batch: "list[Document]") -> list[bool | tuple[bool, str]]:
        """Annotate the documents; tell of each whether it is kept, and if not, why."""
        findings = _judge(self.job).judge([document.text for document in batch])
        for document, finding in zip(batch, findings, strict=True):
            finding.annotate(document)
        return [
            finding.marked == self.keep_marked
            or (False, "marked" if finding.marked else "not_marked")
            for finding in findings
        ]


class _Judge:
    """Tests texts; made once a process, however many tasks run in it."""

    def __init__(self, job: ScanJob) -> None:
        # The tasks are the parallelism: threads of a tokenizer would fight them for the cores.
        limit_threads(1)
        equipment = Equipment(job)
        self._encoders = equipment.encoders
        self._schemes = equipment.schemes
        self._gammas = [scheme.parameters.gamma for scheme in equipment.schemes]
        self._examiner = Examiner(equipment)
        self._log10_level = float(np.log10(job.level))

    def judge(self, texts: list[str]) -> list[Finding]:
        forms = Forms.of_texts(texts, self._encoders, self._encoders.encode_batch)
        # Draws serve histograms, of which there are none here.
        judgement, _, better = forms.judge(self._schemes, self._gammas, np.zeros(len(texts)))
        as_given = set(better.tolist())
        return [
            Finding(
                log10_p,
                int(judgement.windows[row]),
                int(judgement.hits[row]),
                log10_p <= self._log10_level,
                self._spans(forms, row, int(judgement.epoch[row]), as_given=row in as_given)
                if log10_p <= CANDIDATE_LOG10_P
                else [],
            )
            for row, log10_p in enumerate(judgement.log10_corrected_p.tolist())
        ]

    def _spans(
        self, forms: Forms, row: int, epoch: int, *, as_given: bool
    ) -> list[tuple[int, int, float]]:
        ids = forms.ids(row, epoch, as_given=as_given)
        found = self._examiner.examine(ids, epoch, forms.readings[row], as_given=as_given)
        return [(span["start"], span["end"], span["log10_p"]) for span in found.spans]


@lru_cache(maxsize=1)
def _judge(job: ScanJob) -> _Judge:
    return _Judge(job)


def _job(
    keys: str | Path,
    manifest: str | Path,
    tokenizer: str | Path | None,
    *,
    words: bool,
    common: str,
    level: float,
    device: str,
) -> ScanJob:
    if tokenizer is None and not words:
        raise InputError("texts need the tokenizer of the marked model: give tokenizer or words")
    return ScanJob(
        keys=Path(keys),
        manifest=Path(manifest),
        encoding="words" if words else "tokens",
        tokenizer=None if words or tokenizer is None else Path(tokenizer),
        fields=Fields(),
        common=common,
        level=level,
        device=device,
    )


__all__ = ["AzeotropeAnnotator", "AzeotropeFilter", "Finding"]
