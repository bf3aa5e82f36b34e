"""Figures other than sweeps: their data by hand, and that their files say what is on the axes."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from benchmarks.machine.errors import UserError
from benchmarks.records import schema
from methods.contract import Claim, Experiment, Paper, Row
from report.contestants import Contestant
from report.contestants import contestants as contestants_of
from report.figures import charts, draw, layers, overview
from report.figures.charts import Chart
from report.records import COMMITTED, Accuracy, PublishedTable, load
from tests.report.samples import BASE, DEFAULTS, FULL, MAIN, PAPER, RECIPE, VALUES, rows, write
from tests.report.test_figures import GROUP

TASK = "mnist:optdigits"


def frame_of(tmp_path: Path, lines: Sequence[dict[str, str]]) -> pd.DataFrame:
    return load({COMMITTED: write(tmp_path / "results.csv", lines)})


def of(tmp_path: Path, experiment: Experiment, lines: Sequence[dict[str, str]], paper: Paper = PAPER) -> list[Chart]:
    return draw.of_experiment("dan", paper, experiment, frame_of(tmp_path, lines), GROUP, tmp_path)


def only(made: Sequence[Chart]) -> Chart:
    (chart,) = made
    return chart


def column(chart: Chart, name: str) -> list[object]:
    return chart.data[name].tolist()


def svg(chart: Chart, tmp_path: Path) -> str:
    """The text of the vector file, with its words; that all files have the same bytes twice is tested of one figure."""
    picture, data = charts.save(chart, tmp_path / "figure", ("svg", "csv"))
    with data.open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == len(chart.data)
    text = picture.read_text()
    assert "nan" not in text
    return text


def measured(values: dict[tuple[str, str], tuple[float, ...]], metric: str, **fields: str) -> list[dict[str, str]]:
    return rows({(method, TASK): numbers for (method, _), numbers in values.items()}, metric=metric, **fields)


def test_an_experiment_that_only_compares_rows_has_no_figure(tmp_path: Path) -> None:
    assert of(tmp_path, MAIN, rows()) == []


def test_learning_curves(tmp_path: Path) -> None:
    experiment = dataclasses.replace(MAIN, curve=("test_accuracy",))
    lines = rows({("dan", TASK): (50.0, 52.0), ("source_only", TASK): (40.0, 42.0)})
    for step, gain in ((10, 0.0), (20, 5.0), (100, 10.0)):
        lines += measured(
            {("dan", TASK): (40 + gain, 42 + gain), ("source_only", TASK): (41.0, 41.0)}, f"test_accuracy@{step}"
        )
    chart = only(of(tmp_path, experiment, lines))
    dan = chart.data[chart.data["row"] == "DAN"]
    assert dan["step"].tolist() == [10, 20, 100]
    assert dan["test_accuracy"].tolist() == [41.0, 46.0, 51.0]
    assert dan["se"].tolist() == pytest.approx([1.0] * 3)
    assert "DAN goes from 41 to 51" in chart.alt
    text = svg(chart, tmp_path)
    for words in ("optimiser steps", "accuracy on the target (%)", "source only", "standard error over n = 2 seeds"):
        assert words in text


def test_what_selects_stands_above_the_accuracy(tmp_path: Path) -> None:
    experiment = dataclasses.replace(MAIN, sweep={"width": (8, 16)}, selects="gap")
    lines = []
    for width, accuracy, gap in ((16, 60.0, 0.1), (8, 61.0, 0.3)):
        lines += rows({("dan", TASK): (accuracy, accuracy)}, setting=f"width={width}")
        lines += measured({("dan", TASK): (gap, gap)}, "gap", setting=f"width={width}")
    chart = of(tmp_path, experiment, lines)[-1]
    assert column(chart, "gap") == [0.3, 0.1]
    assert column(chart, "accuracy") == [61.0, 60.0]
    assert "the least gap is at 16, the highest accuracy at 8" in chart.alt
    assert "gap after training" in svg(chart, tmp_path)


def test_places_that_are_no_numbers_are_in_the_experiments_order(tmp_path: Path) -> None:
    experiment = dataclasses.replace(MAIN, cuts=("pool", "early"), selects="gap")
    lines = []
    for cut in ("early", "pool"):
        lines += rows({("dan", TASK): (50.0, 51.0)}, setting=f"cut={cut}")
        lines += measured({("dan", TASK): (0.1, 0.2)}, "gap", setting=f"cut={cut}")
    assert column(only(of(tmp_path, experiment, lines)), "x") == ["pool", "early"]


def test_alpha_per_layer(tmp_path: Path) -> None:
    lines = rows({("dan", TASK): (50.0, 52.0)})
    for name, values in {"alpha.bn1": (0.9, 0.8), "alpha.bn2": (0.7, 0.7), "alpha.mean": (0.8, 0.75)}.items():
        lines += measured({("dan", TASK): values}, name)
    assert of(tmp_path, MAIN, lines) == [], "two numbers are no figure"
    lines += measured({("dan", TASK): (0.5, 0.5)}, "alpha.bn3")
    chart = only(of(tmp_path, MAIN, lines))
    assert column(chart, "place") == ["bn1", "bn2", "bn3"], "the mean is none of the layers"
    assert column(chart, "alpha") == pytest.approx([0.85, 0.7, 0.5])
    assert f"alpha, {TASK}" in svg(chart, tmp_path)


def test_distances_are_bars_where_a_claim_is_about_them(tmp_path: Path) -> None:
    claim = Claim("closer", "DAN is closer.", FULL, BASE, on=("digits",), metric="a_distance", higher=False)
    paper = dataclasses.replace(PAPER, claims=(claim,))
    lines = rows()
    for metric in ("a_distance", "mmd"):
        lines += rows({key: [value / 100 for value in numbers] for key, numbers in VALUES.items()}, metric=metric)
    assert of(tmp_path, MAIN, lines) == []
    chart = only(of(tmp_path, MAIN, lines, paper))
    assert [*zip(column(chart, "row"), column(chart, "task"), strict=True)] == [
        (row, task) for row in ("source only", "DAN") for task in (TASK, "optdigits:mnist")
    ]
    assert column(chart, "a_distance") == pytest.approx([0.81, 0.6, 0.84, 0.63])
    assert "proxy A-distance (0: domains" in svg(chart, tmp_path)


def test_matrices_are_heat_maps(tmp_path: Path) -> None:
    lines = rows({("dan", TASK): (50.0, 52.0)})
    for place, values in {"cup,cup": (4, 6), "cup,mug": (1, 1), "mug,mug": (7, 7)}.items():
        lines += measured({("dan", TASK): values}, f"confusion@{place}")
    chart = only(of(tmp_path, MAIN, lines))
    found = {(a, b): value for a, b, value in chart.data[["first", "second", "confusion"]].itertuples(index=False)}
    assert found == {("cup", "cup"): 5, ("cup", "mug"): 1, ("mug", "mug"): 7}
    assert "mean of the diagonal 6.00" in chart.alt
    text = svg(chart, tmp_path)
    for words in ("taken for", "class of the image", "confusion (images)"):
        assert words in text


# ------------------------------------------------------------------------------------------- transferability of layers

BASE_ROW, ANB = Row("source_only", label="base"), Row("dan", label="AnB")
TRANSFER = Experiment(
    "curves",
    "layers",
    (BASE_ROW, ANB),
    {"digits-mini": RECIPE},
    BASE_ROW,
    sweep={"n": tuple(range(1, 8))},
    published=("Fig2",),
    layers="n",
)
STUDY = dataclasses.replace(
    PAPER,
    experiments=(TRANSFER,),
    claims=(),
    published_rows={"base": "base", "AnB": "AnB (frozen transfer)"},
    key="study",
)


def transfer_rows() -> list[dict[str, str]]:
    """Two splits, AnB falling by two points a layer."""
    lines = []
    for seed, level in ((0, 60.0), (1, 62.0)):
        common = {"seed": str(seed), "split": str(seed), "experiment": "curves"}
        lines.append({**DEFAULTS, **common, "method": "source_only", "task": "a:b", "value": str(level)})
        for n in range(1, 8):
            place = {"method": "dan", "task": "a:b", "setting": f"n={n}", "value": str(level - 2 * n)}
            lines.append({**DEFAULTS, **common, **place})
    return lines


def theirs(tmp_path: Path, dataset: str = "ImageNet", more: float = 0.0) -> None:
    names = dict(
        zip(
            schema.PUBLISHED,
            ("study", "", "Fig2", "", "CaffeNet", dataset, "", "", "", "authors-logs", "s"),
            strict=True,
        )
    )
    lines = [
        {**names, "method": method, "task": f"n={n} runs=8", "accuracy": str(accuracy + more)}
        for method, points in (("base", {0: 62.5}), ("AnB (frozen transfer)", {1: 62.8, 7: 54.3}))
        for n, accuracy in points.items()
    ]
    path = tmp_path / "published.csv"
    first = not path.exists()
    with path.open("a", newline="") as stream:
        writer = csv.DictWriter(stream, schema.PUBLISHED)
        if first:
            writer.writeheader()
        writer.writerows(lines)


def test_curves_of_transferability(tmp_path: Path) -> None:
    theirs(tmp_path)
    chart = only(of(tmp_path, TRANSFER, transfer_rows(), STUDY))
    data = chart.data
    ours = data[(data["origin"] == COMMITTED) & (data["difference"] == "")]
    assert len(ours) == 2 + 14, "a point per run"
    assert ours[(ours["row"] == "AnB") & (ours["n"] == 7)]["accuracy"].tolist() == [46.0, 48.0]
    assert ours[ours["row"] == "base"]["n"].tolist() == [0, 0]
    published_rows = data[data["origin"] == "published"][["row", "n", "accuracy"]].values.tolist()
    assert published_rows == [["base", 0, 62.5], ["AnB", 1, 62.8], ["AnB", 7, 54.3]]
    gaps = data[(data["origin"] == COMMITTED) & (data["difference"] != "")]
    assert gaps["row"].unique().tolist() == ["AnB"], "the baseline has no difference from itself"
    assert gaps["difference"].tolist() == pytest.approx([-2.0 * n for n in range(1, 8)])
    assert "AnB 59.0 at 1, 57.0 at 2" in chart.alt
    text = svg(chart, tmp_path)
    for words in (
        "n, layers",
        "published (own axis)",
        "accuracy (%)",
        "a point per run, n = 2",
        "95 % interval of the difference from base",
    ):
        assert words in text


def test_without_published_curves_there_is_one_panel(tmp_path: Path) -> None:
    chart = only(of(tmp_path, TRANSFER, transfer_rows(), STUDY))
    assert set(chart.data["origin"]) == {COMMITTED}
    assert "published" not in svg(chart, tmp_path)


def test_tasks_that_a_claim_compares_have_curves_of_their_own(tmp_path: Path) -> None:
    claim = Claim(
        "further",
        "It falls further.",
        BASE_ROW,
        ANB,
        on=("curves",),
        worse_setting=("n=6", "n=7"),
        tasks=("a:b",),
        than=("c:d",),
    )
    study = dataclasses.replace(STUDY, claims=(dataclasses.replace(claim, tasks=("a:b", "b:a")),))
    lines = [*transfer_rows(), *({**line, "task": "c:d"} for line in transfer_rows())]
    theirs(tmp_path, "ImageNet a (5) target", 9.0)
    theirs(tmp_path, "ImageNet b (4) target", 0.0)
    chart = only(of(tmp_path, TRANSFER, lines, study))
    assert set(chart.data["row"]) == {"base on a:b", "base on c:d", "AnB on a:b", "AnB on c:d"}, "b:a was not run"
    published = chart.data[chart.data["origin"] == "published"][["row", "n", "accuracy"]].values.tolist()
    assert published == [["base on a:b", 0, 62.5], ["AnB on a:b", 1, 62.8], ["AnB on a:b", 7, 54.3]]


def test_both_directions_stand_beside_the_mean_of_those_published() -> None:
    tables = [
        PublishedTable("Fig", "AlexNet", f"{target} target", ("n=1",), {"AnB": {"n=1": Accuracy(value, None, "paper")}})
        for target, value in (("man-made (551)", 40.0), ("natural (449)", 60.0))
    ]
    curves = {
        "both": layers.Curve("AnB", ("man:natural", "natural:man")),
        "random halves": layers.Curve("AnB", ("a-cut:b-cut", "b-cut:a-cut")),
    }
    assert layers.published_curves(PAPER, "n", curves, tables) == {"both": {1: 50.0}}
    curves["both"].tasks = ("natural:man",)
    assert layers.published_curves(PAPER, "n", curves, tables) == {"both": {1: 40.0}}


def test_what_else_is_swept_has_curves_of_its_own(tmp_path: Path) -> None:
    experiment = dataclasses.replace(TRANSFER, sweep={**TRANSFER.sweep, "start": ("gaussian", "he")})
    lines = [
        {**line, "setting": f"{line['setting']};start={start}"} if line["setting"] else line
        for start in ("gaussian", "he")
        for line in transfer_rows()
        if line["setting"] or start == "he"
    ]
    chart = only(of(tmp_path, experiment, lines, STUDY))
    assert set(chart.data["row"]) == {"base", "AnB, start=gaussian", "AnB, start=he"}


# ------------------------------------------------------------------------------------------------------------ maps


def test_maps_of_features(tmp_path: Path) -> None:
    path = tmp_path / "dan" / "maps" / "digits.csv"
    path.parent.mkdir(parents=True)
    head = dict.fromkeys(schema.TSNE, "0") | {"paper": "dan", "experiment": "digits", "variant": "default"}
    lines = [
        {
            **head,
            "method": method,
            "setting": "",
            "dataset": "digits-mini",
            "task": TASK,
            "domain": domain,
            "x": str(i),
            "y": "1.5",
        }
        for method in ("dan", "source_only")
        for domain in ("source", "target")
        for i in range(3)
    ]
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, schema.TSNE)
        writer.writeheader()
        writer.writerows(lines)
    chart = only(draw.map_charts("dan", MAIN, tmp_path))
    assert "source only, DAN on mnist:optdigits" in chart.caption, "in the order of the experiment's rows"
    assert "3 source and 3 target images" in chart.alt
    assert len(chart.data) == 12
    assert "t-SNE, first axis" in svg(chart, tmp_path)
    path.write_text(path.read_text().replace("1.5", "far", 1))
    with pytest.raises(UserError, match=r"digits\.csv, line 2: y is 'far'"):
        draw.map_charts("dan", MAIN, tmp_path)
    assert draw.map_charts("jan", MAIN, tmp_path) == []


# ------------------------------------------------------------------------------------------------------ over all papers


@pytest.fixture(autouse=True)
def no_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said in figures is tested here, not where it stands."""
    monkeypatch.setattr(charts, "LAYOUT", None)


