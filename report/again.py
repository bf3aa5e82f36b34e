"""The commands that reproduce the results of an experiment, or of one of its tables."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.records.store import canonical, read_specs, recipe_values
from benchmarks.records.words import reproduce
from methods.contract import Experiment, recipe_key
from report import records
from report.records import Group

OLDER = "an older training"
"""What results are called that were trained by another recipe than the experiment's."""


def make_command(
    name: str,
    experiment: Experiment,
    datasets: Sequence[str] = (),
    group: Group | None = None,
    seeds: int = 0,
    track: str | None = None,
    backbone: str | None = None,
) -> str:
    """The command that produces the results of an experiment: those of one table, or on its first data set.

    Args:
        name: the paper's module name.
        experiment: one of its experiments.
        datasets: data sets to name; those it is not defined on are left out.
        group: the table, if it is about one.
        seeds: number of replicates in the table; named if it is not the experiment's own number.
        track: used instead of the experiment's own if no table is given.
        backbone: likewise.
    """
    if group is not None:
        datasets = [_known_as(experiment, group.dataset)]
    defined = [dataset for dataset in datasets if recipe_key(dataset) in experiment.recipes]
    track, backbone = track or experiment.track, backbone or experiment.backbone
    if group is not None:
        track, backbone = group.track, group.backbone
    others = seeds if seeds != experiment.seeds else 0
    return reproduce(name, experiment.name, defined or [next(iter(experiment.recipes))], track, backbone, others)


def _known_as(experiment: Experiment, dataset: str) -> str:
    """The experiment's name for a data set: for a subset that of the whole."""
    if recipe_key(dataset) in experiment.recipes:
        return dataset
    return next((key for key in experiment.recipes if records.is_of(dataset, [key])), dataset)


def replicates(frame: pd.DataFrame, group: Group) -> int:
    """Number of seeds or splits in a table."""
    rows = records.of_group(frame, group)
    return len(rows[["split", "seed"]].drop_duplicates())


def is_older(name: str, experiment: Experiment, group: Group, results: Path) -> bool:
    """Whether committed cells of a table were trained by another recipe than the one that its command trains by.

    What the experiment varies is not compared, nor the rate on a fixed trunk, which depends on the trunk.
    """
    declared = experiment.recipes.get(recipe_key(_known_as(experiment, group.dataset)))
    if declared is None:
        return False
    free = {*experiment.recipe_sweep, *(["rate"] if group.track == "frozen" else [])}
    todays = {_kept(recipe_values(declared.longer(row.times)), free) for row in experiment.rows}
    path = results / name / "specs" / f"{experiment.name}.json"
    specs = [spec for spec in _specs(path) if all(spec[field] == value for field, value in group._asdict().items())]
    return any(_kept(spec["recipe"], free) not in todays for spec in specs)


@functools.lru_cache(maxsize=1)
def _specs(path: Path) -> list[dict[str, Any]]:
    """The specs beside committed results; those of one experiment are asked for again and again."""
    return [one["spec"] for one in read_specs(path).values()]


def _kept(recipe: dict[str, Any], free: set[str]) -> str:
    """A recipe without some of its fields, as text that is the same for equal ones."""
    return canonical({name: value for name, value in recipe.items() if name not in free})
