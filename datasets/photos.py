"""Photographs: how they are listed from the published archives, and how one becomes an array.

An image is brought to ``side`` x ``side`` pixels: the shorter side is scaled to ``side``, then the central square is
kept.  A centre crop of that, such as 224 of 256, is then the same as the usual resize and centre crop of the original,
exactly or, if the two sizes do not differ by a multiple of four, to within a pixel.

An image is prepared as a viewer shows it: rotated by its EXIF orientation, and on white where it is transparent.
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
from PIL import ExifTags, Image, UnidentifiedImageError

from datasets import archives
from datasets.decoders import file_digest
from datasets.errors import DataError

MOST_PIXELS = 100_000_000
"""Images with more pixels are refused: a file of a few bytes can claim to be gigabytes."""

LONGEST = 50
"""Images whose longer side is more than this many times the shorter one are refused."""

NAMED = 50
"""How many faulty images a message names before only counting them."""

BLOCK = 64
"""Images decoded in one block before the next one is started."""


@dataclass(frozen=True)
class Photos:
    """Photographs of one domain, not yet decoded."""

    names: tuple[str, ...]
    """Paths within the data set, with forward slashes, sorted."""
    labels: NDArray[np.int64]
    """int64 (N,), in 0 .. classes - 1."""
    read: Callable[[int], bytes]
    """Reads the file of an image."""
    together: bool = False
    """Whether all unusable files are reported at once, not just the first."""
    pixels: NDArray[np.uint8] | None = None
    """(N, height, width, 3), for images published as arrays; ``read`` then encodes them."""


def decoded(photos: Photos, side: int) -> Iterator[NDArray[np.uint8]]:
    """All images in their order, uint8 (n, side, side, 3), block by block; decoded on all cores.

    Raises:
        DataError: a file is not an image; the message names it, or all of them if ``Photos.together``.
    """
    wrong: list[DataError] = []
    with ThreadPoolExecutor(cpu_count()) as pool:  # Pillow decodes and scales without holding the interpreter lock
        for start in range(0, len(photos.names), BLOCK):
            block = range(start, min(start + BLOCK, len(photos.names)))
            made = list(pool.map(lambda i: attempt(photos, i, side), block))
            wrong += [one for one in made if isinstance(one, DataError)]
            if wrong and not photos.together:
                raise wrong[0]
            if not wrong:  # after the first fault, the rest is only checked
                yield np.stack([one for one in made if not isinstance(one, DataError)])
    if wrong:
        raise _together(wrong)


def attempt(photos: Photos, index: int, side: int) -> NDArray[np.uint8] | DataError:
    """One image from ``square``, or what is wrong with it."""
    try:
        return square(photos.read(index), photos.names[index], side)
    except DataError as error:
        return error


def _together(wrong: Sequence[DataError]) -> DataError:
    if len(wrong) == 1:
        return wrong[0]
    reasons = "; ".join(str(error).rpartition(":")[0] for error in wrong[:NAMED])
    more = f"; and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
    return DataError(f"{len(wrong)} images cannot be used ({reasons}{more}): replace or remove them.")


def square(content: bytes, name: str, side: int) -> NDArray[np.uint8]:
    """One image as uint8 (side, side, 3), see the module; for an animation its first frame.

    Raises:
        DataError: it cannot be decoded, or its dimensions are not those of a photograph.
    """
    if not content:
        raise DataError(f"{name} is empty: replace it.")
    try:
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
            if width * height > MOST_PIXELS or max(width, height) > LONGEST * min(width, height):
                raise DataError(f"{name} claims {width} x {height} pixels, which is not a photograph: replace it.")
            # A JPEG is decoded at half its size or less if that still leaves twice the wanted one.  The mean difference
            # after scaling, measured on 1000 x 1000 photographs, is 0.3 of 255 levels.
            drafted = image.draft(None, (2 * side, 2 * side))
            image.load()
            # The box is the image in decoded pixels; its last column and row may be partial ones.
            box = (0, 0, *image.size) if drafted is None else drafted[1]
            return np.asarray(_middle(_rgb(image), box, _turn(image), side))
    except DataError:
        raise
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataError(f"{name} is not a readable image: replace it.") from error
    except Exception as error:  # Pillow raises anything on a broken file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{name} cannot be decoded ({reason}): replace it.") from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("it holds floating-point numbers, and which value is white is unknown")
    if image.mode.startswith("I"):  # Pillow would clip 16-bit greys, not scale them
        grey = np.asarray(image, dtype=np.float64)
        return Image.fromarray((grey / _white(grey.max()) * 255).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:  # its colours alone may be black on black
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _white(brightest: float) -> float:
    """The value of white in a 16-bit or 32-bit grey image, whose file does not say how many bits the camera used.

    The maximum of the smallest of 8, 10, 12, 14 or 16 bits that holds the brightest pixel, so 12 bits are not black.
    """
    return next((2.0**bits - 1 for bits in (8, 10, 12, 14, 16) if brightest < 2**bits), float(brightest))


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> the transposition that makes the image upright."""


