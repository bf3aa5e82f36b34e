"""Prepared data that are damaged, old or not what they are said to be."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets import fetch, registry, sources, store
from datasets.errors import DataError
from datasets.store import Location
from tests.datasets.data_helpers import Tiny, mnistm_members, png, write_tar
from tests.datasets.test_data_faults import kept, mirror_with


def test_damaged_prepared_copy_is_named(tiny: Tiny, here: Location) -> None:
    store.prepare("tiny", here)
    folder = here.root / "prepared" / "tiny"
    images = folder / "train.images.npy"
    images.write_bytes(images.read_bytes()[:1000])
    with pytest.raises(DataError, match="damaged: delete this folder"):
        store.load("tiny", "train", here)
    (folder / "meta.json").write_text("{")
    with pytest.raises(DataError, match="damaged: delete this folder"):
        store.is_prepared("tiny", here)


def flip(path: Path, offset: int) -> None:
    """Change one bit of a file, and for sure its time of change."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 10_000_000))


def assert_damaged(here: Location) -> None:
    for open_it in (lambda: store.load("tiny", "train", here), lambda: store.verify("tiny", here)):
        with pytest.raises(DataError, match=r"prepared data in .*tiny are damaged: delete this folder"):
            open_it()


@pytest.mark.parametrize("loaded_before", [False, True])
@pytest.mark.parametrize("name", ["train.images.npy", "train.labels.npy"])
def test_one_wrong_bit_is_noticed(loaded_before: bool, name: str, tiny: Tiny, here: Location) -> None:
    store.prepare("tiny", here)
    if loaded_before:
        store.load("tiny", "train", here)
    store.verify("tiny", here)
    path = here.root / "prepared" / "tiny" / name
    flip(path, path.stat().st_size // 2)
    assert_damaged(here)
    assert store.prepare("tiny", here) == "tiny"  # cheap: it does not look
    flip(path, path.stat().st_size // 2)
    store.load("tiny", "train", here)
    store.verify("tiny", here)


def test_shifted_labels_are_noticed(tiny: Tiny, here: Location) -> None:
    store.prepare("tiny", here)
    labels = store.load("tiny", "train", here).labels
    path = here.root / "prepared" / "tiny" / "train.labels.npy"
    for wrong in (np.roll(labels, 1), labels.view(np.float64), labels.reshape(-1, 1), labels[:-1]):
        np.save(path, wrong)
        assert_damaged(here)


def test_every_damaged_header_is_noticed(tiny: Tiny, here: Location) -> None:
    store.prepare("tiny", here)
    for name in ("train.images.npy", "train.labels.npy"):
        path = here.root / "prepared" / "tiny" / name
        whole = path.read_bytes()
        for offset in range(0, whole.index(b"}")):
            path.write_bytes(whole[:offset] + b"9" + whole[offset + 1 :])
            with pytest.raises(DataError, match="damaged: delete this folder"):
                store.verify("tiny", here)
        path.write_bytes(whole)
    store.verify("tiny", here)


def test_digest_is_recomputed_once_per_process(tiny: Tiny, here: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    store.prepare("tiny", here)
    original, calls = store._content_digest, []

    def counted(*arguments: Any) -> str:
        calls.append(1)
        return original(*arguments)

    monkeypatch.setattr(store, "_content_digest", counted)
    digests = {store.load("tiny", "train", here).digest for _ in range(3)}
    assert digests == {store.digest("tiny", "train", here)}
    assert len(calls) == 1
    store.prepare("tiny", here)
    assert len(calls) == 1
    store.verify("tiny", here)
    assert len(calls) == 2


WRONG_META = [
    [],
    None,
    "text",
    {},
    {"format": "1"},
    {"format": 1},
    {"format": 1, "parts": []},
    {"format": 1, "parts": {}},
    {"format": 1, "parts": {"test": {"digest": "", "shape": []}}},
    {"format": 1, "parts": {"train": None}},
    {"format": 1, "parts": {"train": {"digest": "0"}}},
    {"format": 1, "parts": {"train": {"shape": [3000, 28, 28, 1]}}},
]


@pytest.mark.parametrize("meta", WRONG_META, ids=json.dumps)
def test_wrong_metadata_are_damage(meta: Any, tiny: Tiny, here: Location) -> None:
    store.prepare("tiny", here)
    (here.root / "prepared" / "tiny" / "meta.json").write_text(json.dumps(meta))
    assert_damaged(here)
    for call in (store.is_prepared, store.prepare):
        with pytest.raises(DataError, match="damaged: delete this folder"):
            call("tiny", here)
    with pytest.raises(DataError, match="damaged: delete this folder"):
        store.digest("tiny", "train", here)
    assert [entry.state for entry in store.listing(here)] == ["damaged"]


@pytest.mark.parametrize("name", ["meta.json", "train.images.npy", "train.labels.npy"])
def test_damaged_domain_does_not_hide_the_others(
    name: str, tiny: Tiny, here: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = dataclasses.replace(tiny.domain, name="other")
    monkeypatch.setattr(registry, "DOMAINS", {"tiny": tiny.domain, "other": other})
    (tiny.manifests / "other.json").write_bytes((tiny.manifests / "tiny.json").read_bytes())
    store.prepare("tiny", here)
    store.prepare("other", here)
    path = here.root / "prepared" / "tiny" / name
    path.write_bytes(path.read_bytes()[:100])
    first, second = store.listing(here)
    assert (first.state, first.counts, first.size) == ("damaged", {"train": 3000}, len(tiny.content))
    assert (second.state, second.counts) == ("prepared", {"train": 3000})


def test_files_that_wait_are_listed_as_downloaded(tiny: Tiny, tmp_path: Path) -> None:
    place = mirror_with(tmp_path, tiny.content)
    assert [entry.state for entry in store.listing(Location(place.root))] == ["not here"]
    assert [entry.state for entry in store.listing(place)] == ["in the mirror"]
    kept(place).parent.mkdir(parents=True)
    kept(place).write_bytes(tiny.content)
    for location in (place, Location(place.root)):
        assert [entry.state for entry in store.listing(location)] == ["downloaded"]


def test_older_format_is_prepared_again(tiny: Tiny, here: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    store.prepare("tiny", here)
    monkeypatch.setattr(store, "FORMAT", store.FORMAT + 1)
    with pytest.raises(DataError, match="prepare it first"):
        store.load("tiny", "train", here)
    store.prepare("tiny", here)
    assert store.is_prepared("tiny", here)


def test_parts_that_do_not_exist(tiny: Tiny, here: Location) -> None:
    with pytest.raises(DataError, match="not prepared"):
        store.digest("tiny", "train", here)
    store.prepare("tiny", here)
    with pytest.raises(DataError, match="no part 'test': choose one of train"):
        store.load("tiny", "test", here)


def test_missing_manifest_is_an_error(tiny: Tiny, here: Location) -> None:
    (tiny.manifests / "tiny.json").unlink()
    with pytest.raises(DataError, match=r"manifest .* is missing"):
        store.prepare("tiny", here)


def test_manifest_is_written_for_maintainers(tiny: Tiny, here: Location) -> None:
    from datasets import manifest, verify

    before = verify.manifest("tiny")
    (tiny.manifests / "tiny.json").unlink()
    assert manifest.main(["tiny", "--data", str(here.root)]) == 0
    assert verify.manifest("tiny") == before
    assert manifest.main(["nothing", "--data", str(here.root)]) == 1


def test_image_files_are_compared_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import manifest, verify

    monkeypatch.setattr(verify, "MANIFESTS", tmp_path)
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    place = Location(tmp_path / "data", str(mirror))
    members = mnistm_members(np.zeros((12, 32, 32, 3), np.uint8))
    write_tar(mirror / "mnist_m_10k.tar.gz", members)
    manifest.write("mnistm-10k", place)
    changed = "mnist_m_test/00000007.png"
    write_tar(mirror / "mnist_m_10k.tar.gz", members | {f"mnist_m/{changed}": png(np.ones((32, 32, 3), np.uint8))})
    with pytest.raises(DataError, match=rf"mnistm-10k: {changed}: expected digest \w+, found \w+; .*mnist_m_10k"):
        store.prepare("mnistm-10k", place)
    write_tar(mirror / "mnist_m_10k.tar.gz", members)
    assert store.prepare("mnistm", place) == "mnistm-10k"
    assert store.load("mnistm-10k", "test", place).names[7] == changed
    assert sources.in_mirror(registry.domain("mnistm-10k"), place)
    assert fetch.ATTEMPTS > 1