def contestants(tmp_path: Path) -> list[Contestant]:
    other = {
        ("jan", task): [value + 1 for value in numbers] for (method, task), numbers in VALUES.items() if method == "dan"
    }
    third = {
        ("ddc", task): [value - 9 for value in numbers] for (method, task), numbers in VALUES.items() if method == "dan"
    }
    lines = []
    for selection, shift in (("last", 0), ("entropy", -1), ("oracle", 2)):
        moved = {key: [value + shift for value in numbers] for key, numbers in (VALUES | other | third).items()}
        lines += rows(moved, selection=selection)
    for line in lines:
        line["seconds"] = {"source_only": "1", "dan": "10", "jan": "20", "ddc": "2"}[line["method"]]
        line["cell"] = f"{line['method']}-{line['task']}-{line['seed']}"
    frame = frame_of(tmp_path, lines)
    wider = dataclasses.replace(MAIN, rows=(BASE, FULL, Row("jan", label="JAN"), Row("ddc", label="DDC")))
    return contestants_of([("dan", wider, frame), ("jan", wider, frame)])


def test_a_row_that_two_papers_show_counts_once_and_as_its_owners(tmp_path: Path) -> None:
    found = contestants(tmp_path)
    assert [(one.label, one.paper, one.own) for one in found] == [
        ("source only", "dan", False),
        ("DAN", "dan", True),
        ("JAN", "jan", True),
        ("DDC", "dan", False),
    ]


