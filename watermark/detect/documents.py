"""Documents to judge one by one: the texts of one file, or of standard input."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from watermark.detect.sources import READERS, Fields, read, whole_file
from watermark.errors import InputError


@dataclass(frozen=True, slots=True)
class Document:
    """A text and where it came from ("answer.txt", "set.jsonl:17", "-")."""

    name: str
    text: str


def read_documents(
    source: str, form: str, text_field: str, report: Callable[[str], None]
) -> Iterator[Document]:
    """Yield the documents of one file or URL ("-": standard input).

    `form` is a format of READERS or "auto", which goes by the suffix. Bad records are told to
    `report`, each and their number, and left out; a file that cannot be read raises InputError.
    """
    shard = whole_file(source, form)
    if READERS[shard.format].ids:
        raise InputError(f"{source}: holds token ids and no text (azeotrope scan reads it)")
    bad = good = 0

    def leave_out(position: int, reason: str) -> None:
        nonlocal bad
        bad += 1
        report(f"{shard.record_name(position)}: {reason}; record left out")

    for batch in read(shard, Fields(text_field), leave_out):
        for position, text in zip(batch.positions, batch.texts or (), strict=True):
            good += 1
            yield Document(shard.record_name(int(position)), text)
    if bad:
        report(f"{source}: {bad} of {bad + good} records left out")
