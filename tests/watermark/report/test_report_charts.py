"""The charts: well-formed, described in words, drawn inside their frame."""

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_samples import marked

from watermark.detect.report.charts import decoy_strip, histogram, interval_bar, share_bar
from watermark.detect.report.summary import BINS, DecoyCheck, Interval


def parse(svg: str) -> ElementTree.Element:
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    assert root.get("aria-label")
    assert root.findtext("title") == root.get("aria-label")
    _, _, width, height = map(float, root.get("viewBox", "").split())
    for node in root.iter():
        for name, most in (("x", width), ("x1", width), ("x2", width), ("y", height)):
            assert -0.01 <= float(node.get(name, 0)) <= most + 0.01
        assert float(node.get("width", 1)) >= 0
        assert float(node.get("height", 1)) >= 0
    return root


def bars(root: ElementTree.Element) -> list[float]:
    boxes = [node for node in root.iter("rect") if node.get("class", "").startswith("bar")]
    return [float(node.get("height", 0)) for node in boxes]


@given(st.lists(st.integers(0, 10**9), min_size=BINS, max_size=BINS).filter(any))
def test_the_bars_of_a_histogram_are_as_high_as_their_counts(counts: list[int]) -> None:
    heights = bars(parse(histogram(counts)))
    top = max(counts)
    assert heights == pytest.approx([max(heights) * n / top for n in counts], abs=0.11)


def test_a_histogram_says_what_chance_would_give() -> None:
    svg = histogram([140, *[40] * 19])
    assert "140 lie below 0.05, where chance alone would put 45.0" in svg
    assert "chance alone: 45.0 in each bar" in svg


def test_a_histogram_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no documents"):
        histogram([0] * BINS)


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=60), st.floats(-5000, 5000))
def test_the_true_key_is_drawn_wherever_it_lies(values: list[float], true_z: float) -> None:
    root = parse(decoy_strip(DecoyCheck.of(1, values, true_z)))
    assert f"z = {true_z:.1f}" in [node.text for node in root.iter("text")]
    assert bars(root)


def test_a_true_key_far_away_stands_past_a_broken_axis() -> None:
    values = [-1.0, 0.0, 1.0]
    assert "not to scale" in decoy_strip(DecoyCheck.of(1, values, 80.0))
    assert "not to scale" not in decoy_strip(DecoyCheck.of(1, values, 9.0))


@given(st.floats(-1, 2), st.floats(-1, 2), st.floats(-1, 2))
def test_an_interval_stays_on_its_scale(a: float, b: float, c: float) -> None:
    low, point, high = sorted((a, b, c))
    parse(interval_bar(Interval(point, low, high), "Share <of> documents"))


def test_the_bar_of_an_account_says_its_share() -> None:
    svg = share_bar(marked().accounts[0])
    parse(svg)
    assert re.search(r"green share 58\.9 %, by chance 25\.0 %", svg)
