"""Prepared data: every domain decoded and verified once, then served from memory maps.

Opening prepared data recomputes their digest, once per process, so damage on disk is never trained on.

Layout below the data folder::

    prepared/DOMAIN/PART.images.npy    uint8 (N, 28, 28, C); feature vectors (N, width)
    prepared/DOMAIN/PART.labels.npy    int64 (N,)
    prepared/DOMAIN/PART.names.txt     original file names, one a line
    prepared/DOMAIN/meta.json          counts, digests, groups of identical files, the source used
    prepared/DOMAIN@SIDE/...           the same for photographs, (N, SIDE, SIDE, 3)
    downloads/                         files as published, fetched or put there by hand
    locks/
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from datasets import folders, locks, photos, registry, sources
from datasets.domains import Domain, Part
from datasets.errors import DataError, disk_full, is_disk_full
from datasets.frames import SIDE, to_frame
from datasets.photos import Photos
from datasets.sources import Location
from datasets.verify import manifest, per_class

__all__ = [
    "Entry",
    "Images",
    "Location",
    "digest",
    "folder",
    "is_prepared",
    "listing",
    "load",
    "prepare",
    "resolve",
    "verify",
]

FORMAT = 1
"""Raised when what is written below ``prepared/`` changes; older copies are then prepared again."""
_BLOCK = 2048

_Stamp = tuple[str, int, int]
"""Path, size and modification time (ns) of a file."""
_recomputed: dict[tuple[_Stamp, ...], str] = {}
"""Digests recomputed by this process, by the stamps of images and labels."""


@dataclass(frozen=True)
class Images:
    """One part of a prepared domain."""

    images: np.memmap[Any, np.dtype[np.uint8]]
    """uint8, a copy-on-write memory map: digits (N, 28, 28, C), C in {1, 3}; photographs (N, side, side, 3); feature
    vectors (N, width)."""
    labels: NDArray[np.int64]
    """int64 (N,)."""
    digest: str
    """SHA-256 of shape, pixels and labels as stored."""
    names_file: Path
    duplicates: tuple[tuple[int, ...], ...] = ()
    """Groups of photographs whose files are identical byte by byte, and of identical feature vectors, as indices; none
    for digits."""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Original file names, N of them; ``PART/NUMBER`` if the set was published as arrays.  Read when needed."""
        return tuple(self.names_file.read_text(encoding="utf-8").split("\n")[:-1])


@dataclass(frozen=True)
class Entry:
    """A line of the list of data sets."""

    name: str
    title: str
    counts: Mapping[str, int | None]
    """Part -> number of images; None if it is not known before the domain is prepared."""
    size: int | None
    """Bytes on disk if prepared, otherwise of the files it is made from; None if unknown."""
    state: str
    """``prepared``, ``damaged``, ``downloaded`` (but not yet prepared), ``in the mirror`` or ``not here``."""
    sources: tuple[str, ...]
    """Where it can come from, in words, in the order tried."""


def prepare(domain_name: str, location: Location, side: int | None = None) -> str:
    """Acquire, verify and decode a domain, unless that has been done.

    Args:
        side: height and width of photographs, the domain's ``side`` by default; irrelevant for other kinds.

    Returns:
        The name of the domain actually prepared: that of its subset if only the subset is available.

    Raises:
        DataError: unknown domain, unreadable mirror, no source has it, wrong content, or no space.
    """
    domain = registry.domain(resolve(domain_name, location))
    if is_prepared(domain.name, location, side):
        return domain.name
    try:
        with _locked(domain, location):
            if not is_prepared(domain.name, location, side):  # another process may have done it in the meantime
                parts, source = sources.acquire(domain, location)
                _write(domain, parts, source, location, side)
    except OSError as error:
        raise _storage_error(domain, location, error) from error
    return domain.name


def _locked(domain: Domain, location: Location) -> AbstractContextManager[None]:
    """Keeps other processes from preparing the same domain at the same time."""
    return locks.held(location.root / "locks" / f"{_slug(domain)}.lock", f"prepares {domain.name}")


def _slug(domain: Domain) -> str:
    """The domain's name as a file name."""
    return domain.name if domain.folder is None else folders.slug(domain)


