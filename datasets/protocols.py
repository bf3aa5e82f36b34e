"""Tasks of a suite, and what training and evaluation may see of each.

A ``Problem`` carries no target labels outside its ``test`` part, which is for the evaluator alone, except those that
the protocol grants.
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets import folders, halves, registry, splits, store
from datasets.errors import DataError
from datasets.registry import Suite
from datasets.store import Location

HELD_OUT_CLASSES = ("semi-supervised", "semi-supervised-random")
"""Protocols that grant labels of some of the classes and test on the others."""
PROTOCOLS = ("full", "down-sampled", "supervised", *HELD_OUT_CLASSES, "transfer")
"""Under all but the last one, training sees all target training images without labels.

full             all source images with labels
down-sampled     a few labelled source images per class (Office-31: 20 for Amazon, 8 for the other domains)
supervised       down-sampled, plus a few labelled target images per class (3); tested on the remaining ones
semi-supervised  down-sampled, plus labelled target images of some of the classes (Office-31: 10 of each of the
                 alphabetically first 15); tested on all target images of the other classes, with prediction among all
                 classes and also among the tested ones
semi-supervised-random
                 the same, except that each split draws the labelled classes at random, for each domain
transfer         of layers, not of labels: only the training images of the target side, with labels; the source side
                 is what the starting network was trained on; the sides are halves of the classes
                 (``datasets.halves``), drawn by the split's number, or whole domains; tested on the target side's test
                 images

If a class has fewer images than are drawn, all of them are used.
"""

UNKNOWN = -1
"""Label of an unlabelled image."""

Inputs = NDArray[Any]
"""Examples along the first axis: pixels, features, or whatever replaces them."""

_HOLDOUT_STREAM = 0x401D
"""Separates the stream of the hold-out from every other stream of the same seed."""
_TEST_STREAM = 0x7E57
"""Separates the stream of the images that test class halves."""


@dataclass(frozen=True)
class Task:
    """Source and target, as named in tables and in the store."""

    source: str
    target: str
    source_domain: str
    target_domain: str
    further: tuple[tuple[str, str], ...] = ()
    """Name and domain of every further source, if there are several."""
    test_domain: str = ""
    """Domain that holds the test images of class halves, if it is a separate one."""

    @property
    def sources(self) -> tuple[tuple[str, str], ...]:
        """Name and domain of every source."""
        return ((self.source, self.source_domain), *self.further)

    @property
    def domains(self) -> tuple[str, ...]:
        """All domains that the task needs."""
        tested = (self.test_domain,) if self.test_domain else ()
        return (*(domain for _, domain in self.sources), self.target_domain, *tested)

    @property
    def label(self) -> str:
        """``source:target``; a subset is named as a subset, as in ``mnist:mnistm-10k``; ``a+b:c`` has two sources."""
        return f"{'+'.join(name for name, _ in self.sources)}:{self.target}"


@dataclass(frozen=True)
class Labelled:
    """Examples with labels."""

    images: Inputs
    """As ``store.Images.images``, or what the caller replaced them with; (N, ...)."""
    labels: NDArray[np.int64]
    """int64 (N,), in 0 .. classes - 1; ``UNKNOWN`` if a user's own target has no labels."""


@dataclass(frozen=True)
class Unlabelled:
    """Examples without labels: no label can be reached from it."""

    images: Inputs
    """As in ``Labelled``."""


@dataclass(frozen=True)
class Problem:
    """One task under one protocol."""

    source: Labelled
    target: Unlabelled
    labelled_target: Labelled | None
    """Target images with labels granted by the protocol; None if it grants none."""
    test: Labelled
    """Target images with labels, for the evaluator only."""
    tested: NDArray[np.int64] | None
    """Indices of the tested images among the target's; None if the test images are others."""
    held_out: Labelled | None
    """The part of the source held out from ``source``; None without a hold-out."""
    classes: int
    digests: dict[str, str]
    """``source``, ``target``, ``test`` -> digest of the prepared part that the role comes from; ``splits`` -> digest of
    the protocol's split, if it draws images."""
    sizes: tuple[int, ...] = ()
    """The number of examples of each source, if there are several; they follow one another in ``source``."""
    alone: bool = False
    """Whether training uses one side only: ``source`` and ``target`` then hold the same images."""


