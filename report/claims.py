"""The claims of a paper, decided by comparisons of lines.

One rule: is the mean over these tasks, tasks fixed, different from 0 over replicates?  The 95 % t-interval answers:

* ``reproduced``: it lies above 0, where the claim holds;  ``reversed``: below;
* ``no effect``: it contains 0 and lies within the metric's ``NO_EFFECT`` of it;
* ``undecided``: otherwise, with the number of replicates expected to decide it;
* ``not enough runs``: a single replicate has no interval;  ``not run here``: nothing is paired.

Whether the tasks agree does not change a verdict but is stated beside it: a verdict is ``mixed`` if at least one task
goes significantly against the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from methods.contract import Claim, Experiment, Paper, Row
from report import statistics
from report.runs import Entry, Run, counterpart, same_row
from report.statistics import Comparison
from report.table import MISSING, Basis, Cell, Grid, Line, Number, decision

NOT_RUN = "not run here"
Side = tuple[Entry, ...]
"""The lines whose mean forms one side of a claim; mostly one."""
REPRODUCED, REVERSED, NO_DIFFERENCE = "reproduced", "reversed", "no effect"
UNDECIDED, TOO_FEW = "undecided", "not enough runs"
VERDICTS = (REPRODUCED, REVERSED, NO_DIFFERENCE, UNDECIDED, TOO_FEW, NOT_RUN)
MIXED = "mixed"

RANKS = "rank correlation"
NO_EFFECT = {
    "accuracy": 0.5,
    "test_accuracy": 0.5,
    "accuracy_among_tested": 0.5,
    "domain_accuracy": 2.5,
    "soft_own": 0.01,
    "a_distance": 0.1,
    "joint_mmd": 0.005,
    "alpha.mean": 0.01,
    "linear_mmd": 0.005,
    "trunk_mmd": 0.25,
    RANKS: 0.1,
}
"""Metric -> a difference that is too small to matter, in its own unit.

