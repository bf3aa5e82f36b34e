"""A table: a few grids of numbers under one heading, and its output for the terminal, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tabulate import tabulate

from report.records import Group
from report.statistics import Comparison, Estimate


@dataclass(frozen=True)
class Basis:
    """What a number was computed from."""

    cells: tuple[str, ...] = ()
    """Hashes of the cells whose mean it is."""
    minus: tuple[str, ...] = ()
    """For a difference: hashes of the cells whose mean is subtracted."""
    metric: str = "accuracy"
    selection: str = "last"
    source: str = ""
    """For a published number: its provenance and where it was read."""


@dataclass(frozen=True)
class Number:
    """A number in a table, at full precision, with what is needed to write it."""

    value: float
    spread: float | None = None
    """Written after a plus-minus sign; nan is written ``-`` (one run has no standard error)."""
    digits: int = 1
    signed: bool = False
    best: bool = False
    """The best in its column among rows of the same origin."""
    tied: bool = False
    """Not the best mean, but not significantly below it."""
    mark: str = ""
    """Written after the number, explained in a note."""
    basis: Basis | None = None


@dataclass(frozen=True)
class Interval:
    """A 95 % interval of a difference, in percentage points or in the unit of another metric."""

    low: float
    high: float
    basis: Basis | None = None
    digits: int = 2


Cell = Number | Interval | str
MISSING = "-"
P_DIGITS = 4
"""Digits of p-values."""


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
    """Heading of the labels."""


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
    """A difference in percentage points."""
    return MISSING if value is None else Number(value, spread, digits=2, signed=True, mark=mark, basis=basis)


def decision(comparison: Comparison | None, basis: Basis | None = None) -> tuple[Cell, ...]:
    """Mean, interval, p, n; more digits if the metric is not a percentage, but a distance or a weight."""
    if comparison is None:
        return (MISSING,) * 4
    digits = 2 if basis is None or basis.metric.partition("@")[0].endswith("accuracy") else 4
    return (
        Number(comparison.effect, comparison.se, digits, signed=True, basis=basis),
        Interval(comparison.low, comparison.high, basis, digits),
        Number(comparison.p, digits=P_DIGITS, basis=basis),
        Number(comparison.n, digits=0),
    )


CSV_COLUMNS = (
    *("paper", "experiment", "dataset", "protocol", "backbone", "track", "grid", "row", "origin", "column"),
    *("value", "spread", "low", "high"),
)
"""Columns of the CSV form: one row per cell; an interval has only ``low`` and ``high``; words are in ``value``."""


MARKS = "bold: the best of its column and run; in italics: a mean not significantly below the best (interval or p)"


def has_marks(grid: Grid) -> bool:
    """Whether any mean of a grid ties with the best, which then needs an explanation."""
    return any(isinstance(cell, Number) and cell.tied for line in grid.lines for cell in line.cells)


def cell_text(cell: Cell) -> str:
    """The cell as plain text, rounded for reading."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, Interval):
        return MISSING if math.isnan(cell.low) else f"[{cell.low:+.{cell.digits}f}, {cell.high:+.{cell.digits}f}]"
    if math.isnan(cell.value):
        return MISSING
    if cell.digits == P_DIGITS and cell.spread is None and not cell.signed and 0 < cell.value < 0.5 * 10**-P_DIGITS:
        return f"<{10**-P_DIGITS:.{P_DIGITS}f}"  # small, but not 0
    text = f"{cell.value:{'+' if cell.signed else ''}.{cell.digits}f}"
    if cell.spread is not None:
        text += " ± " + (MISSING if math.isnan(cell.spread) else f"{cell.spread:.{cell.digits}f}")
    return text + cell.mark


def _markdown_cell(cell: Cell) -> str:
    text = cell_text(cell).replace("|", "\\|").replace("*", "\\*")
    if isinstance(cell, Number) and cell.best:
        return f"**{text}**"
    return f"_{text}_" if isinstance(cell, Number) and cell.tied else text


def _grid(grid: Grid, style: str, write: Callable[[Cell], str], column: Callable[[str], str]) -> str:
    """The grid by tabulate, numbers to the right and words to the left."""
    headers = [grid.heading, "run", *map(column, grid.columns)]
    body = [[line.label, line.origin, *map(write, line.cells)] for line in grid.lines]
    words = {i for line in grid.lines for i, cell in enumerate(line.cells) if isinstance(cell, str) and cell != MISSING}
    align = ["left", "left", *("left" if i in words else "right" for i in range(len(grid.columns)))]
    return tabulate(body, headers, tablefmt=style, colalign=align, disable_numparse=True)


def _broken(column: str) -> str:
    """``source:target`` on two lines; a colon followed by a space does not break."""
    return re.sub(r":(?=\S)", ":\n", column)


def as_text(table: Table) -> str:
    """For a terminal."""
    parts = [f"{table.title}\n{'=' * len(table.title)}"]
    width = max(len(name) for name, _ in table.facts)
    parts.append("\n".join(f"{name:<{width}}  {value}" for name, value in table.facts))
    parts += map(grid_text, table.grids)
    return "\n\n".join(parts) + "\n"


def grid_text(grid: Grid) -> str:
    """One grid for a terminal."""
    body = _grid(grid, "simple", cell_text, _broken)
    return "\n".join([grid.title, "", body, *(f"  {note}" for note in grid.notes)])


def as_markdown(table: Table) -> str:
    """GitHub's Markdown; the best number of a column is bold, a mean not significantly below it in italics."""
    parts = [f"## {table.title}", "\n".join(f"- {name}: {value}" for name, value in table.facts)]
    return "\n\n".join((*parts, *map(grid_as_markdown, table.grids))) + "\n"


def grid_as_markdown(grid: Grid) -> str:
    """A grid under its title, with its notes."""
    parts = [f"### {grid.title}", _grid(grid, "pipe", _markdown_cell, str)]
    notes = [*grid.notes, *([MARKS] if has_marks(grid) else [])]
    if notes:
        parts.append("\n".join(f"- {note}".replace("*", "\\*") for note in notes))
    return "\n\n".join(parts)


def plain(value: float | None) -> str:
    """A number in a CSV file, at full precision; empty if there is none."""
    return "" if value is None or math.isnan(value) else f"{value:.10g}"


def _csv_numbers(cell: Cell) -> tuple[str, str, str, str]:
    """Value, spread, low, high; empty if there is none."""
    if isinstance(cell, str):
        return ("" if cell == MISSING else cell), "", "", ""
    if isinstance(cell, Interval):
        return "", "", plain(cell.low), plain(cell.high)
    return plain(cell.value), plain(cell.spread), "", ""


def as_csv(tables: Sequence[Table]) -> str:
    """All cells of all tables, at full precision, under one header."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for table in tables:
        for grid in table.grids:
            for line in grid.lines:
                place = (table.paper, table.experiment, *table.group, grid.name, line.label, line.origin)
                for column, cell in zip(grid.columns, line.cells, strict=True):
                    writer.writerow((*place, column, *_csv_numbers(cell)))
    return stream.getvalue()
