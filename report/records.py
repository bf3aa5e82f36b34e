"""Reading the tidy CSV files: one row per cell, selection rule and metric.

The schema is described in ``results/README.md``.  Files are read strictly, because a table that is built from a
half-understood file looks exactly like a right one.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

COLUMNS = (
    *("paper", "experiment", "method", "variant", "dataset", "protocol", "task", "split", "seed", "backbone", "track"),
    *("setting", "selection", "metric", "value", "n_test", "seconds", "device", "torch", "commit", "cell"),
)
"""The schema, in order."""

CHOICES = (
    *("method", "parameter", "dataset", "backbone", "track", "value", "source_error", "two_sample_error"),
    *("criterion", "chosen", "cells", "tasks"),
)
"""The schema of ``choices.csv``."""

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

COMMITTED = "committed"
LOCAL = "this machine"

IDENTITY = (*COLUMNS[: COLUMNS.index("metric") + 1], "device")
"""Columns that no two rows of one file share all of."""


class ReportError(Exception):
    """A mistake of the user or in a file; the message is one sentence that says what to do about it."""


class Group(NamedTuple):
    """What one table is about.  Nothing is ever averaged over two of these."""

    dataset: str
    protocol: str
    backbone: str
    track: str


def numbered_rows(path: Path, columns: Iterable[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and fields of every row of a CSV file that has exactly ``columns`` in its header, in any order.

    Raises:
        ReportError: the file is unreadable, a column is missing or unknown, or a row has too few or too many fields.
    """
    wanted = set(columns)
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            header = set(reader.fieldnames or ())
            if missing := sorted(wanted - header):
                raise ReportError(f"{path}, line 1: missing column {', '.join(missing)}.")
            if unknown := sorted(header - wanted):
                raise ReportError(f"{path}, line 1: unknown column {', '.join(unknown)}.")
            for row in reader:
                if None in row or None in row.values():
                    raise ReportError(f"{path}, line {reader.line_num}: expected {len(wanted)} fields.")
                yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ReportError(f"{path} cannot be read as a CSV file: {error}.") from error


def number(text: str, name: str, path: Path, line: int) -> float:
    """The finite number that ``text`` holds.

    Raises:
        ReportError: it holds none; the message names file and line.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ReportError(f"{path}, line {line}: {name} is {text!r}, expected a finite number.")
    return value


def _checked(row: dict[str, str], path: Path, line: int) -> dict[str, str | int | float]:
    """The row with ``seed`` as int and ``value`` as float; ``n_test`` and ``seconds`` may be empty."""
    for name in ("method", "variant", "dataset", "protocol", "task", "backbone", "track", "metric"):
        if not row[name]:
            raise ReportError(f"{path}, line {line}: {name} is empty.")
    if row["selection"] not in SELECTIONS:
        raise ReportError(
            f"{path}, line {line}: unknown selection {row['selection']!r}; there are: {', '.join(SELECTIONS)}."
        )
    value = number(row["value"], "value", path, line)
    if row["metric"] == "accuracy" and not 0 <= value <= 100:
        raise ReportError(f"{path}, line {line}: accuracy {value:g} is not a percentage.")
    for name in ("n_test", "seconds"):
        if row[name]:
            number(row[name], name, path, line)
    try:
        seed = int(row["seed"])
    except ValueError:
        raise ReportError(f"{path}, line {line}: seed is {row['seed']!r}, expected a whole number.") from None
    return {**row, "seed": seed, "value": value}


def read(path: Path) -> pd.DataFrame:
    """All rows of a results file: ``COLUMNS``, ``seed`` int, ``value`` float, everything else text.

    Raises:
        ReportError: a malformed row, or two rows for the same cell, selection and metric; names file and line.
    """
    rows: list[dict[str, str | int | float]] = []
    seen: dict[tuple[str, ...], int] = {}
    for line, fields in numbered_rows(path, COLUMNS):
        rows.append(_checked(fields, path, line))
        key = tuple(fields[name] for name in IDENTITY)
        if key in seen:
            raise ReportError(f"{path}, line {line}: the same cell, selection and metric as in line {seen[key]}.")
        seen[key] = line
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"seed": int, "value": float})


def files(paper: str, experiment: str, runs: Path | None, results: Path) -> dict[str, Path]:
    """Origin (``COMMITTED``, ``LOCAL``) -> file, for the files that exist; ``runs`` None leaves this machine's out."""
    places = {COMMITTED: results / paper / f"{experiment}.csv"}
    if runs is not None:
        places[LOCAL] = runs / "tables" / paper / f"{experiment}.csv"
    return {origin: path for origin, path in places.items() if path.is_file()}


def load(paths: dict[str, Path]) -> pd.DataFrame:
    """The rows of several files under one another, with their ``origin`` as a further column."""
    frames = [read(path).assign(origin=origin) for origin, path in paths.items()]
    if not frames:
        return pd.DataFrame(columns=[*COLUMNS, "origin"])
    return pd.concat(frames, ignore_index=True)


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
    mask = pd.Series(True, index=frame.index)
    for name, value in group._asdict().items():
        mask &= frame[name] == value
    return frame[mask]


def kept(frames: Iterable[pd.DataFrame], runs: Path | None, results: Path) -> dict[str, dict[str, Any]]:
    """What is recorded of the cells of some rows, here or beside the committed results: hash -> spec and versions.

    Raises:
        ReportError: a record or a file of specs that is damaged.
    """
    found: dict[str, dict[str, Any]] = {}
    for frame in frames:
        for paper, experiment in frame[["paper", "experiment"]].drop_duplicates().itertuples(index=False, name=None):
            found |= _specs(results / str(paper) / "specs" / f"{experiment}.json")
        for cell in map(str, frame["cell"].unique()):
            path = runs / "cells" / f"{cell}.json" if runs is not None else None
            if path is None or not path.is_file():
                continue
            try:
                record = json.loads(path.read_text(encoding="utf-8"))
                found[cell] = {"spec": record["spec"], "versions": record["versions"]}
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise ReportError(f"{path} is not a readable record ({error}); delete it and run again.") from error
    return found


def _specs(path: Path) -> dict[str, dict[str, Any]]:
    """The committed specs of an experiment's cells; nothing if there is no file."""
    if not path.is_file():
        return {}
    try:
        data, *groups = json.loads(path.read_text(encoding="utf-8"))
        found = {}
        for group in groups:
            for cell, (task, split, seed, number, *needs) in group["cells"].items():
                own = {"task": task, "split": split, "seed": seed, "data": data[number]}
                started = {"needs": needs[0]} if needs else {}
                found[cell] = {"spec": {**group["spec"], **own, **started}, "versions": group["versions"]}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ReportError(f"{path} cannot be read ({error}); restore it.") from error
    return found
