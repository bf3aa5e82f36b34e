"""Means, standard errors, paired differences.  All accuracies and differences are in percent points.

*Replicate*: what the spread is taken over.  Where a protocol draws several splits it is the split (seeds within a
split are averaged first); elsewhere it is the seed, and the spread is initialisation and batch noise.  Tasks are
fixed, not a sample: six tasks are six, and the mean over tasks has as many values as there are replicates.

*Difference of two rows*: paired by (task, split, seed).  Used are the replicates that both rows have on every
task, so that the effect, its interval and its p-value speak of the same cells.

* 95 % interval: Student's t over the replicates' means over tasks.  It does not assume that the tasks of one seed
  are independent of one another, and is wide for few replicates.
* p: two-sided sign-flip test within tasks.  The sign of each (task, replicate) difference is flipped by itself;
  the statistic is the mean of the per-task means.  Exact up to 13 differences, else 9,999 random flips with a
  fixed seed (smallest p: 0.0002).

Interval and p rest on different assumptions, so they may disagree near the border; verdicts use the interval.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

RESAMPLES = 9_999
CONFIDENCE = 0.95
LEVEL = 0.05
"""Greatest p of a verdict."""
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
    """Two-sided sign-flip test; nan if n is 1."""
    n: int
    """Number of replicates that both rows have on every task."""
    tasks: Mapping[str, float]
    """Task -> mean difference."""


def unit(frame: pd.DataFrame) -> str:
    """What the spread of these rows is over: ``split`` if there are several, else ``seed``."""
    return "split" if frame["split"].nunique() > 1 else "seed"


def _by_replicate(values: Values, over: str) -> dict[Any, dict[str, float]]:
    """Replicate, in order -> task -> value; the other of split and seed is averaged."""
    at = KEY.index(over)
    cells: dict[Any, dict[str, list[float]]] = {}
    for place, value in values.items():
        cells.setdefault(place[at], {}).setdefault(place[0], []).append(value)
    return {one: {task: fmean(found) for task, found in cells[one].items()} for one in sorted(cells)}


def complete(values: Values, tasks: Sequence[str], over: str) -> dict[Place, float]:
    """The values on these tasks of the replicates that have every one of them: what ``over_tasks`` is a mean of."""
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


def paired(better: Values, worse: Values) -> dict[Place, float]:
    """``better - worse`` where both have a value."""
    return {place: value - worse[place] for place, value in better.items() if place in worse}


def estimate(numbers: Sequence[float]) -> Estimate | None:
    """Mean and standard error; None for no numbers."""
    return Estimate(fmean(numbers), standard_error(numbers), len(numbers)) if numbers else None


def standard_error(numbers: Sequence[float]) -> float:
    """Of the mean of at least one number; nan of one, and nothing but 0 of equal ones."""
    return stdev(numbers) / math.sqrt(len(numbers)) if len(numbers) > 1 else math.nan


@functools.cache
def quantile(n: int) -> float:
    """Of Student's t for the interval of the mean of n numbers."""
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1))


def per_task(values: Values, tasks: Sequence[str], over: str) -> dict[str, Estimate | None]:
    """Task -> mean over the replicates that it has."""
    cells = _by_replicate(values, over).values()
    return {task: estimate([found[task] for found in cells if task in found]) for task in tasks}


def over_tasks(values: Values, tasks: Sequence[str], over: str) -> Estimate | None:
    """Mean over tasks: per replicate, then over the replicates that have every task.  None if there is none."""
    cells = _by_replicate(values, over).values()
    whole = [[found[task] for task in tasks] for found in cells if all(task in found for task in tasks)]
    return estimate([fmean(found) for found in whole]) if tasks else None


def sign_flip_p(differences: NDArray[np.float64]) -> float:
    """Two-sided p-value of the sign-flip test of zero difference; ``differences`` is replicates x tasks, no nan."""
    return _sign_flip_p(tuple(differences.astype(float).ravel().tolist()))


@functools.lru_cache(maxsize=4096)
def _sign_flip_p(differences: tuple[float, ...]) -> float:
    """Kept, as the same comparison stands in a table, in the ledger and on a page."""
    result = stats.permutation_test(
        (np.array(differences),),
        lambda sample, axis: np.mean(sample, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        alternative="two-sided",
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)


def interval(numbers: Sequence[float]) -> tuple[float, float]:
    """95 % t-interval of the mean of at least two numbers; a point if they are all equal."""
    mean, half = fmean(numbers), quantile(len(numbers)) * standard_error(numbers)
    return mean - half, mean + half


def compare(
    better: Values,
    worse: Values,
    tasks: Sequence[str],
    over: str,
    *,
    margin: float = 0.0,
    than: Sequence[str] = (),
) -> Comparison | None:
    """``better - worse`` over the replicates that both have on every task; None if there is none.

    Args:
        better: the values of one line.
        worse: those of the other.
        tasks: the tasks whose mean the effect is.
        over: the replicate, ``seed`` or ``split``.
        margin: what is added to every difference.
        than: tasks whose differences are subtracted, each from that of its place in ``tasks``.
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
    if len(means) == 1:
        return Comparison(means[0], math.nan, math.nan, math.nan, math.nan, 1, by_task)
    low, high = interval(means)
    p = sign_flip_p(differences)
    return Comparison(fmean(means), standard_error(means), low, high, p, len(means), by_task)


def is_gain(comparison: Comparison) -> bool:
    """Whether the first row is better beyond doubt: the interval lies above 0 and the sign flips agree."""
    return comparison.low > 0 and comparison.p < LEVEL


def is_loss(comparison: Comparison) -> bool:
    """Whether it is worse beyond doubt."""
    return comparison.high < 0 and comparison.p < LEVEL
