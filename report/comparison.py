"""All methods on one data set in one table, sorted, and one sentence on which to use.

If the target has labels, methods are sorted by accuracy.  If it has none, they are sorted by a label-free criterion,
shown with how well that criterion orders methods where labels are known: Spearman's rank correlation with accuracy over
the methods, mean over the tasks of all committed comparisons.
"""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean

from benchmarks.machine.errors import UserError
from benchmarks.records import schema
from benchmarks.records.files import numbered_rows
from report import records, statistics
from report.records import COMMITTED, LOCAL, Group, short
from report.statistics import Comparison as Gap
from report.statistics import Place, Values
from report.table import MISSING, Basis, Cell, Grid, Interval, Line, Number, Table, difference, estimated

BASELINE = "source_only"
CRITERIA = {"target_entropy": "target entropy", "a_distance": "A-distance", "snd": "SND"}
"""Label-free measures of a trained model at the last iterate, and their names in tables."""
RISING = ("snd",)
"""Those of which more is better."""
CRITERION = "target_entropy"
"""By which methods are sorted where the target has no labels: the one of the three whose order of the methods
is nearest to that of their accuracy where labels are known (``trust``)."""
DIGITS = 3
"""Decimals of a criterion that are shown; methods that differ by less are tied."""
NUMBERS = ("accuracy", *CRITERIA, "seconds")


@dataclass(frozen=True)
class Method:
    """A line: a method with its measurements."""

    label: str
    method: str
    values: Mapping[str, Values]
    """Column of ``NUMBERS`` -> place -> value."""
    cells: Mapping[Place, str]
    errors: Mapping[Place, str]
    networks: Mapping[Place, str]
    note: str

    def mean(self, name: str, tasks: Sequence[str]) -> float | None:
        """Mean over seeds, then tasks; None unless every task has a value."""
        found = [statistics.per_task(self.values[name], [task], "seed")[task] for task in tasks]
        known = [one.mean for one in found if one is not None]
        return fmean(known) if known and len(known) == len(tasks) else None


@dataclass(frozen=True)
class Comparison:
    """The methods of one file."""

    origin: str
    path: Path
    group: Group
    setting: str
    tasks: tuple[str, ...]
    methods: tuple[Method, ...]

    @cached_property
    def tested(self) -> tuple[str, ...]:
        """The tasks whose target has labels."""
        return tuple(
            t for t in self.tasks if any(place[0] == t for m in self.methods for place in m.values["accuracy"])
        )

    @cached_property
    def bare(self) -> tuple[str, ...]:
        """The tasks whose target has none: trainings finished there, without an accuracy."""
        ended = {place[0] for m in self.methods for name in ("seconds", CRITERION) for place in m.values[name]}
        return tuple(task for task in self.tasks if task in ended and task not in self.tested)

    @cached_property
    def baseline(self) -> Method | None:
        """The source-only line."""
        return next((one for one in self.methods if one.method == BASELINE), None)

    @property
    def seeds(self) -> int:
        """Number of seeds."""
        return len({place[2] for one in self.methods for place in (*one.cells,)})

    def gain(self, one: Method, over: Method | None = None) -> Gap | None:
        """How much more accurate a method is than the baseline, or than another one, on the tasks with labels."""
        other = over or self.baseline
        if other is None or one is other:
            return None
        return statistics.compare(one.values["accuracy"], other.values["accuracy"], self.tested, "seed")

    @cached_property
    def ordered(self) -> list[Method]:
        """The methods, the best first, those with an unknown value last; of those tied by a criterion, the fastest."""

        def place(one: Method) -> tuple[bool, float, float]:
            value = one.mean("accuracy", self.tested) if self.tested else self.judged(one)
            if value is None:
                return True, 0.0, 0.0
            if self.tested:
                return False, -value, 0.0
            return False, -value if CRITERION in RISING else value, fmean(one.values["seconds"].values() or [0.0])

        return sorted(self.methods, key=place)

    def judged(self, one: Method) -> float | None:
        """What sorts the methods without labels, as it is shown."""
        value = one.mean(CRITERION, self.tasks)
        return None if value is None else round(value, DIGITS)


