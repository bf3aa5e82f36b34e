"""The label-free choice among the settings of a row, and learning curves, built from small results."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

from methods.contract import Experiment
from report.build import table_of
from report.records import COMMITTED
from report.table import Grid
from tests.report.samples import BASE, FULL, PAPER, RECIPE, rows
from tests.report.test_tables import GROUP, cells, frame, grid

TASK, OTHER = "mnist:optdigits", "optdigits:mnist"
WIDTHS = (8, 16, 32)
SWEPT = Experiment(
    "width", "accuracy over width", (BASE, FULL), {"digits-mini": RECIPE}, BASE, sweep={"width": WIDTHS}, selects="gap"
)
ACCURACY = {8: (60.0, 61.0, 62.0), 16: (70.0, 71.0, 72.0), 32: (71.0, 73.0, 72.0)}
GAP = {8: (0.5, 0.4, 0.6), 16: (0.1, 0.2, 0.3), 32: (0.3, 0.3, 0.3)}


def measured(
    settings: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]], task: str = TASK, method: str = "dan"
) -> list[dict[str, str]]:
    """Rows of accuracies and gaps, per setting."""
    return [
        row
        for setting, (accuracy, gap) in settings.items()
        for metric, values in (("accuracy", accuracy), ("gap", gap))
        for row in rows({(method, task): values}, setting=setting, metric=metric, experiment="width")
    ]


def swept(task: str = TASK, further: str = "") -> list[dict[str, str]]:
    return measured({f"width={width}{further}": (ACCURACY[width], GAP[width]) for width in WIDTHS}, task)


def label_free(found: pd.DataFrame, experiment: Experiment = SWEPT) -> Grid:
    return grid(table_of("dan", PAPER, experiment, found, GROUP), "label-free")


def test_the_least_value_is_taken_whatever_the_accuracy(tmp_path: Path) -> None:
    found = frame(tmp_path, [*rows({("source_only", TASK): (50, 50, 50)}), *swept()])
    table = table_of("dan", PAPER, SWEPT, found, GROUP)
    assert cells(table, "label-free", "DAN, width=16") == {
        f"{TASK} gap": "0.200 ± 0.058 <",
        f"{TASK} accuracy": "71.0 ± 0.6",
    }
    assert cells(table, "label-free", "DAN, width=32")[f"{TASK} gap"] == "0.300 ± 0.000"
    shown = grid(table, "label-free")
    assert [line.label for line in shown.lines] == [f"DAN, width={width}" for width in WIDTHS], "the baseline has none"
    first, second = shown.notes
    assert first.startswith("<: the least gap of its row and task")
    # 70 - 71, 71 - 73, 72 - 72: mean -1, standard error 1 / sqrt(3), t = 4.303.
    assert second == (
        f"{COMMITTED}, {TASK}: the rule takes DAN, width=16, -1.00 points, 95 % interval [-3.48, +1.48] from the most "
        "accurate in hindsight, DAN, width=32"
    )


def test_the_accuracies_do_not_enter_the_choice(tmp_path: Path) -> None:
    other = {width: tuple(100 - x for x in accuracy) for width, accuracy in ACCURACY.items()}
    turned = measured({f"width={width}": (other[width], GAP[width]) for width in WIDTHS})
    for found in (swept(), turned):
        marks = [line.cells[0].mark for line in label_free(frame(tmp_path, found)).lines]  # type: ignore[union-attr]
        assert marks == ["", " <", ""]


def test_every_task_has_a_choice_of_its_own(tmp_path: Path) -> None:
    reverse = {width: GAP[other] for width, other in zip(WIDTHS, (16, 8, 32), strict=True)}
    second = measured({f"width={width}": (ACCURACY[width], reverse[width]) for width in WIDTHS}, OTHER)
    notes = label_free(frame(tmp_path, [*swept(), *second])).notes
    assert "the rule takes DAN, width=16" in notes[1]
    assert "the rule takes DAN, width=8" in notes[2]
    assert OTHER in notes[2]


def test_a_choice_that_is_the_most_accurate_says_so(tmp_path: Path) -> None:
    best = measured({"width=8": ((60.0,), (0.5,)), "width=16": ((70.0,), (0.1,))})
    assert label_free(frame(tmp_path, best)).notes[1] == (
        f"{COMMITTED}, {TASK}: the rule takes DAN, width=16, and no other is more accurate"
    )
    one_seed = measured({"width=8": ((71.5,), (0.5,)), "width=16": ((70.0,), (0.1,))})
    assert ", -1.50 points from the most accurate" in label_free(frame(tmp_path, one_seed)).notes[1]


def test_what_else_is_set_is_not_chosen_among(tmp_path: Path) -> None:
    notes = label_free(frame(tmp_path, [*swept(), *swept(further=";precision=bf16")])).notes[1:]
    assert ["width=16, precision=bf16" in note for note in notes] == [False, True]


def test_cuts_are_ordered_and_chosen_among_like_a_sweep(tmp_path: Path) -> None:
    cuts = dataclasses.replace(SWEPT, sweep={}, cuts=("early", "pool", "logits"))
    settings = {"cut=logits": ((50.0,), (0.2,)), "cut=early": ((40.0,), (0.4,)), "cut=pool": ((60.0,), (0.1,))}
    baseline = measured(dict.fromkeys(settings, ((30.0,), ())), method="source_only")
    table = table_of("dan", PAPER, cuts, frame(tmp_path, [*measured(settings), *baseline]), GROUP)
    shown = grid(table, "label-free")
    assert [line.label for line in shown.lines] == ["DAN, cut=early", "DAN, cut=pool", "DAN, cut=logits"]
    assert "takes DAN, cut=pool, and no other" in shown.notes[1]
    assert cells(table, "difference", "DAN, cut=early")["mean"] == "+10.00 ± -", "over the baseline at the same cut"


@pytest.mark.parametrize("selects", ["", "nothing-measured"])
def test_without_the_metric_there_is_no_choice(selects: str, tmp_path: Path) -> None:
    table = table_of("dan", PAPER, dataclasses.replace(SWEPT, selects=selects), frame(tmp_path, swept()), GROUP)
    assert "label-free" not in {one.name for one in table.grids}


def test_a_curve_has_a_line_per_evaluation_in_the_order_of_the_steps(tmp_path: Path) -> None:
    points = {20: ((10.0, 20.0), (30.0, 30.0)), 100: ((50.0, 60.0), (70.0, 70.0)), 9: ((1.0, 2.0), (3.0, 3.0))}
    lines = [
        *rows({("source_only", TASK): (60.0, 60.0), ("dan", TASK): (70.0, 70.0)}),
        *(
            row
            for step, (base, full) in points.items()
            for row in rows({("source_only", TASK): base, ("dan", TASK): full}, metric=f"test_accuracy@{step}")
        ),
    ]
    curved = dataclasses.replace(SWEPT, sweep={}, selects="", curve=("test_accuracy", "classification"))
    table = table_of("dan", PAPER, curved, frame(tmp_path, lines), GROUP)
    shown = grid(table, "curve-test_accuracy")
    assert [line.label for line in shown.lines] == ["9", "20", "100"]
    assert cells(table, "curve-test_accuracy", "20") == {"source only": "15.0 ± 5.0", "DAN": "30.0 ± 0.0"}
    names = {one.name for one in table.grids}
    assert "curve-classification" not in names, "nothing of it is there"
    assert "quantities" not in names, "a curve is no further quantity"
