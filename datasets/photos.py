"""Photographs: how those of a data set are listed from the archives it is published in, and how one becomes an array.

An image is brought to ``side`` x ``side`` pixels: the shorter side is scaled to ``side``, then the square in the middle
is kept.  A centre crop of that, such as 224 of 256, is then the very crop that the usual pair of resizing and centre
cropping takes from the original.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from joblib import cpu_count
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from datasets import archives
from datasets.decoders import file_digest
from datasets.errors import DataError

MOST_PIXELS = 100_000_000
"""Images with more are refused: a file of a few bytes can claim to be gigabytes."""

LONGEST = 50
"""Images whose longer side is more than this many times the shorter one are refused."""

BLOCK = 64
"""Images that are decoded before the next ones are begun."""


@dataclass(frozen=True)
class Photos:
    """Photographs of one domain, not yet decoded."""

    names: tuple[str, ...]
    """Paths within the data set, with forward slashes, sorted."""
    labels: NDArray[np.int64]
    """int64 (N,), in 0 .. classes - 1."""
    read: Callable[[int], bytes]
    """The file of an image."""


def decoded(photos: Photos, side: int) -> Iterator[NDArray[np.uint8]]:
    """All images in their order, uint8 (n, side, side, 3), block by block; decoded on all cores.

    Raises:
        DataError: a file is no image; the message names it.
    """
    with ThreadPoolExecutor(cpu_count()) as pool:  # Pillow decodes and scales without holding the interpreter
        for start in range(0, len(photos.names), BLOCK):
            block = range(start, min(start + BLOCK, len(photos.names)))
            yield np.stack(list(pool.map(lambda i: square(photos.read(i), photos.names[i], side), block)))


def square(content: bytes, name: str, side: int) -> NDArray[np.uint8]:
    """One image as uint8 (side, side, 3); of an animation the first frame.

    Raises:
        DataError: it cannot be decoded, or its dimensions are not those of a photograph.
    """
    if not content:
        raise DataError(f"{name} is empty: replace it.")
    try:
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
            if width * height > MOST_PIXELS or max(width, height) > LONGEST * min(width, height):
                raise DataError(f"{name} claims {width} x {height} pixels, which is no photograph: replace it.")
            # A JPEG is decoded at half its size or less where that still leaves twice the wanted one.  The mean
            # difference after scaling, measured on 1000 x 1000 photographs, is 0.3 of 255 levels.
            image.draft(None, (2 * side, 2 * side))
            rgb = _rgb(image)
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataError(f"{name} is no image that can be read: replace it.") from error
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{name} cannot be decoded ({reason}): replace it.") from error
    return np.asarray(_middle(rgb, side))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":  # Pillow would clip 16-bit greys, not scale them
        grey = np.asarray(image, dtype=np.float64)
        return Image.fromarray((grey / max(grey.max(), 65535) * 255).clip(0, 255).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


def _middle(image: Image.Image, side: int) -> Image.Image:
    width, height = image.size
    if width <= height:
        width, height = side, int(side * height / width)
    else:
        width, height = int(side * width / height), side
    left, upper = round((width - side) / 2), round((height - side) / 2)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    return resized.crop((left, upper, left + side, upper + side))


def twins(photos: Photos) -> list[list[int]]:
    """Groups of two and more images whose files are identical, byte by byte."""
    groups: dict[bytes, list[int]] = {}
    for index in range(len(photos.names)):
        groups.setdefault(hashlib.sha256(photos.read(index)).digest(), []).append(index)
    return [group for group in groups.values() if len(group) > 1]


def file_digests(photos: Photos) -> tuple[str, ...]:
    """Digest of name and bytes of every file (``decoders.file_digest``)."""
    return tuple(file_digest(name, photos.read(index)) for index, name in enumerate(photos.names))


def _of(files: Mapping[str, bytes], labels: Mapping[str, int]) -> dict[str, Photos]:
    """The one part of a domain, from its files and the label of each."""
    names = tuple(sorted(files))
    contents = [files[name] for name in names]
    found = np.array([labels[name] for name in names], dtype=np.int64)
    return {"train": Photos(names, found, contents.__getitem__)}


def by_class(
    paths: Sequence[Path],
    *,
    pattern: str,
    domain: str,
    classes: Sequence[str],
    renamed: Mapping[str, str] | None = None,
) -> dict[str, Photos]:
    """Images in one folder per class, in a tar or zip archive, whatever folders lie above.

    Args:
        paths: the archive.
        pattern: regular expression of a path's end, with the groups ``class`` and ``name``.
        domain: how names begin: ``domain/class/name``.
        classes: folder names, in the order of the labels; images of other classes are left out.
        renamed: folder name in the archive -> class, where they differ.
    """
    ending = re.compile(pattern)
    renamed = renamed or {}
    files: dict[str, bytes] = {}
    labels: dict[str, int] = {}
    for place, content in archives.members(paths[0], lambda name: ending.search(name) is not None):
        match = ending.search(place)
        assert match is not None
        of = renamed.get(match["class"], match["class"])
        if of in classes:
            name = f"{domain}/{match['class']}/{match['name']}"
            files[name], labels[name] = content, list(classes).index(of)
    if not files:
        raise ValueError(f"no image of {domain} in it")
    return _of(files, labels)


def by_list(paths: Sequence[Path], *, letter: str) -> dict[str, Photos]:
    """ImageCLEF-DA's layout: a list of lines ``b/NAME LABEL`` per domain, and the images it names."""
    lists = re.compile(rf"(^|/){letter}_?[lL]ist\.txt$")
    images = re.compile(rf"(^|/){letter}/[^/]+$")
    found = dict(archives.members(paths[0], lambda name: bool(lists.search(name) or images.search(name))))
    listing = [content for name, content in found.items() if lists.search(name)]
    if len(listing) != 1:
        raise ValueError(f"it holds {len(listing)} lists of the domain {letter}, not one")
    at_hand = {"/".join(PurePosixPath(name).parts[-2:]): content for name, content in found.items()}
    pairs = [line.split() for line in listing[0].decode().splitlines() if line.strip()]
    labels = {"/".join(PurePosixPath(name).parts[-2:]): int(label) for name, label in pairs}
    if missing := [name for name in labels if name not in at_hand]:
        raise ValueError(f"{missing[0]} is listed and missing")
    return _of({name: at_hand[name] for name in labels}, labels)


def parquet(paths: Sequence[Path], *, domain: str, of: str, classes: Sequence[str]) -> dict[str, Photos]:
    """Office-Home as parquet files: columns ``image`` (bytes and path), ``domain`` and ``label`` (name or number).

    Args:
        paths: the files.
        domain: how names begin.
        of: the domain's name in the column.
        classes: class names in the order of the labels.
    """
    try:
        import pyarrow.parquet as reader
    except ImportError:
        raise DataError("reading parquet files needs the package pyarrow: `pip install pyarrow`.") from None
    files: dict[str, bytes] = {}
    labels: dict[str, int] = {}
    for path in paths:
        for batch in reader.ParquetFile(path).iter_batches(batch_size=256, columns=["image", "domain", "label"]):
            for row in batch.to_pylist():
                if row["domain"] == of:
                    label = row["label"] if isinstance(row["label"], int) else list(classes).index(row["label"])
                    file = PurePosixPath(row["image"]["path"] or f"{len(files):05d}.jpg").name
                    name = f"{domain}/{classes[label]}/{file}"
                    files[name], labels[name] = row["image"]["bytes"], label
    if not files:
        raise ValueError(f"no image of {of} in them")
    return _of(files, labels)