def test_two_variants_with_the_same_cells_count_once(tmp_path: Path) -> None:
    """As where nothing is chosen and the weight of one is the default of the other."""
    lines = [{**line, "cell": f"{line['method']}-{line['task']}-{line['seed']}"} for line in rows()]
    lines += [{**line, "variant": "fixed"} for line in lines if line["method"] == "dan"]
    experiment = dataclasses.replace(MAIN, rows=(BASE, Row("dan", "fixed", label="DAN, weight 1"), FULL))
    frame = frame_of(tmp_path, lines)
    assert [one.label for one in contestants_of([("dan", experiment, frame)])] == ["source only", "DAN"]
    for line in lines:
        line["cell"] += line["variant"]
    frame = frame_of(tmp_path, lines)
    assert len(contestants_of([("dan", experiment, frame)])) == 3


def test_means_over_different_tasks_are_not_compared(tmp_path: Path) -> None:
    found = contestants(tmp_path)
    fewer = dataclasses.replace(found[2], run=dataclasses.replace(found[2].run, tasks=("mnist:optdigits",)))
    gains, *_ = overview.of_all([*found[:2], fewer])
    assert "1 task: JAN +4.0" in gains.alt
    assert "2 tasks: DAN +3.0" in gains.alt


def test_gains_ranks_rules_and_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "SOME", 4)
    made = {chart.name.partition("-")[0]: chart for chart in overview.of_all(contestants(tmp_path))}
    assert list(made) == ["gains", "ranks", "selection", "cost"]
    monkeypatch.setattr(overview, "SOME", 5)
    assert [chart.name for chart in overview.of_all(contestants(tmp_path))][-1] == "selection-rules", "too few rows"
    alone = [one for one in contestants(tmp_path) if one.paper == "dan"]
    assert [chart.name for chart in overview.of_all(alone)] == ["gains-digits-mini-full", "selection-rules"]
    gains = made["gains"].data.set_index("row")
    assert gains["difference"].to_dict() == pytest.approx({"JAN": 4.0, "DAN": 3.0, "DDC": -6.0})
    assert gains.loc["DAN", "low"] == pytest.approx(0.51586, abs=1e-5)
    ranks = made["ranks"].data.set_index("row")
    assert ranks["rank"].to_dict() == {"JAN": 1, "DAN": 2, "source only": 3, "DDC": 4}
    rules = made["selection"].data.set_index(["row", "rule"])["difference"]
    assert rules.to_dict() == pytest.approx(
        {("DAN", "entropy"): -1, ("DAN", "oracle"): 2, ("JAN", "entropy"): -1, ("JAN", "oracle"): 2}
    )
    costs = made["cost"].data.set_index("row")
    assert costs["seconds"].to_dict() == {"source only": 1, "DAN": 10, "JAN": 20, "DDC": 2}
    for chart, words in (
        (made["gains"], "gain over each method's own baseline (percentage points)"),
        (made["ranks"], "average rank over 2 tasks (1: most accurate)"),
        (made["selection"], "accuracy above the last iterate (percentage points)"),
        (made["cost"], "time of a cell (s)"),
        (made["cost"], "digits-mini, full protocol, lenet, finetune, 2 tasks"),
        (made["gains"], "DAN (dan), n = 3"),
    ):
        assert words in svg(chart, tmp_path / chart.name)


