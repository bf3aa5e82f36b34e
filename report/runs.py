"""What the rows of a results file are to a table: runs of one origin, and their lines in the table."""

from __future__ import annotations

import math
import weakref
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import NamedTuple

import pandas as pd

from methods.contract import Experiment, Row
from report import records, statistics
from report.records import COMMITTED, LOCAL, Group, of_group
from report.statistics import KEY, Comparison, Estimate, Place, Values
from report.table import Basis

KEYS = ["method", "variant", "setting", "task", "split", "seed", "selection", "metric"]
"""Identifies a value within a run."""

BOTH = "both"
"""Origin of a line in which the committed result and this machine's are the same."""


@dataclass(frozen=True)
class Entry:
    """What a line is about: a row of the experiment in one setting of its sweep (empty without one)."""

    row: Row
    setting: str = ""
    level: float | None = None
    """A constant in place of a line."""

    @property
    def label(self) -> str:
        """Label in the table."""
        if self.level is not None:
            return f"{self.level:g}"
        return f"{self.row.name}, {self.setting.replace(';', ', ')}" if self.setting else self.row.name


class _Line(NamedTuple):
    """A run's values for one line."""

    values: dict[tuple[str, str], dict[Place, float]]
    """(selection, metric) -> place -> value."""
    cells: dict[Place, str]
    """Place -> hash."""


