"""From a paper's experiments to cells."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from benchmarks.machine import processes
from benchmarks.machine.errors import UserError
from benchmarks.networks import backbones, weights
from benchmarks.networks.backbones import Choice, choice_of
from benchmarks.plan import choices, declared, settings
from benchmarks.records.store import LAST, Spec, recipe_values, revision
from benchmarks.records.words import reproduce
from datasets import folders, protocols, registry, store
from datasets.errors import DataError
from datasets.protocols import Task
from datasets.store import Location
from methods import contract, recipes
from methods.contract import Experiment, Method, Need, Paper, Recipe, Row
from methods.network import Network


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
    cut: str | None = None
    views: int = 0
    statistics: str = "imagenet"
    device: str = "cpu"
    precision: str = "fp32"
    threads: int = 1
    settings: tuple[str, ...] = ()
    """``METHOD.FIELD=VALUE`` and ``recipe.FIELD=VALUE``, overriding the experiment's."""
    keep: bool | None = None
    """Whether networks and predictions are kept for use; None: only for a user's own images."""


@dataclass(frozen=True)
class Use:
    """A place in a table that a cell fills."""

    paper: str
    experiment: str
    row: Row
    setting: str
    """Swept values and non-default choices, ``k=v;k=v``; empty if none."""


@dataclass
class Cell:
    """A unit of work and the places it fills."""

    spec: Spec
    task: Task
    uses: list[Use] = field(default_factory=list)
    needs: dict[str, Cell] = field(default_factory=dict)
    """Name -> the cell whose trained network this one starts from."""

    tsne: bool = False
    """Whether an experiment shows its features as a map."""
    course: bool = False
    """Whether an experiment shows the course of its training, or matrices: a record made of committed rows has none."""
    keep: bool = False
    """Whether its network and predictions are kept for use."""

    @property
    def label(self) -> str:
        """Its name in messages: ``dan mnist:optdigits seed 0``."""
        number = f"seed {self.spec.seed}" if self.spec.protocol == "full" else f"{self.spec.protocol} {self.spec.split}"
        if not self.uses:
            return f"{self.spec.method} {self.spec.task} {number}, for others to start from"
        use = self.uses[0]
        name = self.spec.method if use.row.variant == "default" else f"{self.spec.method} {use.row.variant}"
        return " ".join([name, *([use.setting] if use.setting else []), self.spec.task, number])

    @property
    def depth(self) -> int:
        """Length of the longest chain of cells that must be trained first."""
        return 1 + max((need.depth for need in self.needs.values()), default=-1)


