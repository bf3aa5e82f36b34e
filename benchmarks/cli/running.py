"""What the commands share: their options, running the cells of a plan, and reporting the outcome."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.executors import execute
from benchmarks.export import reuse, tables
from benchmarks.machine import host, processes
from benchmarks.machine.errors import INTERRUPTED, UserError
from benchmarks.plan.plan import Cell, Options, Plan
from benchmarks.records.store import Store
from benchmarks.records.words import plural
from datasets import store
from datasets.errors import DataError
from datasets.names import COMMON, PREFIX, parted
from datasets.store import Location

NAMED = 10
"""How many cells a message names before only counting them."""


def run(
    planned: Plan,
    location: Location,
    records: Store,
    options: Options,
    how: How,
    continue_committed: bool,
    force: bool = False,
) -> execute.Summary:
    """Run the missing cells of a plan.

    Args:
        continue_committed: whether cells with committed results count as done.
        force: whether everything is trained again, including the networks that cells start from.

    Raises:
        UserError: nothing can be run.
    """
    if force and processes.is_main():
        for cell in execute.with_needed(planned.cells):
            records.forget(cell.spec.hash)
    elif processes.is_main():
        _warn_of_other_code(planned, records)
    processes.barrier()
    committed = tables.committed_cells(*planned.papers) if continue_committed else {}
    todo = [
        cell
        for cell in planned.cells
        # Nothing but numbers is committed: a network that is to be kept has to be trained.
        if not execute.is_done(cell, records) and (cell.keep or not tables.is_committed(cell, committed))
    ]
    if todo:
        records.check_writable()
        records.tidy()
    if continue_committed and processes.is_main() and (adopted := reuse.reuse_committed(todo, records)):
        click.echo(f"{plural(adopted, 'cell')} {_is(adopted)} taken over from other committed tables.")
    processes.barrier()
    todo = [cell for cell in todo if not execute.is_done(cell, records)]
    if not todo:
        click.echo("The one cell is done." if len(planned.cells) == 1 else f"All {len(planned.cells)} cells are done.")
        return execute.Summary()
    with how.workers(options, location, records) as workers:
        unusable = execute.prepare(todo, location, workers)
        todo = [cell for cell in todo if cell.spec.backbone not in unusable]
        if not todo:
            raise UserError(next(iter(unusable.values())))
        expected = tables.expected_seconds(todo, records)
        processes.barrier()  # all must know what is to be done before the first record is written
        at_once = min(workers.jobs, len(todo))
        about = how_long(todo, expected, at_once)
        click.echo(f"{len(todo)} of {plural(len(planned.cells), 'cell')} to run, {at_once} at once: {about}.")
        summary = execute.run(todo, workers, expected=expected)
    summary.left_out += unusable.values()
    return summary


def _warn_of_other_code(planned: Plan, records: Store) -> None:
    """Name the finished cells that were made by other code at the same revision."""
    made = [cell for cell in execute.with_needed(planned.cells) if records.has(cell.spec.hash)]
    read = {cell.spec.hash: records.read(cell.spec.hash).source for cell in made}
    older = [cell for cell in made if read[cell.spec.hash] not in ("", host.code_digest(cell.spec.method))]
    if older:
        more = f" and {len(older) - NAMED} more" if len(older) > NAMED else ""
        methods = ", ".join(dict.fromkeys(f"methods/{cell.spec.method}.py" for cell in older))
        click.echo(
            f"Warning: {methods} or what it imports has changed since {plural(len(older), 'finished cell')} "
            f"{'was' if len(older) == 1 else 'were'} trained, at the "
            f"same revision: {', '.join(cell.label for cell in older[:NAMED])}{more}.  FORCE=1 retrains what is "
            "asked for; raising METHOD.revision makes every older record another cell.",
            err=True,
        )


def how_long(todo: Sequence[Cell], expected: Mapping[str, float], jobs: int) -> str:
    """The time that cells may take, as far as anything is known about them."""
    unknown = len(todo) - len(expected)
    if not expected:
        return "no estimate of the time yet: no such cell has been timed"
    about = f"about {execute.duration(sum(expected.values()) / jobs)}"
    return f"{about}, and {plural(unknown, 'cell')} of a kind not timed yet" if unknown else about


def finish(planned: Plan, summary: execute.Summary, records: Store, location: Location, *, incomplete: bool) -> None:
    """Report the outcome, write the local tables, and exit with the matching status."""
    unwritten = ""
    try:
        for path, cells in (tables.write_local(planned, records, location) if processes.is_main() else {}).items():
            click.echo(f"{plural(cells, 'cell')} in {shown(path)}, records in {shown(records.root / 'cells')}")
    except UserError as error:
        unwritten = str(error)
    conclude(summary, records)
    if unwritten:
        click.echo(f"Error: {unwritten}", err=True)
    if summary.interrupted:
        sys.exit(INTERRUPTED)
    if summary.failed or incomplete or unwritten:
        sys.exit(1)


def require_complete(summary: execute.Summary, records: Store, but_diverged: bool = False) -> None:
    """Exit with what went wrong unless all cells are done, or only diverged ones are not."""
    failed = [one for one in summary.failed if not (but_diverged and one.diverged)]
    if failed or summary.interrupted or summary.left_out:
        conclude(summary, records)
        sys.exit(INTERRUPTED if summary.interrupted else 1)


def conclude(summary: execute.Summary, records: Store) -> None:
    """Print what went wrong to standard error."""
    for reason in summary.left_out:
        click.echo(f"Not run: {reason}", err=True)
    for outcome in summary.failed:
        click.echo(f"Failed: {outcome.label}: {outcome.error}", err=True)
        if records.failure_path(outcome.cell).exists():
            click.echo(f"  details in {shown(records.failure_path(outcome.cell))}", err=True)
    if summary.interrupted:
        click.echo("Interrupted.  Finished cells are kept; the same command resumes from here.", err=True)


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


def say(planned: Plan) -> None:
    for note in planned.notes:
        click.echo(f"Note: {note}")
    for reason in planned.missing:
        click.echo(f"Left out: {reason}")


def shown(path: Path) -> str:
    """A path relative to the working folder, if that is shorter."""
    shown = os.path.relpath(path)
    return str(path) if shown.startswith("..") else shown


def prepared(domains: Mapping[tuple[str, int | None], str], location: Location) -> list[str]:
    """Prepare domains at a backbone's size, each with its data set; returns messages about what is not available."""
    absent: dict[str, None] = {}
    for (domain, side), dataset in domains.items():
        if store.is_prepared(domain, location, side=side):
            continue
        click.echo(f"preparing {domain} ({dataset}) ...")
        try:
            store.prepare(domain, location, side=side)
        except DataError as error:
            absent[str(error)] = None
    return list(absent)


