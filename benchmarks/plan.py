"""From a paper's experiments to cells."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks import backbones, choices
from benchmarks.errors import UserError
from benchmarks.spec import Spec, revision
from benchmarks.training import fields
from datasets import protocols, registry, store
from datasets.errors import DataError
from datasets.protocols import Task
from datasets.store import Location
from methods import contract
from methods.contract import Experiment, Method, Paper, Recipe, Row


@dataclass(frozen=True)
class Options:
    """What a user may choose; None stands for the experiment's own choice."""

    experiments: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    seeds: int | None = None
    track: str | None = None
    backbone: str | None = None
    batchnorm: str | None = None
    device: str = "cpu"
    precision: str = "fp32"
    threads: int = 1


@dataclass(frozen=True)
class Use:
    """A place in a table that a cell fills."""

    paper: str
    experiment: str
    row: Row
    setting: str
    """Swept values and choices other than the default ones, ``k=v;k=v``; empty if none."""


@dataclass
class Cell:
    """A unit of work and the places that it fills."""

    spec: Spec
    task: Task
    uses: list[Use] = field(default_factory=list)

    @property
    def label(self) -> str:
        """What messages call it: ``dan mnist:optdigits seed 0``."""
        use = self.uses[0]
        name = self.spec.method if use.row.variant == "default" else f"{self.spec.method} {use.row.variant}"
        return " ".join([name, *([use.setting] if use.setting else []), self.spec.task, f"seed {self.spec.seed}"])


