"""The commands ``rerun`` and ``audit``: committed cells run again, with their values beside the committed ones."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import click
from tabulate import tabulate
from tqdm import tqdm

from benchmarks.cli import running
from benchmarks.cli.running import How, how_options, location_options, runs_option
from benchmarks.export import rerun as again
from benchmarks.export.rerun import Committed, Outcome
from benchmarks.machine.errors import UserError
from benchmarks.networks.backbones import choice_of
from benchmarks.plan import comparing
from benchmarks.plan import plan as planning
from benchmarks.plan.plan import Options, Plan
from benchmarks.records.store import Store
from benchmarks.records.words import plural
from datasets import protocols, registry
from datasets.errors import DataError
from datasets.store import Location


@click.command("rerun")
@click.argument("cells", nargs=-1, required=True, metavar="CELL...")
@how_options
@location_options
@runs_option
def rerun(cells: tuple[str, ...], mirror: str | None, data: Path, runs: Path, how: How) -> None:
    """Run committed cells again and print the old and the new values.

    Their records are kept apart from all others, in the folder ``rerun`` of the runs folder.
    """
    location, records = Location(data, mirror), Store(runs / "rerun")
    found = again.find(cells)
    if absent := _prepared(found, location):
        raise UserError(absent[0])
    plans = [again.planned(committed, location) for committed in found]
    for committed in found:
        records.forget(committed.cell)
    threads = max(committed.spec.threads for committed in found)
    options = Options(threads=threads, device=found[0].spec.device)
    whole = Plan([cell for plan in plans for cell in plan.cells])
    summary = running.run(whole, location, records, options, how, False)
    running.require_complete(summary, records)
    for committed, plan in zip(found, plans, strict=True):
        _show_again(committed, plan, records)


def _prepared(found: Sequence[Committed], location: Location) -> list[str]:
    """Prepare the data of committed cells; the messages about what is not available."""
    domains: dict[tuple[str, int | None], str] = {}
    for spec in (committed.spec for committed in found):
        (task,) = protocols.tasks(spec.dataset, [spec.task], location)
        domains |= {(domain, choice_of(spec).backbone.side): spec.dataset for domain in task.domains}
    return running.prepared(domains, location)


def _show_again(committed: Committed, plan: Plan, records: Store) -> None:
    """Old and new values of a cell, and where each was computed."""
    (cell,) = plan.cells
    row, record = committed.rows[0], records.read(committed.cell)
    differences = again.compare(committed, plan, records)
    alone = sum(one.alone for one in differences)
    moved = [one for one in differences if one.size and not one.alone]
    click.echo(
        f"\n{committed.cell}: {committed.paper} {committed.experiment}, {cell.label}, {choice_of(cell.spec).name}"
    )
    then, now = committed.instructions, record.versions["instructions"]
    made = ", ".join((f"commit {row['commit']}", f"torch {row['torch']}", row["device"], then or "vector unit unknown"))
    click.echo(f"  committed: {made}, {row['seconds']} s")
    made = ", ".join((f"commit {record.commit}", f"torch {record.versions['torch']}", record.device, now))
    click.echo(f"  here:      {made}, {record.seconds} s")
    shown = [one for one in differences if one.metric == "accuracy" or one.size]
    rows = [
        [one.metric, one.selection, one.old or "-", one.new or "-", "-" if one.alone else f"{one.size:+.4g}"]
        for one in shown
    ]
    click.echo(
        tabulate(rows, headers=["metric", "selection", "committed", "here", "difference"], disable_numparse=True)
    )
    count = len(differences) - alone
    click.echo(f"{len(moved)} of {count} values differ." if moved else f"All {count} values agree to the last digit.")
    if alone:
        click.echo(f"{plural(alone, 'further value')} on one side only: the code reports more, or less, than it did.")
    if moved and then != now:
        click.echo(
            "It may have been computed with other vector instructions, which sum in another order (REPRODUCIBILITY.md)."
        )


@click.command("audit")
@click.argument("papers", nargs=-1)
@click.option("--dataset", "datasets", multiple=True, help="Only cells on this data set; may be repeated.")
@click.option("--draw", type=click.IntRange(min=1), help="Number of cells to draw at random; default: all.")
@click.option("--under", type=click.FloatRange(min=0), help="Only cells that took less than this many seconds.")
@how_options
@location_options
@runs_option
def audit(
    papers: tuple[str, ...],
    datasets: tuple[str, ...],
    draw: int | None,
    under: float | None,
    mirror: str | None,
    data: Path,
    runs: Path,
    how: How,
) -> None:
    """Run all committed cells again, or some drawn at random, and say which results differ.

    Cells that would be defined differently today are left out.  Records are kept in the folder ``audit`` of the runs
    folder, so the same command resumes where it was interrupted.  Values computed with the same vector unit must agree
    to the last digit.
    """
    location, records = Location(data, mirror), Store(runs / "audit")
    for name in papers:
        if name != comparing.NAME:
            planning.paper(name)
    for name in datasets:
        registry.suite(name)
    found = [
        one
        for one in again.every(papers)
        if (not datasets or one.spec.dataset in datasets) and (under is None or float(one.rows[0]["seconds"]) < under)
    ]
    for text in _prepared(found, location):
        click.echo(f"Left out: {text}")
    random.shuffle(found)
    plans: list[tuple[Committed, Plan]] = []
    unlike: dict[str, list[str]] = {}
    for committed in tqdm(found, "planning", unit="cell", leave=False, disable=None):
        if draw is not None and len(plans) == draw:
            break
        try:
            plans.append((committed, again.planned(committed, location)))
        except (UserError, DataError) as error:
            unlike.setdefault(f"{committed.paper} {committed.experiment}", []).append(str(error))
    left_out = unlike if draw is None else {}
    for table, (reason, *others) in sorted(left_out.items()):
        more = f"  Likewise {plural(len(others), 'other cell')} of it." if others else ""
        click.echo(f"Left out: {table}: {reason}{more}")
    if not plans:
        raise UserError("no committed cell can be run again here; `python -m benchmarks data` fetches their data.")
    whole = Plan([cell for _, plan in plans for cell in plan.cells])
    for threads in sorted({cell.spec.threads for cell in whole.cells}):
        part = Plan([cell for cell in whole.cells if cell.spec.threads == threads])
        running.require_complete(running.run(part, location, records, Options(threads=threads), how, False), records)
    outcomes = [again.outcome(committed, plan, records) for committed, plan in plans]
    _show_audit(outcomes, sum(map(len, left_out.values())))
    if not all(one.holds for one in outcomes):
        sys.exit(1)


def _show_audit(outcomes: Sequence[Outcome], left_out: int) -> None:
    """A line for each table, one for each cell that differs, and a total."""
    tables_of: dict[str, list[Outcome]] = {}
    for one in outcomes:
        tables_of.setdefault(f"{one.committed.paper} {one.committed.experiment}", []).append(one)
    rows = [
        [name, len(its), sum(one.equal for one in its), f"{fmean(one.moved for one in its):.3f}",
         f"{max(one.moved for one in its):.2f}"]
        for name, its in sorted(tables_of.items())
    ]  # fmt: skip
    click.echo(tabulate(rows, headers=["table", "cells", "equal", "points moved, mean", "most"]))
    for one in outcomes:
        if not one.equal:
            unit = "the same vector unit" if one.same_unit else "another vector unit"
            click.echo(
                f"{'differs' if one.holds else 'WRONG'}: {one.committed.cell}, {one.committed.paper} "
                f"{one.committed.experiment}, {one.committed.spec.task}: by {one.moved:.2f} points, {unit}"
            )
    equal, wrong = sum(one.equal for one in outcomes), sum(not one.holds for one in outcomes)
    click.echo(
        f"{plural(len(outcomes), 'cell')} run again: {equal} equal to the last digit, {len(outcomes) - equal - wrong} "
        f"within {again.BOUND:g} points with another vector unit, {wrong} wrong; {left_out} left out."
    )
