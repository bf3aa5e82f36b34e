"""Reading the tidy CSV files: one row per cell, selection rule and metric.

The schema is described in ``results/README.md``.  Files are read strictly, because a table that is built from a
half-understood file looks exactly like a right one.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from benchmarks.machine.errors import UserError
from benchmarks.records import replicates
from benchmarks.records.files import numbered_rows
from benchmarks.records.schema import RESULTS
from benchmarks.records.store import read_specs

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
"""Selection rule -> how a table names it; the headline first."""

IDENTITY = (*RESULTS[: RESULTS.index("metric") + 1], "device")
"""Columns that no two rows of one file share all of."""

COMMITTED = "committed"
LOCAL = "this machine"


class Group(NamedTuple):
    """What one table is about.  Nothing is ever averaged over two of these."""

    dataset: str
    protocol: str
    backbone: str
    track: str


def number(text: str, name: str, path: Path, line: int) -> float:
    """The finite number that ``text`` holds.

    Raises:
        UserError: it holds none; the message names file and line.
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

    Raises:
        UserError: a malformed row, or two rows for the same cell, selection and metric; names file and line.
    """
    rows: list[dict[str, str | int | float]] = []
    seen: dict[tuple[str, ...], int] = {}
    for line, fields in numbered_rows(path, RESULTS):
        rows.append(_checked(fields, path, line))
        key = tuple(fields[name] for name in IDENTITY)
        if key in seen:
            raise UserError(f"{path}, line {line}: the same cell, selection and metric as in line {seen[key]}.")
        seen[key] = line
    return pd.DataFrame(rows, columns=list(RESULTS)).astype({"seed": int, "value": float})


class Failure(NamedTuple):
    """A cell that ended in an error on this machine."""

    group: Group
    method: str
    task: str
    seed: int
    error: str


def failures(runs: Path) -> list[Failure]:
    """What ended in an error and has not been run well since.

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
            found.append(Failure(group, spec["method"], spec["task"], spec["seed"], note["error"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is not a readable failure note ({error}); delete it and run again.") from error
    return found


def files(paper: str, experiment: str, runs: Path | None, results: Path) -> dict[str, Path]:
    """Origin (``COMMITTED``, ``LOCAL``) -> file, for the files that exist; ``runs`` None leaves this machine's out."""
    places = {COMMITTED: results / paper / f"{experiment}.csv"}
    if runs is not None:
        places[LOCAL] = runs / "tables" / paper / f"{experiment}.csv"
    return {origin: path for origin, path in places.items() if path.is_file()}


def load(paths: dict[str, Path]) -> pd.DataFrame:
    """The rows of several files under one another, with three further columns.

    ``origin``; and ``first`` and ``planned``: replicates of the first stage that fixed the number of them, and that
    number; 0 if none did.
    """
    frames = [read(path).assign(origin=origin, first=0, planned=0) for origin, path in paths.items()]
    if not frames:
        return pd.DataFrame(columns=[*RESULTS, "origin", "first", "planned"])
    whole = pd.concat(frames, ignore_index=True)
    if COMMITTED in paths:
        folder = paths[COMMITTED].parent
        for group, fixed in replicates.of_experiment(folder.parent, folder.name, paths[COMMITTED].stem).items():
            whole.loc[_in_group(whole, Group(*group)) & (whole["origin"] == COMMITTED), ["first", "planned"]] = fixed
    return whole


OWN, COMMON = "folder:", "#common"
"""How the name of a user's own images begins, and ends where only common classes are used (``datasets.names``)."""


def is_own(dataset: str) -> bool:
    """Whether a data set is a user's own images."""
    return dataset.startswith(OWN)


def short(dataset: str) -> str:
    """How a title calls a data set: a folder by its own name."""
    if not is_own(dataset):
        return dataset
    words = " (common classes)" if dataset.endswith(COMMON) else ""
    return f"{Path(dataset.removeprefix(OWN).removesuffix(COMMON)).name}{words}"


def named(text: str) -> tuple[str, ...]:
    """The data sets that a text names, parted by blanks; the paths of folders may hold blanks themselves."""
    if OWN not in text:
        return tuple(text.split())
    from datasets.names import parted  # the one thing that is asked of that room, and only of a user's own images

    return parted(text)


def of_papers(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows on data sets that papers are about: all but those on a user's own images."""
    return frame[~frame["dataset"].astype(str).str.startswith(OWN)]


def plain(frame: pd.DataFrame, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Some columns row by row; pandas itself walks through text several times as slowly."""
    return zip(*(frame[name].tolist() for name in columns), strict=True)


def groups(frame: pd.DataFrame) -> list[Group]:
    """The tables that the rows make up, in order of appearance."""
    keys = frame[list(Group._fields)].drop_duplicates()
    return [Group(*map(str, key)) for key in keys.itertuples(index=False)]


def is_of(dataset: str, wanted: Sequence[str]) -> bool:
    """Whether a data set is one of those named, or the subset of one: a subset's name ends with its size."""
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
    """What is recorded of the cells of some rows, here or beside the committed results: hash -> spec and versions.

    Raises:
        UserError: a record or a file of specs that is damaged.
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
