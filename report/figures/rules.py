"""Figures for the study of rules that choose a weight without target labels (``report.tuning``)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from benchmarks.records.rules import RULES, SUITE
from benchmarks.records.words import plural
from report.figures import charts
from report.figures.charts import Chart
from report.leaderboard import place
from report.tuning import GIVEN, ORACLE, Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINEAR, WIDE = 5, 10
"""Points up to which the axis of gains is linear if one is beyond ``WIDE``: a collapse would flatten all others."""


def bars(found: Sequence[Study]) -> list[Chart]:
    """For each data set, each method's gain for users beside what the oracle would have claimed."""
    datasets = dict.fromkeys(one.group.dataset for one in sorted(found, key=lambda one: place(one.group)))
    return [claimed(name, [one for one in found if one.group.dataset == name]) for name in datasets]


def over_grid(one: Study) -> Chart:
    """A method's accuracy over its grid, with the choices of each rule below, a mark per replicate."""
    means = one.accuracy.mean(1)  # (replicates, grid)
    n = len(means)
    spread = means.std(0, ddof=1) / np.sqrt(n) if n > 1 else np.full(len(one.grid), np.nan)
    rules = [ORACLE, GIVEN, *one.rules]
    chosen = {rule: one.chosen(rule) for rule in rules}
    where = f"{one.group.dataset}, {one.group.backbone}, {one.group.track}"
    note = f"band: standard error, n = {n} seeds" if n > 1 else "n = 1 seed, so no band"
    note += "; a gap: a training diverged" if np.isnan(means).any() else ""

    def draw(canvas: Figure) -> None:
        top, below = canvas.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        charts.line(top, 0, one.grid, means.mean(0).tolist(), spread.tolist(), one.label)
        charts.level(top, float(one.base.mean()), float("nan"), "source-only")
        charts.swept_axis(top, one.grid)
        charts.finish(canvas, top, "", "accuracy (%)", f"{one.label} on {where}", note)
        charts.legend(top, 2)
        for row, rule in enumerate(rules):
            values, counts = np.unique(chosen[rule], return_counts=True)
            marker = charts.MARKERS[row % len(charts.MARKERS)]
            color = charts.COLORS[row % len(charts.COLORS)]
            below.scatter([one.grid[i] for i in values], [row] * len(values), s=14 * counts, marker=marker, color=color)
        below.set_yticks(range(len(rules)), rules, fontsize=7)
        below.set_ylim(len(rules) - 0.5, -0.5)
        below.grid(alpha=0.3)
        below.set_xlabel("weight\nbelow: what each rule takes (larger: by more seeds)")

    rows = [(value, *pair) for value, *pair in zip(one.grid, means.mean(0), spread, strict=True)]
    data = pd.DataFrame(rows, columns=["weight", "accuracy", "se"])
    for rule in rules:
        data[rule] = [int((chosen[rule] == i).sum()) for i in range(len(one.grid))]
    best = "a training diverges at every weight"
    if one.best is not None:
        best = f"the most accurate weight is {one.grid[one.best]:g}"
    told = f"{best}; the suite's rule takes "
    told += ", ".join(f"{one.grid[i]:g}" for i in np.unique(chosen[SUITE])) if SUITE in chosen else "none"
    words = f"Accuracy of {one.label} against its weight on {where}, mean of {plural(len(one.tasks), 'task')}"
    name = re.sub(r"[^A-Za-z0-9]+", "-", f"tuning {one.label} {one.group.dataset}").strip("-").lower()
    return Chart(name, f"{words}, and what each rule takes; {note}.", f"{words}: {told}.", draw, data, (5.2, 4.6))


def claimed(dataset: str, found: Sequence[Study]) -> Chart:
    """Gain that tuning on target labels would have claimed, beside what users get from the rules without labels."""
    rules = [rule for rule in (ORACLE, GIVEN, *RULES) if all(rule in (ORACLE, GIVEN, *one.rules) for one in found)]
    gains = {rule: [float((one.taken(rule) - one.base).mean()) for one in found] for rule in rules}
    networks: dict[str, list[str]] = {}
    for one in found:
        networks.setdefault(f"{one.group.backbone}, {one.group.track}", []).append(one.label)
    usual, *others = sorted(networks, key=lambda name: -len(networks[name]))
    where = "; ".join((usual, *(f"{', '.join(networks[name])}: {name}" for name in others)))
    labels = [f"{one.label}, n = {len(one.accuracy)}" for one in found]
    wide = max(abs(gain) for its in gains.values() for gain in its) > WIDE
    note = f"{where}; n: seeds" + (f"; beyond ± {LINEAR} points the axis is logarithmic" if wide else "")
    width = 0.8 / len(rules)

    def draw(canvas: Figure) -> None:
        axes = canvas.add_subplot()
        for number, rule in enumerate(rules):
            places = [place + (number - (len(rules) - 1) / 2) * width for place in range(len(found))]
            row, column = divmod(number, len(charts.COLORS))
            color, hatch = charts.COLORS[column], charts.HATCHES[row]  # plain as long as colours do: bars are thin
            axes.bar(places, gains[rule], width, color=color, hatch=hatch, edgecolor="white", label=rule)
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set_xticks(range(len(found)), labels, rotation=35, ha="right", fontsize=8)
        if wide:
            axes.set_yscale("symlog", linthresh=LINEAR)
            low, high = axes.get_ylim()
            axes.set_yticks([at for at in (-50, -20, -10, -LINEAR, 0, LINEAR, 10, 20) if low <= at <= high])
            axes.yaxis.set_major_formatter("{x:g}")
            axes.minorticks_off()
        charts.finish(canvas, axes, "", "gain over source-only (points)", f"{dataset}: what each rule gives", note)
        charts.legend(axes, len(rules))

    data = pd.DataFrame([(label, *(gains[rule][i] for rule in rules)) for i, label in enumerate(labels)],
                        columns=["method", *rules])  # fmt: skip
    words = f"Gain over source-only on {dataset} under the choice of every rule"
    told = "; ".join(
        f"{one.label} {', '.join(f'{gains[rule][i]:+.1f} by {rule}' for rule in rules[:2])}"
        for i, one in enumerate(found)
    )
    caption = f"{words}; the oracle is what tuning on target labels would have claimed; {note}."
    return Chart(f"tuning-{dataset}", caption, f"{words}: {told}.", draw, data, (8.4, 3.8))
