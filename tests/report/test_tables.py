"""Tables built from small results, compared with what they must say."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pytest

from methods.contract import Claim
from report import ledger, records
from report.build import table_of
from report.records import COMMITTED, LOCAL, Group, groups, load
from report.runs import Entry, Run
from report.table import Grid, Interval, Line, Number, Table, as_csv, as_markdown, as_text, cell_text
from tests.report.samples import ABLATIONS, BASE, FULL, MAIN, PAPER, SINGLE, SWEEP, VALUES, rows, write, write_published

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

Difference over source only, percent points

row    run                mnist:    optdigits:          mean    95 % interval       p    n
                       optdigits         mnist
-----  ------------  -----------  ------------  ------------  ---------------  ------  ---
DAN    committed           +3.00         +3.00  +3.00 ± 0.58   [+0.52, +5.48]  0.0351    3
DAN    this machine        +4.00         +2.00     +3.00 ± -                -       -    1
  paired by task, split and seed; 95 % interval and p: t-test over the n means over tasks

Claims of the paper

claim    run                 effect    95 % interval       p    n    tasks up    tasks down  verdict
-------  ------------  ------------  ---------------  ------  ---  ----------  ------------  ---------------
gain     committed     +3.00 ± 0.58   [+0.52, +5.48]  0.0351    3           0             0  reproduced
gain     this machine     +3.00 ± -                -       -    1           -             -  not enough runs
  gain: DAN beats source only. (DAN against source only)
  reproduced: the 95 % interval lies above 0; reversed: below 0; no effect: within 0.5 points (or the metric's own)
  undecided: else, with the number of replicates that would be expected to decide it
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
    assert cells(alone, "difference", "DAN") == dict.fromkeys(grid(alone, "difference").columns, "-")
    assert cells(alone, "claims", "gain")["verdict"] == "not run here"


def test_a_run_over_fewer_tasks_says_so(tmp_path: Path) -> None:
    local = [row for row in rows() if row["task"] == "optdigits:mnist"]
    table = table_of("dan", PAPER, MAIN, frame(tmp_path, rows(), local), GROUP)
    assert "this machine: 1 of 2 tasks; its means are over these alone" in grid(table, "accuracy").notes
    assert cells(table, "accuracy", "DAN", LOCAL)["mnist:optdigits"] == "-"
    assert cells(table, "accuracy", "DAN", LOCAL)["mean"] == "63.0 ± 1.0"


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
    assert cells(table, "difference", label)["mean"] == "-", "a baseline under another BatchNorm is no baseline"


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
        "Avg over CNN": "+2.80",
    }
    assert any(note.startswith("* unverified: ") for note in found.notes)
    assert any(note.startswith("quoted: ") for note in found.notes)
    assert "68.5 ± 0.4\\*" in as_markdown(table)
    assert {line.origin for line in grid(table, "accuracy").lines} == {COMMITTED}, "other data: not beside ours"


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


# --------------------------------------------------------------------------------------------------- claims


def verdicts(tmp_path: Path, dan: Sequence[float], source: Sequence[float], claim: Claim) -> list[str]:
    paper = dataclasses.replace(PAPER, claims=(claim,))
    data = frame(tmp_path, rows({("source_only", "a:b"): source, ("dan", "a:b"): dan}))
    found = grid(table_of("dan", paper, MAIN, data, GROUP), "claims")
    return [str(line.cells[-1]) for line in found.lines]


@pytest.mark.parametrize(
    ("dan", "verdict"),
    [
        ((53.0, 53.1, 52.9) * 2, "reproduced"),
        ((47.0, 47.1, 46.9) * 2, "reversed"),
        ((53.0, 53.1, 52.9), "reproduced"),
        ((53.0, 47.0, 51.0) * 2, "undecided (about 261 seeds)"),
        ((50.0, 50.0, 50.0) * 2, "no effect"),
        ((50.2, 50.0, 50.1) * 2, "reproduced"),  # [+0.01, +0.19]: small, and above 0
        ((50.2, 49.9, 50.1) * 2, "no effect"),
        ((50.6, 49.4, 50.0) * 2, "undecided (about 7 seeds)"),
        ((50.4, 50.7, 50.9, 49.5), "undecided (about 13 seeds)"),
        ((53.0,), "not enough runs"),
    ],
)
def test_verdicts(tmp_path: Path, dan: Sequence[float], verdict: str) -> None:
    assert verdicts(tmp_path, dan, (50.0,) * 6, PAPER.claims[0]) == [verdict]


def test_verdict_turns_round_with_the_claim(tmp_path: Path) -> None:
    turned = Claim("loss", "Source only beats DAN.", BASE, FULL, on=("digits",))
    assert verdicts(tmp_path, (53.0, 53.1, 52.9) * 2, (50.0,) * 6, turned) == ["reversed"]


def test_a_claim_may_be_about_some_tasks(tmp_path: Path) -> None:
    claim = dataclasses.replace(PAPER.claims[0], tasks=("a:c",))
    paper = dataclasses.replace(PAPER, claims=(claim,))
    worse, better = (50.0,) * 6, (53.0, 53.1, 52.9) * 2
    data = {("source_only", "a:b"): worse, ("dan", "a:b"): (40.0,) * 6}
    data |= {("source_only", "a:c"): worse, ("dan", "a:c"): better}
    found = grid(table_of("dan", paper, MAIN, frame(tmp_path, rows(data)), GROUP), "claims")
    assert [line.cells[-1] for line in found.lines] == ["reproduced"]
    assert "(DAN against source only, a:c)" in found.notes[0]
    absent = dataclasses.replace(PAPER, claims=(dataclasses.replace(claim, tasks=("b:a",)),))
    found = grid(table_of("dan", absent, MAIN, frame(tmp_path, rows(data)), GROUP), "claims")
    assert [line.cells[-1] for line in found.lines] == ["not run here"]


def test_a_claim_may_be_about_another_metric_the_smaller_the_better(tmp_path: Path) -> None:
    claim = dataclasses.replace(PAPER.claims[0], metric="a_distance", higher=False)
    paper = dataclasses.replace(PAPER, claims=(claim,))
    data = rows({("source_only", "a:b"): (50.0,) * 6, ("dan", "a:b"): (50.0,) * 6})
    for row in list(data):
        distance = 1.5 if row["method"] == "source_only" else 0.5 + int(row["seed"]) / 100
        data.append({**row, "metric": "a_distance", "value": str(distance)})
    found = grid(table_of("dan", paper, MAIN, frame(tmp_path, data), GROUP), "claims")
    (line,) = found.lines
    assert line.cells[-1] == "reproduced"
    effect = line.cells[0]
    assert isinstance(effect, Number)
    assert effect.value == pytest.approx(0.975)


def test_figures_in_families_have_a_grid_of_their_own(tmp_path: Path) -> None:
    data = rows({("source_only", "a:b"): (50.0,), ("dan", "a:b"): (50.0,)})
    named = {"mmd": "0.5", "alpha.fc7": "0.9", "alpha.fc8": "0.8"}
    full = next(row for row in data if row["method"] == "dan")
    data += [{**full, "metric": name, "value": value} for name, value in named.items()]
    table = table_of("dan", PAPER, MAIN, frame(tmp_path, data), GROUP)
    assert grid(table, "quantities").columns == ("mmd",)
    assert grid(table, "figures").columns == ("alpha.fc7", "alpha.fc8")
    assert [line.label for line in grid(table, "figures").lines] == ["DAN"]


def test_a_claim_about_a_row_without_results(tmp_path: Path) -> None:
    absent = Claim("kernels", "Several kernels beat one.", FULL, SINGLE, on=("digits",))
    assert verdicts(tmp_path, (53.0, 53.1, 52.9), (50.0, 50.0, 50.0), absent) == ["not run here"]


def test_claims_of_a_sweep_are_decided_per_setting(tmp_path: Path) -> None:
    paper = dataclasses.replace(PAPER, claims=(Claim("gain", "It helps.", FULL, BASE, on=("sensitivity",)),))
    low = {key: [value - 10 * (key[0] == "dan") for value in found] for key, found in VALUES.items()}
    lines = [row for row in rows() if row["method"] == "source_only"]
    lines += [row | {"setting": "lam=0.1"} for row in rows() if row["method"] == "dan"]
    lines += [row | {"setting": "lam=1.0"} for row in rows(low) if row["method"] == "dan"]
    table = table_of("dan", paper, SWEEP, frame(tmp_path, lines), GROUP)
    assert cells(table, "claims", "gain, lam=0.1")["verdict"] == "reproduced"
    assert cells(table, "claims", "gain, lam=1.0")["verdict"] == "reversed"


def test_a_claim_may_compare_two_points_of_a_sweep(tmp_path: Path) -> None:
    points = {"better_setting": "lam=1.0", "worse_setting": "lam=10.0"}
    claim = Claim("peak", "1 beats 10.", FULL, FULL, on=("sensitivity",), **points)
    paper = dataclasses.replace(PAPER, claims=(claim,))
    data = []
    for setting, accuracy in (("lam=0.1", 50.0), ("lam=1.0", 60.0), ("lam=10.0", 55.0)):
        data += [
            {**row, "setting": setting} for row in rows({("dan", "a:b"): (accuracy,) * 6}, experiment="sensitivity")
        ]
    found = grid(table_of("dan", paper, SWEEP, frame(tmp_path, data), GROUP), "claims")
    (line,) = found.lines
    assert line.label == "peak"
    assert line.cells[-1] == "reproduced"


def averaged(setting: str, values: Mapping[str, Sequence[float]]) -> list[dict[str, str]]:
    """Rows of DAN at a point of the sweep, by task."""
    found = rows({("dan", task): numbers for task, numbers in values.items()}, experiment="sensitivity")
    return [{**row, "setting": setting} for row in found]


def decided(tmp_path: Path, claim: Claim, data: list[dict[str, str]]) -> tuple[float, Line, tuple[str, ...]]:
    """Effect, line and notes of the one claim."""
    paper = dataclasses.replace(PAPER, claims=(claim,))
    found = grid(table_of("dan", paper, SWEEP, frame(tmp_path, data), GROUP), "claims")
    (line,) = found.lines
    effect = line.cells[0]
    return (effect.value if isinstance(effect, Number) else float("nan")), line, found.notes


def test_a_claim_may_average_over_points_of_a_sweep(tmp_path: Path) -> None:
    """Replicate by replicate; a row outside the sweep stands as it is."""
    claim = Claim("gain", "It helps.", FULL, BASE, on=("sensitivity",), better_setting=("lam=0.1", "lam=10.0"))
    base = rows({("source_only", "a:b"): (50.0,) * 6}, experiment="sensitivity")
    data = [
        *base,
        *averaged("lam=0.1", {"a:b": (50.0, 52, 50, 52, 50, 52)}),
        *averaged("lam=1.0", {"a:b": (0.0,) * 6}),
        *averaged("lam=10.0", {"a:b": (56.0, 54, 56, 54, 56, 54)}),
    ]
    effect, line, notes = decided(tmp_path, claim, data)
    assert effect == pytest.approx(3.0)
    assert (line.label, line.cells[-1]) == ("gain", "reproduced")
    assert "(mean of DAN, lam=0.1 and lam=10.0 against source only)" in notes[0]
    # A replicate that lacks one of the points is left out; without any of one point there is nothing to compare.
    effect, line, _ = decided(
        tmp_path, claim, [row for row in data if (row["setting"], row["seed"]) != ("lam=0.1", "0")]
    )
    assert effect == pytest.approx(3.0)
    assert isinstance(line.cells[3], Number)
    assert line.cells[3].value == 5
    _, line, _ = decided(tmp_path, claim, [row for row in data if row["setting"] != "lam=0.1"])
    assert line.cells[-1] == "not run here"


@pytest.mark.parametrize(("margin", "verdict"), [(0.0, "reversed"), (1.0, "reproduced"), (0.3, "reversed")])
def test_a_claim_may_be_that_nothing_is_lost(margin: float, verdict: str, tmp_path: Path) -> None:
    claim = Claim("general", "It is as good.", FULL, BASE, on=("sensitivity",), better_setting="lam=1.0", margin=margin)
    data = rows({("source_only", "a:b"): (50.0,) * 6}, experiment="sensitivity")
    data += averaged("lam=1.0", {"a:b": (49.5, 49.4, 49.6) * 2})
    effect, line, notes = decided(tmp_path, claim, data)
    assert effect == pytest.approx(margin - 0.5)
    assert line.cells[-1] == verdict
    assert (f"{margin:+g} points" in notes[0]) == bool(margin)


def test_a_claim_may_be_that_a_difference_is_larger_on_some_tasks_than_on_others(tmp_path: Path) -> None:
    claim = Claim(
        "further",
        "It falls further.",
        BASE,
        FULL,
        on=("sensitivity",),
        worse_setting="lam=1.0",
        tasks=("a:b",),
        than=("c:d",),
    )
    data = rows({("source_only", task): (50.0,) * 6 for task in ("a:b", "c:d", "e:f")}, experiment="sensitivity")
    data += averaged("lam=1.0", {"a:b": (40.0, 41, 39) * 2, "c:d": (45.0,) * 6, "e:f": (0.0,) * 6})
    effect, line, notes = decided(tmp_path, claim, data)
    assert effect == pytest.approx(5.0)
    assert line.cells[-1] == "reproduced"
    assert notes[0].endswith("a:b, less the same on c:d)")
    _, line, _ = decided(tmp_path, claim, [row for row in data if row["task"] != "c:d"])
    assert line.cells[-1] == "not run here"


def test_a_claim_may_be_that_a_difference_is_larger_at_one_setting_than_at_another(tmp_path: Path) -> None:
    claim = Claim(
        "grows",
        "It grows.",
        FULL,
        SINGLE,
        on=("sensitivity",),
        better_setting="lam=1.0",
        worse_setting="lam=1.0",
        than_setting="lam=0.1",
    )
    lines = []
    for setting, ours, other in (("lam=1.0", 60.0, 50.0), ("lam=0.1", 55.0, 52.0)):
        for variant, level in ((FULL.variant, ours), (SINGLE.variant, other)):
            lines += [
                {**line, "variant": variant}
                for line in averaged(setting, {"a:b": [level + shift for shift in (-1.0, 0.0, 1.0)]})
            ]
    effect, line, notes = decided(tmp_path, claim, lines)
    assert effect == pytest.approx((60 - 50) - (55 - 52))
    assert line.cells[-1] != "not run here"
    assert "less the same at lam=0.1" in notes[0]
    mean = line.cells[0]
    assert isinstance(mean, Number)
    assert mean.basis is None, "it is no mean of cells less that of others"
    write(tmp_path / "dan/sensitivity.csv", lines)
    (row, *_) = ledger.ledger({"dan": dataclasses.replace(PAPER, claims=(claim,))}, tmp_path)
    assert row.decision is not None
    assert row.decision.basis is not None
    assert len(row.decision.basis.cells) == len(row.decision.basis.minus) == 6, "each side has the cells of two lines"
    _, line, _ = decided(tmp_path, claim, [row for row in lines if row["setting"] == "lam=1.0"])
    assert line.cells[-1] == "not run here"


@pytest.mark.parametrize(("higher", "effect"), [(True, -3.0), (False, 3.0)])
def test_a_claim_may_be_about_a_level(higher: bool, effect: float, tmp_path: Path) -> None:
    claim = Claim(
        "chance",
        "It is at chance.",
        FULL,
        FULL,
        on=("sensitivity",),
        better_setting="lam=1.0",
        level=5.0,
        higher=higher,
    )
    found, line, notes = decided(tmp_path, claim, averaged("lam=1.0", {"a:b": (1.5, 2.0, 2.5) * 2}))
    assert found == pytest.approx(effect)
    assert line.cells[-1] == ("reversed" if higher else "reproduced")
    assert "against 5" in notes[0]
    mean = line.cells[0]
    assert isinstance(mean, Number)
    assert mean.basis is not None
    assert {len(mean.basis.cells), len(mean.basis.minus)} == {0, 6}


@pytest.mark.parametrize(("sign", "verdict"), [(-1, "reproduced"), (1, "reversed")])
def test_a_claim_may_be_that_one_metric_ranks_the_settings_as_another_does(
    sign: int, verdict: str, tmp_path: Path
) -> None:
    """The less of the one, the more of the other; in the third replicate two settings have changed places."""
    claim = Claim("rule", "The less the better.", FULL, FULL, on=("sensitivity",), ranks="mmd")
    data = []
    for place, setting in enumerate(("lam=0.1", "lam=1.0", "lam=10.0", "lam=100.0")):
        tested = averaged(setting, {"a:b": [50.0 + place, 50 + place, 50 + (place if place < 2 else 5 - place)]})
        data += tested
        data += [{**line, "metric": "mmd", "value": f"{5 + sign * place}"} for line in tested]
    effect, line, notes = decided(tmp_path, claim, data)
    assert effect == pytest.approx(-sign * (1 + 1 + 0.8) / 3)
    assert (line.label, line.cells[-1]) == ("rule", verdict)
    assert "(least mmd with greatest accuracy over the settings of DAN, rank correlation)" in notes[0]
    mean = line.cells[0]
    assert isinstance(mean, Number)
    assert mean.basis is None, "it is no mean of cells"
    _, line, _ = decided(tmp_path, claim, [row for row in data if row["setting"] in ("lam=0.1", "lam=1.0")])
    assert line.cells[-1] == "not run here"


def test_a_level_of_0_compares_tasks(tmp_path: Path) -> None:
    claim = Claim(
        "fewer",
        "Fewer are worse.",
        BASE,
        BASE,
        on=("sensitivity",),
        tasks=("a:b", "c:d"),
        than=("c:d", "e:f"),
        level=0.0,
    )
    data = rows(
        {
            ("source_only", "a:b"): (50.0, 51.0),
            ("source_only", "c:d"): (45.0, 46.0),
            ("source_only", "e:f"): (20.0, 21),
        },
        experiment="sensitivity",
    )
    effect, _, _ = decided(tmp_path, claim, data)
    assert effect == pytest.approx(((50 - 45) + (45 - 20)) / 2)


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
