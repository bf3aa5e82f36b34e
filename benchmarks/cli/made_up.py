"""Cells on random data, which need no preparation: used by races and by the check of a device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.networks import backbones
from benchmarks.records.store import Spec, recipe_values, revision
from datasets.protocols import Labelled, Problem, Unlabelled
from methods import contract
from methods.contract import Recipe

Drawn = np.ndarray[Any, Any]


def spec(method: str, recipe: Recipe, backbone: str, track: str, *, batchnorm: str | None = None, **how: Any) -> Spec:
    """A method's default variant on data without a record, on one CPU thread unless asked otherwise.

    Args:
        method: its name.
        recipe: how it is trained.
        backbone: its network.
        track: likewise.
        batchnorm: mode; the backbone's usual one if None.
        how: further fields of the spec.
    """
    choice = backbones.choose(backbone, track, batchnorm)
    values: dict[str, Any] = {
        **{"dataset": "random", "task": "left:right", "protocol": "full", "split": 0, "seed": 0, "holdout": 0.0},
        **{"device": "cpu", "precision": "fp32", "threads": 1, "data": {}, "revision": revision(1)},
        **how,
    }
    return Spec(
        method=method,
        config=contract.config_values(contract.load(method).variants["default"]),
        recipe=recipe_values(recipe),
        backbone=choice.name,
        track=choice.track,
        batchnorm=choice.batchnorm,
        cut=choice.cut,
        **values,
    )


def problem(inputs: Callable[[int], Drawn], train: int, test: int, classes: int) -> Problem:
    """Two domains of random examples.

    Args:
        inputs: number of examples -> examples, as prepared.
        train: training examples of each domain.
        test: number of further target examples.
        classes: number of classes that labels are drawn from.
    """
    generator = np.random.default_rng(1)
    source, target, tested = (
        Labelled(inputs(n), generator.integers(0, classes, n).astype(np.int64)) for n in (train, train, test)
    )
    return Problem(source, Unlabelled(target.images), None, tested, None, None, classes, {})