def at_hand(suite_name: str, location: Location) -> str:
    """The suite itself, or its subset if only that is available; a notice on standard error then says so.

    Raises:
        DataError: unknown suite, or the mirror cannot be read.
    """
    suite = registry.suite(suite_name)
    if not suite.subset or all(store.resolve(domain, location) == domain for domain in suite.domains.values()):
        return suite.name
    _notify(suite.name, suite.subset)
    return suite.subset


def tasks(suite: str | Suite, wanted: Sequence[str] | None, location: Location) -> list[Task]:
    """The tasks of a suite, by default its usual ones.

    A domain of which only a subset is available enters under the subset's name, with a notice on standard error.

    Args:
        suite: the suite or its name.
        wanted: task labels as ``mnist:usps``, any ordered pair of the suite's domains, or ``mnist+optdigits:mfeat``
            with several sources; duplicates count once.

    Raises:
        DataError: unknown suite or task, or the mirror cannot be read.
    """
    suite = registry.suite(suite) if isinstance(suite, str) else suite
    if wanted:
        labels = [label for text in wanted for label in _parted(suite, text)]
        return [_task(suite, names, location) for names in dict.fromkeys(_names(suite, label) for label in labels)]
    return [_task(suite, names, location) for names in suite.tasks]


def without_labels(protocol: str) -> str:
    """The protocol with the same source images that grants no target labels."""
    return "down-sampled" if protocol in ("supervised", *HELD_OUT_CLASSES) else protocol


def problem(
    suite_name: str,
    task: Task,
    location: Location,
    *,
    protocol: str = "full",
    split: int = 0,
    holdout: float = 0.0,
    seed: int = 0,
    side: int | None = None,
    inputs: Callable[[str, str], Inputs] | None = None,
) -> Problem:
    """What a task consists of; domains that are not prepared yet are prepared first.

    Args:
        protocol: one of ``PROTOCOLS``.
        split: which of the protocol's splits; ``full`` has the one split 0.
        holdout: share of the source, class by class, moved from ``source`` to ``held_out``; in [0, 1).
        seed: for the choice of the hold-out; nothing else is random here.
        side: height and width of photographs.
        inputs: domain and part -> what replaces the pixels, one example per image, in the same order.

    Raises:
        DataError: unknown suite, protocol or split, hold-out out of range, or the data are not available.
    """
    suite = registry.suite(suite_name)
    _check_options(suite_name, task, protocol, split, holdout, seed)
    for name in task.domains:
        if not store.is_prepared(name, location, side) and (prepared := store.prepare(name, location, side)) != name:
            raise DataError(f"{name} is available only as {prepared}: ask for the tasks again.")
    if protocol == "transfer":
        return _one_side(suite, task, location, split, holdout, seed, side, inputs)
    target = store.load(task.target_domain, "train", location, side)
    tested_part = _tested_part(suite)
    # Opened twice, so that unlabelled images and the evaluator's images share nothing but the file on disk.
    test = store.load(task.target_domain, tested_part, location, side)
    drawn = _draw(suite_name, task, protocol, split, target)

    def examples(domain: str, part: str, images: store.Images) -> Inputs:
        return _examples(images, (domain, part), inputs)

    parts = []
    for name, domain in task.sources:
        images = store.load(domain, "train", location, side)
        whole = _of_suite(suite, domain, Labelled(examples(domain, "train", images), images.labels))
        chosen = _draw_source(suite_name, name, domain, protocol, split, images)
        part = whole if chosen is None else _chosen(whole, chosen)
        parts.append(_hold_out(part, _groups(images, chosen), holdout, split, seed))
    labelled = _joined([part for part, _ in parts])
    held_out = _joined([held for _, held in parts if held is not None]) if holdout else None
    seen = _of_suite(suite, task.target_domain, Labelled(examples(task.target_domain, "train", target), target.labels))
    unlabelled = seen.images
    tests = _of_suite(suite, task.target_domain, Labelled(examples(task.target_domain, tested_part, test), test.labels))
    labelled_target = None if drawn.labelled_target is None else _chosen(seen, drawn.labelled_target)
    return Problem(
        source=labelled,
        target=Unlabelled(unlabelled),
        labelled_target=labelled_target,
        test=tests if drawn.tested is None else _chosen(tests, drawn.tested),
        tested=_tested(suite, drawn, len(seen.labels)),
        held_out=held_out,
        classes=len(suite.classes),
        digests=digests(suite_name, task, location, protocol=protocol, split=split, side=side),
        sizes=tuple(len(part.labels) for part, _ in parts) if task.further else (),
    )


