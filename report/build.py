"""From rows of results and a paper's description to its tables."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from methods.contract import Experiment, Paper, Row
from report import again, records, statistics
from report.claims import REPRODUCED, claims_grid, verdict
from report.records import (
    AVERAGE,
    PROVENANCE,
    SELECTIONS,
    Accuracy,
    Group,
    PublishedDifference,
    PublishedTable,
    is_own,
    short,
)
from report.runs import (
    KEYS,
    Entry,
    Run,
    counterpart,
    entries,
    having,
    runs_of,
    same_row,
    setting_values,
    shown,
    swept,
    with_partial_marked,
    without,
)
from report.statistics import Estimate
from report.table import MISSING, Basis, Cell, Grid, Line, Number, Table, cell_text, decision, difference, estimated

LARGEST = 3
"""How many off-diagonal entries of each row of a matrix a table shows."""
NAMED = 6
"""How many missing cells a note names before only counting them."""


def _with_best(lines: list[Line], columns: int, tied: Collection[tuple[str, str]]) -> list[Line]:
    """Marks the largest number of each of the first ``columns`` columns among lines of the same origin.

    The last of them is the mean, where the lines (label, origin) in ``tied``, which tie with the best, are marked too:
    on a single task the few replicates cannot decide.
    """
    best: dict[tuple[str, int], float] = {}
    for line in lines:
        for i, cell in enumerate(line.cells[:columns]):
            if isinstance(cell, Number):
                best[line.origin, i] = max(cell.value, best.get((line.origin, i), -math.inf))

    def marked(line: Line) -> Line:
        cells = list(line.cells)
        for i, cell in enumerate(cells[:columns]):
            if isinstance(cell, Number):
                first = cell.value == best[line.origin, i]
                same = i == columns - 1 and not first and (line.label, line.origin) in tied
                cells[i] = replace(cell, best=first, tied=same)
        return replace(line, cells=tuple(cells))

    return [marked(line) for line in lines]


def _tied(run: Run, found: Sequence[Entry]) -> set[tuple[str, str]]:
    """The lines of a run whose mean over tasks is not significantly below the best line's."""
    means = {entry: mean.mean for entry in found if (mean := run.mean(entry)) is not None}
    if not means:
        return set()
    best = max(means, key=lambda entry: means[entry])
    gaps = {entry: run.compare(best, entry) for entry in means}
    return {
        (entry.label, run.origin) for entry, gap in gaps.items() if gap and gap.n > 1 and verdict(gap) != REPRODUCED
    }


def _columns(runs: Sequence[Run], beside: Sequence[PublishedTable]) -> tuple[str, ...]:
    """All tasks, in the order of the published table on the same data, else of the files."""
    order = [task for table in beside for task in table.tasks]
    tasks = dict.fromkeys(task for run in runs for task in run.tasks)

    def place(task: str) -> int:
        name = records.task_name(task)
        return order.index(name) if name in order else len(order)

    return tuple(sorted(tasks, key=place))


def _published_lines(
    label: str, tasks: Sequence[str], tables: Sequence[PublishedTable], paper: Paper, over: str | None, empty: int
) -> list[Line]:
    """The published numbers of a row on our tasks; differences over the published row of ``over`` if given.

    ``empty`` is the number of columns after the mean.
    """
    lines = []
    for table in tables:
        method = table.name_of(paper.published_rows.get(label))
        cells: list[Cell] = []
        for name in (*(records.task_name(task) for task in tasks), AVERAGE):
            if over is not None:
                found = table.difference(method, table.name_of(paper.published_rows.get(over)), name or "")
                cells.append(_published_difference(found))
            else:
                cells.append(_published_cell(table.rows.get(method or "", {}).get(name or "")))
        if set(cells) != {MISSING}:
            lines.append(Line(label, f"published, {table.backbone}", (*cells, *(MISSING,) * empty)))
    return lines


