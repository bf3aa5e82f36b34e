"""Tasks of a suite, and what training and evaluation may see of each.

A ``Problem`` carries no target label outside its ``test`` part, which is for the evaluator alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from datasets import registry, store
from datasets.errors import DataError
from datasets.registry import Suite
from datasets.store import Location

PROTOCOLS = ("full",)
"""``full``: all source images with labels, all unlabelled target images."""
_HOLDOUT_STREAM = 0x401D
"""Keeps the stream of the hold-out apart from every other stream of the same seed."""


@dataclass(frozen=True)
class Task:
    """Source and target, as tables name them and as the store knows them."""

    source: str
    target: str
    source_domain: str
    target_domain: str

    @property
    def label(self) -> str:
        """``source:target``; a subset is named as what it is, as in ``mnist:mnistm-10k``."""
        return f"{self.source}:{self.target}"


@dataclass(frozen=True)
class Labelled:
    """Images with labels."""

    images: NDArray[np.uint8]
    """uint8 (N, 28, 28, C), C in {1, 3}."""
    labels: NDArray[np.int64]
    """int64 (N,), in 0 .. classes - 1."""


@dataclass(frozen=True)
class Unlabelled:
    """Images without labels: no label can be reached from it."""

    images: NDArray[np.uint8]
    """uint8 (N, 28, 28, C), C in {1, 3}."""


@dataclass(frozen=True)
class Problem:
    """One task under one protocol."""

    source: Labelled
    target: Unlabelled
    test: Labelled
    """Target images with labels, for the evaluator only.  In a transductive suite the images equal ``target``'s."""
    held_out: Labelled | None
    """The share of the source taken away from ``source``; None without a hold-out."""
    classes: int
    digests: dict[str, str]
    """``source``, ``target``, ``test`` -> digest of the prepared part that the role is taken from."""


def tasks(suite: str | Suite, wanted: Sequence[str] | None, location: Location) -> list[Task]:
    """The tasks of a suite, by default its usual ones.

    A domain that is at hand only as a subset enters under the subset's name, and a notice says so on standard error.

    Args:
        suite: the suite or its name.
        wanted: task labels as ``mnist:usps``, any ordered pair of the suite's domains; repetitions count once.

    Raises:
        DataError: unknown suite or task, or the mirror cannot be read.
    """
    suite = registry.suite(suite) if isinstance(suite, str) else suite
    pairs = dict.fromkeys(_pair(suite, label) for label in wanted) if wanted else suite.tasks
    return [_task(suite, source, target, location) for source, target in pairs]


def problem(
    suite_name: str,
    task: Task,
    location: Location,
    *,
    protocol: str = "full",
    split: int = 0,
    holdout: float = 0.0,
    seed: int = 0,
) -> Problem:
    """What a task consists of; both domains are prepared if they are not yet.

    Args:
        protocol: one of ``PROTOCOLS``.
        split: which of the protocol's splits; ``full`` has the one split 0.
        holdout: share of the source, class by class, that is taken from ``source`` into ``held_out``; in [0, 1).
        seed: of the choice of the hold-out; nothing else is random here.

    Raises:
        DataError: unknown suite, protocol or split, hold-out out of range, or the data cannot be had.
    """
    suite = registry.suite(suite_name)
    _check_options(protocol, split, holdout, seed)
    for name in (task.source_domain, task.target_domain):
        if not store.is_prepared(name, location) and (prepared := store.prepare(name, location)) != name:
            raise DataError(f"{name} is at hand only as {prepared}: ask for the tasks again.")
    source = store.load(task.source_domain, "train", location)
    # Opened twice, so that images without labels and the evaluator's images share nothing but the file on disk.
    unlabelled = store.load(task.target_domain, "train", location).images
    test = store.load(task.target_domain, _tested_part(suite), location)
    labelled, held_out = _hold_out(Labelled(source.images, source.labels), holdout, split, seed)
    return Problem(
        source=labelled,
        target=Unlabelled(unlabelled),
        test=Labelled(test.images, test.labels),
        held_out=held_out,
        classes=len(suite.classes),
        digests=digests(suite_name, task, location),
    )


