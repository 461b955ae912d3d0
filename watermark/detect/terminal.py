"""Verdicts for the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:  # what is shared with the report of a scan needs no torch
    from watermark.detect.detector import Detection, Identification
    from watermark.detect.segments import Judged

# A suspect text must not steer the analyst's terminal, or spoof a report: control characters
# become pictures; what turns the direction of writing, or is not seen, becomes its code point.
_UNSEEN = [0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180E, 0x3164, 0xFEFF, 0xFFA0]
_UNSEEN += [*range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2060, 0x2070)]
_UNSEEN += [*range(0xFFF9, 0xFFFC), *range(0x1D173, 0x1D17B), *range(0xE0000, 0xE0080)]
_CONTROLS: dict[int, int | str] = {code: 0x2400 + code for code in range(32)}
_CONTROLS |= {0x7F: 0x2421} | dict.fromkeys([*range(0x80, 0xA0), *range(0xD800, 0xE000)], 0xFFFD)
_CONTROLS |= {code: f"⟨U+{code:04X}⟩" for code in _UNSEEN}
_IN_TEXT = {code: shown for code, shown in _CONTROLS.items() if chr(code) not in "\n\t"}
_VERDICT_STYLE = {"marked": "bold green", "inconclusive": "bold yellow", "not marked": "bold"}
_VERDICT_STYLE |= {"invalid": "bold red"}
_COLOUR_STYLE = {"green": "black on green3", "red": "black on light_pink1", "plain": "dim"}


def format_p(log10_p: float) -> str:
    """A p-value from its decimal logarithm, readable however small: "3.1e-24"."""
    if log10_p > -3:
        return f"{10**log10_p:.3f}"
    exponent = math.floor(log10_p)
    mantissa = 10 ** (log10_p - exponent)
    if mantissa >= 9.95:
        mantissa, exponent = 1.0, exponent + 1
    return f"{mantissa:.1f}e{exponent:d}"


def format_rate(level: float) -> str:
    """A false-positive rate as analysts write it: "1e-05"."""
    return f"{level:.0e}"


def render(item: Judged) -> RenderableType:
    """A panel: verdict, table of channels, marked spans, and the text with its coins coloured."""
    detection = item.detection
    text = Text()
    for piece in item.pieces:
        text.append(visible(piece.text), _COLOUR_STYLE[piece.colour])
    title = Text(visible_line(item.name))
    parts: list[RenderableType] = [_verdict_line(item), channel_table(detection)]
    parts += [*_span_line(item), *_decoy_line(detection), text]
    return Panel(Group(*parts), title=title, title_align="left")


def _verdict_line(item: Judged) -> Text:
    detection = item.detection
    verdict = Text(detection.verdict.upper(), _VERDICT_STYLE[detection.verdict])
    verdict.append(f"   p = {format_p(detection.log10_p)}", "bold")
    verdict.append(f"   {detection.tokens} tokens, epoch {detection.epoch}", "dim")
    if detection.epochs_tested > 1:
        verdict.append(f" (p times {detection.epochs_tested} epochs)", "dim")
    if detection.forms_tested > 1:
        verdict.append(f", read {item.form} (p times 2 forms)", "dim")
    return verdict


def _span_line(item: Judged) -> list[Text]:
    if not item.spans:
        return []
    places = (f"{span.start} to {span.end} (p = {format_p(span.log10_p)})" for span in item.spans)
    return [Text(f"marked span of characters {', '.join(places)}", "dim")]


def _decoy_line(detection: Detection) -> list[Text]:
    check = detection.decoys
    if check is None:
        return []
    found = f"{check.count} decoy keys: mean z {check.mean_z:+.2f} (chance: within "
    found += f"{check.mean_bound:.2f} of 0), spread {check.sd_z:.2f} ({check.spread_low:.2f} to "
    found += f"{check.spread_high:.2f}); the true key ranks {check.rank} of {check.count + 1}"
    return [Text(found, "dim" if check.ok else "bold red")]


def channel_table(detection: Detection) -> Table:
    """The three channels: windows, hits, green share, p, and whom they name."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("channel", "windows", "green", "share", "chance", "p", "names"):
        table.add_column(heading, justify="left" if heading in {"channel", "names"} else "right")
    rows = [("site", detection.site, "", detection.site.log10_p)]
    for channel, found in (("account", detection.account), ("call", detection.call)):
        if found is not None:
            rows.append((channel, found.test, describe(found), found.log10_family_p))
    for channel, test, names, log10_p in rows:
        table.add_row(
            channel,
            str(test.windows),
            str(test.hits),
            f"{test.green_share:.1%}",
            f"{test.gamma:.0%}",
            format_p(log10_p),
            Text(visible_line(names)),
        )
    return table


def visible(text: str) -> str:
    """The text with everything that steers its display made visible; lines and tabs stay."""
    return text.translate(_IN_TEXT)


def visible_line(text: str) -> str:
    """As `visible`, for a name: line ends and tabs are shown as well."""
    return text.translate(_CONTROLS)


def describe(found: Identification) -> str:
    """Whom a search names, among how many, and the runner-up."""
    among = f"of {found.candidates}"
    if not found.named:
        return f"nobody {among} (the best has {found.test.hits}, the next {found.runner_up_hits})"
    label = f"{found.name} " if found.name else ""
    when = f", {found.record.time}, {found.record.model}" if found.record else ""
    margin = f"; runner-up {found.runner_up_hits} green" if found.runner_up_hits >= 0 else ""
    return f"{label}(number {found.number}{when}) {among}{margin}"


def console(colour: bool | None) -> Console:
    """A console on standard output; `colour` None lets the terminal decide."""
    return Console(
        force_terminal=colour, no_color=None if colour is None else not colour, highlight=False
    )