def _accuracies(
    paper: Paper, runs: Sequence[Run], found: Sequence[Entry], tables: Sequence[PublishedTable], notes: Iterable[str]
) -> Grid:
    columns = _columns(runs, tables)
    lines = []
    for entry in found:
        lines += _published_lines(entry.row.name, columns, tables, paper, None, 1)
        for run in having(entry, runs):
            tasks = statistics.per_task(run.values(entry), columns, run.over)
            mean = run.mean(entry)
            cells = (
                *(estimated(number, basis=run.basis(entry, (task,))) for task, number in tasks.items()),
                estimated(mean, basis=run.basis(entry)),
                Number(mean.n, digits=0) if mean else MISSING,
            )
            lines.append(Line(entry.label, run.origin, cells))
    title = "Accuracy in percent, last iterate"
    tied = {line for run in runs for line in _tied(run, found)}
    marked = _with_best(lines, len(columns) + 1, tied)
    return Grid("accuracy", title, (*columns, "mean", "n"), tuple(marked), tuple(notes))


def _differences(
    paper: Paper,
    experiment: Experiment,
    runs: Sequence[Run],
    found: Sequence[Entry],
    tables: Sequence[PublishedTable],
    over: Row,
    name: str = "difference",
) -> Grid | None:
    """Differences of all rows over the given one."""
    columns = _columns(runs, tables)
    base = over.name
    lines = []
    for entry in found:
        if same_row(entry.row, over):
            continue
        lines += _published_lines(entry.row.name, columns, tables, paper, base, 3)
        for run in having(entry, runs):
            base_entry = counterpart(entry.setting, over, experiment, run)
            comparison = run.compare(entry, base_entry)
            means = comparison.tasks if comparison else {}
            basis = run.bases(entry, base_entry)
            cells = (
                *(difference(means.get(task), basis=run.of_task(basis, task)) for task in columns),
                *decision(comparison, basis),
            )
            lines.append(Line(entry.label, run.origin, cells))
    if not lines:
        return None
    notes = ("paired by task, split and seed; 95 % interval and p: t-test over the n means over tasks",)
    title = f"Difference over {base}, percentage points"
    return Grid(name, title, (*columns, "mean", "95 % interval", "p", "n"), tuple(lines), notes)


def _selections(runs: Sequence[Run], found: Sequence[Entry]) -> Grid | None:
    present = [name for name in SELECTIONS if any((run.frame["selection"] == name).any() for run in runs)]
    if present == ["last"]:
        return None
    lines = tuple(
        Line(
            entry.label,
            run.origin,
            tuple(estimated(run.mean(entry, name), basis=run.basis(entry, selection=name)) for name in present),
        )
        for entry in found
        for run in having(entry, runs)
    )
    columns = tuple(SELECTIONS[name] for name in present)
    return Grid("selection", "Choice of the epoch: accuracy in percent, mean over tasks", columns, lines)


def _unlabelled(runs: Sequence[Run], found: Sequence[Entry], notes: Sequence[str]) -> Grid | None:
    """Results for tasks whose target has no labels: measures that need none."""
    names = {"target_entropy": "entropy", "snd": "SND", "a_distance": "A-distance"}
    frames = [run.frame[run.frame["metric"] == "target_entropy"] for run in runs]
    tested = {task for run in runs for task in run.tasks}  # a study of rules has these measures for them too
    tasks = tuple(dict.fromkeys(str(task) for frame in frames for task in frame["task"] if task not in tested))
    if not tasks:
        return None
    lines = []
    for entry in found:
        for run in having(entry, runs):
            cells = [
                estimated(statistics.per_task(run.values(entry, metric=metric), [task], run.over)[task], 3)
                for task in tasks
                for metric in names
            ]
            lines.append(Line(entry.label, run.origin, tuple(cells)))
    says = "the target has no labels, so there is no accuracy; less entropy and more SND do not prove more accuracy"
    columns = tuple(f"{task} {name}" for task in tasks for name in names.values())
    return Grid("unlabelled", "Targets without labels, last iterate", columns, tuple(lines), (says, *notes))


