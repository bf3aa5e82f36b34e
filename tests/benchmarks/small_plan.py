"""A plan of short cells on real digits, for tests that kill and interrupt: arguments DATA RUNS JOBS."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from benchmarks.executors import execute
from benchmarks.plan import plan
from benchmarks.plan.plan import Cell, Options
from benchmarks.records.store import Store, recipe_values
from datasets.store import Location
from methods.contract import Recipe

RECIPE = Recipe(steps=20, epoch=10, rate=0.01, batch=16)


def cells(location: Location, poisoned: bool = False) -> list[Cell]:
    """Four cells of 20 steps, and one whose rate makes the loss overflow if asked for."""
    options = Options(experiments=("digits",), datasets=("digits-mini",), tasks=("optdigits:mfeat",), seeds=2)
    made = plan.make("dan", options, location).cells
    recipes = [RECIPE] * len(made)
    if poisoned:
        recipes[1] = dataclasses.replace(RECIPE, rate=1e12)
    return [
        dataclasses.replace(cell, spec=dataclasses.replace(cell.spec, recipe=recipe_values(recipe)))
        for cell, recipe in zip(made, recipes, strict=True)
    ]


def run(location: Location, runs: Path, *, jobs: int = 1, poisoned: bool = False) -> int:
    """Run what is missing; the exit status."""
    store = Store(runs)
    todo = [cell for cell in cells(location, poisoned) if not store.has(cell.spec.hash)]
    summary = execute.run(todo, execute.Local(location, store, jobs), expected={})
    return 130 if summary.interrupted else 1 if summary.failed else 0


def main() -> None:
    data, runs, jobs = sys.argv[1:]
    sys.exit(run(Location(Path(data), None), Path(runs), jobs=int(jobs)))


if __name__ == "__main__":
    main()
