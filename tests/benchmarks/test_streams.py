"""Random streams: independent of one another, and a function of the step alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.cell.loading import source_batches
from benchmarks.machine.host import Batches, seed_of
from methods.contract import Recipe


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


def test_with_several_sources_a_batch_is_of_one_of_them() -> None:
    sizes, steps = (30, 90, 6), 400
    recipe = Recipe(steps=steps, epoch=10, rate=0.1, batch=10)
    stream = source_batches(sizes, recipe.steps, recipe.batch, 0, "source")
    border = np.cumsum(sizes)
    shown = [stream(step) for step in range(steps)]
    domains = [np.searchsorted(border, batch, side="right") for batch in shown]
    assert all(len(set(domain)) == 1 for domain in domains)
    assert all(len(one) == min(10, sizes[domain[0]]) for one, domain in zip(shown, domains, strict=True)), "no repeats"
    # Every image of the three is shown about equally often, whatever the size of its domain.
    counts = np.bincount(np.concatenate(shown), minlength=sum(sizes))
    for number, first in enumerate((0, 30, 120)):
        own = counts[first : first + sizes[number]]
        assert own.max() - own.min() <= 1, "a domain's images come in shuffled passes"
        assert 0.5 < own.mean() / (steps * 10 / sum(sizes)) < 1.5
    # A batch depends on its step alone, and repeated calls change nothing.
    again = source_batches(sizes, recipe.steps, recipe.batch, 0, "source")
    for step in (399, 7, 7, 200):
        assert np.array_equal(again(step), shown[step])


def test_with_one_source_nothing_is_new() -> None:
    recipe = Recipe(steps=50, epoch=10, rate=0.1, batch=10)
    one, plain = source_batches((33,), recipe.steps, recipe.batch, 4, "source"), Batches(33, 10, 4, "source")
    assert all(np.array_equal(one(step), plain(step)) for step in range(50))
