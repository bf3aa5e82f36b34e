"""Class by class: accuracies and confusions of the networks that a comparison on a user's own images kept."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.machine.errors import UserError
from benchmarks.records import schema
from benchmarks.records.files import read_csv
from report import comparison
from report.comparison import Comparison, Method
from report.figures import charts
from report.figures.charts import Chart
from report.table import MISSING, Cell, Grid, Line, Number, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Confusion = tuple[tuple[str, ...], NDArray[np.int64]]
"""Classes, and how many images of each (row) were predicted as which (column)."""


def confusions(one: Comparison) -> tuple[Method, dict[str, Confusion]] | None:
    """The recommended method, and its confusion on each task whose target has labels, summed over seeds.

    None if nothing was kept, as for committed comparisons.

    Raises:
        UserError: a malformed file.
    """
    ranked = comparison.ranked(one)
    if not ranked:
        return None
    found = {task: counts for task in one.tested if (counts := _counts(ranked[0], task)) is not None}
    return (ranked[0], found) if found else None


def _counts(method: Method, task: str) -> Confusion | None:
    folders = [Path(network).parent for place, network in method.networks.items() if place[0] == task]
    read = [_read(folder) for folder in folders if (folder / schema.CONFUSION_FILE).is_file()]
    return (read[0][0], np.sum([counts for _, counts in read], axis=0)) if read else None


def _read(folder: Path) -> Confusion:
    classes = tuple(row["class"] for row in read_csv(folder / schema.PER_CLASS_FILE, schema.PER_CLASS))
    path = folder / schema.CONFUSION_FILE
    rows = read_csv(path, ("class", *classes))
    try:
        return classes, np.array([[int(row[one]) for one in classes] for row in rows], dtype=np.int64)
    except ValueError as error:
        raise UserError(f"{path} holds something other than numbers of images.") from error


def table(one: Comparison, committed: Sequence[Comparison]) -> Table:
    """The comparison as a table, and what the recommended method's kept networks say about each class."""
    made, classes = comparison.table(one, committed), grid(one)
    return replace(made, grids=(*made.grids, classes)) if classes else made


def grid(one: Comparison) -> Grid | None:
    """Accuracy of each class on every task, in percent, and the class its images are most often confused with."""
    found = confusions(one)
    if found is None:
        return None
    method, of_task = found
    classes = next(iter(of_task.values()))[0]
    lines = [
        Line(name, one.origin, tuple(cell for task in of_task for cell in _of_class(*of_task[task], number)))
        for number, name in enumerate(classes)
    ]
    columns = tuple(column for task in of_task for column in (task, "images", "else taken for"))
    note = "over all seeds, the last iterate"
    return Grid(
        "classes", f"{method.label}, class by class: accuracy in percent", columns, tuple(lines), (note,), "class"
    )


def _of_class(classes: tuple[str, ...], counts: NDArray[np.int64], number: int) -> tuple[Cell, Cell, Cell]:
    row = counts[number]
    images, right = int(row.sum()), int(row[number])
    if not images:
        return MISSING, Number(0.0, digits=0), MISSING
    others = row.copy()
    others[number] = 0
    mistaken = classes[int(others.argmax())] if others.any() else MISSING
    return Number(100 * right / images), Number(float(images), digits=0), mistaken


def of_comparison(one: Comparison, number: int) -> list[Chart]:
    """A heat map of the confusion for each task whose target has labels; none if nothing was kept."""
    found = confusions(one)
    if found is None:
        return []
    method, of_task = found
    return [
        _chart(f"own-images-{number}-confusion-{place}", method.label, task, *confusion)
        for place, (task, confusion) in enumerate(of_task.items())
    ]


def _chart(name: str, label: str, task: str, classes: tuple[str, ...], counts: NDArray[np.int64]) -> Chart:
    shares = counts / counts.sum(1, keepdims=True).clip(min=1)

    def draw(canvas: Figure) -> None:
        names = list(map(_plain, classes))
        axes = charts.heat_map(canvas, shares, names, names, "share of the class", 1.0)
        axes.set_xlabel("taken for")
        axes.set_title(_plain(f"{label}: {task}"), fontsize=8)

    pairs = [(one, other, int(counts[i, j])) for i, one in enumerate(classes) for j, other in enumerate(classes)]
    right = f"{100 * np.trace(counts) / max(1, counts.sum()):.1f} % of {counts.sum()} predictions are right"
    words = f"Confusion of {label} on {task}, over all seeds: {right}"
    return Chart(
        name,
        f"{words}.",
        f"Heat map. {words}.",
        draw,
        pd.DataFrame(pairs, columns=["class", "taken for", "images"]),
        charts.heat_map_size(len(classes), len(classes)),
    )


def _plain(text: str) -> str:
    """The text unchanged: matplotlib would read dollar signs as mathematics."""
    return re.sub(r"([$\\])", r"\\\1", text)