def digests(suite_name: str, task: Task, location: Location) -> dict[str, str]:
    """Role (``source``, ``target``, ``test``) -> digest of the prepared part that the role is taken from.

    Raises:
        DataError: unknown suite, or a domain is not prepared.
    """
    tested = _tested_part(registry.suite(suite_name))
    return {
        "source": store.digest(task.source_domain, "train", location),
        "target": store.digest(task.target_domain, "train", location),
        "test": store.digest(task.target_domain, tested, location),
    }


def _tested_part(suite: Suite) -> str:
    return "train" if suite.transductive else "test"


def _check_options(protocol: str, split: int, holdout: float, seed: int) -> None:
    if protocol not in PROTOCOLS:
        raise DataError(f"unknown protocol {protocol!r}: choose one of {', '.join(PROTOCOLS)}.")
    if split != 0:
        raise DataError(f"protocol {protocol} has the one split 0, not {split}.")
    if not 0.0 <= holdout < 1.0:
        raise DataError(f"a hold-out of {holdout} is impossible: choose a share from 0 up to, not including, 1.")
    if seed < 0:
        raise DataError(f"seed {seed} is negative: choose 0 or more.")


def _pair(suite: Suite, label: str) -> tuple[str, str]:
    """Short names of a task label; subsets may be named as what they are."""
    shorts = _short_names(suite)
    source, _, target = label.partition(":")
    if source not in shorts or target not in shorts or shorts[source] == shorts[target]:
        valid = [f"{a}:{b}" for a in suite.domains for b in suite.domains if a != b]
        raise DataError(f"unknown task {label!r} of {suite.name}: choose from {', '.join(valid)}.")
    return source, target


def _short_names(suite: Suite) -> dict[str, str]:
    """Name in a task label -> short name of the suite that it stands for."""
    shorts = {short: short for short in suite.domains}
    for short, name in suite.domains.items():
        if subset := registry.domain(name).subset:
            shorts[subset] = short
    return shorts


def _task(suite: Suite, source: str, target: str, location: Location) -> Task:
    (source, source_domain), (target, target_domain) = (_place(suite, name, location) for name in (source, target))
    return Task(source, target, source_domain, target_domain)


def _place(suite: Suite, name: str, location: Location) -> tuple[str, str]:
    """Name in the task's label, and domain, of one side of a task."""
    if name not in suite.domains:
        return name, name
    domain = suite.domains[name]
    at_hand = store.resolve(domain, location)
    if at_hand == domain:
        return name, domain
    _notify(name, at_hand)
    return at_hand, at_hand


@cache
def _notify(name: str, subset: str) -> None:
    """Say once per process that a subset stands in."""
    print(f"note: {name} is at hand only as a subset; results on it are named {subset}.", file=sys.stderr)


def _hold_out(source: Labelled, share: float, split: int, seed: int) -> tuple[Labelled, Labelled | None]:
    """Split a source class by class; every class keeps at least one image on each side."""
    if share == 0.0:
        return source, None
    stream = np.random.default_rng([_HOLDOUT_STREAM, seed, split])
    taken = np.zeros(len(source.labels), dtype=bool)
    for label in np.unique(source.labels):
        members = np.flatnonzero(source.labels == label)
        count = min(max(1, round(share * len(members))), len(members) - 1)
        taken[stream.permutation(members)[:count]] = True
    return _chosen(source, ~taken), _chosen(source, taken)


def _chosen(data: Labelled, mask: NDArray[np.bool_]) -> Labelled:
    # Plain arrays, not views of the memory map: this is the one place that copies pixels.
    return Labelled(np.asarray(data.images)[mask], data.labels[mask])
