"""Published numbers, and how their names for tasks and data sets map to ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.machine.errors import UserError
from benchmarks.records.files import numbered_rows
from report.records import Group, number

COLUMNS = (
    *(
        "paper",
        "run_by",
        "table",
        "method",
        "backbone",
        "dataset",
        "task",
        "accuracy",
        "spread",
        "provenance",
        "source",
    ),
)
PROVENANCE = {
    "paper": "read in the paper",
    "authors-logs": "computed from logs that the authors released",
    "quoted": "quoted by a review or a later paper",
    "unverified": "without a source, not checked against the paper: not to be taken as its word",
    "reimplementation": "somebody else's own run",
}
"""Value of the column ``provenance`` -> what it means."""
WORTH = ("paper", "authors-logs", "quoted", "reimplementation", "unverified")
"""Provenances, the best first."""

DATASETS = {
    ("office31", "full"): ("Office-31",),
    ("office31", "down-sampled"): (
        "Office-31 (down-sampled source)",
        "Office-31 (20/8 src per class, 5 splits, std err)",
    ),
    ("office31", "supervised"): (
        "Office-31 (down-sampled source)",
        "Office-31 (20/8 src per class, 3 tgt labels per class, 5 splits, std err)",
        "Office-31 supervised (3 tgt labels per class)",
    ),
    ("office31", "semi-supervised"): ("Office-31 semi-supervised (15 tgt classes labelled; tested on 16 held-out)",),
    ("office-caltech10", "full"): ("Office-10+Caltech-10",),
    ("office-home", "full"): ("Office-Home",),
    ("imageclef-da", "full"): ("ImageCLEF-DA",),
}
"""Our data set and protocol -> its names in ``published.csv``.

DAN's Table 3 gives its two halves one name, so the name of the table has to tell them apart (``Experiment.published``).
"""

DOMAINS = {
    **{"amazon": "A", "webcam": "W", "dslr": "D", "caltech": "C"},
    **{"imagenet": "I", "pascal": "P", "bing": "B"},
    **{"art": "Ar", "clipart": "Cl", "product": "Pr", "real": "Rw"},
}
AVERAGE = "Avg"


@dataclass(frozen=True)
class Accuracy:
    """One published number, in percent."""

    value: float
    spread: float | None
    """As the paper states it (mostly a standard error or deviation over runs); None if it states none."""
    provenance: str
    where: str = field(default="", compare=False)
    """In words: what it is worth and where it was read."""

    @property
    def mark(self) -> str:
        """An asterisk if the number is unverified."""
        return "*" if self.provenance == "unverified" else ""


@dataclass(frozen=True)
class PublishedDifference:
    """The difference of two published numbers, in percent points."""

    value: float
    mark: str
    where: str = field(compare=False)


@dataclass(frozen=True)
class PublishedTable:
    """A table of a paper on one backbone and data set."""

    name: str
    backbone: str
    dataset: str
    tasks: tuple[str, ...]
    """In the order of the file; the average, if there is one, last."""
    rows: dict[str, dict[str, Accuracy]]
    """Method as published -> task -> accuracy."""

    def name_of(self, names: str | Sequence[str] | None) -> str | None:
        """The first of some names of a method that this table has; None if it has none of them."""
        known = (names,) if isinstance(names, str) else names or ()
        return next((name for name in known if name in self.rows), None)

    def difference(self, method: str | None, baseline: str | None, task: str) -> PublishedDifference | None:
        """Published difference over the paper's own baseline; None if either number is missing."""
        better, worse = (self.rows.get(name or "", {}).get(task) for name in (method, baseline))
        if better is None or worse is None or method == baseline:
            return None
        where = f"{better.value:g} of {method} less {worse.value:g} of {baseline}; {better.where}"
        return PublishedDifference(better.value - worse.value, better.mark or worse.mark, where)


def task_name(task: str) -> str | None:
    """``A->W`` for ``amazon:webcam``, ``A,D->W`` for ``amazon+dslr:webcam``; None for other domains."""
    sources, _, target = task.partition(":")
    initials = [DOMAINS.get(domain) for domain in sources.split("+")]
    if target not in DOMAINS or None in initials:
        return None
    return f"{','.join(filter(None, initials))}->{DOMAINS[target]}"


def same_data(table: PublishedTable, group: Group) -> bool:
    """Whether our table and the published one are about the same data set under the same protocol."""
    return table.dataset in DATASETS.get((group.dataset, group.protocol), ())


def read(path: Path, paper: str, names: Sequence[str]) -> list[PublishedTable]:
    """The tables ``names`` of ``paper``, each split by backbone and data set; none if the file does not exist.

    A number that several rows give alike is that of the best source.

    Raises:
        UserError: a malformed row, an unknown provenance or two values of one number; names file and line.
    """
    if not path.is_file():
        return []
    found: dict[tuple[str, str, str], dict[str, dict[str, Accuracy]]] = {}
    for line, row in numbered_rows(path, COLUMNS):
        if row["paper"] != paper or row["table"] not in names:
            continue
        accuracy = accuracy_of(row, path, line)
        methods = found.setdefault((row["table"], row["backbone"], row["dataset"]), {})
        tasks = methods.setdefault(row["method"], {})
        earlier = tasks.get(row["task"])
        if earlier is not None and earlier.value != accuracy.value:
            raise UserError(f"{path}, line {line}: {row['method']} on {row['task']} is given twice.")
        if earlier is None or WORTH.index(accuracy.provenance) < WORTH.index(earlier.provenance):
            tasks[row["task"]] = accuracy
    ordered = sorted(found.items(), key=lambda item: names.index(item[0][0]))
    return [PublishedTable(*key, _tasks(methods), methods) for key, methods in ordered]


def accuracy_of(row: dict[str, str], path: Path, line: int) -> Accuracy:
    """The number of a row of the file.

    Raises:
        UserError: it has none, or an unknown provenance; names file and line.
    """
    if row["provenance"] not in PROVENANCE:
        known = ", ".join(PROVENANCE)
        raise UserError(f"{path}, line {line}: unknown provenance {row['provenance']!r}; there are: {known}.")
    spread = number(row["spread"], "spread", path, line) if row["spread"] else None
    return Accuracy(number(row["accuracy"], "accuracy", path, line), spread, row["provenance"], _where(row, line))


def _where(row: dict[str, str], line: int) -> str:
    ran = f", run by {row['run_by']}" if row["run_by"] else ""
    return f"{row['table']}, {row['method']}{ran}: {PROVENANCE[row['provenance']]} ({row['source']}); line {line}"


def _tasks(methods: dict[str, dict[str, Accuracy]]) -> tuple[str, ...]:
    tasks = dict.fromkeys(task for row in methods.values() for task in row)
    return (*(task for task in tasks if task != AVERAGE), *(task for task in tasks if task == AVERAGE))