@dataclass
class Plan:
    """The cells of some experiments, each once, in the order of the tables."""

    cells: list[Cell] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What a user should know: defaults used, rows that make no sense, missing data."""
    missing: list[str] = field(default_factory=list)
    """Reasons why something that was asked for cannot be planned on this machine."""

    @property
    def papers(self) -> list[str]:
        """Papers whose tables it fills."""
        return list(dict.fromkeys(use.paper for cell in self.cells for use in cell.uses))

    looks: dict[Choice, Network] = field(default_factory=dict, repr=False)
    """Untrained networks, for methods to tell whether they make sense on them."""

    def note(self, text: str) -> None:
        """Add a note once."""
        if text not in self.notes:
            self.notes.append(text)


def paper(name: str) -> Paper:
    """The paper of module ``methods/<name>.py``, or the trial of a method without one.

    Raises:
        UserError: there is no such paper, or its module declares what cannot be planned.
    """
    if name not in contract.names():
        raise UserError(f"unknown paper {name!r}; there are: {', '.join(contract.papers())}.")
    declared.check(name)
    return contract.load(name).paper or recipes.trial(name)


ALL = "all"
"""Stands for every paper."""


def wanted(name: str, options: Options) -> list[tuple[str, Options]]:
    """Paper and options of everything asked for: for one paper, or for ``all``.

    For all papers, on named data sets: the experiments that were named, or those that run by default there, on the
    wanted track or else on ``frozen`` if a paper has it.  If no data set is named, every experiment on every data set
    it is defined on.

    Raises:
        UserError: there is no such paper, or no paper has what was named.
    """
    if name != ALL:
        paper(name)
        return [(name, options)]
    found = []
    papers = {one: paper(one) for one in contract.papers()}
    known = {experiment.name for its in papers.values() for experiment in its.experiments}
    for named in options.experiments:
        if named not in known:
            raise UserError(f"no paper has an experiment for {named}; `python -m benchmarks list` shows them all.")
    for one, its in papers.items():
        for experiment in _of_all(its, options):
            keys = options.datasets or tuple(key for key in experiment.recipes if key != "folder")
            datasets = tuple(key for key in keys if is_defined(experiment, key))
            if datasets:
                found.append((one, dataclasses.replace(options, experiments=(experiment.name,), datasets=datasets)))
    if not found:
        asked = [*options.experiments, *options.datasets, *filter(None, [options.track])]
        raise UserError(
            f"no paper has an experiment for {', '.join(asked)}; `python -m benchmarks list` shows them all."
        )
    return found


def _of_all(its: Paper, options: Options) -> list[Experiment]:
    """The experiments of a paper that are included when all papers are asked for."""
    for key in options.datasets:
        registry.suite(key)
    if options.experiments:
        return [experiment for experiment in its.experiments if experiment.name in options.experiments]
    if options.datasets:
        usual = contract.usual_experiments(its, options.datasets, options.track or contract.SHARED_TRACK)
        return [experiment for experiment in usual if options.track in (None, experiment.track)]
    return [experiment for experiment in its.experiments if options.track in (None, experiment.track)]


def chosen_experiments(name: str, options: Options) -> list[Experiment]:
    """The experiments that were named, or those that run by default on the named data sets.

    Of the latter, those on the wanted track, or on the first one's.  With nothing named, the paper's first default one.

    Raises:
        UserError: a named one does not exist, or none is defined on a named data set.
    """
    known = {experiment.name: experiment for experiment in paper(name).experiments}
    for wanted in options.experiments:
        if wanted not in known:
            raise UserError(f"paper {name!r} has no experiment {wanted!r}; it has: {', '.join(known)}.")
    if options.experiments:
        return [known[wanted] for wanted in options.experiments]
    for dataset in options.datasets:
        _require_defined(name, dataset, [experiment for experiment in known.values() if experiment.default])
    return contract.usual_experiments(paper(name), options.datasets, options.track)


def _require_defined(name: str, dataset: str, experiments: Sequence[Experiment]) -> None:
    registry.suite(dataset)
    if not any(is_defined(experiment, dataset) for experiment in experiments):
        known = dict.fromkeys(key for experiment in experiments for key in experiment.recipes)
        named = ["folder:PATH" if key == "folder" else key for key in known]
        raise UserError(
            f"no experiment of {name!r} runs on data set {dataset!r} unless it is named; those that run by default are "
            f"on: {', '.join(named)}."
        )


def is_defined(experiment: Experiment, dataset: str) -> bool:
    """Whether an experiment has a recipe for a data set."""
    return contract.recipe_key(dataset) in experiment.recipes


def chosen_datasets(experiment: Experiment, options: Options, location: Location) -> dict[str, list[Task]]:
    """Data set -> tasks of an experiment.

    The named ones; or the experiment's first one, plus the tasks of each further one whose data are already prepared on
    this machine.

    Raises:
        UserError, DataError: a named data set or task does not exist.
    """
    if options.datasets:
        for wanted in options.datasets:
            registry.suite(wanted)
            if options.experiments and not is_defined(experiment, wanted):
                raise UserError(
                    f"experiment {experiment.name!r} is not defined on data set {wanted!r}; "
                    f"it is on: {', '.join(experiment.recipes)}."
                )
        named = [protocols.at_hand(d, location) for d in options.datasets if is_defined(experiment, d)]
        return {dataset: chosen_tasks(experiment, dataset, options, location) for dataset in named}
    keys = dict.fromkeys(protocols.at_hand(key, location) for key in experiment.recipes if key != "folder")
    if not keys:
        return {}
    first, *further = keys
    found = {first: chosen_tasks(experiment, first, options, location)}
    side = backbones.backbone(options.backbone or experiment.backbone).side
    for dataset in further:
        tasks = chosen_tasks(experiment, dataset, options, location) if not options.tasks else []
        ready = [task for task in tasks if is_ready(task, location, side)]
        if ready:
            found[dataset] = ready
    return found


def chosen_tasks(experiment: Experiment, dataset: str, options: Options, location: Location) -> list[Task]:
    """The tasks of an experiment on a data set.

    A named task is run even if the experiment does not list it; if the experiment itself was not named, only the tasks
    of its own list are.

    Raises:
        DataError: a named task does not exist.
    """
    own = experiment.tasks.get(contract.recipe_key(dataset))
    if not options.tasks:
        return protocols.tasks(dataset, own, location)
    wanted = protocols.tasks(dataset, options.tasks, location)
    if own is None or options.experiments:
        return wanted
    listed = {task.label for task in protocols.tasks(dataset, own, location)}
    return [task for task in wanted if task.label in listed]


def is_ready(task: Task, location: Location, side: int | None) -> bool:
    """Whether both domains of a task are prepared, photographs at the size the backbone needs."""
    return all(store.is_prepared(domain, location, side=side) for domain in task.domains)


def make(name: str, options: Options, location: Location) -> Plan:
    """The plan of a paper's experiments, or of ``all`` papers'.  Trains nothing, fetches nothing.

    Tasks whose data are not prepared are named in ``Plan.missing`` and left out.

    Raises:
        UserError, DataError: an experiment, data set, task, track, backbone or mode does not exist.
    """
    every = wanted(name, options)
    if options.settings:
        planned = [experiment for one, its in every for experiment in chosen_experiments(one, its)]
        settings.check(options.settings, [row.method for experiment in planned for row in experiment.rows])
        for experiment in planned:
            settings.check_swept(options.settings, experiment)
    plan = of(every, location)
    if options.tasks and not (plan.cells or plan.missing or plan.notes):
        raise no_such_task(name, options)
    return plan


def no_such_task(name: str, options: Options) -> UserError:
    """The error for tasks that exist and that no experiment lists, where none was named."""
    return UserError(
        f"no experiment that runs by default for {name!r} has the task {', '.join(options.tasks)}; name one that has."
    )


def of(every: Iterable[tuple[str, Options]], location: Location) -> Plan:
    """The plan of several papers, each with its options; as ``make``."""
    plan = Plan()
    cells: dict[str, Cell] = {}
    for one, its in every:
        _add(plan, cells, one, its, location)
    plan.cells = list(cells.values())
    return plan


def _add(plan: Plan, cells: dict[str, Cell], name: str, options: Options, location: Location) -> None:
    """Adds the cells of one paper, and to the plan the notes about them."""
    for experiment in chosen_experiments(name, options):
        choice = chosen_backbone(experiment, options)
        chosen = chosen_datasets(experiment, options, location)
        if not chosen:
            plan.missing.append(f"{experiment.name} runs on your own images: name them by DATASET=folder:PATH.")
        for dataset, tasks in chosen.items():
            require_fitting(choice, dataset)
            absent = [task.label for task in tasks if not is_ready(task, location, choice.backbone.side)]
            if absent:
                text = f"{', '.join(absent)} of {dataset}: {_unprepared(name, dataset, tasks, choice)}"
                if text not in plan.missing:
                    plan.missing.append(text)
            for task in [task for task in tasks if task.label not in absent]:
                for variation in _variations(experiment, options):
                    for found, use in _cells_of(name, experiment, dataset, task, variation, location, plan):
                        cell = cells.setdefault(found.spec.hash, found)
                        cell.tsne = cell.tsne or experiment.tsne
                        cell.course = cell.course or bool(experiment.curve or experiment.matrices)
                        cell.keep = cell.keep or is_kept(options, dataset, experiment.protocol)
                        if use not in cell.uses:
                            cell.uses.append(use)


def is_kept(options: Options, dataset: str, protocol: str) -> bool:
    """Whether the networks of some cells are kept for use; never for the single sides of a data set."""
    wanted = options.keep if options.keep is not None else dataset.startswith(folders.PREFIX)
    return wanted and protocol != "transfer"


def _unprepared(name: str, dataset: str, tasks: Sequence[Task], choice: Choice) -> str:
    side = choice.backbone.side
    if side is None or all(registry.domain(domain).side == side for task in tasks for domain in task.domains):
        return f"its data are not prepared; `make data DATASET={dataset}` does."
    return f"its data are not prepared at the {side} pixels of {choice.name}; `make reproduce-{name}` does."


def _variations(experiment: Experiment, options: Options) -> list[Options]:
    """The options at every cut, and with all trunk statistics, that an experiment compares."""
    cuts = experiment.cuts if experiment.cuts and not options.cut else (options.cut,)
    asked = options.statistics != Options().statistics
    everybodys = experiment.bn_statistics if experiment.bn_statistics and not asked else (options.statistics,)
    return [dataclasses.replace(options, cut=cut, statistics=whose) for cut in cuts for whose in everybodys]


def chosen_backbone(experiment: Experiment, options: Options) -> Choice:
    """The backbone of an experiment, with the options applied.

    Raises:
        UserError: it does not exist, or its track, BatchNorm mode or cut does not, or views are asked for but not used.
    """
    name, track = options.backbone or experiment.backbone, options.track or experiment.track
    same = (name, track) == (experiment.backbone, experiment.track)
    # The mode is part of what the experiment compares, so it also applies to another backbone if that has the mode.
    wanted = experiment.batchnorm if track == experiment.track else ""
    batchnorm = options.batchnorm or (wanted if wanted and (same or backbones.takes(name, track, wanted)) else None)
    cut = options.cut or (experiment.cut if same else "") or None
    choice = backbones.choose(name, track, batchnorm, cut)
    if options.statistics != "imagenet" and not (choice.track == "frozen" and choice.backbone.known is not None):
        raise UserError(f"{name!r} on the track {track!r} has no frozen trunk that could have other statistics.")
    window = choice.backbone.window
    if options.views and not choice.cut and not (window and window.augments):
        raise UserError(f"views are cached, and {name!r} on the track {track!r} caches nothing; leave them out.")
    return choice


def require_fitting(choice: Choice, dataset: str) -> None:
    """Checks that a backbone takes the kind of data that a data set holds.

    Raises:
        UserError: it takes another kind.
    """
    (kind,) = {registry.domain(domain).kind for domain in registry.suite(dataset).domains.values()}
    if choice.backbone.kind != kind:
        fitting = [name for name, known in backbones.BACKBONES.items() if known.kind == kind]
        raise UserError(
            f"backbone {choice.name!r} takes {choice.backbone.kind} and {dataset} holds {kind}; "
            f"choose one of: {', '.join(fitting)}."
        )


def _cells_of(
    name: str,
    experiment: Experiment,
    dataset: str,
    task: Task,
    options: Options,
    location: Location,
    plan: Plan,
) -> Iterator[tuple[Cell, Use]]:
    usual = chosen_backbone(experiment, dataclasses.replace(options, batchnorm=None, cut=None))
    numbers = range(options.seeds if options.seeds is not None else experiment.seeds)
    plain = [template_spec(experiment, dataset, task, number, options, location) for number in numbers]
    for row, training in itertools.product(experiment.rows, _combinations(experiment.recipe_sweep)):
        templates = [_trained_by(template, training) for template in plain]
        method = contract.load(row.method)
        base = variant_config(row, method)
        base, note = choices.resolve(row, method, base, templates[0], settings.fields(row.method, options.settings))
        if options.settings:
            base = settings.of_method(row.method, base, options.settings)
        if note:
            plan.note(note)
        for values in [{}] if row in experiment.unswept else _sweep(experiment, method):
            config = dataclasses.replace(base, **values)
            reason = why_not(method, config, choice_of(templates[0]), plan)
            if reason:
                plan.note(f"{row.name} on {templates[0].backbone} is not run: {reason}")
                continue
            shown = {**training, **values, **(settings.shown(options.settings) if options.settings else {})}
            use = Use(name, experiment.name, row, _setting(shown, templates[0], usual, experiment))
            for template in templates:
                yield with_method(_longer(template, row.times), row.method, config, task, location), use


def _trained_by(template: Spec, training: Mapping[str, Any]) -> Spec:
    """A row's template with some fields of the recipe changed."""
    if not training:
        return template
    changed = dataclasses.replace(Recipe(**template.recipe), **training)
    return dataclasses.replace(template, recipe=recipe_values(changed))