def read(path: Path, origin: str) -> Comparison:
    """The comparison in a file.

    Raises:
        UserError: it is malformed or empty.
    """
    rows = []
    for line, row in numbered_rows(path, schema.COMPARISON):
        for name in NUMBERS:
            if row[name]:
                records.number(row[name], name, path, line)
        if not row["seed"].isdecimal():
            raise UserError(f"{path}, line {line}: seed is {row['seed']!r}, expected a whole number.")
        rows.append(row)
    if not rows:
        raise UserError(f"{path} holds no comparison; run it again.")
    groups = {Group(*(row[name] for name in Group._fields)) for row in rows}
    if len(groups) > 1:
        raise UserError(f"{path} mixes data sets, protocols, backbones or tracks; run it again.")
    contestants = {(row["method"], row["variant"]): row["label"] for row in rows}
    labels = Counter(contestants.values())  # methods of two papers may have one name
    methods = tuple(
        _method(
            label if labels[label] == 1 else f"{label} ({'/'.join(which)})",
            [row for row in rows if (row["method"], row["variant"]) == which],
        )
        for which, label in contestants.items()
    )
    tasks = tuple(dict.fromkeys(row["task"] for row in rows))
    return Comparison(origin, path, groups.pop(), rows[0]["setting"], tasks, methods)


def _method(label: str, rows: Sequence[Mapping[str, str]]) -> Method:
    def place(row: Mapping[str, str]) -> Place:
        return row["task"], "0", int(row["seed"])

    def column(name: str) -> dict[Place, str]:
        return {place(row): row[name] for row in rows if row[name]}

    values = {name: {where: float(text) for where, text in column(name).items()} for name in NUMBERS}
    first = rows[0]
    cells, errors, networks = column("cell"), column("error"), column("network")
    return Method(label, first["method"], values, cells, errors, networks, first["note"])


def found(runs: Path | None, results: Path, dataset: str = "") -> list[Comparison]:
    """All comparisons, the committed ones first, or those on one data set.

    Raises:
        UserError: a malformed file.
    """
    places = [(COMMITTED, results / "compare"), *([(LOCAL, runs / "compare")] if runs else [])]
    every = [read(path, origin) for origin, place in places for path in sorted(place.glob("*.csv"))]
    said: list[Comparison] = []
    for one in every:
        if (not dataset or one.group.dataset == dataset) and not any(_equal(one, other) for other in said):
            said.append(one)
    return said


def _equal(one: Comparison, other: Comparison) -> bool:
    """Whether two say the same: this machine's may be the committed one, continued."""
    same = (one.group, one.setting) == (other.group, other.setting)
    return same and [(m.label, m.cells, m.values) for m in one.methods] == [
        (m.label, m.cells, m.values) for m in other.methods
    ]


# How far a criterion can be trusted.


@dataclass(frozen=True)
class Trust:
    """How well a label-free criterion orders methods where the target's labels are known."""

    correlation: float
    """Mean of Spearman's rank correlation with accuracy; 1 is the right order, 0 none, -1 the reverse."""
    regret: float
    """Points of accuracy by which the method it picks is below the best one, on average."""
    gain: float
    """Points by which the method it picks is above source-only, on average."""
    tasks: int
    datasets: tuple[str, ...]


