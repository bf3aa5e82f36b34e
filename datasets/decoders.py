"""From the published files of a data set to arrays at native size.

A decoder takes the files of a route in the order of the registry and returns part -> ``Native``.  It may let any
exception of a parsing library through: the store turns it into a ``DataError`` that names the files.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets import archives

FILE_DIGEST = 16
"""Hexadecimal characters kept from the SHA-256 of an image file: 64 bits, ample to detect damage or another version."""


@dataclass(frozen=True)
class Native:
    """One part of a domain as published, before scaling to 28 x 28."""

    images: NDArray[np.uint8]
    """uint8 (N, H, W, C), C in {1, 3}, white on black where grey; feature vectors are (N, width)."""
    labels: NDArray[np.int64]
    """int64 (N,), in 0 .. classes - 1."""
    names: tuple[str, ...] = ()
    """Original file names, N of them; empty for sets published as arrays."""
    files: tuple[str, ...] = ()
    """Digest of name and bytes of each file (see ``file_digest``), N of them; empty for sets published as arrays."""


def file_digest(name: str, content: bytes) -> str:
    """The first 16 hexadecimal characters of the SHA-256 over name, a zero byte, and content."""
    return hashlib.sha256(name.encode("utf-8", "surrogateescape") + b"\0" + content).hexdigest()[:FILE_DIGEST]


def idx(paths: Sequence[Path]) -> dict[str, Native]:
    """MNIST's own format: training images and labels, test images and labels, gzip."""
    train_images, train_labels, test_images, test_labels = map(_idx_array, paths)
    return {
        "train": Native(train_images[..., None], train_labels.astype(np.int64)),
        "test": Native(test_images[..., None], test_labels.astype(np.int64)),
    }


def _idx_array(path: Path) -> NDArray[np.uint8]:
    content = gzip.decompress(path.read_bytes())
    zero, kind, rank = struct.unpack_from(">HBB", content)
    if zero != 0 or kind != 8:
        raise ValueError(f"{path.name} is not an idx file of bytes")
    shape = struct.unpack_from(f">{rank}I", content, 4)
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * rank).reshape(shape)


def mnist_pickle(paths: Sequence[Path]) -> dict[str, Native]:
    """The pickle known from deep learning tutorials: 50,000, 10,000 and 10,000 pairs (images, labels).

    Pixels are float32 multiples of 1/256, converted back to the exact original bytes; the first two sets, in this
    order, are MNIST's training set.
    """
    sets = archives.unpickle_arrays(gzip.decompress(paths[0].read_bytes()))
    train, validation, test = [(_exact_bytes(images), labels.astype(np.int64)) for images, labels in sets]
    images = np.concatenate([train[0], validation[0]])
    return {
        "train": Native(images, np.concatenate([train[1], validation[1]])),
        "test": Native(test[0], test[1]),
    }


def _exact_bytes(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    values = images * np.float32(256)
    pixels = values.astype(np.uint8)
    if not np.array_equal(pixels, values):
        raise ValueError("pixels are not multiples of 1/256")
    return pixels.reshape(-1, 28, 28, 1)


def table(paths: Sequence[Path], *, height: int, width: int, header: int = 0) -> dict[str, Native]:
    """Comma-separated text, one image per line: height * width pixels row by row, the label last; gzip if so named.

    Such sets come without a split: everything is the part ``train``.
    """
    path = paths[0]
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        values = np.loadtxt(lines, delimiter=",", skiprows=header, ndmin=2)
    numbers = values.astype(np.int64)
    if not np.array_equal(numbers, values) or numbers.min() < 0 or numbers.max() > 255:
        raise ValueError("a value is not a whole number in 0 .. 255")
    pixels = numbers[:, :-1].astype(np.uint8).reshape(-1, height, width, 1)
    return {"train": Native(pixels, numbers[:, -1].copy())}


def rdata(paths: Sequence[Path]) -> dict[str, Native]:
    """USPS as two R matrices (training, test): the label first, then 256 pixels in [-1, 1] row by row."""
    return {"train": _usps(paths[0], "zip.train"), "test": _usps(paths[1], "zip.test")}


def _usps(path: Path, name: str) -> Native:
    matrix = _r_matrix(path, name)
    pixels = np.floor((matrix[:, 1:] + 1) * 127.5 + 0.5)
    if pixels.min() < 0 or pixels.max() > 255:
        raise ValueError(f"a pixel of {name} is outside [-1, 1]")
    return Native(pixels.astype(np.uint8).reshape(-1, 16, 16, 1), matrix[:, 0].astype(np.int64))


def _r_matrix(path: Path, name: str) -> NDArray[np.float64]:
    """The matrix of doubles that ``save(name)`` of R 2 writes to a bzip2 file, with nothing else in it.

    "Serialization Formats" in the manual *R Internals* explains the numbers: all are big-endian, a list's cell is
    0x402, a name is 1 and 0x40009 and its length, doubles with attributes 0x20E, integers 13, the end of a list 0xFE,
    and values are stored column by column.
    """
    content = bz2.decompress(path.read_bytes())
    head = b"RDX2\nX\n"
    versions = struct.calcsize(">3i")  # of the format, of the R that wrote it, and of the oldest R that reads it
    doubles = struct.pack(">4i", 0x402, 1, 0x40009, len(name)) + name.encode() + struct.pack(">i", 0x20E)
    start = len(head) + versions + len(doubles) + 4
    (count,) = struct.unpack_from(">i", content, start - 4)
    rows, columns = struct.unpack_from(">2i", content, len(content) - 16)
    tail = struct.pack(">4i3s6i", 0x402, 1, 0x40009, 3, b"dim", 13, 2, rows, columns, 0xFE, 0xFE)
    whole = content[: len(head)], content[len(head) + versions : start - 4], content[start + 8 * count :]
    if whole != (head, doubles, tail) or count != rows * columns:
        raise ValueError(f"{path.name} is not the matrix {name} as R saves it")
    return np.frombuffer(content, ">f8", count, start).reshape(columns, rows).T.astype(np.float64)


def matlab(paths: Sequence[Path]) -> dict[str, Native]:
    """SVHN's format (training, test): ``X`` uint8 (32, 32, 3, N), ``y`` (N, 1) where the digit zero may be 10."""
    return {"train": _matlab_arrays(paths[0]), "test": _matlab_arrays(paths[1])}


def _matlab_arrays(path: Path) -> Native:
    from scipy.io import loadmat

    content = loadmat(path, variable_names=["X", "y"])
    images = content["X"].transpose(3, 0, 1, 2)
    if images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3):
        raise ValueError(f"X of {path.name} is {images.dtype} {images.shape}, not uint8 (32, 32, 3, N)")
    labels = content["y"].reshape(-1).astype(np.int64)
    labels[labels == 10] = 0
    return Native(images, labels)


