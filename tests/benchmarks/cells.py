"""Small specs and problems for the harness's tests."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from benchmarks.records.store import Spec, recipe_values, revision
from datasets.protocols import Labelled, Problem, Unlabelled
from methods import contract
from methods.contract import Recipe

TINY = Recipe(steps=20, epoch=5, rate=0.01, batch=16)


def spec(method: str = "source_only", recipe: Recipe = TINY, variant: str = "default", **changes: Any) -> Spec:
    """A cell of 20 steps on ``problem()``."""
    config = contract.config_values(contract.load(method).variants[variant])
    base = Spec(
        method=method,
        config=config,
        recipe=recipe_values(recipe),
        dataset="made-up",
        task="left:right",
        protocol="full",
        split=0,
        seed=0,
        holdout=0.0,
        backbone="lenet",
        track="finetune",
        batchnorm="none",
        device="cpu",
        precision="fp32",
        threads=1,
        data={"source": "a", "target": "b", "test": "b"},
        revision=revision(1),
    )
    return dataclasses.replace(base, **changes)


def problem(seed: int = 0, n: int = 120, classes: int = 3) -> Problem:
    """Two domains of 28 x 28 images: a bright square whose place is the class; the target's is dimmer and noisy."""
    generator = np.random.default_rng(seed)

    def domain(light: int, noise: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        labels = generator.integers(0, classes, n)
        images = generator.integers(0, noise, (n, 28, 28, 1), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[4 + 7 * label : 10 + 7 * label, 8:20] = light
        return images, labels.astype(np.int64)

    source_x, source_y = domain(255, 20)
    target_x, target_y = domain(120, 90)
    return Problem(
        source=Labelled(source_x, source_y),
        target=Unlabelled(target_x),
        labelled_target=None,
        test=Labelled(target_x.copy(), target_y),
        tested=np.arange(n),
        held_out=None,
        classes=classes,
        digests={"source": "a", "target": "b", "test": "b"},
    )