@dataclass
class Plan:
    """The cells of some experiments, each once, in the order of the tables."""

    paper: str
    cells: list[Cell] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What a user should know: defaults taken, rows that make no sense, data that are missing."""
    missing: list[str] = field(default_factory=list)
    """Reasons why something that was asked for cannot be planned on this machine."""

    def note(self, text: str) -> None:
        """Add a note once."""
        if text not in self.notes:
            self.notes.append(text)


def paper(name: str) -> Paper:
    """The paper of module ``methods/<name>.py``.

    Raises:
        UserError: there is no such paper.
    """
    papers = contract.papers()
    if name not in papers:
        raise UserError(f"unknown paper {name!r}; there are: {', '.join(papers)}.")
    return papers[name]


def chosen_experiments(name: str, options: Options) -> list[Experiment]:
    """The experiments that were named, or those that run by default.

    Raises:
        UserError: one that was named does not exist.
    """
    known = {experiment.name: experiment for experiment in paper(name).experiments}
    for wanted in options.experiments:
        if wanted not in known:
            raise UserError(f"paper {name!r} has no experiment {wanted!r}; it has: {', '.join(known)}.")
    if options.experiments:
        return [known[wanted] for wanted in options.experiments]
    return [experiment for experiment in known.values() if experiment.default]


def chosen_datasets(experiment: Experiment, options: Options, location: Location) -> dict[str, list[Task]]:
    """Data set -> tasks of an experiment.

    Those that were named; or the experiment's first one, and of every further one the tasks whose data are
    already prepared on this machine.

    Raises:
        UserError, DataError: a data set or task that was named does not exist.
    """
    if options.datasets:
        for wanted in options.datasets:
            registry.suite(wanted)
            if wanted not in experiment.recipes:
                raise UserError(
                    f"experiment {experiment.name!r} is not defined on data set {wanted!r}; "
                    f"it is on: {', '.join(experiment.recipes)}."
                )
        return {name: protocols.tasks(name, options.tasks or None, location) for name in options.datasets}
    first, *further = experiment.recipes
    found = {first: protocols.tasks(first, options.tasks or None, location)}
    for name in further:
        tasks = protocols.tasks(name, None, location) if not options.tasks else []
        ready = [task for task in tasks if is_ready(task, location)]
        if ready:
            found[name] = ready
    return found


def is_ready(task: Task, location: Location) -> bool:
    """Whether both domains of a task are prepared."""
    return all(store.is_prepared(domain, location) for domain in (task.source_domain, task.target_domain))


def make(name: str, options: Options, location: Location) -> Plan:
    """The plan of a paper's experiments.  Trains nothing, fetches nothing.

    Tasks whose data are not prepared are named in ``Plan.missing`` and left out.

    Raises:
        UserError, DataError: an experiment, data set, task, track, backbone or mode that does not exist.
    """
    plan = Plan(name)
    cells: dict[str, Cell] = {}
    for experiment in chosen_experiments(name, options):
        for dataset, tasks in chosen_datasets(experiment, options, location).items():
            for task in tasks:
                if not is_ready(task, location):
                    text = f"{task.label} of {dataset}: its data are not prepared; `make data DATASET={dataset}` does."
                    if text not in plan.missing:
                        plan.missing.append(text)
                    continue
                for spec, use in _cells_of(name, experiment, dataset, task, options, location, plan):
                    cell = cells.setdefault(spec.hash, Cell(spec, task))
                    if use not in cell.uses:
                        cell.uses.append(use)
    plan.cells = list(cells.values())
    return plan


def _cells_of(
    name: str,
    experiment: Experiment,
    dataset: str,
    task: Task,
    options: Options,
    location: Location,
    plan: Plan,
) -> Iterator[tuple[Spec, Use]]:
    recipe = experiment.recipes[dataset]
    for row in experiment.rows:
        method = contract.load(row.method)
        template = template_spec(experiment, dataset, task, recipe, row.method, method, options, location)
        base = variant_config(row, method)
        base, note = choices.resolve(row, method, base, template)
        if note:
            plan.note(note)
        for values in _sweep(experiment, method):
            config = dataclasses.replace(base, **values)
            reason = why_not(method, config, template)
            if reason:
                plan.note(f"{row.label or row.variant} on {template.backbone} is not run: {reason}")
                continue
            use = Use(name, experiment.name, row, _setting(values, template, backbones.backbone(template.backbone)))
            for seed in range(options.seeds if options.seeds is not None else experiment.seeds):
                yield dataclasses.replace(template, config=contract.config_values(config), seed=seed), use


def variant_config(row: Row, method: Method) -> Any:
    """The configuration of a row's variant.

    Raises:
        UserError: the method has no such variant.
    """
    if row.variant not in method.variants:
        raise UserError(f"{row.method} has no variant {row.variant!r}; it has: {', '.join(method.variants)}.")
    return method.variants[row.variant]


def template_spec(
    experiment: Experiment,
    dataset: str,
    task: Task,
    recipe: Recipe,
    method_name: str,
    method: Method,
    options: Options,
    location: Location,
) -> Spec:
    """The spec of a row's first seed, its configuration still empty.

    Raises:
        UserError: the backbone, its track or its BatchNorm mode does not exist.
    """
    backbone = options.backbone or experiment.backbone
    track = options.track or experiment.track
    batchnorm = options.batchnorm or backbones.backbone(backbone).batchnorm
    backbones.check(backbone, track, batchnorm)
    return Spec(
        method=method_name,
        config={},
        recipe=fields(recipe),
        dataset=dataset,
        task=task.label,
        protocol=experiment.protocol,
        split=0,
        seed=0,
        holdout=0.0,
        backbone=backbone,
        track=track,
        batchnorm=batchnorm,
        device=options.device,
        precision=options.precision,
        threads=options.threads,
        data=protocols.digests(dataset, task, location),
        revision=revision(method.revision),
    )


def why_not(method: Method, config: Any, spec: Spec) -> str | None:
    """The method's own reason for not running this configuration on the spec's backbone, or None."""
    if method.applies is None:
        return None
    network = backbones.build(spec.backbone, channels=1, classes=2, batchnorm=spec.batchnorm)
    return method.applies(config, network)


def _sweep(experiment: Experiment, method: Method) -> list[dict[str, Any]]:
    """The swept values of an experiment that are fields of the method; one empty setting if there are none."""
    names = [field.name for field in dataclasses.fields(method.config)]
    swept: Mapping[str, Sequence[Any]] = {k: v for k, v in experiment.sweep.items() if k in names}
    return [dict(zip(swept, values, strict=True)) for values in itertools.product(*swept.values())]


def _setting(values: Mapping[str, Any], spec: Spec, backbone: backbones.Backbone) -> str:
    """Swept values, then what differs from the backbone's and the harness's defaults."""
    shown = dict(values)
    if spec.batchnorm != backbone.batchnorm:
        shown["batchnorm"] = spec.batchnorm
    if spec.precision != "fp32":
        shown["precision"] = spec.precision
    if spec.threads != 1:
        shown["threads"] = spec.threads
    return ";".join(f"{key}={value}" for key, value in shown.items())


def further(name: str, options: Options, location: Location) -> list[str]:
    """What else exists for a paper, each with the command that gets it: one line each."""
    lines = []
    default = chosen_experiments(name, Options())
    for experiment in paper(name).experiments:
        command = f"make reproduce-{name}"
        if experiment not in default:
            lines.append(f"{experiment.title}: {command} EXPERIMENT={experiment.name}")
            continue
        for dataset in list(experiment.recipes)[1:]:
            try:
                tasks = protocols.tasks(dataset, None, location)
            except DataError:
                continue
            absent = [task.label for task in tasks if not is_ready(task, location)]
            if absent:
                lines.append(f"{experiment.title} on {dataset} ({', '.join(absent)}): {command} DATASET={dataset}")
    return lines
