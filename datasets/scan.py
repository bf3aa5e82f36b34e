"""Contents of a folder of images, or of a list of image files: domains, classes, and what was left out.

A domain is *labelled* if its images are in one folder per class, and *unlabelled* if there are no such folders: all
images directly in the domain's folder, directly and in folders below, or below one folder named ``unlabelled``.
Anything ambiguous is an error; labels are never guessed.
"""

from __future__ import annotations

import csv
import functools
import io
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from datasets.errors import DataError
from datasets.names import counted, printable

SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .apng .bmp .dib .gif .webp .avif .tif .tiff .jp2 .j2k .tga .ppm .pgm .pbm .pnm".split()
)
"""Endings of image files that are decoded; a file without an ending is examined."""

NOT_DATA = frozenset(
    ("__MACOSX", "@eaDir", "#recycle", "lost+found", "$RECYCLE.BIN", "System Volume Information", "Thumbs.db")
)
"""What operating systems and archivers leave beside images; ignored, as is anything that begins with a dot."""

UNLABELLED = "unlabelled"
"""Name of a domain's only folder if its images, at any depth, have no labels."""

COLUMNS = ("path", "label", "domain")
"""Columns of a list of image files; paths are relative to the list's folder, and unlabelled images leave it empty."""


@dataclass(frozen=True)
class Found:
    """The image files of one domain."""

    images: tuple[Path, ...]
    """Class by class, sorted."""
    labels: tuple[int, ...]
    """Class index of each image; -1 throughout if there are no labels."""
    classes: tuple[str, ...]
    """Sorted; empty if there are no labels."""
    names: tuple[str, ...]
    """Name of each image: ``DOMAIN/CLASS/FILE``, printable."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Kind of file left out -> how many."""

    @property
    def labelled(self) -> bool:
        """Whether the images have labels."""
        return bool(self.classes)


@functools.cache
def domains(root: Path) -> dict[str, Found]:
    """Name -> images, for the sub-folders of a folder or the domains of a list ending in ``.csv``.

    Raises:
        DataError: it cannot be read, or a domain's labels are ambiguous.
    """
    return _listed(root) if root.suffix.lower() == ".csv" and root.is_file() else _foldered(root)


@dataclass
class _Folder:
    """A domain's folder as found on disk."""

    path: Path
    direct: list[Path] = field(default_factory=list)
    """Images in the folder itself."""
    classes: dict[str, list[Path]] = field(default_factory=dict)
    """Name of a folder in it, composed -> the images below it."""
    roots: dict[str, Path] = field(default_factory=dict)
    """The same name -> that folder."""
    left_out: Counter[str] = field(default_factory=Counter)
    shallow: bool = False
    """Whether a folder in it holds images directly, not only in folders below."""


def _foldered(root: Path) -> dict[str, Found]:
    looked = {printable(path.name): _look(path) for path in subfolders(root)}
    filled = {name: folder for name, folder in looked.items() if folder.direct or any(folder.classes.values())}
    candidates = {n: f for n, f in filled.items() if not f.direct and set(f.classes) != {UNLABELLED}}
    without = _without_labels(root, candidates)
    known = {one for name, folder in candidates.items() if name not in without for one in folder.classes}
    found = {}
    for name, folder in filled.items():
        if name in candidates and name not in without:
            found[name] = _labelled(name, folder)
            continue
        if folder.direct and (odd := sorted(known & set(folder.classes))):
            raise DataError(
                f"{folder.path} holds the class {odd[0]} and {counted(len(folder.direct), 'image')} in no class "
                f"({printable(folder.direct[0].name)}): move these into their classes or away."
            )
        found[name] = _unlabelled(name, folder)
    return found


def _without_labels(root: Path, candidates: Mapping[str, _Folder]) -> set[str]:
    """The domains whose folders are not classes: they share no name with the others, and are deeper or alone.

    Raises:
        DataError: two domains have no class in common, and either may be the one with classes.
    """
    shared = Counter(one for folder in candidates.values() for one in folder.classes)
    alone = {name for name, folder in candidates.items() if all(shared[one] == 1 for one in folder.classes)}
    if len(candidates) == 1 or not alone:
        return set()
    if len(alone) < len(candidates):
        return alone
    deep = {name for name in alone if not candidates[name].shallow}
    if deep and len(deep) < len(alone):
        return deep
    first, second = list(candidates)[:2]
    raise DataError(
        f"the domains {first} and {second} of {root} have no class in common ({_some(candidates[first].classes)}; "
        f"{_some(candidates[second].classes)}): rename classes, or put the images of a domain without labels below one "
        f"folder named {UNLABELLED}."
    )


def _some(names: Iterable[str]) -> str:
    named = list(names)
    return ", ".join(named[:3]) + (" ..." if len(named) > 3 else "")


def _look(path: Path) -> _Folder:
    folder = _Folder(path)
    _images(path, folder.direct, folder.left_out, deeper=False)
    inner = subfolders(path)
    if not folder.direct and [one.name for one in inner] == ["images"]:  # as in Office-31's archive
        path = inner[0]
        _images(path, folder.direct, folder.left_out, deeper=False)
        inner = subfolders(path)
    for one in inner:
        name = unicodedata.normalize("NFC", printable(one.name))
        if name in folder.classes:
            raise DataError(f"{path} has two folders named {name}, in two spellings of its accents: make them one.")
        images: list[Path] = []
        _images(one, images, folder.left_out, deeper=True)
        folder.shallow |= any(image.parent == one for image in images)
        folder.classes[name], folder.roots[name] = images, one
    return folder


