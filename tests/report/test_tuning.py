"""The study of rules that choose a weight: choices, losses, correlations and collapses against values by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from matplotlib.figure import Figure

from benchmarks.records.rules import SUITE, mean_ranks
from report import tuning
from report.figures import rules
from report.records import Group
from report.tuning import GIVEN, ORACLE, Study


def study(dataset: str = "office31", **metrics: list[list[list[float]]]) -> Study:
    """Two replicates, two tasks, three values of the weight."""
    accuracy = [[[60.0, 70.0, 50.0], [80.0, 82.0, 84.0]], [[61.0, 65.0, 70.0], [80.0, 81.0, 70.0]]]
    zero = np.zeros((2, 2, 3))
    given = {"source_error": zero, "a_distance": zero, **{name: np.array(values) for name, values in metrics.items()}}
    return Study(
        place=("dan", "tuning"),
        label="X",
        group=Group(dataset, "full", "lite0", "frozen"),
        tasks=("a:b", "b:a"),
        grid=(0.1, 1.0, 10.0),
        base=np.array([[60.0, 80.0], [60.0, 80.0]]),
        accuracy=np.array(accuracy),
        metrics=given,
        given=0.8,
    )


DISTANCE = "held-out error + distance"
ERRORS = [[[0.1, 0.0, 0.2], [0.1, 0.1, 0.0]], [[0.0, 0.0, 0.3], [0.0, 0.0, 0.2]]]
DISTANCES = [[[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]], [[0.4, 0.4, 0.3], [0.4, 0.4, 0.3]]]


def test_a_rule_takes_the_least_mean_rank_over_the_tasks_of_each_replicate() -> None:
    one = study(source_error=ERRORS, a_distance=DISTANCES)
    # Mean ranks: of errors 2.25 1.75 2 and 1.5 1.5 3; with half the distance 2.75 2.25 1 and 1.5 1.5 3.
    assert one.chosen("held-out error").tolist() == [1, 0], "of equal ones the least weight"
    assert one.chosen(DISTANCE).tolist() == [2, 0]
    assert one.chosen("held-out error + distance / 4").tolist() == [2, 0]
    # The oracle has 76 at 1.0 in the first replicate and 73 in the second.
    assert one.chosen(ORACLE).tolist() == [1, 1]
    assert one.taken(DISTANCE).tolist() == [[50.0, 84.0], [61.0, 80.0]]
    assert one.loss(DISTANCE).tolist() == [9.0, 2.5]
    assert one.loss(ORACLE).tolist() == [0.0, 0.0]
    assert one.collapses(DISTANCE) == 1 / 4, "50 beside 60"
    assert one.chosen(GIVEN).tolist() == [1, 1], "0.8 is nearest to 1"
    assert not one.at_edge


def test_one_training_whose_risk_explodes_does_not_outvote_the_others() -> None:
    risks = np.array([[[0.3, 0.2, 1e12], [0.3, 0.4, 0.1], [0.4, 0.3, 0.1]]])
    assert mean_ranks(risks).tolist() == [pytest.approx([7 / 3, 2, 5 / 3])]
    assert mean_ranks(risks[0]).tolist() == pytest.approx([7 / 3, 2, 5 / 3])


def test_a_weight_at_which_a_training_diverged_is_taken_by_none() -> None:
    one = study(dev=[[[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]], [[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]]])
    assert one.chosen("DEV").tolist() == [2, 2]
    one.accuracy[1, 0, 2] = np.nan
    assert one.chosen("DEV").tolist() == [2, 1]
    assert one.chosen(ORACLE).tolist() == [1, 1]
    assert one.correlation("DEV") == pytest.approx((-0.5 + 1 + 1 + 1) / 4)
    assert not one.at_edge
    curve = rules.over_grid(one)
    assert np.isnan(curve.data["accuracy"].iloc[2])
    assert "the most accurate weight is 1" in curve.alt


def test_a_task_on_which_every_training_diverges_stops_no_table() -> None:
    one = study(dev=[[[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]], [[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]]])
    one.accuracy[1, 0] = np.nan
    assert one.correlation("DEV") == pytest.approx((-0.5 + 1) / 2), "of the other replicate"
    assert not one.at_edge
    assert [grid.name for grid in tuning.grids([one])] == ["gain", "loss", "rank", "collapse"]
    chart = rules.over_grid(one)
    assert "a training diverges at every weight; the suite's rule takes" in chart.alt


def test_only_rules_of_which_everything_is_known_are_judged() -> None:
    assert study().rules == [DISTANCE, "held-out error + distance / 4", "held-out error"]
    assert "SND" in study(snd=DISTANCES).rules
    assert study(snd=DISTANCES).chosen("SND").tolist() == [0, 0], "the largest density"


def test_the_correlation_is_over_the_grid() -> None:
    like = [[[3.0, 2.0, 4.0], [3.0, 2.0, 1.0]], [[3.0, 2.0, 1.0], [2.0, 1.0, 3.0]]]  # the least is the best
    assert study(dev=like).correlation("DEV") == pytest.approx(1.0)
    turned = [[[-value for value in task] for task in replicate] for replicate in like]
    assert study(dev=turned).correlation("DEV") == pytest.approx(-1.0)
    assert study().correlation("held-out error") == 0.0, "one that likes all alike says nothing"


def test_the_suites_rule_is_judged_on_other_data() -> None:
    bad, good = study("office31", source_error=ERRORS, a_distance=DISTANCES), study("digits")
    # On office31 the held-out error loses 0 and 2.5; on digits all are alike: nothing but the first value is taken.
    best = tuning.best_elsewhere([bad, good])
    assert best["digits"] == "held-out error"
    assert best["office31"] == DISTANCE, "of equal ones the first"
    assert tuning.best_elsewhere([bad]) == {}


def test_a_method_with_several_forms_counts_once() -> None:
    """Three forms of one method like the distance, two other methods do not."""
    wrong = [[[0.1, 0.1, 0.0], [0.1, 0.1, 0.0]], [[0.0, 0.0, 0.3], [0.0, 0.0, 0.2]]]
    saved = [[[1.0, 0.0, 1.0], [1.0, 0.0, 1.0]], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]
    forms = [study("digits", source_error=wrong, a_distance=saved) for _ in range(3)]
    others = [
        dataclasses.replace(study("digits", source_error=ERRORS, a_distance=DISTANCES), place=(name, "tuning"))
        for name in ("ddc", "jan")
    ]
    assert [one.loss("held-out error").mean() for one in (forms[0], others[0])] == [5.75, 1.25]
    assert [one.loss(DISTANCE).mean() for one in (forms[0], others[0])] == [1.25, 5.75]
    assert tuning.best_elsewhere([study(), *forms, *others])["office31"] == "held-out error"


def test_the_grids_show_every_rule() -> None:
    one = study(source_error=ERRORS, a_distance=DISTANCES)
    gain, loss, rank, collapse = tuning.grids([one])
    assert gain.columns[:3] == (ORACLE, GIVEN, DISTANCE)
    assert [type(cell) for cell in loss.lines[0].cells[5:]] == [str] * 4, "entropy, SND, IWCV and DEV are not known"
    mean = loss.lines[0].cells[2]
    assert getattr(mean, "value", None) == pytest.approx(5.75)
    assert getattr(collapse.lines[0].cells[2], "value", None) == pytest.approx(25)
    assert [*rank.lines[0].cells[:2]] == ["-", "-"]


def test_the_figures_hold_what_the_rules_take() -> None:
    one = study(dev=[[[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]], [[0.2, 0.4, 0.5], [0.2, 0.4, 0.5]]])
    (bars,) = rules.bars([one])
    assert bars.data[[ORACLE, SUITE]].to_numpy().tolist() == [[4.5, -1.25]], "means of 6 and 3, of -3 and 0.5"
    curve = rules.over_grid(one)
    assert curve.data["accuracy"].tolist() == [70.25, 74.5, 68.5]
    assert curve.data[SUITE].tolist() == [1, 0, 1]
    assert "the most accurate weight is 1; the suite's rule takes 0.1, 10" in curve.alt
    figure = Figure()
    curve.draw(figure)
    assert len(figure.axes) == 2
