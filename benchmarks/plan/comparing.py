"""Comparing methods on one data set: the same recipe, backbone and seeds, against one source-only baseline."""

from __future__ import annotations

import dataclasses
import difflib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.machine.errors import UserError
from benchmarks.networks.backbones import choice_of, choose, takes
from benchmarks.plan import choices, choosing, plan, settings
from benchmarks.plan.choosing import Study
from benchmarks.plan.plan import Cell, Options, Plan, Use
from benchmarks.records.store import LAST, Spec, Store
from datasets.protocols import Task
from datasets.store import Location
from methods import contract
from methods.contract import Experiment, Method, Row

NAME = "compare"
OWN = "folder"
"""What recipes call a user's own photographs."""
BASELINE = Row("source_only", label="source-only")


@dataclass
class Contestant:
    """A method in one of its variants."""

    row: Row
    config: Any
    batchnorm: str = ""
    """BatchNorm mode if the method needs another one than the others; otherwise empty."""
    notes: list[str] = field(default_factory=list)
    """Where its settings come from."""
    cells: list[Cell] = field(default_factory=list)


@dataclass
class Comparison:
    """What takes part, and what does not."""

    dataset: str
    experiment: Experiment
    tasks: list[Task]
    contestants: list[Contestant] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    """Method and reason."""
    looks: Plan = field(default_factory=Plan)
    """Networks already looked at, so that each is built only once."""

    @property
    def plan(self) -> Plan:
        """The cells of all contestants."""
        cells = {cell.spec.hash: cell for one in self.contestants for cell in one.cells}
        return Plan(list(cells.values()))


def make(dataset: str, methods: Sequence[str], options: Options, location: Location) -> Comparison:
    """The comparison of some methods, or of all; the data are prepared.

    Args:
        methods: names, ``METHOD`` or ``METHOD/VARIANT``; empty for every method.

    Raises:
        UserError, DataError: a method, task, backbone or setting does not exist.
    """
    experiment = template(dataset, options)
    tasks = plan.chosen_tasks(experiment, dataset, dataclasses.replace(options, experiments=(NAME,)), location)
    found = Comparison(dataset, experiment, tasks)
    rows = [named(text, experiment) for text in methods] if methods else list(_everybody(dataset, found))
    rows = list(dict.fromkeys([BASELINE, *rows]))
    settings.check(options.settings, [row.method for row in rows])
    for row in rows:
        one = _contestant(row, found, options, location)
        if one is not None:
            found.contestants.append(one)
    return found


def template(dataset: str, options: Options) -> Experiment:
    """The setting that most of the suite's papers use on a data set: recipe, backbone and track.

    Raises:
        UserError: no method runs there without target labels.
    """
    key = contract.recipe_key(dataset)
    every = [one for paper in contract.papers().values() if not paper.comparator for one in paper.experiments]
    fitting = [one for one in every if key in one.recipes and one.protocol == "full" and one.default]
    wanted = options.track or contract.SHARED_TRACK
    fitting = [one for one in fitting if one.track == wanted] or ([] if options.track else fitting)
    if not fitting:
        on = f" on the track {options.track!r}" if options.track else ""
        raise UserError(f"no method of the suite has a recipe for {dataset}{on} without target labels.")
    kinds = Counter((one.backbone, one.track, one.recipes[key]) for one in fitting)
    (backbone, track, recipe), _ = kinds.most_common(1)[0]
    return Experiment(
        name=NAME,
        title="All methods under one recipe",
        rows=(BASELINE,),
        recipes={key: recipe},
        baseline=BASELINE,
        backbone=backbone,
        track=track,
    )


def named(text: str, experiment: Experiment) -> Row:
    """The row of ``METHOD`` or ``METHOD/VARIANT``.

    Raises:
        UserError: there is no such method or variant.
    """
    name, _, variant = text.partition("/")
    known = contract.names()
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        more = f"; did you mean {near[0]}?" if near else "."
        raise UserError(f"unknown method {name!r}; there are: {', '.join(known)}{more}")
    row = Row(name, variant or "default")
    plan.variant_config(row, contract.load(name))
    return Row(name, row.variant, _label(row))


