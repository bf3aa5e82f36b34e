"""Accuracy over a number of layers, in the form of Yosinski et al.'s figure: a point per run, lines through the means.

Used for experiments whose ``layers`` names such a field.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from methods.contract import Experiment, Paper
from report.figures import charts
from report.figures.charts import Chart
from report.records import Group, PublishedTable
from report.runs import Entry, Run, counterpart, same_row, setting_values, without
from report.statistics import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Point(NamedTuple):
    """One run."""

    layers: int
    accuracy: float
    task: str
    split: str
    seed: int


@dataclass
class Curve:
    """One line of the figure."""

    row: str
    """Label of its row."""
    tasks: tuple[str, ...] = ()
    """Those that it is about, if others have lines of their own; empty for all."""
    points: list[Point] = field(default_factory=list)
    gaps: dict[int, Comparison] = field(default_factory=dict)
    """Number of layers -> the paired difference from the baseline."""

    @property
    def means(self) -> dict[int, float]:
        """Number of layers -> mean of the runs, by rising number."""
        found: dict[int, list[float]] = {}
        for point in self.points:
            found.setdefault(point.layers, []).append(point.accuracy)
        return {number: float(np.mean(found[number])) for number in sorted(found)}


def curves_of(experiment: Experiment, run: Run, found: Sequence[Entry], paper: Paper) -> dict[str, Curve]:
    """Label -> line.

    If a claim compares some tasks with others, such as distant classes with random ones, these get separate lines.
    """
    compared = [(one.tasks, one.than) for one in paper.claims if experiment.name in one.experiments and one.than]
    parts = compared[0] if compared else ()
    curves: dict[str, Curve] = {}
    for entry in found:
        layers = int(setting_values(entry.setting).get(experiment.layers, "0"))
        name = Entry(entry.row, without(entry.setting, (experiment.layers,))).label
        base = counterpart(entry.setting, experiment.baseline, experiment, run)
        for tasks in parts or (run.tasks,):
            its = tuple(task for task in tasks if task in run.tasks) if parts else ()
            label = f"{name} on {', '.join(its)}" if its else name
            points = [
                Point(layers, float(value), str(task), str(split), int(seed))
                for (task, split, seed), value in run.values(entry).items()
                if task in tasks
            ]
            if not points:
                continue
            curve = curves.setdefault(label, Curve(entry.row.name, its))
            curve.points += points
            gap = None if same_row(entry.row, experiment.baseline) else run.compare(entry, base, tasks=tasks)
            if gap is not None:
                curve.gaps[layers] = gap
    return curves


def chart(
    title: str,
    name: str,
    experiment: Experiment,
    run: Run,
    group: Group,
    curves: Mapping[str, Curve],
    theirs: Mapping[str, Mapping[int, float]],
) -> Chart:
    """The figure; the published curves are beside it, on their own axis.

    Args:
        title: above the panel with our own curves.
        name: of the figure's files.
        experiment: whose ``layers`` names the field.
        run: the results that the curves come from.
        group: where they were computed.
        curves: at least one, by label.
        theirs: label, of a curve or its own -> number of layers -> what is published.
    """
    over = experiment.layers
    base = experiment.baseline.name
    bars = any(gap.n > 1 for curve in curves.values() for gap in curve.gaps.values())
    runs = Counter((label, point.layers, point.task) for label, curve in curves.items() for point in curve.points)
    n = "-".join(map(str, dict.fromkeys((min(runs.values()), max(runs.values())))))
    note = f"a point per run, n = {n} {run.over}{'' if n == '1' else 's'}; lines: means of the runs" + (
        f"; bars: 95 % interval of the difference from {base}" if bars else ""
    )

    def draw(canvas: Figure) -> None:
        panels = canvas.subplots(1, 1 + bool(theirs), squeeze=False)[0]
        for i, (label, curve) in enumerate(curves.items()):
            shift = (i - (len(curves) - 1) / 2) * 0.06
            _ours(panels[0], i, label, curve, shift)
            if label in theirs:
                _line(panels[1], i, theirs[label])
        for i, label in enumerate(label for label in theirs if label not in curves):
            _line(panels[1], i, theirs[label], label, "black")
            panels[1].legend(fontsize=7)
        panels[0].set_title(charts.broken(title, 4.3, 8), fontsize=8)
        panels[0].set_ylabel("accuracy (%)")
        if theirs:
            panels[1].set_title("published (own axis)", fontsize=8)
            panels[1].set_ylabel("top-1 accuracy (%)")
        highest = max(point.layers for curve in curves.values() for point in curve.points)
        for panel in panels:
            panel.set_xlabel(charts.FIELDS.get(over, over))
            panel.set_xticks(range(highest + 1))
            panel.grid(alpha=0.3)
        panels[0].legend(fontsize=7)
        canvas.supxlabel(note, fontsize=7)

    told = "; ".join(
        f"{label} " + ", ".join(f"{mean:.1f} at {number}" for number, mean in curve.means.items())
        for label, curve in curves.items()
    )
    words = f"Accuracy against {over}, a number of layers, on {group.dataset}"
    beside = "; beside it the published curves on an axis of their own" if theirs else ""
    return Chart(
        name,
        f"{words}, {run.origin}: {note}{beside}.",
        f"{words}; means in percent: {told}.",
        draw,
        _data(over, run, curves, theirs),
        (8.6, 3.8) if theirs else (4.8, 3.8),
    )


def _ours(panel: Axes, number: int, label: str, curve: Curve, shift: float) -> None:
    """The runs as points, side by side, the line through their means, and the bars."""
    color, marker = (options[number % len(options)] for options in (charts.COLORS, charts.MARKERS))
    places = [point.layers + shift for point in curve.points]
    values = [point.accuracy for point in curve.points]
    panel.plot(places, values, color=color, marker=marker, linestyle="", markersize=3, alpha=0.45)
    _line(panel, number, curve.means, label)
    known = {layers: gap for layers, gap in curve.gaps.items() if gap.n > 1}
    if known:
        panel.errorbar(
            [layers + shift for layers in known],
            [curve.means[layers] for layers in known],
            yerr=[(gap.high - gap.low) / 2 for gap in known.values()],
            color=color,
            linestyle="",
            capsize=2,
            linewidth=1,
        )


def _line(panel: Axes, number: int, means: Mapping[int, float], label: str = "", color: str = "") -> None:
    """The line through some means; a level for what has no layers, such as a base network."""
    color = color or charts.COLORS[number % len(charts.COLORS)]
    marker, style = (options[number % len(options)] for options in (charts.MARKERS, charts.STYLES))
    if list(means) == [0]:
        panel.axhline(means[0], color=color, linestyle=style, linewidth=1)
    (drawn,) = panel.plot(
        list(means), list(means.values()), color=color, marker=marker, linestyle=style, markersize=4.5
    )
    if label:
        drawn.set_label(label)


def _data(over: str, run: Run, curves: Mapping[str, Curve], theirs: Mapping[str, Mapping[int, float]]) -> pd.DataFrame:
    """The runs, the differences from the baseline with their intervals, and the published values."""
    rows: list[tuple[object, ...]] = [
        (label, run.origin, point.layers, point.accuracy, "", "", "", point.task, point.split, point.seed)
        for label, curve in curves.items()
        for point in curve.points
    ]
    rows += [
        (label, run.origin, layers, "", gap.effect, *((gap.low, gap.high) if gap.n > 1 else ("", "")), "", "", "")
        for label, curve in curves.items()
        for layers, gap in curve.gaps.items()
    ]
    rows += [
        (label, "published", layers, value, "", "", "", "", "", "")
        for label, one in theirs.items()
        for layers, value in one.items()
    ]
    columns = ["row", "origin", over, "accuracy", "difference", "low", "high", "task", "split", "seed"]
    return pd.DataFrame(rows, columns=columns)


def published_curves(
    paper: Paper, over: str, curves: Mapping[str, Curve], tables: Sequence[PublishedTable]
) -> dict[str, dict[int, float]]:
    """Label of a line -> number of layers -> published value, for tasks ``n=3 ...``.

    A line on some tasks gets the tables whose data are named after their targets, or the mean of these; any other the
    first table.  If several lines of a row fit, as in several settings, what is published is a line of its own.

    Args:
        paper: for its names of rows.
        over: the field that counts layers, ``n``.
        curves: the lines.
        tables: the published tables.
    """
    found: dict[str, dict[int, float]] = {}
    for row in dict.fromkeys(curve.row for curve in curves.values()):
        its = {label: _published(paper, over, curve, tables) for label, curve in curves.items() if curve.row == row}
        known = {label: values for label, values in its.items() if values}
        found |= known if len(known) < 2 else {f"{row}, published": next(iter(known.values()))}
    return found


def _published(paper: Paper, over: str, curve: Curve, tables: Sequence[PublishedTable]) -> dict[int, float]:
    """Number of layers -> what is published for a line; empty if nothing is."""
    names = paper.published_rows.get(curve.row) or curve.row
    fitting = []
    for table in tables:
        numbers = {
            int(match[1]): number.value
            for task, number in table.rows.get(table.name_of(names) or "", {}).items()
            if (match := re.match(rf"{re.escape(over)}=(\d+)", task)) is not None
        }
        if numbers and (not curve.tasks or any(_about(task, table) for task in curve.tasks)):
            fitting.append(numbers)
    if not curve.tasks:
        fitting = fitting[:1]
    common = sorted(set[int]().union(*fitting).intersection(*fitting))
    return {number: float(np.mean([numbers[number] for numbers in fitting])) for number in common}


def _about(task: str, table: PublishedTable) -> bool:
    """Whether a published table is about the target of a task: ``man:natural`` of ``ImageNet natural (449) target``."""
    return re.search(rf"\b{re.escape(task.partition(':')[2])}\b", table.dataset) is not None
