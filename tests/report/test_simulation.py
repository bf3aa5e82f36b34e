"""The simulated rule is the rule, and draws have the mean, the tasks and the spread that they are to have."""

from __future__ import annotations

import numpy as np
import pytest

from report import claims, simulation, statistics
from report.simulation import Situation

TASKS = ("a:b", "b:a", "c:d")


@pytest.mark.parametrize("first", [0, 3])
@pytest.mark.parametrize("tasks", [1, 3])
def test_the_vectorised_rule_is_that_of_the_ledger(tasks: int, first: int) -> None:
    """On 300 draws about means from -1 to 1, so that every verdict is given; task differences make some mixed."""
    random = np.random.default_rng(0)
    shift = random.choice([-1, -0.2, 0, 0.2, 1], size=(300, 1, 1)) + np.array([0.0, 2.0, -2.0])[:tasks]
    draws = shift + 0.4 * random.standard_normal((300, 5, tasks))
    found = simulation.verdicts(draws, first)
    given = set()
    for place, draw in enumerate(draws):
        values = {(TASKS[i], "0", seed): draw[seed, i] for i in range(tasks) for seed in range(5)}
        compared = statistics.compare(values, dict.fromkeys(values, 0.0), TASKS[:tasks], "seed", first=first)
        assert compared is not None
        verdict = claims.verdict(compared)
        given.add(verdict)
        assert [name for name in simulation.SHOWN[:-1] if found[name][place]] == [verdict]
        assert found[claims.MIXED][place] == compared.mixed
    assert len(given) == 4
    assert found[claims.MIXED].any() == (tasks > 1)


def test_equal_differences_are_beyond_doubt() -> None:
    found = simulation.verdicts(np.full((1, 4, 2), [1.0, 0.0]))
    assert (found[claims.REPRODUCED][0], found[claims.MIXED][0]) == (True, False)


def test_draws_are_like_the_committed_ones() -> None:
    """Tasks 1 point above and below the mean; replicates whose tasks go together, with a deviation of 0.5."""
    values = np.array([[1.5, -0.5], [1.0, -1.0], [0.5, -1.5]])
    situation = Situation(np.array([1.0, -1.0]), (values - values.mean(axis=0)) / np.sqrt(2))
    draws = situation.draw(0.3, 4, 4000, np.random.default_rng(0))
    assert draws.shape == (4000, 4, 2)
    assert draws.mean(axis=(0, 1)) == pytest.approx([1.3, -0.7], abs=0.02)
    assert draws.reshape(-1, 2).std(axis=0) == pytest.approx([0.5, 0.5], abs=0.01)
    assert np.corrcoef(draws.reshape(-1, 2).T)[0, 1] == pytest.approx(1)
