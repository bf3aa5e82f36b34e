"""All methods on the same data, protocol, network and tasks, in one table each: their accuracy and their gain."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmarks.records.words import plural
from methods.contract import Experiment, Paper
from report import claims, records, statistics
from report.contestants import Contestant, contestants
from report.records import AVERAGE, PROTOCOLS, TRACKS, Group, PublishedDifference
from report.runs import Entry
from report.statistics import Comparison
from report.table import MISSING, Basis, Cell, Grid, Line, Number, decision, difference, estimated, plain

DATASETS = ("office31", "office-caltech10", "office-caltech10-surf", "digits", "digits-mini")
"""Order of the tables; others follow."""
PLAIN = "source_only"
"""The method that others are compared with; in a table with another baseline it is shown with a gain."""
COMPARATOR = "comparator"
CSV_COLUMNS = (
    *("dataset", "protocol", "track", "backbone", "method", "paper", "comparator", "task", "n", "accuracy", "se"),
    *("gain", "gain_se", "low", "high", "p", "verdict", "published_gain", "seconds"),
)
"""Columns of the file: a row for every task of a method, and one for the mean, which alone has a gain."""
NOTES = (
    "mean: over tasks, ± standard error over n seeds or splits; gain: over the method's own baseline, the transfer "
    "term off; verdict: on the claim that it gains, by the 95 % interval",
    "published: the gain that the paper states for the same data, on its own network, of comparators what a "
    "reimplementation reaches; *: not checked against the paper",
    "comparator: a method of no paper of the suite, under the same recipes",
    "seconds: of one training, mean over cells, on machines that also did other work",
)


@dataclass(frozen=True)
class Standing:
    """A line of a leaderboard."""

    one: Contestant
    comparator: bool
    gap: Comparison | None
    """Over its own baseline; None for a baseline."""
    published: PublishedDifference | None
    published_on: str
    """The network of the published gain; empty without one."""

    @property
    def seconds(self) -> float:
        """Mean over its cells; nan if unknown."""
        return self.one.run.seconds(self.one.entry)

    @property
    def verdict(self) -> str:
        """Verdict on the claim that it gains, in words; empty for a baseline."""
        return claims.in_words(self.gap, over=self.one.run.over) if self.gap else ""

    @property
    def whose(self) -> str:
        """The paper's module, whether it is a comparator, and whether the line comes from this machine only."""
        more = {COMPARATOR: self.comparator, records.LOCAL: self.one.run.local}
        return ", ".join([self.one.paper, *(word for word, holds in more.items() if holds)])


@dataclass(frozen=True)
class Board:
    """One leaderboard."""

    group: Group
    tasks: tuple[str, ...]
    lines: tuple[Standing, ...]
    """The most accurate first."""

    @property
    def title(self) -> str:
        """Data, protocol, network and track."""
        group = self.group
        where = f"{group.dataset}, {group.protocol} protocol, {group.backbone}, {group.track}"
        return f"{where}: {plural(len(self.tasks), 'task')}, {plural(len(self.lines), 'line')}"


def boards(
    papers: Mapping[str, Paper], loaded: Iterable[tuple[str, Experiment, pd.DataFrame]], results: Path
) -> list[Board]:
    """Every leaderboard with at least two lines; of several networks the one with the most lines comes
    first, then the one that experiments name.

    Raises:
        UserError: a malformed row of the published numbers.
    """
    found: dict[tuple[Group, frozenset[str]], dict[tuple[str, str, str], Contestant]] = {}
    for one in contestants(loaded, released=True):
        lines = found.setdefault((one.group, frozenset(one.run.tasks)), {})
        before = lines.get(one.method)
        if before is None or _rank(one) < _rank(before):
            lines[one.method] = one
    made = []
    for (group, _), some in found.items():
        if len(some) > 1:
            standings = [_standing(one, papers[one.paper], results) for one in some.values()]
            standings.sort(key=lambda line: -_mean(line.one))
            made.append(Board(group, next(iter(some.values())).run.tasks, tuple(standings)))

    def rank(board: Board) -> tuple[object, ...]:
        usual = sum(line.one.usual for line in board.lines)
        return *place(board.group), -len(board.lines), -usual, board.group.backbone

    return sorted(made, key=rank)


