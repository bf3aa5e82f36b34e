"""Tables built from small results, compared with what they must say."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from report import records
from report.build import table_of
from report.pages import cell_view
from report.records import COMMITTED, LOCAL, Group, groups, load
from report.runs import Entry, Run
from report.table import Grid, Interval, Number, Table, as_csv, as_markdown, as_text, cell_text
from tests.report.samples import ABLATIONS, FULL, MAIN, PAPER, SWEEP, VALUES, rows, write, write_published

GROUP = Group("digits-mini", "full", "lenet", "finetune")
DOWN = GROUP._replace(protocol="down-sampled")


def frame(
    tmp_path: Path, committed: Sequence[dict[str, str]] = (), local: Sequence[dict[str, str]] = ()
) -> pd.DataFrame:
    paths = {}
    if committed:
        paths[COMMITTED] = write(tmp_path / "committed.csv", committed)
    if local:
        paths[LOCAL] = write(tmp_path / "local.csv", local)
    return load(paths)


def test_two_values_for_one_cell_are_refused(tmp_path: Path) -> None:
    """Files with such rows are refused before; this is the last guard against a mean over what must not be mixed."""
    once = frame(tmp_path, rows(VALUES))
    run = Run("twice", False, pd.concat([once, once]), ("a:b",), "seed")
    with pytest.raises(ValueError, match="two values"):
        run.mean(Entry(FULL))


def grid(table: Table, name: str) -> Grid:
    (found,) = (grid for grid in table.grids if grid.name == name)
    return found


def cells(table: Table, name: str, label: str, origin: str = COMMITTED) -> dict[str, str]:
    """Column -> text."""
    found = grid(table, name)
    (line,) = (line for line in found.lines if (line.label, line.origin) == (label, origin))
    return dict(zip(found.columns, map(cell_text, line.cells), strict=True))


TEXT = """\
dan digits on digits-mini: accuracy on digits
=============================================

backbone      lenet
track         finetune
protocol      full
selection     last iterate
spread        standard error over seeds: initialisation and batch noise
committed     3 seeds (0, 1, 2), cpu, torch 2.14.1
this machine  1 seed (0), cpu, torch 2.14.1
agreement     all 4 values in common agree to the last digit

Accuracy in percent, last iterate

row          run                mnist:    optdigits:        mean    n
                             optdigits         mnist
-----------  ------------  -----------  ------------  ----------  ---
source only  committed      81.0 ± 0.6    60.0 ± 0.0  70.5 ± 0.3    3
source only  this machine     80.0 ± -      60.0 ± -    70.0 ± -    1
DAN          committed      84.0 ± 0.0    63.0 ± 1.0  73.5 ± 0.5    3
DAN          this machine     84.0 ± -      62.0 ± -    73.0 ± -    1
  this machine: n = 1 of 3 planned seeds

Difference over source only, percentage points

row    run                mnist:    optdigits:          mean    95 % interval       p    n
                       optdigits         mnist
-----  ------------  -----------  ------------  ------------  ---------------  ------  ---
DAN    committed           +3.00         +3.00  +3.00 ± 0.58   [+0.52, +5.48]  0.0351    3
DAN    this machine        +4.00         +2.00     +3.00 ± -                -       -    1
  paired by task, split and seed; 95 % interval and p: t-test over the n means over tasks

Claims and questions

claim    run                 effect    95 % interval       p    n    tasks up    tasks down  verdict
-------  ------------  ------------  ---------------  ------  ---  ----------  ------------  ---------------
gain     committed     +3.00 ± 0.58   [+0.52, +5.48]  0.0351    3           0             0  reproduced
gain     this machine     +3.00 ± -                -       -    1           -             -  not enough runs
  gain: DAN beats source only. (DAN against source only)
  reproduced: the 95 % interval lies above 0; reversed: below 0; no effect: it contains 0 and is within 0.5 points \
