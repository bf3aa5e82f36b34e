"""One data set on several networks: each method's accuracy and gain on each, beside the gain stated in its paper."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from report import statistics
from report.figures import charts
from report.figures.charts import Chart
from report.leaderboard import Board, Standing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = "row,paper,dataset,protocol,track,backbone,accuracy,se,gain,low,high,n,published".split(",")
LEAST = 3
"""Minimum number of methods on two networks for a figure that compares these."""
Place = tuple[str, str, str]
"""Data set, protocol and track."""
Method = tuple[str, str, str]
"""Method, variant and setting."""


def of_all(boards: Iterable[Board]) -> list[Chart]:
    """A figure for every data set, protocol and track on which several methods were run with at least two networks."""
    found: dict[Place, dict[str, Board]] = {}
    for board in boards:  # for each network the board with most lines comes first
        group = board.group
        found.setdefault((group.dataset, group.protocol, group.track), {}).setdefault(group.backbone, board)
    made = (_chart(place, some) for place, some in found.items() if len(some) > 1)
    return [chart for chart in made if chart is not None]


def _chart(place: Place, boards: dict[str, Board]) -> Chart | None:
    by_method: dict[Method, dict[str, Standing]] = {}
    for backbone, board in boards.items():
        for line in board.lines:
            if line.gap is not None:
                by_method.setdefault(line.one.method, {})[backbone] = line
    lines = _named([its for its in by_method.values() if len(its) > 1])
    if len(lines) < LEAST:
        return None
    backbones = sorted({backbone for its in lines.values() for backbone in its}, key=lambda one: _plain(boards[one]))
    order = sorted(lines, key=lambda label: -_average(lines[label].values()))
    stated = sorted({line.published_on for its in lines.values() for line in its.values() if line.published})

    def draw(canvas: Figure) -> None:
        left, right = canvas.subplots(1, 2, sharey=True)
        for number, backbone in enumerate(backbones):
            color, marker = (options[number % len(options)] for options in (charts.COLORS, charts.MARKERS))
            style: dict[str, Any] = {"color": color, "marker": marker, "markersize": 5}
            shift = (number - (len(backbones) - 1) / 2) * 0.22
            for y, label in enumerate(order):
                line = lines[label].get(backbone)
                if line is not None:
                    _dots(left, right, line, y + shift, style, backbone)
        for number, network in enumerate(stated):
            marker = charts.MARKERS[(len(backbones) + number) % len(charts.MARKERS)]
            for y, label in enumerate(order):
                theirs = next((line for line in lines[label].values() if line.published_on == network), None)
                if theirs is not None and theirs.published is not None:
                    right.plot(
                        [theirs.published.value], [y], marker=marker, markersize=6, color="black",
                        markerfacecolor="white", linestyle="", label=f"published, {network}",
                    )  # fmt: skip
        right.axvline(0, color="black", linewidth=0.8)
        left.set_yticks(range(len(order)), order, fontsize=7)
        left.invert_yaxis()
        left.set_xlabel("accuracy, mean of tasks (%)", fontsize=8)
        right.set_xlabel("gain over the own baseline (points)", fontsize=8)
        for panel in (left, right):
            panel.grid(alpha=0.3)
        handles = {label: handle for handle, label in zip(*right.get_legend_handles_labels(), strict=True)}
        canvas.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, fontsize=7)
        canvas.suptitle(", ".join((place[0], f"{place[1]} protocol", place[2])), fontsize=9)

    rows = [_row(place, backbone, label, line) for label in order for backbone, line in sorted(lines[label].items())]
    words = f"Methods run on several networks, on {place[0]}, {place[1]} protocol, {place[2]}"
    told = "; ".join(f"{label}: {', '.join(_gains(lines[label], backbones))}" for label in order)
    return Chart(
        charts.file_name(f"backbones-{'-'.join(place)}"),
        f"{words}: accuracy with its standard error, gain over the own baseline with its 95 % interval; hollow: the "
        f"gain that the paper states, on its own network. A method's weight is each network's own. "
        f"{_correlations(lines, backbones)}",
        f"{words}, gain in percentage points: {told}.",
        draw,
        pd.DataFrame(rows, columns=COLUMNS),
        (7.0, 1.6 + 0.36 * len(order)),
    )


def _named(found: Sequence[dict[str, Standing]]) -> dict[str, dict[str, Standing]]:
    """The lines of methods by their labels, with the paper added if two papers have a row of the same name."""
    firsts = [next(iter(its.values())).one for its in found]
    often = Counter(one.label for one in firsts)
    names = (one.label if often[one.label] == 1 else f"{one.label} ({one.paper})" for one in firsts)
    return dict(zip(names, found, strict=True))


def _dots(left: Axes, right: Axes, line: Standing, y: float, style: dict[str, Any], name: str) -> None:
    """A method's accuracy and gain on one network."""
    mean, gap = line.one.run.mean(line.one.entry), line.gap
    assert mean is not None
    assert gap is not None
    spread = 0.0 if math.isnan(mean.se) else mean.se
    left.errorbar([mean.mean], [y], xerr=[spread], linestyle="", capsize=2, **style)
    if not math.isnan(gap.low):
        right.plot([gap.low, gap.high], [y, y], color=str(style["color"]), linewidth=1)
    right.plot([gap.effect], [y], linestyle="", label=name, **style)


def _row(place: Place, backbone: str, label: str, line: Standing) -> tuple[object, ...]:
    mean, gap = line.one.run.mean(line.one.entry), line.gap
    assert mean is not None
    assert gap is not None
    theirs = line.published.value if line.published else math.nan
    numbers = (mean.mean, mean.se, gap.effect, gap.low, gap.high, gap.n, theirs)
    return (label, line.one.paper, *place, backbone, *numbers)


def _plain(board: Board) -> float:
    """Accuracy of the network without any transfer: the lowest baseline."""
    means = (line.one.run.mean(line.one.entry) for line in board.lines if line.gap is None)
    return min((mean.mean for mean in means if mean is not None), default=math.inf)


def _average(lines: Iterable[Standing]) -> float:
    gains = [line.gap.effect for line in lines if line.gap is not None]
    return sum(gains) / len(gains)


def _gains(its: dict[str, Standing], backbones: Sequence[str]) -> list[str]:
    return [f"{name} {gap.effect:+.1f}" for name in backbones if name in its and (gap := its[name].gap) is not None]


def _correlations(lines: dict[str, dict[str, Standing]], backbones: Sequence[str]) -> str:
    """How similar the orders of the methods' gains are on two networks, as Spearman's rank correlation."""
    told = []
    for one, other in itertools.combinations(backbones, 2):
        both = [its for its in lines.values() if one in its and other in its]
        if len(both) >= LEAST:
            first, second = ([_average([its[name]]) for its in both] for name in (one, other))
            told.append(f"{one} and {other} {statistics.spearman(first, second):.2f} (n = {len(both)})")
    return f"Rank correlation of the gains: {'; '.join(told)}." if told else ""