def _label_free(experiment: Experiment, runs: Sequence[Run], found: Sequence[Entry]) -> Grid | None:
    """The setting of each row chosen by the paper's rule, beside what the target's labels say."""
    metric = experiment.selects
    if not metric:
        return None
    tasks = tuple(dict.fromkeys(task for run in runs for task in run.tasks))
    lines, notes = [], []
    for run in runs:
        for candidates in _candidates(experiment, run, found):
            measured = {
                entry: statistics.per_task(run.values(entry, metric=metric), tasks, run.over) for entry in candidates
            }
            tested = {entry: statistics.per_task(run.values(entry), tasks, run.over) for entry in candidates}
            taken = {task: _least(measured, task) for task in tasks}
            for entry in candidates:
                cells: list[Cell] = []
                for task in tasks:
                    number = estimated(measured[entry][task], 3, run.basis(entry, (task,), metric=metric))
                    if isinstance(number, Number) and taken[task] == entry:
                        number = replace(number, mark=" <")
                    cells += [number, estimated(tested[entry][task], basis=run.basis(entry, (task,)))]
                lines.append(Line(entry.label, run.origin, tuple(cells)))
            notes += [_taken_note(run, task, taken[task], tested) for task in tasks if taken[task] is not None]
    if not lines:
        return None
    notes.insert(0, f"<: the least {metric} of its row and task, which the rule takes; it sees no target label")
    columns = tuple(f"{task} {name}" for task in tasks for name in (metric, "accuracy"))
    return Grid(
        "label-free", f"Choice by the least {metric}, without target labels", columns, tuple(lines), tuple(notes)
    )


def _candidates(experiment: Experiment, run: Run, found: Sequence[Entry]) -> list[list[Entry]]:
    """The lines among which the rule chooses: the settings of one row that differ in what the experiment varies."""
    groups: dict[tuple[Row, str], list[Entry]] = {}
    for entry in found:
        varied = setting_values(entry.setting).keys() & swept(experiment)
        if varied and run.mean(entry, metric=experiment.selects):
            groups.setdefault((entry.row, without(entry.setting, varied)), []).append(entry)
    return [group for group in groups.values() if len(group) > 1]


def _least(measured: Mapping[Entry, Mapping[str, Estimate | None]], task: str) -> Entry | None:
    """The line with the least mean on a task, the first of several; None if none has any."""
    means = {entry: mean.mean for entry, of_task in measured.items() if (mean := of_task[task]) is not None}
    return min(means, key=lambda entry: means[entry], default=None)


def _taken_note(run: Run, task: str, taken: Entry | None, tested: Mapping[Entry, Mapping[str, Estimate | None]]) -> str:
    """The setting that the rule takes on a task, and its distance from the most accurate one by the labels."""
    assert taken is not None
    means = {entry: mean.mean for entry, of_task in tested.items() if (mean := of_task[task]) is not None}
    best = max(means, key=lambda entry: means[entry])
    words = f"{run.origin}, {task}: the rule takes {taken.label}"
    if means[taken] == means[best]:
        return f"{words}, and no other is more accurate"
    gap = statistics.compare(run.values(taken), run.values(best), [task], run.over)
    assert gap is not None
    between = f", 95 % interval [{gap.low:+.2f}, {gap.high:+.2f}]" if gap.n > 1 else ""
    return f"{words}, {gap.effect:+.2f} points{between} from the most accurate in hindsight, {best.label}"


def _curves(experiment: Experiment, runs: Sequence[Run], found: Sequence[Entry]) -> list[Grid]:
    """The training history's entries that the experiment shows, one line per evaluation."""
    grids = []
    for name in experiment.curve:
        metrics = {str(metric) for run in runs for metric in run.frame["metric"] if str(metric).startswith(f"{name}@")}
        steps = sorted(int(metric.partition("@")[2]) for metric in metrics)
        digits = 1 if name.endswith("accuracy") else 4
        lines = tuple(
            Line(
                str(at),
                run.origin,
                tuple(_measure(run, entry, f"{name}@{at}", digits) for entry in found),
            )
            for run in runs
            for at in steps
        )
        if lines:
            title = f"Learning curve: {name}, mean over tasks; shown, nothing is chosen by it"
            grids.append(Grid(f"curve-{name}", title, tuple(entry.label for entry in found), lines, heading="step"))
    return grids


