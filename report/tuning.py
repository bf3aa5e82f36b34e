"""The cost of rules that choose a weight without target labels: the experiments ``tuning`` of all methods.

Each contains the whole grid of a weight, with a tenth of the labelled source held out and, for every training, what the
rules look at.  For each data set and seed a rule takes the value with the lowest mean rank over the tasks, as the
suite's own choice does (``benchmarks.plan.choices``).  The oracle takes the value with the highest mean accuracy on the
target: this is what tuning on target labels would have claimed, and nobody can use it.  Beside them is the module's own
value if none is chosen, mostly the paper's, or the value of the grid nearest to it.

For each data set the page names the rule that loses least to the oracle on the others, each method counted once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from benchmarks.records.rules import METRICS, RULES, mean_ranks
from methods import contract
from methods.contract import Paper
from report import build, statistics
from report.records import Group
from report.runs import Entry, Run, counterpart, entries, runs_of, same_row, setting_values, swept
from report.table import MISSING, Cell, Grid, Line, Number, estimated, grid_as_markdown

ORACLE = "oracle"
GIVEN = "as given"
"""The module's own value."""
COLLAPSE = 5.0
"""Points below source-only from which a choice counts as a collapse."""

Metrics = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Study:
    """One method on one data set."""

    place: tuple[str, str]
    """Paper and experiment."""
    label: str
    group: Group
    tasks: tuple[str, ...]
    grid: tuple[float, ...]
    base: NDArray[np.float64]
    """Accuracy of source-only, percent, (replicates, tasks)."""
    accuracy: NDArray[np.float64]
    """(replicates, tasks, grid); nan where the training diverged."""
    metrics: Metrics
    """Those of ``METRICS`` that all cells have; the same shape."""
    given: float
    """The module's own value."""

    @property
    def rules(self) -> list[str]:
        """The rules whose inputs are available."""
        return [rule for rule in RULES if self._scores(rule) is not None]

    def _scores(self, rule: str) -> NDArray[np.float64] | None:
        try:
            return np.where(self._lost, np.inf, RULES[rule](self.metrics))
        except KeyError:
            return None

    @property
    def _lost(self) -> NDArray[np.bool_]:
        """Values that no rule takes in a replicate because one of their trainings diverged; (replicates, 1, grid)."""
        return np.asarray(np.isnan(self.accuracy).any(axis=1, keepdims=True))

    def chosen(self, rule: str) -> NDArray[np.int64]:
        """Position in the grid of the rule's choice, for each replicate; the least of equal ones."""
        if rule == GIVEN:
            nearest = np.abs(np.log(self.grid) - np.log(self.given)).argmin()
            return np.full(len(self.accuracy), nearest)
        if rule == ORACLE:
            return np.asarray(np.where(self._lost, -np.inf, self.accuracy).mean(1).argmax(1))
        scores = self._scores(rule)
        assert scores is not None
        return np.asarray(mean_ranks(scores).argmin(1))

    def taken(self, rule: str) -> NDArray[np.float64]:
        """Accuracy on each task under the rule's choice, (replicates, tasks)."""
        return np.take_along_axis(self.accuracy, self.chosen(rule)[:, None, None], axis=2)[:, :, 0]

    def loss(self, rule: str) -> NDArray[np.float64]:
        """Points below the oracle, mean over tasks, for each replicate."""
        difference: NDArray[np.float64] = (self.taken(ORACLE) - self.taken(rule)).mean(1)
        return difference

    def correlation(self, rule: str) -> float:
        """Spearman's correlation over the grid of the rule's preference with accuracy; mean over everything else."""
        scores = self._scores(rule)
        assert scores is not None
        kept = ~self._lost[:, 0]
        every = [
            (-scores[r, t, kept[r]], self.accuracy[r, t, kept[r]])
            for r in range(len(self.accuracy))
            for t in range(len(self.tasks))
        ]
        pairs = [pair for pair in every if all(len(values) and np.ptp(values) > 0 for values in pair)]
        return fmean(statistics.spearman(*pair) for pair in pairs) if pairs else 0.0

    def collapses(self, rule: str) -> float:
        """Share of tasks and replicates on which its choice is at least ``COLLAPSE`` points below source-only."""
        return float((self.base - self.taken(rule) >= COLLAPSE).mean())

    @property
    def at_edge(self) -> bool:
        """Whether the most accurate value, mean over everything, is at an end of the grid."""
        return self.best in (0, len(self.grid) - 1)

    @property
    def best(self) -> int | None:
        """Position of that value; None if a training diverged at every value."""
        means = self.accuracy.mean((0, 1))
        return None if np.isnan(means).all() else int(np.nanargmax(means))


def studies(papers: Mapping[str, Paper], results: Path) -> list[Study]:
    """Every method and data set whose grid is complete in at least one replicate, except for what diverged.

    A value with results on only some of a replicate's tasks is assumed to have diverged on the others.

    Raises:
        UserError: a malformed file.
    """
    found = []
    for name, paper in papers.items():
        for experiment in paper.experiments:
            if not (experiment.holdout and experiment.sweep):
                continue
            loaded = build.load(name, experiment, None, results)
            for group in loaded.groups:
                run = runs_of(loaded.frame, group)[0]
                lines = [one for one in entries(experiment, [run]) if not same_row(one.row, experiment.baseline)]
                for row in dict.fromkeys(one.row for one in lines):
                    its = [one for one in lines if one.row == row]
                    complete = len(its) == len(next(iter(swept(experiment).values())))
                    base = counterpart(its[0].setting, experiment.baseline, experiment, run)
                    place = (name, experiment.name)
                    given = getattr(contract.load(row.method).variants[row.variant], next(iter(swept(experiment))))
                    study = _study(place, row.name, group, run, its, base, given) if complete else None
                    if study is not None:
                        found.append(study)
    return found


