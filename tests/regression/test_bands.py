"""Accuracy guarded on real digits: short, complete runs against the committed bands of ``bands.csv``.

The bands are wide enough for another machine's arithmetic and narrow enough to fail without the transfer term or with
shuffled labels, which is shown below.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from benchmarks.cell.training import load_parameters, run_cell
from benchmarks.executors import execute
from benchmarks.plan import plan
from benchmarks.plan.plan import Cell, Options
from benchmarks.records.store import Record, Store
from datasets import protocols
from datasets.store import Location
from report import bands as committed
from report.bands import Band

pytestmark = pytest.mark.regression

SEEDS = 2
OFF = {"adabn": {"statistics": "source"}, "autodial": {"aligned": False, "entropy": 0.0}}
"""Configuration without what a paper adds, where that is not one weight."""
NO_TRANSFER_LOSS = {"step", "classification", "target_entropy", "test_accuracy"}
"""Entries of a record's history that are no transfer loss."""


def bands() -> list[Band]:
    return committed.read(Path(__file__).parent / "bands.csv")


def violations(band: Band, records: list[Record], baseline: list[Record]) -> list[str]:
    """What is wrong with a method's records (one per seed), given its baseline's."""
    accuracy, base, near, far = (
        fmean(record.value(metric) for record in some) for metric in ("accuracy", "mmd") for some in (records, baseline)
    )
    found = committed.violations(band, accuracy, base, near / far)
    for record in records if band.distance is not None else ():  # an entropy need not fall by half
        for name in sorted(record.history[0].keys() - NO_TRANSFER_LOSS):
            course = [epoch[name] for epoch in record.history]
            if course[-1] > 0.5 * max(course):
                found.append(f"seed {record.spec['seed']}: the loss {name!r} ends at {course[-1]:.3g} and did not fall")
    return found


def run(band: Band, digits_mini: Location, runs: Path) -> tuple[list[Cell], list[Record], list[Record]]:
    """The cells of a band, and the records of the method and of its baseline."""
    options = Options(datasets=(band.dataset,), tasks=(band.task,), seeds=SEEDS)
    compared = {(band.paper, "default"), ("source_only", "default")}
    cells = [
        cell
        for cell in plan.make(band.paper, options, digits_mini).cells
        if compared & {(use.row.method, use.row.variant) for use in cell.uses}
    ]
    # A folder that is kept between runs saves nothing here: the code under test may have changed.
    store = Store(runs)
    summary = execute.run(cells, execute.Local(digits_mini, store, 1), expected={})
    assert not summary.failed, summary.failed
    records = [store.read(cell.spec.hash) for cell in cells]
    method = [record for record in records if record.spec["method"] == band.paper]
    baseline = [record for record in records if record.spec["method"] == "source_only"]
    assert len(method) == len(baseline) == SEEDS
    return cells, method, baseline


def rerun(
    cell: Cell, location: Location, folder: Path, config: Mapping[str, object] | None = None, *, shuffled: bool = False
) -> Record:
    """One cell again, and the trainings it starts from, with another configuration or with shuffled source labels."""
    needed = {}
    for name, need in cell.needs.items():
        rerun(need, location, folder, shuffled=shuffled)
        needed[name] = load_parameters(folder / need.spec.hash)
    problem = protocols.problem(cell.spec.dataset, cell.task, location)
    spec = dataclasses.replace(cell.spec, config={**cell.spec.config, **(config or {})})
    if shuffled:
        labels = np.random.default_rng(0).permutation(problem.source.labels)
        problem = dataclasses.replace(problem, source=dataclasses.replace(problem.source, labels=labels))
    return run_cell(spec, problem, commit="test", needed=needed, keep=folder / spec.hash)


def first_of(band: Band, cells: list[Cell]) -> Cell:
    return next(cell for cell in cells if cell.spec.method == band.paper and cell.spec.seed == 0)


def fails_without_what_the_paper_adds(
    band: Band, cells: list[Cell], baseline: list[Record], digits_mini: Location, tmp_path: Path
) -> None:
    off = rerun(first_of(band, cells), digits_mini, tmp_path, OFF.get(band.paper, {"weight": 0.0}))
    found = violations(band, [off], baseline)
    assert any(text.startswith("the gain") for text in found)
    if band.distance is not None:
        assert off.values == baseline[0].values, "without its transfer term a method is its baseline to the last bit"
        assert any(text.startswith("the domains are") for text in found)


def fails_with_shuffled_labels(
    band: Band, cells: list[Cell], baseline: list[Record], digits_mini: Location, tmp_path: Path
) -> None:
    record = rerun(first_of(band, cells), digits_mini, tmp_path, shuffled=True)
    assert any(text.startswith("accuracy") for text in violations(band, [record], baseline))


@pytest.mark.parametrize("band", [pytest.param(band, id=f"{band.paper} {band.task}") for band in bands()])
def test_a_method_is_inside_its_band_and_nothing_else_is(band: Band, digits_mini: Location, tmp_path: Path) -> None:
    """One test for each band, as several processes share the tests out and its cells are to be run once."""
    cells, method, baseline = run(band, digits_mini, tmp_path / "runs")
    assert violations(band, method, baseline) == []
    fails_without_what_the_paper_adds(band, cells, baseline, digits_mini, tmp_path / "off")
    fails_with_shuffled_labels(band, cells, baseline, digits_mini, tmp_path / "shuffled")
