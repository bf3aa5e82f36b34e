"""Activations of a pretrained trunk at a cut: computed once, cached, shared by all cells and jobs.

Everything they depend on is in the key; its hash names the folder below ``activations/`` of the data folder::

    activations/<backbone>-<domain>-<hash>/values.npy    float32, (N, 1 + views, width) or (N, 1 + views, H, W, C)
    activations/<backbone>-<domain>-<hash>/meta.json     the key and the digest of the values
    activations/<backbone>-<domain>-<hash>.partial/      the finished blocks of an extraction under way

An extraction proceeds block by block.  Every finished block is kept, so an interrupted extraction resumes where it
stopped, and a second process that needs the same activations waits for the first and then finds them.  A block is
computed on one thread, in batches that never depend on the number of jobs, so neither do the bits.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from benchmarks.machine import host, processes
from benchmarks.machine.errors import UserError
from benchmarks.machine.host import seed_of
from benchmarks.machine.processes import LostWorkerError
from benchmarks.networks import feeding, pretrained, weights
from benchmarks.networks.pretrained import Pretrained
from benchmarks.records.files import write_atomically
from benchmarks.records.store import Spec, digest
from benchmarks.records.words import plural
from datasets import folders, locks, store
from datasets.errors import is_disk_full
from datasets.fetch import write_whole
from datasets.store import Location
from methods import bn_statistics

REVISION = 1
"""Raised by hand when a change to this module or to ``pretrained`` alters the values."""

VALUES, META = "values.npy", "meta.json"
"""The files of a finished folder."""
BATCH = 16
"""Images that go through the trunk at once."""

BLOCK = 128
"""Images whose activations are saved together during an extraction."""

STATISTICS_IMAGES = 256
"""Maximum number of images used for a domain's BatchNorm statistics."""


