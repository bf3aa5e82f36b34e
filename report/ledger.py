"""The ledger of claims: every claim of every paper, what decides it, and the verdict of the committed results.

``results/claims.csv`` holds it, one row per claim, data set and, in a sweep, setting.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from methods.contract import Claim, Experiment, Paper
from report import records
from report.claims import NOT_RUN, Decision, allowance, decisions, side_label, sides, turned
from report.records import Group
from report.runs import entries, runs_of, shown

COLUMNS = ("paper", "claim", "rule", "effect", "low", "high", "n", "verdict", "cells")


@dataclass(frozen=True)
class Verdict:
    """One row of the ledger."""

    paper: str
    claim: str
    text: str
    """The claim in words."""
    experiment: str
    rule: str
    """What is compared, over which tasks and data."""
    verdict: str
    """One of ``claims.VERDICTS``."""
    why: str = ""
    """Why it was not run here."""
    decision: Decision | None = None
    """None if it was not run here."""

    @property
    def full_verdict(self) -> str:
        """With the reason of what was not run."""
        return f"{self.verdict} ({self.why})" if self.why else self.verdict

    @property
    def cells(self) -> tuple[str, ...]:
        """Hashes of all cells behind it, each once."""
        basis = self.decision.basis if self.decision else None
        return tuple(dict.fromkeys((*basis.cells, *basis.minus))) if basis else ()


def ledger(
    papers: Mapping[str, Paper], results: Path, frames: Mapping[tuple[str, str], pd.DataFrame] | None = None
) -> list[Verdict]:
    """The verdicts of the committed results, in the order of papers and claims.

    Args:
        papers: module name -> paper.
        results: the folder of committed results.
        frames: (paper, experiment) -> rows, of what has been read already.

    Raises:
        UserError: a malformed file.
    """
    return [row for name, paper in papers.items() for row in of_paper(name, paper, results, frames or {})]


def of_paper(
    name: str, paper: Paper, results: Path, frames: Mapping[tuple[str, str], pd.DataFrame]
) -> Iterator[Verdict]:
    """The verdicts on the claims of one paper, then what of it is not reproduced at all."""
    read: dict[str, pd.DataFrame] = {}
    for claim in paper.claims:
        if claim.experiment not in read:
            known = frames.get((name, claim.experiment))
            if known is None:
                known = records.load(records.files(name, claim.experiment, None, results))
            read[claim.experiment] = known[known["origin"] == records.COMMITTED]
        (experiment,) = (one for one in paper.experiments if one.name == claim.experiment)
        yield from _of_claim(name, claim, experiment, read[claim.experiment])
    for what, reason in paper.not_run.items():
        yield Verdict(name, what, what, "", what, NOT_RUN, reason)


def _of_claim(name: str, claim: Claim, experiment: Experiment, frame: pd.DataFrame) -> Iterator[Verdict]:
    def without(rule: str, why: str) -> Verdict:
        return Verdict(name, claim.name, claim.text, claim.experiment, rule, NOT_RUN, why)

    if frame.empty:
        command = f"make reproduce-{name} EXPERIMENT={experiment.name} DATASET={next(iter(experiment.recipes))}"
        place = f"{experiment.backbone}, {experiment.track}"
        yield without(sides(claim), f"there are no committed results; `{command}` makes them on {place}")
        return
    for group in records.groups(frame):
        runs = shown(runs_of(frame, group))
        found = entries(experiment, runs)
        for run in runs:
            made = decisions(claim, experiment, run, found)
            for one in made:
                rule = _rule(one, group)
                if one.comparison is None:
                    yield without(rule, "the two sides have no task and seed in common")
                else:
                    yield Verdict(name, claim.name, claim.text, claim.experiment, rule, one.verdict, "", one)
            if not made:
                where = _where(group)
                yield without(f"{sides(claim)}; {where}", f"a side of it has no committed results on {group.dataset}")


def _where(group: Group) -> str:
    return f"{group.dataset}, {group.protocol} protocol, {group.backbone}, {group.track}"


def _rule(decision: Decision, group: Group) -> str:
    """What decides, in one line."""
    claim = decision.claim
    sense = "above" if claim.higher else "below"
    tasks = decision.tasks
    named = ", ".join(tasks) if len(tasks) == 1 or claim.tasks else f"mean of {len(tasks)} tasks"
    device = f", {decision.run.origin}" if decision.run.origin != records.COMMITTED else ""
    return (
        f"{claim.metric} of {side_label(decision.better)} {sense} {side_label(decision.worse)}{allowance(claim)}; "
        f"{named}{turned(claim)}; {_where(group)}{device}; paired by {decision.run.over}"
    )


def comma_separated(rows: list[Verdict]) -> str:
    """The ledger as CSV."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        found = row.decision.comparison if row.decision else None
        numbers = [found.effect, found.low, found.high] if found else [math.nan] * 3
        shown = ["" if math.isnan(number) else f"{number:.6g}" for number in numbers]
        count = str(found.n) if found else "0"
        writer.writerow([row.paper, row.claim, row.rule, *shown, count, row.full_verdict, " ".join(row.cells)])
    return stream.getvalue()