def _turn(image: Image.Image) -> Image.Transpose | None:
    """How a loaded image has to be rotated; None if not at all, or if its EXIF block is damaged."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # a good image may have a broken block, on which the parser may raise anything
        return None


def _middle(
    image: Image.Image, box: tuple[float, float, float, float], turn: Image.Transpose | None, side: int
) -> Image.Image:
    """The central square of the part ``box`` (left, upper, right, lower), scaled, then rotated."""
    width, height = box[2], box[3]
    shape = (side, int(side * height / width)) if width <= height else (int(side * width / height), side)
    resized = image.resize(shape, Image.Resampling.BICUBIC, box=box)
    upright = resized if turn is None else resized.transpose(turn)
    left, upper = round((upright.width - side) / 2), round((upright.height - side) / 2)
    return upright.crop((left, upper, left + side, upper + side))


def twins(photos: Photos) -> list[list[int]]:
    """Groups of two or more images whose files are identical byte by byte."""
    groups: dict[bytes, list[int]] = {}
    for index in range(len(photos.names)):
        groups.setdefault(hashlib.sha256(photos.read(index)).digest(), []).append(index)
    return [group for group in groups.values() if len(group) > 1]


def file_digests(photos: Photos) -> tuple[str, ...]:
    """Digest of name and bytes of every file (``decoders.file_digest``)."""
    return tuple(file_digest(name, photos.read(index)) for index, name in enumerate(photos.names))


def _of(files: Mapping[str, bytes], labels: Mapping[str, int]) -> dict[str, Photos]:
    """A domain's only part, from its files and their labels."""
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
    """Images in one folder per class, in a tar or zip archive, whatever folders are above.

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
    """ImageCLEF-DA's layout: one list per domain with lines ``b/NAME LABEL``, and the images named in it.

    Args:
        paths: the archive.
        letter: of the domain.
    """
    lists = re.compile(rf"(^|/){letter}_?[lL]ist\.txt$")
    images = re.compile(rf"(^|/){letter}/[^/]+$")
    found = dict(archives.members(paths[0], lambda name: bool(lists.search(name) or images.search(name))))
    listing = [content for name, content in found.items() if lists.search(name)]
    if len(listing) != 1:
        raise ValueError(f"it holds {len(listing)} lists of the domain {letter}, not one")
    at_hand = {"/".join(PurePosixPath(name).parts[-2:]): content for name, content in found.items()}
    pairs = [line.rsplit(maxsplit=1) for line in listing[0].decode().splitlines() if line.strip()]
    labels = {"/".join(PurePosixPath(name).parts[-2:]): int(label) for name, label in pairs}
    if not labels:
        raise ValueError(f"the list of the domain {letter} is empty")
    if missing := [name for name in labels if name not in at_hand]:
        raise ValueError(f"{missing[0]} is listed but missing")
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
                    if not 0 <= label < len(classes):
                        raise ValueError(f"label {label} is none of the {len(classes)} classes")
                    file = PurePosixPath(row["image"]["path"] or f"{len(files):05d}.jpg").name
                    name = f"{domain}/{classes[label]}/{file}"
                    files[name], labels[name] = row["image"]["bytes"], label
    if not files:
        raise ValueError(f"no image of {of} in them")
    return _of(files, labels)
