"""How long cells may take, from what has been run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from benchmarks.export import tables
from benchmarks.machine.errors import UserError
from benchmarks.plan.plan import Cell
from benchmarks.records.spec import canonical
from benchmarks.records.store import Store


def expected_seconds(cells: Iterable[Cell], store: Store) -> dict[str, float]:
    """Hash -> expected seconds, from records of the same method, data set, recipe, backbone and device.

    Where there are none, from the committed results, which another machine may have made.
    """
    known: dict[tuple[str, ...], list[float]] = {}
    for finished in store.cells():
        with contextlib.suppress(UserError):  # a record of another cell that is damaged costs an estimate, no more
            record = store.read(finished)
            known.setdefault(_kind(record.spec), []).append(record.seconds)
    kinds = {cell.spec.hash: _kind(vars(cell.spec)) for cell in cells}
    if any(kind not in known for kind in kinds.values()):
        committed: dict[tuple[str, ...], list[float]] = {}
        for spec, seconds in tables.committed_times():
            committed.setdefault(_kind(spec), []).append(seconds)
        known = committed | known
    return {cell: sum(known[kind]) / len(known[kind]) for cell, kind in kinds.items() if kind in known}


def _kind(spec: dict[str, object]) -> tuple[str, ...]:
    names = ("method", "dataset", "recipe", "backbone", "track", "device", "threads")
    return tuple(canonical(spec[name]) for name in names)
