"""A user's own images as a data set: ``folder:PATH``, a folder of domains or a list of image files.

    PATH/DOMAIN/CLASS/image     labelled; sub-folders of a class belong to it
    PATH/DOMAIN/image           unlabelled: can only be a target (``scan`` says what else counts as unlabelled)
    PATH/list.csv               the columns path, label and domain

All labelled domains need the same classes, unless ``#common`` at the end of the name keeps only those they share.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from datasets import scan
from datasets.domains import Domain, Suite
from datasets.errors import DataError
from datasets.names import COMMON, PREFIX, canonical, counted, path_of, printable
from datasets.photos import Photos
from datasets.scan import Found, unreadable

__all__ = ["PREFIX", "domain", "photos", "slug", "state", "suite", "summary"]

NATURAL = "natural.txt"
"""File beside the domains that lists the classes of natural things, to separate them from man-made ones."""
NAMED = 50
"""How many names a message lists before it only counts."""


def suite(name: str) -> Suite:
    """The suite ``folder:PATH``: its sub-folders are domains; the tasks go from each labelled one to every other.

    Raises:
        DataError: the folder is missing, has fewer than two domains or none with labels, their classes differ, or a
            name has a colon.
    """
    return _suite(canonical(name))


@functools.cache
def _suite(name: str) -> Suite:
    root, common = _root(name)
    found = scan.domains(root)
    if odd := [short for short in found if ":" in short]:
        raise DataError(f"{root / odd[0]} has a colon in its name, which tasks cannot spell: rename it.")
    if len(found) < 2:
        listed = ", ".join(found) or "none"
        raise DataError(f"{root} has {len(found)} ({listed}) of the two domains with images that are needed.")
    labelled = [short for short, one in found.items() if one.labelled]
    if not labelled:
        raise DataError(f"{root} has no domain with one folder per class, which a source needs: DOMAIN/CLASS/image.")
    classes = _classes(root, {short: found[short].classes for short in labelled}, common)
    return Suite(
        name=name,
        title=root.name,
        description=f"The images below {printable(str(root))}.",
        domains={short: f"{PREFIX}{printable(str(root))}/{short}" for short in found},
        tasks=tuple((a, b) for a in labelled for b in found if a != b),
        transductive=True,
        classes=classes,
        natural=_natural(root, classes),
        tested={"train": "val"} if set(found) == {"train", "val"} else {},
    )


def _root(name: str) -> tuple[Path, bool]:
    """The folder or list of a canonical name, and whether only common classes are wanted."""
    text = name.removeprefix(PREFIX)
    if not text:
        raise DataError(f"{PREFIX} names no folder: write {PREFIX}PATH, with the layout DOMAIN/CLASS/image.")
    common = text.endswith(COMMON) and not path_of(text).exists()
    root = path_of(text.removesuffix(COMMON) if common else text)
    if not root.is_dir() and not (root.is_file() and root.suffix.lower() == ".csv"):
        raise DataError(
            f"{printable(str(root))} is not a folder: name one with the layout DOMAIN/CLASS/image, or a list that ends "
            "with .csv."
        )
    return root, common


def _classes(root: Path, of: dict[str, tuple[str, ...]], common: bool) -> tuple[str, ...]:
    """The classes of the labelled domains.

    Raises:
        DataError: they differ and common ones are not asked for, or fewer than two are common.
    """
    first, *others = of
    for other in others:
        _check_case(root, first, of[first], other, of[other])
    shared = tuple(one for one in of[first] if all(one in of[other] for other in others))
    if common:
        if len(shared) < 2:
            raise DataError(
                f"the labelled domains of {root} have {len(shared)} of the two common classes that are needed."
            )
        return shared
    for other in others:
        for here, there in ((first, other), (other, first)):
            if missing := [one for one in of[here] if one not in of[there]]:
                raise DataError(
                    f"the domains of {root} have different classes: {', '.join(missing[:5])} is in {here} and not in "
                    f"{there}; all domains need the same ones, or CLASSES=common takes those that all have."
                )
    return of[first]


def _check_case(root: Path, one: str, ours: tuple[str, ...], other: str, theirs: tuple[str, ...]) -> None:
    folded = {name.casefold(): name for name in ours}
    for name in theirs:
        same = folded.get(name.casefold(), name)
        if same != name and name not in ours:
            raise DataError(
                f"the classes {same} of {one} and {name} of {other}, domains of {root}, differ in case only: "
                "rename one."
            )


def _natural(root: Path, classes: tuple[str, ...]) -> tuple[str, ...]:
    """The classes listed in ``natural.txt``, one per line; none without such a file.

    Raises:
        DataError: it cannot be read, or lists something that is not a class.
    """
    path = root / NATURAL
    if not path.is_file():
        return ()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}): fix or remove it.") from error
    listed = [line.strip() for line in text.splitlines() if line.strip()]
    if odd := [name for name in listed if name not in classes]:
        raise DataError(f"{path} lists {odd[0]}, which is not a class of {root}: fix or remove it.")
    return tuple(name for name in classes if name in set(listed))


def _found(name: str) -> tuple[Path, str, Found]:
    """Root, short name and images of the domain ``folder:PATH/DOMAIN``."""
    path = path_of(name.removeprefix(PREFIX))
    root, short = path.parent, printable(path.name)
    if root.is_dir() or root.is_file():
        for known, found in scan.domains(root).items():
            if known == short:
                return root, short, found
    raise DataError(f"{path} has no folders of classes and no images: name one with the layout DOMAIN/CLASS/image.")


@functools.cache
def domain(name: str) -> Domain:
    """The domain ``folder:PATH/DOMAIN``.

    Raises:
        DataError: there is no such folder, or it holds no image.
    """
    root, short, found = _found(name)
    return Domain(
        name=name,
        title=short,
        description=f"The images below {printable(str(root / short))}.",
        routes=(),
        parts=("train",),
        kind="photos",
        channels=3,
        classes=found.classes,
        folder=root / short,
    )


def photos(of: Domain) -> dict[str, Photos]:
    """The images of a domain, not yet decoded.

    Raises:
        DataError: a class has no image, or its folder cannot be read.
    """
    _, _, found = _found(of.name)
    counts = Counter(found.labels)
    for label, name in enumerate(found.classes):
        if not counts[label]:
            raise DataError(f"{of.folder}/{name} holds no image: every class of every domain needs some.")
    return {
        "train": Photos(
            found.names,
            np.array(found.labels, np.int64),
            lambda index: scan.content(found.images[index]),
            together=True,
        )
    }


@functools.cache
def state(name: str) -> str:
    """Tells whether a domain's images have changed: a digest of names, sizes and times, as this process saw them.

    Raises:
        DataError: one of them cannot be read.
    """
    digest = hashlib.sha256()
    _, _, found = _found(name)
    for called, image in zip(found.names, found.images, strict=True):
        try:
            status = image.stat()
        except OSError as error:
            raise unreadable(image, error) from error
        digest.update(f"{called}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:32]


def slug(of: Domain) -> str:
    """A name for the prepared copy, different for different folders."""
    return f"folder-{plain(of.title)}-{mark(of.name)}"


def mark(name: str) -> str:
    """Eight characters that differ for different names."""
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def plain(name: str) -> str:
    """A name that every file system accepts; two names may map to the same one."""
    return re.sub(r"[^\w.-]", "_", name, flags=re.ASCII)[:40]


def forget() -> None:
    """Look at all folders again; otherwise a process looks at each only once."""
    for known in (_suite, domain, state, scan.domains):
        known.cache_clear()


def summary(name: str) -> list[str]:
    """What is used of a folder and what is left out, as lines for the user.

    Raises:
        DataError: as ``suite``.
    """
    own = suite(name)
    root, _ = _root(own.name)
    lines = []
    for short, found in scan.domains(root).items():
        counts = Counter(found.labels)
        if found.labelled:
            used = {one: counts[label] for label, one in enumerate(found.classes) if one in own.classes}
            listed = ", ".join(f"{one} {count}" for one, count in list(used.items())[:NAMED])
            more = f" and {len(used) - NAMED} more classes" if len(used) > NAMED else ""
            lines.append(f"{short}: {_numbers(used)} ({listed}{more})")
            others = {one: counts[label] for label, one in enumerate(found.classes) if one not in own.classes}
            if others:
                lines.append(
                    f"  left out: {_numbers(others)} that not all domains share ({', '.join(list(others)[:NAMED])})"
                )
        else:
            lines.append(f"{short}: {counted(len(found.images), 'image')} without labels")
        if found.left_out:
            kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(found.left_out.items()))
            files = counted(sum(found.left_out.values()), "file that is not an image", "files that are not images")
            lines.append(f"  left out: {files} ({kinds})")
    return lines


def _numbers(classes: Mapping[str, int]) -> str:
    """``24 images of 3 classes``, from the number of images per class."""
    return f"{counted(sum(classes.values()), 'image')} of {counted(len(classes), 'class', 'classes')}"
