"""Running the cells of a plan in parallel, each recorded as soon as it is finished."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm import tqdm

from benchmarks import machine, training
from benchmarks.errors import UserError
from benchmarks.plan import Cell
from benchmarks.records import Record, Store
from datasets import protocols
from datasets.errors import DataError
from datasets.store import Location

ATTEMPTS = 3
"""How often the cells that are left are started when worker processes die."""


@dataclass(frozen=True)
class Outcome:
    """How one cell ended."""

    cell: str
    label: str
    accuracy: float | None
    """Last iterate, in percent; None if the cell failed."""
    seconds: float
    error: str = ""


@dataclass
class Summary:
    """How a run ended."""

    done: list[Outcome] = field(default_factory=list)
    failed: list[Outcome] = field(default_factory=list)
    interrupted: bool = False


def jobs_for(wanted: int | None, threads: int, device: str = "cpu") -> int:
    """Number of cells to run at once: as many as the cores bear, on a GPU one, unless a number is wanted.

    Raises:
        UserError: more threads in all than cores.
    """
    cores = machine.cores()
    if wanted is None:
        wanted = max(1, cores // threads) if device == "cpu" else 1
    if wanted * threads > cores:
        raise UserError(
            f"{wanted} jobs of {threads} threads need {wanted * threads} cores and this machine offers {cores}; "
            "lower --jobs or --threads."
        )
    return wanted


def run(cells: Sequence[Cell], location: Location, store: Store, *, jobs: int, expected: dict[str, float]) -> Summary:
    """Run cells, the longest first, and report each as it ends.

    A cell that fails is recorded with its error and stops no other.  An interrupt ends the run at once; what
    was finished is kept.

    Args:
        cells: what to run.
        location: where the data are.
        store: where the records go.
        jobs: cells at once.
        expected: hash -> estimated seconds, for those that something is known of.
    """
    summary = Summary()
    left = sorted(cells, key=lambda cell: -expected.get(cell.spec.hash, 0.0))
    start = time.perf_counter()
    with tqdm(total=len(left), unit="cell", disable=None, smoothing=0) as bar:

        def note(outcome: Outcome) -> None:
            (summary.failed if outcome.error else summary.done).append(outcome)
            _report(outcome, bar, len(summary.done) + len(summary.failed), len(cells), start)

        for attempt in range(ATTEMPTS):
            ended: set[str] = set()
            try:
                for outcome in _outcomes(left, location, store, jobs):
                    ended.add(outcome.cell)
                    note(outcome)
                return summary
            except KeyboardInterrupt:
                summary.interrupted = True
                if jobs > 1:
                    get_reusable_executor().shutdown(wait=True, kill_workers=True)
                return summary
            except TerminatedWorkerError:
                left = [cell for cell in left if cell.spec.hash not in ended]
                last = attempt == ATTEMPTS - 1
                tqdm.write(f"A worker process was ended from outside; {'giving up' if last else 'going on'}.")
        for cell in left:
            error = "its worker process was ended from outside, perhaps for want of memory; try fewer --jobs"
            store.write_failure(cell.spec, error, "")
            note(Outcome(cell.spec.hash, cell.label, None, 0.0, error))
    return summary


def _outcomes(cells: Sequence[Cell], location: Location, store: Store, jobs: int) -> Iterable[Outcome]:
    """The outcomes of cells as they end, in any order."""
    parallel = Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1, pre_dispatch=jobs)
    commit, parent = machine.commit(), os.getpid()
    outcomes: Iterable[Outcome] = parallel(delayed(run_one)(cell, location, store, commit, parent) for cell in cells)
    return outcomes


def _report(outcome: Outcome, bar: tqdm[Any], ended: int, total: int, start: float) -> None:
    """One line per cell, above the bar on a terminal and alone elsewhere."""
    what = f"{outcome.accuracy:.1f} %" if outcome.accuracy is not None else f"FAILED: {outcome.error}"
    line = f"{outcome.label}: {what} ({outcome.seconds:.0f} s)"
    if bar.disable:
        left = (time.perf_counter() - start) / ended * (total - ended)
        print(f"[{ended}/{total}] {line}" + (f", about {duration(left)} left" if ended < total else ""), flush=True)
    else:
        bar.write(line)
        bar.update()


def run_one(cell: Cell, location: Location, store: Store, commit: str, parent: int) -> Outcome:
    """Run one cell in this process and record how it ended."""
    if os.getpid() != parent:
        _settle_in_worker(parent)
    spec, start = cell.spec, time.perf_counter()
    error, detail = "", ""
    try:
        with store.lock(spec.hash):
            if not store.has(spec.hash):
                store.write(_compute(cell, location, store, commit))
        record = store.read(spec.hash)
        return Outcome(spec.hash, cell.label, record.value("accuracy"), record.seconds)
    except (UserError, DataError) as failure:
        error = str(failure)
    except Exception as failure:  # a bug in one method must not stop the others
        error, detail = f"{type(failure).__name__}: {failure}", traceback.format_exc()
    try:
        store.write_failure(spec, error, detail)
    except UserError as failure:
        error = f"{error} (and {failure})"
    return Outcome(spec.hash, cell.label, None, time.perf_counter() - start, error)


def _compute(cell: Cell, location: Location, store: Store, commit: str) -> Record:
    spec = cell.spec
    problem = protocols.problem(
        spec.dataset,
        cell.task,
        location,
        protocol=spec.protocol,
        split=spec.split,
        holdout=spec.holdout,
        seed=spec.seed,
    )
    return training.run_cell(spec, problem, commit=commit, checkpoint=store.checkpoint_path(spec.hash))


@functools.cache
def _settle_in_worker(parent: int) -> None:
    """Leave interrupts to the parent, and end when it has died: nobody would hear of this process's results."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def estimates(cells: Iterable[Cell], store: Store) -> dict[str, float]:
    """Hash -> expected seconds, from records of the same method, data set, recipe, backbone and device."""
    known: dict[tuple[str, ...], list[float]] = {}
    for finished in store.cells():
        with contextlib.suppress(UserError):  # a record of another cell that is damaged costs an estimate, no more
            record = store.read(finished)
            known.setdefault(_kind(record.spec), []).append(record.seconds)
    expected = {}
    for cell in cells:
        seconds = known.get(_kind(vars(cell.spec)))
        if seconds:
            expected[cell.spec.hash] = sum(seconds) / len(seconds)
    return expected


def _kind(spec: dict[str, object]) -> tuple[str, ...]:
    return tuple(str(spec[name]) for name in ("method", "dataset", "recipe", "backbone", "device", "threads"))


def duration(seconds: float) -> str:
    """Seconds as a person says them: ``45 s``, ``3 min``, ``1 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
