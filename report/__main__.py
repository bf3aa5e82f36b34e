"""Command line of the report: ``python -m report table PAPER``."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ParamSpec

import click
import pandas as pd

from methods.contract import Experiment, Paper, UnknownMethodError, papers, usual_experiments
from report import build, published, records, render
from report.records import COMMITTED, Group, ReportError
from report.table import Table

P = ParamSpec("P")


def known(name: str) -> Paper:
    """The paper of that name.

    Raises:
        ReportError: there is none; the message lists those that there are.
    """
    found = papers()
    if name not in found:
        raise ReportError(f"unknown paper {name!r}; there are: {', '.join(found) or 'none'}.")
    return found[name]


def chosen_experiments(
    name: str, paper: Paper, names: Sequence[str], datasets: Sequence[str] = (), track: str | None = None
) -> list[Experiment]:
    """The named experiments, in the paper's order, or those that run where none is named.

    Raises:
        ReportError: an experiment is unknown; the message lists those that there are.
    """
    existing = {experiment.name: experiment for experiment in paper.experiments}
    for wanted in names:
        if wanted not in existing:
            raise ReportError(f"{name} has no experiment {wanted!r}; there are: {', '.join(existing)}.")
    if not names:
        return usual_experiments(paper, datasets, track) or list(paper.experiments)
    return [experiment for experiment in paper.experiments if experiment.name in names]


def make_command(name: str, experiment: Experiment, datasets: Sequence[str] = ()) -> str:
    """The command that produces the results of an experiment."""
    parts = [f"make reproduce-{name}"]
    if not experiment.default:
        parts.append(f"EXPERIMENT={experiment.name}")
    if datasets:
        parts.append(f"DATASET={datasets[0]}" if len(datasets) == 1 else f'DATASET="{" ".join(datasets)}"')
    return " ".join(parts)


def tables_of(
    name: str,
    paper: Paper,
    experiments: Sequence[Experiment],
    datasets: Sequence[str],
    track: str | None,
    runs: Path | None,
    results: Path,
) -> tuple[list[Table], list[Path], list[Experiment]]:
    """The tables, the files they were read from, and the experiments that have no results.

    Raises:
        ReportError: unknown data set, malformed file, or no results at all.
    """
    loaded = [(experiment, records.files(name, experiment.name, runs, results)) for experiment in experiments]
    frames = [(experiment, paths, records.load(paths)) for experiment, paths in loaded]
    _check_datasets(name, frames, datasets)
    tables, used, lacking = [], [], []
    for experiment, paths, frame in frames:
        groups = [group for group in records.groups(frame) if not datasets or records.is_of(group.dataset, datasets)]
        groups = [group for group in groups if track in (None, group.track)]
        groups = in_order(experiment, groups)
        beside = published.read(results / "published.csv", paper.key or name, experiment.published) if groups else []
        tables += [build.build(name, paper, experiment, frame, group, beside) for group in groups]
        if groups:
            used += list(paths.values())
        else:
            lacking.append(experiment)
    if not tables:
        first = experiments[0] if experiments else None
        command = make_command(name, first, datasets) if first else f"make reproduce-{name}"
        about = " and ".join(experiment.name for experiment in experiments) or "its default experiments"
        place = f" on {', '.join(datasets)}" if datasets else ""
        raise ReportError(f"there are no results of {name} for {about}{place} yet; get them with: {command}")
    return tables, used, lacking


def in_order(experiment: Experiment, groups: Sequence[Group]) -> list[Group]:
    """Groups in the order of the experiment's data sets, those of no recipe last."""
    order = [*experiment.recipes, *(group.dataset for group in groups)]
    return sorted(groups, key=lambda group: order.index(group.dataset))


def _check_datasets(
    name: str, frames: Sequence[tuple[Experiment, dict[str, Path], pd.DataFrame]], datasets: Sequence[str]
) -> None:
    existing = dict.fromkeys(dataset for experiment, _, _ in frames for dataset in experiment.recipes)
    existing |= dict.fromkeys(str(dataset) for _, _, frame in frames for dataset in frame["dataset"].unique())
    for wanted in datasets:
        if wanted not in existing:
            raise ReportError(f"{name} has nothing on a data set {wanted!r}; there are: {', '.join(existing)}.")


def closing(
    name: str, paper: Paper, used: Sequence[Path], lacking: Sequence[Experiment], runs: Path, results: Path
) -> str:
    """Where the numbers are, and what has not been run."""
    lines = [f"Read from {', '.join(map(str, used))}."]
    lines += [f"No results of {one.name} here; get them with: {make_command(name, one)}" for one in lacking]
    for claim in paper.claims:
        if not records.files(name, claim.experiment, runs, results):
            lines.append(f"Claim {claim.name}: not run here (experiment {claim.experiment}). {claim.text}")
    lines += [f"{what}: not reproduced here; {reason}." for what, reason in paper.not_run.items()]
    return "\n".join(lines)


def write(text: str, out: Path | None) -> None:
    """To the file, or to standard output.

    Raises:
        ReportError: the file cannot be written.
    """
    if out is None:
        click.echo(text, nl=False)
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ReportError(f"{out} cannot be written: {error.strerror}.") from error