def _everybody(dataset: str, found: Comparison) -> Iterator[Row]:
    """Every method as in its paper's table on such data; methods without a paper in all variants."""
    for name in contract.names():
        method = contract.load(name)
        if method.paper is None:
            yield from (Row(name, variant, _label(Row(name, variant))) for variant in method.variants)
            continue
        own = _own_rows(name, method, dataset, found.experiment)
        if own:
            yield next((row for row in own if row.variant == "default"), own[-1])
        else:
            found.left_out.append(f"{name}: it needs target labels, or has no table of such data")


def _own_rows(name: str, method: Method, dataset: str, like: Experiment) -> list[Row]:
    """The rows of a paper's own method in its tables on such data that need no target labels."""
    assert method.paper is not None
    full = [one for one in method.paper.experiments if one.protocol == "full" and one.default]
    photos = choose(like.backbone, like.track).backbone.kind == "photos"
    on = [one for one in full if contract.recipe_key(dataset) in one.recipes]
    on = on or [one for one in full if photos and OWN in one.recipes]
    tables = [one for one in on if one.track == like.track] or on
    return [row for one in tables for row in one.rows if row.method == name]


def _label(row: Row) -> str:
    """Name of a row in the papers' tables."""
    if row.method == BASELINE.method:
        return BASELINE.label
    for paper in contract.papers().values():
        for experiment in paper.experiments:
            for other in experiment.rows:
                if (other.method, other.variant) == (row.method, row.variant) and other.label:
                    return other.label
    return row.method if row.variant == "default" else f"{row.method}/{row.variant}"


def _contestant(row: Row, of: Comparison, options: Options, location: Location) -> Contestant | None:
    """A method with its cells; None, with a reason, if it makes no sense on the backbone."""
    method = contract.load(row.method)
    usual = _template(of, of.tasks[0], 0, options, "", location)
    config, notes = _settled(row, method, usual, options)
    reason = plan.why_not(method, config, choice_of(usual), of.looks)
    batchnorm = ""
    if reason and method.paper is not None:
        for other in dict.fromkeys(one.batchnorm for one in method.paper.experiments if one.batchnorm):
            if not takes(usual.backbone, usual.track, other):
                continue
            spec = _template(of, of.tasks[0], 0, options, other, location)
            if plan.why_not(method, config, choice_of(spec), of.looks) is None:
                reason, batchnorm = None, other
                notes.append(f"{row.label} has BatchNorm in the head (mode {other}), without which it does nothing")
                break
    if reason:
        of.left_out.append(f"{row.label}: {reason}")
        return None
    one = Contestant(row, config, batchnorm, notes)
    use = Use(NAME, of.experiment.name, row, ";".join(f"{k}={v}" for k, v in shown(options).items()))
    for task in of.tasks:
        for seed in range(options.seeds or of.experiment.seeds):
            cell = plan.with_method(
                _template(of, task, seed, options, batchnorm, location), row.method, config, task, location
            )
            cell.uses.append(use)
            cell.keep = plan.is_kept(options, of.dataset, of.experiment.protocol)
            one.cells.append(cell)
    return one


def shown(options: Options) -> dict[str, Any]:
    """What differs from the usual training in every cell, but for backbone and track, which a file is named after."""
    usual, names = Options(), ("batchnorm", "cut", "views", "statistics", "precision", "threads")
    changed = {name: getattr(options, name) for name in names if getattr(options, name) != getattr(usual, name)}
    return {**settings.shown(options.settings), **changed}


def _template(of: Comparison, task: Task, seed: int, options: Options, batchnorm: str, location: Location) -> Spec:
    how = dataclasses.replace(options, batchnorm=batchnorm or options.batchnorm)
    return plan.template_spec(of.experiment, of.dataset, task, seed, how, location)


