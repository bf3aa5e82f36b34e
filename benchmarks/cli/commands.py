"""The commands of ``python -m benchmarks``; ``main`` lists them without these imports, which take seconds."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from tabulate import tabulate

from benchmarks.cli import running, speed
from benchmarks.cli.running import (
    How,
    datasets_option,
    how_options,
    location_options,
    many,
    plan_options,
    running_options,
    runs_option,
)
from benchmarks.executors import execute
from benchmarks.export import tables
from benchmarks.machine import host
from benchmarks.machine.errors import UserError
from benchmarks.plan import choices, choosing, comparing, deciding, plan
from benchmarks.plan.plan import Cell, Options, Plan
from benchmarks.records import rules
from benchmarks.records.store import Store
from benchmarks.records.words import plural
from datasets import folders, registry, store
from datasets.errors import DataError
from datasets.names import parted
from datasets.store import Location
from methods import contract


@click.group()
def commands() -> None:
    """All commands."""


@commands.command("list")
def list_papers() -> None:
    """Papers, their experiments and the data sets that these are defined on."""
    for name in contract.papers():
        paper = plan.paper(name)
        beside = ", a comparator" if paper.comparator else ""
        click.echo(f"{name}{beside}: {paper.title}\n{paper.authors}; {paper.venue} {paper.year}\n")
        rows = [[one.name, ", ".join(one.recipes), one.title] for one in paper.experiments]
        click.echo(tabulate(rows, headers=["experiment", "data sets", "what it shows"]) + "\n")


@commands.command("plan")
@click.argument("paper")
@plan_options
@location_options
@runs_option
def show_plan(paper: str, options: Options, mirror: str | None, data: Path, runs: Path) -> None:
    """What `run` would do, and how long it may take.  Changes nothing."""
    location, records = Location(data, mirror), Store(runs)
    planned = plan.make(paper, options, location)
    committed = tables.committed_cells(*planned.papers)
    rows = [
        [use.paper, use.experiment, cell.spec.dataset, use.row.name, use.setting or "-",
         cell.spec.task, cell.spec.seed, cell.spec.hash, _state(cell, records, committed)]
        for cell in planned.cells
        for use in cell.uses
    ]  # fmt: skip
    click.echo(
        tabulate(rows, headers=["paper", "experiment", "data set", "row", "setting", "task", "seed", "cell", "state"])
    )
    todo = [cell for cell in planned.cells if not execute.is_done(cell, records)]
    click.echo(f"\n{plural(len(planned.cells), 'cell')}, {len(planned.cells) - len(todo)} done, {len(todo)} to run.")
    if todo:
        jobs = execute.jobs_for(None, options.threads, options.device)
        click.echo(
            f"With {plural(jobs, 'job')} {running.how_long(todo, tables.expected_seconds(todo, records), jobs)}."
        )
    if known := sum(tables.is_committed(cell, committed) and not cell.keep for cell in todo):
        click.echo(
            f"Of these {known} {'has' if known == 1 else 'have'} committed results; CONTINUE_COMMITTED=1 "
            f"(--continue-committed) counts {'it' if known == 1 else 'them'} as done."
        )
    running.say(planned)


@commands.command("run")
@click.argument("paper")
@running_options
def run(
    paper: str,
    options: Options,
    mirror: str | None,
    data: Path,
    runs: Path,
    how: How,
    continue_committed: bool,
    force: bool,
) -> None:
    """Run the cells of a paper's experiments that have no record yet."""
    location, records = Location(data, mirror), Store(runs)
    planned = plan.make(paper, options, location)
    running.say(planned)
    if planned.missing and not planned.cells:
        raise UserError(f"nothing can run: {planned.missing[0]}")
    summary = running.run(planned, location, records, options, how, continue_committed, force)
    running.finish(planned, summary, records, location, incomplete=bool(planned.missing or summary.left_out))


@commands.command("reproduce")
@click.argument("paper")
@running_options
def reproduce(
    paper: str,
    options: Options,
    mirror: str | None,
    data: Path,
    runs: Path,
    how: How,
    continue_committed: bool,
    force: bool,
) -> None:
    """Get the data, run what is missing and write the tables; `python -m report table` then prints them."""
    location, records = Location(data, mirror), Store(runs)
    absent = _prepare_all(paper, options, location)
    planned = plan.make(paper, options, location)
    running.say(planned)
    if (reasons := absent or planned.missing) and not planned.cells:
        raise UserError(reasons[0])
    summary = running.run(planned, location, records, options, how, continue_committed, force)
    everything = paper == plan.ALL
    named = everything or options.experiments or options.datasets
    if not named and (others := plan.further(paper, options, location)):
        click.echo("Also there:\n" + "\n".join(f"  {line}" for line in others))
    for reason in plan.not_run() if everything else []:
        click.echo(f"Not run: {reason}", err=True)
    summary.left_out += absent
    asked = not everything or bool(options.datasets)  # for everything, whatever the machine allows
    running.finish(planned, summary, records, location, incomplete=asked and bool(summary.left_out))


