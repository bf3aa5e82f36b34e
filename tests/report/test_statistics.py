"""Statistics against values worked by hand and a brute-force enumeration."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from report.statistics import Place, compare, estimate, mean_of, over_tasks, per_task, sign_flip_p, unit

TASKS = ("a:b", "b:a")


def series(numbers: Mapping[str, Sequence[float | None]], split: str = "0") -> dict[Place, float]:
    """Task -> values of seeds 0, 1, ...; None is a missing cell."""
    return {
        (task, split, seed): value
        for task, found in numbers.items()
        for seed, value in enumerate(found)
        if value is not None
    }


def enumerated_p(differences: np.ndarray) -> float:
    """Two-sided sign-flip p-value by listing all 2^N sign patterns: twice the smaller one-sided share, at most 1."""
    flat = differences.ravel()
    observed = flat.mean()
    means = [float(np.mean(flat * signs)) for signs in itertools.product((1, -1), repeat=flat.size)]
    above = sum(mean >= observed - 1e-12 for mean in means) / len(means)
    below = sum(mean <= observed + 1e-12 for mean in means) / len(means)
    return min(1.0, 2 * min(above, below))


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
    assert found.p == pytest.approx(2 / 2**6), "all six differences are positive"
    assert found.n == 3


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([[1.0], [2.0], [3.0]], 2 / 8),
        ([[1.0, 1.0], [1.0, 1.0]], 2 / 16),
        ([[1.0], [-1.0]], 1.0),
        ([[0.0, 0.0], [0.0, 0.0]], 1.0),
        # 3 - 1 = 2: patterns with a sum of at least 2 are (3, -1) and (3, 1), 2 of 4 on either side
        ([[3.0], [-1.0]], 1.0),
        # 5 + 4 - 1 = 8: sums of at least 8 are 10 and 8, two of eight; twice that
        ([[5.0], [4.0], [-1.0]], 0.5),
    ],
)
def test_known_p(differences: list[list[float]], p: float) -> None:
    assert sign_flip_p(np.array(differences)) == pytest.approx(p)
    assert enumerated_p(np.array(differences)) == pytest.approx(p)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-40, 40), min_size=2, max_size=9))
def test_p_equals_enumeration(differences: list[int]) -> None:
    column = np.array(differences, dtype=float)[:, None] / 8
    assert sign_flip_p(column) == pytest.approx(enumerated_p(column))


def test_many_differences_are_sampled_with_a_fixed_seed_near_the_exact_value() -> None:
    differences = np.random.default_rng(1).normal(0.35, 1, size=(3, 5))
    first = sign_flip_p(differences)
    assert first == sign_flip_p(differences)
    exact = enumerated_p(differences)
    assert 0.005 < exact < 0.9
    assert first == pytest.approx(exact, abs=4 * 2 * math.sqrt(exact / 2 / 9999))
    assert sign_flip_p(np.ones((3, 6))) == pytest.approx(2 / 10_000), "the smallest p of 9,999 resamples"


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