def _of_suite(suite: Suite, domain: str, whole: Labelled) -> Labelled:
    """The examples of a domain in the suite's classes, with its numbering; all of them for a domain without labels."""
    own = registry.domain(domain).classes
    if not suite.name.startswith(folders.PREFIX) or own in ((), suite.classes):
        return whole
    number = np.array([suite.classes.index(name) if name in suite.classes else UNKNOWN for name in own])
    labels = number[whole.labels]
    kept = np.flatnonzero(labels != UNKNOWN)
    return Labelled(np.asarray(whole.images)[kept], labels[kept])


def _examples(images: store.Images, origin: tuple[str, str], inputs: Callable[[str, str], Inputs] | None) -> Inputs:
    """The pixels of a domain's part, or what replaces them."""
    if inputs is None:
        return images.images
    found = inputs(*origin)
    if len(found) != len(images.labels):
        raise DataError(f"{len(found)} examples stand for {len(images.labels)} images of {origin[0]}.")
    return found


def _one_side(
    suite: Suite,
    task: Task,
    location: Location,
    split: int,
    holdout: float,
    seed: int,
    side: int | None,
    inputs: Callable[[str, str], Inputs] | None,
) -> Problem:
    """The problem of protocol ``transfer``: the target side only, its classes renumbered from 0 in order."""
    if registry.domain(task.target_domain).classes != suite.classes:
        raise DataError(f"protocol transfer needs all classes of {task.target_domain} with labels: leave common ones.")
    of = halves.side(suite, task.target)
    classes = halves.classes(suite, of, split)
    images = store.load(task.target_domain, "train", location, side)
    # Opened again, so that the evaluator's images share nothing with the training images but the file on disk.
    tester = _tested_by(task)
    test = store.load(*tester, location, side)
    trained = tested = np.isin(images.labels, classes)
    if tester != (task.target_domain, "train"):
        tested = np.isin(test.labels, classes)
    else:
        stream = np.random.default_rng([_TEST_STREAM])
        fifth = _taken(images.labels, images.duplicates, halves.TESTED, stream)
        trained, tested = trained & ~fifth, trained & fifth
    chosen = np.flatnonzero(trained)
    if of is not None and of.images is not None:
        chosen = chosen[halves.few(images.labels[chosen], of.images, split)]

    def part(whole: store.Images, origin: tuple[str, str], indices: NDArray[np.int64]) -> Labelled:
        examples = _chosen(Labelled(_examples(whole, origin, inputs), whole.labels), indices)
        return Labelled(examples.images, np.searchsorted(classes, examples.labels).astype(np.int64))

    labelled, held_out = _hold_out(
        part(images, (task.target_domain, "train"), chosen), _groups(images, chosen), holdout, split, seed
    )
    return Problem(
        source=labelled,
        target=Unlabelled(labelled.images),
        labelled_target=None,
        test=part(test, tester, np.flatnonzero(tested)),
        tested=None,
        held_out=held_out,
        classes=len(classes),
        digests=digests(suite.name, task, location, protocol="transfer", split=split, side=side),
        alone=True,
    )


def _tested_by(task: Task) -> tuple[str, str]:
    """Domain and part whose images test a side; for a domain without a test part they come from the training images."""
    if task.test_domain:
        return task.test_domain, "train"
    parts = registry.domain(task.target_domain).parts
    return task.target_domain, "test" if "test" in parts else "train"


@dataclass(frozen=True)
class _Drawn:
    """What a protocol uses of the target, as indices; None: all of it, or for ``labelled_target`` nothing."""

    labelled_target: NDArray[np.int64] | None = None
    tested: NDArray[np.int64] | None = None


def _draw_source(
    suite: str, name: str, domain: str, protocol: str, split: int, source: store.Images
) -> NDArray[np.int64] | None:
    """What a protocol uses of a source, as indices; None: all of it."""
    own = None if protocol == "full" else splits.read(suite, split).source.get(name)
    return None if own is None else splits.indices(own, source, domain)


