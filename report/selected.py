"""Selection of a paper's results: tables and figures asked for, and those that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.machine.errors import UserError
from methods.contract import Experiment, Paper, recipe_key, usual_experiments
from report import build, records
from report.again import make_command
from report.build import Loaded
from report.records import Group
from report.table import Table

if TYPE_CHECKING:
    from report.figures.charts import Chart


class NoResultsError(UserError):
    """What was asked for exists, but none of it has been run."""


@dataclass(frozen=True)
class Asked:
    """What is asked for of a paper; empty for everything there is."""

    names: Sequence[str] = ()
    """Of experiments."""
    datasets: Sequence[str] = ()
    track: str | None = None
    backbone: str | None = None
    tasks: Sequence[str] = ()
    """Texts that name tasks, several separated by spaces."""
    strict: bool = True
    """Whether tables on a track other than the named one are left out."""

    def takes(self, group: Group) -> bool:
        """Whether a table is asked for."""
        return (
            (not self.datasets or records.is_of(group.dataset, self.datasets))
            and (not self.strict or self.track in (None, group.track))
            and self.backbone in (None, group.backbone)
        )


@dataclass(frozen=True)
class Shown:
    """The selected results of a paper."""

    name: str
    paper: Paper
    parts: list[tuple[Loaded, list[Group]]]
    """Experiments with their groups, including those without any."""
    tables: list[Table]

    @property
    def lacking(self) -> list[Experiment]:
        """The experiments without results."""
        return [loaded.experiment for loaded, groups in self.parts if not groups]


def chosen_experiments(
    name: str, paper: Paper, names: Sequence[str], datasets: Sequence[str] = (), track: str | None = None
) -> list[Experiment]:
    """The named experiments, in the paper's order, or those that run if none is named.

    Raises:
        UserError: an experiment is unknown; the message lists the existing ones.
    """
    existing = {experiment.name: experiment for experiment in paper.experiments}
    for wanted in names:
        if wanted not in existing:
            raise UserError(f"{name} has no experiment {wanted!r}; there are: {', '.join(existing)}.")
    if not names:
        return usual_experiments(paper, datasets, track) or list(paper.experiments)
    return [experiment for experiment in paper.experiments if experiment.name in names]


def _experiments(name: str, paper: Paper, asked: Asked, runs: Path | None, results: Path) -> list[Experiment]:
    """The named experiments, or those that run on the named data sets; else the default ones that have results.

    Raises:
        UserError: an experiment is unknown.
    """
    if asked.names or asked.datasets:
        return chosen_experiments(name, paper, asked.names, asked.datasets, asked.track)
    usual = [one for one in paper.experiments if one.default and asked.track in (None, one.track)]
    usual = usual or list(paper.experiments)
    return [one for one in usual if records.files(name, one.name, runs, results)] or usual[:1]


def of_tasks(found: Sequence[Loaded], texts: Sequence[str]) -> list[Loaded]:
    """The rows on the named tasks; a domain present only as a subset can be named as a whole too.

    Raises:
        NoResultsError: no experiment has any of them; the message lists the existing tasks.
    """
    known = list(dict.fromkeys(str(task) for one in found for task in one.frame["task"].unique()))
    if not texts or not known:
        return list(found)
    wanted = [task for task in known if any(_names(text, task) for text in texts)]
    if not wanted:
        raise NoResultsError(f"there are no results on {' '.join(texts)}; the tasks are: {', '.join(known)}.")
    kept = [replace(one, frame=one.frame[one.frame["task"].isin(wanted)]) for one in found]
    return [one for one in kept if not one.frame.empty]


def _names(text: str, task: str) -> bool:
    whole = re.sub(r"-\d+k?(?=[:+]|$)", "", task)
    return any(re.search(rf"(?:^|\s){re.escape(one)}(?:\s|$)", text) for one in (task, whole))


def find(name: str, paper: Paper, asked: Asked, runs: Path | None, results: Path) -> Shown:
    """The tables that are asked for.

    Raises:
        UserError: unknown experiment, data set or task, malformed file, or no results at all.
    """
    experiments = _experiments(name, paper, asked, runs, results)
    parts = _parts(name, paper, experiments, asked, runs, results)
    if not any(groups for _, groups in parts) and (others := _on_other_tracks(paper, experiments, asked)):
        parts = _parts(name, paper, others, asked, runs, results)
    tables = [table for loaded, groups in parts for table in build.tables(name, paper, loaded, groups, results, runs)]
    if not tables:
        raise NoResultsError(_nothing(name, experiments, asked))
    return Shown(name, paper, parts, tables)


def _parts(
    name: str, paper: Paper, experiments: Sequence[Experiment], asked: Asked, runs: Path | None, results: Path
) -> list[tuple[Loaded, list[Group]]]:
    """The experiments' results, and of each the groups that are asked for."""
    found = [build.load(name, experiment, runs, results) for experiment in experiments]
    _check_datasets(name, paper, found, asked.datasets)
    return [(one, [group for group in one.groups if asked.takes(group)]) for one in of_tasks(found, asked.tasks)]


