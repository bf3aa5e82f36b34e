"""The label-free choice of a setting, as cells and their scores (the rule is in ``benchmarks.plan.choices``)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine.errors import UserError
from benchmarks.plan import choices, plan
from benchmarks.plan.plan import Cell, Options, Use
from benchmarks.records import rules
from benchmarks.records.store import LAST, Record, Store
from datasets.store import Location
from methods import contract
from methods.contract import Experiment, Row

FINAL = ("source_error", "a_distance")
"""Measures used by the rules that are taken at the last iterate only, not after every epoch."""


class DivergenceError(UserError):
    """A method diverges at every value of a grid."""


@dataclass(frozen=True)
class Study:
    """The grid of one setting of one variant on one data set."""

    method: str
    variant: str
    parameter: str
    dataset: str
    backbone: str
    track: str
    cells: dict[float, list[Cell]]
    """Value -> one cell per task and seed."""


def check(name: str, options: Options) -> None:
    """Checks that there is something to choose, under conditions that the committed file can distinguish.

    Raises:
        UserError: there is nothing, or the conditions differ.
    """
    if not plan.paper(name).experiments or not contract.load(name).chosen:
        raise UserError(f"{name} has no setting that the label-free rule chooses.")
    plain = Options()
    usual = ("batchnorm", "cut", "views", "precision", "threads", "statistics", "settings")
    if any(getattr(options, name) != getattr(plain, name) for name in usual):
        raise UserError(f"settings are chosen with the usual {', '.join(usual)}; leave these out.")


def methods_of(name: str, options: Options) -> list[str]:
    """The method, or with ``all`` every one with an open setting that runs by default on the named data sets.

    Raises:
        UserError: there is no such method, or it has nothing to choose.
    """
    if name != plan.ALL:
        check(name, options)
        return [name]
    found = [one for one, its in plan.wanted(name, options) if contract.load(one).chosen]
    for one in dict.fromkeys(found):
        check(one, options)
    return list(dict.fromkeys(found))


def studies(name: str, options: Options, location: Location) -> Iterator[Study]:
    """One study per open setting, variant and data set, on the tasks of the method's first default experiment.

    That is the one with all source labels, if there is one.  The variants are those of its rows.  One seed unless
    ``options.seeds`` says otherwise; a tenth of the source is held out.
    """
    method = contract.load(name)
    experiments = plan.chosen_experiments(name, options)
    experiment = next((one for one in experiments if one.protocol == "full"), experiments[0])
    choice = plan.chosen_backbone(experiment, options)
    for dataset, tasks in plan.chosen_datasets(experiment, options, location).items():
        plan.require_fitting(choice, dataset)
        if not tasks:
            raise plan.no_such_task(name, options)
        for variant, parameter in itertools.product(open_variants(name, experiment), method.chosen):
            cells: dict[float, list[Cell]] = {}
            for value in method.chosen[parameter]:
                config = dataclasses.replace(method.variants[variant], **{parameter: value})
                use = Use(name, "choice", Row(name, variant), f"{parameter}={value}")
                for task in tasks:
                    for seed in range(options.seeds or 1):
                        template = plan.template_spec(experiment, dataset, task, seed, options, location)
                        template = dataclasses.replace(template, holdout=choices.HOLDOUT, looks=LAST)
                        cell = plan.with_method(template, name, config, task, location)
                        cell.uses.append(use)
                        cells.setdefault(value, []).append(cell)
            yield Study(name, variant, parameter, dataset, choice.name, choice.track, cells)


def open_variants(name: str, experiment: Experiment) -> list[str]:
    """The method's variants among an experiment's rows that have no values of their own, the full form first."""
    fixed = contract.load(name).fixed
    found = [row.variant for row in experiment.rows if row.method == name and row.variant not in fixed]
    return sorted(dict.fromkeys(found), key=lambda one: one != "default")


def score(study: Study, store: Store) -> list[dict[str, str]]:
    """The rows of ``results/choices.csv`` for a study whose cells are all finished, except those that diverged.

    A value for which any training diverged is ranked last.

    Raises:
        DivergenceError: a training diverged at every value.
        UserError: a domain has too few images for the rule.
    """
    diverged = np.array([not all(store.has(cell.spec.hash) for cell in cells) for cells in study.cells.values()])
    measured = [
        {name: np.full(len(cells), np.nan) for name in rules.METRICS}
        if lost
        else _measured([store.read(cell.spec.hash) for cell in cells])
        for cells, lost in zip(study.cells.values(), diverged, strict=True)
    ]
    if diverged.all():
        raise DivergenceError(f"{study.method} diverges on {study.dataset} at every {study.parameter} of its grid.")
    known = [name for name in rules.METRICS if all(name in of_value for of_value in measured)]
    stacked = {name: np.stack([of_value[name] for of_value in measured], axis=1) for name in known}
    try:
        scores = rules.mean_ranks(np.where(diverged, np.inf, rules.RULES[rules.SUITE](stacked)))
    except KeyError as error:
        raise UserError(
            f"the label-free rule cannot choose {study.parameter} of {study.method} on {study.dataset}: it needs "
            f"{error.args[0]}, and that needs a network, two images of the target and two held-out ones of the source, "
            "which takes twenty."
        ) from None
    rows = []
    for (value, cells), of_value, score in zip(study.cells.items(), measured, scores, strict=True):
        means = {name: f"{found.mean():.4f}" for name, found in of_value.items() if np.isfinite(found).all()}
        rows.append(
            {
                "method": study.method,
                "variant": study.variant,
                "parameter": study.parameter,
                "dataset": study.dataset,
                "backbone": study.backbone,
                "track": study.track,
                "value": f"{value:g}",
                **{name: means.get(name, "") for name in rules.METRICS},
                "rule": rules.SUITE,
                "criterion": f"{score:.4f}",
                "chosen": "0",
                "cells": " ".join(cell.spec.hash for cell in cells),
                "tasks": " ".join(dict.fromkeys(cell.spec.task for cell in cells)),
            }
        )
    best = min(rows, key=lambda row: (float(row["criterion"]), float(row["value"])))
    best["chosen"] = "1"
    return rows


def _measured(records: Sequence[Record]) -> dict[str, NDArray[np.float64]]:
    """What the rules look at in some cells' last iterates, (cells,): each metric that all of them have."""
    found = {}
    for name in rules.METRICS:
        values = [record.find(name) if name in FINAL else _last(record, name) for record in records]
        known = [value for value in values if value is not None]
        if len(known) == len(records):
            found[name] = np.array(known)
    return found


def _last(record: Record, name: str) -> float | None:
    """The last value in the training's history."""
    return record.history[-1].get(name) if record.history else None
