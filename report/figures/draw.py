"""The figures of an experiment: they follow from what it varies and measures, not from its name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from benchmarks.machine.errors import UserError
from benchmarks.records.files import numbered_rows
from benchmarks.records.schema import TSNE
from benchmarks.records.store import read_specs
from benchmarks.records.words import plural
from methods.contract import Experiment, Paper
from report import again, records, statistics
from report.figures import charts, layers, sweeps
from report.figures.charts import Chart
from report.records import Group
from report.runs import Entry, Run, entries, runs_of, setting_values, swept, with_partial_marked
from report.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DISTANCES = {
    "a_distance": "proxy A-distance (0: domains alike, 2: told apart)",
    "joint_mmd": "squared joint MMD (0: domains alike)",
}
"""Metric that a paper has a figure of -> label of its axis."""
MATRIX = "@.*,"
"""Pattern of the names of a matrix's entries: ``name@row,column`` with the names of two classes."""
VARIED = 3
"""Minimum number of values, of rows where they differ, for a figure of a family."""
MOST = 12
"""Maximum number of heat maps per experiment."""


def of_experiment(
    name: str, paper: Paper, experiment: Experiment, frame: pd.DataFrame, group: Group, results: Path
) -> list[Chart]:
    """All figures of one experiment on one data set, protocol, backbone and track.

    From the committed results if there are any, otherwise from this machine's.

    Raises:
        UserError: a malformed file.
    """
    tables = records.read_published(results / "published.csv", paper.key or name, experiment.published)
    runs = with_partial_marked(runs_of(frame, group), experiment, group, records.published_tasks(tables, group))
    if not runs:
        return []
    run = runs[0]
    if not run.local and again.is_older(name, experiment, group, results):
        run = replace(run, origin=f"{run.origin}, {again.OLDER}")
    found = [entry for entry in entries(experiment, [run]) if run.has(entry)]
    made: list[Chart | None] = []
    if experiment.layers:
        curves = layers.curves_of(experiment, run, found, paper)
        theirs = layers.published_curves(paper, experiment.layers, curves, tables)
        named = (_title(group, run), _name(experiment, group, "curves"))
        made.append(layers.chart(*named, experiment, run, group, curves, theirs) if curves else None)
    elif sweeps.swept_field(experiment) is not None and not experiment.holdout:  # that one is a study of rules
        sweep = sweeps.sweep(experiment, run, group)
        made.append(sweeps.chart(sweep) if sweep else None)
    made.append(selection_chart(experiment, run, group, found))
    made += [curve_chart(experiment, run, group, found, metric) for metric in experiment.curve]
    made += family_charts(experiment, run, group, found)
    asked = {claim.metric for claim in paper.claims if experiment.name in claim.experiments}
    made += [bars(experiment, run, group, found, name, says) for name, says in DISTANCES.items() if name in asked]
    made += matrix_charts(experiment, run, group, found)
    return [chart for chart in made if chart is not None]


def _title(group: Group, run: Run) -> str:
    return f"{group.dataset}, {group.backbone}, {group.track}, {group.protocol} protocol ({run.origin})"


def _name(experiment: Experiment, group: Group, *parts: str) -> str:
    return charts.file_name("-".join((experiment.name, *group, *parts)))


def _table(rows: Sequence[tuple[object, ...]], columns: str) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=columns.split(","))


# ------------------------------------------------------------------------------------------ what selects a setting


