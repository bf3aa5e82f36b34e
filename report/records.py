"""Reading the tidy CSV files, one row per cell, selection rule and metric, and the published numbers beside them.

The schema is described in ``results/README.md``.  Files are read strictly, because a table built from a half-understood
file looks exactly like a correct one.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from benchmarks.machine.errors import UserError
from benchmarks.records import replicates
from benchmarks.records.files import numbered_rows
from benchmarks.records.schema import PUBLISHED, RESULTS
from benchmarks.records.store import read_specs

PROTOCOLS = ("full", "down-sampled", "supervised", "semi-supervised", "semi-supervised-random")
TRACKS = ("frozen", "late", "finetune")
"""In the order of tables."""
SELECTIONS = {
    "last": "last iterate",
    "entropy": "lowest target entropy",
    "source": "highest held-out source accuracy",
    "iwcv": "lowest importance-weighted risk (IWCV)",
    "dev": "lowest deep embedded validation risk (DEV)",
    "snd": "highest soft neighbourhood density (SND)",
    "oracle": "oracle: uses target labels, not a result",
    "ten-best": "mean of the ten best epochs: uses test labels, a mild oracle, not a result",
}
"""Selection rule -> its name in tables; the headline first."""

IDENTITY = (*RESULTS[: RESULTS.index("metric") + 1], "device")
"""Columns that together are unique to each row of a file."""

COMMITTED = "committed"
LOCAL = "this machine"


class Group(NamedTuple):
    """What one table is about.  Nothing is ever averaged over two of these."""

    dataset: str
    protocol: str
    backbone: str
    track: str


def number(text: str, name: str, path: Path, line: int) -> float:
    """The finite number in ``text``.

    Raises:
        UserError: there is none; the message names file and line.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{path}, line {line}: {name} is {text!r}, expected a finite number.")
    return value


def _checked(row: dict[str, str], path: Path, line: int) -> dict[str, str | int | float]:
    """The row with ``seed`` as int and ``value`` as float; ``n_test`` and ``seconds`` may be empty."""
    for name in ("method", "variant", "dataset", "protocol", "task", "backbone", "track", "metric"):
        if not row[name]:
            raise UserError(f"{path}, line {line}: {name} is empty.")
    if row["selection"] not in SELECTIONS:
        raise UserError(
            f"{path}, line {line}: unknown selection {row['selection']!r}; there are: {', '.join(SELECTIONS)}."
        )
    value = number(row["value"], "value", path, line)
    if row["metric"] == "accuracy" and not 0 <= value <= 100:
        raise UserError(f"{path}, line {line}: accuracy {value:g} is not a percentage.")
    for name in ("n_test", "seconds"):
        if row[name]:
            number(row[name], name, path, line)
    try:
        seed = int(row["seed"])
    except ValueError:
        raise UserError(f"{path}, line {line}: seed is {row['seed']!r}, expected a whole number.") from None
    return {**row, "seed": seed, "value": value}


def read(path: Path) -> pd.DataFrame:
    """All rows of a results file: ``RESULTS``, ``seed`` int, ``value`` float, everything else text.

    An unchanged file is read only once per process; the returned frame must not be modified.

    Raises:
        UserError: a malformed row, or two rows for the same cell, selection and metric; names file and line.
    """
    return _read(path, _state(path))


_State = tuple[str, int, int]


def _state(path: Path) -> _State | None:
    """Whole path, time of the last change and size of a file; None if there is none."""
    if not path.is_file():
        return None
    state = path.stat()
    return str(path.absolute()), state.st_mtime_ns, state.st_size


@functools.lru_cache(maxsize=256)
def _read(path: Path, _state: _State | None) -> pd.DataFrame:
    return _rows(path)


