"""Running the cells of a plan for a command, and saying how it went."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from benchmarks.cell import runner
from benchmarks.cli.options import How
from benchmarks.executors import execute
from benchmarks.export import estimates, reuse, tables
from benchmarks.machine import processes
from benchmarks.machine.errors import INTERRUPTED, UserError
from benchmarks.plan import sources
from benchmarks.plan.plan import Cell, Options, Plan
from benchmarks.records.store import Store
from datasets.store import Location

NAMED = 10
"""How many cells a message names before it only counts."""


def run(
    planned: Plan,
    location: Location,
    records: Store,
    options: Options,
    how: How,
    continue_committed: bool,
    force: bool = False,
) -> execute.Summary:
    """Run what is missing of a plan.

    Args:
        continue_committed: whether cells with committed results count as done.
        force: whether all of it is trained anew, with the networks that it starts from.

    Raises:
        UserError: nothing of it can be run.
    """
    if force and processes.is_main():
        for cell in execute.with_needed(planned.cells):
            records.forget(cell.spec.hash)
    elif processes.is_main():
        _warn_of_other_code(planned, records)
    processes.barrier()
    committed = tables.committed_cells(*planned.papers) if continue_committed else {}
    todo = [c for c in planned.cells if not runner.is_done(c, records) and not tables.is_committed(c, committed)]
    if todo:
        records.check_writable()
        records.tidy()
    if continue_committed and processes.is_main() and (adopted := reuse.reuse_committed(todo, records)):
        click.echo(f"{adopted} cells that other tables have committed are taken from these.")
    processes.barrier()
    todo = [cell for cell in todo if not runner.is_done(cell, records)]
    if not todo:
        click.echo(f"All {len(planned.cells)} cells are done.")
        return execute.Summary()
    with how.workers(options, location, records) as workers:
        unusable = execute.prepare(todo, location, workers)
        todo = [cell for cell in todo if cell.spec.backbone not in unusable]
        if not todo:
            raise UserError(next(iter(unusable.values())))
        expected = estimates.expected_seconds(todo, records)
        processes.barrier()  # until all know what is to be done, before the first record of it is written
        at_once = min(workers.jobs, len(todo))
        about = how_long(todo, expected, at_once)
        click.echo(f"{len(todo)} of {len(planned.cells)} cells to run, {at_once} at once: {about}.")
        summary = execute.run(todo, workers, expected=expected)
    summary.left_out += unusable.values()
    return summary


def _warn_of_other_code(planned: Plan, records: Store) -> None:
    """Name the finished cells that other code of the same revision made."""
    made = [cell for cell in execute.with_needed(planned.cells) if records.has(cell.spec.hash)]
    read = {cell.spec.hash: records.read(cell.spec.hash).source for cell in made}
    older = [cell for cell in made if read[cell.spec.hash] not in ("", sources.digest(cell.spec.method))]
    if older:
        more = f" and {len(older) - NAMED} more" if len(older) > NAMED else ""
        methods = ", ".join(dict.fromkeys(f"methods/{cell.spec.method}.py" for cell in older))
        click.echo(
            f"Warning: {methods} or what it imports has changed since {len(older)} finished cells were trained, at the "
            f"same revision: {', '.join(cell.label for cell in older[:NAMED])}{more}.  FORCE=1 trains anew what is "
            "asked for; a raised METHOD.revision makes every older record another cell.",
            err=True,
        )


def how_long(todo: Sequence[Cell], expected: Mapping[str, float], jobs: int) -> str:
    """The time that cells may take, as far as anything is known of them."""
    unknown = len(todo) - len(expected)
    if not expected:
        return "no estimate of the time yet, nothing of that kind has been timed"
    about = f"about {execute.duration(sum(expected.values()) / jobs)}"
    return f"{about}, and {unknown} cells of which nothing has been timed" if unknown else about


def finish(planned: Plan, summary: execute.Summary, records: Store, location: Location, *, incomplete: bool) -> None:
    """Say how it went, write the local tables, and exit with the status that tells."""
    unwritten = ""
    try:
        for path, cells in (tables.write_local(planned, records, location) if processes.is_main() else {}).items():
            click.echo(f"{cells} cells in {shown(path)}, records in {shown(records.root / 'cells')}")
    except UserError as error:
        unwritten = str(error)
    conclude(summary, records)
    if unwritten:
        click.echo(f"Error: {unwritten}", err=True)
    if summary.interrupted:
        sys.exit(INTERRUPTED)
    if summary.failed or incomplete or unwritten:
        sys.exit(1)


def require_complete(summary: execute.Summary, records: Store) -> None:
    """Exit with what went wrong unless all cells are done."""
    if summary.failed or summary.interrupted or summary.left_out:
        conclude(summary, records)
        sys.exit(INTERRUPTED if summary.interrupted else 1)


def conclude(summary: execute.Summary, records: Store) -> None:
    """What went wrong, on standard error."""
    for reason in summary.left_out:
        click.echo(f"Not run: {reason}", err=True)
    for outcome in summary.failed:
        click.echo(f"Failed: {outcome.label}: {outcome.error}", err=True)
        if records.failure_path(outcome.cell).exists():
            click.echo(f"  details in {shown(records.failure_path(outcome.cell))}", err=True)
    if summary.interrupted:
        click.echo("Interrupted.  Finished cells are kept; the same command goes on from here.", err=True)


def say(planned: Plan) -> None:
    for note in planned.notes:
        click.echo(f"Note: {note}")
    for reason in planned.missing:
        click.echo(f"Left out: {reason}")


def shown(path: Path) -> str:
    """A path relative to the working folder where that is shorter."""
    shown = os.path.relpath(path)
    return str(path) if shown.startswith("..") else shown
