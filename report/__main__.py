"""Command line of the report: ``python -m report table PAPER``."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ParamSpec

import click

from benchmarks.machine.errors import UserError
from benchmarks.records.words import plural
from methods.contract import SHARED_TRACK, Experiment, Paper, names, papers, recipe_key, usual_experiments
from methods.errors import UnknownMethodError
from methods.recipes import trial
from report import answer, comparison, kept, latex, ledger, records, selected, statements
from report.claims import VERDICTS
from report.records import COMMITTED
from report.selected import Asked, NoResultsError, Shown, chosen_experiments
from report.table import Table, as_csv, as_markdown, as_text

P = ParamSpec("P")


ALL = "all"
"""Stands for every paper."""


def known(name: str) -> Paper:
    """The paper of that name.

    Raises:
        UserError: there is none; the message lists the existing ones.
    """
    found = papers()
    if name not in found and name not in names():
        raise UserError(f"unknown paper {name!r}; there are: {', '.join(found) or 'none'}.")
    return found.get(name) or trial(name)


def selections(
    paper: str, names: Sequence[str], datasets: Sequence[str]
) -> Iterator[tuple[str, Paper, Sequence[str], Sequence[str]]]:
    """The paper, or every paper that has some of the named items, each with those items.

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


def write(text: str, out: Path | None) -> None:
    """Write to the file, or to standard output.

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
    """A user's mistake ends the command with one sentence and status 2."""

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
    """Data sets: names separated by spaces, then folders, whose paths may contain spaces."""
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


def backbone_option(command: Callable[P, None]) -> Callable[P, None]:
    """The option ``--backbone``."""
    return click.option("--backbone", help="Only this backbone.")(command)


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
KINDS = {"md": "markdown", "tex": "latex", "csv": "csv"}
"""Suffix of a file -> its form."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Tables and figures of the reproductions, from existing results."""


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
@backbone_option
@click.option("--tasks", multiple=True, help="Only these tasks, source:target, separated by spaces.")
@click.option("--all", "everything", is_flag=True, help="Everything about every table, not just the answer.")
@click.option("--format", "form", type=click.Choice(list(FORMS)), default="text", show_default=True)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file instead.")
@places
@one_sentence
def table(
    paper: str,
    names: tuple[str, ...],
    datasets: tuple[str, ...],
    track: str | None,
    backbone: str | None,
    tasks: tuple[str, ...],
    everything: bool,
    form: str,
    out: Path | None,
    runs: Path,
    results: Path,
) -> None:
    """The answer of PAPER, or of all, and its main table; with --all or another output, every table.

    This machine's run is shown beside the committed result and the published numbers.
    """
    found: list[Shown] = []
    last = []
    for name, its_paper, its, on in selections(paper, names, datasets):
        asked = Asked(its, on, track or (SHARED_TRACK if paper == ALL and on else None), backbone, tasks)
        asked = dataclasses.replace(asked, strict=track is not None or paper != ALL)
        try:
            one = selected.find(name, its_paper, asked, runs, results)
        except NoResultsError as error:
            if paper != ALL:
                raise
            last.append(str(error))
            continue
        found.append(one)
        own = bool(on) and all(map(records.is_own, on))
        last.append(selected.closing(one, runs, results, own))
    if not found:
        raise NoResultsError("there are no such results; `python -m report list` shows what there is.")
    tables = [table for one in found for table in one.tables]
    if form == "text" and out is None and not everything:
        click.echo("\n\n".join(answer.text(one, results) for one in found))
        if len(found) == 1:
            click.echo("\n" + answer.main_table(tables))
        chosen = {"EXPERIMENT": " ".join(names), "DATASET": " ".join(datasets), "TRACK": track or ""}
        chosen |= {"BACKBONE": backbone or "", "TASKS": " ".join(tasks)}
        click.echo("\n" + answer.rest(paper, tables, chosen))
        return
    write(FORMS[form](tables), out)
    text = "\n".join(last)
    click.echo(f"\n{text}" if form == "text" and out is None else text, err=form != "text" and out is None)


