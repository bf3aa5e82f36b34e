"""Prepared data: every domain decoded and verified once, then served from memory maps.

Whoever opens prepared data recomputes their digest, once per process, so damage on the disk is never trained on.

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
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from tqdm import tqdm

from datasets import registry, sources
from datasets.decoders import Native
from datasets.errors import DataError, disk_full, is_disk_full
from datasets.frames import SIDE, to_frame
from datasets.registry import Domain
from datasets.sources import Location
from datasets.verify import manifest, per_class

__all__ = ["Entry", "Images", "Location", "digest", "is_prepared", "listing", "load", "prepare", "resolve", "verify"]

FORMAT = 1
"""Raised when what is written below ``prepared/`` changes; older copies are then prepared again."""
_BLOCK = 2048

_Stamp = tuple[str, int, int]
"""Path, size and time of the last change (ns) of a file."""
_recomputed: dict[tuple[_Stamp, ...], str] = {}
"""Digests that this process recomputed, by the stamps of images and labels."""


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
    """Bytes on disk if prepared, else of the files it is made from; None where they are not known."""
    state: str
    """``prepared``, ``damaged``, ``downloaded`` (but not yet prepared), ``in the mirror`` or ``not here``."""
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
        with _locked(domain, location):
            if not is_prepared(domain.name, location):  # another process may have done it while this one waited
                parts, source = sources.acquire(domain, location)
                _write(domain, parts, source, location)
    except OSError as error:
        raise _storage_error(domain, location, error) from error
    return domain.name


@contextmanager
def _locked(domain: Domain, location: Location) -> Iterator[None]:
    """Keeps other processes from preparing the same domain; says so when it has to wait for one."""
    folder = location.root / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{domain.name}.lock")
    try:
        lock.acquire(timeout=2)
    except Timeout:
        print(f"note: another process prepares {domain.name}, waiting for it.", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


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
        DataError: unknown domain, or the metadata of its prepared copy are damaged.
    """
    return _meta(registry.domain(domain_name), location) is not None


def load(domain_name: str, part: str, location: Location) -> Images:
    """Open a part (``train`` or ``test``) of a prepared domain; no pixel is copied.

    The digest is recomputed, unless this process did so before and neither file was changed since.

    Raises:
        DataError: unknown domain or part, not prepared, or the prepared copy is damaged.
    """
    fields = _part_meta(domain_name, part, location)
    folder = _folder(domain_name, location)
    images, labels = _open_intact(folder, part, fields)
    return Images(images, labels, fields["digest"], folder / f"{part}.names.txt")


def verify(domain_name: str, location: Location) -> None:
    """Recompute the digests of all parts of a prepared domain, whatever this process knows of them.

    Raises:
        DataError: unknown domain, not prepared, or the prepared copy is damaged.
    """
    for part in registry.domain(domain_name).parts:
        fields = _part_meta(domain_name, part, location)
        _open_intact(_folder(domain_name, location), part, fields, again=True)


def digest(domain_name: str, part: str, location: Location) -> str:
    """Digest of a prepared part, from the metadata written at its preparation.

    Raises:
        DataError: unknown domain or part, or not prepared.
    """
    return str(_part_meta(domain_name, part, location)["digest"])


def listing(location: Location) -> list[Entry]:
    """Every domain of the suite and its state on this machine.

    Of prepared data, metadata and array headers are looked at; the content is left to ``load`` and ``verify``.

    Raises:
        DataError: the mirror cannot be read or reached.
    """
    sources.check_mirror(location)
    return [_entry(domain, location) for domain in registry.DOMAINS.values()]


def _entry(domain: Domain, location: Location) -> Entry:
    counts = {part: expected.count for part, expected in manifest(domain.name).items()}
    size = _fetch_size(domain)
    try:
        prepared = _prepared_sizes(domain, location)
    except DataError:
        state = "damaged"
    else:
        counts, size = prepared or (counts, size)
        state = "prepared" if prepared else _source_state(domain, location)
    return Entry(domain.name, domain.title, counts, size, state, _offers(domain))


def _prepared_sizes(domain: Domain, location: Location) -> tuple[dict[str, int | None], int] | None:
    """Part -> number of images, and bytes on disk; None if it is not prepared.

    Raises:
        DataError: the prepared copy is damaged.
    """
    if not is_prepared(domain.name, location):
        return None
    folder = _folder(domain.name, location)
    counts: dict[str, int | None] = {}
    for part in domain.parts:
        _, labels = _open(folder, part, _part_meta(domain.name, part, location))
        counts[part] = len(labels)
    return counts, sum(path.stat().st_size for path in folder.iterdir())


