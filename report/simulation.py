"""How often the rule of ``claims`` gives each verdict where the truth is known.

Differences are drawn as in the committed results: each comparison of accuracies provides its differences between tasks
and the covariance of its replicates, about a mean that is set.  Replicates are normal and independent.  Enough are
drawn that a share of 2.5 % is within about 0.03 points.

Without an effect that share is known: under such draws the interval is Student's, or Stein's if its spread comes from a
first stage, so each side of 0 has 2.5 %.  The draws check that the rule as implemented has this property.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from report import deciding, statistics
from report.claims import MIXED, NO_DIFFERENCE, NO_EFFECT, REPRODUCED, REVERSED, UNDECIDED
from report.ledger import Verdict

EFFECTS = (0.0, 0.5, 1.0)
"""True effects, percentage points."""
SIZES = (3, 5, 10, 20)
"""Numbers of replicates."""
REPEATS = 2000
"""Draws from each comparison."""
SHOWN = (REPRODUCED, REVERSED, NO_DIFFERENCE, UNDECIDED, MIXED)
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Situation:
    """What a comparison provides."""

    tasks: Array
    """How far each task is from the mean over tasks, (tasks,)."""
    residuals: Array
    """How far each replicate is from its task's mean, over sqrt(n - 1), (n, tasks)."""

    def draw(self, effect: float, size: int, repeats: int, random: np.random.Generator) -> Array:
        """Differences (repeats, size, tasks) about a mean, with the covariance of the residuals."""
        normal = random.standard_normal((repeats, size, len(self.residuals)))
        return effect + self.tasks + normal @ self.residuals


def situations(rows: Iterable[Verdict]) -> list[Situation]:
    """One for every comparison of accuracies that has a spread."""
    found = []
    for row in rows:
        comparison = row.decision.comparison if row.decision else None
        if comparison is None or row.metric != "accuracy" or comparison.n < 3 or not comparison.se:
            continue
        values = np.array(comparison.differences)
        means = values.mean(axis=0)
        found.append(Situation(means - means.mean(), (values - means) / np.sqrt(len(values) - 1)))
    return found


def verdicts(draws: Array, first: int = 0) -> dict[str, Array]:
    """Verdict -> which of the draws (repeats, n, tasks) get it, ``mixed`` among them; the rule, vectorised.

    Args:
        draws: differences of accuracies, percentage points.
        first: number of replicates whose spread is used; all if 0.
    """
    size = draws.shape[1]
    means = draws.mean(axis=2)
    middle, half = means.mean(axis=1), _half(means, first)
    delta = NO_EFFECT["accuracy"]
    above, below = middle - half > 0, middle + half < 0
    none = ~above & ~below & (np.abs(middle) + half <= delta)
    with np.errstate(divide="ignore", invalid="ignore"):  # equal differences: significant, unless they are all 0
        ratios = np.nan_to_num(draws.mean(axis=1) / (_half(draws, first) / statistics.quantile(first or size)), nan=0.0)
    against = _significant(ratios, first or size) & (np.sign(ratios) == -np.sign(middle)[:, None])
    return {
        REPRODUCED: above,
        REVERSED: below,
        NO_DIFFERENCE: none,
        UNDECIDED: ~(above | below | none),
        MIXED: against.any(axis=1),
    }


def _half(values: Array, first: int) -> Array:
    """Half-width of the interval of the mean over the second axis."""
    size = values.shape[1]
    stage = values[:, : first or size]
    half: Array = statistics.quantile(first or size) * stage.std(axis=1, ddof=1) / np.sqrt(size)
    return half


def _significant(ratios: Array, size: int) -> NDArray[np.bool_]:
    """Which t statistics (repeats, tasks) are significant, by Holm's rule for each repeat."""
    tasks = ratios.shape[1]
    levels = statistics.LEVEL / (2 * np.arange(tasks, 0, -1))
    order = np.argsort(-np.abs(ratios), axis=1)
    ordered = np.abs(np.take_along_axis(ratios, order, axis=1))
    passed = np.logical_and.accumulate(ordered > -special.stdtrit(size - 1, levels), axis=1)
    found = np.zeros(ratios.shape, dtype=bool)
    np.put_along_axis(found, order, passed, axis=1)
    return found


def shares(found: Sequence[Situation], effect: float, size: int, repeats: int = REPEATS) -> dict[str, float]:
    """Verdict -> share of the draws that get it, in percent."""
    random = np.random.default_rng([size, round(100 * effect)])
    made = [verdicts(one.draw(effect, size, repeats, random)) for one in found]
    return {name: 100 * float(np.mean([one[name] for one in made])) for name in SHOWN}


def two_stages(found: Sequence[Situation], effect: float, repeats: int = REPEATS) -> tuple[dict[str, float], float]:
    """The same if each comparison's own first stage fixes its number of replicates; and their mean number."""
    random = np.random.default_rng([0, round(100 * effect)])
    first, most = deciding.FIRST, deciding.MOST_BRIEF
    counts, sizes = dict.fromkeys(SHOWN, 0), []
    for one in found:
        draws = one.draw(effect, most, repeats, random)
        spreads = draws[:, :first].mean(axis=2).std(axis=1, ddof=1)
        planned = np.array([statistics.replicates(float(s), first, NO_EFFECT["accuracy"], most) for s in spreads])
        sizes += planned.tolist()
        for size in set(planned.tolist()):
            given = verdicts(draws[planned == size, :size], first)
            for name in SHOWN:
                counts[name] += int(given[name].sum())
    return {name: 100 * count / len(sizes) for name, count in counts.items()}, float(np.mean(sizes))


def table(rows: Iterable[Verdict]) -> str:
    """The shares as Markdown."""
    found = situations(rows)
    lines = [f"| true effect | replicates | {' | '.join(SHOWN)} |", "|---:|---|" + "---:|" * len(SHOWN)]
    for effect in EFFECTS:
        several = [(str(size), shares(found, effect, size)) for size in SIZES]
        in_stages, mean = two_stages(found, effect)
        several.append((f"two stages, {deciding.FIRST} to {deciding.MOST_BRIEF}, {mean:.1f} on average", in_stages))
        lines += [
            f"| {effect:g} | {size} | {' | '.join(f'{given[name]:.1f} %' for name in SHOWN)} |"
            for size, given in several
        ]
    return "\n".join(lines) + "\n"


BEGIN, END = "<!-- made by `python -m report simulate` -->\n", "<!-- end of what it makes -->\n"