@dataclass(frozen=True)
class Run:
    """The rows of one group that have one origin, no cell twice (see ``runs_of``)."""

    origin: str
    """Name in tables: with the device if the same cell was computed on several."""
    local: bool
    """Whether it is this machine's."""
    frame: pd.DataFrame
    tasks: tuple[str, ...]
    """In order of appearance."""
    over: str
    """What the spread is over: ``seed`` or ``split``."""
    first: int = 0
    """Replicates of the first stage that fixed their total; 0 if none did."""
    planned: int = 0
    """That total; 0 if none has been fixed."""

    @cached_property
    def _lines(self) -> dict[tuple[str, str, str], _Line]:
        """(method, variant, setting) -> the values of the line: tables ask for thousands of them."""
        found: dict[tuple[str, str, str], _Line] = {}
        columns = ["method", "variant", "setting", *KEY, "selection", "metric", "value", "cell"]
        for method, variant, setting, task, split, seed, *rest in records.plain(self.frame, columns):
            selection, metric, value, cell = rest
            line = found.setdefault((method, variant, setting), _Line({}, {}))
            values = line.values.setdefault((selection, metric), {})
            if (task, split, seed) in values:
                raise ValueError("two values for one task, split and seed")
            values[task, split, seed] = value
            line.cells[task, split, seed] = cell
        return found

    def _line(self, entry: Entry) -> _Line:
        return self._lines.get((entry.row.method, entry.row.variant, entry.setting), _Line({}, {}))

    def seconds(self, entry: Entry) -> float:
        """Mean time of a line's cells; nan if unknown."""
        return self._seconds.get((entry.row.method, entry.row.variant, entry.setting), math.nan)

    @cached_property
    def _seconds(self) -> dict[tuple[str, str, str], float]:
        """(method, variant, setting) -> mean time of its cells."""
        found: dict[tuple[str, str, str], dict[str, float]] = {}
        for method, variant, setting, cell, seconds in records.plain(
            self.frame, ["method", "variant", "setting", "cell", "seconds"]
        ):
            if seconds:
                found.setdefault((method, variant, setting), {})[cell] = float(seconds)
        return {line: fmean(of_cells.values()) for line, of_cells in found.items()}

    def rows(self, entry: Entry) -> pd.DataFrame:
        """All rows of a line."""
        frame = self.frame
        same = (frame["method"] == entry.row.method) & (frame["variant"] == entry.row.variant)
        return frame[same & (frame["setting"] == entry.setting)]

    def values(self, entry: Entry, selection: str = "last", metric: str = "accuracy") -> Values:
        """The values of a line."""
        return self._line(entry).values.get((selection, metric), {})

    def mean(self, entry: Entry, selection: str = "last", metric: str = "accuracy") -> Estimate | None:
        """Mean over the tasks of this run."""
        return statistics.over_tasks(self.values(entry, selection, metric), self.tasks, self.over)

    def task_mean(self, entry: Entry, task: str) -> float:
        """Mean accuracy of the last iterate on one task that the line has."""
        estimate = statistics.per_task(self.values(entry), (task,), self.over)[task]
        assert estimate is not None
        return estimate.mean

    def compare(
        self,
        better: Entry | Sequence[Entry],
        worse: Entry | Sequence[Entry],
        metric: str = "accuracy",
        tasks: Sequence[str] = (),
        *,
        margin: float = 0.0,
        than: Sequence[str] = (),
        less: tuple[Sequence[Entry], Sequence[Entry]] | None = None,
    ) -> Comparison | None:
        """Paired difference of a metric at the last iterate, over some or all tasks of this run.

        For several lines their mean is compared.  ``margin`` and ``than``: see ``statistics.compare``.  ``less``: two
        other sides, whose difference is subtracted.
        """
        first, second = self._sides(better, worse, metric)
        if less is not None:
            first, second = (
                statistics.paired(one, other)
                for one, other in zip((first, second), self._sides(*less, metric), strict=True)
            )
        named = tasks or self.tasks
        return statistics.compare(first, second, named, self.over, margin=margin, than=than, first=self.first)

    def ranked(self, lines: Sequence[Entry], by: str, metric: str, tasks: Sequence[str] = ()) -> Comparison | None:
        """How far the least value of one metric goes with the greatest of another over some lines, compared with 0."""
        turned = [{place: -value for place, value in self.values(line, metric=by).items()} for line in lines]
        found = statistics.rank_correlation(turned, [self.values(line, metric=metric) for line in lines])
        return statistics.compare(found, dict.fromkeys(found, 0.0), tasks or self.tasks, self.over, first=self.first)

    def _sides(
        self, better: Entry | Sequence[Entry], worse: Entry | Sequence[Entry], metric: str
    ) -> tuple[Values, Values]:
        """The values of two lines; for several their means, where all have one; a level wherever the other has a
        value."""
        first, second = ([side] if isinstance(side, Entry) else list(side) for side in (better, worse))
        return self._average(first, second, metric), self._average(second, first, metric)

    def _average(self, side: Sequence[Entry], other: Sequence[Entry], metric: str) -> Values:
        if (level := side[0].level) is not None:
            return dict.fromkeys(self._average(other, (), metric), level)
        return statistics.mean_of([self.values(entry, metric=metric) for entry in side])

    def basis(
        self, entry: Entry, tasks: Sequence[str] = (), selection: str = "last", metric: str = "accuracy"
    ) -> Basis:
        """The cells behind ``mean``, or behind the mean of the one named task."""
        values = self.values(entry, selection, metric)
        used = statistics.complete(values, tasks or self.tasks, self.over)
        return Basis(self._cells(entry, used), metric=metric, selection=selection)

    def bases(
        self,
        better: Entry | Sequence[Entry],
        worse: Entry | Sequence[Entry],
        metric: str = "accuracy",
        tasks: Sequence[str] = (),
        than: Sequence[str] = (),
        less: tuple[Sequence[Entry], Sequence[Entry]] | None = None,
    ) -> Basis:
        """The cells behind ``compare``: those that raise the effect, and those that lower it."""
        if less is not None:
            straight, turned = (self.bases(*pair, metric, tasks, than) for pair in ((better, worse), less))
            return replace(straight, cells=straight.cells + turned.minus, minus=straight.minus + turned.cells)
        first, second = self._sides(better, worse, metric)
        named = tasks or self.tasks
        used = statistics.complete(statistics.paired(first, second), [*named, *than], self.over)
        own = [place for place in used if place[0] not in than]
        others = [place for place in used if place[0] in than]
        sides = [[side] if isinstance(side, Entry) else list(side) for side in (better, worse)]
        plus, minus = (
            tuple(cell for side, places in pairs for entry in side for cell in self._cells(entry, places))
            for pairs in (
                ((sides[0], own), (sides[1], others)),
                ((sides[1], own), (sides[0], others)),
            )
        )
        return Basis(plus, minus, metric)

    def of_task(self, basis: Basis, task: str) -> Basis:
        """The part of a basis that is about one task."""
        sides = ([cell for cell in side if self._tasks.get(cell) == task] for side in (basis.cells, basis.minus))
        first, second = map(tuple, sides)
        return replace(basis, cells=first, minus=second)

    @cached_property
    def _tasks(self) -> dict[str, str]:
        """Hash -> task."""
        return {cell: place[0] for line in self._lines.values() for place, cell in line.cells.items()}

    def _cells(self, entry: Entry, places: Iterable[Place]) -> tuple[str, ...]:
        if entry.level is not None:
            return ()
        cells = self._line(entry).cells
        return tuple(cells[place] for place in places)

    def has(self, entry: Entry) -> bool:
        """Whether there is any row of this line; a level always exists."""
        return entry.level is not None or (entry.row.method, entry.row.variant, entry.setting) in self._lines


def having(entry: Entry, runs: Sequence[Run]) -> list[Run]:
    """The runs that have results of a line."""
    return [run for run in runs if run.has(entry)]


def same_row(first: Row, second: Row) -> bool:
    """Whether two rows have the same method and variant."""
    return (first.method, first.variant) == (second.method, second.variant)


def runs_of(frame: pd.DataFrame, group: Group) -> list[Run]:
    """The runs of one group, the committed ones first.

    If the same cell was computed on several devices, an origin gives one run per device; devices that merely divide the
    cells among themselves give one run together.  The rows must not be modified afterwards: tables, figures and claims
    ask for the same runs, which are built once.
    """
    key = id(frame), group
    known = _MADE.get(key)
    if known is None or known[0]() is not frame:
        known = _MADE[key] = weakref.ref(frame, lambda _: _MADE.pop(key, None)), _runs_of(frame, group)
    return list(known[1])


