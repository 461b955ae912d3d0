"""Verdicts as one self-contained HTML page: no script, no external resource."""

import math
from collections.abc import Sequence
from importlib.resources import files

from jinja2 import Environment

from watermark.detect.segments import Judged
from watermark.detect.terminal import describe, format_p, format_rate, visible, visible_line


def render_page(judged: Sequence[Judged], *, level: float, reading: str, manifest: str) -> str:
    """Return the page; `reading` and `manifest` say what the texts were tested with."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["p"] = format_p
    environment.filters["names"] = describe
    # A suspect text must not steer how the page shows it.
    environment.filters["visible"] = visible
    environment.filters["line"] = visible_line
    source = files("watermark.detect").joinpath("page.html.jinja").read_text("utf-8")
    return environment.from_string(source).render(
        judged=judged,
        level=format_rate(level),
        reading=reading,
        manifest=manifest,
        needle=_needle,
    )


def _needle(log10_p: float) -> float:
    """Place of a p-value on a scale from 1 (0 %) to 1e-20 and below (100 %)."""
    return min(max(-log10_p, 0.0) / 20, 1.0) * 100 if math.isfinite(log10_p) else 100.0