def test_rules_that_need_held_out_source_are_a_study_of_their_own(tmp_path: Path) -> None:
    lines = []
    for selection, shift in (("last", 0), ("dev", -2), ("snd", 1), ("oracle", 3)):
        lines += rows(
            {key: [value + shift for value in numbers] for key, numbers in VALUES.items()}, selection=selection
        )
    experiment = dataclasses.replace(MAIN, name="selection", holdout=0.1, default=False)
    loaded = [("dan", experiment, frame_of(tmp_path, lines))]
    assert contestants_of(loaded) == []
    studied = contestants_of(loaded, held_out=True)
    (chart,) = overview.of_all([], studied)
    assert chart.name == "selection-study"
    rules = chart.data.set_index(["row", "rule"])["difference"]
    assert rules.loc["DAN"].to_dict() == pytest.approx({"dev": -2, "snd": 1, "oracle": 3})
    assert rules.loc["source only"].to_dict() == pytest.approx({"dev": -2, "snd": 1, "oracle": 3})
    picture = svg(chart, tmp_path / chart.name)
    assert "a part of the source held out" in chart.caption
    assert "lowest deep embedded validation risk (DEV)" in picture
    assert "lowest target entropy" not in picture, "what nothing is known of is not in the legend"


def test_what_is_swept_or_not_default_is_no_contestant(tmp_path: Path) -> None:
    frame = frame_of(tmp_path, rows())
    for experiment in (dataclasses.replace(MAIN, default=False), dataclasses.replace(MAIN, sweep={"width": (1, 2)})):
        assert contestants_of([("dan", experiment, frame)]) == []