def _settled(row: Row, method: Method, spec: Spec, options: Options) -> tuple[Any, list[str]]:
    """A configuration with its chosen fields: chosen on this data set, or else on another one with this backbone."""
    config = plan.variant_config(row, method)
    given = settings.fields(row.method, options.settings)
    resolved, note = choices.resolve(row, method, config, spec, given)
    notes = []
    if note:
        found = choices.elsewhere(row.method, method, spec)
        for name, (value, dataset) in found.items():
            if name in given:
                continue
            resolved = dataclasses.replace(resolved, **{name: value})
            notes.append(
                f"{row.label}: {name} {value:g} was chosen on {dataset} with this backbone; CHOOSE=1 chooses it here"
            )
        if not notes:
            notes.append(f"{row.label}: the module's default weight, as none has been chosen; CHOOSE=1 chooses one")
    return settings.of_method(row.method, resolved, options.settings), notes


def studies(of: Comparison, options: Options, location: Location) -> Iterator[tuple[Contestant, Study]]:
    """The grids of all open settings on the comparison's tasks: one seed, a tenth of the source held out."""
    for one in of.contestants:
        method = contract.load(one.row.method)
        if one.row.variant in method.fixed:
            continue
        for parameter, grid in method.chosen.items():
            if f"{settings.MARK}{one.row.method}.{parameter}" in settings.shown(options.settings):
                continue
            cells: dict[float, list[Cell]] = {}
            for value in grid:
                config = dataclasses.replace(one.config, **{parameter: value})
                for task in of.tasks:
                    spec = _template(of, task, 0, options, one.batchnorm, location)
                    spec = dataclasses.replace(spec, holdout=choices.HOLDOUT, looks=LAST)
                    cell = plan.with_method(spec, one.row.method, config, task, location)
                    cell.uses.append(Use(NAME, "choice", one.row, f"{parameter}={value}"))
                    cells.setdefault(value, []).append(cell)
            yield one, Study(one.row.method, one.row.variant, parameter, of.dataset, spec.backbone, spec.track, cells)


def decide(
    of: Comparison, found: Sequence[tuple[Contestant, Study]], records: Store, options: Options, location: Location
) -> Comparison:
    """The comparison with the settings picked by the label-free rule, without methods that diverge at every value.

    Args:
        found: the studies, whose cells are all finished, except those that diverged.
    """
    chosen: dict[Row, dict[str, float]] = {}
    diverging: dict[Row, str] = {}
    for one, study in found:
        try:
            rows = choosing.score(study, records)
        except choosing.DivergenceError as error:
            diverging[one.row] = str(error)
            continue
        best = next(row for row in rows if row["chosen"] == "1")
        chosen.setdefault(one.row, {})[study.parameter] = float(best["value"])
    left_out = [*of.left_out, *(f"{row.label or row.method}: {reason}" for row, reason in diverging.items())]
    again = Comparison(of.dataset, of.experiment, of.tasks, left_out=left_out)
    for one in of.contestants:
        if one.row in diverging:
            continue
        values = chosen.get(one.row)
        if values is None:
            again.contestants.append(one)
            continue
        config = dataclasses.replace(one.config, **values)
        listed = ", ".join(f"{name} {value:g}" for name, value in values.items())
        note = f"{one.row.label}: {listed} was chosen here without target labels"
        kept = [text for text in one.notes if "BatchNorm" in text]
        cells = [_changed(cell, config, location) for cell in one.cells]
        again.contestants.append(Contestant(one.row, config, one.batchnorm, [*kept, note], cells))
    return again


def _changed(cell: Cell, config: Any, location: Location) -> Cell:
    """A cell of the same method in another configuration."""
    template = dataclasses.replace(cell.spec, method="", config={}, revision="", needs={})
    changed = plan.with_method(template, cell.spec.method, config, cell.task, location)
    changed.uses, changed.keep = cell.uses, cell.keep
    return changed
