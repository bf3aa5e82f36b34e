"""The real domains: what the package index gives always, what a mirror gives where ``DATA_MIRROR`` names one."""

from __future__ import annotations

import hashlib
import os
import struct

import numpy as np
import pytest

from datasets import registry, store, verify
from datasets.store import Location

MINI = tuple(registry.suite("digits-mini").domains.values())


@pytest.mark.parametrize("name", MINI)
def test_small_domain_is_what_its_manifest_says(name: str, real: Location) -> None:
    check_prepared(name, real)


@pytest.mark.skipif(not os.environ.get("DATA_MIRROR"), reason="DATA_MIRROR names no mirror")
@pytest.mark.parametrize("name", ["usps", "mnistm-10k"])
def test_mirrored_domain_is_what_its_manifest_says(name: str, real: Location) -> None:
    store.prepare(name, real)
    check_prepared(name, real)


@pytest.mark.parametrize("name", sorted(set(registry.DOMAINS) - set(MINI)))
def test_whatever_else_is_prepared_is_what_its_manifest_says(name: str, real: Location) -> None:
    if not store.is_prepared(name, real):
        pytest.skip(f"{name} is not prepared on this machine")
    check_prepared(name, real)


def check_prepared(name: str, location: Location) -> None:
    domain = registry.domain(name)
    for part, expected in verify.manifest(name).items():
        data = store.load(name, part, location)
        assert isinstance(data.images, np.memmap)
        assert data.images.dtype == np.uint8
        side = 28 if domain.kind == "digits" else domain.side
        shape = (domain.width,) if domain.kind == "features" else (side, side, domain.channels)
        assert data.images.shape == (len(data.labels), *shape)
        assert data.labels.dtype == np.int64
        assert len(data.names) == len(set(data.names)) == len(data.labels)
        assert data.digest == store.digest(name, part, location)
        assert expected.count in (None, len(data.labels))
        assert set(np.unique(data.labels)) == set(range(len(domain.classes)))
        assert expected.per_class in ((), verify.per_class(data.labels, len(domain.classes)))
        if domain.kind == "digits":
            assert data.images.max() > 200  # white is white, not the native 6 or 16
        if domain.channels == 1 and domain.kind == "digits":
            assert np.median(data.images) < 64  # white on black
            assert (data.images[:, 0, 0] < 128).mean() > 0.9


@pytest.mark.parametrize("name", ["optdigits", "mfeat"])
def test_padded_digits_lie_in_the_box_of_mnist(name: str, real: Location) -> None:
    images = store.load(name, "train", real).images
    assert not images[:, :4].any()
    assert not images[:, 24:].any()
    assert not images[:, :, :4].any()
    assert not images[:, :, 24:].any()
    assert images[:, 4].any()
    assert images[:, 23].any()


@pytest.mark.parametrize("name", MINI)
def test_digits_are_upright_and_labels_are_right(name: str, real: Location) -> None:
    """Mean images of MNIST classify every set better upright than mirrored, turned or inverted."""
    reference = store.load("mnist-5k", "train", real)
    means = np.stack([reference.images[reference.labels == digit].mean(0) for digit in range(10)])
    data = store.load(name, "train", real)

    def accuracy(images: np.ndarray) -> float:
        a = images.reshape(len(images), -1) - images.mean((1, 2, 3)).reshape(-1, 1)
        b = means.reshape(10, -1) - means.mean((1, 2, 3)).reshape(-1, 1)
        scores = a @ b.T / np.linalg.norm(b, axis=1)
        return float((scores.argmax(1) == data.labels).mean())

    images = np.asarray(data.images, dtype=np.float64)
    upright = accuracy(images)
    assert upright > 0.2
    for other in (images[:, ::-1], images[:, :, ::-1], images.transpose(0, 2, 1, 3), 255 - images):
        assert upright > accuracy(other) + 0.08


def test_a_second_preparation_changes_nothing(real: Location) -> None:
    meta = real.root / "prepared" / "optdigits" / "meta.json"
    before = meta.stat().st_mtime_ns
    assert store.prepare("optdigits", real) == "optdigits"
    assert meta.stat().st_mtime_ns == before


def test_preparation_is_deterministic(real: Location, here: Location) -> None:
    store.prepare("optdigits", here)
    assert store.digest("optdigits", "train", here) == store.digest("optdigits", "train", real)
    first, second = (store.load("optdigits", "train", place) for place in (here, real))
    assert np.array_equal(first.images, second.images)
    assert np.array_equal(first.labels, second.labels)


PUBLISHED_MNIST = {
    "train": ("6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624"),
    "test": ("2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637"),
}
"""MD5 of MNIST's own four files, unpacked."""


def prepared_mnist(location: Location, part: str) -> store.Images:
    if not store.is_prepared("mnist", location):
        pytest.skip("mnist is not prepared on this machine")
    return store.load("mnist", part, location)


@pytest.mark.parametrize("part", PUBLISHED_MNIST)
def test_mnist_from_any_source_is_the_published_files_to_the_byte(part: str, real: Location) -> None:
    data = prepared_mnist(real, part)
    images = struct.pack(">4I", 2051, len(data.images), 28, 28) + data.images.tobytes()
    labels = struct.pack(">2I", 2049, len(data.labels)) + data.labels.astype(np.uint8).tobytes()
    assert (hashlib.md5(images).hexdigest(), hashlib.md5(labels).hexdigest()) == PUBLISHED_MNIST[part]


def test_small_mnist_is_part_of_mnist(real: Location) -> None:
    whole, small = prepared_mnist(real, "train"), store.load("mnist-5k", "train", real)
    known = {image.tobytes(): label for image, label in zip(whole.images, whole.labels, strict=True)}
    assert all(known.get(image.tobytes()) == label for image, label in zip(small.images, small.labels, strict=True))