def surf(paths: Sequence[Path]) -> dict[str, Native]:
    """Office-Caltech10's SURF histograms: ``fts`` (N, 800) counts, ``labels`` (N, 1) in 1 .. 10."""
    from scipy.io import loadmat

    content = loadmat(paths[0], variable_names=["fts", "labels"])
    values, labels = content["fts"], content["labels"].reshape(-1).astype(np.int64) - 1
    if values.ndim != 2 or not np.isfinite(values.astype(np.float64)).all():
        raise ValueError("fts is not a finite matrix")
    counts = values.astype(np.uint8)
    if not np.array_equal(counts, values):
        raise ValueError("fts holds values that are not counts in 0 .. 255")
    return {"train": Native(counts, labels)}


def torch_pair(paths: Sequence[Path]) -> dict[str, Native]:
    """MNIST-M as two archives (training, test), each with one saved pair (images uint8 (N, 28, 28, 3), labels (N,))."""
    return {"train": _torch_arrays(paths[0]), "test": _torch_arrays(paths[1])}


def _torch_arrays(path: Path) -> Native:
    import torch  # slow to import, and only this format needs it

    saved = [content for name, content in archives.tar_members(path) if name.endswith(".pt")]
    if len(saved) != 1:
        raise ValueError(f"{path.name} holds {len(saved)} saved tensors files, not one")
    images, labels = torch.load(io.BytesIO(saved[0]), map_location="cpu", weights_only=True)
    pixels: NDArray[Any] = images.numpy()
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3:
        raise ValueError(f"images of {path.name} are {pixels.dtype} {pixels.shape}, not uint8 (N, H, W, 3)")
    return Native(pixels, labels.numpy().astype(np.int64))


def listed_pngs(paths: Sequence[Path]) -> dict[str, Native]:
    """MNIST-M's original layout: ``mnist_m_PART/*.png``, and ``mnist_m_PART_labels.txt`` with lines ``NAME LABEL``."""
    members = {PurePosixPath(name).parts[1:]: content for name, content in archives.tar_members(paths[0])}
    return {part: _listed(members, f"mnist_m_{part}") for part in ("train", "test")}


def _listed(members: Mapping[tuple[str, ...], bytes], folder: str) -> Native:
    lines = members[(f"{folder}_labels.txt",)].decode().split("\n")
    pairs = [line.split() for line in lines if line.strip()]
    images, names = [], []
    for name, _ in pairs:
        if (folder, name) not in members:
            raise ValueError(f"{folder}/{name} is listed but missing")
        images.append(_png(members[folder, name], f"{folder}/{name}"))
        names.append(f"{folder}/{name}")
    present = sum(parts[0] == folder for parts in members)
    if present != len(names):
        raise ValueError(f"{folder} holds {present} files and its list names {len(names)}")
    digests = tuple(file_digest(f"{folder}/{name}", members[folder, name]) for name, _ in pairs)
    labels = np.array([int(label) for _, label in pairs], dtype=np.int64)
    return Native(np.stack(images), labels, tuple(names), digests)


def _png(content: bytes, name: str) -> NDArray[np.uint8]:
    from PIL import Image

    image = Image.open(io.BytesIO(content), formats=["PNG"])
    if image.mode != "RGB" or image.size != (32, 32):
        raise ValueError(f"{name} is {image.mode} {image.size}, not RGB 32 x 32")
    return np.asarray(image, dtype=np.uint8)
