"""Strict reading of results files."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.machine.errors import UserError
from benchmarks.records.schema import RESULTS
from report.records import COMMITTED, LOCAL, Group, files, groups, load, read
from tests.report.samples import rows, write


def test_reads_types(tmp_path: Path) -> None:
    frame = read(write(tmp_path / "a.csv", rows()))
    assert list(frame.columns) == list(RESULTS)
    assert len(frame) == 12
    assert frame.loc[1, "value"] == 81.0
    assert frame.loc[1, "seed"] == 1
    assert frame.loc[1, "setting"] == ""


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        ("value", "abc", "line 4: value is 'abc', expected a finite number"),
        ("value", "nan", "line 4: value is 'nan', expected a finite number"),
        ("value", "", "line 4: value is '', expected a finite number"),
        ("value", "100.5", "line 4: accuracy 100.5 is not a percentage"),
        ("seed", "1.5", "line 4: seed is '1.5', expected a whole number"),
        ("n_test", "many", "line 4: n_test is 'many', expected a finite number"),
        (
            "selection",
            "best",
            "line 4: unknown selection 'best'; there are: last, entropy, source, iwcv, dev, snd, oracle",
        ),
        ("task", "", "line 4: task is empty"),
    ],
)
def test_malformed_field_is_named_by_file_and_line(tmp_path: Path, field: str, text: str, message: str) -> None:
    lines = rows()
    lines[2][field] = text
    path = write(tmp_path / "bad.csv", lines)
    with pytest.raises(UserError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}, {message}")


def test_missing_and_unknown_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", rows())
    content = path.read_text()
    path.write_text(content.replace(",track,", ",trak,", 1))
    with pytest.raises(UserError, match="line 1: missing column track"):
        read(path)
    path.write_text("\n".join(f"{line},x" for line in content.splitlines()) + "\n")
    with pytest.raises(UserError, match="line 1: unknown column x"):
        read(path)
    path.write_text("")
    with pytest.raises(UserError, match="line 1: missing column"):
        read(path)


@pytest.mark.parametrize("change", [lambda line: line + ",more", lambda line: line.rpartition(",")[0]])
def test_wrong_number_of_fields(tmp_path: Path, change: object) -> None:
    path = write(tmp_path / "a.csv", rows())
    lines = path.read_text().splitlines()
    lines[5] = change(lines[5])  # type: ignore[operator]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=r"a\.csv, line 6: expected 21 fields"):
        read(path)


def test_the_same_cell_twice(tmp_path: Path) -> None:
    lines = rows()
    path = write(tmp_path / "a.csv", [*lines, lines[3] | {"value": "1.0", "cell": "other"}])
    with pytest.raises(UserError, match=r"line 14: the same cell, selection and metric as in line 5"):
        read(path)


def test_not_text(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        read(path)


def test_places_and_origins(tmp_path: Path) -> None:
    committed = write(tmp_path / "results/dan/digits.csv", rows())
    assert files("dan", "digits", tmp_path / "runs", tmp_path / "results") == {COMMITTED: committed}
    local = write(tmp_path / "runs/tables/dan/digits.csv", rows(protocol="down-sampled"))
    both = files("dan", "digits", tmp_path / "runs", tmp_path / "results")
    assert both == {COMMITTED: committed, LOCAL: local}
    assert files("dan", "digits", None, tmp_path / "results") == {COMMITTED: committed}
    frame = load(both)
    assert frame["origin"].value_counts().to_dict() == {COMMITTED: 12, LOCAL: 12}
    assert groups(frame) == [
        Group("digits-mini", "full", "lenet", "finetune"),
        Group("digits-mini", "down-sampled", "lenet", "finetune"),
    ]
    assert groups(load({})) == []
