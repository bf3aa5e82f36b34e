"""Running cells: a single one, with what it needs and leaves, and those of a plan in parallel."""

from __future__ import annotations

import contextlib
import functools
import time
import traceback
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from tqdm import tqdm

import methods
from benchmarks.cell import training, tsne
from benchmarks.cell.kept import leave
from benchmarks.cell.loading import activation_key, load_data, problem_of, trains_trunk, weights_of
from benchmarks.machine import host, processes
from benchmarks.machine.errors import UserError
from benchmarks.machine.processes import LostWorkerError
from benchmarks.networks import activations
from benchmarks.networks.backbones import choice_of
from benchmarks.plan.plan import Cell
from benchmarks.records.store import Record, Store
from benchmarks.records.words import plural
from datasets.errors import DataError
from datasets.store import Location


@dataclass(frozen=True)
class Outcome:
    """How one cell ended."""

    cell: str
    label: str
    accuracy: float | None
    """Last iterate, in percent; None if the cell failed, its target has no labels, or it serves to choose a setting."""
    seconds: float
    error: str = ""
    diverged: bool = False
    """Whether it failed because a loss became NaN or infinite."""


def outcome_of(cell: Cell, record: Record) -> Outcome:
    """How a cell with a record ended.

    Where source is held out, settings are being compared: target accuracies are not shown to who may choose by them.
    """
    accuracy = None if cell.spec.holdout else record.find("accuracy")
    return Outcome(record.cell, cell.label, accuracy, record.seconds)


def run_one(cell: Cell, location: Location, store: Store, commit: str, kept: bool = False) -> Outcome:
    """Run one cell in this process and record how it ended.

    Args:
        kept: whether other cells start from its trained network.
    """
    spec, start = cell.spec, time.perf_counter()
    error, detail, diverged = "", "", False
    try:
        _finish(cell, location, store, commit, kept or cell.tsne)
        if cell.tsne and processes.is_main():
            _map(cell, location, store)
        return outcome_of(cell, store.read(spec.hash))
    except (UserError, DataError) as failure:
        error, diverged = str(failure), isinstance(failure, training.DivergedError)
    except Exception as failure:  # a bug in one method must not stop the others
        said = " ".join(str(failure).split())  # one line: it is shown among others
        error, detail = f"{type(failure).__name__}: {said}{_where(failure, spec.method)}", traceback.format_exc()
        if processes.size() > 1:  # the other processes cannot know and would wait for this one
            raise
    try:
        store.write_failure(spec, error, detail)
    except UserError as failure:
        error = f"{error} (and {failure})"
    return Outcome(spec.hash, cell.label, None, time.perf_counter() - start, error, diverged)


def _where(failure: Exception, method: str) -> str:
    """Where in ``methods/`` an error arose, `` (methods/dan.py, line 24)``; empty if elsewhere.

    In the method's own file if that took part: a shared function that it calls wrongly says less.
    """
    frames = [(Path(frame.f_code.co_filename), line) for frame, line in traceback.walk_tb(failure.__traceback__)]
    within = [(path.stem, line) for path, line in frames if str(path.parent) in methods.__path__]
    for module, line in ([one for one in within if one[0] == method] or within)[-1:]:
        return f" (methods/{module}.py, line {line})"
    return ""


def _finish(cell: Cell, location: Location, store: Store, commit: str, kept: bool) -> None:
    """Write a cell's record, and its trained network if that is kept; skips what is already done."""
    spec = cell.spec
    network = store.model_path(spec.hash)
    with processes.main_only(store.lock(spec.hash)):
        left = not cell.keep or store.has_kept(spec.hash)
        if processes.broadcast(has_record(cell, store) and (network.is_file() or not kept) and left):
            return
        needed = {name: _network_of(need, location, store, commit) for name, need in cell.needs.items()}
        record = training.run_cell(
            spec,
            problem_of(cell, location),
            commit=commit,
            checkpoint=store.checkpoint_path(spec.hash),
            weights=weights_of(spec, location),
            needed=needed,
            keep=network if kept else None,
            finished=functools.partial(leave, cell, location, store) if cell.keep else None,
        )
        if processes.is_main() and not has_record(cell, store):  # else it was made before its network was needed
            store.write(record)
        processes.barrier()