def trust(committed: Iterable[Comparison], criterion: str) -> Trust | None:
    """What the committed comparisons show about a criterion; None if nothing."""
    correlations, regrets, gains, datasets = [], [], [], []
    for one in committed:
        for task in one.tested:
            pairs = [(m, m.mean(criterion, [task]), m.mean("accuracy", [task])) for m in one.methods]
            known = [(m, c if criterion in RISING else -c, a) for m, c, a in pairs if c is not None and a is not None]
            base = one.baseline.mean("accuracy", [task]) if one.baseline else None
            if len(known) < 3 or base is None:
                continue
            rho = statistics.spearman([c for _, c, _ in known], [a for _, _, a in known])
            correlations.append(0.0 if math.isnan(rho) else rho)
            taken = max(known, key=lambda entry: entry[1])[2]
            regrets.append(max(a for _, _, a in known) - taken)
            gains.append(taken - base)
            datasets.append(one.group.dataset)
    if not correlations:
        return None
    return Trust(fmean(correlations), fmean(regrets), fmean(gains), len(correlations), tuple(dict.fromkeys(datasets)))


# The table.


def table(one: Comparison, committed: Sequence[Comparison]) -> Table:
    """The comparison as a table, with its recommendation as the last note."""
    criteria = [name for name in CRITERIA if any(m.values[name] for m in one.methods)]
    lines = []
    for method in one.ordered:
        basis = Basis(tuple(method.cells.values()))
        of_task = statistics.per_task(method.values["accuracy"], one.tested, "seed")
        gap = one.gain(method)
        cells: list[Cell] = [estimated(of_task[task], basis=basis) for task in one.tested]
        if one.tested:
            mean = statistics.over_tasks(method.values["accuracy"], one.tested, "seed")
            interval: Cell = Interval(gap.low, gap.high, basis) if gap else MISSING
            cells += [estimated(mean, basis=basis), difference(gap.effect, gap.se) if gap else MISSING, interval]
        for name in criteria:
            value = method.mean(name, one.tasks)
            cells.append(MISSING if value is None else Number(value, digits=DIGITS, mark=_mark(one, name)))
        seconds = method.values["seconds"].values()
        cells.append(Number(fmean(seconds), digits=1) if seconds else MISSING)
        if method.errors:
            failed = f"{len(method.errors)} of {len(method.cells)} FAILED"
            cells.append(failed)
        else:
            cells.append(MISSING)
        lines.append(Line(method.label, one.origin, tuple(cells)))
    columns = [*one.tested, *(["mean", "gain", "95 % interval"] if one.tested else [])]
    columns += [*(CRITERIA[name] for name in criteria), "seconds per training", "failed"]
    if not any(method.errors for method in one.methods):
        columns, lines = columns[:-1], [Line(x.label, x.origin, x.cells[:-1]) for x in lines]
    what = "no target labels, so no accuracy" if one.bare else "nothing finished"
    if one.tested:
        what = "accuracy in percent, last iterate"
    grid = Grid("compare", f"Methods: {what}", tuple(columns), tuple(lines), tuple(_notes(one, committed)), "method")
    name = short(one.group.dataset)
    title = f"Methods on {name}, from the same network and recipe"
    facts = [("backbone", one.group.backbone), ("track", one.group.track), ("tasks", ", ".join(one.tasks))]
    facts += [("seeds", str(one.seeds))] + ([("setting", one.setting)] if one.setting else [])
    return Table("compare", "compare", one.group, title, tuple(facts), (grid,))


def _mark(one: Comparison, name: str) -> str:
    return " <" if name == CRITERION and not one.tested else ""


def _notes(one: Comparison, committed: Sequence[Comparison]) -> list[str]:
    notes = [method.note for method in one.methods if method.note]
    if one.bare and one.tested:
        notes.append(f"{', '.join(one.bare)}: the target has no labels, so no accuracy; the other tasks decide")
    if one.bare and not one.tested:
        notes.append(f"<: what sorts the methods; the {'largest' if CRITERION in RISING else 'least'} first")
        notes.append(trust_text(committed))
    notes += [
        f"{method.label} failed on {task}, seed {seed}: {text}"
        for method in one.methods
        for (task, _, seed), text in method.errors.items()
    ]
    return [*notes, advice(one, committed)]


