"""Specs of committed cells: the very specs of the records, also where some records are gone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from benchmarks.machine import host
from benchmarks.machine.errors import UserError
from benchmarks.plan import comparing
from benchmarks.records import files, schema
from benchmarks.records.store import Record, Spec, Store, export_specs, read_specs
from tests.benchmarks.cells import spec

VALUES = [{"selection": "last", "metric": "accuracy", "value": 50.0}]


def kept(store: Store, *made: Spec) -> list[str]:
    for one in made:
        plain = dataclasses.asdict(one)
        store.write(Record(one.hash, plain, VALUES, 10, [], versions={"torch": "2"}))
    return [one.hash for one in made]


def variants() -> list[Spec]:
    """Two methods' cells on two seeds and data, one that starts from another."""
    base = spec()
    return [
        base,
        dataclasses.replace(base, seed=1),
        dataclasses.replace(base, seed=1, data={"source": "other"}),
        dataclasses.replace(base, config={**base.config, "further": 1}),
        dataclasses.replace(base, needs={"source": base.hash}),
    ]


def test_read_back_they_are_the_cells(tmp_path: Path) -> None:
    store, path = Store(tmp_path / "runs"), tmp_path / "results" / "dan" / "specs" / "digits.json"
    cells = kept(store, *variants())
    export_specs(path, cells, cells, store)
    found = read_specs(path)
    assert {cell: Spec(**one["spec"]).hash for cell, one in found.items()} == {cell: cell for cell in cells}
    assert {one["versions"]["torch"] for one in found.values()} == {"2"}
    assert len(path.read_text().splitlines()) == 2 + 1 + 2, "the data, then a line for each configuration"


def test_a_record_that_is_gone_is_kept_and_a_cell_that_is_gone_is_not(tmp_path: Path) -> None:
    path = tmp_path / "digits.json"
    first, second, third, *_ = cells = kept(Store(tmp_path / "one"), *variants())
    export_specs(path, cells, cells, Store(tmp_path / "one"))
    before = path.read_bytes()
    export_specs(path, cells, [], Store(tmp_path / "empty"))
    assert path.read_bytes() == before, "exporting twice changes nothing"
    export_specs(path, [first, third, "unknown"], [], Store(tmp_path / "empty"))
    assert set(read_specs(path)) == {first, third}
    assert second not in read_specs(path)


def test_another_run_of_a_committed_cell_does_not_stand_in_for_it(tmp_path: Path) -> None:
    """Its rows are of the first run, and so are the versions beside them."""
    path = tmp_path / "digits.json"
    first, second = cells = kept(Store(tmp_path / "one"), *variants()[:2])
    export_specs(path, cells, cells, Store(tmp_path / "one"))
    there = Store(tmp_path / "two")
    for one in variants()[:2]:
        there.write(Record(one.hash, dataclasses.asdict(one), VALUES, 10, [], versions={"torch": "3"}))
    export_specs(path, cells, [second], there)
    assert {cell: one["versions"]["torch"] for cell, one in read_specs(path).items()} == {first: "2", second: "3"}


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "digits.json"
    assert read_specs(path) == {}
    path.write_text('[[], {"cells": {"a": [1]}}]')
    with pytest.raises(UserError, match=r"digits\.json cannot be read"):
        read_specs(path)


def test_every_committed_cell_can_be_made_again() -> None:
    """By its specification, which is committed beside it and is the very one: the cell is named by its hash."""
    tables = [path for path in sorted((host.ROOT / "results").glob("*/*.csv")) if path.parent.name != "speed"]
    assert len(tables) > 50
    for path in tables:
        compared = path.parent.name == comparing.NAME
        specs = read_specs(path.with_suffix(".json") if compared else path.parent / "specs" / f"{path.stem}.json")
        rows = files.read_csv(path, schema.COMPARISON if compared else schema.RESULTS)
        cells = {row["cell"] for row in rows if row["cell"]}
        assert cells, path
        assert not cells - specs.keys(), f"cells of {path} without a specification"
        assert {Spec(**specs[cell]["spec"]).hash for cell in cells} == cells, path