def resolve(domain_name: str, location: Location) -> str:
    """The domain that ``prepare`` would give under this name: itself, or its subset if only that is available.

    Order: prepared, subset prepared, in the data folder, in the mirror, subset in the mirror; otherwise the public
    address.

    Raises:
        DataError: unknown domain, or the mirror cannot be read or reached.
    """
    domain = registry.domain(domain_name)
    if location.mirror is not None:
        sources.check_mirror(location)
    if not domain.subset or _is_prepared_somehow(domain, location):
        return domain.name
    if _is_prepared_somehow(registry.domain(domain.subset), location):
        return domain.subset
    if sources.in_folder(domain, location) or sources.in_mirror(domain, location):
        return domain.name
    subset = registry.domain(domain.subset)
    at_hand = sources.in_folder(subset, location) or sources.in_mirror(subset, location)
    return subset.name if at_hand else domain.name


def _is_prepared_somehow(domain: Domain, location: Location) -> bool:
    """Whether the domain is prepared, photographs at any size."""
    if domain.kind != "photos":
        return is_prepared(domain.name, location)
    return any(is_prepared(domain.name, location, side) for side in _sides(domain, location))


def is_prepared(domain_name: str, location: Location, side: int | None = None) -> bool:
    """Whether the domain itself is prepared in the current format (photographs at this size); content is not checked.

    Raises:
        DataError: unknown domain, or the metadata are damaged.
    """
    return _meta(registry.domain(domain_name), location, side) is not None


def load(domain_name: str, part: str, location: Location, side: int | None = None) -> Images:
    """Open a part (``train`` or ``test``) of a prepared domain; no pixel is copied.

    The digest is recomputed, unless this process has done so and neither file has changed since.

    Raises:
        DataError: unknown domain or part, not prepared, or the prepared copy is damaged.
    """
    domain, fields = registry.domain(domain_name), _part_meta(domain_name, part, location, side)
    folder = _folder(domain, location, side)
    images, labels = _open_intact(folder, part, fields)
    groups = _twins(images) if domain.kind == "features" else fields.get("duplicates", ())
    duplicates = tuple(tuple(group) for group in groups)
    return Images(images, labels, fields["digest"], folder / f"{part}.names.txt", duplicates)


def _twins(vectors: NDArray[np.uint8]) -> list[list[int]]:
    """Groups of two or more identical feature vectors."""
    groups: dict[bytes, list[int]] = {}
    for index, vector in enumerate(vectors):
        groups.setdefault(vector.tobytes(), []).append(index)
    return [group for group in groups.values() if len(group) > 1]


def verify(domain_name: str, location: Location, side: int | None = None) -> None:
    """Recompute the digests of all parts of a prepared domain, even if this process has done so.

    Raises:
        DataError: unknown domain, not prepared, or the prepared copy is damaged.
    """
    domain = registry.domain(domain_name)
    for part in domain.parts:
        fields = _part_meta(domain_name, part, location, side)
        _open_intact(_folder(domain, location, side), part, fields, again=True)


def folder(domain_name: str, location: Location, side: int | None = None) -> Path:
    """Where a prepared domain is, or will be.

    Raises:
        DataError: unknown domain.
    """
    return _folder(registry.domain(domain_name), location, side)


def digest(domain_name: str, part: str, location: Location, side: int | None = None) -> str:
    """Digest of a prepared part, from the metadata written at its preparation.

    Raises:
        DataError: unknown domain or part, or not prepared.
    """
    return str(_part_meta(domain_name, part, location, side)["digest"])


def listing(location: Location) -> list[Entry]:
    """Every domain of the suite and its state on this machine.

    For prepared data only metadata and array headers are read; the content is left to ``load`` and ``verify``.

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
    """Part -> number of images, and bytes on disk (of all sizes); None if it is not prepared.

    Raises:
        DataError: the prepared copy is damaged.
    """
    sides = [side for side in _sides(domain, location) if is_prepared(domain.name, location, side)]
    if not sides:
        return None
    counts: dict[str, int | None] = {}
    for part in domain.parts:
        fields = _part_meta(domain.name, part, location, sides[0])
        _, labels = _open(_folder(domain, location, sides[0]), part, fields)
        counts[part] = len(labels)
    return counts, sum(path.stat().st_size for side in sides for path in _folder(domain, location, side).iterdir())


def _sides(domain: Domain, location: Location) -> list[int | None]:
    """The sizes at which photographs may be prepared here; None for other kinds."""
    if domain.kind != "photos":
        return [None]
    sizes = (path.name.rpartition("@")[2] for path in (location.root / "prepared").glob(f"{_slug(domain)}@*"))
    return [*sorted(int(size) for size in sizes if size.isdecimal())]


def _source_state(domain: Domain, location: Location) -> str:
    if sources.in_folder(domain, location):
        return "downloaded"
    return "in the mirror" if sources.in_mirror(domain, location) else "not here"


def _fetch_size(domain: Domain) -> int | None:
    """Bytes of the cheapest route, as far as known."""
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
    """Every place that has a domain: the mirror's files by route, then all hosts, packages and wheels, each once."""
    routes = (", ".join(file.name for file in route.files) for route in domain.routes)
    offers = [f"mirror ({' or '.join(routes)})"]
    files = [file for route in domain.routes for file in route.files]
    offers += dict.fromkeys(url.split("/")[2] for file in files for url in file.urls)
    offers += [f"installed {file.installed.distribution}" for file in files if file.installed]
    offers += [f"package index ({file.wheel.requirement})" for file in files if file.wheel]
    return tuple(offers)