def _source_state(domain: Domain, location: Location) -> str:
    if sources.in_folder(domain, location):
        return "downloaded"
    return "in the mirror" if sources.in_mirror(domain, location) else "not here"


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
    # Written as a stream, not through a memory map: a full disk is then an error and not the end of the process.
    with (folder / f"{part}.images.npy").open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        content = _content_digest(shape, _written_blocks(domain, part, native, file), labels)
        _sync(file.fileno(), file.flush)
    with (folder / f"{part}.labels.npy").open("wb") as file:
        np.save(file, labels)
        _sync(file.fileno(), file.flush)
    names = native.names or tuple(f"{part}/{index:06d}" for index in range(count))
    _write_file(folder / f"{part}.names.txt", [f"{name}\n".encode() for name in names])
    classes = list(per_class(labels, len(domain.classes)))
    return {"count": count, "shape": list(shape), "per_class": classes, "digest": content}


def _written_blocks(domain: Domain, part: str, native: Native, file: BinaryIO) -> Iterator[bytes]:
    """Brings block by block to its frame, writes it and hands it on."""
    starts = range(0, len(native.labels), _BLOCK)
    for start in tqdm(starts, desc=f"{domain.name} {part}", unit="block", disable=None):
        framed = to_frame(native.images[start : start + _BLOCK], domain.frame, domain.top)
        block = np.ascontiguousarray(framed).tobytes()
        file.write(block)
        yield block


def _content_digest(shape: tuple[int, ...], blocks: Iterable[bytes | memoryview], labels: NDArray[np.int64]) -> str:
    """The digest of a part: SHA-256 of its shape, its pixels in C order and its labels."""
    content = hashlib.sha256(f"{shape}".encode())
    for block in blocks:
        content.update(block)
    content.update(labels.tobytes())
    return content.hexdigest()


def _open_intact(
    folder: Path, part: str, fields: Mapping[str, Any], *, again: bool = False
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images and labels of a part whose content is what was prepared.

    Args:
        again: recompute the digest even if this process did so before.

    Raises:
        DataError: they are damaged.
    """
    try:
        stamps = tuple(_stamp(path) for path in _array_files(folder, part))
    except OSError:
        raise _damaged(folder) from None
    images, labels = _open(folder, part, fields)
    if again or stamps not in _recomputed:
        blocks = (np.ascontiguousarray(images[i : i + _BLOCK]).data for i in range(0, len(images), _BLOCK))
        _recomputed[stamps] = _content_digest(images.shape, blocks, labels)
    if _recomputed[stamps] != fields["digest"]:
        raise _damaged(folder)
    return images, labels


def _open(folder: Path, part: str, fields: Mapping[str, Any]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images and labels of a part; types and shapes are checked, the content is not.

    Raises:
        DataError: they are damaged.
    """
    try:
        # A map of the labels, too: a header that promises too much is then an error and not an attempt to allocate it.
        images, labels = (np.lib.format.open_memmap(path, mode="c") for path in _array_files(folder, part))
    except Exception:  # numpy's reader raises anything on a broken header
        raise _damaged(folder) from None
    if images.dtype != np.uint8 or labels.dtype != np.int64:
        raise _damaged(folder)
    if list(images.shape) != fields["shape"] or labels.shape != images.shape[:1]:
        raise _damaged(folder)
    return images, np.array(labels)


def _array_files(folder: Path, part: str) -> tuple[Path, Path]:
    return folder / f"{part}.images.npy", folder / f"{part}.labels.npy"


def _stamp(path: Path) -> _Stamp:
    status = path.stat()
    return str(path), status.st_size, status.st_mtime_ns


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


def _meta(domain: Domain, location: Location) -> dict[str, Any] | None:
    """What was written at the preparation; None if there was none, or one in another format.

    Raises:
        DataError: the metadata are damaged.
    """
    folder = _folder(domain.name, location)
    try:
        content = json.loads((folder / "meta.json").read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        raise _damaged(folder) from None
    if not isinstance(content, dict) or not isinstance(content.get("format"), int):
        raise _damaged(folder)
    if content["format"] != FORMAT:
        return None
    if not _is_complete(content.get("parts"), domain):
        raise _damaged(folder)
    return content


def _is_complete(parts: Any, domain: Domain) -> bool:
    """Whether the metadata of the parts hold everything that is read from them."""
    return (
        isinstance(parts, dict)
        and set(parts) == set(domain.parts)
        and all(
            isinstance(fields, dict) and isinstance(fields.get("digest"), str) and isinstance(fields.get("shape"), list)
            for fields in parts.values()
        )
    )


def _part_meta(domain_name: str, part: str, location: Location) -> dict[str, Any]:
    domain = registry.domain(domain_name)
    meta = _meta(domain, location)
    if meta is None:
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
