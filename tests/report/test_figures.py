"""Sweep figures: their data by hand, their files, and that they are the same for the same results."""

from __future__ import annotations

import csv
import dataclasses
import math
from pathlib import Path

import pytest
from click.testing import CliRunner

from report import __main__ as cli
from report.figures.sweeps import draw, sweep, swept_field
from report.records import COMMITTED, Group, load
from report.runs import Run, runs_of
from tests.report.samples import MAIN, PAPER, SWEEP, rows, write

GROUP = Group("digits-mini", "full", "lenet", "finetune")


def lines(*settings: str) -> list[dict[str, str]]:
    found = [row for row in rows(experiment="sensitivity") if row["method"] == "source_only"]
    for shift, setting in enumerate(settings):
        for row in rows(experiment="sensitivity"):
            if row["method"] == "dan":
                found.append(row | {"setting": setting, "value": str(float(row["value"]) + shift)})
    return found


def run_of(tmp_path: Path, found: list[dict[str, str]]) -> Run:
    (run,) = runs_of(load({COMMITTED: write(tmp_path / "a.csv", found)}), GROUP)
    return run


def test_which_experiments_have_a_figure() -> None:
    assert swept_field(SWEEP) == "lam"
    assert swept_field(MAIN) is None
    assert swept_field(dataclasses.replace(SWEEP, sweep={"lam": (0.1,), "width": (1,)})) is None
    assert swept_field(dataclasses.replace(SWEEP, sweep={"layers": ("fc7", "fc8")})) is None
    assert swept_field(dataclasses.replace(SWEEP, sweep={"flag": (True, False)})) is None


def test_points_by_rising_value(tmp_path: Path) -> None:
    run = run_of(tmp_path, lines("lam=10.0", "lam=0.1", "lam=1.0"))
    figure = sweep(SWEEP, run, GROUP)
    assert figure is not None
    points = figure.curves["DAN"]
    assert [(point.x, point.accuracy, point.n) for point in points] == [(0.1, 74.5, 3), (1.0, 75.5, 3), (10.0, 73.5, 3)]
    assert [point.se for point in points] == pytest.approx([0.5] * 3)
    assert {label: point.accuracy for label, point in figure.baselines.items()} == {"source only": 70.5}
    assert sweep(MAIN, run, GROUP) is None


def test_files(tmp_path: Path) -> None:
    figure = sweep(SWEEP, run_of(tmp_path, lines("lam=0.1", "lam=1.0", "lam=10.0")), GROUP)
    assert figure is not None
    first = {path.suffix: path.read_bytes() for path in draw(figure, tmp_path / "one" / "figure")}
    second = {path.suffix: path.read_bytes() for path in draw(figure, tmp_path / "two" / "figure")}
    assert set(first) == {".pdf", ".svg", ".png", ".csv"}
    assert first == second
    svg = first[".svg"].decode()
    for words in (
        "accuracy, mean of mnist:optdigits,",
        "optdigits:mnist (%)",
        "lam",
        "source only",
        "standard error over n = 3 seeds",
    ):
        assert words in svg
    table = list(csv.DictReader(first[".csv"].decode().splitlines()))
    assert [(row["row"], row["x"], float(row["accuracy"])) for row in table] == [
        ("DAN", "0.1", 73.5),
        ("DAN", "1.0", 74.5),
        ("DAN", "10.0", 75.5),
        ("source only", "", 70.5),
    ]
    assert float(table[3]["se"]) == pytest.approx(math.sqrt(1 / 12))


def test_one_seed_and_a_zero_are_drawn(tmp_path: Path) -> None:
    alone = [row for row in lines("lam=0", "lam=0.1", "lam=10.0") if row["seed"] == "0"]
    figure = sweep(SWEEP, run_of(tmp_path, alone), GROUP)
    assert figure is not None
    assert math.isnan(figure.curves["DAN"][0].se)
    svg = next(path for path in draw(figure, tmp_path / "figure") if path.suffix == ".svg").read_text()
    assert "n = 1 seed" in svg
    assert "nan" not in svg


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "papers", lambda: {"dan": PAPER})
    runner = CliRunner()
    empty = runner.invoke(cli.main, ["figures", "dan"])
    assert empty.exit_code == 2
    assert empty.stderr == (
        "Error: there is nothing to draw yet; get results with: make reproduce-dan EXPERIMENT=digits "
        "DATASET=digits-mini TRACK=finetune BACKBONE=lenet\n"
    )
    write(tmp_path / "results/dan/digits.csv", rows())
    wrong = runner.invoke(cli.main, ["figures", "dan", "--experiment", "digits"])
    assert wrong.exit_code == 2
    assert wrong.stderr == (
        "Error: there is nothing to draw of digits of dan: nothing is swept, followed or measured there.\n"
    )
    write(tmp_path / "results/dan/sensitivity.csv", lines("lam=0.1", "lam=1.0"))
    made = runner.invoke(cli.main, ["figures", "dan"])
    assert made.exit_code == 0
    paths = [Path(line) for line in made.stdout.splitlines()]
    assert paths[0] == Path("runs/figures/dan/sensitivity-digits-mini-full-lenet-finetune.pdf")
    assert all(path.stat().st_size > 0 for path in paths)
    assert runner.invoke(cli.main, ["figures", "all", "--experiment", "sensitivity"]).stdout == made.stdout
    assert runner.invoke(cli.main, ["-h"]).exit_code == 0