def _map(cell: Cell, location: Location, store: Store) -> None:
    """Write the map of a finished cell's features."""
    spec, path = cell.spec, store.tsne_path(cell.spec.hash)
    if path.is_file():
        return
    parameters = training.load_parameters(store.model_path(spec.hash))
    with host.computing(spec.threads):
        data = load_data(problem_of(cell, location), choice_of(spec), torch.device(spec.device), spec.views)
        model = training.trained_model(spec, data, weights_of(spec, location), parameters)
        tsne.write(path, tsne.points(model, data, spec.seed))


def has_record(cell: Cell, store: Store) -> bool:
    """Whether a cell has its record, with the course of the training where an experiment shows it."""
    return store.has(cell.spec.hash) and (not cell.course or bool(store.read(cell.spec.hash).history))


def is_done(cell: Cell, store: Store) -> bool:
    """Whether a cell has its record, and its map and network if it should have them."""
    drawn = not cell.tsne or store.tsne_path(cell.spec.hash).is_file()
    return has_record(cell, store) and drawn and (not cell.keep or store.has_kept(cell.spec.hash))


def _network_of(cell: Cell, location: Location, store: Store, commit: str) -> training.Parameters:
    """The trained network of a cell; trained here unless another process has done so."""
    _finish(cell, location, store, commit, kept=True)
    return training.load_parameters(store.model_path(cell.spec.hash))


@dataclass
class Summary:
    """How a run ended."""

    done: list[Outcome] = field(default_factory=list)
    failed: list[Outcome] = field(default_factory=list)
    interrupted: bool = False
    left_out: list[str] = field(default_factory=list)
    """Reasons why parts of the plan were not started."""