Command = Callable[..., Any]
LOCAL, RAY = "local", "ray"
"""Where cells run: processes of this machine, or a cluster."""
WHOLE = 1.0
"""The share of a GPU that a cell on a cluster has unless another one is asked for."""


def _words(_context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """Options that may be repeated also take several words at once."""
    return tuple(word for text in value for word in text.split())


def _datasets(_context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """Data sets: names separated by spaces, then folders, whose paths may contain spaces."""
    return tuple(name for text in value for name in (parted(text) if PREFIX in text else text.split()))


def _common(value: tuple[str, ...], classes: str | None) -> tuple[str, ...]:
    """The data sets, with folders restricted to their common classes if asked."""
    if classes is None:
        return value
    if not any(name.startswith(PREFIX) for name in value):
        raise UserError("CLASSES=common is for your own images: name them by DATASET=folder:PATH.")
    return tuple(f"{name.removesuffix(COMMON)}{COMMON}" if name.startswith(PREFIX) else name for name in value)


def many(*names: str, help: str) -> Callable[[Command], Command]:
    """An option that may be given several times, or several words at once."""
    return click.option(
        *names, multiple=True, callback=_words, metavar="NAMES", help=f"{help}  Several separated by spaces."
    )


def datasets_option(words: str) -> Callable[[Command], Command]:
    """The data sets; one text may name several."""
    return click.option(
        "--dataset",
        "datasets",
        multiple=True,
        callback=_datasets,
        metavar="NAMES",
        help=f"{words}  Several separated by spaces.",
    )


def location_options(command: Command) -> Command:
    """Where data are kept and where they come from."""
    for option in (
        click.option("--mirror", envvar="DATA_MIRROR", help="Folder or URL with copies of the public files."),
        click.option(
            "--data", type=click.Path(path_type=Path), default=host.ROOT / "data", envvar="DATA_ROOT",
            show_default="data", help="Folder of the prepared data.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def runs_option(command: Command) -> Command:
    """Where the records are."""
    return click.option(
        "--runs", type=click.Path(path_type=Path), default=host.ROOT / "runs", envvar="RUNS",
        show_default="runs", help="Folder of the records.",
    )(command)  # fmt: skip


def plan_options(command: Command) -> Command:
    """What to run; gathered into ``options``."""

    @functools.wraps(command)
    def gathered(**values: Any) -> Any:
        values["datasets"] = _common(values["datasets"], values.pop("classes"))
        names = [field.name for field in dataclasses.fields(Options)]
        options = Options(**{name: values.pop(name) for name in names})
        if not ("how" in values and values["how"].where == RAY):  # the cluster's machines have the device
            host.check_device(options.device, options.precision)
        processes.join(options.device)
        return command(options=options, **values)

    wrapped: Command = gathered
    positive = click.IntRange(min=1)
    for option in (
        click.option("--threads", type=positive, default=1, show_default=True, help="Threads of a cell."),
        click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True),
        click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True),
        click.option("--batchnorm", help="How BatchNorm sees the two domains, instead of the backbone's default."),
        click.option(
            "--views",
            type=click.IntRange(min=0),
            default=0,
            show_default=True,
            help="Augmented views of each image cached by `late` and `frozen`.",
        ),
        click.option(
            "--statistics",
            type=click.Choice(["imagenet", "source", "own"]),
            default="imagenet",
            show_default=True,
            help="BatchNorm statistics of a frozen trunk; own: each domain's own.",
        ),
        click.option("--cut", help="Where the trunk is cut, instead of the track's default."),
        click.option("--backbone", help="Backbone, instead of the experiment's."),
        click.option("--track", help="Track (frozen, late, finetune), instead of the experiment's."),
        click.option("--seeds", type=positive, help="Number of seeds, instead of the experiment's."),
        many("--set", "settings", help="Settings for exploring, METHOD.FIELD=VALUE or recipe.FIELD=VALUE."),
        click.option(
            "--keep/--no-keep", default=None, help="Keep networks and predictions; default: for your own images."
        ),
        click.option(
            "--classes", type=click.Choice(["common"]), help="Own images: only the classes shared by all domains."
        ),
        click.option("--tasks", multiple=True, metavar="NAMES", help="Tasks, source:target, separated by spaces."),
        datasets_option("Data sets; default: the experiment's first, and what is prepared."),
        many("--experiment", "experiments", help="Experiments; default: those marked as default."),
    ):
        wrapped = option(wrapped)
    return wrapped


@dataclass(frozen=True)
class How:
    """How cells are run."""

    jobs: int | None
    """Cells at once; None: as many as fit."""
    where: str
    """``local`` or ``ray``."""
    address: str | None
    """Of the head of the Ray cluster; None: this machine only."""
    gpus: float
    """Share of a GPU per cell on a cluster."""
    memory: float
    """GB of memory per cell on a cluster; 0: not counted."""

    @contextlib.contextmanager
    def workers(self, options: Options, location: Location, records: Store) -> Iterator[execute.Workers]:
        """Where the cells run.

        Raises:
            UserError: this machine or the cluster lacks what they need, or Ray is not installed.
        """
        if self.where != RAY:
            alone = processes.size() == 1
            jobs = execute.jobs_for(self.jobs, options.threads, options.device) if alone else 1
            yield execute.Local(location, records, jobs)
            return
        if processes.size() > 1:
            raise UserError("several processes training one cell cannot run on a cluster; start one process.")
        try:
            from benchmarks.executors import cluster
        except ImportError as error:
            raise UserError(
                "Ray is not installed: `make ... EXECUTOR=ray` installs it, or pip install 'ray>=2.50'."
            ) from error
        share = cluster.Share(options.threads, self.gpus if options.device == "cuda" else 0.0, self.memory)
        with cluster.joined(self.address, host.cores()):
            yield cluster.Cluster(location, records, share, self.jobs)


def how_options(command: Command) -> Command:
    """How to run; gathered into ``how``."""

    @functools.wraps(command)
    def gathered(**values: Any) -> Any:
        names = [field.name for field in dataclasses.fields(How)]
        how = How(**{name: values.pop(name) for name in names})
        if how.where != RAY and (how.address or how.gpus != WHOLE or how.memory):
            raise UserError("--address, --gpus and --memory are of a cluster: add --executor ray, or leave them out.")
        return command(how=how, **values)

    wrapped: Command = gathered
    for option in (
        click.option(
            "--memory", type=click.FloatRange(min=0), default=0.0,
            help="GB of memory per cell on a cluster; default: not counted.",
        ),
        click.option(
            "--gpus", type=click.FloatRange(min=0, min_open=True), default=WHOLE, show_default=True,
            help="Share of a GPU per cell on a cluster.",
        ),
        click.option("--address", help="Head of the Ray cluster, host:port or auto; default: this machine only."),
        click.option(
            "--executor", "where", type=click.Choice([LOCAL, RAY]), default=LOCAL, show_default=True,
            help="Processes of this machine, or a Ray cluster.",
        ),
        click.option("--jobs", type=click.IntRange(min=1), help="Cells at once; default: as many as fit."),
    ):  # fmt: skip
        wrapped = option(wrapped)
    return wrapped


def running_options(command: Command) -> Command:
    """All of the above, and how to run."""

    @functools.wraps(command)
    def checked(**values: Any) -> Any:
        if values["force"] and values["continue_committed"]:
            raise UserError(
                "--force trains everything again and --continue-committed takes over what is committed: leave one out."
            )
        return command(**values)

    anew = click.option("--force", is_flag=True, help="Train everything asked for again.")
    words = "Count cells with committed results as done; cells of other tables are taken from there."
    go_on = click.option("--continue-committed", is_flag=True, help=words)
    return how_options(anew(go_on(plan_options(location_options(runs_option(checked))))))