def _longer(template: Spec, times: int) -> Spec:
    """The template of a row that is trained longer than the others of its experiment."""
    if times == 1:
        return template
    return dataclasses.replace(template, recipe=recipe_values(Recipe(**template.recipe).longer(times)))


def with_method(template: Spec, name: str, config: Any, task: Task, location: Location) -> Cell:
    """A template turned into the cell of a method in a configuration, with the cells it starts from.

    Raises:
        UserError, DataError: a needed cell cannot be planned.
    """
    method = contract.load(name)
    values = contract.config_values(config)
    spec = dataclasses.replace(
        template, method=name, config=values, revision=revision(method.revision_on(template.track))
    )
    wanted = method.needs(config, Recipe(**spec.recipe)) if method.needs else {}
    if not wanted and not spec.needs:
        return Cell(spec, task)
    needs = {key: _needed(spec, need, task, location) for key, need in wanted.items()}
    return Cell(dataclasses.replace(spec, needs={k: c.spec.hash for k, c in needs.items()}), task, needs=needs)


def today(spec: Spec, location: Location) -> Cell:
    """The cell of a spec as it would be planned today: with today's data, revision and needed cells.

    Raises:
        UserError: its configuration no longer fits the method.
        DataError: the data are not prepared, or there is no such task or split.
    """
    (task,) = protocols.tasks(spec.dataset, [spec.task], location)
    data = data_digests(spec.dataset, task, spec.protocol, spec.split, choice_of(spec), location)
    try:
        config = contract.config_of(contract.load(spec.method), spec.config)
    except TypeError as error:
        raise UserError(f"{spec.method} has other settings today ({error}).") from error
    return with_method(dataclasses.replace(spec, data=data, needs={}), spec.method, config, task, location)


