"""Figures over all papers: gains, ranks, rules of selection, cost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from benchmarks.records import rules
from benchmarks.records.words import plural
from report import statistics
from report.contestants import Contestant
from report.figures import charts
from report.figures.charts import Chart
from report.leaderboard import PLAIN, place
from report.records import SELECTIONS, Group
from report.statistics import Comparison

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RULES = {rule: words.partition(",")[0] for rule, words in SELECTIONS.items() if rule != "last"}
"""Rules of selection compared with the last iterate."""
FEW, SOME, MANY = 4, 6, 40
"""Minimum numbers of rows on the same tasks and network for a figure of their ranks, and of what they cost; maximum
number of rows that can be read in one figure."""
Place = tuple[Group, frozenset[str]]
"""Data, protocol, network and track, and the tasks: only on the same ones are means compared."""


def of_all(found: Sequence[Contestant], studied: Sequence[Contestant] = ()) -> list[Chart]:
    """Every figure over all papers for which there are results.

    Args:
        found: rows of default experiments.
        studied: rows of trainings that hold out part of the source, for rules that need it.
    """
    made: list[Chart | None] = []
    data: dict[tuple[str, str], list[Contestant]] = {}
    found = ordered(found)
    for one in found:
        data.setdefault((one.group.dataset, one.group.protocol), []).append(one)
    made += [gains(dataset, protocol, some) for (dataset, protocol), some in data.items()]
    places: dict[Place, list[Contestant]] = {}
    for one in found:
        places.setdefault((one.group, frozenset(one.run.tasks)), []).append(one)
    made += [ranks(group, some) for (group, _), some in places.items()]
    made.append(selections([one for one in found if one.own], "selection-rules", ""))
    made.append(selections(studied, "selection-study", ", a part of the source held out"))
    made += [costs(group, some) for (group, _), some in places.items()]
    return [chart for chart in made if chart is not None]


def ordered(found: Sequence[Contestant]) -> list[Contestant]:
    """In the order of the leaderboards: the network that most experiments name comes first."""
    usual = Counter(one.group for one in found if one.usual)
    return sorted(found, key=lambda one: (place(one.group), -usual[one.group], one.group.backbone))


def named(group: Group, tasks: Sequence[str]) -> str:
    """In words."""
    where = f"{group.dataset}, {group.protocol} protocol, {group.backbone}, {group.track}"
    return f"{where}, {plural(len(tasks), 'task')}"


def _file(kind: str, group: Group, tasks: Sequence[str]) -> str:
    return charts.file_name("-".join((kind, *group, plural(len(tasks), "task"))))


def distinct(found: Sequence[Contestant]) -> list[str]:
    """Their labels, with the paper added where two are the same."""
    often = Counter(one.label for one in found)
    return [one.label if often[one.label] == 1 else f"{one.label} ({one.paper})" for one in found]


def gains(dataset: str, protocol: str, found: Sequence[Contestant]) -> Chart | None:
    """Difference of every row over its own baseline, mean over tasks, with its 95 % interval."""
    pairs = [
        (one, one.run.compare(one.entry, one.base))
        for one in found
        if not one.is_base and one.entry.row.method != PLAIN
    ]
    known: list[tuple[Contestant, Comparison]] = [(one, gap) for one, gap in pairs if gap is not None]
    if not known:
        return None
    its: dict[Place, list[tuple[Contestant, Comparison]]] = {}
    for one, gap in known:
        its.setdefault((one.group, frozenset(one.run.tasks)), []).append((one, gap))
    parts = [
        (
            f"{group.backbone}, {group.track}, {plural(len(tasks), 'task')}",
            sorted(some, key=lambda pair: -pair[1].effect),
        )
        for (group, tasks), some in its.items()
    ]
    known = [pair for _, some in parts for pair in some]

    def draw(canvas: Figure) -> None:
        heights = [len(some) for _, some in parts]
        panels = canvas.subplots(len(parts), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        for number, (panel, (title, some)) in enumerate(zip(panels, parts, strict=True)):
            color, marker = (options[number % len(options)] for options in (charts.COLORS, charts.MARKERS))
            for y, (one, gap) in enumerate(some):
                if gap.n > 1:
                    panel.plot([gap.low, gap.high], [y, y], color=color, linewidth=1.2)
                face = color if one.own else "white"
                panel.plot([gap.effect], [y], color=color, marker=marker, markersize=5, markerfacecolor=face)
            panel.axvline(0, color="black", linewidth=0.8)
            labels = [f"{one.label} ({one.paper}), n = {gap.n}" for one, gap in some]
            panel.set_yticks(range(len(some)), labels, fontsize=7)
            panel.invert_yaxis()
            panel.set_title(title, fontsize=8, loc="left")
            panel.grid(alpha=0.3)
        canvas.suptitle(f"{dataset}, {protocol} protocol", fontsize=9)
        panels[-1].set_xlabel("gain over each method's own baseline (percentage points)")
        canvas.supxlabel("line: 95 % interval over n seeds or splits; filled: the paper's own method", fontsize=7)

    rows = [
        (one.paper, one.label, *one.group, one.base.label, gap.effect, gap.low, gap.high, gap.p, gap.n)
        for one, gap in known
    ]
    columns = "paper,row,dataset,protocol,backbone,track,baseline,difference,low,high,p,n"
    told = "; ".join(
        f"{title}: {', '.join(f'{one.label} {gap.effect:+.1f}' for one, gap in some)}" for title, some in parts
    )
    words = f"Gain over each method's own baseline on {dataset}, {protocol} protocol, mean over tasks"
    return Chart(
        charts.file_name(f"gains-{dataset}-{protocol}"),
        f"{words}, with the 95 % interval over n seeds or splits. Filled: the paper's own full method.",
        f"{words}, percentage points: {told}.",
        draw,
        pd.DataFrame(rows, columns=columns.split(",")),
        (6.4, 1.3 + 0.2 * len(known) + 0.35 * len(parts)),
    )


def ranks(group: Group, found: Sequence[Contestant]) -> Chart | None:
    """Average rank of the rows over the same tasks on one network, 1 the most accurate; None if of one paper alone."""
    unique = list({one.method: one for one in found}.values())
    tasks = unique[0].run.tasks
    if len(unique) < FEW or len(tasks) < 2 or len({one.paper for one in unique}) == 1:
        return None
    labels, where = distinct(unique), named(group, tasks)
    means = np.array([[one.run.task_mean(one.entry, task) for task in tasks] for one in unique])
    placed = rules.ranks(-means.T).T
    average = placed.mean(axis=1)
    order = np.argsort(average, kind="stable")

    def draw(canvas: Figure) -> None:
        axes = canvas.add_subplot()
        for y, i in enumerate(order):
            axes.plot([placed[i].min(), placed[i].max()], [y, y], color=charts.COLORS[0], linewidth=1)
            axes.plot([average[i]], [y], color=charts.COLORS[0], marker="o", markersize=5)
        axes.set_yticks(range(len(order)), [labels[i] for i in order], fontsize=7)
        axes.invert_yaxis()
        x = f"average rank over {plural(len(tasks), 'task')} (1: most accurate)"
        charts.finish(canvas, axes, x, "", "", "line: from the best to the worst rank on a task")
        canvas.suptitle(charts.broken(where, 5.2, 9), fontsize=9)

    rows = [
        (unique[i].paper, unique[i].label, *group, average[i], placed[i].min(), placed[i].max(), len(tasks))
        for i in order
    ]
    told = ", ".join(f"{labels[i]} {average[i]:.1f}" for i in order)
    words = f"Average rank over the tasks of {where}"
    return Chart(
        _file("ranks", group, tasks),
        f"{words}; line: from the best to the worst rank on a task. Tasks are fixed, not a sample. "
        "Every row is trained by its own paper's recipe.",
        f"{words}: {told}.",
        draw,
        pd.DataFrame(rows, columns="paper,row,dataset,protocol,backbone,track,rank,best,worst,tasks".split(",")),
        (5.2, 1.2 + 0.2 * len(order)),
    )


def selections(found: Sequence[Contestant], name: str, where: str) -> Chart | None:
    """What choosing an epoch by each rule adds to the last iterate.

    Args:
        found: the rows.
        name: of the figure.
        where: added to its title.
    """
    rows: list[tuple[object, ...]] = []
    known: dict[str, dict[str, tuple[float, float, float]]] = {}
    for one in found:
        last = one.run.values(one.entry)
        label = f"{one.label} ({', '.join(one.group)})"
        for rule in RULES:
            gap = statistics.compare(one.run.values(one.entry, rule), last, one.run.tasks, one.run.over)
            if gap is not None:
                known.setdefault(label, {})[rule] = (gap.effect, gap.low, gap.high)
                rows.append((one.paper, one.label, *one.group, rule, gap.effect, gap.low, gap.high, gap.n))
    if not 0 < len(known) <= MANY:
        return None
    shown = {rule: words for rule, words in RULES.items() if any(rule in rules for rules in known.values())}

    def draw(canvas: Figure) -> None:
        axes = canvas.add_subplot()
        firsts = {rule: next((y for y, one in enumerate(known.values()) if rule in one), -1) for rule in shown}
        for i, (rule, words) in enumerate(shown.items()):
            shift = (i - (len(shown) - 1) / 2) * 0.7 / len(shown)
            color, marker = (options[i % len(options)] for options in (charts.COLORS, charts.MARKERS))
            for y, its in enumerate(known.values()):
                if rule in its:
                    effect, low, high = its[rule]
                    if not math.isnan(low):
                        axes.plot([low, high], [y + shift] * 2, color=color, linewidth=1)
                    first = words if y == firsts[rule] else None
                    axes.plot(
                        [effect],
                        [y + shift],
                        color=color,
                        marker=marker,
                        linestyle="",
                        markersize=4.5,
                        label=first,
                    )
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_yticks(range(len(known)), list(known), fontsize=7)
        axes.invert_yaxis()
        charts.finish(
            canvas,
            axes,
            "accuracy above the last iterate (percentage points)",
            "",
            "Which epoch is taken",
            "line: 95 % interval over seeds or splits",
        )
        charts.legend_beside(axes)

    told = "; ".join(
        f"{label}: " + ", ".join(f"{rule} {numbers[0]:+.2f}" for rule, numbers in rules.items())
        for label, rules in known.items()
    )
    words = f"What another choice of the epoch adds to the last iterate{where}, mean over tasks"
    return Chart(
        name,
        f"{words}, with the 95 % interval. The oracle looks at target labels and would overstate accuracy by this.",
        f"{words}, percentage points: {told}.",
        draw,
        pd.DataFrame(rows, columns="paper,row,dataset,protocol,backbone,track,rule,difference,low,high,n".split(",")),
        (8.4, 1.4 + (0.1 + 0.08 * len(shown)) * len(known)),
    )


def costs(group: Group, found: Sequence[Contestant]) -> Chart | None:
    """Accuracy, and the time per cell beside it, of the rows on the same tasks and network; the most accurate first."""
    unique = list({one.method: one for one in found}.values())
    known = [(one, mean) for one in unique if (mean := one.run.mean(one.entry)) and one.run.seconds(one.entry) > 0]
    if len(known) < SOME:
        return None
    known.sort(key=lambda pair: -pair[1].mean)
    where = named(group, found[0].run.tasks)
    rows = [
        (one.paper, one.label, *group, one.run.seconds(one.entry), mean.mean, mean.se, mean.n) for one, mean in known
    ]
    data = pd.DataFrame(rows, columns="paper,row,dataset,protocol,backbone,track,seconds,accuracy,se,n".split(","))
    labels = [f"{row} ({paper})" for paper, row in zip(data["paper"], data["row"], strict=True)]

    def draw(canvas: Figure) -> None:
        places = np.arange(len(data))
        accuracy, time = canvas.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        accuracy.errorbar(
            data["accuracy"], places, xerr=data["se"].fillna(0), color=charts.COLORS[0], marker="o", markersize=5,
            capsize=2, linestyle="",
        )  # fmt: skip
        time.plot(data["seconds"], places, color=charts.COLORS[1], marker="D", markersize=4, linestyle="")
        time.set_xscale("log")
        charts.log_ticks(time.xaxis)
        accuracy.set_yticks(places, labels, fontsize=7)
        accuracy.invert_yaxis()
        accuracy.set_xlabel("accuracy, mean of the tasks (%)")
        time.set_xlabel("time of a cell (s)")
        for axes in (accuracy, time):
            axes.grid(alpha=0.3)
        canvas.suptitle(charts.broken(where, 6.4, 9), fontsize=9)
        canvas.supxlabel("bars: ± standard error; time: one thread, wall clock", fontsize=7)

    told = "; ".join(
        f"{label}: {seconds:.3g} s, {mean:.1f} %"
        for label, seconds, mean in zip(labels, data["seconds"], data["accuracy"], strict=True)
    )
    words = f"Accuracy and the time of a cell on {where}"
    return Chart(
        _file("cost", group, found[0].run.tasks),
        f"{words}; bars: ± standard error. Time: one thread, wall clock, the machine busy at times.",
        f"{words}: {told}.",
        draw,
        data,
        (6.4, 1.3 + 0.2 * len(data)),
    )