Percentage points of accuracy; for the accuracy that tells domains apart and for the A-distance, which is a multiple of
it, the same 2.5 points; a hundredth of a soft label; 2 % of the range of alpha; for distances of means a twentieth of
the least that DDC reaches; for the joint MMD, which is at most 2, a four-hundredth.
"""


@dataclass(frozen=True)
class Decision:
    """What one run says about a claim, at one setting of the experiment's sweep."""

    claim: Claim
    run: Run
    better: Side
    worse: Side
    comparison: Comparison | None
    basis: Basis | None
    setting: str
    """The setting, if each has its own decision."""

    @property
    def label(self) -> str:
        """Label in the tables."""
        return ", ".join(filter(None, (name_of(self.claim), self.setting)))

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that the comparison covers."""
        return tuple(self.comparison.tasks) if self.comparison else ()

    @property
    def delta(self) -> float:
        """The largest difference too small to matter, in the unit of the metric."""
        return no_effect(measure(self.claim))

    @property
    def traced(self) -> Basis | None:
        """The cells whose mean, less that of others, is the effect; None for correlations or double differences."""
        return None if self.claim.ranks or self.claim.than or self.claim.than_setting else self.basis

    @property
    def verdict(self) -> str:
        """One of ``VERDICTS``."""
        return verdict(self.comparison, self.delta)

    @property
    def words(self) -> str:
        """The verdict with its qualifiers: whether tasks disagree, and how many replicates would decide it."""
        return in_words(self.comparison, self.delta, self.run.over)


def name_of(claim: Claim) -> str:
    """Label in the tables: with the point, if one statement is several comparisons."""
    return f"{claim.name}, {claim.point}" if claim.point else claim.name


def measure(claim: Claim) -> str:
    """What the effect is a difference of: a metric, or a rank correlation."""
    return RANKS if claim.ranks else claim.metric


def no_effect(metric: str) -> float:
    """The largest difference of a metric too small to matter; 0, which nothing is within, if none is stated."""
    return NO_EFFECT.get(metric.partition("@")[0], 0.0)


def verdict(comparison: Comparison | None, delta: float = NO_EFFECT["accuracy"]) -> str:
    """What a comparison says about a claim that its first row is better: one of ``VERDICTS``."""
    if comparison is None:
        return NOT_RUN
    if comparison.n == 1:
        return TOO_FEW
    if comparison.low > 0:
        return REPRODUCED
    if comparison.high < 0:
        return REVERSED
    return NO_DIFFERENCE if max(-comparison.low, comparison.high) <= delta else UNDECIDED


def in_words(comparison: Comparison | None, delta: float = NO_EFFECT["accuracy"], over: str = "seed") -> str:
    """``reproduced``; ``reproduced, mixed``; ``undecided (about 12 seeds)``.

    Args:
        comparison: what is judged.
        delta: the largest difference too small to matter.
        over: the replicate, ``seed`` or ``split``.
    """
    found = verdict(comparison, delta)
    if comparison is None:
        return found
    mixed = f", {MIXED}" if comparison.mixed else ""
    wanted = f" ({replicates_wanted(comparison, delta)} {over}s)" if found == UNDECIDED else ""
    return f"{found}{mixed}{wanted}"


def replicates_wanted(comparison: Comparison, delta: float) -> str:
    """Number of replicates expected to decide it, at the same mean and spread: ``about 12``."""
    wanted = statistics.needed(comparison.effect, comparison.spread, delta, comparison.first)
    return f"over {statistics.MANY}" if wanted >= statistics.MANY else f"about {max(wanted, comparison.n + 1)}"


def named_side(row: Row, settings: str | tuple[str, ...]) -> Side:
    """A row at the point, or points, of the sweep that a claim names."""
    return tuple(Entry(row, setting) for setting in ((settings,) if isinstance(settings, str) else settings))


def worse_side(claim: Claim, settings: str | tuple[str, ...]) -> Side:
    """What ``better`` is compared with: a row, or a constant level."""
    return named_side(claim.worse, settings) if claim.level is None else (Entry(claim.worse, level=claim.level),)


def claim_pairs(claim: Claim, experiment: Experiment, run: Run, found: Sequence[Entry]) -> list[tuple[Side, Side]]:
    """The pairs that decide a claim: one per setting of a sweep, as settings are not averaged by default.

    A claim that names points of the sweep to compare, or to average over, is decided by these only.
    """
    if claim.ranks:
        lines = tuple(entry for entry in found if same_row(entry.row, claim.better) and run.has(entry))
        return [(lines, lines)] if len(lines) > 2 else []
    if claim.better_setting or claim.worse_setting:
        pairs = [(named_side(claim.better, claim.better_setting), worse_side(claim, claim.worse_setting))]
    else:
        settings = [
            entry.setting
            for entry in found
            if run.has(entry) and (same_row(entry.row, claim.better) or same_row(entry.row, claim.worse))
        ]
        pairs = [
            (
                (counterpart(setting, claim.better, experiment, run),),
                worse_side(claim, counterpart(setting, claim.worse, experiment, run).setting),
            )
            for setting in dict.fromkeys(settings)
        ]
    return [pair for pair in dict.fromkeys(pairs) if all(run.has(entry) for side in pair for entry in side)]


def decide(claim: Claim, run: Run, better: Side, worse: Side) -> tuple[Comparison | None, Basis | None]:
    """The comparison that decides a claim, its effect positive if the claim holds, and the cells behind it."""
    paired = [pair for pair in zip(claim.tasks, claim.than or claim.tasks, strict=True) if set(pair) <= set(run.tasks)]
    if claim.tasks and not paired:
        return None, None
    tasks = [task for task, _ in paired]
    if claim.ranks:
        cells = tuple(cell for line in better for cell in run.basis(line, tasks).cells)
        return run.ranked(better, claim.ranks, claim.metric, tasks), Basis(cells)
    than = [other for _, other in paired] if claim.than else []
    pair, less = (better, worse), None
    if claim.than_setting:
        less = (named_side(claim.better, claim.than_setting), named_side(claim.worse, claim.than_setting))
    if not claim.higher:
        pair, less = pair[::-1], less and less[::-1]
    comparison = run.compare(*pair, claim.metric, tasks, margin=claim.margin, than=than, less=less)
    return comparison, run.bases(*pair, claim.metric, tasks, than, less)


def decisions(claim: Claim, experiment: Experiment, run: Run, found: Sequence[Entry]) -> list[Decision]:
    """What a run says about a claim, per setting of a sweep; empty if it lacks a side of it."""
    made = []
    for better, worse in claim_pairs(claim, experiment, run, found):
        named = claim.better_setting or claim.worse_setting or claim.ranks
        setting = "" if named else better[0].setting or worse[0].setting
        comparison, basis = decide(claim, run, better, worse)
        made.append(Decision(claim, run, better, worse, comparison, basis, setting))
    return made


def claims_grid(paper: Paper, experiment: Experiment, runs: Sequence[Run], found: Sequence[Entry]) -> Grid | None:
    """The verdict on every claim that the experiment decides; None if it decides none."""
    claims = [claim for claim in paper.claims if experiment.name in claim.experiments]
    lines = []
    for claim in claims:
        for run in runs:
            made = decisions(claim, experiment, run, found)
            for one in made:
                tasks = up_and_down(one.comparison)
                cells = (*decision(one.comparison, one.traced), *tasks, one.words)
                lines.append(Line(one.label, run.origin, cells))
            if not made:
                lines.append(Line(name_of(claim), run.origin, (*decision(None), *up_and_down(None), NOT_RUN)))
    if not lines:
        return None
    notes = [
        *(f"{name_of(claim)}: {claim.text} ({sides(claim)})" for claim in claims),
        *RULE,
    ]
    columns = ("effect", "95 % interval", "p", "n", "tasks up", "tasks down", "verdict")
    return Grid("claims", "Claims and questions", columns, tuple(lines), tuple(notes), heading="claim")


RULE = (
    "reproduced: the 95 % interval lies above 0; reversed: below 0; no effect: it contains 0 and is within 0.5 points "
    "of it (or the metric's own)",
    "undecided: else, with the number of replicates expected to decide it at the same mean and spread",
    "tasks up, down: whose own difference is above or below 0 (t-tests, Holm); mixed: one or more go against the mean",
)
"""Notes under every table of verdicts."""


def up_and_down(comparison: Comparison | None) -> tuple[Cell, Cell]:
    """On how many tasks the difference is above 0, and on how many below."""
    if comparison is None or comparison.n == 1:
        return MISSING, MISSING
    return Number(len(comparison.up), digits=0), Number(len(comparison.down), digits=0)


def sides(claim: Claim) -> str:
    """What decides a claim, in short."""
    if claim.ranks:
        return f"{ranking(claim)}, {RANKS}"
    better, worse = named_side(claim.better, claim.better_setting), worse_side(claim, claim.worse_setting)
    both = f"{side_label(better)} against {side_label(worse)}"
    what = "" if claim.metric == "accuracy" else f", {claim.metric}"
    sense = "" if claim.higher else ", the smaller the better"
    where = f", {', '.join(claim.tasks)}" if claim.tasks else ""
    return f"{both}{what}{sense}{allowance(claim)}{where}{turned(claim)}"


def ranking(claim: Claim) -> str:
    """What should rank like what."""
    return f"least {claim.ranks} with greatest {claim.metric} over the settings of {claim.better.name}"


def allowance(claim: Claim) -> str:
    """By how much the better side may be worse."""
    return f", {claim.margin:+g} points" if claim.margin else ""


def turned(claim: Claim, tasks: Sequence[str] = ()) -> str:
    """The tasks, and the points of the sweep, whose difference is subtracted.

    Args:
        claim: what is decided.
        tasks: those of its tasks that were compared; all if empty.
    """
    if not (claim.than or claim.than_setting):
        return ""
    places = " and ".join(entry.setting.replace(";", ", ") for entry in named_side(claim.better, claim.than_setting))
    than = [other for task, other in zip(claim.tasks, claim.than, strict=False) if not tasks or task in tasks]
    on, at = (f" {word} {what}" if what else "" for word, what in (("on", ", ".join(than)), ("at", places)))
    return f", less the same{on}{at}"


def side_label(side: Side) -> str:
    """``AnB, n=1``; ``mean of AnB, n=1 and n=2``."""
    if len(side) == 1:
        return side[0].label
    *most, last = (entry.setting.replace(";", ", ") for entry in side)
    return f"mean of {side[0].row.name}, {', '.join(most)} and {last}"
