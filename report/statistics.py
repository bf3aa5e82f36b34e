"""Means, standard errors, paired differences.  All accuracies and differences are in percentage points.

*Replicate*: what the spread is taken over.  If a protocol draws several splits it is the split (seeds within a split
are averaged first); otherwise it is the seed, and the spread is initialisation and batch noise.  Tasks are fixed, not a
sample: six tasks are six, and the mean over tasks has as many values as there are replicates.

*Difference of two rows*: paired by (task, split, seed).  Only replicates that both rows have on every task are used, so
that the effect, its interval and its p-value are about the same cells.

* 95 % interval and p: Student's t over the replicates' means over tasks, one paired test.  It does not assume that
  the tasks of one seed are independent of one another, and is wide for few replicates.
* Whether the tasks agree is another question: on which of them the difference is above or below 0, by the same test on
  each task alone, with Holm's correction for their number.
* If a first stage has fixed the number of replicates (``results/replicates.csv``), interval and p use the spread of
  that stage and its degrees of freedom (Stein, 1945): the usual interval would be too narrow by chance where a small
  spread ends the runs early.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from benchmarks.records.rules import ranks

LEVEL = 0.05
"""Largest p-value at which a difference is called one."""
CONFIDENCE = 1 - LEVEL
KEY = ["task", "split", "seed"]
SPREADS = {"seed": "initialisation and batch noise", "split": "draws of the split, with initialisation and batch noise"}
"""Unit of replication -> what the spread over it is."""

Place = tuple[str, str, int]
"""Task, split, seed."""
Values = Mapping[Place, float]
"""The values of one line of a table."""


@dataclass(frozen=True)
class Estimate:
    """A mean over replicates."""

    mean: float
    se: float
    """Standard error of the mean; nan if n is 1."""
    n: int
    """Number of replicates, at least 1."""


@dataclass(frozen=True)
class Comparison:
    """The paired difference of two rows, mean over tasks."""

    effect: float
    se: float
    """Standard error over replicates; nan if n is 1."""
    low: float
    high: float
    """The 95 % interval; nan if n is 1."""
    p: float
    """Two-sided, of the same t-test: below 0.05 if the interval is on one side of 0; nan if n is 1."""
    n: int
    """Number of replicates that both rows have on every task."""
    tasks: Mapping[str, float]
    """Task -> mean difference."""
    up: tuple[str, ...] = ()
    """Tasks whose difference is above 0, tested one by one (Holm)."""
    down: tuple[str, ...] = ()
    """Those where it is below 0."""
    differences: tuple[tuple[float, ...], ...] = ()
    """Differences of each replicate, in the order of the replicates, on each task."""
    first: int = 0
    """Number of replicates that give the interval's spread, if a first stage has fixed their number; 0: all."""

    @property
    def mixed(self) -> bool:
        """Whether at least one task goes significantly against the mean."""
        return bool(self.down if self.effect > 0 else self.up)

    @property
    def means(self) -> list[float]:
        """The difference of each replicate, mean over tasks."""
        return [fmean(of_tasks) for of_tasks in self.differences]

    @property
    def spread(self) -> float:
        """Standard deviation of one replicate's mean over tasks, as used for the interval; nan if n is 1."""
        if self.n == 1:
            return math.nan
        return (self.high - self.low) / 2 / quantile(self.first or self.n) * math.sqrt(self.n)


def unit(frame: pd.DataFrame) -> str:
    """What the spread of these rows is over: ``split`` if there are several, else ``seed``."""
    return "split" if frame["split"].nunique() > 1 else "seed"


def _by_replicate(values: Values, over: str) -> dict[Any, dict[str, float]]:
    """Replicate, in order -> task -> value; averaged over the other of split and seed."""
    at = KEY.index(over)
    cells: dict[Any, dict[str, list[float]]] = {}
    for place, value in values.items():
        cells.setdefault(place[at], {}).setdefault(place[0], []).append(value)
    order = sorted(cells, key=lambda one: (len(str(one)), str(one)))  # splits are text: 2 comes before 10
    return {one: {task: fmean(found) for task, found in cells[one].items()} for one in order}


