"""The record store: atomic, readable, honest about damage."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from pathlib import Path

import pytest

from benchmarks.machine.errors import UserError
from benchmarks.records import files
from benchmarks.records.files import write_atomically
from benchmarks.records.store import Record, Spec, Store
from tests.benchmarks.cells import spec


def record_of(spec: Spec) -> Record:
    return Record(
        cell=spec.hash,
        spec=dataclasses.asdict(spec),
        values=[{"selection": "last", "metric": "accuracy", "value": 90.0}],
        n_test=10,
        history=[],
    )


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    store, record = Store(tmp_path), record_of(spec())
    assert not store.has(record.cell)
    store.write(record)
    assert store.has(record.cell)
    assert store.read(record.cell) == record
    assert store.cells() == [record.cell]
    assert record.value("accuracy") == 90.0
    with pytest.raises(KeyError):
        record.value("accuracy", "oracle")


def test_success_forgets_failure_and_checkpoint(tmp_path: Path) -> None:
    store, of = Store(tmp_path), spec()
    store.write_failure(of, "it broke", "")
    assert store.failure(of.hash) == "it broke"
    store.checkpoint_path(of.hash).parent.mkdir()
    store.checkpoint_path(of.hash).touch()
    store.write(record_of(of))
    assert store.failure(of.hash) is None
    assert not store.checkpoint_path(of.hash).exists()


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.record_path("0123")
    path.parent.mkdir()
    path.write_text('{"cell": "0123", "spec"')
    with pytest.raises(UserError, match=r"0123\.json is not a readable record"):
        store.read("0123")


@pytest.mark.parametrize("values", [[], [{}], [None], True, [{"metric": "accuracy", "selection": "last"}]], ids=str)
def test_a_record_whose_values_are_none_is_named(values: object, tmp_path: Path) -> None:
    store, of = Store(tmp_path), spec()
    store.write(record_of(of))
    content = json.loads(store.record_path(of.hash).read_text())
    store.record_path(of.hash).write_text(json.dumps({**content, "values": values}))
    with pytest.raises(UserError, match="is not a readable record"):
        store.read(of.hash)


def test_a_full_disk_leaves_the_old_file_and_no_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.json"
    write_atomically(path, "old")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Spec)])
def test_every_field_of_a_spec_is_part_of_its_identity(name: str) -> None:
    of = spec()
    value = getattr(of, name)
    if isinstance(value, str):
        other: object = value + "x"
    elif isinstance(value, dict):
        other = {**value, "further": 1}
    else:
        other = value + 1
    assert dataclasses.replace(of, **{name: other}).hash != of.hash
    assert dataclasses.replace(of).hash == of.hash


def test_a_protocol_that_was_renamed_keeps_its_cells() -> None:
    """The splits tell it from the one that has the name now."""
    random, first = (
        dataclasses.replace(spec(), protocol=name, data={"splits": drawn})
        for name, drawn in (("semi-supervised-random", "by chance"), ("semi-supervised", "in order"))
    )
    assert random.hash == dataclasses.replace(random, protocol="semi-supervised").hash
    assert random.hash != first.hash


def test_the_newest_cells_come_first(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.newest(3) == []
    for number, cell in enumerate(("aa", "cc", "bb")):
        store.write(Record(cell, {}, [], 1, []))
        os.utime(store.record_path(cell), ns=(number, number))
    (tmp_path / "cells" / ".aa.json.77").write_text("half a record")
    assert store.newest(3) == ["bb", "cc", "aa"]
    assert store.newest(2) == ["bb", "cc"]


def test_some_fields_are_those_of_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    assert files.read_fields(path, ("a", "b", "c"), ("c", "a")) == []
    path.write_text('b,c,a\n1,2,3\n\n"x,y",5,6\n')
    assert files.read_fields(path, ("a", "b", "c"), ("c", "a")) == [("2", "3"), ("5", "6")]
    path.write_text("b,c,a\n1,2\n")
    with pytest.raises(UserError, match=r"table\.csv, line 2: expected 3 fields"):
        files.read_fields(path, ("a", "b", "c"), ("c", "a"))
