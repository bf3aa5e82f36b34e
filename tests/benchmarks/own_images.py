"""Small folders of images and a backbone of a few weights, for tests of what a user does with own images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.networks import backbones
from datasets import folders
from datasets.store import Location
from tests.benchmarks import tiny_backbone
from tests.datasets.office_helpers import encoded

CLASSES = ("blue", "green", "red")
QUICK = "recipe.steps=40 recipe.epoch=20 recipe.batch=16"
"""``SET`` that makes a training last a moment."""


def picture(label: int, number: int, dark: bool) -> bytes:
    """An image of one colour with noise, the class; darker in one of the domains."""
    generator = np.random.default_rng([label, number, dark])
    values = generator.integers(0, 40, (12, 10, 3))
    values[..., 2 - label] += 90 if dark else 200
    return encoded(Image.fromarray(values.astype(np.uint8)))


def write(root: Path, domains: dict[str, bool], count: int = 8) -> Path:
    """A tree of domains: name -> whether it has class folders."""
    for number, (domain, labelled) in enumerate(domains.items()):
        for label, name in enumerate(CLASSES):
            for index in range(count):
                place = f"{domain}/{name}/{index}.png" if labelled else f"{domain}/{label}{index}.png"
                (root / place).parent.mkdir(parents=True, exist_ok=True)
                (root / place).write_bytes(picture(label, 100 * number + index, number > 0))
    folders.forget()
    return root


@contextmanager
def tiny(root: Path) -> Iterator[Location]:
    """A data folder in which the backbone ``tiny`` exists."""
    location = Location(root)
    with tiny_backbone.installed(location), pytest.MonkeyPatch.context() as patch:
        patch.setitem(backbones.BACKBONES, "tiny", backbones._photo_backbone(tiny_backbone.TINY))
        yield location
