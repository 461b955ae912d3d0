"""The scorecard as a picture."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from benchmarks.attacks.scoring import Row
from watermark.detect.pvalues import clopper_pearson

# Attack, strength, and the least share that must be found at 1e-3.
FLOORS = (
    ("random word edits", "10%", 0.9),
    ("dilution", "1,000 in 1,000 of human text", 0.9),
)
_INK, _FAINT, _STRICT, _FLOOR = "#1f2933", "#9aa5b1", "#2f6690", "#c1440e"


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw the shares found at 1e-3 (with intervals) and 1e-5, a line for each row."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    ordered = sorted(rows, key=lambda row: row.attack)
    groups = [(name, list(group)) for name, group in groupby(ordered, lambda row: row.attack)]
    lines = len(ordered) + 0.6 * len(groups)
    figure, axes = plt.subplots(figsize=(9, 0.225 * lines + 1.2))
    place, ticks, labels = 0.0, [], []
    for name, group in groups:
        for index, row in enumerate(group):
            _point(axes, row, place)
            ticks.append(place)
            labels.append(f"{name}:  {row.strength}" if index == 0 else row.strength)
            place += 1
        place += 0.6
    _finish(axes, ticks, labels, place)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _point(axes, row: Row, place: float) -> None:  # type: ignore[no-untyped-def]
    count = len(row.log10_ps)
    hits, strict = row.found(-3), row.found(-5)
    low, high = clopper_pearson(hits, count)
    axes.plot([100 * low, 100 * high], [place, place], color=_FAINT, linewidth=3, zorder=1)
    axes.plot(100 * hits / count, place, "o", color=_INK, markersize=5.5, zorder=3)
    axes.plot(100 * strict / count, place, "D", color=_STRICT, fillstyle="none", markersize=7)
    for attack, strength, least in FLOORS:
        if (row.attack, row.strength) == (attack, strength):
            axes.plot([100 * least] * 2, [place - 0.5, place + 0.5], color=_FLOOR, linewidth=2.5)


def _finish(axes, ticks: list[float], labels: list[str], end: float) -> None:  # type: ignore[no-untyped-def]
    axes.plot([], [], "o", color=_INK, label="found at FPR 1e-3, with 95 % interval")
    axes.plot([], [], "D", color=_STRICT, fillstyle="none", label="found at FPR 1e-5")
    axes.plot([], [], color=_FLOOR, linewidth=2.5, label="floor (90 % at 1e-3)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=3, frameon=False, fontsize=8)
    axes.set_yticks(ticks, labels, fontsize=8, color=_INK)
    axes.set_ylim(end - 0.6, -1)
    axes.set_xlim(-2, 102)
    axes.set_xlabel("texts found, %", fontsize=9, color=_INK)
    axes.grid(axis="x", color="#e4e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
