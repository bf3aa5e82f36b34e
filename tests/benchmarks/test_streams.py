"""Random streams: independent of one another, and a function of the step alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.streams import Batches, seed_of


def test_seeds_of_different_streams_and_cells_differ() -> None:
    seeds = {seed_of(cell, *name) for cell in range(3) for name in (("a",), ("b",), ("a", 1), ("a", 2))}
    assert len(seeds) == 12
    assert all(0 <= seed < 2**63 for seed in seeds)


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 40), size=st.integers(1, 50), seed=st.integers(0, 5))
def test_every_pass_shows_every_example_once(n: int, size: int, seed: int) -> None:
    batches = Batches(n, size, seed, "source")
    passes = 3
    steps = -(-passes * n // size)
    shown = np.concatenate([batches(step) for step in range(steps)])[: passes * n]
    for number in range(passes):
        assert sorted(shown[number * n : (number + 1) * n]) == list(range(n))


def test_a_batch_depends_on_its_step_alone() -> None:
    in_order = Batches(23, 7, 1, "source")
    expected = [in_order(step).tolist() for step in range(20)]
    backwards = Batches(23, 7, 1, "source")
    assert [backwards(step).tolist() for step in reversed(range(20))] == expected[::-1]


def test_streams_of_other_names_and_seeds_shuffle_differently() -> None:
    first = Batches(100, 100, 0, "source")(0).tolist()
    assert first != Batches(100, 100, 0, "target")(0).tolist()
    assert first != Batches(100, 100, 1, "source")(0).tolist()
    assert first != Batches(100, 100, 0, "source")(1).tolist()