def _rank(one: Contestant) -> tuple[bool, bool]:
    """Which of several tables shows a row: its own paper's first, and source-only where it is the baseline."""
    return not one.own, one.is_base != (one.entry.row.method == PLAIN)


def place(group: Group) -> tuple[tuple[int, str], ...]:
    """Where a group stands among others: by data set, protocol and track."""
    orders = ((DATASETS, group.dataset), (PROTOCOLS, group.protocol), (TRACKS, group.track))
    return tuple((order.index(name) if name in order else len(order), name) for order, name in orders)


def _mean(one: Contestant) -> float:
    found = one.run.mean(one.entry)
    return found.mean if found else math.nan


def _standing(one: Contestant, paper: Paper, results: Path) -> Standing:
    gap = None if one.is_base else one.run.compare(one.entry, one.base)
    names = [name for experiment in paper.experiments if experiment.default for name in experiment.published]
    theirs, network = published_gain(one.paper, paper, names, one.entry, one.base, one.group, results)
    return Standing(one, paper.comparator, gap, theirs, network)


def published_gain(
    name: str, paper: Paper, names: Iterable[str], entry: Entry, base: Entry, group: Group, results: Path
) -> tuple[PublishedDifference | None, str]:
    """The gain of a row over its baseline stated in the paper for the same data, and the network it was measured on.

    Args:
        name: module of the paper.
        paper: for its names of rows.
        names: its published tables.
        entry: the row.
        base: its baseline.
        group: where ours was run.
        results: the folder with the published numbers.

    Raises:
        UserError: a malformed row among them.
    """
    for table in records.read_published(results / "published.csv", paper.key or name, list(dict.fromkeys(names))):
        if records.same_data(table, group):
            better, worse = (table.name_of(paper.published_rows.get(one.row.name)) for one in (entry, base))
            gain = table.difference(better, worse, AVERAGE)
            if gain is not None:
                return gain, table.backbone
    return None, ""


def grid(board: Board, name: str) -> Grid:
    """The leaderboard as a table: what decides comes first, then every task."""
    lines = []
    for line in board.lines:
        one = line.one
        run, entry = one.run, one.entry
        basis = run.bases(entry, one.base) if line.gap else None
        effect, interval, p, _ = decision(line.gap, basis)
        theirs = line.published
        shown: Cell = MISSING
        if theirs is not None:
            shown = difference(theirs.value, mark=theirs.mark, basis=Basis(source=theirs.where))
        mean = run.mean(entry)
        tasks = statistics.per_task(run.values(entry), board.tasks, run.over)
        cells = (
            *(effect, interval, p, estimated(mean, basis=run.basis(entry)), line.verdict or MISSING, shown),
            Number(mean.n, digits=0) if mean else MISSING,
            *(estimated(tasks[task], basis=run.basis(entry, (task,))) for task in board.tasks),
            MISSING if math.isnan(line.seconds) else Number(line.seconds),
        )
        label = f"{one.label} ({COMPARATOR})" if line.comparator else one.label
        lines.append(Line(label, line.whose, cells))
    columns = ("gain", "95 % interval", "p", "mean", "verdict", "published", "n", *board.tasks, "seconds")
    return Grid(name, board.title, columns, tuple(lines), NOTES, heading="method")


def comma_separated(found: Sequence[Board]) -> str:
    """All leaderboards as one CSV file, at full precision."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for board in found:
        for line in board.lines:
            one, gap, theirs = line.one, line.gap, line.published
            group = board.group
            head = (group.dataset, group.protocol, group.track, group.backbone, one.label, one.paper)
            place = (*head, "yes" if line.comparator else "")
            for task, mean in statistics.per_task(one.run.values(one.entry), board.tasks, one.run.over).items():
                if mean is not None:
                    writer.writerow((*place, task, mean.n, *map(plain, (mean.mean, mean.se)), *[""] * 8))
            whole = one.run.mean(one.entry)
            assert whole is not None  # otherwise it would not be a contestant
            gains = (gap.effect, gap.se, gap.low, gap.high, gap.p) if gap else (math.nan,) * 5
            published = "" if theirs is None else plain(theirs.value)
            numbers = (*map(plain, gains), line.verdict, published, plain(line.seconds))
            writer.writerow((*place, "mean", whole.n, *map(plain, (whole.mean, whole.se)), *numbers))
    return stream.getvalue()
