"""Whether a module of ``methods/`` declares what can be planned: a mistake is one sentence that names the file."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin, get_type_hints

from benchmarks.machine.errors import UserError
from benchmarks.networks import backbones
from datasets import registry
from datasets.protocols import PROTOCOLS
from methods import contract
from methods.contract import Claim, Experiment, Method, Paper, Recipe, Row
from methods.errors import UnknownMethodError


@functools.cache
def check(name: str) -> None:
    """Checks the declarations of ``methods/<name>.py``.

    Raises:
        UserError: the first mistake.
    """
    for mistake in mistakes(contract.load(name)):
        raise UserError(f"methods/{name}.py: {mistake}.")


def mistakes(method: Method) -> Iterator[str]:
    """What is wrong; whatever follows the first mistake may rest on it."""
    yield from _tuples(method)
    kind = method.config.__name__
    for variant, config in {"default": None, **method.variants}.items():
        if not isinstance(config, method.config):
            yield f"the variant {variant!r} must be a {kind}"
    for option, grid in method.chosen.items():
        if option not in _fields(method.config):
            yield f"chosen names {option!r}, which is no field of {kind}"
        elif (default := getattr(method.variants["default"], option)) not in grid:
            yield f"the grid of {option!r} in chosen has not its default, {default}"
    for variant in method.fixed:
        if variant not in method.variants:
            yield f"fixed names {variant!r}, which is no variant; there are: {', '.join(method.variants)}"
    if method.paper is not None:
        yield from _of_paper(method.paper)


def _of_paper(paper: Paper) -> Iterator[str]:
    yield from _tuples(paper)
    known = {experiment.name: experiment for experiment in paper.experiments}
    names = [experiment.name for experiment in paper.experiments]
    for experiment in paper.experiments:
        if names.count(experiment.name) > 1:
            yield f"two experiments are called {experiment.name!r}"
        yield from (f"experiment {experiment.name!r}: {mistake}" for mistake in _of_experiment(experiment))
    if not any(experiment.default for experiment in paper.experiments):
        yield "no experiment is run by default; give one default=True"
    for claim in paper.claims:
        yield from (f"claim {claim.name!r}: {mistake}" for mistake in _of_claim(claim, known))


def _of_experiment(experiment: Experiment) -> Iterator[str]:
    yield from _tuples(experiment)
    for row in (*experiment.rows, experiment.baseline):
        yield from _of_row(row)
    kinds = [(row.method, row.variant) for row in experiment.rows]
    for row in experiment.rows:
        if kinds.count((row.method, row.variant)) > 1:
            yield f"the row {row.name!r} is there twice"
    if experiment.baseline not in experiment.rows:
        yield f"its baseline {experiment.baseline.name!r} is none of its rows, {_named(experiment)}"
    if not experiment.recipes:
        yield "it has no data set"
    for dataset in (*experiment.recipes, *experiment.tasks):
        if dataset not in (*registry.SUITES, "folder"):
            yield f"unknown data set {dataset!r}; there are: {', '.join(registry.SUITES)}, or folder"
    if experiment.protocol not in PROTOCOLS:
        yield f"unknown protocol {experiment.protocol!r}; there are: {', '.join(PROTOCOLS)}"
    try:
        for cut in experiment.cuts or (experiment.cut,):
            backbones.choose(experiment.backbone, experiment.track, experiment.batchnorm or None, cut or None)
    except UserError as error:
        yield str(error).rstrip(".")
    configs = [contract.load(row.method).config for row in experiment.rows]
    for option in experiment.sweep:
        if not any(option in _fields(config) for config in configs):
            yield f"sweep names {option!r}, which is a field of no row's configuration"
    for option in experiment.recipe_sweep:
        if option not in _fields(Recipe):
            yield f"recipe_sweep names {option!r}, which is no field of Recipe"


def _of_row(row: Row) -> Iterator[str]:
    try:
        known = contract.load(row.method).variants
    except UnknownMethodError as error:
        yield str(error).rstrip(".")
        return
    if row.variant not in known:
        yield f"{row.method} has no variant {row.variant!r}; it has: {', '.join(known)}"


def _of_claim(claim: Claim, known: Mapping[str, Experiment]) -> Iterator[str]:
    yield from _tuples(claim)
    for name in claim.experiments:
        if name not in known:
            yield f"unknown experiment {name!r}; there are: {', '.join(known)}"
            continue
        for row in (claim.better, claim.worse):
            if row not in known[name].rows:
                yield f"{row.name!r} is none of the rows of {name!r}, {_named(known[name])}"


def _named(experiment: Experiment) -> str:
    return ", ".join(row.name for row in experiment.rows)


_hints = functools.cache(get_type_hints)


def _fields(of: type) -> set[str]:
    return {field.name for field in dataclasses.fields(of)}


def _tuples(declared: Any) -> Iterator[str]:
    """Fields, or values of mappings, that are no tuple although they are declared as one, or hold something else."""
    for name, hint in _hints(declared.__class__).items():
        parts = {name: getattr(declared, name)}
        if get_origin(hint) is Mapping:
            parts = {f"{name}[{key!r}]": value for key, value in parts[name].items()}
            hint = get_args(hint)[1]
        if get_origin(hint) is not tuple:
            continue
        kind = get_args(hint)[0]
        for part, value in parts.items():
            if not isinstance(value, tuple):
                yield f"{part} must be a tuple; write ({repr(value) if isinstance(value, str) else 'FIRST'},)"
            elif kind in (Experiment, Claim, Row):
                for one in value:
                    if not isinstance(one, kind):
                        star = "; write *asked(...)" if isinstance(one, tuple) else ""
                        yield f"{part} must hold {kind.__name__} alone, and has a {type(one).__name__}{star}"