def complete(values: Values, tasks: Sequence[str], over: str) -> dict[Place, float]:
    """The values on these tasks of the replicates that have all of them: ``over_tasks`` is their mean."""
    at, wanted = KEY.index(over), set(tasks)
    kept = {one for one, found in _by_replicate(values, over).items() if wanted <= found.keys()}
    return {place: value for place, value in values.items() if place[0] in wanted and place[at] in kept}


def mean_of(several: Sequence[Values]) -> dict[Place, float]:
    """The means over several lines where all of them have a value."""
    first, *others = several
    return {
        place: fmean([value, *(other[place] for other in others)])
        for place, value in first.items()
        if all(place in other for other in others)
    }


def rank_correlation(first: Sequence[Values], second: Sequence[Values]) -> dict[Place, float]:
    """Spearman's correlation, over several lines, of one of their values with another, where all of them have both.

    Args:
        first: the values of each line.
        second: other values, line by line; if all are equal there is no correlation.
    """
    places = set.intersection(*({*one} & {*other} for one, other in zip(first, second, strict=True)))
    found = {}
    for place in sorted(places):
        rho = spearman(*([values[place] for values in several] for several in (first, second)))
        if not math.isnan(rho):
            found[place] = rho
    return found


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rank correlation; nan if all numbers on one side are equal."""
    both = ranks(np.array([first, second]))
    return float(np.corrcoef(*both)[0, 1]) if both.std(axis=1).all() else math.nan


def paired(better: Values, worse: Values) -> dict[Place, float]:
    """``better - worse`` where both have a value."""
    return {place: value - worse[place] for place, value in better.items() if place in worse}


def estimate(numbers: Sequence[float]) -> Estimate | None:
    """Mean and standard error; None for no numbers."""
    return Estimate(fmean(numbers), standard_error(numbers), len(numbers)) if numbers else None


def deviation(numbers: Sequence[float]) -> float:
    """Standard deviation of at least two numbers, exactly 0 for equal ones."""
    # That of the standard library works with fractions, which takes seconds of every report.
    mean = fmean(numbers)
    return math.sqrt(math.fsum((number - mean) ** 2 for number in numbers) / (len(numbers) - 1))


def standard_error(numbers: Sequence[float]) -> float:
    """Of the mean of at least one number; nan for one number, and exactly 0 for equal ones."""
    return deviation(numbers) / math.sqrt(len(numbers)) if len(numbers) > 1 else math.nan


@functools.cache
def quantile(n: int) -> float:
    """Quantile of Student's t for the interval of the mean of n numbers."""
    return float(special.stdtrit(n - 1, (1 + CONFIDENCE) / 2))


def per_task(values: Values, tasks: Sequence[str], over: str) -> dict[str, Estimate | None]:
    """Task -> mean over the replicates that it has."""
    cells = _by_replicate(values, over).values()
    return {task: estimate([found[task] for found in cells if task in found]) for task in tasks}


def over_tasks(values: Values, tasks: Sequence[str], over: str) -> Estimate | None:
    """Mean over tasks: per replicate, then over the replicates that have every task.  None if there is none."""
    cells = _by_replicate(values, over).values()
    whole = [[found[task] for task in tasks] for found in cells if all(task in found for task in tasks)]
    return estimate([fmean(found) for found in whole]) if tasks else None


def t_test(numbers: Sequence[float], first: int = 0) -> tuple[float, float, float]:
    """95 % t-interval of the mean of at least two numbers, and the p-value of a mean of 0.

    Equal numbers give a point as interval, and a p-value of 0, or of 1 if they are 0.

    Args:
        numbers: one per replicate, in the order of the replicates.
        first: number of them that give the spread, if a first stage has fixed their number; all if 0.
    """
    stage = numbers[:first] if 2 <= first < len(numbers) else numbers
    mean, se = fmean(numbers), deviation(stage) / math.sqrt(len(numbers))
    half = quantile(len(stage)) * se
    if se == 0:
        return mean, mean, float(mean == 0)
    return mean - half, mean + half, float(2 * special.stdtr(len(stage) - 1, -abs(mean) / se))