def _needed(spec: Spec, need: Need, task: Task, location: Location) -> Cell:
    """The cell whose network a cell of this spec starts from."""
    protocol = spec.protocol if need.labelled_target else protocols.without_labels(spec.protocol)
    template = dataclasses.replace(spec, needs={}, protocol=protocol, batchnorm=need.batchnorm or spec.batchnorm)
    if need.recipe is not None:
        template = dataclasses.replace(template, recipe=recipe_values(need.recipe))
    wanted = f"{task.target}:{task.source}" if need.opposite else need.task or task.label
    if wanted != task.label or protocol != spec.protocol:
        (task,) = protocols.tasks(spec.dataset, [wanted], location)
        data = data_digests(spec.dataset, task, protocol, spec.split, choice_of(spec), location)
        template = dataclasses.replace(template, task=task.label, data=data)
    config = need.config
    if config is None:
        row, method = Row(need.method), contract.load(need.method)
        config, _ = choices.resolve(row, method, variant_config(row, method), template)
    return with_method(template, need.method, config, task, location)


def variant_config(row: Row, method: Method) -> Any:
    """The configuration of a row's variant.

    Raises:
        UserError: the method has no such variant.
    """
    if row.variant not in method.variants:
        raise UserError(f"{row.method} has no variant {row.variant!r}; it has: {', '.join(method.variants)}.")
    return method.variants[row.variant]


