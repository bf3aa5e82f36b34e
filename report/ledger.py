"""The ledger of claims: every claim of every paper, what decides it, and the verdict of the committed results.

``results/claims.csv`` holds it, one row per claim, experiment, data set, network and, in a sweep, setting;
``results/claim_cells.csv`` has the cells behind each row.  ``statements`` has one line per claim.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

import pandas as pd

from benchmarks.records.words import plural, reproduce
from methods.contract import Claim, Experiment, Paper
from report import records, statistics
from report.claims import (
    NOT_RUN,
    REPRODUCED,
    REVERSED,
    Decision,
    allowance,
    decisions,
    measure,
    name_of,
    ranking,
    side_label,
    sides,
    turned,
)
from report.records import AVERAGE, Group, PublishedDifference, PublishedTable
from report.runs import entries, runs_of, shown

PLACE = ("paper", "claim", "experiment", "dataset", "protocol", "backbone", "track", "compared")
"""Columns that together are unique to each row of the ledger."""
COLUMNS = (
    *("paper", "claim", "text", "whose", "where", "published"),
    *("experiment", "dataset", "protocol", "backbone", "track", "compared", "metric"),
    *("effect", "se", "low", "high", "p", "q", "n", "tasks_up", "tasks_down", "verdict"),
)
CELLS = (*PLACE, "cells", "less")
"""Columns of the second file: hashes of the cells that raise the effect, and of those that lower it."""
OUT_OF_REACH = "paper"
"""``whose`` for what is not reproduced here at all."""


@dataclass(frozen=True)
class Verdict:
    """One row of the ledger."""

    paper: str
    statement: str
    """The claim's name."""
    claim: str
    """With the setting, in a sweep."""
    text: str
    """The claim in words."""
    whose: str
    """One of ``contract.WHOSE``."""
    where: str
    """Table, figure or page of the paper."""
    published: str
    """The published effect on the same data, with its provenance if it is unverified; empty without one."""
    experiment: str
    group: Group | None
    """None if nothing of it was run here."""
    compared: str
    """What is compared with what, over which tasks."""
    metric: str
    verdict: str
    """One of ``claims.VERDICTS``."""
    why: str = ""
    """Why it was not run here."""
    decision: Decision | None = None
    """None if it was not run here."""
    joint: bool = False
    """Whether its statement is judged by all comparisons of a set-up together (``Claim.joint``)."""
    q: float = math.nan
    """The q-value among all comparisons of the paper."""

    @property
    def full_verdict(self) -> str:
        """The verdict with its qualifiers, or the reason why it was not run."""
        if self.why:
            return f"{self.verdict} ({self.why})"
        return self.decision.words if self.decision else self.verdict

    @property
    def where_run(self) -> str:
        """Data, protocol, network and track, in words."""
        if self.group is None:
            return ""
        return f"{self.group.dataset}, {self.group.protocol} protocol, {self.group.backbone}, {self.group.track}"

    @property
    def place(self) -> tuple[str, ...]:
        """The fields of ``PLACE``."""
        return (self.paper, self.claim, self.experiment, *(self.group or ("",) * 4), self.compared)

    @property
    def cells(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Hashes of the cells on each side, each once; none if it was not run here."""
        basis = self.decision.basis if self.decision else None
        if basis is None:
            return (), ()
        return tuple(dict.fromkeys(basis.cells)), tuple(dict.fromkeys(basis.minus))


def ledger(
    papers: Mapping[str, Paper], results: Path, frames: Mapping[tuple[str, str], pd.DataFrame] | None = None
) -> list[Verdict]:
    """The verdicts of the committed results, in the order of papers and claims.

    Args:
        papers: module name -> paper.
        results: the folder of committed results.
        frames: (paper, experiment) -> rows, for what has been read already.

    Raises:
        UserError: a malformed file.
    """
    return [row for name, paper in papers.items() for row in of_paper(name, paper, results, frames or {})]


def of_paper(name: str, paper: Paper, results: Path, frames: Mapping[tuple[str, str], pd.DataFrame]) -> list[Verdict]:
    """The verdicts on the claims of one paper, then what is not reproduced of it at all."""
    read: dict[str, pd.DataFrame] = {}
    rows: list[Verdict] = []
    named = {one.name: one for one in paper.experiments}
    asked = [(claim, named[place]) for claim in paper.claims for place in claim.experiments]
    for claim, experiment in asked:
        if experiment.name not in read:
            known = frames.get((name, experiment.name))
            if known is None:
                known = records.load(records.files(name, experiment.name, None, results))
            committed = known["origin"] == records.COMMITTED
            read[experiment.name] = known if committed.all() else known[committed]
        tables = records.read_published(results / "published.csv", paper.key or name, experiment.published)
        rows += _of_claim(name, paper, claim, experiment, read[experiment.name], tables)
    for what, reason in paper.not_run.items():
        rows.append(Verdict(name, what, what, what, OUT_OF_REACH, "", "", "", None, "", "", NOT_RUN, reason))
    return _with_q(rows)


def _with_q(rows: Sequence[Verdict]) -> list[Verdict]:
    """The rows of a paper with q-values for those that have a p-value."""
    tested = [(i, p) for i, row in enumerate(rows) if not math.isnan(p := p_of(row))]
    q = dict(zip((i for i, _ in tested), statistics.false_discovery([p for _, p in tested]), strict=True))
    return [dataclasses.replace(row, q=q.get(i, math.nan)) for i, row in enumerate(rows)]


def p_of(row: Verdict) -> float:
    """p-value of the t-test; nan if there is none."""
    found = row.decision.comparison if row.decision else None
    return found.p if found else math.nan


def expected_false(rows: Iterable[Verdict]) -> tuple[int, float]:
    """How many rows are called reproduced or reversed, and how many of these are expected to be so by chance."""
    rows = list(rows)
    called = sum(row.verdict in (REPRODUCED, REVERSED) for row in rows)
    return called, statistics.expected_false([p for row in rows if not math.isnan(p := p_of(row))])


def _of_claim(
    name: str,
    paper: Paper,
    claim: Claim,
    experiment: Experiment,
    frame: pd.DataFrame,
    tables: Sequence[PublishedTable],
) -> Iterator[Verdict]:
    def row(
        label: str, group: Group | None, compared: str, verdict: str, why: str = "", one: Decision | None = None
    ) -> Verdict:
        whose = claim.whose_on(experiment.name)
        theirs = "" if whose == "ours" else published_effect(paper, claim, tables, group, one.tasks if one else ())
        return Verdict(
            paper=name,
            statement=claim.name,
            claim=label,
            text=claim.text,
            whose=whose,
            where=claim.where,
            published=theirs,
            experiment=experiment.name,
            group=group,
            compared=compared,
            metric=measure(claim),
            verdict=verdict,
            why=why,
            decision=one,
            joint=claim.joint,
        )

    if frame.empty:
        yield row(name_of(claim), None, sides(claim), NOT_RUN, _needs(name, experiment))
        return
    for group in records.groups(frame):
        runs = shown(runs_of(frame, group))
        found = entries(experiment, runs)
        for run in runs:
            made = decisions(claim, experiment, run, found)
            for one in made:
                why = "" if one.comparison else "the two sides have no task and seed in common"
                yield row(one.label, group, _compared(one), one.verdict, why, one if one.comparison else None)
            if not made:
                yield row(name_of(claim), group, sides(claim), NOT_RUN, "a side of it has no committed results there")


def _needs(name: str, experiment: Experiment) -> str:
    """What it takes to run an experiment."""
    first = next(iter(experiment.recipes))
    data = "images of your own" if first == "folder" else first
    command = reproduce(name, experiment.name, [first], experiment.track, experiment.backbone)
    return f"it needs {data} on {experiment.backbone}, {experiment.track}: `{command}`"


def published_effect(
    paper: Paper, claim: Claim, tables: Sequence[PublishedTable], group: Group | None, tasks: Sequence[str] = ()
) -> str:
    """The published effect of a claim on a group's data: ``2.8``, ``6.7 (unverified)``; empty without one.

    It is what the claim states, or follows from the first table on the same data that has both rows: the difference of
    their averages, or of the means over ``tasks`` if no average is printed.
    """
    if claim.published is not None:
        return f"{claim.published:.6g}"
    plain = claim.metric == "accuracy" and not (claim.better_setting or claim.worse_setting or claim.margin)
    if not plain or group is None:
        return ""
    for table in tables:
        better, worse = (table.name_of(paper.published_rows.get(row.name)) for row in (claim.better, claim.worse))
        gains = partial(_gains, table, better, worse)
        found = gains(claim.tasks) or [table.difference(better, worse, AVERAGE)]
        if found == [None] and not claim.tasks:
            found = gains(tasks)
        known, less = (list(filter(None, side)) for side in (found, gains(claim.than)))
        if records.same_data(table, group) and known and (len(known), len(less)) == (len(found), len(claim.than)):
            value = fmean(one.value for one in known) - (fmean(one.value for one in less) if less else 0.0)
            return f"{value:.6g}" + (" (unverified)" if any(one.mark for one in (*known, *less)) else "")
    return ""


def _gains(
    table: PublishedTable, better: str | None, worse: str | None, tasks: Sequence[str]
) -> list[PublishedDifference | None]:
    """The published difference of two rows on each of some tasks."""
    return [table.difference(better, worse, records.task_name(task) or "") for task in tasks]


def _compared(decision: Decision) -> str:
    """What decides it, in one line."""
    claim, tasks = decision.claim, decision.tasks
    if claim.ranks:
        return f"{ranking(claim)}; mean of {plural(len(tasks), 'task')}; paired by {decision.run.over}"
    sense = "above" if claim.higher else "below"
    named = ", ".join(tasks) if len(tasks) == 1 or claim.tasks else f"mean of {plural(len(tasks), 'task')}"
    device = f", {decision.run.origin}" if decision.run.origin != records.COMMITTED else ""
    return (
        f"{side_label(decision.better)} {sense} {side_label(decision.worse)}{allowance(claim)}; {named}"
        f"{turned(claim, tasks)}{device}; paired by {decision.run.over}"
    )


def comma_separated(rows: Iterable[Verdict]) -> str:
    """The ledger as CSV."""
    return _csv(COLUMNS, (_fields(row) for row in rows))


def cells_behind(rows: Iterable[Verdict]) -> str:
    """The cells behind every row that has any, as CSV."""
    sides_of = ((row, row.cells) for row in rows)
    return _csv(
        CELLS, ((*row.place, " ".join(plus), " ".join(minus)) for row, (plus, minus) in sides_of if plus or minus)
    )


def _fields(row: Verdict) -> tuple[str, ...]:
    found = row.decision.comparison if row.decision else None
    numbers = [found.effect, found.se, found.low, found.high, found.p, row.q] if found else [math.nan] * 6
    agree = (str(len(found.up)), str(len(found.down))) if found and found.n > 1 else ("", "")
    place = (*(row.group or ("",) * 4), row.compared)
    return (
        *(row.paper, row.claim, row.text, row.whose, row.where, row.published, row.experiment, *place, row.metric),
        *("" if math.isnan(one) else f"{one:.6g}" for one in numbers),
        *(str(found.n) if found else "0", *agree, row.full_verdict),
    )


def _csv(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return stream.getvalue()