def _matrices(runs: Sequence[Run], found: Sequence[Entry], names: Sequence[str]) -> list[Grid]:
    """For each matrix over the classes, a line per class and row of the table: the diagonal and the largest others."""
    grids = []
    for name in names:
        lines = []
        for entry in found:
            for run in having(entry, runs):
                rows = run.rows(entry)
                entries_of = rows[rows["metric"].str.startswith(f"{name}@")]
                for label, row in _by_class(entries_of).items():
                    others = sorted((value, other) for other, value in row.items() if other != label)[::-1][:LARGEST]
                    cells: list[Cell] = [f"{other} {value:.3g}" for value, other in others]
                    cells += [MISSING] * (LARGEST - len(cells))
                    basis = Basis(tuple(dict.fromkeys(entries_of["cell"])), metric=f"{name}@{label},{label}")
                    own = Number(row.get(label, 0.0), digits=3, basis=basis)
                    lines.append(Line(f"{entry.label}: {label}", run.origin, (own, *cells)))
        if lines:
            columns = ("itself", *(f"other {number}" for number in range(1, LARGEST + 1)))
            title = f"Largest entries of {name}, a row for each class; the results file has the others"
            grids.append(Grid(name, title, columns, tuple(lines), heading="class"))
    return grids


MEASURES = {
    "source_error": "share of the held-out source images that are misclassified",
    "target_entropy": "mean entropy of the predictions on the target, in nats",
    "mmd": "squared MMD of the bottleneck between the domains, five Gaussian kernels, unbiased",
    "a_distance": "proxy A-distance of the domains in the bottleneck: 0 alike, 2 told apart",
    "joint_mmd": "squared joint MMD of bottleneck and predictions between the domains",
    "linear_mmd": "distance of the domains' means in the adaptation layer",
    "linear_mmd_relative": "linear_mmd in units of an image's distance from its domain's mean",
    "trunk_mmd": "distance of the domains' means where the adaptation layer is placed",
    "trunk_mmd_relative": "trunk_mmd in units of an image's distance from its domain's mean",
    "iwcv": "importance-weighted risk on the held-out source",
    "dev": "importance-weighted risk on the held-out source, with a control variate",
    "snd": "soft neighbourhood density of the target's predictions, in nats",
    "domain_accuracy": "accuracy in percent of a linear SVM that tells source from target",
    "domains_told": "training images that the domain classifier tells apart, in percent",
    "accuracy_among_tested": "accuracy in percent where only the tested classes may be predicted",
    "taken_for_labelled": "test images predicted as a class that is not tested, in percent",
    "soft_own": "the soft labels' mass on their own class, 0 to 1",
}
"""Metric -> what it is, in a note."""


