"""CIFAR-100 (Krizhevsky, 2009): complete as its author published it, and a subset."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasets import archives, photos
from datasets.domains import Domain, File, Route, Suite
from datasets.photos import Photos

SUPERCLASSES = {
    "aquatic mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food containers": "bottle bowl can cup plate",
    "fruit and vegetables": "apple mushroom orange pear sweet_pepper",
    "household electrical devices": "clock keyboard lamp telephone television",
    "household furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large carnivores": "bear leopard lion tiger wolf",
    "large man-made outdoor things": "bridge castle house road skyscraper",
    "large natural outdoor scenes": "cloud forest mountain plain sea",
    "large omnivores and herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium-sized mammals": "fox porcupine possum raccoon skunk",
    "non-insect invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles 1": "bicycle bus motorcycle pickup_truck train",
    "vehicles 2": "lawn_mower rocket streetcar tank tractor",
}
"""The author's twenty superclasses of five classes."""

MAN_MADE = (
    *("food containers", "household electrical devices", "household furniture"),
    *("large man-made outdoor things", "vehicles 1", "vehicles 2"),
)
"""The superclasses of artefacts, as ImageNet's hierarchy separates artefacts from everything else.  People, landscapes,
and fruit and vegetables, which grow, are natural."""

CLASSES = tuple(sorted(itertools.chain.from_iterable(names.split() for names in SUPERCLASSES.values())))
"""In alphabetical order, as in the published labels."""
NATURAL = tuple(
    sorted(
        itertools.chain.from_iterable(names.split() for title, names in SUPERCLASSES.items() if title not in MAN_MADE)
    )
)

SIDE = 32


SUBSET = {"train": 200, "test": 50}
"""Part -> images of each class in the subset: the first ones, ordered by published name."""


def published(paths: Sequence[Path], most: Mapping[str, int] | None = None) -> dict[str, Photos]:
    """The author's archive for Python: pickles ``train``, ``test`` and ``meta`` of arrays and lists.

    Args:
        paths: the archive.
        most: part -> images of each class, for the subset; None for all.
    """
    members = archives.tar_members(paths[0], lambda name: name.rpartition("/")[2] in ("train", "test", "meta"))
    pickles = {name.rpartition("/")[2]: archives.unpickle_arrays(content) for name, content in members}
    if tuple(pickles["meta"]["fine_label_names"]) != CLASSES:
        raise ValueError("its class names differ")
    make = _of_arrays if most is None else partial(_first, most)
    return {part: make(part, pickles[part]) for part in ("train", "test")}


def _of_arrays(part: str, content: Mapping[str, Any]) -> Photos:
    """One part, with its pixels as lossless image files, ordered by class and then as published."""
    labels = np.array(content["fine_labels"], dtype=np.int64)
    order = np.argsort(labels, kind="stable")
    names = tuple(f"{part}/{CLASSES[labels[index]]}/{index:05d}.png" for index in order)
    return _encoded(names, labels[order], content, order)


def _first(most: Mapping[str, int], part: str, content: Mapping[str, Any]) -> Photos:
    """The first images of each class, ordered by published name."""
    labels, files = np.array(content["fine_labels"], dtype=np.int64), content["filenames"]
    by_name = sorted(range(len(labels)), key=lambda index: (labels[index], files[index]))
    groups = itertools.groupby(by_name, key=lambda index: labels[index])
    order = np.array([index for _, group in groups for index in itertools.islice(group, most[part])])
    names = tuple(f"{part}/{CLASSES[labels[index]]}/{files[index]}" for index in order)
    return _encoded(names, labels[order], content, order)


def _encoded(
    names: tuple[str, ...], labels: NDArray[np.int64], content: Mapping[str, Any], order: NDArray[np.int64]
) -> Photos:
    pixels: NDArray[np.uint8] = np.asarray(content["data"], dtype=np.uint8).reshape(-1, 3, SIDE, SIDE)
    pixels = pixels[order].transpose(0, 2, 3, 1)
    return Photos(names, labels, _encoder(pixels), pixels=pixels)


def _encoder(pixels: NDArray[np.uint8]) -> Callable[[int], bytes]:
    def read(index: int) -> bytes:
        out = io.BytesIO()
        Image.fromarray(pixels[index]).save(out, format="PNG", compress_level=1)
        return out.getvalue()

    return read


def folders(paths: Sequence[Path]) -> dict[str, Photos]:
    """An archive with the layout ``cifar100/PART/CLASS/NAME.png``."""
    pattern = r"(^|/)cifar100/{}/(?P<class>[^/]+)/(?P<name>[^/.][^/]*\.png)$"
    by_part = partial(photos.by_class, paths, classes=CLASSES)
    return {part: by_part(pattern=pattern.format(part), domain=part)["train"] for part in ("train", "test")}


ARCHIVE = File(
    "cifar-100-python.tar.gz",
    ("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",),
    digest="md5:eb9058c3a382ffc7106e4002c42a8d85",
    size=169001437,
)

DOMAINS = (
    Domain(
        name="cifar100",
        title="CIFAR-100",
        description="Tiny photographs of 100 classes (Krizhevsky, 2009), complete; RGB 32x32.  The publisher's digest "
        "of the archive and the counts vouch for its content.",
        routes=(
            Route(
                (ARCHIVE,),
                published,
            ),
        ),
        kind="photos",
        channels=3,
        side=32,
        classes=CLASSES,
        subset="cifar100-200",
    ),
    Domain(
        name="cifar100-200",
        title="CIFAR-100, a subset",
        description="200 of the 500 training and 50 of the 100 test images of each class of CIFAR-100; RGB 32x32.",
        routes=(Route((File("cifar100_200.tar.gz"),), folders), Route((ARCHIVE,), partial(published, most=SUBSET))),
        kind="photos",
        channels=3,
        side=32,
        classes=CLASSES,
    ),
)


def _suite(name: str, title: str, description: str, subset: str = "") -> Suite:
    return Suite(
        name=name,
        title=title,
        description=f"{description}  The tasks are between halves of the classes.",
        domains={"cifar100": name},
        tasks=(("a", "b"), ("b", "a")),
        transductive=False,
        classes=CLASSES,
        natural=NATURAL,
        subset=subset,
    )


SUITES = (
    _suite("cifar100", "CIFAR-100", "Tiny photographs of 100 classes.", "cifar100-200"),
    _suite("cifar100-200", "CIFAR-100, a subset", "200 training and 50 test images of each class."),
)
