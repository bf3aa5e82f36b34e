"""Killed at any moment while it writes, and started again, everything ends as if nothing had happened."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.cell import training
from benchmarks.executors import execute
from benchmarks.export import tables
from benchmarks.machine import host
from benchmarks.networks import activations
from benchmarks.plan import choices
from benchmarks.plan.plan import Plan
from benchmarks.records import schema
from benchmarks.records.store import UNSTABLE_FIELDS, Store
from datasets import store
from datasets.store import Location
from tests import crash
from tests.benchmarks import tiny_backbone
from tests.benchmarks.small_plan import cells
from tests.datasets.conftest import site, tiny  # noqa: F401
from tests.datasets.data_helpers import Tiny

LEAST = {"record": 4, "cell": 12, "export": 8, "activations": 15, "data": 10}
"""Moments at the least at which each operation can be killed."""
EVERY = 1 if os.environ.get("TORTURE") else 5
"""Which of the moments of longer operations are tried."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "place"
    path.mkdir()
    return path


def finished(runs: Path) -> dict[str, Any]:
    records = map(Store(runs).read, Store(runs).cells())
    return {r.cell: {k: v for k, v in dataclasses.asdict(r).items() if k not in UNSTABLE_FIELDS} for r in records}


def every_moment(operation: Callable[[], object], folder: Path, check: Callable[[], None], least: int) -> None:
    """Kill at each moment, or at every few; each time start the operation again and look."""
    count = 0
    for number in crash.moments(operation, folder, every=EVERY):
        operation()
        check()
        count = number
    assert count + EVERY > least, "the operation is killed too seldom to tell anything"


def test_a_record(few_digits: Location, folder: Path) -> None:
    """A reader sees the whole record or none."""
    cell = cells(few_digits)[0]
    kept = folder.parent / "made"
    execute.run_one(cell, few_digits, Store(kept), "test")
    record, here = Store(kept).read(cell.spec.hash), Store(folder)

    def write() -> None:
        here.write(record)

    count = 0
    for _ in crash.moments(write, folder):
        assert not here.has(record.cell) or here.read(record.cell) == record
        assert here.cells() in ([], [record.cell])
        count += 1
    assert count >= LEAST["record"]


def test_a_cell_with_checkpoints_and_a_kept_network(
    few_digits: Location, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_AFTER", 0.0)
    cell, where = cells(few_digits)[1], Store(folder)

    def run() -> None:
        outcome = execute.run_one(cell, few_digits, where, "test", kept=True)
        assert outcome.error == ""

    alone = folder.parent / "alone"
    execute.run_one(cell, few_digits, Store(alone), "test", kept=True)
    expected = finished(alone)
    parameters = training.load_parameters(Store(alone).model_path(cell.spec.hash))

    def check() -> None:
        assert finished(folder) == expected
        again = training.load_parameters(where.model_path(cell.spec.hash))
        assert all(parameters[name].equal(again[name]) for name in parameters)
        where.tidy()
        assert not list((folder / "checkpoints").glob("*.pt"))

    every_moment(run, folder, check, LEAST["cell"])


def test_an_export(few_digits: Location, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "ROOT", folder)
    runs = Store(folder.parent / "runs")
    some = cells(few_digits)[:2]
    for cell in some:
        execute.run_one(cell, few_digits, runs, "test")
    tables.write_local(Plan(some), runs, few_digits)

    def export() -> None:
        assert tables.export("dan", ["digits"], [], runs, few_digits)

    export()
    expected = crash.tree(folder)
    shutil.rmtree(folder)
    folder.mkdir()

    def check() -> None:
        assert crash.tree(folder, without=(".tmp",)).items() >= expected.items()
        assert {row["cell"] for row in tables.read(tables.committed_path("dan", "digits"))} == {
            cell.spec.hash for cell in some
        }

    every_moment(export, folder, check, LEAST["export"])


def test_cached_activations(office: Location, folder: Path) -> None:
    name = f"dslr@{tiny_backbone.SIDE}"
    shutil.copytree(office.root / "prepared" / name, folder / "prepared" / name)
    location = Location(folder)
    with tiny_backbone.installed(location):
        key = tiny_backbone.key(location)

        def extract() -> None:
            activations.ensure([key], location, jobs=1)

        fresh = folder.parent / "fresh"
        shutil.copytree(folder, fresh)
        activations.ensure([key], Location(fresh), jobs=1)
        expected = activations.load(key, Location(fresh))

        def check() -> None:
            assert (activations.load(key, location) == expected).all()
            names = sorted(path.name for path in activations.folder(key, location).iterdir())
            assert names == ["meta.json", "values.npy"]

        every_moment(extract, folder, check, LEAST["activations"])


@pytest.mark.usefixtures("tiny")
def test_fetched_and_prepared_data(tiny: Tiny, folder: Path) -> None:  # noqa: F811
    location = Location(folder)

    def prepare() -> None:
        store.prepare("tiny", location)

    def check() -> None:
        assert len(store.load("tiny", "train", location).images) == 3000
        store.verify("tiny", location)
        assert [path.name for path in (folder / "prepared").iterdir()] == ["tiny"]

    every_moment(prepare, folder, check, LEAST["data"])


def test_chosen_settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of chosen settings is the old one or the new one."""
    monkeypatch.setattr(host, "ROOT", folder)
    (folder / "results").mkdir()
    old = dict.fromkeys(schema.CHOICES, "1") | {"tasks": "a:b", "method": "one"}
    choices.write([old])
    new = {**old, "method": "two"}

    def write() -> None:
        choices.write([new])

    for _ in crash.moments(write, folder):
        assert [row["method"] for row in choices.read()] in (["one"], ["one", "two"])


def test_the_operations_are_killed_by_the_sweep_itself(folder: Path) -> None:
    """Three calls are three moments, each before the call."""

    def operation() -> None:
        for number in range(3):
            (folder / str(number)).mkdir()

    seen = [sorted(path.name for path in folder.iterdir()) for _ in crash.moments(operation, folder)]
    assert seen == [[], ["0"], ["0", "1"]]