def _draw(suite: str, task: Task, protocol: str, split: int, target: store.Images) -> _Drawn:
    if protocol in ("full", "down-sampled"):
        return _Drawn()
    names = splits.read(suite, split).granted(protocol)[task.target]
    labelled_target = splits.indices(names, target, task.target_domain)
    if protocol == "supervised":
        # The twin of a labelled image is neither labelled nor tested.
        twins = [group for group in target.duplicates if np.isin(group, labelled_target).any()]
        tested = np.setdiff1d(np.arange(len(target.labels)), [*labelled_target, *itertools.chain(*twins)])
    else:
        tested = np.flatnonzero(~np.isin(target.labels, target.labels[labelled_target]))
    return _Drawn(labelled_target, tested)


def _tested(suite: Suite, drawn: _Drawn, count: int) -> NDArray[np.int64] | None:
    if not suite.transductive:
        return None
    return np.arange(count) if drawn.tested is None else drawn.tested


def digests(
    suite_name: str, task: Task, location: Location, *, protocol: str = "full", split: int = 0, side: int | None = None
) -> dict[str, str]:
    """Role (``source``, ``target``, ``test``) -> digest of the prepared part that the role comes from.

    The digests of several sources are joined by ``+``.  A protocol that draws images adds ``splits``, the digest of its
    split.

    Raises:
        DataError: unknown suite or split, or a domain is not prepared.
    """
    suite = registry.suite(suite_name)
    _check_sides(suite, task, protocol)
    tested = _tested_by(task) if protocol == "transfer" else (task.target_domain, _tested_part(suite))
    found = {
        "source": "+".join(store.digest(domain, "train", location, side) for _, domain in task.sources),
        "target": store.digest(task.target_domain, "train", location, side),
        "test": store.digest(*tested, location, side),
    }
    if protocol == "full":
        return found
    if protocol == "transfer":
        return {**found, "splits": halves.digest(suite, (task.source, task.target), split)}
    return {**found, "splits": splits.read(suite_name, split).digest_of(protocol)}


def _tested_part(suite: Suite) -> str:
    return "train" if suite.transductive else "test"


def _check_options(suite: str, task: Task, protocol: str, split: int, holdout: float, seed: int) -> None:
    if protocol not in PROTOCOLS:
        raise DataError(f"unknown protocol {protocol!r}: choose one of {', '.join(PROTOCOLS)}.")
    _check_sides(registry.suite(suite), task, protocol)
    if protocol == "transfer":
        halves.classes(registry.suite(suite), halves.side(registry.suite(suite), task.target), split)
    elif protocol != "full":
        splits.read(suite, split)
    elif split != 0:
        raise DataError(f"protocol {protocol} has the one split 0, not {split}.")
    if not 0.0 <= holdout < 1.0:
        raise DataError(f"a hold-out of {holdout} is impossible: choose a share from 0 up to, not including, 1.")
    if seed < 0:
        raise DataError(f"seed {seed} is negative: choose 0 or more.")


def _check_sides(suite: Suite, task: Task, protocol: str) -> None:
    """Checks that a task's sides fit its protocol."""
    if protocol == "transfer":
        if task.further:
            raise DataError(f"protocol transfer goes from one side to another: {task.label} has several sources.")
    elif _side(suite, task.target) is not None:
        raise DataError(f"{task.label} names halves of the classes, which the protocol {protocol} does not part.")


def _parted(suite: Suite, text: str) -> list[str]:
    """The task labels in a text, separated by spaces; names of domains may contain spaces themselves."""
    text = text.strip()
    if not text:
        return [text]
    ends = [found.start() for found in re.finditer(r"\s+|$", text)]

    def exists(label: str) -> bool:
        try:
            return bool(_names(suite, label))
        except DataError:
            return False

    best: dict[int, list[str]] = {0: []}
    for end in ends:
        for start in [start for start in best if start < end]:
            label = text[start:end].strip()
            if end not in best and label and exists(label):
                best[end] = [*best[start], label]
    return best.get(len(text), text.split())