def trust_text(committed: Sequence[Comparison]) -> str:
    """How far the criterion can be trusted, in a sentence."""
    name, known = CRITERIA[CRITERION], trust(committed, CRITERION)
    if known is None:
        return f"how far the {name} can be trusted is unknown: there is no committed comparison with labels"
    where = ", ".join(map(short, known.datasets))
    return (
        f"how far the {name} can be trusted: on {known.tasks} tasks with labels ({where}) its order of the methods had "
        f"a rank correlation of {known.correlation:+.2f} with their accuracy (1 is the same order, 0 none); the method "
        f"that it took was {known.gain:+.1f} points from source-only and {known.regret:.1f} below the best"
    )


def ranked(one: Comparison) -> list[Method]:
    """The methods that finished on every task, the recommended one first."""
    name, tasks = ("accuracy", one.tested) if one.tested else (CRITERION, one.tasks)
    return [m for m in one.ordered if m.mean(name, tasks) is not None and not m.errors]


def advice(one: Comparison, committed: Sequence[Comparison]) -> str:
    """Which method to use, how certain that is, and what it costs: one sentence."""
    able = ranked(one)
    if not able:
        return "No method can be recommended: none finished on every task."
    best = able[0]
    how = _sure(one, best, able[1:]) if one.tested else _guessed(one, best, able[1:], committed)
    return f"Take {best.label}: {how}; {_cost(one, best)}.{_use(best)}"


def _sure(one: Comparison, best: Method, others: Sequence[Method]) -> str:
    mean = best.mean("accuracy", one.tested)
    gap = one.gain(best)
    text = f"{mean:.1f} % on average over {len(one.tested)} tasks" if len(one.tested) > 1 else f"{mean:.1f} %"
    if best.method == BASELINE:
        text += ", and no method is better than source-only training" if others else ""
    elif gap is not None:
        text += f", {gap.effect:+.1f} points over source-only ({_doubt(gap)})"
    if others:
        second = one.gain(best, others[0])
        if second and second.effect > 0:
            sure = " beyond doubt" if second.low > 0 else ", which is not sure"
            text += f", {second.effect:.1f} points ahead of {others[0].label}{sure}"
        elif second:
            text += f", level with {others[0].label}"
    return text


def _doubt(gap: Gap) -> str:
    if gap.n == 1:
        return "one seed, so the uncertainty is unknown; SEEDS=3 shows it"
    return f"95 % interval {gap.low:+.1f} to {gap.high:+.1f}, {gap.n} seeds"


def _guessed(one: Comparison, best: Method, others: Sequence[Method], committed: Sequence[Comparison]) -> str:
    known = trust(committed, CRITERION)
    name = CRITERIA[CRITERION]
    value = one.judged(best)
    tied = [other for other in others if one.judged(other) == value]
    if tied:
        return (
            f"it is the fastest of the {len(tied) + 1} methods with the best {name}, {value:.{DIGITS}f}, which cannot "
            "tell these apart: label some target images before relying on it"
        )
    if known is None:
        return f"it has the best {name}, which is a guess until some target images are labelled"
    worth = (
        "a fair guide" if known.correlation > 0.6 else "a weak guide" if known.correlation > 0.3 else "hardly a guide"
    )
    return (
        f"it has the best {name}, {worth} without labels (rank correlation {known.correlation:+.2f} with accuracy "
        "where labels are known): label some target images before relying on it"
    )


def _cost(one: Comparison, best: Method) -> str:
    own = fmean(best.values["seconds"].values())
    if one.baseline is None or one.baseline is best or not one.baseline.values["seconds"]:
        return f"it takes {own:.1f} s per training"
    base = fmean(one.baseline.values["seconds"].values())
    return f"it takes {own:.1f} s per training, source-only {base:.1f}"


def _use(best: Method) -> str:
    if not best.networks:
        return ""
    network = shlex.quote(next(iter(best.networks.values())))
    return f"  It classifies further images by: python -m benchmarks predict {network} FOLDER"
