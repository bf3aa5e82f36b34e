"""Accuracy against a swept value, as a figure (PDF, SVG, PNG) and its data (CSV)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from methods.contract import Experiment
from report.records import Group
from report.runs import Entry, Run, entries, runs_of, setting_values, unswept
from report.statistics import SPREADS

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Okabe and Ito's palette, told apart by the colour-blind; marker and line style differ too, for grey print."""
MARKERS = "os^Dv<"
STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (1, 2)))
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
    """Row label -> points, by rising x; never empty."""
    baselines: dict[str, Point]
    """Label -> the baseline outside the sweep, for what else is set in the curves; x is meaningless."""


def swept_field(experiment: Experiment) -> str | None:
    """The field of a sweep over one field whose values are numbers; None for any other experiment."""
    if len(experiment.sweep) != 1:
        return None
    ((name, swept),) = experiment.sweep.items()
    return name if swept and all(isinstance(v, int | float) and not isinstance(v, bool) for v in swept) else None


def sweep(experiment: Experiment, frame: pd.DataFrame, group: Group) -> Sweep | None:
    """The figure of one group, of this machine's run if there is one, else of the committed results.

    None if the experiment sweeps no number or no line has a complete replicate.
    """
    name = swept_field(experiment)
    if name is None:
        return None
    run = sorted(runs_of(frame, group), key=lambda run: not run.local)[0]
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


def _scale(xs: Sequence[float]) -> tuple[str, dict[str, float]]:
    """Logarithmic if the values span a decade; then zero, if it is among them, sits on a linear piece."""
    positive = [x for x in xs if x > 0]
    if min(xs) < 0 or not positive or max(positive) < 10 * min(positive):
        return "linear", {}
    return ("log", {}) if min(xs) > 0 else ("symlog", {"linthresh": min(positive)})


def draw(figure: Sweep, stem: Path) -> list[Path]:
    """Writes ``stem`` .pdf, .svg, .png and .csv, the same bytes for the same numbers; returns the paths."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.size": 9, "svg.hashsalt": "report", "svg.fonttype": "none", "pdf.fonttype": 42}):
        canvas = Figure(figsize=(4.8, 3.4), layout="constrained")
        axes = canvas.add_subplot()
        for i, (label, points) in enumerate(figure.curves.items()):
            x = [point.x for point in points]
            mean = [point.accuracy for point in points]
            color, marker, line = (options[i % len(options)] for options in (COLORS, MARKERS, STYLES))
            axes.plot(x, mean, color=color, marker=marker, linestyle=line, label=label)
            low, high = _band(points)
            axes.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)
        for label, base in figure.baselines.items():
            axes.axhline(base.accuracy, color="black", linestyle=":", label=label)
            axes.axhspan(*(side[0] for side in _band([base])), color="black", alpha=0.12, linewidth=0)
        xs = sorted({point.x for points in figure.curves.values() for point in points})
        scale, options = _scale(xs)
        axes.set_xscale(scale, **options)
        axes.set_xticks(xs, [f"{x:g}" for x in xs])
        axes.minorticks_off()
        group, run = figure.group, figure.run
        n = sorted({point.n for points in figure.curves.values() for point in points})
        axes.set_xlabel(f"{figure.field} (no unit)")
        axes.set_ylabel(f"accuracy, mean of {len(run.tasks)} tasks (%)")
        axes.set_title(
            f"{group.dataset}, {group.backbone}, {group.track}, {group.protocol} protocol ({run.origin})", fontsize=9
        )
        counts = "-".join(map(str, dict.fromkeys((n[0], n[-1]))))
        note = f"band: ± standard error over n = {counts} {run.over}s ({SPREADS[run.over]})"
        canvas.supxlabel(note, fontsize=7)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
        stem.parent.mkdir(parents=True, exist_ok=True)
        paths = [stem.with_name(f"{stem.name}.{kind}") for kind in ("pdf", "svg", "png", "csv")]
        canvas.savefig(paths[0], metadata={"CreationDate": None})
        canvas.savefig(paths[1], metadata={"Date": None})
        canvas.savefig(paths[2], dpi=200)
    data(figure).to_csv(paths[3], index=False)
    return paths


def _band(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    """Mean minus and plus standard error; the mean itself where there is none."""
    spreads = [0.0 if point.n == 1 else point.se for point in points]
    means = [point.accuracy for point in points]
    return (
        [mean - spread for mean, spread in zip(means, spreads, strict=True)],
        [mean + spread for mean, spread in zip(means, spreads, strict=True)],
    )
