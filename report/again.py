"""The commands that reproduce the results of an experiment, or of one of its tables."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from benchmarks.records.words import reproduce
from methods.contract import Experiment, recipe_key
from report import records
from report.records import Group


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
