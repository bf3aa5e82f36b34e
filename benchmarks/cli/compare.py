"""The command ``compare``: all methods on one data set, and the table for ``report compare``."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from benchmarks.cli import running
from benchmarks.cli.running import How, many, running_options
from benchmarks.executors import execute
from benchmarks.machine import host
from benchmarks.machine.errors import INTERRUPTED, UserError
from benchmarks.plan import comparing, plan
from benchmarks.plan.comparing import Comparison
from benchmarks.plan.plan import Cell, Options, Plan
from benchmarks.records import files, schema
from benchmarks.records.store import Store, export_specs
from benchmarks.records.words import plural
from datasets import folders, protocols, store
from datasets.store import Location
from methods import contract


@click.command("compare")
@many("--methods", help="Methods, METHOD or METHOD/VARIANT; default: all.")
@click.option("--choose", is_flag=True, help="Choose the methods' weights here, without target labels; takes longer.")
@click.option("--commit", is_flag=True, help="Write the comparison to results/, not to the runs folder.")
@running_options
def compare(
    methods: tuple[str, ...],
    choose: bool,
    commit: bool,
    options: Options,
    mirror: str | None,
    data: Path,
    runs: Path,
    how: How,
    continue_committed: bool,
    force: bool,
) -> None:
    """Compare methods on a data set, and say which one to use; `python -m report compare` prints the table."""
    if len(options.datasets) != 1 or options.experiments:
        raise UserError("compare takes one data set, DATASET=NAME or DATASET=folder:PATH, and no experiment.")
    location, records = Location(data, mirror), Store(runs)
    dataset = protocols.at_hand(options.datasets[0], location)
    if commit and (dataset.startswith(folders.PREFIX) or options.settings):
        raise UserError("results on your own images, or with SET, are not committed; leave --commit out.")
    if commit and (changed := comparing.shown(options)):
        raise UserError(f"what is committed is trained in the usual way: leave out {', '.join(changed)}, or --commit.")
    _prepare(dataset, options, location)
    found = comparing.make(dataset, methods, options, location)
    if commit:
        _check_whole(found, table_path(found, records, commit))
    if choose:
        found = _chosen(found, options, location, records, how, force)
    for reason in found.left_out:
        click.echo(f"Not compared: {reason}")
    # Nothing but numbers is committed: where networks are to be kept, all are trained.
    known = _committed(found, records) if continue_committed and not options.keep else {}
    missing = dataclasses.replace(found.plan, cells=[one for one in found.plan.cells if one.spec.hash not in known])
    if taken := len(found.plan.cells) - len(missing.cells):
        click.echo(f"{plural(taken, 'cell')} of the committed comparison {'is' if taken == 1 else 'are'} taken over.")
    summary = execute.Summary()
    if missing.cells:
        summary = running.run(missing, location, records, options, how, continue_committed, force)
    path = table_path(found, records, commit)
    files.write_csv(path, schema.COMPARISON, list(_rows(found, records, known)))
    if commit:
        cells = {cell.spec.hash for cell in found.plan.cells}
        export_specs(path.with_suffix(".json"), cells, cells - known.keys(), records)
    click.echo(f"the comparison is in {running.shown(path)}")
    running.conclude(summary, records)
    if summary.interrupted:
        sys.exit(INTERRUPTED)
    sys.exit(1 if summary.failed or summary.left_out else 0)


def _check_whole(found: Comparison, committed: Path) -> None:
    """Checks that a comparison lacks no row of the committed one, which it replaces.

    Raises:
        UserError: it does, or the committed file is damaged.
    """
    here = {(one.row.method, one.row.variant, cell.spec.task) for one in found.contestants for cell in one.cells}
    rows = files.read_csv(committed, schema.COMPARISON)
    there = {(row["method"], row["variant"], row["task"]): row["label"] for row in rows}
    if lost := [f"{label} on {place[2]}" for place, label in there.items() if place not in here]:
        more = f" and {len(lost) - 1} more" if lost[1:] else ""
        raise UserError(
            f"{running.shown(committed)} has {lost[0]}{more}, which this comparison does not run: leave out METHODS "
            "and TASKS, or --commit."
        )


def _prepare(dataset: str, options: Options, location: Location) -> None:
    """Get the data; prints a summary of a folder's contents."""
    experiment = comparing.template(dataset, options)
    choice = plan.chosen_backbone(experiment, options)
    plan.require_fitting(choice, dataset)
    for task in plan.chosen_tasks(experiment, dataset, options, location):
        for domain in task.domains:
            if not store.is_prepared(domain, location, side=choice.backbone.side):
                click.echo(f"preparing {domain} ({dataset}) ...")
                store.prepare(domain, location, side=choice.backbone.side)
    if dataset.startswith(folders.PREFIX):
        click.echo("\n".join(folders.summary(dataset)))