def template_spec(
    experiment: Experiment, dataset: str, task: Task, number: int, options: Options, location: Location
) -> Spec:
    """The spec of the ``number``-th seed, or ``number``-th split, of any row, with its method still open.

    Raises:
        UserError: the backbone, its track, its BatchNorm mode or its cut does not exist, or the trunk's statistics
        would be those of several domains.
        DataError: the data are not prepared, or there is no such split.
    """
    choice = chosen_backbone(experiment, options)
    split = 0 if experiment.protocol == "full" else number
    if options.statistics == "source" and task.further:
        raise UserError(f"{task.label} has several sources, so a trunk cannot have the source's statistics.")
    recipe = choice.adjusted(experiment.recipes[contract.recipe_key(dataset)])
    return Spec(
        method="",
        config={},
        recipe=recipe_values(settings.of_recipe(recipe, options.settings) if options.settings else recipe),
        dataset=dataset,
        task=task.label,
        protocol=experiment.protocol,
        split=split,
        seed=number,
        holdout=experiment.holdout,
        backbone=choice.name,
        track=choice.track,
        batchnorm=choice.batchnorm,
        device=options.device,
        precision=options.precision,
        threads=options.threads,
        data=data_digests(dataset, task, experiment.protocol, split, choice, location),
        revision="",
        cut=choice.cut,
        views=options.views,
        statistics="" if options.statistics == "imagenet" else options.statistics,
        processes=processes.size(),
        looks=LAST if experiment.holdout and experiment.last else "",
        joint_mmd=experiment.joint_mmd,
    )