def _study(
    place: tuple[str, str], label: str, group: Group, run: Run, lines: Sequence[Entry], base: Entry, given: float
) -> Study | None:
    values = {one: run.values(one) for one in (base, *lines)}
    replicates = sorted({place[1:] for place in values[base]}, key=str)
    replicates = [
        one
        for one in replicates
        if all((task, *one) in values[base] for task in run.tasks)
        and all(any((task, *one) in found for task in run.tasks) for found in values.values())
    ]
    if not replicates:
        return None

    def array(of: Mapping[tuple[str, str, int], float]) -> list[list[float]]:
        return [[of.get((task, *one), float("nan")) for task in run.tasks] for one in replicates]

    def stacked(metric: str) -> NDArray[np.float64]:
        return np.stack([np.array(array(run.values(one, "last", metric))) for one in lines], axis=2)

    measured = [
        name
        for name in METRICS
        if all(
            (task, *one) in run.values(line, "last", name)
            for line in lines
            for one in replicates
            for task in run.tasks
            if (task, *one) in values[line]
        )
    ]
    return Study(
        place,
        label,
        group,
        run.tasks,
        tuple(float(next(iter(setting_values(one.setting).values()))) for one in lines),
        np.array(array(values[base])),
        stacked("accuracy"),
        {name: stacked(name) for name in measured},
        given,
    )


def best_elsewhere(found: Sequence[Study]) -> dict[str, str]:
    """Data set -> the rule that loses least to the oracle on the others.

    Means over the forms of each method, as printed and on all pairs, then over methods, then over data sets.
    """
    datasets = list(dict.fromkeys(one.group.dataset for one in found))
    best = {}
    for dataset in datasets:
        others = [name for name in datasets if name != dataset]
        if others:
            losses = {rule: _mean_loss(found, others, rule) for rule in RULES}
            known = {rule: loss for rule, loss in losses.items() if loss is not None}
            best[dataset] = min(known, key=lambda rule: known[rule])
    return best


def _mean_loss(found: Iterable[Study], datasets: Sequence[str], rule: str) -> float | None:
    of_dataset: dict[str, dict[str, list[float]]] = {}
    for one in found:
        if one.group.dataset in datasets:
            if rule not in one.rules:
                return None
            of_method = of_dataset.setdefault(one.group.dataset, {}).setdefault(one.place[0], [])
            of_method.append(float(one.loss(rule).mean()))
    return fmean(fmean(map(fmean, of_method.values())) for of_method in of_dataset.values())


def _estimate(values: NDArray[np.float64]) -> Cell:
    n = len(values)
    spread = float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    return estimated(statistics.Estimate(float(values.mean()), spread, n), basis=None)


INTRODUCTION = """# Rules that choose a weight without target labels

Written by `make paper-tables` from every method's `tuning` experiments (`report/tuning.py` says how). A tenth of the
labelled source is held out. On every task a rule ranks the weights by its criterion; for each data set and seed it
takes the weight with the lowest mean rank. The oracle takes the weight with the highest target accuracy, which no user
can know. Mean ± standard error over seeds; ± - where there is one seed.
"""


def page(papers: Mapping[str, Paper], results: Path) -> str:
    """The text of ``TUNING.md``; the same results give the same bytes.

    Raises:
        UserError: a malformed file.
    """
    found = studies(papers, results)
    if not found:
        return f"{INTRODUCTION}\nNothing is committed yet.\n"
    return "\n\n".join((INTRODUCTION.strip(), *map(grid_as_markdown, grids(found)))) + "\n"


def grids(found: Sequence[Study]) -> list[Grid]:
    """Gain under every rule's choice, its loss to the oracle, how it ranks the grid, how often it collapses."""
    rules = [ORACLE, GIVEN, *RULES]

    def line(one: Study, cell: Callable[[Study, str], Cell]) -> Line:
        cells = tuple(cell(one, rule) if rule in (ORACLE, GIVEN, *one.rules) else MISSING for rule in rules)
        return Line(f"{one.label}, {one.group.dataset}", "committed", cells)

    def grid(name: str, title: str, cell: Callable[[Study, str], Cell], *notes: str) -> Grid:
        return Grid(name, title, tuple(rules), tuple(line(one, cell) for one in found), notes, "method, data")

    edges = [f"{one.label} on {one.group.dataset}" for one in found if one.at_edge]
    edge = (f"the most accurate value is an end of the grid: {', '.join(edges)}",) if edges else ()
    best = best_elsewhere(found)
    rule = tuple(f"least loss on the data other than {name}: {taken}" for name, taken in best.items())
    return [
        grid("gain", "Gain over source-only under each rule's choice, points",
             lambda one, rule: _estimate((one.taken(rule) - one.base).mean(1)), *edge),
        grid("loss", "Points lost to the oracle's choice", lambda one, rule: _estimate(one.loss(rule)), *rule),
        grid("rank", "Rank correlation of what the rule likes with accuracy, over the grid",
             lambda one, rule: MISSING if rule in (ORACLE, GIVEN) else Number(one.correlation(rule), digits=2)),
        grid("collapse", f"Share of trainings chosen that are {COLLAPSE:g} points and more below source-only, percent",
             lambda one, rule: Number(100 * one.collapses(rule), digits=0)),
    ]  # fmt: skip
