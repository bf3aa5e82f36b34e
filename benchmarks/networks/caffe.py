"""Reading trained Caffe weights: from Caffe's own file, or as raw files in an archive.

Both return what ``shapes`` asks for: name -> float32 array, where ``conv2.3x3.weight`` is the first blob of Caffe's
layer ``conv2/3x3`` and ``conv2.3x3.bias`` the second.  Other layers are skipped.

A ``.caffemodel`` is a Protocol Buffers message, ``NetParameter`` of ``caffe.proto``; the few fields that hold weights
are read here without the protobuf package, which would also need Caffe's compiled schema.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets import archives

Shapes = Mapping[str, tuple[int, ...]]
Arrays = dict[str, NDArray[np.float32]]

_LAYERS = {2: (4, 6), 100: (1, 7)}
"""Field of ``NetParameter`` that holds a layer -> the layer's fields with its name and its blobs: ``V1LayerParameter``,
used for nets of 2014, and ``LayerParameter``."""
_DATA = 5
"""Field of ``BlobProto`` with its values, packed or one by one."""


def from_caffemodel(path: Path, shapes: Shapes) -> Arrays:
    """The weights in a ``.caffemodel``.

    Raises:
        ValueError, KeyError: it is not such a file, or lacks these layers.
    """
    layers: dict[str, list[NDArray[np.float32]]] = {}
    for number, layer in _fields(memoryview(path.read_bytes())):
        if number in _LAYERS:
            name_field, blobs_field = _LAYERS[number]
            fields = list(_fields(layer))
            (name,) = (bytes(value).decode() for field, value in fields if field == name_field)
            layers[name] = [_blob(value) for field, value in fields if field == blobs_field]
    places = {name: _place(name) for name in shapes}
    return {name: layers[layer][kind == "bias"].reshape(shapes[name]) for name, (layer, kind) in places.items()}


def from_archive(path: Path, shapes: Shapes) -> Arrays:
    """The weights in an archive with ``bvlc_googlenet/weights/LAYER_{filter,bias}.bin``, wherever that folder is in it.

    The files are raw little-endian float32; filters are stored as (out, height, width, in).

    Raises:
        DataError: it is not an archive.
        ValueError, KeyError: it lacks these layers.
    """
    folder = "bvlc_googlenet/weights/"
    members = archives.members(path, lambda name: folder in name)
    files = {name.rpartition(folder)[2]: content for name, content in members}
    arrays = {}
    for name, shape in shapes.items():
        layer, kind = _place(name)
        values = np.frombuffer(files[f"{layer}_{'bias' if kind == 'bias' else 'filter'}.bin"], "<f4")
        if len(shape) == 4:
            out, channels, height, width = shape
            values = values.reshape(out, height, width, channels).transpose(0, 3, 1, 2)
        arrays[name] = np.ascontiguousarray(values.reshape(shape))
    return arrays


def _place(name: str) -> tuple[str, str]:
    """Caffe's layer, and ``weight`` or ``bias``."""
    layer, _, kind = name.rpartition(".")
    return layer.replace(".", "/"), kind


def _blob(message: memoryview) -> NDArray[np.float32]:
    return np.frombuffer(b"".join(value for field, value in _fields(message) if field == _DATA), "<f4")


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of every field of a message that is stored as bytes; whole numbers are skipped."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            _, at = _varint(message, at)
            continue
        if kind not in (1, 2, 5):
            raise ValueError(f"no field has the wire type {kind}")
        size, at = _varint(message, at) if kind == 2 else (8 if kind == 1 else 4, at)
        if at + size > len(message):
            raise ValueError("it ends too early")
        yield number, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A whole number, seven bits per byte, lowest first; and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("it ends too early")
        value |= (message[at] & 127) << shift
        at += 1
        if message[at - 1] < 128:
            return value, at
    raise ValueError("a number has more than ten bytes")
