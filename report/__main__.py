"""Command line of the report: ``python -m report table PAPER``."""

from __future__ import annotations

import functools
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ParamSpec

import click

from benchmarks.machine.errors import UserError
from methods.contract import SHARED_TRACK, Experiment, Paper, names, papers, recipe_key, usual_experiments
from methods.errors import UnknownMethodError
from methods.recipes import trial
from report import build, comparison, kept, latex, ledger, records, statements
from report.build import Loaded, make_command
from report.claims import VERDICTS
from report.records import COMMITTED
from report.table import Table, as_csv, as_markdown, as_text

P = ParamSpec("P")


ALL = "all"
"""Stands for every paper."""


class NoResultsError(UserError):
    """What was asked for exists, and nothing of it has been run."""


def known(name: str) -> Paper:
    """The paper of that name.

    Raises:
        UserError: there is none; the message lists those that there are.
    """
    found = papers()
    if name not in found and name not in names():
        raise UserError(f"unknown paper {name!r}; there are: {', '.join(found) or 'none'}.")
    return found.get(name) or trial(name)


def chosen_experiments(
    name: str, paper: Paper, names: Sequence[str], datasets: Sequence[str] = (), track: str | None = None
) -> list[Experiment]:
    """The named experiments, in the paper's order, or those that run where none is named.

    Raises:
        UserError: an experiment is unknown; the message lists those that there are.
    """
    existing = {experiment.name: experiment for experiment in paper.experiments}
    for wanted in names:
        if wanted not in existing:
            raise UserError(f"{name} has no experiment {wanted!r}; there are: {', '.join(existing)}.")
    if not names:
        return usual_experiments(paper, datasets, track) or list(paper.experiments)
    return [experiment for experiment in paper.experiments if experiment.name in names]


def selections(
    paper: str, names: Sequence[str], datasets: Sequence[str]
) -> Iterator[tuple[str, Paper, Sequence[str], Sequence[str]]]:
    """The paper, or each of all papers that has something of what is named, with what of it is named.

    Raises:
        UserError: there is no such paper.
    """
    if paper != ALL:
        yield paper, known(paper), names, datasets
        return
    for name, found in papers().items():
        its = [one.name for one in found.experiments if one.name in names]
        keys = {key for one in found.experiments if one.default or one.name in names for key in one.recipes}
        on = [dataset for dataset in datasets if recipe_key(dataset) in keys]
        if bool(its) == bool(names) and bool(on) == bool(datasets):
            yield name, found, its, on


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
        UserError: unknown data set, malformed file, or no results at all.
    """
    found = [build.load(name, experiment, runs, results) for experiment in experiments]
    _check_datasets(name, found, datasets)
    tables, used, lacking = [], [], []
    for loaded in found:
        groups = [group for group in loaded.groups if not datasets or records.is_of(group.dataset, datasets)]
        groups = [group for group in groups if track in (None, group.track)]
        tables += build.tables(name, paper, loaded, groups, results, runs)
        if groups:
            used += list(loaded.paths.values())
        else:
            lacking.append(loaded.experiment)
    if not tables:
        first = experiments[0] if experiments else None
        command = make_command(name, first, datasets) if first else f"make reproduce-{name}"
        about = " and ".join(experiment.name for experiment in experiments) or "its default experiments"
        place = f" on {', '.join(datasets)}" if datasets else ""
        raise NoResultsError(f"there are no results of {name} for {about}{place} yet; get them with: {command}")
    return tables, used, lacking


def _check_datasets(name: str, found: Sequence[Loaded], datasets: Sequence[str]) -> None:
    existing = dict.fromkeys(dataset for one in found for dataset in one.experiment.recipes)
    existing |= dict.fromkeys(str(dataset) for one in found for dataset in one.frame["dataset"].unique())
    for wanted in datasets:
        if wanted not in existing:
            raise UserError(f"{name} has nothing on a data set {wanted!r}; there are: {', '.join(existing)}.")


def closing(
    name: str,
    paper: Paper,
    used: Sequence[Path],
    lacking: Sequence[Experiment],
    runs: Path,
    results: Path,
    own: bool = False,
) -> str:
    """Where the numbers are, and what has not been run; of a user's ``own`` images no paper has said anything."""
    lines = [f"Read from {', '.join(map(str, used))}."]
    lines += [f"No results of {one.name} here; get them with: {make_command(name, one)}" for one in lacking]
    for claim in paper.claims if not own else ():
        if not any(records.files(name, one, runs, results) for one in claim.experiments):
            places = " or ".join(claim.experiments)
            lines.append(f"Claim {claim.name}: not run here (experiment {places}). {claim.text}")
    if not own:
        lines += [f"{what}: not reproduced here; {reason}." for what, reason in paper.not_run.items()]
    return "\n".join(lines)


