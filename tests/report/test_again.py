"""The commands that stand behind tables: each plans the cells of that very table, and of no other experiment."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.plan import plan
from benchmarks.plan.plan import Options
from benchmarks.records.store import recipe_values
from benchmarks.records.words import plural, reproduce
from datasets.store import Location
from methods.contract import Experiment, papers
from report import build, records
from report.again import is_older, make_command, replicates
from report.figures import draw
from report.records import COMMITTED, Group, load
from tests.benchmarks.test_cell_hashes import everything_prepared
from tests.report.samples import BASE, MAIN, PAPER, RECIPE, rows, write
from tests.report.test_charts import TASK

RESULTS = Path(__file__).resolve().parents[2] / "results"
NOWHERE = Location(Path("/nonexistent"))
WHOLE = (("dan", "table1-late"), ("jan", "table1"))
"""Experiments that are planned in full; of the others it is what is planned, without the cells."""


def read(command: str) -> tuple[str, Options]:
    """The paper and the options of a command, as the Makefile reads them."""
    target, *words = shlex.split(command.removeprefix("make "))
    given = dict(word.split("=", 1) for word in words)
    options = Options(
        experiments=(given.pop("EXPERIMENT"),),
        datasets=tuple(given.pop("DATASET").split()),
        track=given.pop("TRACK"),
        backbone=given.pop("BACKBONE"),
        seeds=int(given.pop("SEEDS", "0")) or None,
    )
    assert not given
    return target.removeprefix("reproduce-"), options


def committed() -> Iterator[tuple[str, Experiment, Group, int]]:
    """Every table: paper, experiment, group, number of replicates."""
    for name, paper in papers().items():
        for experiment in paper.experiments:
            loaded = build.load(name, experiment, None, RESULTS)
            for group in loaded.groups:
                yield name, experiment, group, replicates(loaded.frame, group)


def test_every_command_is_of_its_table_alone() -> None:
    seen = 0
    with everything_prepared():
        for name, experiment, group, number in committed():
            paper, options = read(make_command(name, experiment, group=group, seeds=number))
            assert paper == name
            assert plan.chosen_experiments(paper, options) == [experiment]
            choice = plan.chosen_backbone(experiment, options)
            assert (choice.name, choice.track) == (group.backbone, group.track)
            (dataset,) = plan.chosen_datasets(experiment, options, NOWHERE)
            assert records.is_of(group.dataset, [dataset])
            assert (options.seeds or experiment.seeds) == number
            seen += 1
    assert seen > 50


@pytest.mark.parametrize(("name", "wanted"), WHOLE)
def test_what_it_plans_is_what_is_committed(name: str, wanted: str) -> None:
    """Every row, setting, task, split and seed; of no other experiment."""
    (experiment,) = (one for one in papers()[name].experiments if one.name == wanted)
    loaded = build.load(name, experiment, None, RESULTS)
    for group in loaded.groups:
        rows = records.of_group(loaded.frame, group)
        _, options = read(make_command(name, experiment, group=group, seeds=replicates(rows, group)))
        with everything_prepared():
            cells = plan.make(name, options, NOWHERE).cells
        uses = {(use.paper, use.experiment) for cell in cells for use in cell.uses}
        assert uses == {(name, wanted)}
        planned = {
            (cell.spec.method, use.row.variant, use.setting, cell.spec.task, str(cell.spec.split), cell.spec.seed)
            for cell in cells
            for use in cell.uses
        }
        places = ["method", "variant", "setting", "task", "split", "seed"]
        assert set(records.plain(rows.astype({"split": str}), places)) <= planned


@pytest.mark.parametrize(
    ("track", "recipe", "older"),
    [
        ("finetune", {}, False),
        ("finetune", {"steps": 20, "epoch": 10}, False),  # the row that is trained for twice the steps
        ("finetune", {"steps": 30}, True),
        ("finetune", {"milestones": [0.5]}, True),
        ("finetune", {"rate": 0.005}, True),
        ("frozen", {"rate": 0.005}, False),
    ],
)
def test_an_older_training_is_said(tmp_path: Path, track: str, recipe: dict[str, object], older: bool) -> None:
    group = Group("digits-mini", "full", "lenet", track)
    experiment = dataclasses.replace(MAIN, rows=(*MAIN.rows, dataclasses.replace(BASE, times=2)))
    spec = {**group._asdict(), "recipe": {**recipe_values(RECIPE), **recipe}}
    groups = {"spec": spec, "versions": {}, "cells": {"c0ffee": [TASK, "0", 0, 0]}}
    path = tmp_path / "dan" / "specs" / "digits.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps([[{}], groups]))
    assert is_older("dan", experiment, group, tmp_path) is older
    lines = [{**line, "track": track} for line in rows()]
    write(tmp_path / "dan" / "digits.csv", lines)
    loaded = build.load("dan", experiment, None, tmp_path)
    (table,) = build.tables("dan", PAPER, loaded, [group], tmp_path)
    assert ("training" in dict(table.facts)) is older
    sweep = dataclasses.replace(experiment, sweep={"lam": (0.1,)})
    frame = load({COMMITTED: write(tmp_path / "a.csv", [line | {"setting": "lam=0.1"} for line in lines])})
    (chart,) = draw.of_experiment("dan", PAPER, sweep, frame, group, tmp_path)
    assert ("committed, an older training;" in chart.caption) is older


def test_what_has_no_results_has_a_command_too() -> None:
    with everything_prepared():
        for name, paper in papers().items():
            for experiment in paper.experiments:
                _, options = read(make_command(name, experiment))
                assert plan.chosen_experiments(name, options) == [experiment]
                assert options.datasets == ("folder:PATH",) or plan.chosen_datasets(experiment, options, NOWHERE)


def test_words_by_hand() -> None:
    assert (plural(1, "task"), plural(0, "task"), plural(2, "cell")) == ("1 task", "0 tasks", "2 cells")
    assert reproduce("dan", "table1", ["office31"], "late", "lite0", 3) == (
        "make reproduce-dan EXPERIMENT=table1 DATASET=office31 TRACK=late BACKBONE=lite0 SEEDS=3"
    )
    assert reproduce("dan", "photos", ["folder:/my images"]) == (
        'make reproduce-dan EXPERIMENT=photos DATASET="folder:/my images"'
    )
    assert re.search(r"DATASET=folder:PATH$", reproduce("yosinski", "imagenet", ["folder"]))