def data_digests(
    dataset: str, task: Task, protocol: str, split: int, choice: Choice, location: Location
) -> dict[str, str]:
    """A spec's ``data``: digests of the data by role, of the split, and of pretrained weights.

    Raises:
        DataError: the data are not prepared, or there is no such split.
    """
    known = choice.backbone
    found = protocols.digests(dataset, task, location, protocol=protocol, split=split, side=known.side)
    return found if known.known is None else {**found, "weights": weights.digest(choice.name)}


def why_not(method: Method, config: Any, choice: Choice, plan: Plan) -> str | None:
    """The method's own reason for not running this configuration on a backbone, or None."""
    if method.applies is None:
        return None
    if choice not in plan.looks:
        plan.looks[choice] = backbones.look(choice)
    return method.applies(config, plan.looks[choice])


def _sweep(experiment: Experiment, method: Method) -> list[dict[str, Any]]:
    """An experiment's swept values that are fields of the method; one empty setting if there are none."""
    names = [field.name for field in dataclasses.fields(method.config)]
    swept: Mapping[str, Sequence[Any]] = {k: v for k, v in experiment.sweep.items() if k in names}
    return _combinations(swept)


def _combinations(swept: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values; a single empty one if there are none."""
    return [dict(zip(swept, values, strict=True)) for values in itertools.product(*swept.values())]


def _setting(values: Mapping[str, Any], spec: Spec, usual: Choice, experiment: Experiment) -> str:
    """Swept values, then what differs from the experiment's and the harness's defaults; the cut if it is swept."""
    shown = dict(values)
    if spec.batchnorm != usual.batchnorm:
        shown["batchnorm"] = spec.batchnorm
    if spec.cut != usual.cut or experiment.cuts:
        shown["cut"] = spec.cut
    if spec.statistics or experiment.bn_statistics:
        shown["statistics"] = spec.statistics or "imagenet"
    if spec.views:
        shown["views"] = spec.views
    if spec.precision != "fp32":
        shown["precision"] = spec.precision
    if spec.threads != 1:
        shown["threads"] = spec.threads
    if spec.processes != 1:
        shown["processes"] = spec.processes
    return ";".join(f"{key}={value}" for key, value in shown.items())


def further(name: str, options: Options, location: Location) -> list[str]:
    """What else exists for a paper, one line each, with the command to get it."""
    lines = []
    first = chosen_experiments(name, Options())
    for experiment in paper(name).experiments:
        command = partial(reproduce, name, experiment.name, track=experiment.track, backbone=experiment.backbone)
        datasets = [key for key in experiment.recipes if key != "folder"]
        if experiment in first:
            absent = [(dataset, _absent(experiment, dataset, location)) for dataset in datasets[1:]]
            lines += [
                f"{experiment.title} on {dataset} ({', '.join(tasks)}): {command([dataset])}"
                for dataset, tasks in absent
                if tasks
            ]
        else:
            lines.append(f"{experiment.title}: {command((datasets or ['folder'])[:1])}")
    return lines + [f"not here: {what}; {reason}" for what, reason in paper(name).not_run.items()]


def not_run() -> list[str]:
    """What is not reproduced of the papers, and why: one line each."""
    return [
        f"{what} ({name}): {reason}" for name, one in contract.papers().items() for what, reason in one.not_run.items()
    ]


def _absent(experiment: Experiment, dataset: str, location: Location) -> list[str]:
    """The tasks of an experiment whose data are not prepared; none if that cannot be determined."""
    side = backbones.backbone(experiment.backbone).side
    try:
        tasks = protocols.tasks(dataset, experiment.tasks.get(dataset), location)
        return [task.label for task in tasks if not is_ready(task, location, side)]
    except DataError:
        return []
