"""Prepared data: every domain decoded and verified once, then served from memory maps.

Layout below the data folder::

    prepared/DOMAIN/PART.images.npy    uint8 (N, 28, 28, C)
    prepared/DOMAIN/PART.labels.npy    int64 (N,)
    prepared/DOMAIN/PART.names.txt     original file names, one a line
    prepared/DOMAIN/meta.json          counts, digests, the source used
    downloads/                         files as published, fetched or put there by hand
    locks/
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from tqdm import tqdm

from datasets import registry, sources, verify
from datasets.decoders import Native
from datasets.errors import DataError, disk_full, is_disk_full
from datasets.frames import SIDE, to_frame
from datasets.registry import Domain
from datasets.sources import Location

__all__ = ["Entry", "Images", "Location", "digest", "is_prepared", "listing", "load", "prepare", "resolve"]

FORMAT = 1
"""Raised when what is written below ``prepared/`` changes; older copies are then prepared again."""
_BLOCK = 2048


@dataclass(frozen=True)
class Images:
    """One part of a prepared domain."""

    images: NDArray[np.uint8]
    """uint8 (N, 28, 28, C), C in {1, 3}, a copy-on-write memory map."""
    labels: NDArray[np.int64]
    """int64 (N,)."""
    digest: str
    """SHA-256 of shape, pixels and labels as stored."""
    names_file: Path

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Original file names, N of them; ``PART/NUMBER`` where the set was published as arrays.  Read when asked."""
        return tuple(self.names_file.read_text().splitlines())


@dataclass(frozen=True)
class Entry:
    """A line of the list of data sets."""

    name: str
    title: str
    counts: Mapping[str, int | None]
    """Part -> number of images; None where it is not known before the domain is prepared."""
    size: int | None
    """Bytes on disk if prepared, else bytes to fetch; None where they are not known."""
    state: str
    """``prepared``, ``in the mirror`` or ``not here``."""
    sources: tuple[str, ...]
    """Where it can come from, in words, in the order of trying."""


def prepare(domain_name: str, location: Location) -> str:
    """Acquire, verify and decode a domain, unless that was done before.

    Returns:
        The name of the domain actually prepared: that of its subset where only the subset can be had.

    Raises:
        DataError: unknown domain, unreadable mirror, no source has it, wrong content, or no space.
    """
    domain = registry.domain(resolve(domain_name, location))
    if is_prepared(domain.name, location):
        return domain.name
    try:
        (location.root / "locks").mkdir(parents=True, exist_ok=True)
        with FileLock(location.root / "locks" / f"{domain.name}.lock"):
            if not is_prepared(domain.name, location):  # another process may have done it while this one waited
                parts, source = sources.acquire(domain, location)
                _write(domain, parts, source, location)
    except OSError as error:
        raise _storage_error(domain, location, error) from error
    return domain.name


def resolve(domain_name: str, location: Location) -> str:
    """The domain that ``prepare`` would give under this name: itself, or its subset where only that is at hand.

    Order: prepared, subset prepared, in the data folder, in the mirror, subset in the mirror; else the public address.

    Raises:
        DataError: unknown domain, or the mirror cannot be read or reached.
    """
    domain = registry.domain(domain_name)
    sources.check_mirror(location)
    if not domain.subset or is_prepared(domain.name, location):
        return domain.name
    if is_prepared(domain.subset, location):
        return domain.subset
    if sources.in_folder(domain, location) or sources.in_mirror(domain, location):
        return domain.name
    subset = registry.domain(domain.subset)
    at_hand = sources.in_folder(subset, location) or sources.in_mirror(subset, location)
    return subset.name if at_hand else domain.name


def is_prepared(domain_name: str, location: Location) -> bool:
    """Whether this very domain (not its subset) was prepared in the present format.

    Raises:
        DataError: unknown domain.
    """
    domain = registry.domain(domain_name)
    meta = _meta(domain.name, location)
    return meta is not None and meta.get("format") == FORMAT


def load(domain_name: str, part: str, location: Location) -> Images:
    """Open a part (``train`` or ``test``) of a prepared domain; no pixel is copied.

    Raises:
        DataError: unknown domain or part, not prepared, or the prepared copy is damaged.
    """
    fields = _part_meta(domain_name, part, location)
    folder = _folder(domain_name, location)
    try:
        images = np.load(folder / f"{part}.images.npy", mmap_mode="c")
        labels = np.load(folder / f"{part}.labels.npy")
    except (OSError, ValueError, EOFError):
        raise _damaged(folder) from None
    if list(images.shape) != fields["shape"] or len(labels) != len(images):
        raise _damaged(folder)
    return Images(images, labels, fields["digest"], folder / f"{part}.names.txt")


def digest(domain_name: str, part: str, location: Location) -> str:
    """Digest of a prepared part, from the metadata written at its preparation.

    Raises:
        DataError: unknown domain or part, or not prepared.
    """
    return str(_part_meta(domain_name, part, location)["digest"])


def listing(location: Location) -> list[Entry]:
    """Every domain of the suite and its state on this machine.

    Raises:
        DataError: the mirror cannot be read or reached.
    """
    sources.check_mirror(location)
    return [_entry(domain, location) for domain in registry.DOMAINS.values()]


