"""Comparisons as cells of a table."""

from __future__ import annotations

import pytest

from report.statistics import Comparison
from report.table import Basis, Number, cell_text, decision


@pytest.mark.parametrize(
    ("metric", "effect", "interval"),
    [
        ("accuracy", "+0.01 ± 0.00", "[+0.01, +0.02]"),
        ("domain_accuracy", "+0.01 ± 0.00", "[+0.01, +0.02]"),
        ("test_accuracy@20", "+0.01 ± 0.00", "[+0.01, +0.02]"),
        ("linear_mmd", "+0.0126 ± 0.0024", "[+0.0061, +0.0191]"),
        ("alpha.mean", "+0.0126 ± 0.0024", "[+0.0061, +0.0191]"),
    ],
)
def test_a_percentage_has_two_digits_and_a_distance_four(metric: str, effect: str, interval: str) -> None:
    comparison = Comparison(0.0126, 0.0024, 0.0061, 0.0191, 0.0024, 5, {})
    cells = decision(comparison, Basis(metric=metric))
    assert [cell_text(cell) for cell in cells] == [effect, interval, "0.0024", "5"]


def test_a_p_value_is_never_written_as_zero() -> None:
    assert [cell_text(Number(value, digits=4)) for value in (0.00004, 0.00006, 0.0)] == ["<0.0001", "0.0001", "0.0000"]
    assert cell_text(Number(0.004)) == "0.0", "other numbers are"
