"""Statistics against values worked by hand, and against scipy's own tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from benchmarks.records.rules import ranks
from report import statistics
from report.statistics import Place, compare, estimate, mean_of, over_tasks, per_task, t_test, unit

TASKS = ("a:b", "b:a")


def series(numbers: Mapping[str, Sequence[float | None]], split: str = "0") -> dict[Place, float]:
    """Task -> values of seeds 0, 1, ...; None is a missing cell."""
    return {
        (task, split, seed): value
        for task, found in numbers.items()
        for seed, value in enumerate(found)
        if value is not None
    }


def test_estimate_by_hand() -> None:
    found = estimate([80, 81, 82])
    assert found is not None
    assert (found.mean, found.n) == (81, 3)
    assert found.se == pytest.approx(1 / math.sqrt(3))
    assert estimate([]) is None
    one = estimate([5.0])
    assert one is not None
    assert math.isnan(one.se)


def test_mean_over_tasks_is_taken_per_seed_first() -> None:
    found = over_tasks(series({"a:b": (80, 81, 82), "b:a": (60, 63, 60)}), TASKS, "seed")
    assert found is not None
    means = (70, 72, 71)
    assert found.mean == pytest.approx(71)
    assert found.se == pytest.approx(np.std(means, ddof=1) / math.sqrt(3))
    assert found.n == 3, "six cells are three replicates"


def test_missing_cell_removes_its_seed_from_the_mean_over_tasks_only() -> None:
    numbers = series({"a:b": (80, 81, 85), "b:a": (60, 61, None)})
    found = over_tasks(numbers, TASKS, "seed")
    assert found is not None
    assert (found.mean, found.n) == (70.5, 2)
    tasks = per_task(numbers, (*TASKS, "c:a"), "seed")
    assert tasks["a:b"] is not None
    assert tasks["a:b"].mean == 82
    assert tasks["b:a"] is not None
    assert tasks["b:a"].n == 2
    assert tasks["c:a"] is None
    assert over_tasks(numbers, (*TASKS, "c:a"), "seed") is None


def test_splits_are_the_replicates_where_there_are_several() -> None:
    rows = [
        ("a:b", split, seed, value) for split, seed, value in (("0", 0, 10), ("0", 1, 20), ("1", 0, 40), ("1", 1, 50))
    ]
    frame = pd.DataFrame(rows, columns=["task", "split", "seed", "value"])
    assert unit(frame) == "split"
    assert unit(frame[frame["split"] == "0"]) == "seed"
    numbers = {(task, split, seed): float(value) for task, split, seed, value in rows}
    found = over_tasks(numbers, ("a:b",), "split")
    assert found is not None
    assert (found.mean, found.n) == (30, 2)
    assert found.se == pytest.approx(15)


def test_a_mean_over_lines_is_where_all_have_a_value() -> None:
    found = mean_of([series({"a:b": (1, 2, 3)}), series({"a:b": (5, None, 7), "b:a": (9,)})])
    assert found == {("a:b", "0", 0): 3, ("a:b", "0", 2): 5}


def test_comparison_by_hand() -> None:
    base = series({"a:b": (80, 81, 82), "b:a": (60, 60, 60)})
    method = series({"a:b": (84, 84, 84), "b:a": (62, 65, 62)})
    found = compare(method, base, TASKS, "seed")
    assert found is not None
    assert found.effect == pytest.approx(3)
    assert found.se == pytest.approx(1 / math.sqrt(3))
    assert found.tasks == {"a:b": pytest.approx(3), "b:a": pytest.approx(3)}
    # Student's t with 2 degrees of freedom: 97.5 % quantile 4.302653
    assert (found.low, found.high) == pytest.approx(
        (3 - 4.302653 / math.sqrt(3), 3 + 4.302653 / math.sqrt(3)), abs=1e-5
    )
    # The same test: t = 3 sqrt(3) with 2 degrees of freedom.
    assert found.p == pytest.approx(0.0350985, abs=1e-6)
    assert found.n == 3
    assert (found.up, found.down, found.mixed) == ((), (), False), "on no task alone is it sure"
    assert found.spread == pytest.approx(1)


numbers = st.lists(st.integers(-400, 400).map(lambda whole: whole / 8), min_size=2, max_size=12)


@settings(max_examples=40, deadline=None)
@given(numbers)
def test_interval_and_p_are_those_of_one_paired_t_test(found: list[float]) -> None:
    low, high, p = t_test(found)
    if len(set(found)) == 1:
        assert (low, high, p) == (found[0], found[0], float(found[0] == 0))
        return
    theirs = stats.ttest_1samp(found, 0)
    assert p == pytest.approx(theirs.pvalue, abs=1e-9)
    assert (low, high) == pytest.approx(tuple(theirs.confidence_interval(0.95)))
    assert (p < 0.05) == (low > 0 or high < 0) or abs(p - 0.05) < 1e-9


def test_a_first_stage_lends_its_spread_and_its_degrees_of_freedom() -> None:
    found = [1.0, 2.0, 3.0, 9.0]
    low, high, p = t_test(found, first=3)
    half = 4.302653 * 1 / math.sqrt(4)  # t with 2 degrees of freedom, the spread of 1, 2, 3, the mean of all four
    assert (low, high) == pytest.approx((3.75 - half, 3.75 + half), abs=1e-5)
    assert p == pytest.approx(2 * stats.t.sf(3.75 * 2, 2))
    assert t_test(found, first=4) == t_test(found, first=0) == t_test(found, first=9)


def test_splits_are_in_the_order_of_their_numbers() -> None:
    """The first stage is the first splits, 2 before 10, although they are text."""
    better = {("a:b", str(split), split): float(value) for split, value in enumerate((1, 2, 3, *(50,) * 9))}
    found = compare(better, dict.fromkeys(better, 0.0), ("a:b",), "split", first=3)
    assert found is not None
    assert found.high - found.low == pytest.approx(2 * 4.302653 / math.sqrt(12), abs=1e-5)


def test_tasks_that_go_up_and_down() -> None:
    """Three tasks of five seeds: far above, far below, and neither; by hand t = 40, -20 and 0.5."""
    noise = (-0.1, 0.05, 0.0, -0.05, 0.1)
    base = series(dict.fromkeys(("a:b", "b:a", "c:d"), (50.0,) * 5))
    method = series({task: [50 + mean + one for one in noise] for task, mean in (("a:b", 4), ("b:a", -1), ("c:d", 0))})
    found = compare(method, base, ("a:b", "b:a", "c:d"), "seed")
    assert found is not None
    assert (found.up, found.down) == (("a:b",), ("b:a",))
    assert found.mixed, "the mean is above 0 and a task is below"
    back = compare(base, method, ("a:b", "b:a", "c:d"), "seed")
    assert back is not None
    assert (back.up, back.down, back.mixed) == (("b:a",), ("a:b",), True)
    alone = compare(method, base, ("a:b", "c:d"), "seed")
    assert alone is not None
    assert not alone.mixed


def test_tasks_are_corrected_for_their_number() -> None:
    """t = 3.2 with 4 degrees of freedom is p = 0.033: enough for one task, not for the first of two."""
    values = np.array([0.0, 1.0, 2.0, 3.0, 4.0]) / math.sqrt(2.5)  # deviation 1
    values += 3.2 / math.sqrt(5) - values.mean()
    base = series({"a:b": (0.0,) * 5, "b:a": (0.0,) * 5})
    method = series({"a:b": values.tolist(), "b:a": (1.0, -1, 0, 1, -1)})
    one, two = (compare(method, base, tasks, "seed") for tasks in (("a:b",), ("a:b", "b:a")))
    assert one is not None
    assert two is not None
    assert one.p == pytest.approx(0.0329, abs=1e-3)
    assert (one.up, two.up) == (("a:b",), ())


def test_holm_by_hand() -> None:
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.6, 0.7]) == [1.0, 1.0]
    assert statistics.holm([]) == []


def test_q_values_by_hand_and_as_scipy_has_them() -> None:
    assert statistics.false_discovery([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    p = np.random.default_rng(0).uniform(size=23).tolist()
    assert statistics.false_discovery(p) == pytest.approx(stats.false_discovery_control(p).tolist())


def test_false_findings_that_are_expected() -> None:
    assert statistics.expected_false([0.001] * 8 + [0.9, 0.3]) == pytest.approx(0.05 * 2), (
        "one above 0.5 stands for two"
    )
    assert statistics.expected_false([0.9] * 4) == pytest.approx(0.05 * 4), "never more than all of them"
    assert statistics.expected_false([]) == 0


@pytest.mark.parametrize(
    ("effect", "spread", "delta", "n"),
    [
        (1.0, 0.1, 0.5, 2),  # 12.706 x 0.1 / sqrt(2) = 0.90
        (0.8, 0.1, 0.5, 3),  # 4.303 x 0.1 / sqrt(3) = 0.25
        (0.0, 0.5, 0.5, 7),  # 2.447 x 0.5 / sqrt(7) = 0.46; with six 0.525
        (-1.0, 2.0, 0.5, 18),  # 2.110 x 2 / sqrt(17 + 1) = 0.995; with 17 1.03
        (0.0, 50.0, 0.5, 1000),
    ],
)
def test_replicates_that_would_decide(effect: float, spread: float, delta: float, n: int) -> None:
    assert statistics.needed(effect, spread, delta) == n


def test_a_first_stage_keeps_its_quantile_and_its_spread() -> None:
    """2.776 x 1 / sqrt(49) = 0.397, with 48 0.401; and what an interval says of the spread is that of the stage."""
    assert statistics.needed(0.4, 1.0, 0.5, first=5) == 49
    whole = series({"a:b": (1.0, 2.0, 3.0, 4.0, 5.0)})
    found = statistics.compare(whole, dict.fromkeys(whole, 0.0), ("a:b",), "seed", first=5)
    assert found is not None
    assert found.first == 5, "the stage is all there is, and what is added will not widen it"
    values = series({"a:b": (1.0, 2.0, 3.0, 4.0, 5.0, 30.0, -30.0)})
    found = statistics.compare(values, dict.fromkeys(values, 0.0), ("a:b",), "seed", first=5)
    assert found is not None
    assert (found.first, found.n) == (5, 7)
    assert found.spread == pytest.approx(math.sqrt(2.5))


def test_rank_correlation_is_spearmans_where_all_lines_have_both_values() -> None:
    """By hand: ranks 1 2 3 4 beside 2 1 4 3 are 1 - 6 x 4 / (4 x 15) = 0.6; ties as scipy has them."""
    first = [series({"a:b": (one, 1), "b:a": (tied,)}) for one, tied in ((1, 5), (2, 5), (3, 6), (9, 7))]
    second = [series({"a:b": (one,), "b:a": (tied,)}) for one, tied in ((20, 1), (10, 2), (40, 2), (30, 0))]
    found = statistics.rank_correlation(first, second)
    tied = stats.spearmanr([5, 5, 6, 7], [1, 2, 2, 0]).statistic
    assert found == {("a:b", "0", 0): pytest.approx(0.6), ("b:a", "0", 0): pytest.approx(tied)}
    assert statistics.rank_correlation(first[:2], [second[0]] * 2) == {}, "equal values have no ranks"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(-3, 3), min_size=4, max_size=4), min_size=1, max_size=3))
def test_ranks_and_deviations_are_those_of_libraries(rows: list[list[int]]) -> None:
    numbers = np.array([rows], float)
    assert np.array_equal(ranks(numbers), stats.rankdata(numbers, axis=-1))
    for row in numbers[0] / 7:
        assert statistics.deviation(row.tolist()) == pytest.approx(row.std(ddof=1))
        assert statistics.deviation([float(row[0])] * 3) == 0


@pytest.mark.parametrize(
    ("spread", "first", "most", "n"),
    [
        (0.1, 5, 20, 5),  # (2.776 x 0.1 / 0.5)^2 = 0.3
        (0.5, 5, 20, 8),  # 7.7
        (0.5, 8, 20, 8),  # 2.365: 5.6
        (3.0, 5, 20, 20),  # 277
        (3.0, 5, 10, 10),
        (3.0, 12, 10, 12),
    ],
)
def test_replicates_of_the_second_stage(spread: float, first: int, most: int, n: int) -> None:
    assert statistics.replicates(spread, first, 0.5, most) == n


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), min_size=4, max_size=4), st.integers(-50, 50))
def test_invariances(cells: list[tuple[int, int]], shift: int) -> None:
    first = series({"a:b": [a / 4 for a, _ in cells[:2]], "b:a": [a / 4 for a, _ in cells[2:]]})
    second = series({"a:b": [b / 4 for _, b in cells[:2]], "b:a": [b / 4 for _, b in cells[2:]]})
    found, back = compare(first, second, TASKS, "seed"), compare(second, first, TASKS, "seed")
    moved = compare(*({place: value + shift for place, value in one.items()} for one in (first, second)), TASKS, "seed")
    mixed = compare(dict(reversed(first.items())), second, TASKS[::-1], "seed")
    assert found is not None
    assert back is not None
    for other in (moved, mixed):
        assert other is not None
        assert (other.effect, other.low, other.high, other.p) == pytest.approx(
            (found.effect, found.low, found.high, found.p)
        )
    assert (back.effect, back.low, back.high) == pytest.approx((-found.effect, -found.high, -found.low))
    assert back.p == pytest.approx(found.p)
    assert found.low <= found.effect <= found.high


def test_unpaired_seeds_are_left_out() -> None:
    base = series({"a:b": (80, 80, None), "b:a": (60, 60, 60)})
    method = series({"a:b": (81, 83, 99), "b:a": (61, 61, 99)})
    found = compare(method, base, TASKS, "seed")
    assert found is not None
    assert (found.effect, found.n) == (1.5, 2)
    assert found.tasks == {"a:b": 2, "b:a": 1}


def test_nothing_paired_gives_nothing() -> None:
    assert compare(series({"a:b": (1,)}), series({"b:a": (1,)}), TASKS, "seed") is None
    assert compare(series({"a:b": (1, 2)}), series({"a:b": (1, 2)}), TASKS, "seed") is None, "task b:a is missing"


def test_one_seed_has_an_effect_and_nothing_else() -> None:
    found = compare(series({"a:b": (3,)}), series({"a:b": (1,)}), ("a:b",), "seed")
    assert found is not None
    assert (found.effect, found.n) == (2, 1)
    assert all(math.isnan(number) for number in (found.se, found.low, found.high, found.p))


def test_equal_differences_have_a_point_interval() -> None:
    found = compare(series({"a:b": (3, 4)}), series({"a:b": (1, 2)}), ("a:b",), "seed")
    assert found is not None
    assert (found.low, found.effect, found.high) == (2, 2, 2)
