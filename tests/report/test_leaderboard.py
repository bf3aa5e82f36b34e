"""Leaderboards: which rows take part, in which order, and what marks them."""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path

import pytest

from report import leaderboard
from report.records import COMMITTED, LOCAL, load
from report.table import Number
from tests.report.samples import BASE, FULL, MAIN, PAPER, VALUES, rows, write, write_published

COMPARATOR = dataclasses.replace(PAPER, comparator=True, claims=(), title="Another")
OTHER = dataclasses.replace(MAIN, name="other", rows=(BASE, dataclasses.replace(FULL, method="mcc", label="MCC")))


def boards(tmp_path: Path, origin: str = COMMITTED, *, elsewhere: str = "") -> list[leaderboard.Board]:
    """DAN's table, on the network ``elsewhere`` too, and MCC as a comparator five points above it, on the same data."""
    more = rows(backbone=elsewhere) if elsewhere else []
    path = write(tmp_path / "dan/digits.csv", [*rows(), *more])
    above = {("mcc" if method == "dan" else method, task): [one + 5 * (method == "dan") for one in values]
             for (method, task), values in VALUES.items()}  # fmt: skip
    other = write(tmp_path / "mcc/other.csv", rows(above, seconds="4.5"))
    loaded = [("dan", MAIN, load({COMMITTED: path})), ("mcc", OTHER, load({origin: other}))]
    return leaderboard.boards({"dan": PAPER, "mcc": COMPARATOR}, loaded, tmp_path)


def test_rows_of_several_papers_stand_in_one_table_the_best_first(tmp_path: Path) -> None:
    (board,) = boards(tmp_path)
    assert [line.one.label for line in board.lines] == ["MCC", "DAN", "source only"]
    assert [line.whose for line in board.lines] == ["mcc, comparator", "dan", "dan"]
    assert [line.verdict for line in board.lines] == ["reproduced", "reproduced", ""], "a baseline gains nothing"
    assert [line.seconds for line in board.lines] == [4.5, 1.5, 1.5]
    grid = leaderboard.grid(board, "board")
    assert grid.lines[0].label == "MCC (comparator)", "also where a narrow screen has no room for the paper"
    best = dict(zip(grid.columns, grid.lines[0].cells, strict=True))
    assert isinstance(best["mean"], Number)
    assert best["mean"].value == pytest.approx(78.5)
    assert isinstance(best["gain"], Number)
    assert best["gain"].value == pytest.approx(8.0)
    assert list(grid.columns[:6]) == ["gain", "95 % interval", "p", "mean", "verdict", "published"], "what decides"


def test_the_network_with_the_most_rows_comes_first(tmp_path: Path) -> None:
    found = boards(tmp_path, elsewhere="alexnet")
    assert [(board.group.backbone, len(board.lines)) for board in found] == [("lenet", 3), ("alexnet", 2)]


def test_what_is_this_machines_is_called_so(tmp_path: Path) -> None:
    (board,) = boards(tmp_path, LOCAL)
    assert board.lines[0].whose == "mcc, comparator, this machine"


def test_the_file_has_every_task_and_the_mean(tmp_path: Path) -> None:
    write_published(
        tmp_path / "published.csv", [("CNN", "Avg", "70.1", "", "paper"), ("DAN", "Avg", "72.9", "", "paper")]
    )
    found = list(csv.DictReader(io.StringIO(leaderboard.comma_separated(boards(tmp_path)))))
    assert len(found) == 3 * (2 + 1)
    assert tuple(found[0]) == leaderboard.CSV_COLUMNS
    mean = next(row for row in found if (row["method"], row["task"]) == ("DAN", "mean"))
    assert (float(mean["accuracy"]), float(mean["gain"]), mean["n"], mean["comparator"]) == (73.5, 3.0, "3", "")
    assert mean["published_gain"] == "", "it is of other data"
    assert float(mean["low"]) == pytest.approx(0.51586, abs=1e-5)
