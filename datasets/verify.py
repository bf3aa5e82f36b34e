"""Checks decoded arrays and files against the committed manifests."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets import photos
from datasets.decoders import Native
from datasets.domains import Domain, Part
from datasets.errors import DataError
from datasets.photos import Photos

MANIFESTS = Path(__file__).parent / "manifests"
_BLOCK = 4096


@dataclass(frozen=True)
class Expected:
    """What the manifest says about one part; empty if unknown."""

    count: int | None = None
    per_class: tuple[int, ...] = ()
    shape: tuple[int, ...] = ()
    """(H, W, C) at native size."""
    images: str = ""
    """SHA-256 of the uint8 pixels at native size."""
    labels: str = ""
    """SHA-256 of the int64 labels."""


def manifest(name: str) -> dict[str, Expected]:
    """Part -> what is expected of it, from ``manifests/NAME.json``.

    Raises:
        DataError: the checkout has no manifest for this domain, or a damaged one.
    """
    path = MANIFESTS / f"{name}.json"
    try:
        content = json.loads(path.read_text())
        return {part: _expected(fields) for part, fields in content["parts"].items()}
    except OSError:
        raise DataError(f"the manifest {path} is missing: restore it from the repository.") from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"the manifest {path} is damaged ({error}): restore it from the repository.") from error


def _expected(fields: Mapping[str, Any]) -> Expected:
    return Expected(
        count=fields.get("count"),
        per_class=tuple(fields.get("per_class", ())),
        shape=tuple(fields.get("shape", ())),
        images=fields.get("images", ""),
        labels=fields.get("labels", ""),
    )


def file_digests(name: str) -> dict[str, str]:
    """File name -> digest of name and bytes (see ``decoders.file_digest``); empty for sets published as arrays."""
    path = MANIFESTS / f"{name}.files.gz"
    if not path.exists():
        return {}
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines)


def check(domain: Domain, parts: Mapping[str, Part], origin: str) -> None:
    """Compare decoded data with the manifest.

    Args:
        parts: part -> data at native size.
        origin: where they were read, for the message.

    Raises:
        DataError: anything differs; the message names the first file or array, what was expected and what was found.
    """
    expected = manifest(domain.name)
    if set(parts) != set(expected) or set(parts) != set(domain.parts):
        raise DataError(f"{origin} gives the parts {sorted(parts)} of {domain.name}, not {sorted(expected)}.")
    files = file_digests(domain.name)
    for part, native in parts.items():
        if isinstance(native, Photos):
            _check_photos(domain, part, native, files, expected[part], origin)
            continue
        if files:
            _check_files(domain, part, native.names, native.files, files, origin)
        _check_shape(domain, part, native, expected[part], origin)
        _check_arrays(domain, part, native, expected[part], origin)


def _check_photos(
    domain: Domain, part: str, found: Photos, files: Mapping[str, str], expected: Expected, origin: str
) -> None:
    """Photographs are compared as files, as their pixels depend on the prepared size; those from arrays as arrays."""
    if found.pixels is not None and expected.images:
        _check_digests(domain, part, {"images": found.pixels, "labels": found.labels}, expected, origin)
    elif files:
        _check_files(domain, part, found.names, photos.file_digests(found), files, origin)
    if not len(found.labels) or found.labels.min() < 0 or found.labels.max() >= len(domain.classes):
        raise _mismatch(f"{domain.name}, {part}: labels", f"0 to {len(domain.classes) - 1}", "others", origin)
    _check_counts(domain, part, found.labels, expected, origin)


def _check_shape(domain: Domain, part: str, native: Native, expected: Expected, origin: str) -> None:
    label = f"{domain.name}, {part}"
    images, labels = native.images, native.labels
    rank, last = (2, domain.width) if domain.kind == "features" else (4, domain.channels)
    if images.ndim != rank or images.shape[-1] != last or len(images) != len(labels) or not len(labels):
        if domain.kind == "features":
            raise _mismatch(f"{label}: features", f"(N, {last})", f"{images.shape}", origin)
        raise _mismatch(f"{label}: images", f"(N, H, W, {domain.channels})", f"{images.shape}", origin)
    if expected.shape and images.shape[1:] != expected.shape:
        raise _mismatch(f"{label}: images", f"size {expected.shape}", f"{images.shape[1:]}", origin)
    if labels.min() < 0 or labels.max() >= len(domain.classes):
        raise _mismatch(
            f"{label}: labels", f"0 to {len(domain.classes) - 1}", f"{labels.min()} to {labels.max()}", origin
        )
    if expected.count is not None and len(images) != expected.count:
        raise _mismatch(f"{label}: number of images", f"{expected.count}", f"{len(images)}", origin)


def _check_counts(domain: Domain, part: str, labels: NDArray[np.int64], expected: Expected, origin: str) -> None:
    label = f"{domain.name}, {part}"
    if expected.count is not None and len(labels) != expected.count:
        raise _mismatch(f"{label}: number of images", f"{expected.count}", f"{len(labels)}", origin)
    counts = per_class(labels, len(domain.classes))
    if expected.per_class and counts != expected.per_class:
        raise _mismatch(f"{label}: images per class", f"{list(expected.per_class)}", f"{list(counts)}", origin)


def _check_files(
    domain: Domain, part: str, names: Sequence[str], digests: Sequence[str], files: Mapping[str, str], origin: str
) -> None:
    wanted = {name: digest for name, digest in files.items() if len(domain.parts) == 1 or _belongs(name, part)}
    for name, found in zip(names, digests, strict=True):
        if name not in wanted:
            raise _mismatch(f"{domain.name}: {name}", "no such file", "one", origin)
        if wanted[name] != found:
            raise _mismatch(f"{domain.name}: {name}", f"digest {wanted[name]}", found, origin)
    present = set(names)
    for name in wanted:
        if name not in present:
            raise _mismatch(f"{domain.name}: {name}", "the file", "none", origin)


def _belongs(name: str, part: str) -> bool:
    return name.partition("/")[0].endswith(part)


def _check_arrays(domain: Domain, part: str, native: Native, expected: Expected, origin: str) -> None:
    _check_digests(domain, part, {"images": native.images, "labels": native.labels}, expected, origin)
    _check_counts(domain, part, native.labels, expected, origin)


def _check_digests(
    domain: Domain, part: str, arrays: Mapping[str, NDArray[Any]], expected: Expected, origin: str
) -> None:
    for name, values in arrays.items():
        wanted = getattr(expected, name)
        if wanted and (found := array_digest(values)) != wanted:
            raise _mismatch(f"{domain.name}, {part}: {name}", f"digest {wanted}", found, origin)


def _mismatch(what: str, expected: str, found: str, origin: str) -> DataError:
    return DataError(
        f"{what}: expected {expected}, found {found}; {origin} is damaged or another version: replace it and try again."
    )


def array_digest(values: NDArray[Any]) -> str:
    """SHA-256 of the elements in C order, whatever the memory layout; shape and type are not included."""
    digest = hashlib.sha256()
    for start in range(0, len(values), _BLOCK):
        digest.update(np.ascontiguousarray(values[start : start + _BLOCK]).data)
    return digest.hexdigest()


def per_class(labels: NDArray[np.int64], classes: int) -> tuple[int, ...]:
    """Number of labels of each class."""
    return tuple(int(n) for n in np.bincount(labels, minlength=classes))
