"""Documents to judge: text files, JSON lines, or standard input."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from watermark.errors import InputError

Form = Literal["auto", "text", "jsonl"]


@dataclass(frozen=True, slots=True)
class Document:
    """A text and where it came from ("answer.txt", "set.jsonl:17", "-")."""

    name: str
    text: str


def read_documents(
    source: str, form: Form, text_field: str, report: Callable[[str], None]
) -> Iterator[Document]:
    """Yield the documents of one file ("-": standard input).

    `form` "auto" goes by the suffix: .jsonl and .ndjson hold a record a line, all else is one
    text. Bad records are told to `report`, each and their number, and left out; a file that
    cannot be read raises InputError.
    """
    if form == "auto":
        form = "jsonl" if source.endswith((".jsonl", ".ndjson")) else "text"
    text = _read(source)
    if form == "text":
        yield Document(source, text)
        return
    # Not splitlines(): it cuts at U+2028 and others, which JSON strings may contain.
    lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    bad = 0
    for number, line in lines:
        name = f"{source}:{number}"
        try:
            document = Document(name, _field(line, text_field))
        except ValueError as error:
            report(f"{name}: {error}; record left out")
            bad += 1
        else:
            yield document
    if bad:
        report(f"{source}: {bad} of {len(lines)} records left out")


def _read(source: str) -> str:
    try:
        raw = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror})") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{source}: not UTF-8 text (byte {error.start})") from error


def _field(line: str, text_field: str) -> str:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError("not valid JSON") from error
    if not isinstance(record, dict) or not isinstance(record.get(text_field), str):
        raise ValueError(f"no text in field {text_field!r} (choose another with --text-field)")
    text = str(record[text_field])
    try:
        text.encode()
    except UnicodeEncodeError as error:
        # JSON can spell one; no tokenizer takes it.
        raise ValueError("the text contains half a surrogate pair") from error
    return text