def selection_chart(experiment: Experiment, run: Run, group: Group, found: Sequence[Entry]) -> Chart | None:
    """The metric by which the paper chooses among settings, over these, with the accuracy below."""
    metric = experiment.selects
    varied = list(swept(experiment))
    if not metric or len(varied) != 1:
        return None
    (field,), measure = varied, charts.METRICS.get(metric, metric)
    order = list(swept(experiment)[field])
    curves: dict[str, list[tuple[str, Estimate, Estimate]]] = {}
    for entry in found:
        value = setting_values(entry.setting).get(field)
        measured, tested = run.mean(entry, metric=metric), run.mean(entry)
        if value is not None and measured is not None and tested is not None:
            curves.setdefault(entry.row.name, []).append((value, measured, tested))
    if not curves:
        return None
    values = sorted({value for points in curves.values() for value, _, _ in points}, key=lambda one: _place(order, one))
    note = sweeps.band_note([tested.n for points in curves.values() for _, _, tested in points], run)

    def draw(canvas: Figure) -> None:
        upper, lower = canvas.subplots(2, 1, sharex=True)
        for i, (label, points) in enumerate(curves.items()):
            x = [float(values.index(value)) for value, _, _ in points]
            charts.line(upper, i, x, [one.mean for _, one, _ in points], [one.se for _, one, _ in points], label)
            charts.line(lower, i, x, [one.mean for _, _, one in points], [one.se for _, _, one in points], label)
        turned = {"rotation": 30, "ha": "right"} if max(map(len, values)) > 4 else {}
        lower.set_xticks(range(len(values)), values, **turned)
        upper.set_ylabel(charts.broken(f"{measure} after training", 2.2, 10))
        upper.set_ylim(bottom=0)
        upper.grid(alpha=0.3)
        upper.set_title(_title(group, run), fontsize=9)
        charts.legend(upper, len(curves))
        lower.set_xlabel(charts.FIELDS.get(field, field))
        lower.set_ylabel("accuracy (%)")
        lower.grid(alpha=0.3)
        canvas.supxlabel(note, fontsize=7)

    rows = [
        (label, run.origin, field, value, measured.mean, measured.se, tested.mean, tested.se, tested.n)
        for label, points in curves.items()
        for value, measured, tested in points
    ]
    data = _table(rows, f"row,origin,field,x,{metric},{metric}_se,accuracy,accuracy_se,n")
    least = "; ".join(
        f"of {label} the least {measure} is at {min(points, key=lambda one: one[1].mean)[0]}, the highest accuracy at "
        f"{max(points, key=lambda one: one[2].mean)[0]}"
        for label, points in curves.items()
    )
    where = f"{group.dataset}, {group.backbone}, {group.track}, {sweeps.mean_of(run)}"
    words = f"{measure} above accuracy of {' and '.join(curves)} against {charts.FIELDS.get(field, field)} on {where}"
    return Chart(
        _name(experiment, group, metric),
        f"{words}, {run.origin}; the paper takes where the {measure} is least; {note}.",
        f"{words}: {least}.",
        draw,
        data,
        (4.8, 4.4),
    )


def _place(order: Sequence[str], value: str) -> tuple[int, str]:
    return (order.index(value) if value in order else len(order), value)


# ------------------------------------------------------------------------------------------------ learning curves


def curve_chart(experiment: Experiment, run: Run, group: Group, found: Sequence[Entry], metric: str) -> Chart | None:
    """An entry of the training history over the steps, a line per row."""
    names = {str(name) for name in run.frame["metric"] if str(name).startswith(f"{metric}@")}
    steps = sorted(int(name.partition("@")[2]) for name in names)
    curves: dict[str, list[tuple[int, Estimate]]] = {}
    for entry in found:
        means = [(step, run.mean(entry, metric=f"{metric}@{step}")) for step in steps]
        if points := [(step, mean) for step, mean in means if mean is not None]:
            curves[entry.label] = points
    if not curves:
        return None
    note = sweeps.band_note([mean.n for points in curves.values() for _, mean in points], run)
    measure = charts.METRICS.get(metric, metric)
    unit = f"{measure} (%)" if metric.endswith("accuracy") else f"{measure}, training (nats)"

    def draw(canvas: Figure) -> None:
        axes = canvas.add_subplot()
        for i, (label, points) in enumerate(curves.items()):
            y, spread = [mean.mean for _, mean in points], [mean.se for _, mean in points]
            charts.line(axes, i, [step for step, _ in points], y, spread, label, markers=len(points) < 15)
        charts.finish(canvas, axes, "optimiser steps", f"{unit}, {sweeps.mean_of(run)}", _title(group, run), note)
        charts.legend(axes, len(curves))

    rows = [
        (label, run.origin, step, mean.mean, mean.se, mean.n)
        for label, points in curves.items()
        for step, mean in points
    ]
    ends = "; ".join(
        f"{label} goes from {points[0][1].mean:.3g} to {points[-1][1].mean:.3g}" for label, points in curves.items()
    )
    where = f"{group.dataset}, {group.backbone}, {group.track}, {sweeps.mean_of(run)}"
    words = f"Learning curve: {measure} of {' and '.join(curves)} on {where}"
    return Chart(
        _name(experiment, group, metric),
        f"{words}, {run.origin}; {note}. Shown, nothing is chosen by it.",
        f"{words}, over {steps[-1]} steps: {ends}.",
        draw,
        _table(rows, f"row,origin,step,{metric},se,n"),
    )