def _chosen(
    found: Comparison, options: Options, location: Location, records: Store, how: How, force: bool
) -> Comparison:
    """The comparison with weights chosen by the label-free rule."""
    grids = list(comparing.studies(found, options, location))
    cells = [cell for _, study in grids for cells in study.cells.values() for cell in cells]
    if cells:
        summary = running.run(Plan(cells), location, records, options, how, False, force)
        running.require_complete(summary, records, but_diverged=True)
    return comparing.decide(found, grids, records, options, location)


def table_path(found: Comparison, records: Store, commit: bool) -> Path:
    """The file for the comparison."""
    name = found.dataset
    if name.startswith(folders.PREFIX):
        name = f"folder-{folders.plain(Path(name).name)}-{folders.mark(name)}"
    spec = found.contestants[0].cells[0].spec
    usual = comparing.template(found.dataset, Options())
    if (spec.backbone, spec.track) != (usual.backbone, usual.track):
        name = f"{name}-{spec.backbone}-{spec.track}"
    return (host.ROOT / "results" / "compare" if commit else records.root / "compare") / f"{name}.csv"


MEASURED = ("accuracy", "target_entropy", "a_distance", "snd", "n_test", "seconds", "commit")


def _committed(found: Comparison, records: Store) -> dict[str, dict[str, str]]:
    """Cell -> its row in the committed comparison on the same data, except cells that failed there.

    Raises:
        UserError: the committed file is damaged.
    """
    rows = files.read_csv(table_path(found, records, commit=True), schema.COMPARISON)
    return {row["cell"]: {name: row[name] for name in MEASURED} for row in rows if not row["error"]}


def _rows(found: Comparison, records: Store, known: Mapping[str, Mapping[str, str]]) -> Iterator[dict[str, str]]:
    """A row for each contestant, task and seed; ``known``: cell -> what is taken over without being run."""
    for one in found.contestants:
        for cell in one.cells:
            spec = cell.spec
            row = {
                "dataset": spec.dataset,
                "protocol": spec.protocol,
                "backbone": spec.backbone,
                "track": spec.track,
                "method": spec.method,
                "variant": one.row.variant,
                "label": one.row.label or one.row.method,
                "setting": cell.uses[0].setting,
                "note": "; ".join(one.notes),
                "task": spec.task,
                "seed": str(spec.seed),
                "cell": spec.hash,
            }
            measured = known.get(spec.hash) or _measured(cell, records)
            yield {**dict.fromkeys(schema.COMPARISON, ""), **row, **measured}


def is_sure(name: str) -> bool:
    """Whether a method predicts probabilities, not only classes as a support vector machine does."""
    method = contract.load(name)
    return method.step is not None or method.needs is not None


def _measured(cell: Cell, records: Store) -> dict[str, str]:
    """What is known of a finished cell, or why it failed; its seconds include those of the networks it starts from."""
    name = cell.spec.hash
    if not records.has(name):
        return {"error": records.failure(name) or "not run"}
    record = records.read(name)
    before = [need.spec.hash for need in execute.with_needed([cell])[1:]]
    seconds = record.seconds + sum(records.read(one).seconds for one in before if records.has(one))
    values = {name: record.find(name) for name in ("accuracy", "a_distance")}
    if is_sure(record.spec["method"]):
        entropy = record.history[-1]["target_entropy"] if record.history else None  # adopted records have none
        values |= {"snd": record.find("snd"), "target_entropy": entropy}
    kept = records.kept_path(name)
    return {
        **{name: f"{value:.6g}" for name, value in values.items() if value is not None},
        "n_test": str(record.n_test),
        "seconds": f"{seconds:.2f}",
        "commit": record.commit,
        "network": str(kept / "network.pt") if (kept / "network.pt").is_file() else "",
    }