def one_sentence(command: Callable[P, None]) -> Callable[P, None]:
    """A mistake ends the command with its sentence and status 2."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except (ReportError, UnknownMethodError) as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(2)

    return wrapped


def results_option(command: Callable[P, None]) -> Callable[P, None]:
    """The option ``--results``."""
    kind = click.Path(path_type=Path)
    return click.option("--results", default="results", type=kind, help="Folder of committed results.")(command)


def places(command: Callable[P, None]) -> Callable[P, None]:
    """The options ``--runs`` and ``--results``."""
    kind = click.Path(path_type=Path)
    runs = click.option("--runs", default="runs", envvar="RUNS", type=kind, help="Folder of this machine's runs.")
    return runs(results_option(command))


def selection(command: Callable[P, None]) -> Callable[P, None]:
    """The paper, and the options ``--experiment`` and ``--dataset``."""
    command = click.option("--dataset", "datasets", multiple=True, help="Only this data set; may be repeated.")(command)
    command = click.option("--experiment", "names", multiple=True, help="May be repeated; else the default ones.")(
        command
    )
    command = click.option("--track", help="Only this track.")(command)
    return click.argument("paper")(command)


@click.group()
def main() -> None:
    """Tables and figures of the reproductions, from results that exist."""


@main.command("list")
@places
@one_sentence
def list_command(runs: Path, results: Path) -> None:
    """What each paper has, and where there are results."""
    for name, paper in papers().items():
        click.echo(f"{name}: {paper.title} ({paper.authors}, {paper.venue} {paper.year})")
        for experiment in paper.experiments:
            origins = ", ".join(records.files(name, experiment.name, runs, results)) or "no results yet"
            default = ", default" if experiment.default else ""
            click.echo(f"  {experiment.name}{default}: {experiment.title} [{origins}]")


@main.command()
@selection
@click.option("--format", "form", type=click.Choice(["text", "markdown", "csv"]), default="text", show_default=True)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file instead.")
@places
@one_sentence
def table(
    paper: str,
    names: tuple[str, ...],
    datasets: tuple[str, ...],
    track: str | None,
    form: str,
    out: Path | None,
    runs: Path,
    results: Path,
) -> None:
    """Tables of PAPER: this machine's run beside the committed result, the published numbers, the claims."""
    found = known(paper)
    experiments = chosen_experiments(paper, found, names, datasets, track)
    tables, used, lacking = tables_of(paper, found, experiments, datasets, track, runs, results)
    if form == "csv":
        write(render.comma_separated(tables), out)
    else:
        write("\n".join(map(render.text if form == "text" else render.markdown, tables)), out)
    last = closing(paper, found, used, lacking, runs, results)
    click.echo(f"\n{last}" if form == "text" and out is None else last, err=form != "text" and out is None)


@main.command()
@click.argument("paper")
@click.option("--out", default="report/tables", type=click.Path(path_type=Path, file_okay=False), show_default=True)
@results_option
@one_sentence
def tables(paper: str, out: Path, results: Path) -> None:
    """Markdown of all committed experiments of PAPER, one file each; the same bytes for the same results."""
    found = known(paper)
    committed = [one for one in found.experiments if COMMITTED in records.files(paper, one.name, None, results)]
    if not committed:
        raise ReportError(f"there are no committed results of {paper} in {results / paper}.")
    for experiment in committed:
        shown, _, _ = tables_of(paper, found, [experiment], (), None, None, results)
        path = out / paper / f"{experiment.name}.md"
        write(f"# {found.title}\n\n" + "\n".join(map(render.markdown, shown)), path)
        click.echo(path)


@main.command()
@selection
@click.option("--out", default="runs/figures", type=click.Path(path_type=Path, file_okay=False), show_default=True)
@places
@one_sentence
def figures(
    paper: str,
    names: tuple[str, ...],
    datasets: tuple[str, ...],
    track: str | None,
    out: Path,
    runs: Path,
    results: Path,
) -> None:
    """Accuracy against the swept value, for the experiments of PAPER that sweep one number."""
    from report import figure

    found = known(paper)
    experiments = [
        one
        for one in (chosen_experiments(paper, found, names) if names else found.experiments)
        if figure.swept_field(one) is not None
    ]
    if not experiments:
        asked = " and ".join(names) or "no experiment"
        raise ReportError(f"{asked} of {paper} sweeps {'no' if names else 'a'} number, so there is nothing to draw.")
    loaded = [(one, records.files(paper, one.name, runs, results)) for one in experiments]
    frames = [(one, paths, records.load(paths)) for one, paths in loaded]
    _check_datasets(paper, frames, datasets)
    drawn = 0
    for experiment, _, frame in frames:
        for group in records.groups(frame):
            if (datasets and not records.is_of(group.dataset, datasets)) or track not in (None, group.track):
                continue
            sweep = figure.sweep(experiment, frame, group)
            if sweep is not None:
                stem = out / paper / "-".join((experiment.name, *group))
                click.echo("\n".join(map(str, figure.draw(sweep, stem))))
                drawn += 1
    if not drawn:
        raise ReportError(
            f"there is nothing to draw yet; get results with: {make_command(paper, experiments[0], datasets)}"
        )


if __name__ == "__main__":
    main()
