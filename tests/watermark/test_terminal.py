"""How p-values are written."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watermark.detect.terminal import format_p, format_rate


@pytest.mark.parametrize(
    ("log10_p", "shown"),
    [
        (0.0, "1.000"),
        (math.log10(0.5), "0.500"),
        (-2.0, "0.010"),
        (-3.0, "1.0e-3"),
        (math.log10(3.14e-24), "3.1e-24"),
        (math.log10(9.96e-7), "1.0e-6"),
        (-1204.5, "3.2e-1205"),
    ],
)
def test_p_values_are_readable_however_small(log10_p: float, shown: str) -> None:
    assert format_p(log10_p) == shown


@given(st.floats(-5000, 0))
def test_a_p_value_is_shown_to_a_twentieth_of_itself(log10_p: float) -> None:
    mantissa, _, exponent = format_p(log10_p).partition("e")
    if exponent:
        assert 1 <= float(mantissa) < 10
        assert math.log10(float(mantissa)) + int(exponent) == pytest.approx(log10_p, abs=0.022)
    else:
        assert float(mantissa) == pytest.approx(10**log10_p, abs=5.1e-4)


def test_rates_are_written_as_analysts_write_them() -> None:
    assert [format_rate(level) for level in (1e-5, 0.001, 0.05)] == ["1e-05", "1e-03", "5e-02"]
