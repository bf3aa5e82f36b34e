"""Tables as HTML: what the templates are given, and how a number on a page refers to what it was computed from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from report import records
from report.claims import NOT_RUN, VERDICTS
from report.records import COMMITTED, SELECTIONS
from report.table import MISSING, Basis, Cell, Grid, Number, Table, cell_text

TEMPLATES = Path(__file__).parent / "templates"
OPEN = ("accuracy", "difference", "difference-1", "claims")
"""Grids shown at once; the others are folded up."""
LONG = 6
"""Number of lines beyond which a table gets a filter field."""
FACTS = (
    *("method", "variant", "setting", "dataset", "protocol", "task", "split", "seed", "backbone", "track"),
    *("n_test", "device", "torch", "commit"),
)
"""Columns of a results file that identify a cell, in the order of the page."""


@dataclass
class Sources:
    """The cells and published sources that one page's numbers refer to."""

    frames: list[pd.DataFrame] = field(default_factory=list)
    """Rows of results whose cells may be referred to."""
    specs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Hash -> further records of a cell: spec and versions."""
    places: dict[str, int] = field(default_factory=dict)
    """Hash -> number on the page."""
    published: dict[str, int] = field(default_factory=dict)
    """Words -> number on the page."""
    metrics: set[str] = field(default_factory=set)
    """Metrics of the shown numbers, besides the accuracy."""

    def cells(self, hashes: Sequence[str]) -> str:
        """Numbers of cells as ranges: ``0-4,9``."""
        numbers = [self.places.setdefault(one, len(self.places)) for one in hashes]
        parts: list[list[int]] = []
        for number in numbers:
            if parts and number == parts[-1][1] + 1:
                parts[-1][1] = number
            else:
                parts.append([number, number])
        return ",".join(f"{low}-{high}" if low < high else f"{low}" for low, high in parts)

    def source(self, words: str) -> int:
        return self.published.setdefault(words, len(self.published))

    def json(self) -> str:
        """Everything that was referred to, for the page's script."""
        found = self._found()
        plain = {"facts": FACTS, "cells": found, "sources": list(self.published), "selections": SELECTIONS}
        return json.dumps(plain, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")

    def _found(self) -> list[dict[str, Any]]:
        """Every cell that was referred to, in order of its number."""
        found: dict[str, dict[str, Any]] = {}
        columns = ["cell", "origin", "paper", "experiment", "seconds", "metric", "selection", "value", *FACTS]
        for frame in self.frames:
            used = [cell in self.places for cell in frame["cell"].tolist()]  # pandas takes several times as long
            for values in records.plain(frame[used], columns):
                row = dict(zip(columns, values, strict=True))
                name, metric = row["cell"], row["metric"]
                if name not in found:
                    facts = [str(row[fact]) for fact in FACTS]
                    found[name] = {"cell": name, "facts": facts, "values": {}, "in": []}
                cell = found[name]
                if "," not in metric or metric in self.metrics:  # for matrices only the entries shown
                    cell["values"][f"{metric} {row['selection']}"] = row["value"]
                folder = "results" if row["origin"] == COMMITTED else "runs/tables"
                read = {
                    "file": f"{folder}/{row['paper']}/{row['experiment']}.csv",
                    "seconds": str(row["seconds"]),
                    "commit": str(row["commit"]),
                }
                if read not in cell["in"]:
                    cell["in"].append(read)
        for name, record in self.specs.items():
            if name in found:
                found[name]["record"] = record
        return [found.get(cell, {"cell": cell, "facts": [], "values": {}, "in": []}) for cell in self.places]


def cell_view(cell: Cell, sources: Sources | None) -> dict[str, Any]:
    """A cell for the templates: its text, sort key, classes and sources."""
    view: dict[str, Any] = {"text": cell_text(cell), "classes": [], "sort": None, "attributes": {}}
    if isinstance(cell, str):
        first = next((one for one in VERDICTS if cell.startswith(one)), None)
        said = [one for one in VERDICTS if one != NOT_RUN and one in cell]
        view["classes"] = ["none"] if cell == MISSING else ["word"]
        if first and said in ([], [first]):  # of several verdicts none has the colour
            view["classes"].append(f"is-{first.replace(' ', '-')}")
        return view
    basis: Basis | None = cell.basis
    if isinstance(cell, Number):
        view["sort"] = None if math.isnan(cell.value) else f"{cell.value:.10g}"
        view["classes"] = ["best"] * cell.best + ["tied"] * cell.tied
    elif not math.isnan(cell.low):
        view["sort"] = f"{cell.low:.10g}"
    if view["text"] == MISSING:
        view["classes"] = ["none"]
    elif sources is not None and basis is not None:
        view["attributes"] = _attributes(basis, sources)
    return view


def _attributes(basis: Basis, sources: Sources) -> dict[str, str]:
    if basis.source:
        return {"data-s": str(sources.source(basis.source))}
    if not basis.cells:
        return {}
    found = {"data-c": sources.cells(basis.cells)}
    if basis.minus:
        found["data-less"] = sources.cells(basis.minus)
    if (basis.metric, basis.selection) != ("accuracy", "last"):
        found["data-m"] = f"{basis.metric} {basis.selection}"
        sources.metrics.add(basis.metric)
    return found


def grid_view(grid: Grid, sources: Sources | None, name: str) -> dict[str, Any]:
    """A grid for the templates; ``name`` is unique on its page."""
    words = {i for line in grid.lines for i, cell in enumerate(line.cells) if isinstance(cell, str) and cell != MISSING}
    tied = any(isinstance(cell, Number) and cell.tied for line in grid.lines for cell in line.cells)
    best = any(isinstance(cell, Number) and cell.best for line in grid.lines for cell in line.cells)
    notes = list(grid.notes)
    if best:
        notes.append(
            "bold: the best of its column and run" + "; solid underline: a mean not significantly below it" * tied
        )
    return {
        "id": name,
        "name": grid.name,
        "title": grid.title,
        "heading": grid.heading,
        "second": "run",
        "columns": [{"label": label, "word": i in words} for i, label in enumerate(grid.columns)],
        "lines": [
            {
                "label": line.label,
                "origin": line.origin,
                "published": line.origin.startswith("published"),
                "cells": [cell_view(cell, sources) for cell in line.cells],
            }
            for line in grid.lines
        ],
        "notes": notes,
        "open": grid.name in OPEN,
        "long": len(grid.lines) > LONG,
    }


def table_view(table: Table, sources: Sources | None, name: str) -> dict[str, Any]:
    """A table for the templates."""
    numbers = count()
    grids = [grid_view(grid, sources, f"{name}-{next(numbers)}-{grid.name}") for grid in table.grids]
    return {"id": name, "title": table.title, "group": table.group, "facts": table.facts, "grids": grids}


@cache
def environment() -> jinja2.Environment:
    """The templates."""
    loader = jinja2.FileSystemLoader(TEMPLATES)
    return jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )


def document(tables: Iterable[Table]) -> str:
    """Only tables, as one HTML document without style or script."""
    views = [table_view(table, None, f"table-{number}") for number, table in enumerate(tables)]
    return environment().get_template("tables.html").render(tables=views)