def holm(p: Sequence[float]) -> list[float]:
    """p-values adjusted to keep the chance of any false finding among them at the level (Holm, 1979)."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted, most = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        most = max(most, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = most
    return adjusted


def false_discovery(p: Sequence[float]) -> list[float]:
    """q-values: the share of false findings among all that have at most this p (Benjamini and Hochberg, 1995)."""
    order = sorted(range(len(p)), key=lambda i: -p[i])
    adjusted, least = [0.0] * len(p), 1.0
    for place, i in enumerate(order):
        least = min(least, p[i] * len(p) / (len(p) - place))
        adjusted[i] = least
    return adjusted


def expected_false(p: Sequence[float]) -> float:
    """How many of some tests are expected to be below ``LEVEL`` without any effect behind them.

    The level times the number of tests without an effect, estimated from the p-values above 0.5 (Storey, 2002).
    """
    without = min(1.0, 2 * sum(one > 0.5 for one in p) / len(p)) if p else 0.0
    return LEVEL * without * len(p)


MANY = 1000
"""More replicates than anybody would run."""


def needed(effect: float, spread: float, delta: float, first: int = 0) -> int:
    """Number of replicates that would decide it at the same mean and spread; at most ``MANY``.

    Decided means that the interval excludes 0, or lies within ``delta`` of it.  ``first``: as in ``t_test``.
    """
    for n in range(2, MANY):
        half = quantile(first or n) * spread / math.sqrt(n)
        if half < abs(effect) or abs(effect) + half <= delta:
            return n
    return MANY


def replicates(spread: float, first: int, delta: float, most: int) -> int:
    """How many replicates bring the half-width of the interval to at most ``delta`` (Stein, 1945).

    It depends only on the spread, not on the effect, so the interval keeps its 95 %.

    Args:
        spread: standard deviation over the replicates of the first stage.
        first: their number.
        delta: the wanted half-width.
        most: maximum to run, but never fewer than ``first``.
    """
    wanted = math.ceil((quantile(first) * spread / delta) ** 2) if delta > 0 else most
    return max(first, min(wanted, most))


def compare(
    better: Values,
    worse: Values,
    tasks: Sequence[str],
    over: str,
    *,
    margin: float = 0.0,
    than: Sequence[str] = (),
    first: int = 0,
) -> Comparison | None:
    """``better - worse`` over the replicates that both have on every task; None if there are none.

    Args:
        better: the values of one line.
        worse: those of the other.
        tasks: the tasks over which the effect is a mean.
        over: the replicate, ``seed`` or ``split``.
        margin: added to every difference.
        than: tasks whose differences are subtracted, each from that of the task at the same position in ``tasks``.
        first: replicates of a first stage that fixed their number; 0 if none did.
    """
    named = [*tasks, *than]
    cells = _by_replicate(paired(better, worse), over).values()
    whole = [[found[task] for task in named] for found in cells if all(task in found for task in named)]
    if not whole or not tasks:
        return None
    both = np.array(whole)
    differences = both[:, : len(tasks)] + margin
    if than:
        differences = differences - both[:, len(tasks) :]
    means = differences.mean(axis=1).tolist()
    by_task = dict(zip(tasks, differences.mean(axis=0).tolist(), strict=True))
    kept = tuple(map(tuple, differences.tolist()))
    if len(means) == 1:
        return Comparison(means[0], math.nan, math.nan, math.nan, math.nan, 1, by_task, differences=kept)
    low, high, p = t_test(means, first)
    up, down = _significant(tasks, differences, first)
    se = standard_error(means)
    stage = first if 2 <= first <= len(means) else 0
    return Comparison(fmean(means), se, low, high, p, len(means), by_task, up, down, kept, stage)


def _significant(
    tasks: Sequence[str], differences: NDArray[np.float64], first: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The tasks whose difference is above 0, and those where it is below; ``differences`` is replicates x tasks."""
    columns = [column.tolist() for column in differences.T]
    adjusted = holm([t_test(column, first)[2] for column in columns])
    found = [(task, fmean(column)) for task, column, p in zip(tasks, columns, adjusted, strict=True) if p < LEVEL]
    return tuple(task for task, mean in found if mean > 0), tuple(task for task, mean in found if mean < 0)
