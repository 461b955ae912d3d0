"""The command `azeotrope detect`."""

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from rich.console import Console

from watermark.detect.candidates import Candidates
from watermark.detect.detector import Detector
from watermark.detect.documents import Document, read_documents
from watermark.detect.encoder import Encoders
from watermark.detect.filter import load_filter
from watermark.detect.options import (
    FILE,
    PATH,
    candidate_options,
    device_option,
    filter_option,
    format_options,
    key_options,
    level_option,
    output_options,
    tokenizer_option,
    words_option,
)
from watermark.detect.page import render_page
from watermark.detect.segments import Judged, judge
from watermark.detect.terminal import console, render
from watermark.detect.tokenizer import TextTokenizer
from watermark.detect.try_tokenizers import choose_tokenizer, trial_table
from watermark.errors import AzeotropeError, InputError
from watermark.keys import KeySet
from watermark.manifest import Manifest

# No verdict is an error; else a marked text outweighs all, and doubt outweighs its absence.
_STATUS = {"invalid": 2, "marked": 0, "inconclusive": 3, "not marked": 1}


@dataclass(frozen=True, slots=True)
class _Session:
    """One run of the command: what it tests with.

    `kept` holds the documents of sources that were read before (standard input comes once).
    """

    encoders: Encoders
    detector: Detector
    candidates: Candidates
    form: str
    text_field: str
    kept: dict[str, list[Document]]

    def judge(self, source: str) -> Iterator[Judged]:
        documents: Iterable[Document] | None = self.kept.get(source)
        if documents is None:
            documents = read_documents(source, self.form, self.text_field, complain)
        for document in documents:
            yield judge(document.name, document.text, self.encoders, self.detector, self.candidates)


@click.command()
@click.argument("sources", nargs=-1, metavar="[FILES|-]")
@key_options
@tokenizer_option()
@click.option(
    "--try-tokenizers",
    "tried",
    type=PATH,
    multiple=True,
    help="Instead of --tokenizer (repeatable): try each, judge with the best, correct for the "
    "number.",
)
@words_option
@filter_option
@candidate_options
@level_option("False-positive rate of the verdict.")
@click.option(
    "--decoys",
    type=click.IntRange(2),
    help="Check each verdict with so many keys that marked nothing (100 or more).",
)
@format_options(ids=False)
@output_options("Print one JSON object a text.")
@click.option("--html", "html_path", type=FILE, help="Write a self-contained page as well.")
@device_option
def detect(
    *,
    sources: tuple[str, ...],
    keys_path: Path,
    manifest_path: Path,
    tokenizer: Path | None,
    tried: tuple[Path, ...],
    words: bool,
    common: str,
    registry: tuple[Path, ...],
    accounts: str | None,
    level: float,
    decoys: int | None,
    form: str,
    text_field: str,
    html_path: Path | None,
    device: str,
    as_json: bool,
    color: bool | None,
) -> None:
    """Tell whether texts are ours, and whose.

    Reads text files, JSON, CSV, Parquet and Arrow, by path or URL, or standard input. The exit
    status is 0 if a text is marked, 1 if none is, 3 if the most that can be said is
    "inconclusive", 2 on an error.

    \b
    Examples:
      azeotrope detect answer.txt --tokenizer models/SmolLM2-135M-Instruct
      azeotrope detect set.jsonl --text-field completion --registry calls.jsonl --json
      cat answer.txt | azeotrope detect - --html report.html
    """
    keys = KeySet.load(keys_path)
    manifest = keys.manifest(manifest_path)
    sources = sources or ("-",)
    detector = partial(Detector, keys, manifest, device=device)
    _require_one_way(tokenizer, tried, words=words)
    kept: dict[str, list[Document]] = {}
    encoder, tries = None, 1
    if tried:
        kept = {each: list(read_documents(each, form, text_field, complain)) for each in sources}
        encoder, tries = _best(kept, tried, detector(level=level), manifest)
    elif tokenizer is not None and not words:
        encoder = TextTokenizer(tokenizer)
        encoder.require(manifest.tokenizer)
    session = _Session(
        Encoders(keys, encoder, words=words),
        detector(level=level / tries, common=load_filter(common, encoder), decoy_count=decoys or 0),
        read_candidates(registry, accounts),
        form,
        text_field,
        kept,
    )
    screen, judged, failed = console(color), [], False
    for source in sources:
        try:
            for item in session.judge(source):
                judged.append(item)
                if item.detection.verdict == "invalid":
                    complain(f"error: {item.name}: the decoy keys are off, so there is no verdict")
                if as_json:
                    click.echo(json.dumps(record(item)))
                else:
                    screen.print(render(item))
        except AzeotropeError as error:
            complain(f"error: {error}")
            failed = True
    if not judged and not failed:
        raise InputError("no text to judge: the input holds no usable record")
    if html_path is not None:
        reading = f"tokenizer {encoder.path}" if encoder else "words (az1-words)"
        page = render_page(judged, level=level, reading=reading, manifest=manifest.digest)
        _write_page(html_path, page)
    sys.exit(2 if failed else exit_status(judged))


