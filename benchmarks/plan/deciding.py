"""The replicates that tables need to decide their claims, as a plan: rows of ``results/replicates.csv``."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping

from benchmarks.machine import host
from benchmarks.machine.errors import UserError
from benchmarks.plan import plan
from benchmarks.plan.plan import Options, Plan
from benchmarks.records import files, replicates
from benchmarks.records.replicates import Replicates
from benchmarks.records.schema import RESULTS
from datasets import registry
from datasets.store import Location


def wanted(name: str, options: Options) -> list[Replicates]:
    """The rows of the tables that ``reproduce`` would fill with these options.

    Raises:
        UserError: there is no such paper, or no row for what is named.
    """
    kept = replicates.read(host.ROOT / "results")
    found: dict[tuple[str, ...], Replicates] = {}
    for paper, its in plan.wanted(name, options):
        named = {*its.datasets, *(registry.suite(dataset).subset for dataset in its.datasets)}
        for experiment in plan.chosen_experiments(paper, its):
            place = (paper, experiment.name, its.backbone or experiment.backbone, its.track or experiment.track)
            rows = [row for row in kept if (row.paper, row.experiment, row.backbone, row.track) == place]
            found |= {row.table: row for row in rows if not its.datasets or row.dataset in named}
    if not found:
        raise UserError(f"nothing of {name} is to be decided there; `python -m report decide {name}` says what is.")
    return list(found.values())


def options_of(row: Replicates, options: Options, seeds: int) -> tuple[str, Options]:
    """Paper and options of a table's plan, for the tasks that it has; for all if nothing is committed."""
    place = {"experiments": (row.experiment,), "datasets": (row.dataset,), "tasks": tasks_of(row)}
    return row.paper, dataclasses.replace(options, **place, seeds=seeds, backbone=row.backbone, track=row.track)  # type: ignore[arg-type]


def tasks_of(row: Replicates) -> tuple[str, ...]:
    """The tasks of a committed table; others, whose data may be out of reach, are not part of what it decides."""
    path = host.ROOT / "results" / row.paper / f"{row.experiment}.csv"
    names = ("dataset", "protocol", "backbone", "track", "task")
    place = (row.dataset, row.protocol, row.backbone, row.track)
    return tuple(
        dict.fromkeys(task for *where, task in files.read_fields(path, RESULTS, names) if tuple(where) == place)
    )


def make(
    rows: Iterable[Replicates],
    options: Options,
    location: Location,
    committed: Mapping[tuple[str, str], Collection[str]],
) -> Plan:
    """The plan of the replicates that tables should have by now.

    If the number is open, or cells of the first stage would be different ones today, because of their data, a setting
    or a revision, that is the first stage only: its spread then fixes the number.

    Args:
        rows: the tables.
        options: how they are run.
        location: the data.
        committed: paper and experiment -> hashes of committed cells.

    Raises:
        UserError, DataError: part of it cannot be planned.
    """
    every = []
    for row in rows:
        first = options_of(row, options, row.first)
        cells = {cell.spec.hash for cell in plan.of([first], location).cells}
        known = row.planned and cells <= set(committed.get((row.paper, row.experiment), ()))
        every.append(options_of(row, options, row.planned) if row.planned and known else first)
    return plan.of(every, location)