@main.command("compare")
@click.argument("dataset", required=False)
@click.option("--classes", type=click.Choice(["common"]), help="Own images: only the classes shared by all domains.")
@click.option("--format", "form", type=click.Choice(list(FORMS)), default="text", show_default=True)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file instead.")
@places
@one_sentence
def compare_command(
    dataset: str | None, classes: str | None, form: str, out: Path | None, runs: Path, results: Path
) -> None:
    """All methods on DATASET in one table, or every existing comparison, and which method to use."""
    names = records.named(dataset) if dataset else ()
    if len(names) > 1:
        raise UserError(f"compare takes one data set, not {', '.join(names)}.")
    name = f"{names[0]}{records.COMMON if classes else ''}" if names else ""
    shown = comparison.found(runs, results, name)
    if not shown:
        about = f" on {name}" if name else ""
        raise NoResultsError(f"there is no comparison{about} yet; get it with: make compare DATASET={name or 'NAME'}")
    committed = comparison.found(None, results)
    write(FORMS[form]([kept.table(one, committed) for one in shown]), out)


@main.command()
@click.argument("paper", required=False)
@click.option("--format", "kinds", multiple=True, type=click.Choice(list(KINDS)), default=("md",), show_default=True)
@click.option("--out", default="report/tables", type=click.Path(path_type=Path, file_okay=False), show_default=True)
@results_option
@one_sentence
def tables(paper: str | None, kinds: tuple[str, ...], out: Path, results: Path) -> None:
    """All committed experiments of PAPER, or of every paper, one file each; Markdown, LaTeX or CSV.

    The same results give the same bytes; files of experiments that no longer have results are removed.
    """
    write_tables(paper, kinds, out, results)


def write_tables(paper: str | None, kinds: Sequence[str], out: Path, results: Path) -> None:
    """See the command.

    Raises:
        UserError: a malformed file, or the named paper has no committed results.
    """
    chosen = {paper: known(paper)} if paper else papers()
    for name, found in chosen.items():
        committed = [one for one in found.experiments if COMMITTED in records.files(name, one.name, None, results)]
        if paper and not committed:
            raise UserError(f"there are no committed results of {name} in {results / name}.")
        written = set()
        for experiment in committed:
            shown = selected.find(name, found, Asked([experiment.name]), None, results).tables
            title = {"md": f"# {found.title}\n\n"}
            for kind in kinds:
                path = out / name / f"{experiment.name}.{kind}"
                write(title.get(kind, "") + FORMS[KINDS[kind]](shown), path)
                written.add(path)
                click.echo(path)
        for path in sorted((out / name).glob("*.*")):
            if path not in written and path.suffix.removeprefix(".") in KINDS:
                path.unlink()
                click.echo(f"removed {path}, which has no committed results any more")


@main.command()
@results_option
@one_sentence
def claims(results: Path) -> None:
    """The ledger beside the committed results: claims.csv, claim_cells.csv, and CLAIMS.md with one line for each."""
    write_claims(results)


def write_claims(results: Path) -> None:
    """See the command.

    Raises:
        UserError: a malformed file.
    """
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
        f"{results / 'claims.csv'}: {plural(len(rows), 'row')}; "
        + ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS)
    )
    click.echo(statements.chance(rows))


def _to_decide(
    paper: str, names: Sequence[str], datasets: Sequence[str], track: str | None
) -> Iterator[tuple[str, Paper, Sequence[Experiment]]]:
    """The experiments that ``make reproduce-PAPER`` runs with these options; all, if of all papers without options."""
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
@click.option("--backbone", help="Tables on this backbone; default: the experiment's.")
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
    """How many replicates the tables of PAPER, or of all, need: replicates.csv beside the committed results."""
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
    """TUNING.md beside the committed results: how good rules are that choose a weight without target labels."""
    write_tuning(results)


def write_tuning(results: Path) -> None:
    """See the command.

    Raises:
        UserError: a malformed file.
    """
    from report import tuning

    write(tuning.page(papers(), results), results / "TUNING.md")
    click.echo(results / "TUNING.md")


@main.command("contributed")
@results_option
@one_sentence
def contributed_command(results: Path) -> None:
    """Results sent in by others, checked: their form, and the hash of every cell's specification."""
    from report import contributed

    found = contributed.found(papers(), results)
    for one in found:
        click.echo(f"{one.name}: {plural(one.cells, 'cell')}; {one.made}")
    if not found:
        click.echo(f"There are no contributed results in {results / contributed.FOLDER}.")


