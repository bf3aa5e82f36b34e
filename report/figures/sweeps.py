"""Accuracy against a swept value, as a figure (PDF, SVG, PNG) and its data (CSV)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from benchmarks.records.words import plural
from methods.contract import Experiment
from report.figures import charts
from report.figures.charts import Chart
from report.records import Group
from report.runs import Entry, Run, entries, setting_values, unswept
from report.statistics import SPREADS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMED = 3
"""Maximum number of tasks that a figure names."""
DATA_COLUMNS = ("row", "origin", "field", "x", "accuracy", "se", "n")


@dataclass(frozen=True)
class Point:
    """Mean accuracy over tasks at one swept value, in percent."""

    x: float
    accuracy: float
    se: float
    """Standard error over replicates; nan for one."""
    n: int


@dataclass(frozen=True)
class Sweep:
    """What one figure shows."""

    experiment: Experiment
    group: Group
    run: Run
    field: str
    curves: dict[str, tuple[Point, ...]]
    """Row label -> points, in order of x; never empty."""
    baselines: dict[str, Point]
    """Label -> the baseline outside the sweep, for the curves' other settings; its x is meaningless."""


def swept_field(experiment: Experiment) -> str | None:
    """The field of a sweep over a single field with numeric values; None for any other experiment."""
    if len(experiment.sweep) != 1:
        return None
    ((name, swept),) = experiment.sweep.items()
    return name if swept and all(isinstance(v, int | float) and not isinstance(v, bool) for v in swept) else None


def sweep(experiment: Experiment, run: Run, group: Group) -> Sweep | None:
    """The figure of one run; None if the experiment sweeps no numeric field or no line has a complete replicate."""
    name = swept_field(experiment)
    if name is None:
        return None
    curves: dict[str, list[Point]] = {}
    baselines: dict[str, Point] = {}
    for entry in entries(experiment, [run]):
        value = setting_values(entry.setting).get(name)
        if value is not None and (point := _point(run, entry, float(value))) is not None:
            rest = unswept(entry.setting, experiment)
            curves.setdefault(Entry(entry.row, rest).label, []).append(point)
            base = Entry(experiment.baseline, rest)
            if (level := _point(run, base, 0.0)) is not None:
                baselines[base.label] = level
    if not curves:
        return None
    ordered = {label: tuple(sorted(points, key=lambda point: point.x)) for label, points in curves.items()}
    return Sweep(experiment, group, run, name, ordered, baselines)


def _point(run: Run, entry: Entry, x: float) -> Point | None:
    mean = run.mean(entry)
    return Point(x, mean.mean, mean.se, mean.n) if mean else None


def data(figure: Sweep) -> pd.DataFrame:
    """The numbers of the figure; the baseline has no ``x``."""
    rows: list[tuple[object, ...]] = [
        (label, figure.run.origin, figure.field, point.x, point.accuracy, point.se, point.n)
        for label, points in figure.curves.items()
        for point in points
    ]
    for label, base in figure.baselines.items():
        rows.append((label, figure.run.origin, figure.field, "", base.accuracy, base.se, base.n))
    return pd.DataFrame(rows, columns=list(DATA_COLUMNS))


def chart(figure: Sweep) -> Chart:
    """The figure as drawn."""
    group, run = figure.group, figure.run
    note = band_note([point.n for points in figure.curves.values() for point in points], run)
    title = f"{group.dataset}, {group.backbone}, {group.track}, {group.protocol} protocol ({run.origin})"
    field = charts.FIELDS.get(figure.field, figure.field)
    xs = sorted({point.x for points in figure.curves.values() for point in points})

    def draw_on(canvas: Figure) -> None:
        axes = canvas.add_subplot()
        for i, (label, points) in enumerate(figure.curves.items()):
            spread = [point.se for point in points]
            charts.line(axes, i, [point.x for point in points], [point.accuracy for point in points], spread, label)
        for label, base in figure.baselines.items():
            charts.level(axes, base.accuracy, base.se, label)
        charts.swept_axis(axes, xs)
        y = f"accuracy, {mean_of(run)} (%)"
        charts.finish(canvas, axes, field, y, title, note)
        charts.legend(axes, len(figure.curves) + len(figure.baselines))

    best = {label: max(points, key=lambda point: point.accuracy) for label, points in figure.curves.items()}
    highest = "; ".join(
        f"{label} is highest at {point.x:g} with {point.accuracy:.1f} %" for label, point in best.items()
    )
    rows = " and ".join(figure.curves)
    words = f"Accuracy of {rows} against {field} on {group.dataset}, {group.backbone}, {group.track}, {mean_of(run)}"
    name = "-".join((figure.experiment.name, *group))
    return Chart(name, f"{words}, {run.origin}; {note}.", f"{words}: {highest}.", draw_on, data(figure))


def mean_of(run: Run) -> str:
    """``mean of 6 tasks``; a few are named."""
    if len(run.tasks) > NAMED:
        return f"mean of {plural(len(run.tasks), 'task')}"
    return ("mean of " if len(run.tasks) > 1 else "") + ", ".join(run.tasks)


def band_note(counts: Sequence[int], run: Run) -> str:
    """What the bands of a figure show; one replicate has none."""
    if max(counts) == 1:
        return f"n = 1 {run.over}, so no band"
    n = "-".join(map(str, dict.fromkeys((min(counts), max(counts)))))
    return f"band: ± standard error over n = {n} {run.over}s ({SPREADS[run.over]})"


def draw(figure: Sweep, stem: Path) -> list[Path]:
    """Writes ``stem`` .pdf, .svg, .png and .csv, with the same bytes for the same numbers; returns the paths."""
    return charts.save(chart(figure), stem)
