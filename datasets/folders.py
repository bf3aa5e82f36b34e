"""A user's own images: any folder with the layout ``DOMAIN/CLASS/image``, or ``DOMAIN/images/CLASS/image``."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import numpy as np

from datasets.domains import Domain, Suite
from datasets.errors import DataError
from datasets.photos import Photos

PREFIX = "folder:"

NATURAL = "natural.txt"
"""File beside the domains that lists the classes of natural things, where they are to be parted from man-made ones."""

SUFFIXES = frozenset(".jpg .jpeg .png .bmp .gif .webp .tif .tiff .ppm .pgm".split())
"""Files that are images; files with other endings are not looked at."""


@functools.cache
def suite(name: str) -> Suite:
    """The suite ``folder:PATH``: its sub-folders are domains, all ordered pairs of them the tasks.

    Raises:
        DataError: the folder is missing, has fewer than two domains, their classes differ, or a name has a colon.
    """
    root = Path(name.removeprefix(PREFIX)).expanduser()
    if not root.is_dir():
        raise DataError(f"{root} is no folder: name one with the layout DOMAIN/CLASS/image.")
    domains = {path.name: _classes(path) for path in _subfolders(root)}
    domains = {short: classes for short, classes in domains.items() if classes}
    if odd := [short for short in domains if ":" in short]:
        raise DataError(f"{root / odd[0]} has a colon in its name, which tasks cannot spell: rename it.")
    if len(domains) < 2:
        found = ", ".join(domains) or "none"
        raise DataError(f"{root} has {len(domains)} domains ({found}) with folders of classes where two are needed.")
    first, *others = domains
    for other in others:
        _require_same(root, first, domains[first], other, domains[other])
    return Suite(
        name=name,
        title=root.name,
        description=f"The images below {root}.",
        domains={short: f"{PREFIX}{(root / short).absolute()}" for short in domains},
        tasks=tuple((a, b) for a in domains for b in domains if a != b),
        transductive=True,
        classes=domains[first],
        natural=_natural(root, domains[first]),
        tested={"train": "val"} if set(domains) == {"train", "val"} else {},
    )


def _natural(root: Path, classes: tuple[str, ...]) -> tuple[str, ...]:
    """The classes listed in ``natural.txt``, one a line; none without such a file.

    Raises:
        DataError: it cannot be read, or lists what is no class.
    """
    path = root / NATURAL
    if not path.is_file():
        return ()
    try:
        listed = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}): mend or remove it.") from error
    if odd := [name for name in listed if name not in classes]:
        raise DataError(f"{path} lists {odd[0]}, which is no class of {root}: mend or remove it.")
    return tuple(name for name in classes if name in set(listed))


def _require_same(root: Path, one: str, ours: tuple[str, ...], other: str, theirs: tuple[str, ...]) -> None:
    for here, there, classes, lacking in ((one, other, ours, theirs), (other, one, theirs, ours)):
        if missing := [name for name in classes if name not in lacking]:
            raise DataError(
                f"the domains of {root} have different classes: {', '.join(missing[:5])} is in {here} and not in "
                f"{there}; all domains need the same ones."
            )


@functools.cache
def domain(name: str) -> Domain:
    """The domain ``folder:PATH/DOMAIN``.

    Raises:
        DataError: there is no such folder, or it has no folders of classes.
    """
    path = Path(name.removeprefix(PREFIX))
    classes = _classes(path) if path.is_dir() else ()
    if not classes:
        raise DataError(f"{path} has no folders of classes: name one with the layout DOMAIN/CLASS/image.")
    return Domain(
        name=name,
        title=path.name,
        description=f"The images below {path}.",
        routes=(),
        parts=("train",),
        kind="photos",
        channels=3,
        classes=classes,
        folder=path,
    )


def photos(of: Domain) -> dict[str, Photos]:
    """The images of a domain, not yet decoded.

    Raises:
        DataError: a class has no image, or its folder cannot be read.
    """
    assert of.folder is not None
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(of.classes):
        images = _images(_class_root(of.folder) / name)
        if not images:
            raise DataError(f"{_class_root(of.folder) / name} holds no image: every class of every domain needs some.")
        paths += images
        labels += [label] * len(images)
    names = tuple(f"{of.folder.name}/{path.parent.name}/{path.name}" for path in paths)
    return {"train": Photos(names, np.array(labels, dtype=np.int64), lambda index: _content(paths[index]))}


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path} cannot be read ({error.strerror}): mend or remove it.")


@functools.cache
def state(path: Path) -> str:
    """What tells whether a domain's images changed: a digest of names, sizes and times, as this process saw them.

    Raises:
        DataError: one of them cannot be looked at.
    """
    digest = hashlib.sha256()
    for folder in _subfolders(_class_root(path)):
        for image in _images(folder):
            try:
                status = image.stat()
            except OSError as error:
                raise _unreadable(image, error) from error
            digest.update(f"{folder.name}/{image.name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:32]


def slug(of: Domain) -> str:
    """A name for the prepared copy, different for different folders."""
    assert of.folder is not None
    return f"folder-{of.folder.name}-{hashlib.sha256(str(of.folder).encode()).hexdigest()[:8]}"


def _class_root(path: Path) -> Path:
    """``DOMAIN/images`` if that is all there is, as in Office-31's archive; else ``DOMAIN``."""
    inner = _subfolders(path)
    return inner[0] if [folder.name for folder in inner] == ["images"] else path


def _classes(path: Path) -> tuple[str, ...]:
    return tuple(folder.name for folder in _subfolders(_class_root(path)))


def _subfolders(path: Path) -> list[Path]:
    try:
        return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): name another folder.") from error


def _images(path: Path) -> list[Path]:
    try:
        entries = list(path.iterdir())
    except OSError as error:
        raise _unreadable(path, error) from error
    return sorted(entry for entry in entries if entry.suffix.lower() in SUFFIXES and not entry.name.startswith("."))