def _rows(path: Path) -> pd.DataFrame:
    rows: list[dict[str, str | int | float]] = []
    seen: dict[tuple[str, ...], int] = {}
    for line, fields in numbered_rows(path, RESULTS):
        rows.append(_checked(fields, path, line))
        key = tuple(fields[name] for name in IDENTITY)
        if key in seen:
            raise UserError(f"{path}, line {line}: the same cell, selection and metric as in line {seen[key]}.")
        seen[key] = line
    # Text as Python's own: pandas' takes a third longer over a report, as its rows are mostly read one by one.
    return pd.DataFrame(rows, columns=list(RESULTS), dtype=object).astype({"seed": int, "value": float})


class Failure(NamedTuple):
    """A cell that ended in an error on this machine."""

    group: Group
    method: str
    task: str
    seed: int
    holdout: float
    """Share of the labelled source that it held out."""
    error: str


def failures(runs: Path) -> list[Failure]:
    """Cells that ended in an error and have not finished since.

    Raises:
        UserError: a damaged note.
    """
    found = []
    for path in sorted((runs / "failed").glob("[0-9a-f]*.json")):
        if (runs / "cells" / path.name).is_file():
            continue
        try:
            note = json.loads(path.read_text(encoding="utf-8"))
            spec = note["spec"]
            group = Group(*(spec[name] for name in Group._fields))
            found.append(Failure(group, spec["method"], spec["task"], spec["seed"], spec["holdout"], note["error"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is not a readable failure note ({error}); delete it and run again.") from error
    return found


def files(paper: str, experiment: str, runs: Path | None, results: Path) -> dict[str, Path]:
    """Origin (``COMMITTED``, ``LOCAL``) -> file, for existing files; ``runs`` None leaves this machine's out."""
    places = {COMMITTED: results / paper / f"{experiment}.csv"}
    if runs is not None:
        places[LOCAL] = runs / "tables" / paper / f"{experiment}.csv"
    return {origin: path for origin, path in places.items() if path.is_file()}


def load(paths: dict[str, Path]) -> pd.DataFrame:
    """The rows of several files concatenated, with three further columns.

    ``origin``; and ``first`` and ``planned``: the number of replicates of the first stage that fixed their total, and
    that total; 0 if none did.  Unchanged files give the same frame, which must not be modified.
    """
    if not paths:
        return pd.DataFrame(columns=[*RESULTS, "origin", "first", "planned"])
    committed = paths.get(COMMITTED)
    fixed = _state(replicates.path(committed.parent.parent)) if committed else None
    return _load(tuple((origin, path, _state(path)) for origin, path in paths.items()), fixed)


@functools.lru_cache(maxsize=256)
def _load(files: tuple[tuple[str, Path, _State | None], ...], _fixed: _State | None) -> pd.DataFrame:
    whole = pd.concat(
        [read(path).assign(origin=origin, first=0, planned=0) for origin, path, _ in files], ignore_index=True
    )
    for path in (path for origin, path, _ in files if origin == COMMITTED):
        for group, fixed in replicates.of_experiment(path.parent.parent, path.parent.name, path.stem).items():
            whole.loc[_in_group(whole, Group(*group)) & (whole["origin"] == COMMITTED), ["first", "planned"]] = fixed
    return whole


OWN, COMMON = "folder:", "#common"
"""Prefix of the name of a user's own images, and suffix if only common classes are used (``datasets.names``)."""


def is_own(dataset: str) -> bool:
    """Whether a data set is a user's own images."""
    return dataset.startswith(OWN)


def short(dataset: str) -> str:
    """Name of a data set in a title: a folder by its own name."""
    if not is_own(dataset):
        return dataset
    words = " (common classes)" if dataset.endswith(COMMON) else ""
    return f"{Path(dataset.removeprefix(OWN).removesuffix(COMMON)).name}{words}"


def named(text: str) -> tuple[str, ...]:
    """The data sets named in a text, separated by spaces; paths of folders may contain spaces themselves."""
    if OWN not in text:
        return tuple(text.split())
    from datasets.names import parted  # the only import from that package, and only for a user's own images

    return parted(text)


def of_papers(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows on data sets that papers are about: all but those on a user's own images."""
    return frame[~frame["dataset"].astype(str).str.startswith(OWN)]


def plain(frame: pd.DataFrame, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Some columns row by row; pandas itself is several times slower at iterating over text."""
    return zip(*(frame[name].tolist() for name in columns), strict=True)


def groups(frame: pd.DataFrame) -> list[Group]:
    """The tables that the rows form, in order of appearance."""
    return [Group(*map(str, key)) for key in dict.fromkeys(plain(frame, Group._fields))]


def is_of(dataset: str, wanted: Sequence[str]) -> bool:
    """Whether a data set is one of those named, or a subset of one: a subset's name ends with its size."""
    whole = re.sub(r"-\d+$", "", dataset)
    return dataset in wanted or whole in wanted


def of_group(frame: pd.DataFrame, group: Group) -> pd.DataFrame:
    """The rows of one table."""
    return frame[_in_group(frame, group)]


def _in_group(frame: pd.DataFrame, group: Group) -> pd.Series[bool]:
    mask = pd.Series(True, index=frame.index)
    for name, value in group._asdict().items():
        mask &= frame[name] == value
    return mask


def kept(frames: Iterable[pd.DataFrame], runs: Path | None, results: Path) -> dict[str, dict[str, Any]]:
    """What is recorded about the cells of some rows, here or beside the committed results: hash -> spec and versions.

    Raises:
        UserError: a damaged record or file of specs.
    """
    found: dict[str, dict[str, Any]] = {}
    for frame in frames:
        for paper, experiment in frame[["paper", "experiment"]].drop_duplicates().itertuples(index=False, name=None):
            found |= read_specs(results / str(paper) / "specs" / f"{experiment}.json")
        for cell in map(str, frame["cell"].unique()):
            path = runs / "cells" / f"{cell}.json" if runs is not None else None
            if path is None or not path.is_file():
                continue
            try:
                record = json.loads(path.read_text(encoding="utf-8"))
                found[cell] = {"spec": record["spec"], "versions": record["versions"]}
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise UserError(f"{path} is not a readable record ({error}); delete it and run again.") from error
    return found


# ------------------------------------------------------------------------------------------- published numbers

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

DAN's Table 3 uses one name for its two halves, so the table's name must tell them apart (``Experiment.published``).
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
    """In words: its provenance and where it was read."""

    @property
    def mark(self) -> str:
        """An asterisk if the number is unverified."""
        return "*" if self.provenance == "unverified" else ""


@dataclass(frozen=True)
class PublishedDifference:
    """The difference of two published numbers, in percentage points."""

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
        """The first of a method's given names that this table has; None if it has none of them."""
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


def published_tasks(tables: Iterable[PublishedTable], group: Group) -> int:
    """Number of tasks in the largest published table on the same data; 0 if there is none."""
    on_same = (table for table in tables if same_data(table, group))
    return max((len([task for task in table.tasks if task != AVERAGE]) for table in on_same), default=0)


@functools.lru_cache(maxsize=2)
def _published_rows(path: Path, _changed: int, _size: int) -> list[tuple[int, dict[str, str]]]:
    """All rows of the file in one of its states: every table asks for some of them."""
    return list(numbered_rows(path, PUBLISHED))


def read_published(path: Path, paper: str, names: Sequence[str]) -> list[PublishedTable]:
    """The tables ``names`` of ``paper``, each split by backbone and data set; none if the file does not exist.

    A number given alike by several rows counts with the best provenance.

    Raises:
        UserError: a malformed row, an unknown provenance or two values for one number; names file and line.
    """
    if not path.is_file():
        return []
    found: dict[tuple[str, str, str], dict[str, dict[str, Accuracy]]] = {}
    state = path.stat()
    for line, row in _published_rows(path, state.st_mtime_ns, state.st_size):
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
    """The number in a row of the file.

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
