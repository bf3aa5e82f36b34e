"""Records of older code, runs that fail, and settings for exploring: nothing old passes for new."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.export import tables
from benchmarks.machine import host
from benchmarks.records.store import Spec, Store
from datasets.store import Location
from methods import contract
from report import __main__ as report
from tests.benchmarks.own_images import QUICK, tiny, write
from tests.benchmarks.test_cell_hashes import everything_prepared
from tests.benchmarks.test_command_line import call

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Location]:
    with tiny(tmp_path / "data") as location:
        write(tmp_path / "mine", {"a": True, "b": True}, count=4)
        yield location


def shown(capsys: Capture, patch: Patch, place: Location, root: Path) -> str:
    what = ["report", "table", "dan", "--dataset", f"folder:{root}", "--runs", str(place.root / "runs")]
    patch.setattr("sys.argv", what)
    report.main(standalone_mode=False)
    return capsys.readouterr().out


def test_an_edited_method_warns_and_a_failing_one_leaves_no_old_value(
    tmp_path: Path, place: Location, capsys: Capture, monkeypatch: Patch
) -> None:
    root, records = tmp_path / "mine", Store(place.root / "runs")

    def run(*more: str) -> tuple[int, str, str]:
        what = ["run", "dan", "--dataset", f"folder:{root}", "--backbone", "tiny", "--set", QUICK, "--seeds", 1]
        where = ["--tasks", "a:b", "--jobs", 1, "--data", place.root, "--runs", records.root]
        return call(capsys, monkeypatch, *what, *where, *more)

    call(capsys, monkeypatch, "data", f"folder:{root}", "--data", place.root)
    status, output, error = call(
        capsys, monkeypatch, "reproduce", "dan", "--dataset", f"folder:{root}", "--backbone", "tiny", "--set", QUICK,
        "--seeds", 1, "--tasks", "a:b", "--jobs", 1, "--data", place.root, "--runs", records.root,
    )  # fmt: skip
    assert status == 0, output + error
    assert "Warning" not in error
    first = {cell: records.read(cell) for cell in records.cells()}
    assert {one.source for one in first.values()} == {host.code_digest(one.spec["method"]) for one in first.values()}

    digest = host.code_digest
    monkeypatch.setattr(host, "code_digest", lambda name: f"edited {name}" if name == "dan" else digest(name))
    status, output, error = run()
    assert status == 0
    assert error.startswith("Warning: methods/dan.py or what it imports has changed since ")
    assert "dan set.recipe.steps=40" in error
    assert "FORCE=1 retrains" in error
    assert {cell: records.read(cell) for cell in records.cells()} == first

    status, output, error = run("--force")
    assert (status, "Warning" in error) == (0, False)
    assert {records.read(cell).source for cell in first if first[cell].spec["method"] == "dan"} == {"edited dan"}
    assert {cell: records.read(cell).values for cell in first} == {cell: one.values for cell, one in first.items()}
    text = shown(capsys, monkeypatch, place, root)
    assert "dan on mine, images of your own" in text
    assert "ublished" not in text
    assert "laim" not in text
    table = tables.read(records.table_path("dan", "table1"))
    assert "dan" in {row["method"] for row in table}

    def broken(_model: Any, _batch: Any) -> Any:
        raise ZeroDivisionError("edited\n  in haste")

    load = contract.load
    monkeypatch.setattr(
        contract, "load", lambda name: dataclasses.replace(load(name), step=broken) if name == "dan" else load(name)
    )
    status, _, error = run("--force")
    assert status == 1
    assert "edited in haste" in error
    rows = tables.read(records.table_path("dan", "table1"))
    assert {row["method"] for row in rows} == {"source_only", "shallow", "ddc"}
    text = shown(capsys, monkeypatch, place, root)
    assert "FAILED here, and without a value above: dan on a:b, seed 0: ZeroDivisionError: edited in haste" in text
    note, *_ = (records.root / "failed").iterdir()
    choosing = dataclasses.replace(Spec(**json.loads(note.read_text())["spec"]), holdout=0.1)
    records.write_failure(choosing, "too large a weight", "")
    assert "too large a weight" not in shown(capsys, monkeypatch, place, root), "the table has no cell of that kind"

    status, _, error = call(capsys, monkeypatch, "export", "dan", "--dataset", f"folder:{root}", "--runs", records.root)
    assert (status, "your own images are not exported" in error) == (2, True)
    status, _, error = call(capsys, monkeypatch, "export", "dan", "--runs", records.root)
    assert (status, "nothing of dan run here can be exported" in error) == (2, True)


def test_rows_of_an_older_revision_vanish(tmp_path: Path, place: Location, capsys: Capture, monkeypatch: Patch) -> None:
    root, records = tmp_path / "mine", Store(place.root / "runs")
    what = ["reproduce", "ddc", "--dataset", f"folder:{root}", "--backbone", "tiny", "--set", QUICK, "--seeds", 1]
    where = ["--tasks", "a:b", "--jobs", 1, "--data", place.root, "--runs", records.root]
    assert call(capsys, monkeypatch, *what, *where)[0] == 0
    path = next((records.root / "tables" / "ddc").glob("*.csv"))
    old = {row["cell"] for row in tables.read(path) if row["method"] == "ddc"}
    load = contract.load

    def raised(name: str) -> Any:
        method = load(name)
        fails = lambda _model, _batch: 1 / 0  # noqa: E731
        return dataclasses.replace(method, revision=99, step=fails) if name == "ddc" else method

    monkeypatch.setattr(contract, "load", raised)
    assert call(capsys, monkeypatch, *what, *where)[0] == 1
    rows = tables.read(path)
    assert not old & {row["cell"] for row in rows}
    assert {row["method"] for row in rows} == {"source_only"}


def test_the_digest_follows_code_and_not_words(tmp_path: Path, monkeypatch: Patch) -> None:
    def digest(**modules: str) -> str:
        for name, text in modules.items():
            (tmp_path / f"{name}.py").write_text(text)
        host.code_digest.cache_clear()
        return host.code_digest("new")

    monkeypatch.setattr(host.methods, "__path__", [str(tmp_path)])
    first = digest(new='"""Words."""\nfrom methods import helper\n\nX = 1\n', helper="Y = 1\n", other="Z = 1\n")
    assert digest(new='"""Others."""\nfrom methods import helper  # why\nX = 1\n') == first
    assert digest(other="Z = 2\n") == first
    edited = digest(helper="Y = 2\n")
    assert edited != first
    assert digest(helper="Y = 1\n") == first
    assert digest(new="from methods import helper\nX = 2\n") not in (first, edited)
    host.code_digest.cache_clear()
    assert host.code_digest("nowhere") == ""
    host.code_digest.cache_clear()


def test_status_counts_the_experiments_that_are_planned_of_a_folder(
    tmp_path: Path, place: Location, capsys: Capture, monkeypatch: Patch
) -> None:
    """Every experiment fits a folder; those that nobody has asked for are not missing there."""
    root = tmp_path / "mine"
    what = ["dan", "--dataset", f"folder:{root}", "--tasks", "a:b", "--data", place.root]
    with everything_prepared():
        printed = {command: call(capsys, monkeypatch, command, *what)[1] for command in ("plan", "status")}
    rows = {command: [line.split()[:2] for line in text.splitlines()] for command, text in printed.items()}
    planned, counted = ({row[1] for row in rows[name] if row[:1] == ["dan"]} for name in ("plan", "status"))
    assert planned == counted
    assert planned