_MADE: dict[tuple[int, Group], tuple[weakref.ref[pd.DataFrame], list[Run]]] = {}


def _runs_of(frame: pd.DataFrame, group: Group) -> list[Run]:
    rows = of_group(frame, group)
    place = [name for name in records.IDENTITY if name != "device"]
    found = []
    for origin in (COMMITTED, LOCAL):
        own = rows[rows["origin"] == origin]
        repeated = own.duplicated(place).any()
        parts = {f"{origin}, {name}": part for name, part in own.groupby("device")} if repeated else {origin: own}
        for label, part in parts.items():
            if not part.empty:
                tasks = tuple(map(str, part.loc[part["metric"] == "accuracy", "task"].drop_duplicates()))
                first, planned = int(part["first"].max()), int(part["planned"].max())
                found.append(Run(label, origin == LOCAL, part, tasks, statistics.unit(part), first, planned))
    return found


def with_partial_marked(runs: Sequence[Run], experiment: Experiment, group: Group, published: int = 0) -> list[Run]:
    """The runs, with those that lack tasks marked wherever they appear: their means do not compare with full ones.

    Args:
        runs: of one group.
        experiment: which may name its tasks.
        group: the data.
        published: number of tasks in the published table on the same data; used if the experiment names none.
    """
    named = len(experiment.tasks.get(group.dataset, ())) or published
    whole = max([named, len({task for run in runs for task in run.tasks})])
    return [
        replace(run, origin=f"{run.origin}, {len(run.tasks)} of {whole} tasks") if 0 < len(run.tasks) < whole else run
        for run in runs
    ]


def shown(runs: Sequence[Run]) -> list[Run]:
    """The runs that get lines of their own: two with the same values everywhere share theirs."""
    if len(runs) != 2 or not _equal(*runs):
        return list(runs)
    return [replace(runs[0], origin=BOTH, local=True)]


def _equal(first: Run, second: Run) -> bool:
    one, other = (set(records.plain(run.frame, [*KEYS, "value"])) for run in (first, second))
    return one == other


def entries(experiment: Experiment, runs: Sequence[Run]) -> list[Entry]:
    """The lines that have results: the experiment's rows in order, each in the order of its sweep.

    Rows in the files that the experiment does not have come last: they are shown, not dropped.
    """
    keys = dict.fromkeys(key for run in runs for key in records.plain(run.frame, ["method", "variant", "setting"]))
    settings: dict[tuple[str, str], list[str]] = {(row.method, row.variant): [] for row in experiment.rows}
    for method, variant, setting in keys:
        settings.setdefault((method, variant), []).append(setting)
    rows = {(row.method, row.variant): row for row in experiment.rows}
    return [
        Entry(rows.get(key, Row(*key)), setting)
        for key, found in settings.items()
        for setting in sorted(found, key=lambda text: _sweep_order(text, experiment))
    ]


def setting_values(setting: str) -> dict[str, str]:
    """``{"k": "v"}`` for ``k=v``; empty for no setting."""
    parts = (part.partition("=") for part in setting.split(";") if part)
    return {key: value for key, _, value in parts}


def swept(experiment: Experiment) -> dict[str, tuple[str, ...]]:
    """What an experiment varies within a row: the fields of its sweeps, the cut, and the trunk's statistics."""
    cuts = {"cut": experiment.cuts} if experiment.cuts else {}
    trunks = {"statistics": experiment.bn_statistics} if experiment.bn_statistics else {}
    fields = {**experiment.recipe_sweep, **experiment.sweep}
    return {**{name: tuple(map(str, values)) for name, values in fields.items()}, **cuts, **trunks}


def _sweep_order(setting: str, experiment: Experiment) -> tuple[tuple[float, str], ...]:
    """Sort key: the position of each value in the experiment's sweep, values outside it last."""
    order = []
    for name, value in setting_values(setting).items():
        values = swept(experiment).get(name, ())
        place = values.index(value) if value in values else len(values)
        order.append((float(place), value))
    return tuple(order)


def unswept(setting: str, experiment: Experiment) -> str:
    """The parts of a setting that are not fields of the experiment's sweep."""
    return without(setting, experiment.sweep)


def without(setting: str, names: Container[str]) -> str:
    """The parts of a setting with none of the given names."""
    return ";".join(part for part in setting.split(";") if part.partition("=")[0] not in names)


def counterpart(setting: str, row: Row, experiment: Experiment, run: Run) -> Entry:
    """What a line in this setting is compared with: ``row`` in the same setting, or without the sweep if it has none.

    Everything else that is set (how BatchNorm sees the domains, the precision) has to be the same.
    """
    same = Entry(row, setting)
    return same if run.has(same) else Entry(row, unswept(setting, experiment))