@main.command("contents")
@results_option
@one_sentence
def contents_command(results: Path) -> None:
    """CONTENTS.md beside the committed results: what is there, what it took, how to reproduce it."""
    write_contents(results)


def write_contents(results: Path) -> None:
    """See the command.

    Raises:
        UserError: a malformed file.
    """
    from report import contents

    write(contents.contents(papers(), results), results / "CONTENTS.md")
    click.echo(results / "CONTENTS.md")


@main.command("headline")
@click.option("--readme", default="README.md", type=click.Path(path_type=Path, dir_okay=False), show_default=True)
@click.option("--out", default="report/tables", type=click.Path(path_type=Path, file_okay=False), show_default=True)
@results_option
@one_sentence
def headline_command(readme: Path, out: Path, results: Path) -> None:
    """The README's table, glossary and figure, and the table of all methods in FINDINGS.md."""
    write_headline(readme, out, results)


def write_headline(readme: Path, out: Path, results: Path) -> None:
    """See the command.

    Raises:
        UserError: a malformed file, or a page without the marks.
    """
    from report import headline
    from report.figures import charts

    made = {}  # everything is computed before anything is written
    for page, make in ((readme, headline.table), (results / "FINDINGS.md", headline.every_table)):
        try:
            before = page.read_text()
        except OSError as error:
            raise UserError(f"{page} cannot be read: {error.strerror or error}.") from error
        made[page] = headline.inserted(before, make(papers(), results), str(page))
    words = (headline.glossary(), str(readme), headline.WORDS_BEGIN, headline.WORDS_END)
    made[readme] = headline.inserted(made[readme], *words)
    for page, text in made.items():
        write(text, page)
        click.echo(page)
    for stem, chart in headline.figures(papers(), results).items():
        for path in charts.save(chart, out / stem, ("svg",)):
            click.echo(path)


@main.command("write")
@click.option("--readme", default="README.md", type=click.Path(path_type=Path, dir_okay=False), show_default=True)
@click.option("--out", default="report/tables", type=click.Path(path_type=Path, file_okay=False), show_default=True)
@results_option
@one_sentence
def write_command(readme: Path, out: Path, results: Path) -> None:
    """Everything committed with the results: ledger, list of contents, README's table and figure, tables.

    Every file of results is read only once.
    """
    steps: dict[str, Callable[[], None]] = {
        "claims": lambda: write_claims(results),
        "contents": lambda: write_contents(results),
        "tuning": lambda: write_tuning(results),
        "headline": lambda: write_headline(readme, out, results),
        "tables": lambda: write_tables(None, ("md",), out, results),
    }
    for number, (name, step) in enumerate(steps.items(), 1):
        click.echo(f"[{number}/{len(steps)}] {name}", err=True)
        step()


@main.command()
@click.option("--out", default="report/site", type=click.Path(path_type=Path, file_okay=False), show_default=True)
@places
@one_sentence
def site(out: Path, runs: Path, results: Path) -> None:
    """Static HTML pages of everything: an overview, and a page for each paper."""
    from report import site as pages  # templates and figures are read where they are needed

    paths = pages.make(papers(), runs, results, out)
    click.echo(f"{plural(len(paths), 'page')}; open {paths[0]}")


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
@backbone_option
@click.option(
    "--out",
    default="runs/figures",
    type=click.Path(path_type=Path, file_okay=False),
    show_default=True,
    help="Folder to write to, whatever --runs is.",
)
@places
@one_sentence
def figures(
    paper: str,
    names: tuple[str, ...],
    datasets: tuple[str, ...],
    track: str | None,
    backbone: str | None,
    out: Path,
    runs: Path,
    results: Path,
) -> None:
    """The figures of PAPER, or of all: sweeps, learning curves, distances, what else its experiments measure."""
    from report.figures import charts

    refused = []
    jobs = []
    for name, found, its, on in selections(paper, names, datasets):
        try:
            some = selected.charts_of(name, found, Asked(its, on, track, backbone), runs, results)
            jobs += [(chart, out / name / chart.name) for chart in some]
        except NoResultsError as error:
            refused.append(error)
    for paths in charts.save_all(jobs):
        click.echo("\n".join(map(str, paths)))
    if not jobs:
        raise refused[0] if len(refused) == 1 else NoResultsError("there is nothing to draw for this.")


if __name__ == "__main__":
    main()