def _write(domain: Domain, parts: Mapping[str, Part], source: str, location: Location, side: int | None) -> None:
    """Write everything to a temporary folder, which becomes the prepared one at the very end."""
    final = _folder(domain, location, side)
    temporary = final.with_name(f".{final.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # left by a killed run; the lock keeps others out
    temporary.mkdir(parents=True)
    try:
        _check_space(domain, parts, location, side)
        written = {part: _write_part(domain, part, content, temporary, side) for part, content in parts.items()}
        meta = {"format": FORMAT, "domain": domain.name, "source": source, "parts": written}
        if domain.folder is not None:
            meta["state"] = folders.state(domain.name)
        _write_file(temporary / "meta.json", [(json.dumps(meta, indent=1) + "\n").encode()])
        _sync_folder(temporary)
        if final.exists():  # in an older format
            shutil.rmtree(final)
        temporary.rename(final)
        _sync_folder(final.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_part(domain: Domain, part: str, content: Part, folder: Path, side: int | None) -> dict[str, Any]:
    count = len(content.labels)
    shape = (count, *_shape(domain, side))
    labels = np.ascontiguousarray(content.labels, dtype=np.int64)
    # Written as a stream, not through a memory map: a full disk is then an error and does not kill the process.
    with (folder / f"{part}.images.npy").open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        found = _content_digest(shape, _written(_blocks(domain, part, content, shape[1]), file), labels)
        _sync(file.fileno(), file.flush)
    with (folder / f"{part}.labels.npy").open("wb") as file:
        np.save(file, labels)
        _sync(file.fileno(), file.flush)
    names = content.names or tuple(f"{part}/{index:06d}" for index in range(count))
    _write_file(folder / f"{part}.names.txt", [f"{name}\n".encode() for name in names])
    classes = list(per_class(labels, len(domain.classes))) if domain.classes else []
    fields = {"count": count, "shape": list(shape), "per_class": classes, "digest": found}
    return {**fields, "duplicates": photos.twins(content)} if isinstance(content, Photos) else fields


def _shape(domain: Domain, side: int | None) -> tuple[int, ...]:
    """Shape of one prepared example."""
    if domain.kind == "features":
        return (domain.width,)
    height = SIDE if domain.kind == "digits" else side or domain.side
    return height, height, domain.channels


def _blocks(domain: Domain, part: str, content: Part, side: int) -> Iterator[NDArray[np.uint8]]:
    """The examples as they are stored, block by block."""
    count = len(content.labels)
    with tqdm(total=count, desc=f"{domain.name} {part}", unit="image", disable=None) as bar:
        if isinstance(content, Photos):
            for block in photos.decoded(content, side):
                yield block
                bar.update(len(block))
            return
        for start in range(0, count, _BLOCK):
            values = content.images[start : start + _BLOCK]
            yield values if domain.kind == "features" else to_frame(values, domain.frame, domain.top)
            bar.update(len(values))


def _written(blocks: Iterable[NDArray[np.uint8]], file: BinaryIO) -> Iterator[memoryview]:
    """Writes block by block and passes each one on."""
    for block in blocks:
        content = np.ascontiguousarray(block).data
        file.write(content)
        yield content


def _content_digest(shape: tuple[int, ...], blocks: Iterable[bytes | memoryview], labels: NDArray[np.int64]) -> str:
    """The digest of a part: SHA-256 of its shape, its pixels in C order and its labels."""
    content = hashlib.sha256(f"{shape}".encode())
    for block in blocks:
        content.update(block)
    content.update(labels.tobytes())
    return content.hexdigest()


def _open_intact(
    folder: Path, part: str, fields: Mapping[str, Any], *, again: bool = False
) -> tuple[np.memmap[Any, np.dtype[np.uint8]], NDArray[np.int64]]:
    """Images and labels of a part whose content is as it was prepared.

    Args:
        again: recompute the digest even if this process has done so.

    Raises:
        DataError: they are damaged.
    """
    try:
        stamps = tuple(_stamp(path) for path in _array_files(folder, part))
    except FileNotFoundError:
        raise _damaged(folder) from None
    except OSError as error:
        raise _unreadable(folder, error) from error
    images, labels = _open(folder, part, fields)
    if again or stamps not in _recomputed:
        blocks = (np.ascontiguousarray(images[i : i + _BLOCK]).data for i in range(0, len(images), _BLOCK))
        _recomputed[stamps] = _content_digest(images.shape, blocks, labels)
    if _recomputed[stamps] != fields["digest"]:
        raise _damaged(folder)
    return images, labels


def _open(
    folder: Path, part: str, fields: Mapping[str, Any]
) -> tuple[np.memmap[Any, np.dtype[np.uint8]], NDArray[np.int64]]:
    """Images and labels of a part; types and shapes are checked, the content is not.

    Raises:
        DataError: they are damaged.
    """
    try:
        # The labels are mapped, too: a header that promises too much is then an error and not a huge allocation.
        images, labels = (np.lib.format.open_memmap(path, mode="c") for path in _array_files(folder, part))
    except OSError as error:
        raise _unreadable(folder, error) from error
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


def _check_space(domain: Domain, parts: Mapping[str, Part], location: Location, side: int | None) -> None:
    needed = sum(len(part.labels) for part in parts.values()) * (math.prod(_shape(domain, side)) + 32)
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


def _folder(domain: Domain, location: Location, side: int | None) -> Path:
    size = f"@{side or domain.side}" if domain.kind == "photos" else ""
    return location.root / "prepared" / f"{_slug(domain)}{size}"


def _meta(domain: Domain, location: Location, side: int | None) -> dict[str, Any] | None:
    """What was written when it was prepared; None if nothing was, or in another format or from other files.

    Raises:
        DataError: the metadata are damaged.
    """
    folder = _folder(domain, location, side)
    try:
        content = json.loads((folder / "meta.json").read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unreadable(folder, error) from error
    except ValueError:
        raise _damaged(folder) from None
    if not isinstance(content, dict) or not isinstance(content.get("format"), int):
        raise _damaged(folder)
    if content["format"] != FORMAT:
        return None
    if domain.folder is not None and content.get("state") != folders.state(domain.name):
        return None
    if not _is_complete(content.get("parts"), domain):
        raise _damaged(folder)
    return content


def _is_complete(parts: Any, domain: Domain) -> bool:
    """Whether the metadata of the parts contain everything that is read from them."""
    return (
        isinstance(parts, dict)
        and set(parts) == set(domain.parts)
        and all(
            isinstance(fields, dict) and isinstance(fields.get("digest"), str) and isinstance(fields.get("shape"), list)
            for fields in parts.values()
        )
    )


def _part_meta(domain_name: str, part: str, location: Location, side: int | None) -> dict[str, Any]:
    domain = registry.domain(domain_name)
    meta = _meta(domain, location, side)
    if meta is None:
        raise DataError(f"{domain.name} is not prepared in {location.root}: prepare it first.")
    if part not in meta["parts"]:
        raise DataError(f"{domain.name} has no part {part!r}: choose one of {', '.join(meta['parts'])}.")
    fields: dict[str, Any] = meta["parts"][part]
    return fields


def _damaged(folder: Path) -> DataError:
    return DataError(f"the prepared data in {folder} are damaged: delete this folder and prepare them again.")


def _unreadable(folder: Path, error: OSError) -> DataError:
    """Data that cannot be read need not be damaged: permissions, a name too long, a network that is down."""
    reason = error.strerror or error
    return DataError(f"{error.filename or folder} cannot be read ({reason}): fix that and try again.")


def _storage_error(domain: Domain, location: Location, error: OSError) -> DataError:
    if is_disk_full(error):
        return disk_full(location.root, domain.name, None)
    where = error.filename or location.root
    return DataError(f"{where} cannot be read or written ({error.strerror or error}): check it and try again.")
