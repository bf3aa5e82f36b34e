"""Processes of this machine, one cell each."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from tqdm import tqdm

from benchmarks.cell.runner import Outcome, run_one
from benchmarks.executors.execute import lost, needed
from benchmarks.machine import host, workers
from benchmarks.machine.workers import LostWorkerError
from benchmarks.networks import activations
from benchmarks.plan.plan import Cell
from benchmarks.records.store import Store
from datasets.store import Location

ATTEMPTS = 3
"""How often the cells that are left are started when worker processes die."""


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
            try:
                for outcome in workers.results(run_one, tasks, self.jobs):
                    ended.add(outcome.cell)
                    yield outcome
                return
            except LostWorkerError:
                left = [cell for cell in left if cell.spec.hash not in ended]
                last = attempt == ATTEMPTS - 1
                tqdm.write(f"A worker process was ended from outside; {'giving up' if last else 'going on'}.")
        for cell in left:
            yield lost(cell, self.store)
