"""Finished records as tidy tables: one row per cell, selection rule and metric."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.machine import host
from benchmarks.machine.errors import UserError
from benchmarks.plan import comparing, plan, settings
from benchmarks.plan.plan import Cell, Plan, Use
from benchmarks.records import files, schema
from benchmarks.records.store import Record, Spec, Store, canonical, export_specs, read_specs
from datasets import folders, registry
from datasets.errors import DataError
from datasets.store import Location
from methods import contract
from methods.contract import Experiment

TSNE_CELL = schema.TSNE[: schema.TSNE.index("cell") + 1]
"""Columns that say whose features a row of the t-SNE file holds."""

LEAST_ENTRY = 0.001
"""Smaller entries of matrices are left out of the tables; most entries are."""


def committed_path(paper: str, experiment: str, contributor: str = "") -> Path:
    """The committed table of an experiment, or a contributor's version of it."""
    results = host.ROOT / "results"
    return (results / "contributed" / contributor if contributor else results) / paper / f"{experiment}.csv"


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a table; none if the file does not exist.

    Raises:
        UserError: the file is damaged.
    """
    return files.read_csv(path, schema.RESULTS)


Committed = Mapping[tuple[str, str], Collection[str]]
"""Paper and experiment -> hashes of the cells whose results are committed in its table."""


def committed_cells(*papers: str) -> Committed:
    """What is committed of some papers; comparisons, which are not tables of theirs, are left out."""
    known = [paper for paper in papers if paper != comparing.NAME]
    paths = [path for paper in known for path in sorted((host.ROOT / "results" / paper).glob("*.csv"))]
    return {(path.parent.name, path.stem): {cell for cell, _ in _times(path)} for path in paths}


def _times(path: Path) -> list[tuple[str, ...]]:
    """Cell and seconds of every row of a table."""
    return files.read_fields(path, schema.RESULTS, ("cell", "seconds"))


def committed_times() -> Iterator[tuple[dict[str, Any], float]]:
    """Spec and seconds of every committed cell for which both are known."""
    for path in sorted((host.ROOT / "results").glob("*/specs/*.json")):
        table = committed_path(path.parent.parent.name, path.stem)
        seconds = {cell: float(taken) for cell, taken in _times(table)}
        for cell, origin in read_specs(path).items():
            if cell in seconds:
                yield origin["spec"], seconds[cell]


def is_committed(cell: Cell, committed: Committed) -> bool:
    """Whether every table that a cell fills has it."""
    return all(cell.spec.hash in committed.get((use.paper, use.experiment), ()) for use in cell.uses)


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
            for value in (*record.values, *_figures(record), *_curves(record, use), *_matrices(record, use)):
                yield _row(record, place, value)


def _figures(record: Record) -> Iterator[dict[str, Any]]:
    """What the method reports about its trained model, as values."""
    for name, value in record.diagnostics.items():
        yield {"selection": "last", "metric": name, "value": value}


def _curves(record: Record, use: Use) -> Iterator[dict[str, Any]]:
    """The training history's entries shown by the experiment: as curves, ``name@step``, or the last value."""
    experiment = experiment_of(use.paper, use.experiment)
    for epoch in record.history:
        for name in experiment.curve:
            if name in epoch:
                yield {"selection": "last", "metric": f"{name}@{epoch['step']:.0f}", "value": epoch[name]}
    for name in experiment.last:
        if name in record.history[-1]:
            yield {"selection": "last", "metric": name, "value": record.history[-1][name]}


def _matrices(record: Record, use: Use) -> Iterator[dict[str, Any]]:
    """The matrices shown by the experiment, ``name@row,column`` with class names; without small entries."""
    for name in experiment_of(use.paper, use.experiment).matrices:
        if name not in record.matrices:
            continue
        classes = registry.suite(record.spec["dataset"]).classes
        for label, row in zip(classes, record.matrices[name], strict=True):
            for other, value in zip(classes, row, strict=True):
                if abs(value) >= LEAST_ENTRY:
                    yield {"selection": "last", "metric": f"{name}@{label},{other}", "value": value}


def experiment_of(paper: str, name: str) -> Experiment:
    """An experiment of a paper by its name."""
    its = contract.papers().get(paper) or plan.paper(paper)
    return next(one for one in its.experiments if one.name == name)


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
    return {column: str(row[column]) for column in schema.RESULTS}