def write(text: str, out: Path | None) -> None:
    """To the file, or to standard output.

    Raises:
        UserError: the file cannot be written.
    """
    if out is None:
        click.echo(text, nl=False)
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}.") from error


def one_sentence(command: Callable[P, None]) -> Callable[P, None]:
    """A mistake ends the command with its sentence and status 2."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except (UserError, UnknownMethodError) as error:
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


def _named(_context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """Data sets: names parted by blanks, then folders, whose paths may hold blanks."""
    return tuple(name for text in value for name in records.named(text))


def selection(command: Callable[P, None]) -> Callable[P, None]:
    """The paper, and the options ``--experiment`` and ``--dataset``."""
    words = "Only this data set; may be repeated."
    command = click.option("--dataset", "datasets", multiple=True, callback=_named, help=words)(command)
    command = click.option("--experiment", "names", multiple=True, help="May be repeated; else the default ones.")(
        command
    )
    command = click.option("--track", help="Only this track.")(command)
    return click.argument("paper")(command)


def _html(tables: Sequence[Table]) -> str:
    from report import pages  # templates are read where they are needed

    return pages.document(tables)


FORMS: dict[str, Callable[[Sequence[Table]], str]] = {
    "text": lambda tables: "\n".join(map(as_text, tables)),
    "markdown": lambda tables: "\n".join(map(as_markdown, tables)),
    "csv": as_csv,
    "latex": lambda tables: latex.PREAMBLE + "\n".join(map(latex.latex, tables)),
    "html": _html,
}
"""How tables are written."""


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
@click.option("--format", "form", type=click.Choice(list(FORMS)), default="text", show_default=True)
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
    """Tables of PAPER, or of all: this machine's run beside the committed result, the published numbers, the claims."""
    shown: list[Table] = []
    last = []
    for name, found, its, on in selections(paper, names, datasets):
        together = SHARED_TRACK if paper == ALL else None
        experiments = chosen_experiments(name, found, its, on, track or together)
        try:
            tables, used, lacking = tables_of(name, found, experiments, on, track, runs, results)
        except NoResultsError as error:
            if paper != ALL:
                raise
            last.append(str(error))
            continue
        shown += tables
        last.append(closing(name, found, used, lacking, runs, results, bool(on) and all(map(records.is_own, on))))
    if not shown:
        raise NoResultsError("there are no such results; `python -m report list` shows what there is.")
    write(FORMS[form](shown), out)
    text = "\n".join(last)
    click.echo(f"\n{text}" if form == "text" and out is None else text, err=form != "text" and out is None)


@main.command("compare")
@click.argument("dataset", required=False)
@click.option("--classes", type=click.Choice(["common"]), help="Of own images: the classes that all domains have.")
@click.option("--format", "form", type=click.Choice(list(FORMS)), default="text", show_default=True)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file instead.")
@places
@one_sentence
def compare_command(
    dataset: str | None, classes: str | None, form: str, out: Path | None, runs: Path, results: Path
) -> None:
    """All methods on DATASET in one table, or every comparison that there is, and which method to take."""
    name = f"{records.named(dataset)[-1]}{records.COMMON if classes else ''}" if dataset else ""
    shown = comparison.found(runs, results, name)
    if not shown:
        about = f" on {name}" if name else ""
        raise NoResultsError(f"there is no comparison{about} yet; get it with: make compare DATASET={name or 'NAME'}")
    committed = comparison.found(None, results)
    write(FORMS[form]([kept.table(one, committed) for one in shown]), out)