def _by_class(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Row of a matrix -> column -> its mean over the cells."""
    found: dict[str, dict[str, float]] = {}
    for metric, value in rows.groupby("metric", sort=False)["value"].mean().items():
        row, _, column = str(metric).partition("@")[2].partition(",")
        found.setdefault(row, {})[column] = float(value)
    return found


def _quantities(runs: Sequence[Run], found: Sequence[Entry]) -> list[Grid]:
    """Other measurements; those in families, such as ``alpha.fc7``, in a separate grid."""
    every = dict.fromkeys(str(name) for run in runs for name in run.frame["metric"])
    metrics = [name for name in every if name != "accuracy" and "@" not in name]
    single = tuple(name for name in metrics if "." not in name)
    families = tuple(name for name in metrics if "." in name)
    grids = []
    if single:
        title = "Other quantities, last iterate, mean over tasks"
        notes = tuple(f"{name}: {MEASURES[name]}" for name in single if name in MEASURES)
        grids.append(Grid("quantities", title, single, _measured(runs, found, single), notes))
    if families:
        title = "Figures of the trained models, last iterate, mean over tasks"
        lines = tuple(line for line in _measured(runs, found, families) if set(line.cells) != {MISSING})
        grids.append(Grid("figures", title, families, lines))
    return grids


def _measured(runs: Sequence[Run], found: Sequence[Entry], metrics: Sequence[str]) -> tuple[Line, ...]:
    return tuple(
        Line(entry.label, run.origin, tuple(_measure(run, entry, name, 4) for name in metrics))
        for entry in found
        for run in having(entry, runs)
    )


def _measure(run: Run, entry: Entry, metric: str, digits: int) -> Cell:
    """The mean of a metric over tasks."""
    return estimated(run.mean(entry, metric=metric), digits, run.basis(entry, metric=metric))


def _published_cell(number: Accuracy | None) -> Cell:
    if number is None:
        return MISSING
    return Number(number.value, number.spread, mark=number.mark, basis=Basis(source=number.where))


def _published_difference(found: PublishedDifference | None) -> Cell:
    return MISSING if found is None else difference(found.value, mark=found.mark, basis=Basis(source=found.where))


def published_grid(paper: Paper, experiment: Experiment, table: PublishedTable) -> Grid | None:
    """The rows of a published table that this experiment has, with each number's provenance; then other shown rows."""
    base = table.name_of(paper.published_rows.get(experiment.baseline.name))
    rows = [(row.name, table.name_of(paper.published_rows.get(row.name))) for row in experiment.rows]
    rows += [(name, table.name_of(name)) for name in paper.published_only]
    tasks = list(dict.fromkeys(map(_runs_left_out, table.tasks)))
    lines, used = [], set()
    for label, method in rows:
        if method is None:
            continue
        numbers = {_runs_left_out(task): number for task, number in table.rows[method].items()}
        used |= {number.provenance for number in numbers.values()}
        cells = [_published_cell(numbers.get(task)) for task in tasks]
        cells.append(_published_difference(table.difference(method, base, AVERAGE)))
        lines.append(Line(label, f"published as {method}", tuple(cells)))
    if not lines:
        return None
    columns = [*tasks, f"{AVERAGE} less {base or 'baseline'}"]
    if all(line.cells[-1] == MISSING for line in lines):
        columns, lines = columns[:-1], [replace(line, cells=line.cells[:-1]) for line in lines]
    whose = "another suite's" if used == {"reimplementation"} else "the paper's own"
    notes = [f"{whose} network and protocol: differences over the baseline compare with ours, levels need not"]
    notes += [f"{name}: {PROVENANCE[name]}" for name in PROVENANCE if name in used and name != "unverified"]
    if "unverified" in used:
        notes.append(f"* unverified: {PROVENANCE['unverified']}")
    title = f"Published: {table.name}, {table.backbone}, {table.dataset}"
    return Grid("published", title, tuple(columns), tuple(lines), tuple(notes))


def _runs_left_out(task: str) -> str:
    """``n=3`` for ``n=3 runs=4``: rows of one figure are means of different numbers of runs."""
    return re.sub(r" runs=\d+$", "", task)


# ---------------------------------------------------------------------------------------------------- notes


def _named(cells: Sequence[str]) -> str:
    more = f" and {len(cells) - NAMED} more" if len(cells) > NAMED else ""
    return ", ".join(cells[:NAMED]) + more


def _incomplete(experiment: Experiment, run: Run, found: Sequence[Entry], columns: Sequence[str]) -> list[str]:
    """What a run lacks: rows, tasks, replicates, single cells."""
    notes = []
    if len(run.tasks) < len(columns):
        notes.append(f"{run.origin}: its means are over these alone")
    if absent := [row.name for row in experiment.rows if not any(same_row(e.row, row) and run.has(e) for e in found)]:
        notes.append(f"{run.origin}: no results for {_named(absent)}")
    replicates = list(run.frame[run.over].drop_duplicates())
    planned = run.planned or (experiment.seeds if run.over == "seed" else 0)
    if len(replicates) < planned:
        notes.append(f"{run.origin}: n = {len(replicates)} of {planned} planned {run.over}s")
    pairs = set(records.plain(run.frame, ["split", "seed"]))
    for entry in found:
        if not run.has(entry):
            continue
        have = run.values(entry)
        lacking = [(task, *pair) for task in run.tasks for pair in sorted(pairs) if (task, *pair) not in have]
        if lacking:
            several = len({split for split, _ in pairs}) > 1
            cells = [f"{task}{f' split {split}' if several else ''} seed {seed}" for task, split, seed in lacking]
            notes.append(
                f"{run.origin}: {entry.label} lacks {_named(cells)}; its mean and its differences leave out every "
                f"{run.over} that lacks a task"
            )
    return notes


def agreement(runs: Sequence[Run]) -> str | None:
    """How this machine's run compares with the committed one, cell by cell; None if only one of them exists.

    If an origin has several runs, the first two on the same device are compared, if there are any.
    """
    pairs = [(first, second) for first in runs for second in runs if second.local and not first.local]
    if not pairs:
        return None
    pair = min(pairs, key=lambda pair: pair[0].frame["device"].iloc[0] != pair[1].frame["device"].iloc[0])
    first, second = (run.frame.set_index(KEYS)["value"] for run in pair)
    gaps = (first - second).dropna().abs()
    if gaps.empty:
        return "no cell in common"
    if (gaps == 0).all():
        return f"all {len(gaps)} values in common agree to the last digit"
    headline = gaps[(gaps.index.get_level_values("metric") == "accuracy")]
    largest = f"; largest difference of an accuracy {headline.max():.2f} points" if len(headline) else ""
    return f"{int((gaps == 0).sum())} of {len(gaps)} values in common agree to the last digit{largest}"


def _facts(experiment: Experiment, group: Group, runs: Sequence[Run]) -> tuple[tuple[str, str], ...]:
    facts = [
        ("backbone", group.backbone),
        ("track", group.track),
        ("protocol", group.protocol),
        ("selection", SELECTIONS["last"]),
    ]
    spreads = dict.fromkeys(run.over for run in runs)
    facts.append(("spread", "; ".join(f"standard error over {over}s: {statistics.SPREADS[over]}" for over in spreads)))
    for run in runs:
        replicates = sorted(run.frame[run.over].drop_duplicates())
        devices = ", ".join(dict.fromkeys(map(str, run.frame["device"])))
        versions = ", ".join(dict.fromkeys(map(str, run.frame["torch"])))
        units = run.over if len(replicates) == 1 else f"{run.over}s"
        listed = ", ".join(map(str, replicates))
        facts.append((run.origin, f"{len(replicates)} {units} ({listed}), {devices}, torch {versions}"))
        if 0 < run.first < len(replicates):
            number = f"fixed by the spread of the first {run.first}, which intervals and p take"
            facts.append((f"{run.origin}, number of {units}", number))
    if (agreed := agreement(runs)) is not None:
        facts.append(("agreement", agreed))
    return tuple(facts)


def table_of(
    name: str,
    paper: Paper,
    experiment: Experiment,
    frame: pd.DataFrame,
    group: Group,
    tables: Sequence[PublishedTable] = (),
    failures: Sequence[str] = (),
) -> Table:
    """The table of one experiment on one data set, protocol, backbone and track.

    Args:
        name: the paper's module name.
        frame: rows of ``records.load``, possibly of other groups too; those of ``group`` are used.
        tables: the published tables to show with it; none for a user's own images.
        failures: notes about cells that ended in an error.
    """
    every = runs_of(frame, group)
    runs = shown(every)
    found = entries(experiment, runs)
    own = is_own(group.dataset)
    if own:  # papers say nothing about a user's own images
        tables = ()
    beside = [table for table in tables if records.same_data(table, group)]
    runs = with_partial_marked(runs, experiment, group, records.published_tasks(tables, group))
    notes = [note for run in runs for note in _incomplete(experiment, run, found, _columns(runs, beside))]
    notes += failures
    tested = any(run.tasks for run in runs)
    further = {f"difference-{number}": row for number, row in enumerate(experiment.also_over, 1)}
    over = {"difference": experiment.baseline, **further}
    grids = [
        _accuracies(paper, runs, found, beside, notes) if tested else None,
        *(_differences(paper, experiment, runs, found, beside, row, name) for name, row in over.items() if tested),
        _unlabelled(runs, found, () if tested else notes),
        _label_free(experiment, runs, found),
        *_curves(experiment, runs, found),
        _selections(runs, found) if tested else None,
        *(_quantities(runs, found) if tested else ()),
        *_matrices(runs, found, experiment.matrices),
        *(published_grid(paper, experiment, table) for table in tables),
        None if own else claims_grid(paper, experiment, runs, found),
    ]
    title = f"{name} {experiment.name} on {group.dataset}: {experiment.title}"
    if own:
        title = f"{name} on {short(group.dataset)}, images of your own"
    facts = _facts(experiment, group, every)
    return Table(name, experiment.name, group, title, facts, tuple(grid for grid in grids if grid and _says(grid)))


def _says(grid: Grid) -> bool:
    """Whether there is anything but dashes in it."""
    return any(cell_text(cell) != MISSING for line in grid.lines for cell in line.cells)


@dataclass(frozen=True)
class Loaded:
    """The results of one experiment."""

    experiment: Experiment
    paths: dict[str, Path]
    """Origin -> file."""
    frame: pd.DataFrame

    @property
    def groups(self) -> list[Group]:
        """In the order of ``in_order``."""
        return in_order(self.experiment, records.groups(self.frame))


def load(name: str, experiment: Experiment, runs: Path | None, results: Path) -> Loaded:
    """The rows of an experiment; ``runs`` None leaves this machine's out.

    Raises:
        UserError: a malformed file.
    """
    paths = records.files(name, experiment.name, runs, results)
    return Loaded(experiment, paths, records.load(paths))


def in_order(experiment: Experiment, groups: Sequence[Group]) -> list[Group]:
    """Groups in the order of the experiment's data sets, unlisted ones last; on each its own backbone first."""
    order = [*experiment.recipes, *(group.dataset for group in groups)]

    def place(group: Group) -> tuple[int, bool, str]:
        return order.index(group.dataset), group.backbone != experiment.backbone, group.backbone

    return sorted(groups, key=place)


def tables(
    name: str, paper: Paper, loaded: Loaded, groups: Sequence[Group], results: Path, runs: Path | None = None
) -> list[Table]:
    """One table per group; with ``runs``, failures on this machine are noted below it.

    Raises:
        UserError: a malformed row of the published numbers.
    """
    if not groups:
        return []
    beside = records.read_published(results / "published.csv", paper.key or name, loaded.experiment.published)
    failed = records.failures(runs) if runs is not None else []
    made = []
    for group in groups:
        failures = _failures(loaded.experiment, group, failed)
        table = table_of(name, paper, loaded.experiment, loaded.frame, group, beside, failures)
        if again.is_older(name, loaded.experiment, group, results):
            words = "an older one: the committed cells have other settings than today's; the command trains anew"
            table = replace(table, facts=(*table.facts, ("training", words)))
        made.append(table)
    return made


def _failures(experiment: Experiment, group: Group, failed: Sequence[records.Failure]) -> list[str]:
    """The cells of an experiment's methods that ended in an error here, in words; not those that chose a setting."""
    methods = {row.method for row in experiment.rows}
    return [
        f"FAILED here, and without a value above: {one.method} on {one.task}, seed {one.seed}: {one.error}"
        for one in failed
        if one.group == group and one.method in methods and one.holdout == experiment.holdout
    ]