@dataclass(frozen=True)
class Key:
    """Everything that determines the values."""

    backbone: str
    weights: str
    """Digest of the pretrained weights."""
    domain: str
    data: str
    """Digest of the prepared images."""
    transform: str
    """From prepared image to the network's input, in words."""
    cut: str
    views: int
    """Augmented views beside the centre crop."""
    precision: str
    """``fp32`` or ``bf16`` (autocast; the values are stored as float32 either way)."""
    statistics: str
    """BatchNorm statistics of the trunk: ``imagenet``, or a domain's, with its name, its digest and the maximum number
    of its images used."""
    device: str
    revision: int
    pooled: bool = False
    """Whether maps at an early cut are averaged over space."""

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits of the SHA-256 of the canonical JSON form; ``pooled`` is included only if set."""
        return digest(self, added=("pooled",))


def key_of(
    backbone: str,
    domain: str,
    cut: str,
    location: Location,
    *,
    views: int,
    precision: str,
    device: str,
    pooled: bool = False,
    statistics_of: str = "",
) -> Key:
    """The key of a prepared domain's activations.

    Args:
        backbone, domain, cut, location, views, precision, device, pooled: what is computed, from what, and where.
        statistics_of: the prepared domain whose BatchNorm statistics the trunk uses; empty for ImageNet's.

    Raises:
        DataError: the domain is not prepared.
    """
    known = pretrained.KNOWN[backbone]

    def digest(name: str) -> str:
        return store.digest(name, "train", location, side=known.side)

    return Key(
        backbone=backbone,
        weights=weights.digest(backbone),
        domain=domain,
        data=digest(domain),
        transform=transform(known),
        cut=cut,
        views=views,
        precision=precision,
        statistics=f"{statistics_of} {digest(statistics_of)} {STATISTICS_IMAGES}" if statistics_of else "imagenet",
        device=device,
        revision=REVISION,
        pooled=pooled,
    )


def transform(known: Pretrained) -> str:
    """The preprocessing of an image, in words that change when it does."""
    order = ", blue first" if known.bgr else ""
    return f"shorter side {known.side} bicubic, crop {known.crop}, mean {known.mean}, deviation {known.std}{order}"


def folder(key: Key, location: Location) -> Path:
    """Where the activations are, or will be."""
    name = key.domain.rpartition("/")[2]
    name = folders.plain(name) if key.domain.startswith(folders.PREFIX) else name
    return location.root / "activations" / f"{key.backbone}-{name}-{key.hash}"


def is_complete(key: Key, location: Location) -> bool:
    """Whether the activations are there; their content is checked when they are opened."""
    return (folder(key, location) / META).is_file()


def load(key: Key, location: Location) -> NDArray[np.float32]:
    """The activations of a domain, in the order of its images: a copy-on-write memory map; computed if necessary.

    float32, (N, 1 + views, width) or (N, 1 + views, height, width, channels); view 0 is the centre crop.

    Raises:
        UserError, DataError: they can be neither read nor computed.
    """
    ensure([key], location, jobs=1)
    values = _open_intact(folder(key, location))
    if values is None:
        # A cache is never the only copy, so damage is repaired, not just reported.
        print(
            f"note: the cached activations in {folder(key, location)} are damaged; computing them again.",
            file=sys.stderr,
        )
        with _told(location), _locked(key, location):
            if (values := _open_intact(folder(key, location))) is None:
                shutil.rmtree(folder(key, location), ignore_errors=True)
                _extract(key, location, jobs=1)
                values = _open_intact(folder(key, location))
    if values is None:
        raise UserError(f"the activations in {folder(key, location)} cannot be read back; check the disk.")
    return values


def ensure(keys: Iterable[Key], location: Location, *, jobs: int) -> None:
    """Compute missing activations.

    Args:
        jobs: processes to compute with; always one on a GPU.

    Raises:
        UserError, DataError: the images, the weights or the disk space are missing.
    """
    for key in dict.fromkeys(keys):
        if is_complete(key, location):
            continue
        with _told(location), _locked(key, location):
            if not is_complete(key, location):  # another process may have computed them while this one waited
                _extract(key, location, jobs=jobs if key.device == "cpu" else 1)


def adopt(key: Key, location: Location, files: Mapping[str, bytes]) -> None:
    """Keep activations that another machine computed.

    Args:
        files: name -> content, of everything in their folder there.

    Raises:
        UserError: they cannot be stored.
    """
    partial = folder(key, location).with_name(folder(key, location).name + ".partial")
    with _told(location), _locked(key, location):
        if is_complete(key, location):
            return
        partial.mkdir(parents=True, exist_ok=True)
        for name in (VALUES, META):  # in the order of an extraction: the last one completes the folder
            write_whole(partial / name, files[name])
        _publish(partial, folder(key, location))


@contextlib.contextmanager
def _told(location: Location) -> Iterator[None]:
    """Errors that stop an extraction, as a sentence."""
    try:
        yield
    except OSError as error:
        reason = "the disk is full" if is_disk_full(error) else error.strerror or str(error)
        raise UserError(
            f"cannot write the activations in {location.root / 'activations'}: {reason}; free some space or "
            "choose another data folder."
        ) from error
    except LostWorkerError as error:
        raise UserError(
            "a process that computed activations was killed from outside, perhaps for lack of memory; try fewer --jobs."
        ) from error


def _locked(key: Key, location: Location) -> AbstractContextManager[None]:
    path = location.root / "locks" / f"activations-{key.hash}.lock"
    return locks.held(path, f"computes activations of {key.domain}")


def _extract(key: Key, location: Location, jobs: int) -> None:
    known = pretrained.KNOWN[key.backbone]
    path = weights.path(key.backbone, location)
    images = store.load(key.domain, "train", location, side=known.side).images
    partial = folder(key, location).with_name(folder(key, location).name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    if (partial / META).is_file():  # a process was killed right after finishing
        _publish(partial, folder(key, location))
        return
    starts = range(0, len(images), BLOCK)
    one = (1 + key.views, *_shape(key))
    missing = [s for s in starts if not _is_usable(_block(partial, s), (min(BLOCK, len(images) - s), *one))]
    source = str(images.filename)
    state = _domain_statistics(key, path, location, partial) if missing and key.statistics != "imagenet" else None
    tasks = [(key, path, source, start, partial, state) for start in missing]
    label = f"{key.backbone} at {key.cut}, {key.domain}"
    with tqdm(total=len(images), desc=label, unit="image", disable=None) as bar:
        done = len(images) - sum(min(BLOCK, len(images) - start) for start in missing)
        bar.update(done)
        if bar.disable:  # as in a log, which would say nothing for minutes
            print(f"extracting {plural(len(images) - done, 'image')}: {label} ...", flush=True)
        for count in processes.results(_compute, tasks, max(1, min(jobs, len(missing)))):
            bar.update(count)
    _assemble(key, [_block(partial, start) for start in starts], len(images), partial)
    _publish(partial, folder(key, location))


def _domain_statistics(key: Key, weights_path: Path, location: Location, partial: Path) -> Path:
    """The file with the state of the network's early part under a domain's BatchNorm statistics.

    They come from a random part of the domain, passed as one batch: layer by layer, every response is computed with the
    new statistics of the layers before it.
    """
    path = partial / "statistics.pt"
    known = pretrained.KNOWN[key.backbone]
    images = store.load(key.statistics.rsplit(" ", 2)[0], "train", location, side=known.side).images
    chosen = np.random.default_rng(seed_of(0, "statistics")).permutation(len(images))[:STATISTICS_IMAGES]
    early = _early(key.backbone, key.cut, weights_path, key.device, key.pooled)
    with host.computing(threads=1), torch.inference_mode():
        batch = torch.from_numpy(np.ascontiguousarray(images[np.sort(chosen)])).to(key.device)
        bn_statistics.replace_at_once(early, pretrained.centre_crop(batch, known))
    content = io.BytesIO()
    torch.save(early.state_dict(), content)
    path.write_bytes(content.getvalue())  # torch itself would report a full disk as a different error
    _early.cache_clear()  # the cached network has ImageNet's statistics
    return path


def _shape(key: Key) -> tuple[int, ...]:
    """Shape of one activation as stored: (width,) or (height, width, channels)."""
    known = pretrained.KNOWN[key.backbone]
    if key.pooled or key.cut == pretrained.LOGITS:
        return (known.places[key.cut],)
    channels, *space = known.cuts[key.cut]
    return (*space, channels)


def _block(partial: Path, start: int) -> Path:
    return partial / f"{start:07d}.npy"


def _is_usable(path: Path, shape: tuple[int, ...]) -> bool:
    """Whether a block is there and complete."""
    try:
        values = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return False
    return bool(values.dtype == np.float32 and values.shape == shape)


def _compute(
    key: Key, weights_path: Path, images_file: str, start: int, partial: Path, state: Path | None = None
) -> int:
    """Compute and save one block; returns the number of its images.  ``state``: the network's, if not as published."""
    block = np.load(images_file, mmap_mode="c")[start : start + BLOCK]
    with host.computing(threads=1), torch.inference_mode():
        early = _early(key.backbone, key.cut, weights_path, key.device, key.pooled, state)
        parts = [
            views_of(early, np.ascontiguousarray(block[i : i + BATCH]), start + i, key)
            for i in range(0, len(block), BATCH)
        ]
    _save(_block(partial, start), np.concatenate(parts))
    return len(block)