def jobs_for(wanted: int | None, threads: int, device: str = "cpu") -> int:
    """Number of cells to run at once: as many as the cores allow, one on a GPU, unless a number is given.

    Raises:
        UserError: more threads in total than cores.
    """
    cores = host.cores()
    if wanted is None:
        wanted = max(1, cores // threads) if device == "cpu" else 1
    if wanted * threads > cores:
        raise UserError(
            f"{plural(wanted, 'job')} of {plural(threads, 'thread')} {'needs' if wanted == 1 else 'need'} "
            f"{plural(wanted * threads, 'core')} and this machine offers {cores}; lower --jobs or --threads."
        )
    return wanted


class Workers(Protocol):
    """Where cells run: on the cores of this machine (``Local``) or on a cluster (``cluster``)."""

    jobs: int
    """Cells at once."""
    store: Store
    """Where the records go."""

    def ensure(self, keys: Sequence[activations.Key]) -> None:
        """Compute missing activations and keep them in the data folder.

        Raises:
            UserError, DataError: they cannot be computed or kept.
        """

    def outcomes(self, cells: Sequence[Cell]) -> Generator[Outcome]:
        """Run cells; each is in the store before its outcome is yielded, in any order.

        Closing the generator, or an interrupt, stops running cells.
        """


def needed(cells: Iterable[Cell]) -> set[str]:
    """Hashes of the cells whose trained networks others start from."""
    return {need.spec.hash for cell in cells for need in cell.needs.values()}


def lost(cell: Cell, store: Store) -> Outcome:
    """Note that the processes running a cell died repeatedly."""
    error = "its worker process was killed from outside, perhaps for lack of memory; try fewer --jobs"
    store.write_failure(cell.spec, error, "")
    return Outcome(cell.spec.hash, cell.label, None, 0.0, error)


def run(cells: Sequence[Cell], workers: Workers, *, expected: Mapping[str, float]) -> Summary:
    """Run cells and report each as it ends: first those that others start from, then the longest.

    A cell that fails is recorded with its error and stops no other.  An interrupt ends the run at once; finished cells
    are kept.

    Args:
        cells: what to run.
        workers: where.
        expected: hash -> estimated seconds, for the cells that have an estimate.
    """
    summary = Summary()
    cells = with_needed(cells)
    ordered = sorted(cells, key=lambda cell: (cell.depth, -expected.get(cell.spec.hash, 0.0)))
    start = time.perf_counter()
    with (
        tqdm(total=len(cells), unit="cell", disable=None, smoothing=0) as bar,
        contextlib.closing(workers.outcomes(ordered)) as outcomes,
    ):
        try:
            for outcome in outcomes:
                (summary.failed if outcome.error else summary.done).append(outcome)
                _report(outcome, bar, len(summary.done) + len(summary.failed), len(cells), start)
        except KeyboardInterrupt:
            summary.interrupted = True
    return summary


def with_needed(cells: Sequence[Cell]) -> list[Cell]:
    """The cells and those whose trained networks they start from, each once."""
    found = {cell.spec.hash: cell for cell in cells}

    def add(needs: Iterable[Cell]) -> None:
        for need in needs:
            found.setdefault(need.spec.hash, need)
            add(need.needs.values())

    for cell in cells:
        add(cell.needs.values())
    return list(found.values())


def _report(outcome: Outcome, bar: tqdm[Any], ended: int, total: int, start: float) -> None:
    """One line per cell, above the bar on a terminal and alone elsewhere."""
    what = f"FAILED: {outcome.error}" if outcome.error else "done"
    if outcome.accuracy is not None:
        what = f"{outcome.accuracy:.1f} %"
    line = f"{outcome.label}: {what} ({outcome.seconds:.0f} s)"
    if bar.disable:
        left = (time.perf_counter() - start) / ended * (total - ended)
        print(f"[{ended}/{total}] {line}" + (f", about {duration(left)} left" if ended < total else ""), flush=True)
    else:
        bar.write(line)
        bar.update()


def prepare(cells: Sequence[Cell], location: Location, workers: Workers) -> dict[str, str]:
    """Compute the activations that cells share, before the first of them is run.

    Returns:
        Backbone -> why its cells cannot run: its weights are not available, or its activations cannot be computed or
        kept.
    """
    unusable = {}
    cells = with_needed(cells)
    for backbone in dict.fromkeys(cell.spec.backbone for cell in cells):
        its = [cell for cell in cells if cell.spec.backbone == backbone]
        try:
            keys = [
                activation_key(cell.spec, cell.task, domain, location)
                for cell in its
                if cell.spec.cut
                for domain in cell.task.domains
            ]
            if keys:
                workers.ensure(keys)
            for spec in [cell.spec for cell in its if trains_trunk(cell.spec)][:1]:
                weights_of(spec, location)
        except (UserError, DataError) as error:
            unusable[backbone] = str(error)
    return unusable


def duration(seconds: float) -> str:
    """Seconds in a readable form: ``45 s``, ``3 min``, ``1 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


ATTEMPTS = 3
"""How many times the remaining cells are started when worker processes die."""


@dataclass
class Local:
    """Processes of this machine."""

    location: Location
    store: Store
    jobs: int

    def ensure(self, keys: Sequence[activations.Key]) -> None:
        activations.ensure(keys, self.location, jobs=self.jobs)

    def outcomes(self, cells: Sequence[Cell]) -> Generator[Outcome]:
        left, kept, commit = list(cells), needed(cells), host.commit()
        for attempt in range(ATTEMPTS):
            ended: set[str] = set()
            tasks = [(cell, self.location, self.store, commit, cell.spec.hash in kept) for cell in left]
            # A single cell needs no process of its own, unless that is what was killed.
            jobs = min(self.jobs, len(tasks)) if attempt == 0 else self.jobs
            try:
                for outcome in processes.results(run_one, tasks, jobs):
                    ended.add(outcome.cell)
                    yield outcome
                return
            except LostWorkerError:
                left = [cell for cell in left if cell.spec.hash not in ended]
                last = attempt == ATTEMPTS - 1
                tqdm.write(f"A worker process was killed from outside; {'giving up' if last else 'continuing'}.")
        for cell in left:
            yield lost(cell, self.store)