def merge(path: Path, new: Sequence[dict[str, str]], store: Store, location: Location) -> int:
    """Merge rows into a table.

    New rows replace old ones in the same slot.  A slot on the same line of the table is also dropped if its old cell
    would be a different one today, because a revision, a setting or the data have changed: one line never mixes two
    states of the suite.  Every other row stays.

    Args:
        path: the table.
        new: rows of finished cells.
        store: their records.
        location: the data, to find out what an old cell would be today.

    Returns:
        The number of cells in the table afterwards.
    """
    filled = {_slot(row) for row in new}
    today = {_line(row): row["cell"] for row in new}
    old = [row for row in read(path) if _slot(row) not in filled]
    beside = {row["cell"]: row for row in old if _line(row) in today}
    stale = {cell for cell, row in beside.items() if not _is_current(row, store.read(today[_line(row)]), location)}
    rows = [*(row for row in old if row["cell"] not in stale), *new]
    rows.sort(key=lambda row: (*_slot(row)[:7], int(row["split"]), int(row["seed"]), *_slot(row)[9:], row["metric"]))
    files.write_csv(path, schema.RESULTS, rows)
    return len({row["cell"] for row in rows})


def _is_current(row: Mapping[str, str], template: Record, location: Location) -> bool:
    """Whether a row's cell has the hash it would get today; True if the data to tell are not here.

    Args:
        row: an old row.
        template: the record of a new cell of the same line.
        location: the data.
    """
    spec = replace(Spec(**template.spec), task=row["task"], split=int(row["split"]), seed=int(row["seed"]))
    try:
        return plan.today(spec, location).spec.hash == row["cell"]
    except DataError:
        return True