@commands.command("status")
@click.argument("paper")
@plan_options
@location_options
@runs_option
def status(paper: str, options: Options, mirror: str | None, data: Path, runs: Path) -> None:
    """Cells done, committed, missing and failed, per experiment and data set."""
    location, records = Location(data, mirror), Store(runs)
    planned = plan.make(paper, _all_experiments(paper, options), location)
    committed = tables.committed_cells(*planned.papers)
    counts: dict[tuple[str, ...], dict[str, int]] = {}
    for cell in planned.cells:
        state = _state(cell, records, committed)
        for place in dict.fromkeys((use.paper, use.experiment, cell.spec.dataset) for use in cell.uses):
            of_place = counts.setdefault(place, dict.fromkeys(("done", "committed", "missing", "failed"), 0))
            of_place[state] += 1
    usual = {
        (name, experiment)
        for name, its in plan.wanted(paper, options)
        for experiment in its.experiments
        or [one.name for one in contract.usual_experiments(plan.paper(name), its.datasets, its.track)]
    }
    # A user's own folder fits many experiments: those that were never named or run do not count as missing there.
    counts = {
        place: of_place
        for place, of_place in counts.items()
        if place[:2] in usual or not place[2].startswith(folders.PREFIX) or of_place["done"] or of_place["failed"]
    }
    rows = [[*place, *of_place.values()] for place, of_place in counts.items()]
    headers = ["paper", "experiment", "data set", "done", "committed only", "missing", "failed"]
    click.echo(tabulate(rows, headers=headers))
    for cell in planned.cells:
        error = records.failure(cell.spec.hash)
        if error and not records.has(cell.spec.hash):
            click.echo(f"failed: {cell.label}: {error}")
    running.say(planned)


@commands.command("export")
@click.argument("paper")
@datasets_option("Data sets; default: all but your own images, which stay here.")
@many("--experiment", "experiments", help="Experiments; default: all.")
@click.option("--contributed", default="", metavar="NAME", help="Write to results/contributed/NAME/, for sending in.")
@location_options
@runs_option
def export(
    paper: str,
    experiments: tuple[str, ...],
    datasets: tuple[str, ...],
    contributed: str,
    mirror: str | None,
    data: Path,
    runs: Path,
) -> None:
    """Merge everything run here into the committed tables under results/."""
    if own := [name for name in datasets if name.startswith(folders.PREFIX)]:
        raise UserError(f"results on your own images are not exported, and {own[0]} is such a folder; see runs/tables.")
    if contributed and not re.fullmatch(r"[a-z0-9][a-z0-9-]*", contributed):
        raise UserError(
            f"{contributed!r} is not a valid name: use lower-case letters, digits and hyphens, as in lab-a100."
        )
    wanted = Options(experiments=experiments, datasets=datasets)
    subsets = [registry.suite(name).subset for name in datasets]
    named = [*datasets, *filter(None, subsets)]
    written: dict[Path, int] = {}
    for one, options in plan.wanted(paper, _all_experiments(paper, wanted)):
        names = [experiment.name for experiment in plan.chosen_experiments(one, options)]
        written |= tables.export(one, names, named, Store(runs), Location(data, mirror), contributed)
    if not written:
        raise UserError(f"nothing of {paper} run here can be exported; `make reproduce-{paper}` runs it.")
    for path, cells in written.items():
        click.echo(f"{running.shown(path)}: {plural(cells, 'cell')}")


def _all_experiments(paper: str, options: Options) -> Options:
    """Options that name every experiment, or every one on the named data sets, unless experiments were named."""
    if options.experiments or paper == plan.ALL:
        return options
    every = plan.paper(paper).experiments
    for name in options.datasets:
        registry.suite(name)
    fitting = [e.name for e in every if not options.datasets or any(plan.is_defined(e, d) for d in options.datasets)]
    return dataclasses.replace(options, experiments=tuple(fitting))