# ------------------------------------------------------------------------------- figures in families: alpha per layer


def family_charts(experiment: Experiment, run: Run, group: Group, found: Sequence[Entry]) -> list[Chart]:
    """What a trained model reports under names with a dot (``alpha.fc7``): one figure per family."""
    names = [name for name in dict.fromkeys(map(str, run.frame["metric"])) if name.count(".") == 1 and "@" not in name]
    families: dict[str, list[str]] = {}
    for name in names:
        family, member = name.split(".")
        if member != "mean":
            families.setdefault(family, []).append(member)
    made = [_family(experiment, run, group, found, family, members) for family, members in families.items()]
    return [chart for chart in made if chart is not None]


def _family(
    experiment: Experiment, run: Run, group: Group, found: Sequence[Entry], family: str, members: Sequence[str]
) -> Chart | None:
    lines: dict[str, dict[str, Estimate]] = {}
    for entry in found:
        means = {member: run.mean(entry, metric=f"{family}.{member}") for member in members}
        if known := {member: mean for member, mean in means.items() if mean is not None}:
            lines[entry.label] = known
    different = ({round(mean.mean, 2) for mean in means.values()} for means in lines.values())
    if sum(len(values) for values in different if len(values) > 1) < VARIED:
        return None
    note = sweeps.band_note([mean.n for means in lines.values() for mean in means.values()], run).replace(
        "band", "bars"
    )

    def draw(canvas: Figure) -> None:
        axes = canvas.add_subplot()
        for i, (label, means) in enumerate(lines.items()):
            x = [members.index(member) + (i - (len(lines) - 1) / 2) * 0.12 for member in means]
            color, marker = (options[i % len(options)] for options in (charts.COLORS, charts.MARKERS))
            y = [mean.mean for mean in means.values()]
            spread = [0 if math.isnan(mean.se) else mean.se for mean in means.values()]
            axes.errorbar(
                x, y, spread, color=color, marker=marker, linestyle="", label=label, capsize=2, markersize=4.5
            )
        axes.set_xticks(
            range(len(members)),
            members,
            rotation=45 if len(members) > 5 else 0,
            ha="right" if len(members) > 5 else "center",
        )
        charts.finish(canvas, axes, "", f"{family}, {sweeps.mean_of(run)}", _title(group, run), note)
        charts.legend(axes, len(lines))

    rows = [
        (label, run.origin, member, mean.mean, mean.se, mean.n)
        for label, means in lines.items()
        for member, mean in means.items()
    ]
    first = next(iter(lines))
    told = ", ".join(f"{member} {mean.mean:.2f}" for member, mean in lines[first].items())
    words = f"{family} of the trained models on {group.dataset}, {group.backbone}, {group.track}, {sweeps.mean_of(run)}"
    return Chart(
        _name(experiment, group, family),
        f"{words}, {run.origin}; {note}.",
        f"{words}; {first}: {told}.",
        draw,
        _table(rows, f"row,origin,place,{family},se,n"),
        (max(4.8, 1.5 + 0.35 * len(members)), 3.4),
    )


# ------------------------------------------------------------------------------------------------------------- bars


