"""Class halves: the two sides between which layers are transferred (protocol ``transfer``).

A side is named in a task: ``a`` and ``b`` if the data set is one domain, ``amazon-a`` and ``amazon-b`` if it has
several.  A suffix ``@25`` keeps 25 training images of each class.  There are three ways of dividing the classes:

a, b            half of the classes drawn by the split's number, and the rest.  The rule is that of Yosinski et al.'s
                released code: numpy's legacy generator, ``sorted(choice(arange(C), C // 2, replace=False))``
man, natural    man-made and natural; of the larger side as many classes are drawn as the smaller one has
a-cut, b-cut    a and b with as many classes drawn from each, to compare man and natural with

If a domain has no test part, a fifth of each class is used for testing; it is drawn once, the same for every split.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets.domains import Suite
from datasets.errors import DataError

TESTED = 0.2
"""Share of each class used for testing if a domain has no test part."""

_IMAGES_STREAM = 0x1A6E5
"""Separates the drawing of images from every other stream of the same split."""

_PAIRS = {
    **{"a": ("random", 0), "b": ("random", 1)},
    **{"man": ("distant", 0), "natural": ("distant", 1)},
    **{"a-cut": ("cut", 0), "b-cut": ("cut", 1)},
}
"""Name -> way of dividing, and which of the two sides."""

_NAME = re.compile(rf"(?:(?P<domain>.+)-)?(?P<half>{'|'.join(_PAIRS)})(?:@(?P<images>[1-9]\d*))?")


@dataclass(frozen=True)
class Side:
    """One side of a division of the classes."""

    domain: str
    """As the suite names it."""
    parting: str
    """``random``, ``distant`` or ``cut``."""
    place: int
    """0 for the first side, 1 for the second."""
    images: int | None
    """Training images of each class; None for all."""


def side(suite: Suite, name: str) -> Side | None:
    """The side of that name; None if it is the name of a domain instead."""
    found = _NAME.fullmatch(name)
    if name in suite.domains or found is None:
        return None
    trained = [short for short in suite.domains if short not in suite.tested.values()]
    domain = found["domain"] or (trained[0] if len(trained) == 1 else "")
    if domain not in trained or (found["domain"] and len(trained) == 1):
        return None
    parting, place = _PAIRS[found["half"]]
    if parting != "random" and not suite.natural:
        return None
    return Side(domain, parting, place, int(found["images"]) if found["images"] else None)


def are_opposite(first: Side | None, second: Side | None) -> bool:
    """Whether two names of a task are the two sides of one division, or neither is a side."""
    if first is None or second is None:
        return first is second
    same = (first.domain, first.parting, first.images) == (second.domain, second.parting, second.images)
    return same and first.place != second.place


def classes(suite: Suite, of: Side | None, split: int) -> NDArray[np.int64]:
    """The classes of a side, as sorted indices, int64; all classes if it is a whole domain instead.

    Raises:
        DataError: the split is negative, or a side would have fewer than two classes.
    """
    if of is None:
        return np.arange(len(suite.classes))
    if split < 0:
        raise DataError(f"split {split} is negative: choose 0 or more.")
    random = np.random.RandomState(split)
    if of.parting == "distant":
        wild = np.isin(suite.classes, suite.natural)
        sides = [np.flatnonzero(~wild), np.flatnonzero(wild)]
    else:
        first = random.choice(np.arange(len(suite.classes)), len(suite.classes) // 2, replace=False)
        sides = [np.sort(first), np.setdiff1d(np.arange(len(suite.classes)), first)]
    if of.parting != "random":
        size = smaller(suite)
        sides = [np.sort(random.choice(one, size, replace=False)) if len(one) > size else one for one in sides]
    if min(map(len, sides)) < 2:
        raise DataError(f"{suite.name} has too few classes to be split in two: each side needs two.")
    return sides[of.place].astype(np.int64)


def smaller(suite: Suite) -> int:
    """Number of classes on the smaller side of man-made and natural."""
    return min(len(suite.natural), len(suite.classes) - len(suite.natural))


def few(labels: NDArray[np.int64], count: int, split: int) -> NDArray[np.int64]:
    """``count`` examples of each class, or all if there are fewer, as sorted indices; smaller counts are subsets."""
    random = np.random.default_rng([_IMAGES_STREAM, split])
    drawn = [random.permutation(np.flatnonzero(labels == label))[:count] for label in np.unique(labels)]
    return np.sort(np.concatenate(drawn))


def digest(suite: Suite, names: Sequence[str], split: int) -> str:
    """SHA-256 of the classes of a task's sides and of the images drawn for them."""
    content = [
        [*classes(suite, of, split).tolist(), of.images if of else None] for of in (side(suite, name) for name in names)
    ]
    return hashlib.sha256(json.dumps([content, TESTED]).encode()).hexdigest()