def _slot(row: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(row[column] for column in schema.SLOT)


def _line(row: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(row[column] for column in schema.SLOT if column not in ("task", "split", "seed"))


def write_local(plan: Plan, store: Store, location: Location) -> dict[Path, int]:
    """Merge a plan's finished cells into the tables of the runs folder.

    Returns the tables written and the number of cells in each.
    """
    tables: dict[Path, list[dict[str, str]]] = {}
    for row in rows_of(plan, store):
        tables.setdefault(store.table_path(row["paper"], row["experiment"]), []).append(row)
    with _alone(store):
        _drop_outdated(plan, store)
        return {path: merge(path, rows, store, location) for path, rows in tables.items()}


@contextlib.contextmanager
def _alone(store: Store) -> Iterator[None]:
    """While another run writes tables in the same folder, this one waits: each keeps the rows of the other.

    Raises:
        UserError: the folder cannot be written.
    """
    lock = store.lock("tables")
    try:
        lock.acquire()
    except OSError as error:
        raise UserError(f"cannot write {lock.lock_file}: {error.strerror or error}; choose --runs.") from error
    try:
        yield
    finally:
        lock.release()


def _drop_outdated(plan: Plan, store: Store) -> None:
    """Remove from the local tables what planned cells should have replaced and did not, by a revision or a failure.

    A table then lacks a value rather than showing one that today's code did not give.
    """
    today = {_slot_of(use, cell): cell for cell in plan.cells for use in cell.uses}
    paths = dict.fromkeys(store.table_path(use.paper, use.experiment) for cell in plan.cells for use in cell.uses)
    for path in paths:
        rows = read(path)
        kept = [row for row in rows if not _is_outdated(row, today.get(_slot(row)[:-1]), store)]
        if len(kept) < len(rows):
            files.write_csv(path, schema.RESULTS, kept)


def _slot_of(use: Use, cell: Cell) -> tuple[str, ...]:
    """The slot that a cell fills in a place, without the device."""
    spec = cell.spec
    place = {"paper": use.paper, "experiment": use.experiment, "variant": use.row.variant, "setting": use.setting}
    return tuple(str({**vars(spec), **place}[name]) for name in schema.SLOT[:-1])


def _is_outdated(row: Mapping[str, str], cell: Cell | None, store: Store) -> bool:
    if cell is None:
        return False
    if row["cell"] == cell.spec.hash:
        return not store.has(row["cell"])
    return not store.has(row["cell"]) or store.read(row["cell"]).spec["device"] == cell.spec.device


def _is_wanted(dataset: str, datasets: Sequence[str]) -> bool:
    """Whether rows of a data set are exported: one of the named, or any if none is; never a user's own images."""
    return not dataset.startswith(folders.PREFIX) and (not datasets or dataset in datasets)


def export(
    paper: str,
    experiments: Sequence[str],
    datasets: Sequence[str],
    store: Store,
    location: Location,
    contributor: str = "",
) -> dict[Path, int]:
    """Merge tables, maps and specs of the runs folder into the committed ones: everything run here, with any options.

    Args:
        paper: whose tables.
        experiments: names of its experiments.
        datasets: which data sets; if empty, all but the user's own folders.
        store: the runs folder.
        location: the data.
        contributor: whose machine it is, for tables kept apart from the suite's own; empty for these.

    Returns:
        The tables written and the number of cells in each.
    """
    written = {}
    for experiment in experiments:
        local = read(store.table_path(paper, experiment))
        local = [row for row in local if not settings.is_explored(row["setting"])]
        rows = [row for row in local if _is_wanted(row["dataset"], datasets) and store.has(row["cell"])]
        if rows:
            path = committed_path(paper, experiment, contributor)
            written[path] = merge(path, rows, store, location)
            specs = path.parent / "specs" / f"{experiment}.json"
            export_specs(specs, {row["cell"] for row in read(path)}, {row["cell"] for row in rows}, store)
            drawn = path.parent / "maps" / path.name
            if experiment_of(paper, experiment).tsne and (count := _export_tsne(drawn, rows, store)):
                written[drawn] = count
    return written


def _export_tsne(path: Path, table: Sequence[dict[str, str]], store: Store) -> int:
    """Merge the maps of a table's cells into the committed file of its experiment.

    Args:
        path: the file; the maps of other cells in it stay, unless a new one replaces them.
        table: rows of results.
        store: where the maps are.

    Returns:
        The number of maps in the file afterwards; 0 if there is none.

    Raises:
        UserError: a map or the file is damaged, or the file cannot be written.
    """
    heads = {
        row["cell"]: {name: row[name] for name in TSNE_CELL} for row in table if store.tsne_path(row["cell"]).is_file()
    }
    if not heads:
        return 0
    new = [
        {**head, **point}
        for cell, head in heads.items()
        for point in files.read_csv(store.tsne_path(cell), schema.POINT)
    ]
    filled = {_tsne_slot(head) for head in heads.values()}
    rows = [*(row for row in files.read_csv(path, schema.TSNE) if _tsne_slot(row) not in filled), *new]
    rows.sort(key=_tsne_slot)
    files.write_csv(path, schema.TSNE, rows)
    return len({row["cell"] for row in rows})


def _tsne_slot(row: dict[str, str]) -> tuple[str, ...]:
    return tuple(row[name] for name in TSNE_CELL if name != "cell")


RECENT = 500
"""Number of records that times are taken from; reading thousands of them takes seconds."""


def expected_seconds(cells: Iterable[Cell], store: Store) -> dict[str, float]:
    """Hash -> expected seconds, from the newest records with the same method, data, recipe, backbone, track and device.

    Without any, the lower quartile of the committed times is used: those machines were busy with other work, which only
    ever adds time.
    """
    known: dict[tuple[object, ...], list[float]] = {}
    for finished in store.newest(RECENT):
        with contextlib.suppress(UserError):  # a damaged record of another cell only costs an estimate
            record = store.read(finished)
            known.setdefault(_kind(record.spec), []).append(record.seconds)
    kinds = {cell.spec.hash: _kind(vars(cell.spec)) for cell in cells}
    if any(kind not in known for kind in kinds.values()):
        committed: dict[tuple[object, ...], list[float]] = {}
        for spec, seconds in committed_times():
            committed.setdefault(_kind(spec), []).append(seconds)
        known = {kind: [sorted(seconds)[len(seconds) // 4]] for kind, seconds in committed.items()} | known
    return {cell: sum(known[kind]) / len(known[kind]) for cell, kind in kinds.items() if kind in known}


def _kind(spec: Mapping[str, object]) -> tuple[object, ...]:
    """What cells that take about the same time have in common."""
    names = ("method", "dataset", "backbone", "track", "device", "threads")
    return canonical(spec["recipe"]), *(spec[name] for name in names)
