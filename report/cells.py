"""Estimates and comparisons as cells of a table."""

from __future__ import annotations

from report.statistics import Comparison, Estimate
from report.table import MISSING, Basis, Cell, Interval, Number


def estimated(estimate: Estimate | None, digits: int = 1, basis: Basis | None = None) -> Cell:
    """A mean and its standard error."""
    return MISSING if estimate is None else Number(estimate.mean, estimate.se, digits, basis=basis)


def difference(value: float | None, spread: float | None = None, mark: str = "", basis: Basis | None = None) -> Cell:
    """A difference in percent points."""
    return MISSING if value is None else Number(value, spread, digits=2, signed=True, mark=mark, basis=basis)


def decision(comparison: Comparison | None, basis: Basis | None = None) -> tuple[Cell, ...]:
    """Mean, interval, p, n; more digits where the metric is no percentage, but a distance or a weight."""
    if comparison is None:
        return (MISSING,) * 4
    digits = 2 if basis is None or basis.metric.partition("@")[0].endswith("accuracy") else 4
    return (
        Number(comparison.effect, comparison.se, digits, signed=True, basis=basis),
        Interval(comparison.low, comparison.high, basis, digits),
        Number(comparison.p, digits=4, basis=basis),
        Number(comparison.n, digits=0),
    )