@main.command()
@click.argument("paper", required=False)
@click.option("--out", default="report/tables", type=click.Path(path_type=Path, file_okay=False), show_default=True)
@results_option
@one_sentence
def tables(paper: str | None, out: Path, results: Path) -> None:
    """All committed experiments of PAPER, or of every paper, as Markdown, LaTeX and CSV, a file each.

    The same bytes for the same results; files of experiments that have none any more are removed.
    """
    chosen = {paper: known(paper)} if paper else papers()
    for name, found in chosen.items():
        committed = [one for one in found.experiments if COMMITTED in records.files(name, one.name, None, results)]
        if paper and not committed:
            raise UserError(f"there are no committed results of {name} in {results / name}.")
        written = set()
        for experiment in committed:
            shown, _, _ = tables_of(name, found, [experiment], (), None, None, results)
            texts = {
                "md": f"# {found.title}\n\n" + FORMS["markdown"](shown),
                "tex": FORMS["latex"](shown),
                "csv": FORMS["csv"](shown),
            }
            for kind, text in texts.items():
                path = out / name / f"{experiment.name}.{kind}"
                write(text, path)
                written.add(path)
            click.echo(out / name / f"{experiment.name}.{{{','.join(texts)}}}")
        for path in sorted((out / name).glob("*.*")):
            if path not in written and path.suffix in (".md", ".tex", ".csv"):
                path.unlink()
                click.echo(f"removed {path}, of which there are no committed results")


@main.command()
@results_option
@one_sentence
def claims(results: Path) -> None:
    """The ledger beside the committed results: claims.csv, claim_cells.csv, and CLAIMS.md with one line for each."""
    rows = ledger.ledger(papers(), results)
    texts = {
        "claims.csv": ledger.comma_separated(rows),
        "claim_cells.csv": ledger.cells_behind(rows),
        "CLAIMS.md": statements.markdown(papers(), rows),
    }
    for name, text in texts.items():
        write(text, results / name)
    counts = Counter(row.verdict for row in rows)
    click.echo(
        f"{results / 'claims.csv'}: {len(rows)} rows; "
        + ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS)
    )
    click.echo(statements.chance(rows))


def _to_decide(
    paper: str, names: Sequence[str], datasets: Sequence[str], track: str | None
) -> Iterator[tuple[str, Paper, Sequence[Experiment]]]:
    """The experiments that ``make reproduce-PAPER`` runs with these options; of all papers, with none, every one."""
    for name, found, its, on in selections(paper, names, datasets):
        if its:
            yield name, found, chosen_experiments(name, found, its)
        elif paper != ALL:
            yield name, found, usual_experiments(found, on, track)
        else:
            several = usual_experiments(found, on, track or SHARED_TRACK) if on else found.experiments
            yield name, found, [one for one in several if track in (None, one.track)]


@main.command()
@selection
@click.option("--backbone", help="The tables on this backbone; default: the experiment's.")
@results_option
@one_sentence
def decide(
    paper: str,
    names: tuple[str, ...],
    datasets: tuple[str, ...],
    track: str | None,
    backbone: str | None,
    results: Path,
) -> None:
    """How many replicates the tables of PAPER, or of all, are to have: replicates.csv beside the committed results."""
    from report import deciding

    chosen = {name: (found, its) for name, found, its in _to_decide(paper, names, datasets, track)}
    rows = deciding.decide(chosen, results, deciding.Where(datasets, track, backbone))
    click.echo(deciding.text(rows))
    click.echo(f"written to {results / 'replicates.csv'}")


@main.command("simulate")
@click.option(
    "--page", default="REPRODUCIBILITY.md", type=click.Path(path_type=Path, dir_okay=False), show_default=True
)
@results_option
@one_sentence
def simulate(page: Path, results: Path) -> None:
    """How often the rule gives each verdict where the truth is known: the table in PAGE."""
    from report import headline, simulation

    text = simulation.table(ledger.ledger(papers(), results))
    write(headline.inserted(page.read_text(), text, str(page), simulation.BEGIN, simulation.END), page)
    click.echo(text)


@main.command("tuning")
@results_option
@one_sentence
def tuning_command(results: Path) -> None:
    """TUNING.md beside the committed results: rules that choose a weight without target labels, judged."""
    from report import tuning

    write(tuning.page(papers(), results), results / "TUNING.md")
    click.echo(results / "TUNING.md")


@main.command("contents")
@results_option
@one_sentence
def contents_command(results: Path) -> None:
    """CONTENTS.md beside the committed results: what is there, what it took, what makes it again."""
    from report import contents

    write(contents.contents(papers(), results), results / "CONTENTS.md")
    click.echo(results / "CONTENTS.md")