def _on_other_tracks(paper: Paper, experiments: Sequence[Experiment], asked: Asked) -> list[Experiment]:
    """The other default experiments on the data sets that are asked for, if neither experiment nor track is named."""
    if asked.names or asked.track:
        return []
    return [
        one for one in paper.experiments if one.default and one not in experiments and _is_defined(one, asked.datasets)
    ]


def _nothing(name: str, experiments: Sequence[Experiment], asked: Asked) -> str:
    """Says that none of it was run, with the command that runs it."""
    defined = [one for one in experiments if not asked.datasets or _is_defined(one, asked.datasets)] or experiments
    about = " and ".join(experiment.name for experiment in defined)
    named = [*asked.datasets, *filter(None, (asked.track, asked.backbone))]
    place = f" on {', '.join(named)}" if named else ""
    command = make_command(name, defined[0], asked.datasets, None, 0, asked.track, asked.backbone)
    return f"there are no results of {name} for {about}{place} yet; get them with: {command}"


def _is_defined(experiment: Experiment, datasets: Sequence[str]) -> bool:
    return any(recipe_key(dataset) in experiment.recipes for dataset in datasets)


def _check_datasets(name: str, paper: Paper, found: Sequence[Loaded], datasets: Sequence[str]) -> None:
    existing = dict.fromkeys(dataset for one in found for dataset in one.experiment.recipes)
    existing |= dict.fromkeys(str(dataset) for one in found for dataset in one.frame["dataset"].unique())
    some = len(found) < len(paper.experiments)
    whose = " and ".join([f"{name} {one.experiment.name}" for one in found]) if some else name
    for wanted in datasets:
        if recipe_key(wanted) not in existing and wanted not in existing:
            raise UserError(f"{whose} has nothing on a data set {wanted!r}; there are: {', '.join(existing)}.")


def closing(shown: Shown, runs: Path, results: Path, own: bool = False) -> str:
    """Where the numbers are, and what has not been run; papers say nothing about a user's ``own`` images."""
    name, paper = shown.name, shown.paper
    used = [path for loaded, groups in shown.parts if groups for path in loaded.paths.values()]
    lines = [f"Read from {', '.join(map(str, used))}."]
    lines += [f"No results of {one.name} here; get them with: {make_command(name, one)}" for one in shown.lacking]
    for claim in paper.claims if not own else ():
        if not any(records.files(name, one, runs, results) for one in claim.experiments):
            places = " or ".join(claim.experiments)
            lines.append(f"Claim {claim.name}: not run here (experiment {places}). {claim.text}")
    if not own:
        lines += [f"{what}: not reproduced here; {reason}." for what, reason in paper.not_run.items()]
    return "\n".join(lines)


def charts_of(name: str, paper: Paper, asked: Asked, runs: Path, results: Path) -> Iterator[Chart]:
    """The figures that are asked for: of the named experiments, or of all.

    Raises:
        NoResultsError: there is nothing to draw.
        UserError: unknown experiment or data set, malformed file.
    """
    from report.figures import draw

    experiments = chosen_experiments(name, paper, asked.names) if asked.names else list(paper.experiments)
    loaded = [build.load(name, one, runs, results) for one in experiments]
    _check_datasets(name, paper, loaded, asked.datasets)
    drawn = False
    for one in loaded:
        groups = [group for group in one.groups if asked.takes(group)]
        for group in groups:
            for chart in draw.of_experiment(name, paper, one.experiment, one.frame, group, results):
                drawn = True
                yield chart
        if not (asked.datasets or asked.track or asked.backbone):
            for chart in draw.map_charts(name, one.experiment, results):
                drawn = True
                yield chart
    if not drawn and any(one.paths for one in loaded):
        about = " and ".join(asked.names) or "the experiments that have results"
        raise NoResultsError(
            f"there is nothing to draw of {about} of {name}: nothing is swept, followed or measured there."
        )
    if not drawn:
        command = make_command(name, experiments[0], asked.datasets)
        raise NoResultsError(f"there is nothing to draw yet; get results with: {command}")