@functools.lru_cache(maxsize=1)
def _early(
    backbone: str, cut: str, weights_path: Path, device: str, pooled: bool, state: Path | None = None
) -> nn.Module:
    """The part of the network before the cut, ready for inference; reused from block to block."""
    if pooled or cut == pretrained.LOGITS:
        early = pretrained.features(backbone, weights_path, cut)
    else:
        early, _ = pretrained.split(backbone, pretrained.trunk(backbone, weights_path), cut)
    if state is not None:
        early.load_state_dict(torch.load(state, weights_only=True))
    return early.eval().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def views_of(early: nn.Module, batch: NDArray[np.uint8], first: int, key: Key) -> NDArray[np.float32]:
    """Activations of a batch's centre crops and augmented views, float32, (B, 1 + views, ...).

    Args:
        early: the network up to the cut, ready for inference.
        batch: uint8, (B, side, side, 3).
        first: position of the batch's first image in its domain.
        key: what is wanted.
    """
    known = pretrained.KNOWN[key.backbone]
    images = torch.from_numpy(batch).to(key.device)
    views = [pretrained.centre_crop(images, known)]
    for view in range(key.views):
        # A view depends only on its number and the image's position.
        generator = torch.Generator().manual_seed(seed_of(0, "view", view, first))
        views.append(pretrained.random_crops(images, known, generator))
    with torch.autocast(key.device, torch.bfloat16, enabled=key.precision == "bf16"):
        values = torch.stack([feeding.channels_last(early(view)).float() for view in views], dim=1)
    return values.cpu().numpy()


def early(spec: Spec, pooled: bool, weights_path: Path) -> nn.Module:
    """The part of a cell's network before its cut, with ImageNet's statistics, ready for inference.

    Args:
        spec: a cell with a cut.
        pooled: whether maps are averaged over space.
        weights_path: the pretrained weights.
    """
    return _early(spec.backbone, spec.cut, weights_path, spec.device, pooled)


def _save(path: Path, values: NDArray[np.float32]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            np.save(file, values)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _assemble(key: Key, blocks: Sequence[Path], count: int, partial: Path) -> None:
    """Join the blocks in ``partial``; its ``meta.json`` is written last."""
    shape = (count, *np.load(blocks[0], mmap_mode="r").shape[1:])
    digest = hashlib.sha256(f"{shape}".encode())
    with (partial / VALUES).open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for path in blocks:
            content = np.load(path).tobytes()
            digest.update(content)
            file.write(content)
        file.flush()
        os.fsync(file.fileno())
    meta = {"key": asdict(key), "shape": list(shape), "digest": digest.hexdigest()}
    write_atomically(partial / META, json.dumps(meta, indent=1))


def _publish(partial: Path, final: Path) -> None:
    """Turn a complete ``partial`` into the finished folder, without its blocks and leftovers of killed processes."""
    for path in partial.iterdir():
        if path.name not in (VALUES, META):
            path.unlink()
    shutil.rmtree(final, ignore_errors=True)  # without a meta.json it is an unusable leftover
    partial.rename(final)


_intact: set[tuple[str, int, int]] = set()
"""Path, size and modification time (ns) of the values this process has checked."""


def _open_intact(path: Path) -> NDArray[np.float32] | None:
    """The values in a folder; None if they are damaged.  The digest is recomputed once per process."""
    file = path / VALUES
    try:
        meta: dict[str, Any] = json.loads((path / META).read_text())
        values: NDArray[np.float32] = np.lib.format.open_memmap(file, mode="c")
        if values.dtype != np.float32 or list(values.shape) != meta["shape"]:
            return None
        status = file.stat()
        stamp = (str(file), status.st_size, status.st_mtime_ns)
        if stamp not in _intact:
            digest = hashlib.sha256(f"{values.shape}".encode())
            digest.update(values.data)
            if digest.hexdigest() != meta["digest"]:
                return None
            _intact.add(stamp)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return values
