"""The result of a run in a few lines: each method's gain, verdict and published gain, and how far runs agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tabulate import tabulate

from benchmarks.records.words import plural
from methods.contract import Paper
from report import claims, records
from report.build import Loaded
from report.leaderboard import published_gain
from report.records import AVERAGE, Group
from report.runs import Entry, Run, counterpart, entries, runs_of, same_row, shown, with_partial_marked
from report.selected import Shown
from report.table import MISSING, Grid, Table, cell_text, decision, grid_text

MOST = 12
"""Maximum number of lines in an answer; ALL=1 shows the others."""
SHORT = ("effect", "95 % interval", "verdict")
"""Columns of the claims shown in an answer."""
MAIN = ("accuracy", "unlabelled")
"""The main grid of a table."""


def gains(name: str, paper: Paper, loaded: Loaded, groups: Sequence[Group], results: Path) -> list[list[str]]:
    """A line for every row of the paper's own method, in every run: its gain over its own baseline.

    Raises:
        UserError: a malformed row of the published numbers.
    """
    lines = []
    for group in groups:
        for run in with_partial_marked(shown(runs_of(loaded.frame, group)), loaded.experiment, group):
            for entry, base in _own(name, loaded, run):
                gap = run.compare(entry, base)
                effect, interval, _, n = decision(gap, run.bases(entry, base))
                protocol = "" if group.protocol == "full" else f"{group.protocol}, "
                place = f"{records.short(group.dataset)}, {protocol}{group.backbone}, {group.track}"
                place += f", {plural(len(run.tasks), 'task')}"
                theirs = _published(name, paper, loaded, (entry, base), group, results)
                found = [cell_text(effect), cell_text(interval), claims.in_words(gap, over=run.over), theirs]
                lines.append([entry.label, base.label, place, run.origin, cell_text(n), *found])
    return lines


HEADERS = ("method", "over", "data, network", "run", "n", "gain", "95 % interval", "it gains", "published")


def _own(name: str, loaded: Loaded, run: Run) -> Iterator[tuple[Entry, Entry]]:
    """The lines of the paper's own method, each with its baseline; none for a figure over layers."""
    experiment = loaded.experiment
    if experiment.layers:
        return
    for entry in entries(experiment, [run]):
        base = counterpart(entry.setting, experiment.baseline, experiment, run)
        if entry.row.method == name and not same_row(entry.row, experiment.baseline) and run.has(base):
            yield entry, base


def _published(name: str, paper: Paper, loaded: Loaded, pair: tuple[Entry, Entry], group: Group, results: Path) -> str:
    """The published gain on the same data, or else on other data, which are then named."""
    if records.is_own(group.dataset):
        return MISSING
    named = loaded.experiment.published
    gain, network = published_gain(name, paper, named, *pair, group, results)
    if gain is not None:
        return f"{gain.value:+.1f}{gain.mark} ({network})"
    for table in records.read_published(results / "published.csv", paper.key or name, named):
        better, worse = (table.name_of(paper.published_rows.get(one.row.name)) for one in pair)
        if (found := table.difference(better, worse, AVERAGE)) is not None:
            return f"{found.value:+.1f}{found.mark} ({table.backbone}, {table.dataset})"
    return MISSING


def text(one: Shown, results: Path) -> str:
    """The answer for one paper's tables.

    Args:
        one: the paper's results.
        results: the folder with the published numbers.
    """
    name, paper, tables = one.name, one.paper, one.tables
    whole = f"{name}: {paper.title}" + (f" ({paper.venue} {paper.year})" if paper.year else "")
    parts = [f"{whole}\n{'=' * len(whole)}"]
    lines = [line for loaded, groups in one.parts for line in gains(name, paper, loaded, groups, results)]
    full = _full(name, one)
    lines.sort(key=lambda line: line[0] not in full)  # the paper's own full method first, then its ablations
    if lines:
        several = len({line[3] for line in lines}) > 1 or lines[0][3] != records.COMMITTED
        bases = {line[1] for line in lines}
        left_out = {name for name, alone in (("run", not several), ("over", len(bases) == 1)) if alone}
        kept = [i for i, header in enumerate(HEADERS) if header not in left_out and _differs(lines, i, header)]
        body = [[line[i] for i in kept] for line in lines[:MOST]]
        if len(bases) == 1:
            parts.append(f"Gain over {next(iter(bases))}, percentage points, mean over tasks, last iterate")
        parts.append(tabulate(body, [HEADERS[i] for i in kept], disable_numparse=True))
        if len(lines) > MOST:
            parts.append(f"and {plural(len(lines) - MOST, 'line')} more: ALL=1")
    for table in tables:
        grids = {grid.name: grid for grid in table.grids}
        if not lines and "claims" in grids:
            parts.append(grid_text(_short(grids["claims"])))
    parts += [
        f"{table.group.dataset}, {table.group.backbone}: {agreed}" for table in tables if (agreed := _agreed(table))
    ]
    return "\n\n".join(parts)


def _full(name: str, one: Shown) -> set[str]:
    """Name of the paper's full method in the tables."""
    rows = [row for loaded, _ in one.parts for row in loaded.experiment.rows]
    return {row.name for row in rows if (row.method, row.variant) == (name, "default")}


def _differs(lines: Sequence[Sequence[str]], place: int, header: str) -> bool:
    """Whether a column says anything: published numbers may be missing throughout."""
    return header != "published" or any(line[place] != MISSING for line in lines)


def _agreed(table: Table) -> str:
    """How this machine's values agree with the committed ones, if there are both."""
    return dict(table.facts).get("agreement", "")


def _short(grid: Grid) -> Grid:
    """The claims with only effect, interval and verdict."""
    places = [grid.columns.index(column) for column in SHORT]
    lines = tuple(
        type(line)(line.label, line.origin, tuple(line.cells[place] for place in places)) for line in grid.lines
    )
    return Grid(grid.name, grid.title, SHORT, lines, (), grid.heading)


def main_table(tables: Sequence[Table]) -> str:
    """The main table of the first experiment, with its title and what its means leave out."""
    if not tables:
        return ""
    table = tables[0]
    chosen = next((grid for grid in table.grids if grid.name in MAIN), table.grids[0] if table.grids else None)
    group = table.group
    where = f"{table.title}\n{group.protocol} protocol, {group.backbone}, {group.track}"
    return where if chosen is None else f"{where}\n\n{grid_text(chosen)}"


def rest(name: str, tables: Sequence[Table], options: Mapping[str, str]) -> str:
    """One line: what else there is, and the command that prints it.

    Args:
        name: the paper's module, or ``all``.
        tables: what was found.
        options: make variables that selected it.
    """
    grids = sum(len(table.grids) for table in tables) - 1
    own = all(records.is_own(table.group.dataset) for table in tables)
    papers = "" if own else ", published numbers, claims"
    chosen = "".join(f" {key}={_quoted(value)}" for key, value in options.items() if value)
    also = f"{plural(len(tables), 'table')} with {plural(grids, 'further part')}" if grids > 0 else "the heading"
    return (
        f"Also there: {also} (differences by task, intervals, choice of the epoch{papers}): "
        f"make table-{name}{chosen} ALL=1; figures: make figures-{name}; as pages: make report."
    )


def _quoted(value: str) -> str:
    return f'"{value}"' if " " in value else value
