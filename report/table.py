"""What a table is, independent of how it is written: a few grids of numbers under one heading."""

from __future__ import annotations

from dataclasses import dataclass

from report.records import Group
from report.statistics import Comparison, Estimate


@dataclass(frozen=True)
class Basis:
    """What a number was computed from."""

    cells: tuple[str, ...] = ()
    """Hashes of the cells whose mean it is."""
    minus: tuple[str, ...] = ()
    """Of a difference: hashes of the cells whose mean is taken off."""
    metric: str = "accuracy"
    selection: str = "last"
    source: str = ""
    """Of a published number: what it is worth and where it was read."""


@dataclass(frozen=True)
class Number:
    """A number of a table, at full precision, with what is needed to write it."""

    value: float
    spread: float | None = None
    """Written after a plus-minus sign; nan is written ``-`` (one run has no standard error)."""
    digits: int = 1
    signed: bool = False
    best: bool = False
    """The best of its column among rows of the same origin."""
    tied: bool = False
    """Not the best mean, but not significantly worse than it."""
    mark: str = ""
    """Written after the number, explained in a note."""
    basis: Basis | None = None


@dataclass(frozen=True)
class Interval:
    """A 95 % interval of a difference, in percent points or in the unit of another metric."""

    low: float
    high: float
    basis: Basis | None = None
    digits: int = 2


Cell = Number | Interval | str
MISSING = "-"


@dataclass(frozen=True)
class Line:
    """One line of a grid."""

    label: str
    origin: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Grid:
    """Lines under common columns."""

    name: str
    """Short and without spaces, for files."""
    title: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()
    heading: str = "row"
    """Over the labels."""


@dataclass(frozen=True)
class Table:
    """Everything about one experiment on one data set, protocol, backbone and track."""

    paper: str
    experiment: str
    group: Group
    title: str
    facts: tuple[tuple[str, str], ...]
    """Name and value, for the heading."""
    grids: tuple[Grid, ...]


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
