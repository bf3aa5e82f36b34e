"""Processes of this machine, one cell each."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm import tqdm

from benchmarks.cell.runner import Outcome, run_one
from benchmarks.executors.execute import lost, needed
from benchmarks.machine import host
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
        commit, parent, kept = host.commit(), os.getpid(), needed(cells)
        tasks = (
            delayed(run_one)(cell, self.location, self.store, commit, parent, cell.spec.hash in kept) for cell in cells
        )
        return iter(parallel(tasks))
