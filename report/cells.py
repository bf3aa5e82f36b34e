"""Estimates and comparisons as cells of a table."""

from __future__ import annotations

from report.statistics import Comparison, Estimate
from report.table import MISSING, Cell, Interval, Number


def estimated(estimate: Estimate | None, digits: int = 1) -> Cell:
    """A mean and its standard error."""
    return MISSING if estimate is None else Number(estimate.mean, estimate.se, digits)


def difference(value: float | None, spread: float | None = None, mark: str = "") -> Cell:
    """A difference in percent points."""
    return MISSING if value is None else Number(value, spread, digits=2, signed=True, mark=mark)


def decision(comparison: Comparison | None) -> tuple[Cell, ...]:
    """Mean, interval, p, n."""
    if comparison is None:
        return (MISSING,) * 4
    return (
        difference(comparison.effect, comparison.se),
        Interval(comparison.low, comparison.high),
        Number(comparison.p, digits=4),
        Number(comparison.n, digits=0),
    )
