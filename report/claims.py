"""The claims of a paper, decided by comparisons of lines."""

from __future__ import annotations

from collections.abc import Sequence

from methods.contract import Claim, Experiment, Paper
from report.cells import decision
from report.runs import Entry, Run, counterpart, same_row
from report.statistics import Comparison
from report.table import Grid, Line

LEVEL = 0.05
"""Greatest p of a verdict."""


def verdict(comparison: Comparison | None) -> str:
    """What a comparison says of a claim that its first row is the better one.

    ``reproduced``: the 95 % interval of the effect lies above 0 and the sign flips agree (p below 0.05);
    ``not reproduced``: it lies below 0 and they agree; ``inconclusive``: else; ``not run here``: nothing is paired.
    The interval knows the noise of the seeds alone; sign flips also ask whether the tasks agree.
    """
    if comparison is None:
        return "not run here"
    if comparison.low > 0 and comparison.p < LEVEL:
        return "reproduced"
    return "not reproduced" if comparison.high < 0 and comparison.p < LEVEL else "inconclusive"


def claim_pairs(claim: Claim, experiment: Experiment, run: Run, found: Sequence[Entry]) -> list[tuple[Entry, Entry]]:
    """The pairs of lines that decide a claim: one per setting of a sweep, as nothing averages over settings.

    A claim that names the points of the sweep that it compares is decided by these two.
    """
    if claim.better_setting or claim.worse_setting:
        pairs = [(Entry(claim.better, claim.better_setting), Entry(claim.worse, claim.worse_setting))]
    else:
        settings = [
            entry.setting
            for entry in found
            if run.has(entry) and (same_row(entry.row, claim.better) or same_row(entry.row, claim.worse))
        ]
        pairs = [
            (counterpart(setting, claim.better, experiment, run), counterpart(setting, claim.worse, experiment, run))
            for setting in dict.fromkeys(settings)
        ]
    return [pair for pair in dict.fromkeys(pairs) if run.has(pair[0]) and run.has(pair[1])]


def decide(claim: Claim, run: Run, better: Entry, worse: Entry) -> Comparison | None:
    """The comparison that decides a claim: its effect is positive where the claim holds."""
    tasks = [task for task in claim.tasks if task in run.tasks]
    if claim.tasks and not tasks:
        return None
    first, second = (better, worse) if claim.higher else (worse, better)
    return run.compare(first, second, claim.metric, tasks)


def claims_grid(paper: Paper, experiment: Experiment, runs: Sequence[Run], found: Sequence[Entry]) -> Grid | None:
    """The verdict on every claim that the experiment decides; None if it decides none."""
    claims = [claim for claim in paper.claims if claim.experiment == experiment.name]
    lines = []
    for claim in claims:
        for run in runs:
            pairs = claim_pairs(claim, experiment, run, found)
            for better, worse in pairs:
                comparison = decide(claim, run, better, worse)
                named = claim.better_setting or claim.worse_setting
                setting = "" if named else better.setting or worse.setting
                label = f"{claim.name}, {setting}" if setting else claim.name
                lines.append(Line(label, run.origin, (*decision(comparison), verdict(comparison))))
            if not pairs:
                lines.append(Line(claim.name, run.origin, (*decision(None), verdict(None))))
    if not lines:
        return None
    notes = [
        *(_claim_note(claim) for claim in claims),
        "reproduced: interval above 0 and p < 0.05; not reproduced: interval below 0 and p < 0.05; else inconclusive",
    ]
    columns = ("effect", "95 % interval", "p", "n", "verdict")
    return Grid("claims", "Claims of the paper", columns, tuple(lines), tuple(notes), heading="claim")


def _claim_note(claim: Claim) -> str:
    """What a claim says and what decides it."""
    sides = " against ".join(
        Entry(row, setting).label
        for row, setting in ((claim.better, claim.better_setting), (claim.worse, claim.worse_setting))
    )
    what = "" if claim.metric == "accuracy" else f", {claim.metric}"
    sense = "" if claim.higher else ", the smaller the better"
    where = f", {', '.join(claim.tasks)}" if claim.tasks else ""
    return f"{claim.name}: {claim.text} ({sides}{what}{sense}{where})"