@main.command("headline")
@click.option("--readme", default="README.md", type=click.Path(path_type=Path, dir_okay=False), show_default=True)
@click.option("--out", default="report/tables", type=click.Path(path_type=Path, file_okay=False), show_default=True)
@results_option
@one_sentence
def headline_command(readme: Path, out: Path, results: Path) -> None:
    """The README's table and figure, all methods on Office-31 and the curves of layers, and FINDINGS.md's table."""
    from report import headline
    from report.figures import charts

    made = {}  # all of it before anything is written
    for page, make in ((readme, headline.table), (results / "FINDINGS.md", headline.other_data)):
        try:
            before = page.read_text()
        except OSError as error:
            raise UserError(f"{page} cannot be read: {error.strerror or error}.") from error
        made[page] = headline.inserted(before, make(papers(), results), str(page))
    for page, text in made.items():
        write(text, page)
        click.echo(page)
    for stem, chart in headline.figures(papers(), results).items():
        for path in charts.save(chart, out / stem, ("svg",)):
            click.echo(path)


@main.command()
@click.option("--out", default="report/site", type=click.Path(path_type=Path, file_okay=False), show_default=True)
@places
@one_sentence
def site(out: Path, runs: Path, results: Path) -> None:
    """Static HTML pages of everything: an overview, and a page for each paper."""
    from report import site as pages  # templates and figures are read where they are needed

    paths = pages.make(papers(), runs, results, out)
    click.echo(f"{len(paths)} pages; open {paths[0]}")


@main.command("diff")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@one_sentence
def diff_command(old: Path, new: Path) -> None:
    """What differs between two result trees, OLD and NEW; exit status 1 if anything does."""
    from report import diff

    lines = diff.compare(old, new, papers())
    click.echo("\n".join(lines) or f"{old} and {new} hold the same results.")
    sys.exit(1 if lines else 0)


@main.command("check-regression")
@click.option(
    "--bands", "path", default="tests/regression/bands.csv", type=click.Path(path_type=Path), show_default=True
)
@click.option("--list", "listed", is_flag=True, help="Print paper, data set and task of every band, to run them.")
@places
@one_sentence
def check_regression(path: Path, listed: bool, runs: Path, results: Path) -> None:
    """A fresh run in RUNS against the committed accuracy bands; exit status 1 if it is outside."""
    from report import bands

    found = bands.read(path)
    if listed:
        click.echo("\n".join(f"{band.paper} {band.dataset} {band.task}" for band in found))
        return
    checks = []
    for band in found:
        experiment = usual_experiments(known(band.paper), [band.dataset])[0]
        checks.append(bands.check(band, runs, results, experiment.name))
    click.echo(bands.text(checks))
    sys.exit(1 if any(check.wrong for check in checks) else 0)


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
    """The figures of PAPER: sweeps, learning curves, distances, what else its experiments measure."""
    from report.figures import charts
    from report.figures import draw as drawing

    found = known(paper)
    experiments = chosen_experiments(paper, found, names) if names else list(found.experiments)
    loaded = [build.load(paper, one, runs, results) for one in experiments]
    _check_datasets(paper, loaded, datasets)
    drawn = 0
    for one in loaded:
        for group in one.groups:
            if (datasets and not records.is_of(group.dataset, datasets)) or track not in (None, group.track):
                continue
            for chart in drawing.of_experiment(paper, found, one.experiment, one.frame, group, results):
                click.echo("\n".join(map(str, charts.save(chart, out / paper / chart.name))))
                drawn += 1
        if not datasets and track is None:
            for chart in drawing.map_charts(paper, one.experiment, results):
                click.echo("\n".join(map(str, charts.save(chart, out / paper / chart.name))))
                drawn += 1
    if not drawn and any(one.paths for one in loaded):
        about = " and ".join(names) or "the experiments that have results"
        raise UserError(
            f"there is nothing to draw of {about} of {paper}: nothing is swept, followed or measured there."
        )
    if not drawn:
        command = make_command(paper, experiments[0], datasets)
        raise UserError(f"there is nothing to draw yet; get results with: {command}")


if __name__ == "__main__":
    main()