of it (or the metric's own)
  undecided: else, with the number of replicates expected to decide it at the same mean and spread
  tasks up, down: whose own difference is above or below 0 (t-tests, Holm); mixed: one or more go against the mean
"""

MARKDOWN = """\
## dan digits on digits-mini: accuracy on digits

- backbone: lenet
- track: finetune
- protocol: full
- selection: last iterate
- spread: standard error over seeds: initialisation and batch noise
- committed: 3 seeds (0, 1, 2), cpu, torch 2.14.1

### Accuracy in percent, last iterate

| row         | run       |   mnist:optdigits |   optdigits:mnist |           mean |   n |
|:------------|:----------|------------------:|------------------:|---------------:|----:|
| source only | committed |        81.0 ± 0.6 |        60.0 ± 0.0 |     70.5 ± 0.3 |   3 |
| DAN         | committed |    **84.0 ± 0.0** |    **63.0 ± 1.0** | **73.5 ± 0.5** |   3 |
"""


def test_text(tmp_path: Path) -> None:
    local = [row for row in rows() if row["seed"] == "0"]
    assert as_text(table_of("dan", PAPER, MAIN, frame(tmp_path, rows(), local), GROUP)) == TEXT


def test_markdown(tmp_path: Path) -> None:
    text = as_markdown(table_of("dan", PAPER, MAIN, frame(tmp_path, rows()), GROUP))
    assert text.startswith(MARKDOWN)


def test_csv_has_every_cell_at_full_precision(tmp_path: Path) -> None:
    table = table_of("dan", PAPER, MAIN, frame(tmp_path, rows()), GROUP)
    lines = list(csv.DictReader(io.StringIO(as_csv([table]))))
    assert len(lines) == sum(len(grid.columns) * len(grid.lines) for grid in table.grids)
    found = {(line["grid"], line["row"], line["column"]): line for line in lines}
    assert float(found["accuracy", "DAN", "mean"]["value"]) == 73.5
    assert float(found["difference", "DAN", "mean"]["spread"]) == pytest.approx(1 / math.sqrt(3), abs=1e-9)
    assert float(found["difference", "DAN", "95 % interval"]["low"]) == pytest.approx(0.51586, abs=1e-5)
    assert found["claims", "gain", "verdict"]["value"] == "reproduced"


def test_rows_come_in_the_order_of_the_experiment(tmp_path: Path) -> None:
    single = rows({("dan", "mnist:optdigits"): (1, 2), ("dan", "optdigits:mnist"): (1, 2)}, variant="single_kernel")
    extra = rows({("coral", "mnist:optdigits"): (1, 2), ("coral", "optdigits:mnist"): (1, 2)})
    table = table_of("dan", PAPER, ABLATIONS, frame(tmp_path, [*extra, *single, *rows()[::-1]]), GROUP)
    assert [line.label for line in grid(table, "accuracy").lines] == ["source only", "DAN", "DAN_SK", "coral"]


def test_agreement_names_the_largest_difference(tmp_path: Path) -> None:
    local = rows()
    local[7]["value"] = "84.25"
    table = table_of("dan", PAPER, MAIN, frame(tmp_path, rows(), local), GROUP)
    expected = "11 of 12 values in common agree to the last digit; largest difference of an accuracy 0.25 points"
    assert dict(table.facts)["agreement"] == expected
    assert "agreement" not in dict(table_of("dan", PAPER, MAIN, frame(tmp_path, rows()), GROUP).facts)


def test_missing_cells_are_named(tmp_path: Path) -> None:
    table = table_of("dan", PAPER, MAIN, frame(tmp_path, rows()[:-1]), GROUP)
    assert any("DAN lacks optdigits:mnist seed 2" in note for note in grid(table, "accuracy").notes)
    assert cells(table, "accuracy", "DAN")["n"] == "2"
    assert cells(table, "accuracy", "source only")["n"] == "3"
    assert cells(table, "difference", "DAN")["mean"] == "+3.50 ± 0.50"
    without = [row for row in rows() if row["method"] == "dan"]
    alone = table_of("dan", PAPER, MAIN, frame(tmp_path, without), GROUP)
    assert "committed: no results for source only" in grid(alone, "accuracy").notes
    assert "difference" not in [one.name for one in alone.grids], "a table of dashes"
    assert cells(alone, "claims", "gain")["verdict"] == "not run here"


def test_a_run_over_fewer_tasks_says_so(tmp_path: Path) -> None:
    local = [row for row in rows() if row["task"] == "optdigits:mnist"]
    table = table_of("dan", PAPER, MAIN, frame(tmp_path, rows(), local), GROUP)
    partial = f"{LOCAL}, 1 of 2 tasks"
    assert f"{partial}: its means are over these alone" in grid(table, "accuracy").notes
    assert cells(table, "accuracy", "DAN", partial)["mnist:optdigits"] == "-"
    assert cells(table, "accuracy", "DAN", partial)["mean"] == "63.0 ± 1.0"
    for one in table.grids:  # wherever a mean of it stands
        assert {line.origin for line in one.lines} == {COMMITTED, partial}, one.name


def test_never_over_two_protocols_data_sets_backbones_or_tracks(tmp_path: Path) -> None:
    others = {"protocol": "down-sampled", "dataset": "digits", "backbone": "alexnet", "track": "frozen"}
    zero = dict.fromkeys(VALUES, (0.0, 0.0, 0.0))
    mixed = [*rows(), *(row for name, value in others.items() for row in rows(zero, **{name: value}))]
    data = frame(tmp_path, mixed)
    assert len(groups(data)) == 5
    alone = table_of("dan", PAPER, MAIN, frame(tmp_path, rows()), GROUP)
    assert table_of("dan", PAPER, MAIN, data, GROUP) == alone
    assert cells(table_of("dan", PAPER, MAIN, data, DOWN), "accuracy", "DAN")["mean"] == "0.0 ± 0.0"


def test_splits_are_named_as_the_spread(tmp_path: Path) -> None:
    lines = [row | {"split": row["seed"], "seed": "0"} for row in rows(protocol="down-sampled")]
    table = table_of("dan", PAPER, MAIN, frame(tmp_path, lines), DOWN)
    assert dict(table.facts)["spread"].startswith("standard error over splits: draws of the split")
    assert dict(table.facts)[COMMITTED].startswith("3 splits (0, 1, 2)")
    assert cells(table, "difference", "DAN")["mean"] == "+3.00 ± 0.58"


def test_sweep_has_a_row_per_setting_in_its_order(tmp_path: Path) -> None:
    lines = [row for row in rows(experiment="sensitivity") if row["method"] == "source_only"]
    for setting in ("lam=10.0", "lam=0.1", "lam=1.0"):
        lines += [row | {"setting": setting} for row in rows() if row["method"] == "dan"]
    table = table_of("dan", PAPER, SWEEP, frame(tmp_path, lines), GROUP)
    swept = ["DAN, lam=0.1", "DAN, lam=1.0", "DAN, lam=10.0"]
    assert [line.label for line in grid(table, "accuracy").lines] == ["source only", *swept]
    assert [line.label for line in grid(table, "difference").lines] == swept
    assert cells(table, "difference", "DAN, lam=1.0")["mean"] == "+3.00 ± 0.58"


def test_a_swept_baseline_is_compared_setting_by_setting(tmp_path: Path) -> None:
    lines = [row | {"setting": "lam=0.1"} for row in rows()]
    up = {key: [value + 10 * (key[0] == "dan") for value in found] for key, found in VALUES.items()}
    lines += [row | {"setting": "lam=1.0"} for row in rows(up)]
    table = table_of("dan", PAPER, SWEEP, frame(tmp_path, lines), GROUP)
    assert cells(table, "difference", "DAN, lam=0.1")["mean"] == "+3.00 ± 0.58"
    assert cells(table, "difference", "DAN, lam=1.0")["mean"] == "+13.00 ± 0.58"


def test_what_else_is_set_has_to_be_the_same_in_the_baseline(tmp_path: Path) -> None:
    up = {key: [value + 10 for value in found] for key, found in VALUES.items()}
    base = [row for row in rows() if row["method"] == "source_only"]
    other = [row | {"setting": "batchnorm=joint"} for row in rows(up) if row["method"] == "source_only"]
    dan = [row | {"setting": "lam=1.0;batchnorm=joint"} for row in rows() if row["method"] == "dan"]
    table = table_of("dan", PAPER, SWEEP, frame(tmp_path, [*base, *other, *dan]), GROUP)
    label = "DAN, lam=1.0, batchnorm=joint"
    assert cells(table, "difference", label)["mean"] == "-7.00 ± 0.58"
    table = table_of("dan", PAPER, SWEEP, frame(tmp_path, [*base, *dan]), GROUP)
    assert "difference" not in [one.name for one in table.grids], "a baseline under another BatchNorm is no baseline"


def test_the_same_cell_on_two_devices_makes_two_lines(tmp_path: Path) -> None:
    up = {key: [value + 1 for value in found] for key, found in VALUES.items()}
    both = [*rows(), *rows(up, device="cuda")]
    table = table_of("dan", PAPER, MAIN, frame(tmp_path, both, rows(up, device="cuda")), GROUP)
    assert cells(table, "accuracy", "DAN", "committed, cpu")["mean"] == "73.5 ± 0.5"
    assert cells(table, "accuracy", "DAN", "committed, cuda")["mean"] == "74.5 ± 0.5"
    assert dict(table.facts)["agreement"] == "all 12 values in common agree to the last digit"


def test_devices_that_share_the_cells_make_one_line(tmp_path: Path) -> None:
    shared = [row | {"device": "cpu" if row["seed"] == "0" else "cuda"} for row in rows()]
    table = table_of("dan", PAPER, MAIN, frame(tmp_path, shared), GROUP)
    assert cells(table, "accuracy", "DAN")["n"] == "3"
    assert dict(table.facts)[COMMITTED] == "3 seeds (0, 1, 2), cpu, cuda, torch 2.14.1"


def test_selection_rules_are_apart_and_labelled(tmp_path: Path) -> None:
    plus = {key: [value + 5 for value in found] for key, found in VALUES.items()}
    table = table_of("dan", PAPER, MAIN, frame(tmp_path, [*rows(), *rows(plus, selection="oracle")]), GROUP)
    assert grid(table, "selection").columns == ("last iterate", "oracle: uses target labels, not a result")
    assert cells(table, "accuracy", "DAN")["mean"] == "73.5 ± 0.5", "the headline is the last iterate"
    assert cells(table, "selection", "DAN")["oracle: uses target labels, not a result"] == "78.5 ± 0.5"
    assert "selection" not in {grid.name for grid in table_of("dan", PAPER, MAIN, frame(tmp_path, rows()), GROUP).grids}


def test_other_quantities_do_not_enter_the_accuracy(tmp_path: Path) -> None:
    other = rows(
        {("dan", "mnist:optdigits"): (0.1, 0.2, 0.3), ("dan", "optdigits:mnist"): (0.1, 0.2, 0.3)}, metric="mmd"
    )
    table = table_of("dan", PAPER, MAIN, frame(tmp_path, [*rows(), *other]), GROUP)
    assert cells(table, "accuracy", "DAN")["mean"] == "73.5 ± 0.5"
    assert cells(table, "quantities", "DAN")["mmd"] == "0.2000 ± 0.0577"
    assert cells(table, "quantities", "source only")["mmd"] == "-"


# ------------------------------------------------------------------------------------------------ published

PUBLISHED = [
    ("CNN", "A->W", "61.6", "0.5", "paper"),
    ("CNN", "W->A", "49.8", "", "paper"),
    ("CNN", "Avg", "70.1", "", "paper"),
    ("DAN", "A->W", "68.5", "0.4", "unverified"),
    ("DAN", "W->A", "53.1", "", "quoted"),
    ("DAN", "Avg", "72.9", "", "paper"),
    ("DDC", "Avg", "70.6", "", "paper"),
]


def test_published_numbers_stand_under_the_table(tmp_path: Path) -> None:
    tables = records.read_published(write_published(tmp_path / "published.csv", PUBLISHED), "dan", ["Table1"])
    table = table_of("dan", PAPER, MAIN, frame(tmp_path, rows()), GROUP, tables)
    found = grid(table, "published")
    assert found.title == "Published: Table1, AlexNet, Office-31"
    assert [line.label for line in found.lines] == ["source only", "DAN"], "DDC is no row of this experiment"
    assert cells(table, "published", "DAN", "published as DAN") == {
        "A->W": "68.5 ± 0.4*",
        "W->A": "53.1",
        "Avg": "72.9",
        "Avg less CNN": "+2.80",
    }
    assert any(note.startswith("* unverified: ") for note in found.notes)
    assert any(note.startswith("quoted: ") for note in found.notes)
    assert "68.5 ± 0.4\\*" in as_markdown(table)
    assert {line.origin for line in grid(table, "accuracy").lines} == {COMMITTED}, "other data: not beside ours"


def test_the_number_of_published_runs_is_no_column(tmp_path: Path) -> None:
    lines = [("CNN", "n=1 runs=4", "60", "", "paper"), ("DAN", "n=1 runs=8", "62", "", "paper")]
    tables = records.read_published(write_published(tmp_path / "published.csv", lines), "dan", ["Table1"])
    found = grid(table_of("dan", PAPER, MAIN, frame(tmp_path, rows()), GROUP, tables), "published")
    assert found.columns == ("n=1",), "nor is a difference of averages that are not published"
    assert [cell_text(line.cells[0]) for line in found.lines] == ["60.0", "62.0"]


@pytest.mark.parametrize(
    ("text", "colour"),
    [
        ("reproduced", ["is-reproduced"]),
        ("reproduced on 2 of 2; not run here on 1", ["is-reproduced"]),
        ("reproduced on 1 of 2, reversed on 1 of 2", []),
        ("not run here on 2", ["is-not-run-here"]),
        ("DAN, reversed", []),
    ],
)
def test_several_verdicts_have_no_colour(text: str, colour: list[str]) -> None:
    assert cell_view(text, None)["classes"] == ["word", *colour]


def test_published_methods_that_nobody_runs_here_are_shown_as_such(tmp_path: Path) -> None:
    tables = records.read_published(write_published(tmp_path / "published.csv", PUBLISHED), "dan", ["Table1"])
    paper = dataclasses.replace(PAPER, published_only=("DDC", "GFK"))
    table = table_of("dan", paper, MAIN, frame(tmp_path, rows()), GROUP, tables)
    assert [line.label for line in grid(table, "published").lines] == ["source only", "DAN", "DDC"], "there is no GFK"
    assert cells(table, "published", "DDC", "published as DDC")["Avg"] == "70.6"


def test_verified_numbers_have_no_asterisk(tmp_path: Path) -> None:
    verified = [(*line[:4], "paper") for line in PUBLISHED]
    tables = records.read_published(write_published(tmp_path / "published.csv", verified), "dan", ["Table1"])
    text = as_text(table_of("dan", PAPER, MAIN, frame(tmp_path, rows()), GROUP, tables))
    assert "*" not in text


def test_published_stands_beside_ours_on_the_same_data(tmp_path: Path) -> None:
    names = {"mnist:optdigits": "amazon:webcam", "optdigits:mnist": "webcam:amazon"}
    office = [row | {"task": names[row["task"]]} for row in rows(dataset="office31", backbone="alexnet")][::-1]
    tables = records.read_published(write_published(tmp_path / "published.csv", PUBLISHED), "dan", ["Table1"])
    table = table_of(
        "dan", PAPER, MAIN, frame(tmp_path, office), Group("office31", "full", "alexnet", "finetune"), tables
    )
    assert grid(table, "accuracy").columns[:2] == ("amazon:webcam", "webcam:amazon"), "in the paper's order"
    origin = "published, AlexNet"
    order = [(line.label, line.origin) for line in grid(table, "accuracy").lines]
    assert order == [("source only", origin), ("source only", COMMITTED), ("DAN", origin), ("DAN", COMMITTED)]
    assert cells(table, "accuracy", "DAN", origin) == {
        "amazon:webcam": "68.5 ± 0.4*",
        "webcam:amazon": "53.1",
        "mean": "72.9",
        "n": "-",
    }
    assert cells(table, "difference", "DAN", origin) == {
        "amazon:webcam": "+6.90*",
        "webcam:amazon": "+3.30",
        "mean": "+2.80",
        "95 % interval": "-",
        "p": "-",
        "n": "-",
    }


def test_cells_of_a_table_are_numbers_not_text(tmp_path: Path) -> None:
    (line,) = grid(table_of("dan", PAPER, MAIN, frame(tmp_path, rows()), GROUP), "difference").lines
    mean, interval = line.cells[2], line.cells[3]
    assert isinstance(mean, Number)
    assert isinstance(interval, Interval)
    assert interval.low + interval.high == pytest.approx(2 * mean.value)


def test_a_run_that_equals_the_committed_one_shares_its_lines(tmp_path: Path) -> None:
    same = table_of("dan", PAPER, MAIN, frame(tmp_path, rows(), rows()), GROUP)
    assert {line.origin for grid in same.grids for line in grid.lines} == {"both"}
    assert dict(same.facts).keys() >= {"committed", "this machine"}
    local = rows()
    local[0] = {**local[0], "value": str(float(local[0]["value"]) + 0.25)}
    other = table_of("dan", PAPER, MAIN, frame(tmp_path, rows(), local), GROUP)
    assert {line.origin for line in other.grids[0].lines} == {COMMITTED, LOCAL}


def test_matrices_are_shown_by_their_largest_entries(tmp_path: Path) -> None:
    """Of each class the diagonal, and of the others the largest ones, means over the cells."""
    likeness = {
        "mug,mug": (0.5, 0.7),
        "mug,cup": (0.2, 0.3),
        "mug,pen": (0.15, 0.05),
        "mug,pot": (0.1, 0.3),
        "mug,bag": (0.01, 0.01),
        "pen,cup": (0.004, 0.004),
    }
    entries = {("dan", "mnist:optdigits"): (80.0, 82.0)}
    lines = [*rows(entries), *rows({("source_only", "mnist:optdigits"): (70.0, 71.0)})]
    for name, values in likeness.items():
        lines += rows({("dan", "mnist:optdigits"): values}, metric=f"likeness@{name}")
    shown = dataclasses.replace(MAIN, matrices=("likeness", "absent"))
    table = table_of("dan", PAPER, shown, frame(tmp_path, lines), GROUP)
    assert cells(table, "likeness", "DAN: mug") == {
        "itself": "0.600",
        "other 1": "cup 0.25",
        "other 2": "pot 0.2",
        "other 3": "pen 0.1",
    }
    assert cells(table, "likeness", "DAN: pen") == {
        "itself": "0.000",
        "other 1": "cup 0.004",
        "other 2": "-",
        "other 3": "-",
    }
    assert [line.label for line in grid(table, "likeness").lines] == ["DAN: mug", "DAN: pen"]
    assert "absent" not in {one.name for one in table.grids}
    assert all("@" not in column for one in table.grids for column in one.columns)