def _names(suite: Suite, label: str) -> tuple[str, ...]:
    """Short names in a task label, the target's last; subsets may be named as such."""
    shorts = _short_names(suite)
    source, _, target = label.partition(":")
    # A folder's name may contain a plus, so a name that matches a whole domain is taken as one.
    names = (*((source,) if source in shorts else source.split("+")), target)
    known = set(names) <= shorts.keys()
    sides = [] if known else [halves.side(suite, name) for name in names]
    if len(sides) == 2 and all(sides) and halves.are_opposite(*sides):
        return names
    if not known or len({shorts[name] for name in names}) < len(names):
        valid = [f"{a}:{b}" for a in suite.domains for b in suite.domains if a != b]
        valid = valid or [f"{a}:{b}" for a, b in suite.tasks]
        raise DataError(f"unknown task {label!r} of {suite.name}: choose from {', '.join(valid)}.")
    if suite.name.startswith(folders.PREFIX):
        for name in names[:-1]:
            if not registry.domain(suite.domains[name]).classes:
                raise DataError(f"{name} of {suite.name} has no labels, so it can be a target and no source.")
    return names


def _short_names(suite: Suite) -> dict[str, str]:
    """Name in a task label -> short name of the suite that it stands for."""
    shorts = {short: short for short in suite.domains}
    for short, name in suite.domains.items():
        if subset := registry.domain(name).subset:
            shorts[subset] = short
    return shorts


def _side(suite: Suite, name: str) -> halves.Side | None:
    """The side of the classes that a name in a task label stands for; None for a domain."""
    return None if name in _short_names(suite) else halves.side(suite, name)


def _task(suite: Suite, names: Sequence[str], location: Location) -> Task:
    (source, source_domain), *further, (target, target_domain) = (_place(suite, name, location) for name in names)
    side = _side(suite, names[-1])
    tested = suite.domains[suite.tested[side.domain]] if side is not None and side.domain in suite.tested else ""
    return Task(source, target, source_domain, target_domain, tuple(further), tested)


def _place(suite: Suite, name: str, location: Location) -> tuple[str, str]:
    """Name in the task's label, and domain, of one side of a task."""
    if (side := _side(suite, name)) is not None:
        return name, suite.domains[side.domain]
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
    """Say once per process that a subset is used instead."""
    print(f"note: {name} is available only as a subset; results on it are named {subset}.", file=sys.stderr)


def _groups(images: store.Images, chosen: NDArray[np.int64] | None) -> list[list[int]]:
    """Groups of identical images, as positions among the chosen ones."""
    if chosen is None:
        return [list(group) for group in images.duplicates]
    place = {index: number for number, index in enumerate(chosen.tolist())}
    return [[place[index] for index in group if index in place] for group in images.duplicates]


def _hold_out(
    source: Labelled, groups: Sequence[Sequence[int]], share: float, split: int, seed: int
) -> tuple[Labelled, Labelled | None]:
    """Split a source class by class; every class keeps at least one image on each side.

    Identical images stay together: the whole group is held out with one of them, or none of it if that would leave
    nothing of a class.
    """
    if share == 0.0:
        return source, None
    taken = _taken(source.labels, groups, share, np.random.default_rng([_HOLDOUT_STREAM, seed, split]))
    if not taken.any():
        raise DataError("no class of the source has two different images, so none can be held out: add images.")
    return _chosen(source, np.flatnonzero(~taken)), _chosen(source, np.flatnonzero(taken))


def _taken(
    labels: NDArray[np.int64], groups: Sequence[Sequence[int]], share: float, stream: np.random.Generator
) -> NDArray[np.bool_]:
    """A share of each class, as in ``_hold_out``."""
    taken = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(max(1, round(share * len(members))), len(members) - 1)
        taken[stream.permutation(members)[:count]] = True
    for group in map(list, groups):
        if taken[group].any():
            taken[group] = True
            if any(taken[labels == label].all() for label in np.unique(labels[group])):
                taken[group] = False
    return taken


def _joined(parts: Sequence[Labelled]) -> Labelled:
    """The examples of several sources, one source after another; grey images become RGB if others are RGB."""
    if len(parts) == 1:
        return parts[0]
    shape = np.broadcast_shapes(*(part.images.shape[1:] for part in parts))
    images = [np.broadcast_to(part.images, (len(part.labels), *shape)) for part in parts]
    return Labelled(np.concatenate(images), np.concatenate([part.labels for part in parts]))


def _chosen(data: Labelled, indices: NDArray[np.int64]) -> Labelled:
    # Plain arrays, not views of the memory map: only here, and where sources are joined, are examples copied.
    return Labelled(np.asarray(data.images)[indices], data.labels[indices])