def test_colours_differ_in_lightness_or_marker() -> None:
    for options in (charts.COLORS, charts.MARKERS, charts.STYLES, charts.HATCHES):
        assert len(set(map(str, options))) == 6


def test_what_is_published_once_is_drawn_once() -> None:
    """Not again as if the paper had every start that we have."""
    theirs = PublishedTable("Fig", "AlexNet", "ILSVRC", ("n=1",), {"random": {"n=1": Accuracy(9.0, None, "paper")}})
    curves = {f"random, start={start}": layers.Curve("random") for start in ("released", "he")}
    found = layers.published_curves(PAPER, "n", curves, [theirs, theirs])
    assert found == {"random, published": {1: 9.0}}


def test_long_labels_are_broken_into_lines_that_fit() -> None:
    assert charts.broken("classification, training loss (nats), mean of 3 tasks", 3.4, 10) == (
        "classification, training loss (nats),\nmean of 3 tasks"
    )
    assert charts.broken("accuracy (%)", 3.4, 10) == "accuracy (%)"


def test_margins_of_a_swept_axis_are_those_of_its_scale() -> None:
    axes = Figure().add_subplot()
    charts.line(axes, 0, [0.0, 0.01, 0.1, 1.0], [1.0, 2.0, 3.0, 4.0], [0.1] * 4, "row")
    charts.level(axes, 2.0, 0.1, "base")
    charts.swept_axis(axes, [0.0, 0.01, 0.1, 1.0])
    low, high = axes.get_xlim()
    assert -0.01 < low < 0.0
    assert high > 1.2, "no marker is cut"
