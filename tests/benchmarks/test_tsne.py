"""Maps of the features of trained networks: whose points they hold, when they are made, how they are exported."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from benchmarks.cell import tsne
from benchmarks.executors import execute
from benchmarks.export import tables
from benchmarks.machine.errors import UserError
from benchmarks.plan import plan
from benchmarks.plan.plan import Cell, Options, Plan
from benchmarks.records import files, schema
from benchmarks.records.store import Store
from datasets import store as data_store
from datasets.store import Location
from methods import contract
from methods.contract import Recipe

IMAGES = 60


@pytest.fixture
def mapped(few_digits: Location, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """DAN's paper with one short experiment, whose two cells are mapped."""
    dan = contract.load("dan")
    assert dan.paper is not None
    experiment = dataclasses.replace(
        dan.paper.experiments[0],
        name="short",
        rows=dan.paper.experiments[0].rows[:2],
        recipes={"digits-mini": Recipe(steps=60, epoch=30, rate=0.03, batch=16)},
        tasks={"digits-mini": ("optdigits:mfeat",)},
        seeds=1,
        tsne=True,
    )
    paper = dataclasses.replace(dan.paper, experiments=(experiment,), claims=())
    everything = {name: contract.load(name) for name in contract.names()}
    monkeypatch.setattr(contract, "_methods", lambda: {**everything, "dan": dataclasses.replace(dan, paper=paper)})
    monkeypatch.setattr(tsne, "IMAGES", IMAGES)
    return plan.make("dan", Options(), few_digits)


def run(cells: list[Cell], location: Location, store: Store) -> None:
    summary = execute.run(cells, execute.Local(location, store, 1), expected={})
    assert not summary.failed, summary.failed


def test_a_map_holds_both_domains_with_their_classes(mapped: Plan, few_digits: Location, tmp_path: Path) -> None:
    store, cell = Store(tmp_path), mapped.cells[0]
    assert not execute.is_done(cell, store)
    run([cell], few_digits, store)
    assert execute.is_done(cell, store)
    points = files.read_csv(store.tsne_path(cell.spec.hash), schema.POINT)
    assert [point["domain"] for point in points] == ["source"] * IMAGES + ["target"] * IMAGES
    for part, domain in (("source", "optdigits"), ("target", "mfeat")):
        labels = data_store.load(domain, "train", few_digits).labels
        found = np.bincount([int(point["class"]) for point in points if point["domain"] == part], minlength=10)
        # A random part of so many images has about the classes' shares, and not those of the other domain's order.
        assert np.abs(found / IMAGES - np.bincount(labels, minlength=10) / len(labels)).max() < 0.15
    target = [point for point in points if point["domain"] == "target"]
    right = 100 * np.mean([point["class"] == point["predicted"] for point in target])
    accuracy = store.read(cell.spec.hash).value("accuracy")
    assert accuracy > 25
    assert abs(right - accuracy) < 20, "else the labels are not those of the images"
    assert np.std([float(point["x"]) for point in points]) > 0


def test_a_map_is_made_of_the_network_that_was_kept(mapped: Plan, few_digits: Location, tmp_path: Path) -> None:
    store, cell = Store(tmp_path), mapped.cells[0]
    run([dataclasses.replace(cell, tsne=False)], few_digits, store)
    assert not store.tsne_path(cell.spec.hash).exists()
    assert not execute.is_done(cell, store)
    run([cell], few_digits, store)  # the record is there: its network is trained once more
    first = store.tsne_path(cell.spec.hash).read_bytes()
    network = store.model_path(cell.spec.hash).stat().st_mtime_ns
    store.tsne_path(cell.spec.hash).unlink()
    run([cell], few_digits, store)
    assert store.tsne_path(cell.spec.hash).read_bytes() == first
    assert store.model_path(cell.spec.hash).stat().st_mtime_ns == network


def test_maps_are_exported_beside_the_tables(
    mapped: Plan, few_digits: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.machine.host.ROOT", tmp_path / "suite")
    store = Store(tmp_path / "runs")
    run(mapped.cells, few_digits, store)
    tables.write_local(mapped, store, few_digits)
    table, drawn = tables.export("dan", ["short"], [], store, few_digits)
    assert drawn == tmp_path / "suite/results/dan/maps/short.csv"
    rows = files.read_csv(drawn, schema.TSNE)
    assert {row["cell"] for row in rows} == {cell.spec.hash for cell in mapped.cells}
    assert {row["cell"] for row in rows} == {row["cell"] for row in tables.read(table)}
    assert len(rows) == 2 * 2 * IMAGES
    again = drawn.read_bytes()
    tables.export("dan", ["short"], [], store, few_digits)
    assert drawn.read_bytes() == again
    assert set(tables.committed_cells("dan")) == {("dan", "short")}, "a map is no table"
    store.tsne_path(mapped.cells[0].spec.hash).write_text("domain,class\n")
    with pytest.raises(UserError, match="missing column"):
        tables.export("dan", ["short"], [], store, few_digits)
