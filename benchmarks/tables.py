"""Finished records as tidy tables: one row per cell, selection rule and metric."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.errors import UserError
from benchmarks.plan import Plan
from benchmarks.records import Record, Store, write_atomically

COLUMNS = (
    "paper,experiment,method,variant,dataset,protocol,task,split,seed,backbone,track,setting,"
    "selection,metric,value,n_test,seconds,device,torch,commit,cell"
).split(",")

PLACE = "paper,experiment,method,variant,dataset,protocol,task,split,seed,backbone,track,setting,device".split(",")
"""Columns that say which place of a table a row fills; a newer cell replaces an older one in the same place."""


def committed_path(paper: str, experiment: str) -> Path:
    """The committed table of an experiment."""
    return machine.ROOT / "results" / paper / f"{experiment}.csv"


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a table; none if the file does not exist.

    Raises:
        UserError: its columns are not ``COLUMNS``.
    """
    if not path.exists():
        return []
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    if reader.fieldnames != COLUMNS:
        raise UserError(f"{path} must have the columns {','.join(COLUMNS)}.")
    return rows


def committed_cells(paper: str) -> set[str]:
    """Hashes of the cells whose results are committed for a paper."""
    folder = machine.ROOT / "results" / paper
    return {row["cell"] for path in sorted(folder.glob("*.csv")) for row in read(path)}


def rows_of(plan: Plan, store: Store) -> Iterator[dict[str, str]]:
    """The rows of every finished cell of a plan."""
    for cell in plan.cells:
        if not store.has(cell.spec.hash):
            continue
        record = store.read(cell.spec.hash)
        for use in cell.uses:
            place = {
                "paper": use.paper,
                "experiment": use.experiment,
                "method": cell.spec.method,
                "variant": use.row.variant,
                "setting": use.setting,
            }
            for value in record.values:
                yield _row(record, place, value)


def _row(record: Record, place: Mapping[str, str], value: Mapping[str, Any]) -> dict[str, str]:
    spec = record.spec
    same = ("dataset", "protocol", "task", "split", "seed", "backbone", "track")
    row: dict[str, Any] = {
        **place,
        **{name: spec[name] for name in same},
        "selection": value["selection"],
        "metric": value["metric"],
        "value": f"{value['value']:.6g}",
        "n_test": record.n_test,
        "seconds": record.seconds,
        "device": record.device,
        "torch": record.versions["torch"],
        "commit": record.commit,
        "cell": record.cell,
    }
    return {column: str(row[column]) for column in COLUMNS}


def merge(path: Path, new: Iterable[dict[str, str]]) -> int:
    """Put rows into a table: a place that new rows fill loses its old ones, every other row stays.

    Returns the number of cells that the table then holds.
    """
    new = list(new)
    filled = {_place(row) for row in new}
    rows = [row for row in read(path) if _place(row) not in filled] + new
    rows.sort(key=lambda row: (*_place(row)[:7], int(row["split"]), int(row["seed"]), *_place(row)[9:], row["metric"]))
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())
    return len({row["cell"] for row in rows})


def _place(row: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(row[column] for column in PLACE)


def write_all(plan: Plan, store: Store, *, committed: bool) -> dict[Path, int]:
    """Merge a plan's finished cells into the committed tables, or into those of the runs folder.

    Returns the tables written and the number of cells in each.
    """
    by_experiment: dict[str, list[dict[str, str]]] = {}
    for row in rows_of(plan, store):
        by_experiment.setdefault(row["experiment"], []).append(row)
    written = {}
    for experiment, rows in by_experiment.items():
        path = committed_path(plan.paper, experiment) if committed else store.table_path(plan.paper, experiment)
        written[path] = merge(path, rows)
    return written
