"""Whatever a file or a command line holds, it is read or refused in one sentence."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.cli.main import main
from benchmarks.machine.errors import UserError
from benchmarks.records import files, schema
from benchmarks.records.store import Record, Store, read_specs
from datasets import protocols, verify
from datasets.errors import DataError
from datasets.store import Location
from report import records
from tests.benchmarks.cells import spec

CELL = spec().hash
fuzzed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
valid: dict[str, Any] = dataclasses.asdict(
    Record(CELL, dataclasses.asdict(spec()), [{"selection": "last", "metric": "accuracy", "value": 1.0}], 10, [])
)


def damaged(content: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """A file of JSON with one field replaced or left out, cut short, or anything else."""
    text = json.dumps(content)
    replaced = st.tuples(st.sampled_from(sorted(content)), json_values).map(
        lambda change: json.dumps({**content, change[0]: change[1]}).encode()
    )
    without = st.sampled_from(sorted(content)).map(
        lambda name: json.dumps({k: v for k, v in content.items() if k != name})
    )
    cut = st.integers(0, len(text) - 1).map(lambda end: text[:end].encode())
    return (
        replaced
        | without.map(str.encode)
        | cut
        | st.binary(max_size=40)
        | json_values.map(lambda v: json.dumps(v).encode())
    )


@fuzzed
@given(content=damaged(valid))
def test_records(content: bytes, tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.record_path(CELL)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    with contextlib.suppress(UserError):
        record = store.read(CELL)
        assert record.cell == CELL
        assert isinstance(record.value("accuracy"), float)


group = {"spec": {"method": "dan"}, "versions": {}, "cells": {CELL: ["a:b", 0, 0, 0]}}


@fuzzed
@given(content=damaged(group).map(lambda one: b'[[{"source": "x"}],' + one + b"]"))
def test_specs(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "dan" / "specs" / "digits.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    with contextlib.suppress(UserError):
        assert all(isinstance(one["spec"], dict) for one in read_specs(path).values())
    frame = pd.DataFrame({"paper": ["dan"], "experiment": ["digits"], "cell": [CELL]})
    with contextlib.suppress(UserError):
        assert all(isinstance(one["spec"], dict) for one in records.kept([frame], None, tmp_path).values())


row = dict.fromkeys(schema.RESULTS, "1") | {"selection": "last", "value": "50.5", "n_test": "10", "seconds": "1"}
fields = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(["nan", "-1", "1e999", '"', "\n", ","])


@fuzzed
@given(name=st.sampled_from(schema.RESULTS), value=fields, tail=st.binary(max_size=12))
def test_tables(name: str, value: str, tail: bytes, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(
        ",".join(schema.RESULTS).encode() + b"\n" + ",".join({**row, name: value}.values()).encode() + b"\n" + tail
    )
    with contextlib.suppress(UserError):
        assert all(set(one) == set(schema.RESULTS) for one in files.read_csv(path, schema.RESULTS))
    with contextlib.suppress(UserError):
        frame = records.read(path)
        assert frame["value"].notna().all()


expected = {"domain": "tiny", "parts": {"train": {"count": 3, "per_class": [1, 2], "shape": [8, 8, 1]}}}


@fuzzed
@given(content=damaged(expected))
def test_manifests(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "MANIFESTS", tmp_path)
    (tmp_path / "tiny.json").write_bytes(content)
    with contextlib.suppress(DataError):
        assert isinstance(verify.manifest("tiny"), dict)


labels = st.text(max_size=12) | st.lists(
    st.sampled_from(["mnist", "mfeat", "usps", "+", ":", "@", "-", "10", " "])
).map("".join)


@fuzzed
@given(label=labels)
def test_tasks(label: str, tmp_path: Path) -> None:
    with contextlib.suppress(DataError):
        for task in protocols.tasks("digits-mini", [label], Location(tmp_path, None)):
            assert task.source != task.target


options = [
    "--dataset",
    "--tasks",
    "--experiment",
    "--backbone",
    "--track",
    "--cut",
    "--seeds",
    "--statistics",
    "--views",
]


@settings(fuzzed, max_examples=25)
@given(
    command=st.sampled_from(["plan", "status", "export", "rerun", "data"]),
    words=st.lists(
        st.tuples(st.sampled_from(options), labels | st.sampled_from(["digits-mini", "-1", "lenet"])), max_size=3
    ),
    paper=st.sampled_from(["dan", "all", "jan", "", "--"]) | st.text(max_size=5),
)
def test_command_lines(
    command: str, words: list[tuple[str, str]], paper: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [command, paper, *(word for pair in words for word in pair)]
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.setenv("RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("DATA_MIRROR", raising=False)
    said, status = io.StringIO(), 0
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
    assert status in (0, 2), said.getvalue()
    if status:
        assert said.getvalue().startswith("Error: ")
        assert "Traceback" not in said.getvalue()