def bars(
    experiment: Experiment, run: Run, group: Group, found: Sequence[Entry], metric: str, unit: str
) -> Chart | None:
    """A metric per task, a bar per row."""
    lines: dict[str, dict[str, Estimate]] = {}
    for entry in found:
        means = statistics.per_task(run.values(entry, metric=metric), run.tasks, run.over)
        if known := {task: mean for task, mean in means.items() if mean is not None}:
            lines[entry.label] = known
    if not lines:
        return None
    tasks = list(run.tasks)
    note = sweeps.band_note([one.n for means in lines.values() for one in means.values()], run).replace("band", "bars")

    def draw(canvas: Figure) -> None:
        axes = canvas.add_subplot()
        width = 0.8 / len(lines)
        for i, (label, means) in enumerate(lines.items()):
            x = [tasks.index(task) - 0.4 + width * (i + 0.5) for task in means]
            spread = [0 if math.isnan(one.se) else one.se for one in means.values()]
            y = [one.mean for one in means.values()]
            axes.bar(x, y, width, yerr=spread, label=label, capsize=2, **charts.filling(i))
        axes.set_xticks(
            range(len(tasks)), tasks, rotation=30 if len(tasks) > 3 else 0, ha="right" if len(tasks) > 3 else "center"
        )
        charts.finish(canvas, axes, "", unit, _title(group, run), note)
        charts.legend(axes, len(lines))

    rows = [
        (label, run.origin, task, one.mean, one.se, one.n)
        for label, means in lines.items()
        for task, one in means.items()
    ]
    told = "; ".join(f"{label} {np.mean([one.mean for one in means.values()]):.2f}" for label, means in lines.items())
    words = f"{charts.METRICS.get(metric, metric)} per task on {group.dataset}, {group.backbone}, {group.track}"
    return Chart(
        _name(experiment, group, metric),
        f"{words}, {run.origin}; {note}.",
        f"{words}; means: {told}.",
        draw,
        _table(rows, f"row,origin,task,{metric},se,n"),
    )


# -------------------------------------------------------------------------------------------------------- heat maps


def matrix_charts(experiment: Experiment, run: Run, group: Group, found: Sequence[Entry]) -> list[Chart]:
    """Matrices over the classes, metrics ``confusion@mug,cup``: a heat map per kind and row, mean over cells."""
    own = run.frame[run.frame["metric"].str.contains(MATRIX)]
    made: list[Chart] = []
    for kind in dict.fromkeys(str(name).partition("@")[0] for name in own["metric"]):
        of_kind: list[tuple[Entry, pd.DataFrame]] = []
        for entry in found:
            rows = run.rows(entry)
            rows = rows[rows["metric"].str.startswith(f"{kind}@") & rows["metric"].str.contains(MATRIX)]
            if not rows.empty:
                of_kind.append((entry, rows))
        top = max((float(rows.groupby("metric")["value"].mean().max()) for _, rows in of_kind), default=1.0)
        made += [_matrix(experiment, run, group, *one, kind, top) for one in of_kind[: MOST - len(made)]]
    return made


def _matrix(
    experiment: Experiment, run: Run, group: Group, entry: Entry, rows: pd.DataFrame, kind: str, top: float
) -> Chart:
    """The heat map of one row; ``top`` is the largest entry of all rows, so that they share one scale."""
    means = rows.groupby("metric", sort=False)["value"].mean()
    keys = [str(name).partition("@")[2].split(",") for name in means.index]
    first, second = (sorted({key[i] for key in keys}, key=_number) for i in (0, 1))
    values = np.zeros((len(first), len(second)))  # entries close to 0 are left out of the files
    for (row, column), value in zip(keys, means, strict=True):
        values[first.index(row), second.index(column)] = value
    size, measure = charts.heat_map_size(len(first), len(second)), charts.METRICS.get(kind, kind)
    tasks = list(dict.fromkeys(map(str, rows["task"])))
    about = ", ".join(tasks) if len(tasks) <= sweeps.NAMED else plural(len(tasks), "task")
    over = f"{about}, mean over {plural(rows['cell'].nunique(), 'cell')}"

    def draw(canvas: Figure) -> None:
        unit = f"{measure} ({'share' if values.max() <= 1 else 'images'})"
        axes = charts.heat_map(canvas, values, first, second, unit, top)
        axes.set_xlabel("taken for" if kind == "confusion" else f"class of the {measure}")
        canvas.suptitle(charts.broken(f"{entry.label}: {_title(group, run)}", size[0], 8), fontsize=8)
        canvas.supxlabel(over, fontsize=7)

    data = _table(
        [(entry.label, run.origin, *key, value) for key, value in zip(keys, means, strict=True)],
        f"row,origin,first,second,{kind}",
    )
    diagonal = [values[i, second.index(row)] for i, row in enumerate(first) if row in second]
    told = f"; mean of the diagonal {np.mean(diagonal):.2f}" if diagonal else ""
    words = f"{measure} of {entry.label} on {group.dataset}, {over}"
    return Chart(
        _name(experiment, group, kind, entry.label),
        f"{words}, {run.origin}; scale at the right, one for all rows.",
        f"Heat map: {words}{told}.",
        draw,
        data,
        size,
    )


