"""Every cell that the suite can plan has the hash that it has always had: a committed number never loses its cell.

And every comparison that a claim makes is still made, however the declarations are written.

``python -m tests.benchmarks.test_cell_hashes`` writes ``cell_hashes.csv`` and ``comparisons.csv`` anew, for a change
that is meant: a new experiment or claim, or a revision that is raised.  Digests of data stand for themselves, so
nothing has to be prepared.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from benchmarks.plan import plan
from benchmarks.plan.plan import Options
from datasets import store
from datasets.store import Location
from methods import contract
from methods.contract import Row

FIXTURE = Path(__file__).with_name("cell_hashes.csv")
COLUMNS = ("paper", "experiment", "dataset", "cells", "digest")
COMPARISONS = Path(__file__).with_name("comparisons.csv")
SIDES = ("paper", "experiment", "better", "worse", "metric", "higher", "tasks", "than", "than_setting", "margin")
IF_MEANT = "if the change is meant, `python -m tests.benchmarks.test_cell_hashes` writes the list anew"


@contextmanager
def everything_prepared() -> Iterator[None]:
    """All data count as prepared, each with its name as its digest."""

    def digest(name: str, part: str, _location: Location, side: int | None = None) -> str:
        return f"{name} {part} {side}"

    def same(name: str, *_rest: Any, **_named: Any) -> str:
        return name

    with (
        mock.patch.object(store, "is_prepared", return_value=True),
        mock.patch.object(store, "resolve", same),
        mock.patch.object(store, "digest", digest),
    ):
        yield


def planned(paper: str) -> list[tuple[str, ...]]:
    """The rows of the fixture that a paper has: the number of its cells, and a digest of their sorted hashes."""
    rows = []
    nowhere = Location(Path("/nonexistent"))
    with everything_prepared():
        for experiment in contract.papers()[paper].experiments:
            for dataset in experiment.recipes:
                if dataset != "folder":
                    options = Options(experiments=(experiment.name,), datasets=(dataset,))
                    cells = sorted({cell.spec.hash for cell in plan.make(paper, options, nowhere).cells})
                    digest = hashlib.sha256(" ".join(cells).encode()).hexdigest()[:16]
                    rows.append((paper, experiment.name, dataset, str(len(cells)), digest))
    return sorted(rows)


@pytest.mark.parametrize("paper", contract.papers())
def test_no_cell_has_another_hash(paper: str) -> None:
    with FIXTURE.open(newline="") as file:
        kept = [tuple(row.values()) for row in csv.DictReader(file) if row["paper"] == paper]
    assert planned(paper) == kept, IF_MEANT


def side(row: Row, setting: str | tuple[str, ...], level: float | None = None) -> str:
    """What stands on one side of a comparison."""
    points = (setting,) if isinstance(setting, str) else setting
    return f"{level:g}" if level is not None else " ".join(filter(None, (row.method, row.variant, *points)))


def compared(paper: str) -> list[tuple[str, ...]]:
    """The rows of the second fixture that a paper has: every comparison of its claims, by experiment."""
    rows = []
    for claim in contract.papers()[paper].claims:
        better = side(claim.better, claim.better_setting)
        worse = side(claim.worse, claim.worse_setting, claim.level)
        less = side(claim.better, claim.than_setting) if claim.than_setting else ""
        rest = (
            f"{claim.metric} by {claim.ranks}" if claim.ranks else claim.metric,
            str(claim.higher),
            " ".join(claim.tasks),
            " ".join(claim.than),
            less,
            f"{claim.margin:g}",
        )
        rows += [(paper, experiment, better, worse, *rest) for experiment in claim.experiments]
    return sorted(rows)


@pytest.mark.parametrize("paper", contract.papers())
def test_no_comparison_is_gone_or_another_one(paper: str) -> None:
    with COMPARISONS.open(newline="") as file:
        kept = [tuple(row.values()) for row in csv.DictReader(file) if row["paper"] == paper]
    assert compared(paper) == kept, IF_MEANT


if __name__ == "__main__":
    for path, columns, rows_of in ((FIXTURE, COLUMNS, planned), (COMPARISONS, SIDES, compared)):
        with path.open("w", newline="") as out:
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(columns)
            for name in contract.papers():
                writer.writerows(rows_of(name))
