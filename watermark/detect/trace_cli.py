"""The command `azeotrope trace`."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from watermark.copies import answer_digest, digest_key
from watermark.detect.candidates import CallRecord, Candidates, parse_range
from watermark.detect.cli import complain, read_candidates
from watermark.detect.documents import Document, read_documents
from watermark.detect.encoder import Encoders
from watermark.detect.exhaustive import CHUNK, Numbers
from watermark.detect.filter import load_filter
from watermark.detect.options import (
    RATE,
    candidate_options,
    device_option,
    filter_option,
    format_options,
    key_options,
    output_options,
    tokenizer_option,
    words_option,
)
from watermark.detect.registries import LARGEST_CALL
from watermark.detect.terminal import console
from watermark.detect.tokenizer import TextTokenizer
from watermark.detect.trace import Search, Trace, Tracer
from watermark.detect.trace_terminal import Places, progress_bar, render
from watermark.errors import AzeotropeError, InputError
from watermark.keys import KeySet

# An account's whole sequence (docs/format.md, "Ticket"): hours for two cores.
_MOST_CALLS = 1 << 40


@dataclass(frozen=True, slots=True)
class _Session:
    """One run of the command: what it searches for, and with."""

    epochs: tuple[int, ...]
    encoders: Encoders
    tracer: Tracer
    candidates: Candidates
    calls: Numbers
    digest_keys: tuple[bytes, ...]
    screen: Console | None

    def trace(self, document: Document) -> "_Found":
        """Trace a text and print what was found (without a screen: as JSON)."""
        digests = (answer_digest(key, document.text) for key in self.digest_keys)
        copies = self.candidates.copies(filter(None, digests))
        forms = list(self.encoders.forms(document.text).values())
        total = len(self.calls) * len(self.epochs) * len(forms)
        with _progress(document.name, total) as progress:
            traces = [
                self.tracer.trace_each(
                    [encoded.ids for encoded in form],
                    self.candidates,
                    self.calls,
                    progress,
                    forms=len(forms),
                )
                for form in forms
            ]
        index = min(range(len(traces)), key=lambda i: traces[i].log10_family_p)
        found = traces[index]
        offsets = {
            epoch: encoded.offsets for epoch, encoded in zip(self.epochs, forms[index], strict=True)
        }
        places = character_spans(found, offsets)
        if self.screen is not None:
            self.screen.print(render(document.name, found, self.candidates.name, places, copies))
        else:
            click.echo(json.dumps(record(document.name, found, self.candidates, places, copies)))
        return _Found(found, copies)


@dataclass(frozen=True, slots=True)
class _Found:
    """What is known of one text: by its mark, and by an exact look-up."""

    trace: Trace
    copies: Sequence[CallRecord]


@click.command()
@click.argument("sources", nargs=-1, metavar="[FILES|-]")
@key_options
@tokenizer_option()
@words_option
@filter_option
@candidate_options
@click.option(
    "--calls",
    default="registry",
    show_default=True,
    help='Calls to search: those of the registries, or numbers such as "1-16000000".',
)
@click.option(
    "--family-level",
    type=RATE,
    default=1e-3,
    show_default=True,
    help="Probability of naming anybody for a text that none of them wrote.",
)
@format_options(ids=False)
@output_options("Print one JSON object a text.")
@click.option(
    "--threads", type=click.IntRange(1), default=2, show_default=True, help="Cores to use."
)
@device_option
def trace(
    *,
    sources: tuple[str, ...],
    keys_path: Path,
    manifest_path: Path,
    tokenizer: Path | None,
    words: bool,
    common: str,
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
    stretch, for texts put together from several. A registry with digests is also asked for
    an answer that is the text, word for word. The exit status is 0 if somebody is named,
    1 if nobody is, 3 if every text is too short to name anybody, 2 on an error.

    \b
    Examples:
      azeotrope trace leak.txt --tokenizer MODEL_DIR --registry calls.jsonl
      azeotrope trace leak.txt --tokenizer MODEL_DIR --accounts 1-24000 --json
    """
    keys = KeySet.load(keys_path)
    manifest = keys.manifest(manifest_path)
    encoder = None if words or tokenizer is None else TextTokenizer(tokenizer)
    if encoder is not None:
        encoder.require(manifest.tokenizer)
    elif not words:
        raise click.UsageError("give --tokenizer (or set AZEOTROPE_TOKENIZER), or --words")
    tracer = Tracer(
        keys,
        manifest,
        family_level=family_level,
        device=device,
        threads=threads,
        common=load_filter(common, encoder),
    )
    digest_keys = tuple(filter(None, map(digest_key, keys.epochs)))
    candidates = read_candidates(registry, accounts, digests=bool(digest_keys))
    if candidates.has_digests and not digest_keys:
        complain("exact copies are not looked up: that takes the keyring itself")
    searched = _calls(calls, candidates)
    if not len(candidates.accounts) and not len(searched):
        raise InputError("nobody to search: give --registry, --accounts or --calls LOW-HIGH")
    screen = None if as_json else console(color)
    encoders = Encoders(keys, encoder, words=words)
    epochs = tuple(entry.epoch for entry in keys.epochs)
    session = _Session(epochs, encoders, tracer, candidates, searched, digest_keys, screen)
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


def exit_status(traces: list[_Found]) -> int:
    """Return 0 if somebody is named, else 1 if somebody could have been, else 3."""
    if any(found.trace.named or found.copies for found in traces):
        return 0
    return 1 if any(found.trace.possible for found in traces) else 3


def character_spans(found: Trace, offsets: Mapping[int, Sequence[tuple[int, int]]]) -> Places:
    """Half-open character spans of the pieces, from the character offsets in each epoch."""
    return [
        (offsets[piece.epoch][piece.first][0], offsets[piece.epoch][piece.last][1])
        for piece in found.pieces
    ]


def record(
    name: str,
    found: Trace,
    candidates: Candidates,
    places: Places,
    copies: Sequence[CallRecord],
) -> dict[str, Any]:
    """Return the JSON form of a trace (docs/how-to-trace.md, "The JSON form")."""
    pieces = [
        asdict(piece) | {"name": candidates.name(piece.account), "start": start, "end": end}
        for piece, (start, end) in zip(found.pieces, places, strict=True)
    ]
    return {
        "document": name,
        "named": found.named or bool(copies),
        "tokens": found.tokens,
        "epochs_searched": found.epochs_searched,
        "forms_searched": found.forms_searched,
        "account": _search_record(found.account),
        "call": _search_record(found.call),
        "pieces": pieces,
        "copies": [asdict(copy) | {"name": candidates.name(copy.account)} for copy in copies],
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
