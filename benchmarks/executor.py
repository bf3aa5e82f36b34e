"""Running the cells of a plan in parallel, each recorded as soon as it is finished."""

from __future__ import annotations

import contextlib
import os
import time
import traceback
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks import activations, machine, maps, parallel, tables, training, weights
from benchmarks.errors import UserError
from benchmarks.loading import load_data
from benchmarks.plan import Cell
from benchmarks.records import Store
from benchmarks.spec import Spec, canonical
from datasets import protocols
from datasets.errors import DataError
from datasets.protocols import Problem, Task
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
    left_out: list[str] = field(default_factory=list)
    """Why something that was planned was not even begun."""


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


class Workers(Protocol):
    """Where cells are run: on the cores of this machine (``Local``) or on a cluster (``benchmarks.cluster``)."""

    jobs: int
    """Cells at once."""
    store: Store
    """Where the records go."""

    def ensure(self, keys: Sequence[activations.Key]) -> None:
        """Compute what is missing of some activations and keep them in the data folder.

        Raises:
            UserError, DataError: they cannot be computed or kept.
        """

    def outcomes(self, cells: Sequence[Cell]) -> Generator[Outcome]:
        """Run cells; each is in the store by the time that its outcome is yielded, in any order.

        Closing the generator, or an interrupt, ends what is under way.
        """


@dataclass
class Local:
    """Processes of this machine."""

    location: Location
    store: Store
    jobs: int

    def ensure(self, keys: Sequence[activations.Key]) -> None:
        activations.ensure(keys, self.location, jobs=self.jobs)

    def outcomes(self, cells: Sequence[Cell]) -> Generator[Outcome]:
        left = list(cells)
        try:
            for attempt in range(ATTEMPTS):
                ended: set[str] = set()
                try:
                    for outcome in self._started(left):
                        ended.add(outcome.cell)
                        yield outcome
                    return
                except TerminatedWorkerError:
                    left = [cell for cell in left if cell.spec.hash not in ended]
                    last = attempt == ATTEMPTS - 1
                    tqdm.write(f"A worker process was ended from outside; {'giving up' if last else 'going on'}.")
        except (KeyboardInterrupt, GeneratorExit):
            if self.jobs > 1:
                get_reusable_executor().shutdown(wait=True, kill_workers=True)
            raise
        for cell in left:
            yield lost(cell, self.store)

    def _started(self, cells: Sequence[Cell]) -> Iterator[Outcome]:
        """The outcomes of cells as they end, in any order."""
        parallel = Parallel(n_jobs=self.jobs, return_as="generator_unordered", batch_size=1, pre_dispatch=self.jobs)
        commit, parent, kept = machine.commit(), os.getpid(), needed(cells)
        tasks = (
            delayed(run_one)(cell, self.location, self.store, commit, parent, cell.spec.hash in kept) for cell in cells
        )
        return iter(parallel(tasks))


def needed(cells: Iterable[Cell]) -> set[str]:
    """Hashes of the cells whose trained networks others start from."""
    return {need.spec.hash for cell in cells for need in cell.needs.values()}


def lost(cell: Cell, store: Store) -> Outcome:
    """Note that the processes that ran a cell died, again and again."""
    error = "its worker process was ended from outside, perhaps for want of memory; try fewer --jobs"
    store.write_failure(cell.spec, error, "")
    return Outcome(cell.spec.hash, cell.label, None, 0.0, error)


