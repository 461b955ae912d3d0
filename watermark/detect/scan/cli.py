"""The command `azeotrope scan`."""

import json
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from watermark.detect.options import (
    PATH,
    RATE,
    candidate_options,
    device_option,
    filter_option,
    format_options,
    key_options,
    level_option,
    output_options,
    recursive_option,
    tokenizer_option,
    words_option,
)
from watermark.detect.report import ScanSummary, print_summary
from watermark.detect.scan.job import Equipment, ScanJob
from watermark.detect.scan.local import scan_locally
from watermark.detect.scan.plan import SHARD_BYTES, Unit
from watermark.detect.scan.progress import ScanProgress
from watermark.detect.scan.run import Executor, Output, run_scan
from watermark.detect.sources import Fields, Plan, plan
from watermark.errors import InputError

_STATUS = {"marked": 0, "not marked": 1, "invalid": 2, "inconclusive": 3}
# Settings that the report lists, by the names of their options.
_SHOWN = {
    "text_field": "text-field",
    "ids_field": "ids-field",
    "sample": "sample",
    "form": "format",
    "recursive": "recursive",
    "words": "words",
    "common": "filter",
    "level": "level",
    "fdr": "fdr",
    "family_level": "family-level",
    "decoys": "decoys",
    "accounts": "accounts",
}


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH…")
@click.option(
    "--out", type=PATH, default="scan", show_default=True, help="Directory of the results."
)
@key_options
@tokenizer_option()
@words_option
@format_options(ids=True)
@recursive_option
@click.option(
    "--sample",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Share of the records to read.",
)
@click.option("--resume", is_flag=True, help="Take up a scan that was interrupted.")
@candidate_options
@filter_option
@click.option(
    "--decoys",
    type=click.IntRange(0, 100_000),
    default=100,
    show_default=True,
    help="Never-used keys to try as a check (0: none).",
)
@level_option("False-positive rate of the verdict.")
@click.option(
    "--fdr",
    type=RATE,
    default=0.01,
    show_default=True,
    help="False discovery rate of the documents called marked.",
)
@click.option(
    "--family-level",
    type=RATE,
    default=1e-3,
    show_default=True,
    help="Probability of naming any account wrongly.",
)
@click.option("--token-cache", type=PATH, help="Directory that keeps token ids for later scans.")
@click.option("--workers", type=click.IntRange(1), help="Processes (default: one a core).")
@device_option
@click.option(
    "--ray",
    is_flag=False,
    flag_value="auto",
    metavar="[ADDRESS]",
    help="Scan on a Ray cluster: its address, or one that is started here.",
)
@output_options("Print the summary as JSON.")
def scan(*, paths: tuple[str, ...], out: Path, resume: bool, **options: Any) -> None:
    """Test whole corpora: is our mark in them, how much of it, and whose.

    Reads txt, md, JSONL, JSON, CSV, Parquet, Arrow and npy, plain or .gz/.zst, from files, folders,
    patterns and fsspec URLs. Writes report.html, summary.json and documents.parquet into --out.
    The exit status is 0 if the corpus holds marked text, 1 if not, 3 if that stays open, 2 on an
    error or an invalid run.

    \b
    Examples:
      azeotrope scan suspect.jsonl --tokenizer models/SmolLM2-135M-Instruct --out report/
      azeotrope scan -r crawl/ 's3://bucket/*.parquet' --text-field content --registry calls.jsonl
      azeotrope scan ids.parquet --ids-field input_ids --workers 8
    """
    found = plan(
        paths,
        recursive=options["recursive"],
        form=options["form"],
        shard_bytes=SHARD_BYTES,
    )
    screen = Console(stderr=True)
    _mention(screen, found)
    job = _job(options)
    equipment = Equipment(job)
    output = Output(out)
    output.prepare(equipment.digest, resume=resume)
    cores = os.cpu_count() or 1
    workers = options["workers"] or cores
    with ScanProgress(screen, sum(shard.size for shard in found.shards)) as progress:
        summary = run_scan(
            equipment,
            found.shards,
            output,
            _executor(options["ray"], job, equipment, workers, progress),
            progress.finish,
            command="azeotrope " + shlex.join(sys.argv[1:]),
            options=_shown(options),
            decoys=options["decoys"],
            threads=min(workers, cores),
        )
    _show(summary, output, options)
    if not summary.corpus.records:
        raise InputError("no record could be read; the report says why")
    sys.exit(_STATUS[summary.verdict])


def _job(options: dict[str, Any]) -> ScanJob:
    if options["words"] and options["ids_field"]:
        raise InputError("--words and --ids-field exclude each other: words are made from texts")
    return ScanJob(
        keys=options["keys_path"],
        manifest=options["manifest_path"],
        encoding="words" if options["words"] else "tokens",
        tokenizer=None if options["words"] else options["tokenizer"],
        fields=Fields(options["text_field"], options["ids_field"], options["sample"]),
        common=options["common"],
        registries=options["registry"],
        account_range=options["accounts"],
        level=options["level"],
        fdr_level=options["fdr"],
        family_level=options["family_level"],
        token_cache=options["token_cache"],
        device=options["device"],
    )


def _executor(
    ray: str | None,
    job: ScanJob,
    equipment: Equipment,
    workers: int,
    progress: ScanProgress,
) -> Executor:
    if ray is None:
        return lambda units: scan_locally(job, equipment, units, workers, progress.tell)
    from watermark.detect.scan.on_ray import scan_on_ray

    def execute(units: Sequence[Unit]) -> Iterator[Unit]:
        return scan_on_ray(job, equipment, units, ray, progress.tell)

    return execute


def _mention(screen: Console, found: Plan) -> None:
    for kind, files in (("hidden", found.hidden), ("of unknown kind", found.unknown)):
        if files:
            screen.print(f"{len(files):,} files {kind} are not read, {files[0]} first", style="dim")


def _shown(options: dict[str, Any]) -> list[tuple[str, str]]:
    given = {shown: options[name] for name, shown in _SHOWN.items()}
    return [(shown, str(value)) for shown, value in given.items() if value not in (None, False)]


def _show(summary: ScanSummary, output: Output, options: dict[str, Any]) -> None:
    if options["as_json"]:
        click.echo(json.dumps(summary.to_json(), ensure_ascii=False))
        return
    color = options["color"]
    screen = Console(
        force_terminal=color, no_color=None if color is None else not color, highlight=False
    )
    print_summary(screen, summary)
    click.echo(f"{output.path / 'report.html'}: the report, to be read in a browser")
    click.echo(f"{output.path / 'documents.parquet'}: a row a document")
    click.echo(f"{output.path / 'summary.json'}: the figures")
