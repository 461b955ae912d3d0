"""A scan's summary in the terminal."""

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from watermark.detect.report import wording
from watermark.detect.report.summary import ScanSummary
from watermark.detect.terminal import visible_line

_STYLE = {"marked": "bold green", "inconclusive": "bold yellow", "invalid": "bold white on red"}
_MAX_ROWS = 5


def print_summary(console: Console, summary: ScanSummary) -> None:
    """Print the verdict, the tests behind it, the accounts, and what was not read."""
    word = wording.verdict_word(summary)
    parts: list[RenderableType] = [
        Text(wording.verdict_sentence(summary), "bold"),
        Text(_read(summary), "dim"),
    ]
    if summary.pooled:
        parts += [_pooled(summary), Text(wording.correction_line(summary), "dim")]
    parts.append(Text(wording.decoy_sentence(summary), "" if summary.decoys else "dim"))
    if summary.verdict != "invalid":  # nothing of such a run may be quoted as a finding
        parts += _findings(summary)
    parts += _bad(summary)
    title = Text(f" {word.upper()} ", _STYLE.get(word, "bold"))
    console.print(Panel(Group(*parts), title=title, title_align="left"))


def _findings(summary: ScanSummary) -> list[RenderableType]:
    sentences = []
    if summary.documents.tested:
        sentences.append(wording.documents_sentence(summary))
    if summary.share is not None:
        sentences += wording.share_sentences(summary)
    return [*map(Text, sentences), *_accounts(summary)]


def _read(summary: ScanSummary) -> str:
    corpus = summary.corpus
    counts = ((corpus.files, "file"), (corpus.records, "document"), (corpus.tokens, "token"))
    return ", ".join(wording.plural(count, noun) for count, noun in counts)


def _table(*headings: str) -> Table:
    """A table without lines; headings in capitals stand over words, the others over numbers."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in headings:
        table.add_column(heading.lower(), justify="left" if heading.isupper() else "right")
    return table


def _pooled(summary: ScanSummary) -> Table:
    table = _table("EPOCH", "TEXT READ", "CHANNEL", "windows", "green", "share", "chance", "p")
    for test in summary.pooled:
        table.add_row(
            str(test.epoch),
            Text(visible_line(test.form)),
            test.channel,
            f"{test.windows:,}",
            f"{test.hits:,}",
            wording.percent(test.green_share),
            wording.percent(test.gamma),
            wording.show_p(test.log10_p),
        )
    return table


def _accounts(summary: ScanSummary) -> list[RenderableType]:
    if not summary.account_candidates:
        return []
    searched = wording.plural(summary.account_candidates, "account")
    if not summary.accounts:
        return [Text(f"None of {searched} is named.")]
    table = _table("ACCOUNT", "number", "documents", "windows", "green", "p")
    for account in summary.accounts[:_MAX_ROWS]:
        table.add_row(
            Text(visible_line(account.name)),
            str(account.number),
            f"{account.documents:,}",
            f"{account.windows:,}",
            f"{account.hits:,}",
            wording.show_p(account.log10_family_p),
        )
    named = len(summary.accounts)
    return [Text(f"{named} of {searched} {'is' if named == 1 else 'are'} named:"), table]


def _bad(summary: ScanSummary) -> list[RenderableType]:
    corpus = summary.corpus
    if not corpus.bad_records and not corpus.bad_files:
        return []
    records = wording.plural(corpus.bad_records, "record")
    lines = [f"{records} and {wording.plural(corpus.bad_files, 'file')} could not be read:"]
    shown = summary.bad[:_MAX_ROWS]
    lines += [f"  {visible_line(item.where)}: {visible_line(item.reason)}" for item in shown]
    return [Text("\n".join(lines), "yellow")]