@commands.command("decide")
@click.argument("paper")
@how_options
@plan_options
@location_options
@runs_option
def decide(paper: str, options: Options, mirror: str | None, data: Path, runs: Path, how: How) -> None:
    """Run the replicates that results/replicates.csv asks for, and merge them into results/."""
    location, records = Location(data, mirror), Store(runs)
    if options.tasks or options.seeds or comparing.shown(options):
        raise UserError("tasks, numbers of seeds and settings are those of the committed tables; leave them out.")
    rows = deciding.wanted(paper, options)
    for row in rows:
        if absent := _prepare_all(*deciding.options_of(row, options, row.first), location):
            raise UserError(absent[0])
    committed = tables.committed_cells(*(row.paper for row in rows))
    planned = deciding.make(rows, options, location, committed)
    if planned.missing:
        raise UserError(planned.missing[0])
    running.say(planned)
    lacking = [cell for cell in planned.cells if not tables.is_committed(cell, committed)]
    running.require_complete(running.run(planned, location, records, options, how, continue_committed=True), records)
    places = dict.fromkeys((use.paper, use.experiment, cell.spec.dataset) for cell in lacking for use in cell.uses)
    if places:
        tables.write_local(planned, records, location)
    for name, experiment, dataset in places:
        for path, cells in tables.export(name, [experiment], [dataset], records, location).items():
            click.echo(f"{running.shown(path)}: {plural(cells, 'cell')}")


@commands.command("choose")
@click.argument("method")
@how_options
@plan_options
@location_options
@runs_option
def choose(method: str, options: Options, mirror: str | None, data: Path, runs: Path, how: How) -> None:
    """Choose the open settings of a method, or of all, by the label-free rule, and write results/choices.csv."""
    location, records = Location(data, mirror), Store(runs)
    for name in choosing.methods_of(method, options):
        absent = _prepare_all(name, options, location)
        if absent:
            raise UserError(absent[0])
        for study in choosing.studies(name, options, location):
            planned = Plan([cell for cells in study.cells.values() for cell in cells])
            summary = running.run(planned, location, records, options, how, False)
            running.require_complete(summary, records, but_diverged=True)
            rows = choosing.score(study, records)
            with records.lock("choices"):  # two that choose at once lose none
                choices.write(rows)
            _show_choice(study, rows)
    click.echo(f"written to {running.shown(choices.path())}")


def _show_choice(study: choosing.Study, rows: Sequence[Mapping[str, str]]) -> None:
    """The grid of a setting with the score of each value."""
    click.echo(
        f"{study.method}.{study.parameter} of {study.variant} on {study.dataset} ({study.backbone}, {study.track}), "
        f"by {rules.SUITE}:"
    )
    shown = ["value", *rules.METRICS, "criterion", "chosen"]
    click.echo(tabulate([[row[name] for name in shown] for row in rows], headers=shown))
    if any(row["chosen"] == "1" for row in (rows[0], rows[-1])):
        click.echo("Note: the choice lies at an edge of the grid.")


@commands.command("data")
@click.argument("names", nargs=-1, metavar="[DATASET...]")
@click.option("--list", "show", is_flag=True, help="Show every data set, its state here and where it can come from.")
@location_options
def get_data(names: tuple[str, ...], show: bool, mirror: str | None, data: Path) -> None:
    """Fetch, verify and decode data sets (suites or single domains)."""
    location = Location(data, mirror)
    if show or not names:
        _list_data(location)
        return
    failed: dict[str, None] = {}
    named = [name for text in names for name in parted(text)]
    for domain in _domains(named):
        try:
            prepared = store.prepare(domain, location)
            store.verify(prepared, location)
            click.echo(f"{prepared}: prepared and verified")
        except DataError as error:  # the others may still be available
            failed[str(error)] = None
    for own in [name for name in named if name.startswith(folders.PREFIX)]:
        click.echo("\n".join(folders.summary(own)))
    for text in failed:
        click.echo(f"Error: {text}", err=True)
    if failed:
        sys.exit(2)


