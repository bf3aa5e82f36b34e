"""How many replicates decide the claims of a table: Stein's two stages, from committed results.

A first stage - the experiment's own seeds, at least ``FIRST`` - gives the spread of every claim; from it follows the
number of replicates that makes the half-width of its 95 % interval at most the largest difference too small to matter
(``claims.NO_EFFECT``).  The largest number that any claim of the table asks for is run for all its lines: at most 20 if
a cell takes under ten seconds, otherwise 10, and no more than there are splits if a protocol draws them.

Which tables these are depends only on what the user names; neither an effect, nor its sign, nor a verdict has any
influence here.  The number depends on the first stage alone, so it is known and recorded before the second is run, and
does not change afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import pandas as pd
from tabulate import tabulate

from benchmarks.machine.errors import UserError
from benchmarks.records import replicates
from benchmarks.records.replicates import Replicates
from methods.contract import Experiment, Paper
from report import records, statistics
from report.claims import Decision, decisions
from report.records import Group
from report.runs import entries, runs_of

FIRST = 5
"""Minimum number of replicates in a first stage."""
BRIEF = 10.0
"""Seconds below which a cell counts as short."""
MOST_BRIEF, MOST = 20, 10
"""Maximum number of replicates, for short cells and for longer ones."""
SPLITS = {"down-sampled": 5, "supervised": 5, "semi-supervised": 5, "semi-supervised-random": 5}
"""Protocol -> number of its drawn and committed splits (``datasets/splits``)."""


@dataclass(frozen=True)
class Where:
    """Which tables of some experiments; empty stands for any data set, None for the experiment's own."""

    datasets: Sequence[str] = ()
    track: str | None = None
    backbone: str | None = None

    def has(self, experiment: Experiment, group: Group) -> bool:
        """Whether a table of the experiment is one of them."""
        return (
            (not self.datasets or records.is_of(group.dataset, self.datasets))
            and group.protocol == experiment.protocol
            and group.track == (self.track or experiment.track)
            and group.backbone == (self.backbone or experiment.backbone)
        )


def decide(chosen: Mapping[str, tuple[Paper, Sequence[Experiment]]], results: Path, where: Where) -> list[Replicates]:
    """Fix what can be fixed, record it, and return the requested rows.

    Args:
        chosen: module name -> paper, and the requested experiments of it.
        results: the folder of committed results.
        where: which of their tables.

    Raises:
        UserError: a malformed file, nothing requested has committed results, or the file cannot be written.
    """
    made = [
        row
        for name, (paper, experiments) in chosen.items()
        for experiment in experiments
        for row in _of_experiment(name, paper, experiment, results, where)
    ]
    if not made:
        raise UserError(
            "no claim has committed results there; `make reproduce-PAPER` and `make export-PAPER` make them."
        )
    kept = {row.table: row for row in replicates.read(results)}
    replicates.write(results, (kept | {row.table: row for row in made}).values())
    return made


def _of_experiment(
    name: str, paper: Paper, experiment: Experiment, results: Path, where: Where
) -> Iterator[Replicates]:
    frame = records.load(records.files(name, experiment.name, None, results))
    for group in records.groups(frame):
        if where.has(experiment, group) and any(one.delta for one in _decisions(paper, experiment, frame, group)):
            yield _of_table(name, paper, experiment, frame, group)


def _of_table(name: str, paper: Paper, experiment: Experiment, frame: pd.DataFrame, group: Group) -> Replicates:
    """The number for one table; open if a line compared by a claim lacks some of the first stage."""
    first = max(FIRST, experiment.seeds)
    row = Replicates(name, experiment.name, *group, first)
    stage = frame[frame["seed"] < first]
    made = [one for one in _decisions(paper, experiment, stage, group) if one.delta]
    if not made or any(one.comparison is None or one.comparison.n < first for one in made):
        return row
    cells = records.of_group(stage, group).drop_duplicates("cell")
    brief = median(cells["seconds"].astype(float)) < BRIEF
    most = max(first, min(MOST_BRIEF if brief else MOST, SPLITS.get(group.protocol, MOST_BRIEF)))
    asked = []
    for one in made:
        assert one.comparison is not None
        spread = statistics.deviation(one.comparison.means)
        asked.append((statistics.replicates(spread, first, one.delta, most), spread / one.delta, spread, one))
    planned, _, spread, one = max(asked, key=lambda found: found[:2])
    return replace(row, most=most, claim=one.label, spread=spread, delta=one.delta, planned=planned)


def _decisions(paper: Paper, experiment: Experiment, frame: pd.DataFrame, group: Group) -> list[Decision]:
    """The comparisons of an experiment's claims in one table."""
    runs = runs_of(frame, group)
    found = entries(experiment, runs)
    claims = [claim for claim in paper.claims if experiment.name in claim.experiments]
    return [one for claim in claims for run in runs for one in decisions(claim, experiment, run, found)]


def text(rows: Iterable[Replicates]) -> str:
    """The rows for reading: which table has how many replicates, and why."""
    header = ["table", "first stage", "widest claim", "spread", "half-width", "at most", "replicates"]
    lines = [
        [" ".join(row.table), row.first, row.claim or "-", *(_short(row.spread), _short(row.delta)),
         row.most or "-", row.planned or f"{row.first}, then by their spread"]
        for row in rows
    ]  # fmt: skip
    return tabulate(lines, headers=header, disable_numparse=True)


def _short(number: float | None) -> str:
    return "-" if number is None else f"{number:.3g}"
