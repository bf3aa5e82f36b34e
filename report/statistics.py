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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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


def values(frame: pd.DataFrame) -> pd.Series[float]:
    """The column ``value`` of the rows of one table line, indexed by (task, split, seed).

    Raises:
        ValueError: two rows share an index; averaging over them would mix what must not be mixed.
    """
    series = frame.set_index(KEY)["value"]
    if series.index.has_duplicates:
        raise ValueError("two values for one task, split and seed")
    return series.astype(float)


def indexed(found: Mapping[tuple[str, str, int], float]) -> pd.Series[float]:
    """Values of one table line, (task, split, seed) -> value, as ``values`` gives them, but for a plainer index."""
    return pd.Series(list(found.values()), index=pd.Index(list(found), dtype=object, tupleize_cols=False), dtype=float)


def unit(frame: pd.DataFrame) -> str:
    """What the spread of these rows is over: ``split`` if there are several, else ``seed``."""
    return "split" if frame["split"].nunique() > 1 else "seed"


def matrix(series: pd.Series[float], tasks: Sequence[str], over: str) -> pd.DataFrame:
    """Replicates x tasks, nan where a cell is missing; the other of split and seed is averaged."""
    cells = _by_replicate(series, over)
    order = sorted(cells)
    means = [[float(np.mean(cells[one].get(task, math.nan))) for task in tasks] for one in order]
    return pd.DataFrame(means, index=order, columns=list(tasks), dtype=float)


def _by_replicate(series: pd.Series[float], over: str) -> dict[Any, dict[str, list[float]]]:
    """Replicate -> task -> values."""
    place = KEY.index(over)
    cells: dict[Any, dict[str, list[float]]] = {}
    for key, value in zip(series.index, series.tolist(), strict=True):
        cells.setdefault(key[place], {}).setdefault(key[0], []).append(value)
    return cells


def complete(series: pd.Series[float], tasks: Sequence[str], over: str) -> pd.Series[float]:
    """The values on these tasks of the replicates that have every one of them: what ``over_tasks`` is a mean of."""
    place, wanted = KEY.index(over), set(tasks)
    kept = {one for one, found in _by_replicate(series, over).items() if wanted <= found.keys()}
    return series[[key[0] in wanted and key[place] in kept for key in series.index]]


def estimate(numbers: Iterable[float]) -> Estimate | None:
    """Mean and standard error; None for no numbers."""
    array = np.asarray(list(numbers), dtype=float)
    if array.size == 0:
        return None
    se = float(stats.sem(array)) if array.size > 1 else math.nan
    return Estimate(float(array.mean()), se, int(array.size))


@functools.cache
def quantile(n: int) -> float:
    """Of Student's t for the interval of the mean of n numbers."""
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1))


def per_task(series: pd.Series[float], tasks: Sequence[str], over: str) -> dict[str, Estimate | None]:
    """Task -> mean over the replicates that it has."""
    cells = _by_replicate(series, over)
    order = sorted(cells)
    return {task: estimate([float(np.mean(cells[one][task])) for one in order if task in cells[one]]) for task in tasks}


def over_tasks(series: pd.Series[float], tasks: Sequence[str], over: str) -> Estimate | None:
    """Mean over tasks: per replicate, then over the replicates that have every task.  None if there is none."""
    cells = _by_replicate(series, over)
    whole = [cells[one] for one in sorted(cells) if all(task in cells[one] for task in tasks)]
    return estimate([float(np.mean([np.mean(found[task]) for task in tasks])) for found in whole]) if tasks else None


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


def interval(numbers: NDArray[np.float64]) -> tuple[float, float]:
    """95 % t-interval of the mean of at least two numbers; a point if they are all equal."""
    mean, se = float(numbers.mean()), float(stats.sem(numbers))
    return mean - quantile(numbers.size) * se, mean + quantile(numbers.size) * se


def compare(
    better: pd.Series[float],
    worse: pd.Series[float],
    tasks: Sequence[str],
    over: str,
    *,
    margin: float = 0.0,
    than: Sequence[str] = (),
) -> Comparison | None:
    """``better - worse`` over the replicates that both have on every task; None if there is none.

    Both are indexed by (task, split, seed), see ``values``.

    Args:
        margin: what is added to every difference.
        than: tasks whose differences are subtracted, each from that of its place in ``tasks``.
    """
    paired = (better - worse).dropna()
    if paired.empty:
        return None
    both = matrix(paired, [*tasks, *than], over).dropna()
    if both.empty:
        return None
    table = both[list(tasks)] + margin
    if than:
        table = table - both[list(than)].to_numpy(dtype=float)
    differences = table.to_numpy(dtype=float)
    means = differences.mean(axis=1)
    by_task = {task: float(table[task].mean()) for task in tasks}
    if len(means) == 1:
        return Comparison(float(means[0]), math.nan, math.nan, math.nan, math.nan, 1, by_task)
    low, high = interval(means)
    p = sign_flip_p(differences)
    return Comparison(float(means.mean()), float(stats.sem(means)), low, high, p, len(means), by_task)


def is_gain(comparison: Comparison) -> bool:
    """Whether the first row is better beyond doubt: the interval lies above 0 and the sign flips agree."""
    return comparison.low > 0 and comparison.p < LEVEL


def is_loss(comparison: Comparison) -> bool:
    """Whether it is worse beyond doubt."""
    return comparison.high < 0 and comparison.p < LEVEL
