"""The splits of the protocols that draw images: committed, so that they are the same on every machine at any time.

A protocol draws, per split, labelled source images of each class, and target images whose labels it grants.  What is
drawn in a domain depends only on split and domain.  The label of an image with an identical twin is never granted, so
no pair of twins is divided between known and tested labels.

Two protocols grant labels of only some of the classes.  What was read of Tzeng et al. (2015) does not say which ones
they used.  That they are the alphabetically first is inferred: its example of a class without labels, *monitor*, is the
sixteenth of 31, and the source's accuracy falls from its Table 1 to its Table 2 about as much as here with the first
15, whereas with classes drawn at random it rises.

``python -m datasets.splits SUITE [--data DIR] [--mirror M]`` redraws them, for maintainers; it needs the data.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets import registry, store
from datasets.errors import DataError
from datasets.store import Images, Location

FOLDER = Path(__file__).parent / "splits"
_STREAM = 0x5B117
"""Separates the drawing from every other stream."""

Names = Mapping[str, Mapping[str, tuple[str, ...]]]
"""Domain as named in tasks -> class -> names of images."""


@dataclass(frozen=True)
class Sampling:
    """How many images a protocol draws."""

    source: Mapping[str, int]
    """Domain as named in tasks -> labelled images per class if it is the source; all of them if it is not listed."""
    labelled: int = 3
    """Labelled target images per class, protocol ``supervised``."""
    semi_labelled: int = 10
    """Labelled target images per labelled class, protocols ``semi-supervised`` and ``semi-supervised-random``."""
    semi_classes: int = 15
    """Number of labelled classes; the others are tested."""
    splits: int = 5


_OFFICE = {"amazon": 20, "dslr": 8, "webcam": 8, "caltech": 8}
SAMPLING: Mapping[str, Sampling] = {
    "office31": Sampling({name: _OFFICE[name] for name in ("amazon", "dslr", "webcam")}),
    "office-caltech10": Sampling(_OFFICE, semi_classes=5),
    "office-caltech10-surf": Sampling(_OFFICE, semi_classes=5),
    "digits-mini": Sampling({}, semi_classes=5),
}
"""Suite -> what is drawn.  20 of Amazon and 8 of the other domains, 3 labels: Saenko et al. (2010), as DDC and DAN use
them; 10 labels of 15 classes: Tzeng et al. (2015)."""


PARTS = ("source", "labelled", "semi", "first")
RULES: Mapping[str, str] = {
    "source": "labelled source images of every class, drawn by chance for each split",
    "labelled": "granted target images of every class, drawn by chance for each split; protocol supervised",
    "semi": "granted target images of classes drawn by chance, for each split and domain; protocol "
    "semi-supervised-random",
    "first": "granted target images of the alphabetically first classes; protocol semi-supervised",
}
"""Part of a split -> how it is drawn; the files state it."""


@dataclass(frozen=True)
class Split:
    """One split of a suite, over all its domains."""

    number: int
    source: Names
    """Drawn source images; a domain that is used whole is left out."""
    labelled: Names
    semi: Names
    """Its classes are the labelled ones, drawn at random; they differ from domain to domain."""
    first: Names
    """Likewise, with the alphabetically first classes."""

    def granted(self, protocol: str) -> Names:
        """Target images whose labels a protocol grants, for each domain as the target."""
        return {"supervised": self.labelled, "semi-supervised": self.first, "semi-supervised-random": self.semi}[
            protocol
        ]

    def digest_of(self, protocol: str) -> str:
        """SHA-256 of what a protocol draws."""
        return self.digest if protocol != "semi-supervised" else self.digest_of_first

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of all but the first classes, which came later and leave the identity of older cells unchanged."""
        return self._digest("number", "source", "labelled", "semi")

    @functools.cached_property
    def digest_of_first(self) -> str:
        """SHA-256 of what protocol ``semi-supervised`` draws."""
        return self._digest("number", "source", "first")

    def _digest(self, *parts: str) -> str:
        content = {name: getattr(self, name) for name in parts}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read(suite: str, number: int) -> Split:
    """A committed split.

    Raises:
        DataError: the suite has none, there is no such split, or the file is damaged.
    """
    _sampling(suite)
    splits = _file(suite)
    if number not in range(len(splits)):
        raise DataError(f"{suite} has the splits 0 to {len(splits) - 1}, not {number}.")
    return splits[number]


def _sampling(suite: str) -> Sampling:
    if suite not in SAMPLING:
        raise DataError(f"{suite} has no splits: its one protocol is full; splits exist for {', '.join(SAMPLING)}.")
    return SAMPLING[suite]


@functools.cache
def _file(suite: str) -> tuple[Split, ...]:
    path = FOLDER / f"{suite}.json"
    try:
        content = json.loads(path.read_text())
        splits = tuple(_split(entry) for entry in content["splits"])
        kept = [(entry["digest"], entry["digest_of_first"]) for entry in content["splits"]]
        intact = kept == [(split.digest, split.digest_of_first) for split in splits]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        intact = False
    if not intact:
        raise DataError(f"the file of splits {path} is missing or damaged: restore it from the repository.")
    return splits