def _number(text: str) -> tuple[float, str]:
    return (float(text) if text.isdigit() else math.inf, text)


# ------------------------------------------------------------------------------------------------- maps of features


def map_charts(name: str, experiment: Experiment, results: Path) -> list[Chart]:
    """Features of source and target in the plane (t-SNE), a panel per row of the experiment: a figure per task.

    Args:
        name: the paper's module.
        experiment: whose committed maps to draw.
        results: the folder of committed results.

    Raises:
        UserError: a malformed file.
    """
    path = results / name / "maps" / f"{experiment.name}.csv"
    if not path.is_file():
        return []
    rows = []
    for line, row in numbered_rows(path, TSNE):
        at = {axis: records.number(row[axis], axis, path, line) for axis in ("x", "y")}
        if row["domain"] not in ("source", "target"):
            raise UserError(f"{path}, line {line}: domain is {row['domain']!r}, expected source or target.")
        rows.append({**row, **at})
    frame = pd.DataFrame(rows, columns=list(TSNE))
    known = read_specs(results / name / "specs" / f"{experiment.name}.json")
    made = []
    for (dataset, task), part in frame.groupby(["dataset", "task"], sort=False):
        first = part[(part["split"] == part["split"].iloc[0]) & (part["seed"] == part["seed"].iloc[0])]
        spec = known.get(first["cell"].iloc[0], {}).get("spec", {})
        where = ", ".join(map(str, (dataset, *(spec[key] for key in ("protocol", "backbone", "track") if spec))))
        made.append(_map(experiment, where, str(dataset), str(task), first))
    return made


def _map(experiment: Experiment, where: str, dataset: str, task: str, frame: pd.DataFrame) -> Chart:
    order = [(row.method, row.variant) for row in experiment.rows]
    parts = [
        ((str(method), str(variant)), part)
        for (method, variant, _), part in frame.groupby(["method", "variant", "setting"], sort=False)
    ]
    parts.sort(key=lambda one: order.index(one[0]) if one[0] in order else len(order))
    labels = {(row.method, row.variant): row.name for row in experiment.rows}
    names = [labels.get(key, key[0]) for key, _ in parts]
    seed = frame["seed"].iloc[0]

    def draw(canvas: Figure) -> None:
        panels = canvas.subplots(1, len(parts), squeeze=False)[0]
        for panel, label, (_, part) in zip(panels, names, parts, strict=True):
            for domain, marker in (("source", "o"), ("target", "^")):
                own = part[part["domain"] == domain]
                filled = {"facecolors": "none"} if domain == "target" else {}
                color = charts.COLORS[0] if domain == "source" else charts.COLORS[1]
                if domain == "target":
                    panel.scatter(
                        own["x"], own["y"], s=9, marker=marker, edgecolors=color, linewidths=0.6, label=domain, **filled
                    )
                else:
                    panel.scatter(
                        own["x"], own["y"], s=7, marker=marker, color=color, alpha=0.6, linewidths=0, label=domain
                    )
            panel.set_title(label, fontsize=9)
            panel.set_xticks([])
            panel.set_yticks([])
            panel.set_xlabel("t-SNE, first axis")
        panels[0].set_ylabel("t-SNE, second axis")
        panels[0].legend(fontsize=7, loc="lower left")
        canvas.suptitle(f"{where}: {task}, seed {seed}", fontsize=9)

    counts = {str(domain): int(number) for domain, number in frame["domain"].value_counts().items()}
    images = " and ".join(f"{counts.get(domain, 0) // len(parts)} {domain}" for domain in ("source", "target"))
    words = f"Bottleneck features of {', '.join(names)} on {task} of {where}, laid out in the plane by t-SNE"
    return Chart(
        charts.file_name(f"{experiment.name}-{dataset}-{task}-map"),
        f"{words}: {images} images, committed, seed {seed}; a picture, it decides nothing.",
        f"{words}: {images} images; how far the two domains overlap is what to look at.",
        draw,
        frame,
        (3.0 * len(parts) + 0.4, 3.2),
    )
