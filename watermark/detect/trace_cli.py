"""The command `azeotrope trace`."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from watermark.detect.candidates import LARGEST_CALL, Candidates, parse_range
from watermark.detect.cli import complain, read_candidates, usable_device
from watermark.detect.documents import FORMS, Document, read_documents
from watermark.detect.exhaustive import CHUNK, Numbers
from watermark.detect.terminal import console
from watermark.detect.tokenizer import Encoded, TextTokenizer
from watermark.detect.trace import Search, Trace, Tracer
from watermark.detect.trace_terminal import Places, progress_bar, render
from watermark.errors import AzeotropeError, InputError
from watermark.keys import KeySet

_FILE = click.Path(path_type=Path, dir_okay=False)
# An account's whole sequence (docs/format.md, "Ticket"): hours for two cores.
_MOST_CALLS = 1 << 40


@dataclass(frozen=True, slots=True)
class _Session:
    """One run of the command: what it searches for, and with."""

    encoder: TextTokenizer
    tracer: Tracer
    candidates: Candidates
    calls: Numbers
    screen: Console | None

    def trace(self, document: Document) -> Trace:
        """Trace a text and print what was found (without a screen: as JSON)."""
        encoded = self.encoder.encode(document.text)
        with _progress(document.name, len(self.calls) * self.tracer.epochs) as progress:
            found = self.tracer.trace(encoded.ids, self.candidates, self.calls, progress)
        places = character_spans(found, encoded)
        if self.screen is not None:
            self.screen.print(render(document.name, found, self.candidates.name, places))
        else:
            click.echo(json.dumps(record(document.name, found, self.candidates, places)))
        return found


@click.command()
@click.argument("sources", nargs=-1, metavar="[FILES|-]")
@click.option(
    "--keys",
    "keys_path",
    type=_FILE,
    default="keyring.json",
    show_default=True,
    help="Keyring or full detector export.",
)
@click.option(
    "--manifest",
    "manifest_path",
    type=_FILE,
    default="manifest.json",
    show_default=True,
    help="The signed manifest that belongs to the keys.",
)
@click.option(
    "--tokenizer",
    type=click.Path(path_type=Path),
    required=True,
    envvar="AZEOTROPE_TOKENIZER",
    show_envvar=True,
    help="Directory of the marked model, or its tokenizer.json.",
)
@click.option(
    "--registry", type=_FILE, multiple=True, help="Call registry of the gateway (repeatable)."
)
@click.option("--accounts", help="Account numbers to search as well, e.g. 1-24000.")
@click.option(
    "--calls",
    default="registry",
    show_default=True,
    help='Calls to search: those of the registries, or numbers such as "1-16000000".',
)
@click.option(
    "--family-level",
    type=click.FloatRange(0, 0.5, min_open=True),
    default=1e-3,
    show_default=True,
    help="Probability of naming anybody for a text that none of them wrote.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMS),
    default="auto",
    show_default=True,
    help="What the files hold (auto: by suffix; .gz and .zst are unpacked).",
)
@click.option(
    "--text-field", default="text", show_default=True, help="Field or column of a record."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a text.")
@click.option(
    "--threads", type=click.IntRange(1), default=2, show_default=True, help="Cores to use."
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1 …")
@click.option("--color/--no-color", default=None, help="Default: colour on a terminal.")
def trace(
    *,
    sources: tuple[str, ...],
    keys_path: Path,
    manifest_path: Path,
    tokenizer: Path,
    registry: tuple[Path, ...],
    accounts: str | None,
    calls: str,
    family_level: float,
    form: str,
    text_field: str,
    as_json: bool,
    threads: int,
    device: str,
    color: bool | None,
) -> None:
    """Tell which accounts and which call a text comes from, and which part from whom.

    Tries every account and every call: in the whole text, and the accounts also stretch by
    stretch, for texts put together from several. The exit status is 0 if somebody is
    named, 1 if nobody is, 3 if every text is too short to name anybody, 2 on an error.

    \b
    Examples:
      azeotrope trace leak.txt --tokenizer MODEL_DIR --registry calls.jsonl
      azeotrope trace leak.txt --tokenizer MODEL_DIR --accounts 1-24000 --json
    """
    keys = KeySet.load(keys_path)
    manifest = keys.manifest(manifest_path)
    encoder = TextTokenizer(tokenizer)
    encoder.require(manifest.tokenizer)
    tracer = Tracer(
        keys, manifest, family_level=family_level, device=usable_device(device), threads=threads
    )
    candidates = read_candidates(registry, accounts)
    searched = _calls(calls, candidates)
    if not len(candidates.accounts) and not len(searched):
        raise InputError("nobody to search: give --registry, --accounts or --calls LOW-HIGH")
    screen = None if as_json else console(color)
    session = _Session(encoder, tracer, candidates, searched, screen)
    traces, failed = [], False
    for source in sources or ("-",):
        try:
            for document in read_documents(source, form, text_field, complain):
                traces.append(session.trace(document))
        except AzeotropeError as error:
            complain(f"error: {error}")
            failed = True
    if not traces and not failed:
        raise InputError("no text to trace: the input holds no usable record")
    sys.exit(2 if failed else exit_status(traces))


def exit_status(traces: list[Trace]) -> int:
    """Return 0 if somebody is named, else 1 if somebody could have been, else 3."""
    if any(found.named for found in traces):
        return 0
    return 1 if any(found.possible for found in traces) else 3


def character_spans(found: Trace, encoded: Encoded) -> Places:
    """Half-open character spans of the pieces of a text."""
    return [(encoded.offsets[p.first][0], encoded.offsets[p.last][1]) for p in found.pieces]


def record(name: str, found: Trace, candidates: Candidates, places: Places) -> dict[str, Any]:
    """Return the JSON form of a trace (docs/how-to-trace.md, "The JSON form")."""
    pieces = [
        asdict(piece) | {"name": candidates.name(piece.account), "start": start, "end": end}
        for piece, (start, end) in zip(found.pieces, places, strict=True)
    ]
    return {
        "document": name,
        "named": found.named,
        "tokens": found.tokens,
        "epochs_searched": found.epochs_searched,
        "account": _search_record(found.account),
        "call": _search_record(found.call),
        "pieces": pieces,
    }


def _search_record(search: Search | None) -> dict[str, Any] | None:
    if search is None:
        return None
    margin = {"margin_hits": search.margin_hits, "margin_log10_p": search.margin_log10_p}
    return asdict(search) | margin


def _calls(text: str, candidates: Candidates) -> Numbers:
    if text == "registry":
        return candidates.calls.numbers
    numbers = parse_range(text, "call", LARGEST_CALL, "1-16000000")
    if numbers.stop - numbers.start > _MOST_CALLS:  # len() ends at 2^63
        raise InputError(f"call range {text!r}: at most {_MOST_CALLS} calls at once")
    return numbers


@contextmanager
def _progress(name: str, calls: int) -> Iterator[Callable[[int], None] | None]:
    """Show a bar on standard error while so many calls are searched, unless they are few."""
    screen = Console(stderr=True)
    if calls <= 4 * CHUNK or not screen.is_terminal:
        yield None
        return
    with progress_bar(console=screen) as bar:
        task = bar.add_task(f"calls: {name}", total=calls)
        yield lambda tried: bar.advance(task, tried)