def _split(entry: Mapping[str, Any]) -> Split:
    def names(part: Mapping[str, Mapping[str, Sequence[str]]]) -> Names:
        return {domain: {name: tuple(some) for name, some in classes.items()} for domain, classes in part.items()}

    return Split(entry["split"], *(names(entry[part]) for part in PARTS))


def indices(names: Mapping[str, Sequence[str]], images: Images, domain: str) -> NDArray[np.int64]:
    """The positions of drawn images in their domain, sorted, int64.

    Raises:
        DataError: an image is not there.
    """
    place = {name: index for index, name in enumerate(images.names)}
    try:
        return np.array(sorted(place[name] for some in names.values() for name in some), dtype=np.int64)
    except KeyError as error:
        raise DataError(f"{error.args[0]} of the committed splits is not in {domain}: prepare it again.") from None


def draw(suite_name: str, location: Location) -> list[Split]:
    """All splits of a suite, from its prepared data.

    Raises:
        DataError: unknown suite, it has no splits, or a domain is not prepared.
    """
    suite, sampling = registry.suite(suite_name), _sampling(suite_name)
    loaded = {short: store.load(name, "train", location) for short, name in suite.domains.items()}
    splits = []
    for number in range(sampling.splits):
        source, labelled, semi, first = {}, {}, {}, {}
        known_first = sorted(suite.classes)[: sampling.semi_classes]
        for short, images in loaded.items():
            per_class = sampling.source.get(short)
            if per_class is not None:
                source[short] = _drawn(images, suite.classes, per_class, _stream(short, number, "source"))
            streams = _stream(short, number, "labelled"), _stream(short, number, "semi")
            labelled[short] = _drawn(images, suite.classes, sampling.labelled, streams[0], apart=True, leave=1)
            some = streams[1].permutation(len(suite.classes))[: sampling.semi_classes]
            known = [suite.classes[index] for index in sorted(some)]
            drawn = _drawn(images, suite.classes, sampling.semi_labelled, streams[1], apart=True)
            semi[short] = {name: drawn[name] for name in known}
            stream = _stream(short, number, "first")
            drawn = _drawn(images, suite.classes, sampling.semi_labelled, stream, apart=True)
            first[short] = {name: drawn[name] for name in suite.classes if name in known_first}
        splits.append(Split(number, source, labelled, semi, first))
    return splits


def _stream(domain: str, number: int, role: str) -> np.random.Generator:
    name = int.from_bytes(hashlib.sha256(f"{domain} {role}".encode()).digest()[:8], "big")
    return np.random.default_rng([_STREAM, number, name])


def _drawn(
    images: Images,
    classes: Sequence[str],
    count: int,
    stream: np.random.Generator,
    *,
    apart: bool = False,
    leave: int = 0,
) -> dict[str, tuple[str, ...]]:
    """Names of ``count`` images of each class, or of all if there are fewer.

    Args:
        apart: leave out images with twins.
        leave: images of a class not to be drawn.
    """
    twins = {index for group in images.duplicates for index in group} if apart else set()
    names = images.names
    drawn = {}
    for label, name in enumerate(classes):
        members = np.flatnonzero(images.labels == label)
        most = min(count, len(members) - leave)
        single = [index for index in stream.permutation(members) if index not in twins]
        drawn[name] = tuple(sorted(names[index] for index in single[:most]))
    return drawn


def write(suite: str, location: Location) -> Path:
    """Draw the splits of a suite and write their file: one line per class, so that changes are readable.

    Raises:
        DataError: as ``draw``.
    """
    path = FOLDER / f"{suite}.json"
    FOLDER.mkdir(exist_ok=True)
    entries = [
        {"split": s.number, "digest": s.digest, "digest_of_first": s.digest_of_first, **_parts(s)}
        for s in draw(suite, location)
    ]
    head = {"suite": suite, "sampling": asdict(SAMPLING[suite]), "rules": dict(RULES)}
    text = json.dumps({**head, "splits": entries}, indent=1)
    path.write_text(_one_line_per_class(text) + "\n")
    return path


def _parts(split: Split) -> dict[str, Names]:
    return {part: getattr(split, part) for part in PARTS}


def _one_line_per_class(text: str) -> str:
    """Puts lists of names on one line each."""
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        lines[-1:] = [lines[-1] + line.strip()] if inside else [*lines[-1:], line]
        inside = (inside or line.endswith(": [")) and not line.strip().startswith("]") and '"splits"' not in line
    return "\n".join(line.replace('","', '", "') for line in lines)


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m datasets.splits", description="Draw the splits of a data set.")
    parser.add_argument("suite", choices=list(SAMPLING))
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--mirror")
    options = parser.parse_args(arguments)
    try:
        print(write(options.suite, Location(options.data, options.mirror)))
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