@commands.command("bench")
@click.option(
    "--topic", "topics", multiple=True, type=click.Choice(list(speed.TOPICS)), help="May be repeated; else all."
)
@click.option("--rounds", type=click.IntRange(min=3), default=15, show_default=True, help="How often each is measured.")
@click.option("--peers", is_flag=True, help="Also time skada and pytorch-adapt, if they are installed.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=host.ROOT / "runs" / "bench.csv", help="File of the measurements."
)
@location_options
def bench(topics: tuple[str, ...], rounds: int, peers: bool, out: Path, mirror: str | None, data: Path) -> None:
    """Time the suite against its floor and other suites; exit status 1 if a budget is exceeded."""
    others = speed.installed(peers)
    for name in (speed.SKADA, speed.ADAPT):
        if name not in others:
            click.echo(f"{name} does not take part: {'it is not installed' if peers else 'PEERS=1 includes it'}.")
    races = []
    for one in speed.run(rounds, others, Location(data, mirror), topics or speed.TOPICS):
        if isinstance(one, speed.Skipped):
            click.echo(f"\n{one.topic} is left out: {one.reason}")
            continue
        races.append(one)
        click.echo(f"\n{one.topic}, {one.size} ({'wall clock' if one.wall else 'CPU seconds, one thread'})")
        first = next(iter(one.times))
        shown = [(name, *one.seconds(name), one.ratio(name, first)[0]) for name in one.times]
        cells = [
            [name, f"{1e3 * seconds:.3g}", f"{1e3 * spread:.2g}", f"{ratio:.2f}", f"{one.memory.get(name, 0):.0f}"]
            for name, seconds, spread, ratio in shown
        ]
        headers = ["", "ms", "±", f"over {first}", *(["MB"] if one.memory else [])]
        click.echo(tabulate([row[: len(headers)] for row in cells], headers=headers, disable_numparse=True))
        speed.write(out, [one], others)  # right away: a later topic may lack its weights or data
    found = speed.verdicts(races)
    cells = [
        [one.budget.says, one.budget.size, f"{one.budget.most:.2f}", f"{one.measured:.2f} ± {one.noise:.2f}",
         "ok" if one.ok else "EXCEEDED"]
        for one in found
    ]  # fmt: skip
    headers = ["budget", "size", "at most", "measured", ""]
    click.echo("\n" + tabulate(cells, headers=headers, disable_numparse=True))
    click.echo(f"written to {running.shown(out)}")
    sys.exit(0 if all(one.ok for one in found) else 1)


def _domains(names: Sequence[str]) -> dict[str, None]:
    """The domains of suites and the domains named directly, each once."""
    domains: dict[str, None] = {}
    for name in names:
        if name in registry.SUITES or name.startswith(folders.PREFIX):
            domains |= dict.fromkeys(registry.suite(name).domains.values())
        elif name in registry.DOMAINS:
            domains[name] = None
        else:
            known = ", ".join([*registry.SUITES, *registry.DOMAINS])
            raise UserError(f"unknown data set {name!r}; there are: {known}, or folder:PATH.")
    return domains


def _list_data(location: Location) -> None:
    rows = [
        [entry.name, entry.title, _counts(entry.counts), _megabytes(entry.size), entry.state, "; ".join(entry.sources)]
        for entry in store.listing(location)
    ]
    headers = ["domain", "", "images", "MB", "state", "can come from, tried in this order"]
    click.echo(tabulate(rows, headers=headers, maxcolwidths=[None, 24, 22, None, None, 60], numalign="right"))
    click.echo()
    suites = [
        [suite.name, suite.description, " ".join(f"{a}:{b}" for a, b in suite.tasks)]
        for suite in registry.SUITES.values()
    ]
    click.echo(tabulate(suites, headers=["data set", "", "tasks"], maxcolwidths=[None, 60, 50]))


def _counts(counts: Mapping[str, int | None]) -> str:
    return ", ".join(f"{part} {count if count is not None else '?'}" for part, count in counts.items())


def _megabytes(size: int | None) -> str:
    return "?" if size is None else f"{size / 1e6:.1f}"


def _prepare_all(paper: str, options: Options, location: Location) -> list[str]:
    """Prepare the data of everything asked for; the messages about what is not available."""
    domains: dict[tuple[str, int | None], str] = {}
    for name, its in plan.wanted(paper, options):
        for experiment in plan.chosen_experiments(name, its):
            choice = plan.chosen_backbone(experiment, its)
            for dataset, tasks in plan.chosen_datasets(experiment, its, location).items():
                plan.require_fitting(choice, dataset)
                for domain in dict.fromkeys(domain for task in tasks for domain in task.domains):
                    domains.setdefault((domain, choice.backbone.side), dataset)
    return running.prepared(domains, location)


def _state(cell: Cell, records: Store, committed: tables.Committed) -> str:
    if records.has(cell.spec.hash):
        return "done"
    if tables.is_committed(cell, committed):
        return "committed"
    return "failed" if records.failure(cell.spec.hash) else "missing"
