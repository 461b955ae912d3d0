"""What tracing found, for the terminal."""

from collections.abc import Callable, Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.progress import TimeRemainingColumn as Remaining
from rich.table import Table
from rich.text import Text

from watermark.detect.candidates import CallRecord
from watermark.detect.splice import Piece
from watermark.detect.terminal import format_p, visible_line
from watermark.detect.trace import Search, Suspect, Trace

Places = Sequence[tuple[int, int]]


def render(
    name: str,
    found: Trace,
    names: Callable[[int], str],
    places: Places,
    copies: Sequence[CallRecord] = (),
) -> RenderableType:
    """A panel: who is named, winner and runner-up of each search, the pieces, exact copies.

    `places` are the half-open character spans of the pieces.
    """
    parts: list[RenderableType] = [_copy(copy, names) for copy in copies]
    parts.append(_headline(found, names))
    for channel, search in (("account", found.account), ("call", found.call)):
        if search is not None:
            parts += [Text(), Text(_question(channel, search, found), "dim"), _table(search)]
    if found.pieces:
        parts += [Text(), _piece_table(found.pieces, names, places)]
    return Panel(Group(*parts), title=Text(visible_line(name)), title_align="left")


def progress_bar(**options: object) -> Progress:
    """A bar with rate and time left, for long searches of calls."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate())
    return Progress(*columns, Remaining(), transient=True, **options)  # type: ignore[arg-type]


class _Rate(ProgressColumn):
    """Numbers tried a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "", "dim")


def _copy(copy: CallRecord, names: Callable[[int], str]) -> Text:
    whose = f"account {_label(copy.account, names(copy.account))}"
    said = f"EXACT COPY of call {copy.number}   {whose}, {copy.time}, {copy.model}"
    return Text(visible_line(said), "bold green")


def _headline(found: Trace, names: Callable[[int], str]) -> Text:
    accounts = {piece.account for piece in found.pieces}
    if found.account is not None and found.account.named:
        accounts.add(found.account.winner.number)
    shown = [f"account {_label(number, names(number))}" for number in sorted(accounts)]
    if found.call is not None and found.call.named:
        shown.append(f"call {found.call.winner.number}")
    if shown:
        text = Text("NAMED   " + visible_line(", ".join(shown)), "bold green")
    elif found.possible:
        text = Text("NOBODY NAMED", "bold")
    else:
        text = Text("TOO SHORT to name anybody", "bold yellow")
    epochs = f", {found.epochs_searched} epochs" if found.epochs_searched > 1 else ""
    forms = ", as given and normalised" if found.forms_searched > 1 else ""
    return text.append(f"   {found.tokens} tokens{epochs}{forms}", "dim")


def _question(channel: str, search: Search, found: Trace) -> str:
    factor = f"p times {search.factor:,}"
    epochs = f" in {found.epochs_searched} epochs" if found.epochs_searched > 1 else ""
    return f"{channel}: {search.searched:,} searched{epochs}; family-wise p is {factor}"


def _table(search: Search) -> Table:
    table = _columns("", "number", "windows", "green", "share", "p", "family-wise p", "")
    family = format_p(search.log10_family_p)
    verdict = "named" if search.named else "not named"
    if search.record is not None:
        verdict += f": {search.record.time}, {search.record.model}"
    table.add_row("winner", *_cells(search.winner), family, Text(visible_line(verdict)))
    if search.runner_up is not None:
        margin = f"{search.margin_hits} green, 10^{search.margin_log10_p:.1f} behind"
        table.add_row("runner-up", *_cells(search.runner_up), "", margin)
    return table


def _cells(suspect: Suspect) -> tuple[Text, str, str, str, str]:
    test = suspect.test
    return (
        Text(visible_line(_label(suspect.number, suspect.name))),
        str(test.windows),
        str(test.hits),
        f"{test.green_share:.1%}",
        format_p(test.log10_p),
    )


def _piece_table(pieces: Sequence[Piece], names: Callable[[int], str], places: Places) -> Table:
    table = _columns("characters", "account", "windows", "green", "p", "family-wise p")
    for piece, (start, end) in zip(pieces, places, strict=True):
        table.add_row(
            f"{start}-{end}",
            Text(visible_line(_label(piece.account, names(piece.account)))),
            str(piece.windows),
            str(piece.hits),
            format_p(piece.log10_p),
            format_p(piece.log10_family_p),
        )
    return table


def _columns(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in _NUMERIC else "left")
    return table


_NUMERIC = {"windows", "green", "share", "p", "family-wise p"}


def _label(number: int, name: str) -> str:
    return f"{number} ({name})" if name else str(number)