def _entry(domain: Domain, location: Location) -> Entry:
    counts = {part: expected.count for part, expected in verify.manifest(domain.name).items()}
    if is_prepared(domain.name, location):
        size: int | None = sum(path.stat().st_size for path in _folder(domain.name, location).iterdir())
        counts = {part: len(load(domain.name, part, location).labels) for part in domain.parts}
        state = "prepared"
    else:
        size = _fetch_size(domain)
        state = "in the mirror" if sources.in_mirror(domain, location) else "not here"
    return Entry(domain.name, domain.title, counts, size, state, _offers(domain))


def _fetch_size(domain: Domain) -> int | None:
    """Bytes of the cheapest route, as far as they are known."""
    totals = []
    for route in domain.routes:
        sizes = [
            0 if file.installed else file.wheel.size if file.wheel and not file.urls else file.size
            for file in route.files
        ]
        if None not in sizes:
            totals.append(sum(size for size in sizes if size is not None))
    return min(totals, default=None)


def _offers(domain: Domain) -> tuple[str, ...]:
    offers = ["mirror (" + ", ".join(file.name for file in domain.routes[0].files) + ")"]
    files = [file for route in domain.routes for file in route.files]
    offers += [url.split("/")[2] for url in dict.fromkeys(file.urls[0] for file in files[:1] if file.urls)]
    offers += [f"installed {file.installed.distribution}" for file in files if file.installed]
    offers += [f"package index ({file.wheel.requirement})" for file in files if file.wheel]
    return tuple(offers)


def _write(domain: Domain, parts: Mapping[str, Native], source: str, location: Location) -> None:
    """Write everything into a temporary folder that becomes the prepared one at the very end."""
    final = _folder(domain.name, location)
    temporary = final.with_name(f".{domain.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # of a killed run; the lock keeps others out
    temporary.mkdir(parents=True)
    try:
        _check_space(domain, parts, location)
        written = {part: _write_part(domain, part, native, temporary) for part, native in parts.items()}
        meta = {"format": FORMAT, "domain": domain.name, "source": source, "parts": written}
        _write_file(temporary / "meta.json", [(json.dumps(meta, indent=1) + "\n").encode()])
        _sync_folder(temporary)
        if final.exists():  # of an older format
            shutil.rmtree(final)
        temporary.rename(final)
        _sync_folder(final.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_part(domain: Domain, part: str, native: Native, folder: Path) -> dict[str, Any]:
    count = len(native.labels)
    shape = (count, SIDE, SIDE, domain.channels)
    labels = np.ascontiguousarray(native.labels, dtype=np.int64)
    content = hashlib.sha256(f"{shape}".encode())
    # Written as a stream, not through a memory map: a full disk is then an error and not the end of the process.
    with (folder / f"{part}.images.npy").open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for start in tqdm(range(0, count, _BLOCK), desc=f"{domain.name} {part}", unit="block", disable=None):
            framed = to_frame(native.images[start : start + _BLOCK], domain.frame, domain.top)
            block = np.ascontiguousarray(framed).tobytes()
            content.update(block)
            file.write(block)
        _sync(file.fileno(), file.flush)
    content.update(labels.tobytes())
    with (folder / f"{part}.labels.npy").open("wb") as file:
        np.save(file, labels)
        _sync(file.fileno(), file.flush)
    names = native.names or tuple(f"{part}/{index:06d}" for index in range(count))
    _write_file(folder / f"{part}.names.txt", [f"{name}\n".encode() for name in names])
    per_class = list(verify.per_class(labels, len(domain.classes)))
    return {"count": count, "shape": list(shape), "per_class": per_class, "digest": content.hexdigest()}


def _check_space(domain: Domain, parts: Mapping[str, Native], location: Location) -> None:
    needed = sum(len(native.labels) for native in parts.values()) * (SIDE * SIDE * domain.channels + 32)
    free = shutil.disk_usage(location.root).free
    if free < needed:
        raise disk_full(location.root, domain.name, needed - free)


def _write_file(path: Path, content: list[bytes]) -> None:
    with path.open("wb") as file:
        file.writelines(content)
        _sync(file.fileno(), file.flush)


def _sync(descriptor: int, flush: Any) -> None:
    flush()
    os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _folder(domain_name: str, location: Location) -> Path:
    return location.root / "prepared" / domain_name


def _meta(domain_name: str, location: Location) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads((_folder(domain_name, location) / "meta.json").read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        raise _damaged(_folder(domain_name, location)) from None
    return content


def _part_meta(domain_name: str, part: str, location: Location) -> dict[str, Any]:
    domain = registry.domain(domain_name)
    meta = _meta(domain.name, location)
    if meta is None or meta.get("format") != FORMAT:
        raise DataError(f"{domain.name} is not prepared in {location.root}: prepare it first.")
    if part not in meta["parts"]:
        raise DataError(f"{domain.name} has no part {part!r}: choose one of {', '.join(meta['parts'])}.")
    fields: dict[str, Any] = meta["parts"][part]
    return fields


def _damaged(folder: Path) -> DataError:
    return DataError(f"the prepared data in {folder} are damaged: delete this folder and prepare them again.")


def _storage_error(domain: Domain, location: Location, error: OSError) -> DataError:
    if is_disk_full(error):
        return disk_full(location.root, domain.name, None)
    where = error.filename or location.root
    return DataError(f"{where} cannot be read or written ({error.strerror or error}): check it and try again.")
