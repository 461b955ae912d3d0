"""A scan from plan to report: what is done already is kept, what is missing is scanned."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from watermark.detect.report import ScanSummary, render_report
from watermark.detect.scan.job import Equipment
from watermark.detect.scan.merging import Merger
from watermark.detect.scan.plan import Unit, units
from watermark.detect.scan.summarise import Circumstances, summarise
from watermark.detect.scan.tokens import release
from watermark.detect.sources import Shard
from watermark.errors import InputError

# Scans units somewhere, and yields each when its part is finished.
Executor = Callable[[Sequence[Unit]], Iterator[Unit]]


@dataclass(frozen=True, slots=True)
class Output:
    """The directory of a scan: `summary.json`, `report.html`, `documents.parquet`, `parts/`.

    `parts` go when the scan is complete.
    """

    path: Path

    @property
    def parts(self) -> Path:
        """Results of the units scanned so far."""
        return self.path / "parts"

    def prepare(self, digest: str, *, resume: bool) -> None:
        """Make the directory, or take up the scan of that `digest` in it.

        Raises InputError if another scan's results are there, or any and not `resume`.
        """
        record = self.path / "scan.json"
        if record.exists() and not resume:
            raise InputError(
                f"--out {self.path}: holds a scan already (--resume takes it up; or choose "
                "another directory)"
            )
        if record.exists() and json.loads(record.read_bytes())["digest"] != digest:
            raise InputError(
                f"--out {self.path}: holds a scan with other keys, tokenizer or options; choose "
                "another directory"
            )
        self.parts.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps({"digest": digest}) + "\n", "utf-8")

    def finish(self, summary: ScanSummary) -> None:
        """Write summary and report, and drop the parts."""
        document = json.dumps(summary.to_json(), indent=2, ensure_ascii=False)
        self._write("summary.json", document + "\n")
        self._write("report.html", render_report(summary))
        shutil.rmtree(self.parts)

    def _write(self, name: str, text: str) -> None:
        temporary = self.path / f".{name}.new"
        temporary.write_text(text, "utf-8")
        os.replace(temporary, self.path / name)


def run_scan(
    equipment: Equipment,
    shards: Sequence[Shard],
    output: Output,
    execute: Executor,
    finished: Callable[[Unit], None],
    *,
    command: str,
    options: Iterable[tuple[str, str]],
    decoys: int,
    threads: int,
) -> ScanSummary:
    """Scan what is not done yet, and write the report.

    `finished` is told of each unit, those done earlier first. Raises AzeotropeError.
    """
    work = units(shards, equipment.job.fields, output.parts)
    missing = []
    for unit in work:
        if unit.part.done():
            finished(unit)
        else:
            missing.append(unit)
    for unit in execute(missing):
        finished(unit)
    merged = Merger(equipment, work, output.path).merge(threads)
    summary = summarise(
        equipment,
        merged,
        Circumstances(
            version=release(),
            created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            command=command,
            options=tuple(options),
            files=len({shard.url for shard in shards}),
            shards=len(shards),
            decoys=decoys,
        ),
    )
    output.finish(summary)
    return summary
