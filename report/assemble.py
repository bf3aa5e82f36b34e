"""The tables of an experiment from the files that there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from methods.contract import Experiment, Paper
from report import build, published, records
from report.records import Group
from report.table import Table


@dataclass(frozen=True)
class Loaded:
    """What there is of one experiment."""

    experiment: Experiment
    paths: dict[str, Path]
    """Origin -> file."""
    frame: pd.DataFrame

    @property
    def groups(self) -> list[Group]:
        """In the order of the experiment's data sets, those of no recipe last."""
        return in_order(self.experiment, records.groups(self.frame))


def load(name: str, experiment: Experiment, runs: Path | None, results: Path) -> Loaded:
    """The rows of an experiment; ``runs`` None leaves this machine's out.

    Raises:
        UserError: a malformed file.
    """
    paths = records.files(name, experiment.name, runs, results)
    return Loaded(experiment, paths, records.load(paths))


def in_order(experiment: Experiment, groups: Sequence[Group]) -> list[Group]:
    """Groups in the order of the experiment's data sets, those of no recipe last."""
    order = [*experiment.recipes, *(group.dataset for group in groups)]
    return sorted(groups, key=lambda group: order.index(group.dataset))


def tables(name: str, paper: Paper, loaded: Loaded, groups: Sequence[Group], results: Path) -> list[Table]:
    """One table per group.

    Raises:
        UserError: a malformed row of the published numbers.
    """
    if not groups:
        return []
    beside = published.read(results / "published.csv", paper.key or name, loaded.experiment.published)
    return [build.build(name, paper, loaded.experiment, loaded.frame, group, beside) for group in groups]


def make_command(name: str, experiment: Experiment, datasets: Sequence[str] = ()) -> str:
    """The command that produces the results of an experiment."""
    parts = [f"make reproduce-{name}"]
    if not experiment.default:
        parts.append(f"EXPERIMENT={experiment.name}")
    if datasets:
        parts.append(f"DATASET={datasets[0]}" if len(datasets) == 1 else f'DATASET="{" ".join(datasets)}"')
    return " ".join(parts)