def run(cells: Sequence[Cell], workers: Workers, *, expected: Mapping[str, float]) -> Summary:
    """Run cells and report each as it ends: those that others start from first, then the longest.

    A cell that fails is recorded with its error and stops no other.  An interrupt ends the run at once; what
    was finished is kept.

    Args:
        cells: what to run.
        workers: where.
        expected: hash -> estimated seconds, for those that something is known of.
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
    what = f"{outcome.accuracy:.1f} %" if outcome.accuracy is not None else f"FAILED: {outcome.error}"
    line = f"{outcome.label}: {what} ({outcome.seconds:.0f} s)"
    if bar.disable:
        left = (time.perf_counter() - start) / ended * (total - ended)
        print(f"[{ended}/{total}] {line}" + (f", about {duration(left)} left" if ended < total else ""), flush=True)
    else:
        bar.write(line)
        bar.update()


def run_one(cell: Cell, location: Location, store: Store, commit: str, parent: int, kept: bool = False) -> Outcome:
    """Run one cell in this process and record how it ended.

    Args:
        kept: whether other cells start from its trained network.
    """
    if os.getpid() != parent:
        machine.settle_in_worker(parent)
    spec, start = cell.spec, time.perf_counter()
    error, detail = "", ""
    try:
        _finish(cell, location, store, commit, kept or cell.mapped)
        if cell.mapped and parallel.leads():
            _map(cell, location, store)
        record = store.read(spec.hash)
        return Outcome(spec.hash, cell.label, record.value("accuracy"), record.seconds)
    except (UserError, DataError) as failure:
        error = str(failure)
    except Exception as failure:  # a bug in one method must not stop the others
        error, detail = f"{type(failure).__name__}: {failure}", traceback.format_exc()
        if parallel.size() > 1:  # the other processes cannot know of it and would wait for this one
            raise
    try:
        store.write_failure(spec, error, detail)
    except UserError as failure:
        error = f"{error} (and {failure})"
    return Outcome(spec.hash, cell.label, None, time.perf_counter() - start, error)


def _finish(cell: Cell, location: Location, store: Store, commit: str, kept: bool) -> None:
    """Leave the record of a cell, and its trained network where that is kept; do nothing that is done."""
    spec = cell.spec
    network = store.model_path(spec.hash)
    with parallel.leaders(store.lock(spec.hash)):
        if parallel.agreed(store.has(spec.hash) and (network.is_file() or not kept)):
            return
        needed = {name: _network_of(need, location, store, commit) for name, need in cell.needs.items()}
        record = training.run_cell(
            spec,
            _problem(cell, location),
            commit=commit,
            checkpoint=store.checkpoint_path(spec.hash),
            weights=_weights(spec, location),
            needed=needed,
            keep=network if kept else None,
        )
        if parallel.leads() and not store.has(spec.hash):  # one that stands was made before its network was needed
            store.write(record)
        parallel.wait()


def _map(cell: Cell, location: Location, store: Store) -> None:
    """Leave the map of a finished cell's features."""
    spec, path = cell.spec, store.map_path(cell.spec.hash)
    if path.is_file():
        return
    parameters = training.load_parameters(store.model_path(spec.hash))
    with machine.computing(spec.threads):
        data = load_data(_problem(cell, location), spec.choice, torch.device(spec.device), spec.views)
        model = training.trained_model(spec, data, _weights(spec, location), parameters)
        maps.write(path, maps.points(model, data, spec.seed))


def is_done(cell: Cell, store: Store) -> bool:
    """Whether a cell has its record, and its map where there is to be one."""
    return store.has(cell.spec.hash) and (not cell.mapped or store.map_path(cell.spec.hash).is_file())


def _network_of(cell: Cell, location: Location, store: Store, commit: str) -> training.Parameters:
    """The trained network of a cell; trained here if no other process has done it."""
    _finish(cell, location, store, commit, kept=True)
    return training.load_parameters(store.model_path(cell.spec.hash))


def _problem(cell: Cell, location: Location) -> Problem:
    """The data of a cell: images, or the cached activations that stand for them."""
    spec = cell.spec

    def cached(domain: str, part: str) -> NDArray[np.float32]:
        assert part == "train", "photographs have no other part"
        return activations.load(activation_key(spec, cell.task, domain, location), location)

    return protocols.problem(
        spec.dataset,
        cell.task,
        location,
        protocol=spec.protocol,
        split=spec.split,
        holdout=spec.holdout,
        seed=spec.seed,
        side=spec.choice.backbone.side,
        inputs=cached if spec.cut else None,
    )


def _weights(spec: Spec, location: Location) -> Path | None:
    """The pretrained weights of a cell that trains layers of the trunk."""
    return weights.path(spec.backbone, location) if trains_trunk(spec) else None


def trains_trunk(spec: Spec) -> bool:
    """Whether a cell needs the pretrained weights themselves."""
    return spec.choice.backbone.known is not None and spec.track != "frozen"


def activation_key(spec: Spec, task: Task, domain: str, location: Location) -> activations.Key:
    """Which activations of a domain a cell needs."""
    of = {"": "", "own": domain, "source": task.source_domain}[spec.statistics]
    return activations.key_of(
        spec.backbone,
        domain,
        spec.cut,
        location,
        views=spec.views,
        precision=spec.precision,
        device=spec.device,
        pooled=spec.choice.pooled,
        statistics_of=of,
    )


def prepare(cells: Sequence[Cell], location: Location, workers: Workers) -> dict[str, str]:
    """Compute the activations that cells share, before the first of them is run.

    Returns:
        Backbone -> why its cells cannot be run: its weights cannot be had, or the activations not be computed or kept.
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
            workers.ensure(keys)
            for spec in [cell.spec for cell in its if trains_trunk(cell.spec)][:1]:
                _weights(spec, location)
        except (UserError, DataError) as error:
            unusable[backbone] = str(error)
    return unusable


def estimates(cells: Iterable[Cell], store: Store) -> dict[str, float]:
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


def duration(seconds: float) -> str:
    """Seconds as a person says them: ``45 s``, ``3 min``, ``1 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
