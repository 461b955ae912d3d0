"""Charts as inline SVG: no script, colours from the page's style sheet, words for the blind."""

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

from watermark.detect.report.summary import BINS, AccountFinding, DecoyCheck, Interval
from watermark.detect.report.wording import percent, plural

_WIDTH = 720
_LEFT, _RIGHT = 64, 704
_SPAN = _RIGHT - _LEFT
# z up to which a linear axis keeps the decoys readable; a true key beyond stands past a break.
_LINEAR_Z = 12.0
_STRIP_BINS = 48


def _svg(height: int, label: str, parts: Sequence[str]) -> Markup:
    head = (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{escape(label)}"><title>{escape(label)}</title>'
    )
    return Markup(head + "".join(parts) + "</svg>")  # noqa: S704


def _text(x: float, y: float, content: str, anchor: str = "middle", kind: str = "note") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {place}>{escape(content)}</text>'


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _box(kind: str, x: float, y: float, width: float, height: float, *, title: str = "") -> str:
    shape = f'class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f"<rect {shape}><title>{escape(title)}</title></rect>" if title else f"<rect {shape}/>"


def _step(top: float) -> float:
    """A round distance of at most five marks up to `top`: 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(top / 5))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor * 5 >= top * 0.999)


def histogram(counts: Sequence[int]) -> Markup:
    """Documents by p, in bins of equal width, against what chance would put into each.

    Raises ValueError if there is no document.
    """
    tested = sum(counts)
    if not tested:
        raise ValueError("a histogram of no documents")
    expected = tested / BINS
    base, top = 210.0, 26.0
    step = max(_step(max(*counts, expected)), 1.0)
    ceiling = step * math.ceil(max(*counts, expected) / step)
    scale = (base - top) / ceiling
    parts = [_gridline(base - value * step * scale, value * step) for value in range(1, 7)
             if value * step <= ceiling]  # fmt: skip
    width, unusual = _SPAN / BINS, expected + 3 * math.sqrt(expected)
    for index, count in enumerate(counts):
        title = f"p {index / BINS:.2f} to {(index + 1) / BINS:.2f}: {plural(count, 'document')}"
        kind = "bar excess" if index == 0 and count > unusual else "bar"
        x, height = _LEFT + index * width, count * scale
        parts.append(_box(kind, x + 1.5, base - height, width - 3, height, title=title))
    level = base - expected * scale
    parts += [
        _line("axis", _LEFT, base, _RIGHT, base),
        _line("expected", _LEFT, level, _RIGHT, level),
    ]
    parts.append(_line("expected", _LEFT + 56, 10, _LEFT + 88, 10))
    legend = f"chance alone: {expected:,.1f} in each bar"
    parts.append(_text(_LEFT + 96, 14, legend, "start", "strong"))
    parts += [
        _text(_LEFT + share * _SPAN, base + 18, f"{share:g}") for share in (0, 0.25, 0.5, 0.75, 1)
    ]
    parts.append(_text(_LEFT + _SPAN / 2, base + 38, "p-value of the document"))
    label = (
        f"Histogram of {plural(tested, 'p-value')} in {BINS} bins; {counts[0]:,} lie below "
        f"{1 / BINS:g}, where chance alone would put {expected:,.1f}"
    )
    return _svg(256, label, parts)


def _gridline(y: float, value: float) -> str:
    return _line("grid", _LEFT, y, _RIGHT, y) + _text(_LEFT - 8, y + 4, f"{value:,.0f}", "end")


def decoy_strip(check: DecoyCheck) -> Markup:
    """The decoys' z as a histogram, and the true key among or beyond them."""
    values = check.values
    far = abs(check.true_z) > max(_LINEAR_Z, 2 * max(map(abs, values)))
    shown = [*values, -4.0, 4.0] + ([] if far else [check.true_z])
    low, high = math.floor(min(shown)), math.ceil(max(shown))
    start, end = _LEFT - 40.0, _RIGHT - (150.0 if far else 20.0)
    if far and check.true_z < 0:
        start, end = start + 150.0, _RIGHT - 20.0
    base, scale = 150.0, (end - start) / (high - low)
    parts = _decoy_bars(
        values, low, (high - low) / _STRIP_BINS, start=start, scale=scale, base=base
    )
    for z in range(low, high + 1, max(round((high - low) / 10), 1)):
        parts.append(_text(start + (z - low) * scale, base + 18, f"{z:+d}" if z else "0"))
    parts += [
        _line("axis", start, base, end, base),
        _text((start + end) / 2, base + 38, "z of the key"),
    ]
    true_x = start + (check.true_z - low) * scale
    if far:
        true_x = _RIGHT - 60.0 if check.true_z > 0 else _LEFT + 20.0
        parts += _break(end if check.true_z > 0 else start, true_x, base)
    parts += [_line("true", true_x, 34, true_x, base), _text(true_x, 14, "true key", kind="strong")]
    parts.append(_text(true_x, 28, f"z = {check.true_z:.1f}", kind="strong"))
    label = (
        f"z of {check.count:,} decoy keys between {min(values):.1f} and {max(values):.1f}; the "
        f"true key has z {check.true_z:.1f} and rank {check.rank:,}"
    )
    return _svg(196, label, parts)


def _decoy_bars(
    values: Sequence[float], low: int, width: float, *, start: float, scale: float, base: float
) -> list[str]:
    counts = [0] * _STRIP_BINS
    for value in values:
        counts[min(int((value - low) / width), _STRIP_BINS - 1)] += 1
    unit, wide = 100 / max(counts), width * scale
    bars = []
    for index, count in enumerate(counts):
        left = low + index * width
        title = f"z {left:.2f} to {left + width:.2f}: {plural(count, 'decoy key')}"
        height = count * unit
        shape = (start + index * wide + 0.75, base - height, wide - 1.5, height)
        bars += [_box("bar", *shape, title=title)] if count else []
    return bars


def _break(edge: float, true_x: float, base: float) -> list[str]:
    """A dashed axis from the decoys to a true key that is too far to scale."""
    return [
        _line("axis dashed", edge, base, true_x, base),
        _text((edge + true_x) / 2, base - 8, "not to scale"),
    ]


def interval_bar(interval: Interval, name: str) -> Markup:
    """An estimated share with its bounds on a scale from 0 to 100 %."""
    point, low, high = (
        _LEFT + min(max(value, 0.0), 1.0) * _SPAN
        for value in (interval.point, interval.low, interval.high)
    )
    parts = [
        _text(_LEFT, 14, name, "start", "strong"),
        _box("rail", _LEFT, 24, _SPAN, 10),
        _box("reach", low, 24, max(high - low, 2), 10),
        _line("true", point, 19, point, 39),
    ]
    parts += [_text(_LEFT + share * _SPAN, 54, f"{share:.0%}") for share in (0, 0.25, 0.5, 0.75, 1)]
    label = (
        f"{name}: {percent(interval.point)}, between {percent(interval.low)} and "
        f"{percent(interval.high)}"
    )
    return _svg(62, label, parts)


def share_bar(account: AccountFinding) -> Markup:
    """An account's green share beside the share that chance gives."""
    share = account.hits / account.windows if account.windows else 0.0
    label = f"green share {percent(share)}, by chance {percent(account.gamma)}"
    return Markup(  # noqa: S704
        f'<svg class="spark" viewBox="0 0 120 14" role="img" aria-label="{label}">'
        f"<title>{label}</title>"
        + _box("rail", 0, 3, 120, 8)
        + _box("reach", 0, 3, 120 * share, 8)
        + _line("true", 120 * account.gamma, 0, 120 * account.gamma, 14)
        + "</svg>"
    )
