"""Records of cells that one table lacks and another has committed: papers share baselines, experiments even more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.export import tables
from benchmarks.machine import host
from benchmarks.plan.plan import Cell
from benchmarks.records.store import Record, Store, read_specs


def reuse_committed(cells: Iterable[Cell], store: Store) -> int:
    """Write a record for each cell committed anywhere, from its committed rows and spec.

    It says by its commit, versions and time in seconds where it was computed.  It has no history, so a cell whose
    experiments show curves, matrices or maps, or whose network is kept, is left to be run.

    Args:
        cells: unfinished cells.
        store: receives the records.

    Returns:
        The number of records.

    Raises:
        UserError: a committed file is damaged, or a record cannot be written.
    """
    wanted = {cell.spec.hash for cell in cells if not (cell.keep or cell.tsne or cell.course)}
    reused: set[str] = set()
    for path in sorted((host.ROOT / "results").glob("*/specs/*.json")):
        known = read_specs(path)
        found = (wanted - reused) & known.keys()
        rows_of: dict[str, list[dict[str, str]]] = {}
        for row in tables.read(tables.committed_path(path.parent.parent.name, path.stem)) if found else []:
            if row["cell"] in found:
                rows_of.setdefault(row["cell"], []).append(row)
        for cell, rows in rows_of.items():
            store.write(_record(rows, known[cell]))
        reused |= rows_of.keys()
    return len(reused)


def _record(rows: list[dict[str, str]], origin: Mapping[str, Any]) -> Record:
    """The record that committed rows came from, as far as they tell."""
    first = rows[0]
    single = [row for row in rows if "@" not in row["metric"]]  # the others come from a history or a matrix
    return Record(
        cell=first["cell"],
        spec=origin["spec"],
        values=[
            {"selection": row["selection"], "metric": row["metric"], "value": float(row["value"])} for row in single
        ],
        n_test=int(first["n_test"]),
        history=[],
        device=first["device"],
        versions=origin["versions"],
        seconds=float(first["seconds"]),
        commit=first["commit"],
    )
