"""Running one cell of a plan: what it needs, its record, and what else it leaves."""

from __future__ import annotations

import functools
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.cell import training, tsne
from benchmarks.cell.kept import leave
from benchmarks.cell.loading import load_data
from benchmarks.machine import host, processes
from benchmarks.machine.errors import UserError
from benchmarks.networks import activations, weights
from benchmarks.networks.backbones import choice_of
from benchmarks.plan.plan import Cell
from benchmarks.records.spec import Spec
from benchmarks.records.store import Store
from datasets import protocols
from datasets.errors import DataError
from datasets.protocols import Problem, Task
from datasets.store import Location


@dataclass(frozen=True)
class Outcome:
    """How one cell ended."""

    cell: str
    label: str
    accuracy: float | None
    """Last iterate, in percent; None if the cell failed, or its target has no labels."""
    seconds: float
    error: str = ""


def run_one(cell: Cell, location: Location, store: Store, commit: str, kept: bool = False) -> Outcome:
    """Run one cell in this process and record how it ended.

    Args:
        kept: whether other cells start from its trained network.
    """
    spec, start = cell.spec, time.perf_counter()
    error, detail = "", ""
    try:
        _finish(cell, location, store, commit, kept or cell.tsne)
        if cell.tsne and processes.is_main():
            _map(cell, location, store)
        record = store.read(spec.hash)
        return Outcome(spec.hash, cell.label, record.find("accuracy"), record.seconds)
    except (UserError, DataError) as failure:
        error = str(failure)
    except Exception as failure:  # a bug in one method must not stop the others
        error, detail = f"{type(failure).__name__}: {failure}", traceback.format_exc()
        if processes.size() > 1:  # the other processes cannot know of it and would wait for this one
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
    with processes.main_only(store.lock(spec.hash)):
        left = not cell.keep or store.has_kept(spec.hash)
        if processes.broadcast(store.has(spec.hash) and (network.is_file() or not kept) and left):
            return
        needed = {name: _network_of(need, location, store, commit) for name, need in cell.needs.items()}
        record = training.run_cell(
            spec,
            _problem(cell, location),
            commit=commit,
            checkpoint=store.checkpoint_path(spec.hash),
            weights=weights_of(spec, location),
            needed=needed,
            keep=network if kept else None,
            finished=functools.partial(leave, cell, location, store) if cell.keep else None,
        )
        if processes.is_main() and not store.has(spec.hash):  # one that stands was made before its network was needed
            store.write(record)
        processes.barrier()


def _map(cell: Cell, location: Location, store: Store) -> None:
    """Leave the map of a finished cell's features."""
    spec, path = cell.spec, store.tsne_path(cell.spec.hash)
    if path.is_file():
        return
    parameters = training.load_parameters(store.model_path(spec.hash))
    with host.computing(spec.threads):
        data = load_data(_problem(cell, location), choice_of(spec), torch.device(spec.device), spec.views)
        model = training.trained_model(spec, data, weights_of(spec, location), parameters)
        tsne.write(path, tsne.points(model, data, spec.seed))


def is_done(cell: Cell, store: Store) -> bool:
    """Whether a cell has its record, and its map and its network where there are to be any."""
    drawn = not cell.tsne or store.tsne_path(cell.spec.hash).is_file()
    return store.has(cell.spec.hash) and drawn and (not cell.keep or store.has_kept(cell.spec.hash))


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
        side=choice_of(spec).backbone.side,
        inputs=cached if spec.cut else None,
    )


def weights_of(spec: Spec, location: Location) -> Path | None:
    """The pretrained weights of a cell that trains layers of the trunk."""
    return weights.path(spec.backbone, location) if trains_trunk(spec) else None


def trains_trunk(spec: Spec) -> bool:
    """Whether a cell needs the pretrained weights themselves."""
    return choice_of(spec).backbone.known is not None and spec.track != "frozen"


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
        pooled=choice_of(spec).pooled,
        statistics_of=of,
    )