def _labelled(name: str, folder: _Folder) -> Found:
    classes = tuple(sorted(folder.classes))
    _check_case(classes, folder.path)
    images = [(path, label) for label, one in enumerate(classes) for path in sorted(folder.classes[one])]
    names = [
        f"{name}/{one}/{printable(str(path.relative_to(folder.roots[one])))}"
        for path, one in ((path, classes[label]) for path, label in images)
    ]
    paths, labels = tuple(path for path, _ in images), tuple(label for _, label in images)
    return Found(paths, labels, classes, tuple(names), dict(folder.left_out))


def _unlabelled(name: str, folder: _Folder) -> Found:
    images = tuple(sorted([*folder.direct, *(path for one in folder.classes.values() for path in one)]))
    names = tuple(f"{name}/{printable(str(path.relative_to(folder.path)))}" for path in images)
    return Found(images, (-1,) * len(images), (), names, dict(folder.left_out))


def _check_case(classes: Iterable[str], where: Path) -> None:
    seen: dict[str, str] = {}
    for name in classes:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            raise DataError(f"the classes {other} and {name} of {where} differ in case only: make them one.")


def _images(path: Path, images: list[Path], left_out: Counter[str], *, deeper: bool) -> None:
    """Adds the images of a folder, and counts the other files in it.

    Args:
        deeper: whether to look into folders below.
    """
    for entry in sorted(_entries(path), key=lambda entry: entry.name):
        if entry.name.startswith(".") or entry.name in NOT_DATA:
            continue
        place = Path(entry.path)
        if _is_image(place):
            images.append(place)
        elif _is_folder(entry):
            if deeper:
                _check_link(entry, path)
                _images(place, images, left_out, deeper=True)
        else:
            left_out[place.suffix.lower() or "no ending"] += 1


def below(path: Path) -> list[Path]:
    """All images in a folder and below it.

    Raises:
        DataError: it cannot be read.
    """
    images: list[Path] = []
    _images(path, images, Counter(), deeper=True)
    return images


def content(path: Path) -> bytes:
    """The bytes of an image file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error


def _is_image(path: Path) -> bool:
    """By the ending; for a file without one, by its first bytes."""
    if path.suffix:
        return path.suffix.lower() in SUFFIXES
    if not path.is_file():
        return False
    try:
        with Image.open(path):
            return True
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def subfolders(path: Path) -> list[Path]:
    """The folders in a folder, sorted, without ``NOT_DATA``.

    Raises:
        DataError: it cannot be read.
    """
    kept = [one for one in _entries(path) if not one.name.startswith(".") and one.name not in NOT_DATA]
    return sorted(Path(one.path) for one in kept if _is_folder(one) and Path(one.path).suffix.lower() not in SUFFIXES)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:  # a link to itself
        raise unreadable(Path(entry.path), error) from error


def _check_link(entry: os.DirEntry[str], path: Path) -> None:
    """Checks that an entry of a folder does not lead back to it."""
    if entry.is_symlink() and Path(entry.path).resolve() in ((here := path.resolve()), *here.parents):
        raise DataError(f"{printable(entry.path)} is a link to a folder that it is in: remove it.")


def _entries(path: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> DataError:
    """The error for a user's file or folder that cannot be read."""
    return DataError(f"{printable(str(path))} cannot be read ({error.strerror or error}): fix or remove it.")


def _listed(path: Path) -> dict[str, Found]:
    rows: dict[str, list[tuple[str, str, Path]]] = {}
    for place, label, domain in _rows(path):
        composed = unicodedata.normalize("NFC", printable(label))
        rows.setdefault(printable(domain), []).append((composed, place, path.parent / place))
    found = {}
    for name, its in rows.items():
        if "/" in name:
            raise DataError(f"{path} names a domain {name}, with a slash: rename it.")
        bare = [place for label, place, _ in its if not label]
        if bare and len(bare) < len(its):
            raise DataError(f"{path} labels some images of {name} and not {bare[0]}: label all of a domain or none.")
        its.sort()
        if len({image for _, _, image in its}) < len(its):
            raise DataError(f"{path} lists an image of {name} twice: keep one line of it.")
        classes = tuple(dict.fromkeys(label for label, _, _ in its if label))
        _check_case(classes, path)
        labels = tuple(classes.index(label) if label else -1 for label, _, _ in its)
        images = tuple(image for _, _, image in its)
        found[name] = Found(images, labels, classes, tuple(f"{name}/{printable(place)}" for _, place, _ in its))
    return found


def _rows(path: Path) -> Iterator[tuple[str, str, str]]:
    try:
        text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise unreadable(path, error) from error
    if "\0" in text:
        raise DataError(f"{path} holds a zero byte, so it is not a text: fix it.")
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = sorted(reader.fieldnames or ())
        if not set(COLUMNS) <= set(columns):
            raise DataError(f"{path} lacks the columns {', '.join(COLUMNS)} in its first line: fix it.")
        if columns != sorted(COLUMNS):
            raise DataError(f"{path} has more than the columns {', '.join(COLUMNS)} in its first line: fix it.")
        for row in reader:
            if None in row or None in row.values() or not row["path"] or not row["domain"].strip():
                raise DataError(
                    f"{path}, line {reader.line_num}: path and domain are needed, and three fields: fix it."
                )
            yield row["path"], row["label"].strip(), row["domain"].strip()
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as a list ({error}), perhaps for want of a quote: fix it.") from error