def _require_one_way(tokenizer: Path | None, tried: tuple[Path, ...], *, words: bool) -> None:
    """Refuse a command line without a way to read texts, or with --try-tokenizers and another."""
    if not tried:
        if tokenizer is None and not words:
            raise click.UsageError(
                "give --tokenizer (or set AZEOTROPE_TOKENIZER), several with --try-tokenizers, or "
                "--words"
            )
        return
    if words:
        raise click.UsageError("--try-tokenizers and --words exclude each other")
    given = click.get_current_context().get_parameter_source("tokenizer")
    if tokenizer is not None and given is ParameterSource.COMMANDLINE:
        raise click.UsageError("--try-tokenizers stands instead of --tokenizer; give one of them")


def _best(
    kept: dict[str, list[Document]], tried: tuple[Path, ...], detector: Detector, manifest: Manifest
) -> tuple[TextTokenizer, int]:
    """Choose by all texts together; also returns how many were tried, for the correction.

    Each text's verdict holds at the level divided by that number. Accounts and calls need no
    correction: their windows are none of those that the choice was made by.
    """
    texts = [document.text for documents in kept.values() for document in documents]
    trials = choose_tokenizer(texts, tried, detector, manifest.tokenizer, complain)
    Console(stderr=True).print(trial_table(trials))
    return trials[0].tokenizer, len(trials)


def _write_page(path: Path, page: str) -> None:
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--html {path}: cannot be written ({error.strerror})") from error


def exit_status(judged: list[Judged]) -> int:
    """Return 2 if a check failed, else 0 if a text is marked, 3 if inconclusive, else 1."""
    verdicts = {item.detection.verdict for item in judged}
    return next(status for verdict, status in _STATUS.items() if verdict in verdicts)


def record(item: Judged) -> dict[str, Any]:
    """Return the JSON form of a verdict (docs/how-to-detect.md, "The JSON form")."""
    detection = asdict(item.detection)
    detection["coins"] = len(item.detection.coins)
    if detection["decoys"] is not None:
        del detection["decoys"]["values"]
    spans = [asdict(span) for span in item.spans]
    return {"document": item.name, **detection, "form": item.form, "spans": spans}


def read_candidates(
    registry: tuple[Path, ...], account_range: str | None, *, digests: bool = False
) -> Candidates:
    """Accounts and calls of registries, and the accounts of a range; raises InputError.

    With `digests` those of answers are kept as well, to look up exact copies.
    """
    candidates = Candidates(digests=digests)
    for path in registry:
        candidates.add_registry(path, complain)
    if account_range:
        candidates.add_range(account_range)
    return candidates


def complain(message: str) -> None:
    """Print a line to standard error."""
    click.echo(f"azeotrope: {message}", err=True)
