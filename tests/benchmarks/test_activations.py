"""The cache of activations: right values, a key of all that decides them, and no accident that leaves wrong ones."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.machine import host
from benchmarks.machine.errors import UserError
from benchmarks.machine.host import seed_of
from benchmarks.machine.processes import LostWorkerError
from benchmarks.networks import activations, pretrained, weights
from benchmarks.networks.activations import Key
from datasets import store
from datasets.store import Location
from methods import bn_statistics
from tests.benchmarks import tiny_backbone
from tests.benchmarks.tiny_backbone import TINY, key
from tests.datasets.office_helpers import SIDE
from tests.forked import Child

COUNT, BLOCKS = 498, 8
"""Images of dslr, and blocks of 64."""


@pytest.fixture
def place(office: Location, tmp_path: Path) -> Location:
    """A data folder of its own with dslr prepared."""
    name = f"dslr@{SIDE}"
    shutil.copytree(office.root / "prepared" / name, tmp_path / "data" / "prepared" / name)
    return Location(tmp_path / "data")


@pytest.fixture
def computed(place: Location) -> Iterator[list[int]]:
    """The places of the blocks that were computed."""
    with tiny_backbone.installed(place) as log:
        yield log


def reference(place: Location, cut: str, views: int) -> np.ndarray[Any, Any]:
    """All activations image by image, straight from the definitions."""
    images = torch.from_numpy(np.array(store.load("dslr", "train", place, SIDE).images))
    early, _ = pretrained.split("tiny", tiny_backbone.trunk("tiny", Path()), cut)
    found = []
    for start in range(0, COUNT, activations.BLOCK):
        block = images[start : start + activations.BLOCK]
        for first in range(0, len(block), activations.BATCH):
            batch = block[first : first + activations.BATCH]
            crops = [pretrained.centre_crop(batch, TINY)]
            for view in range(views):
                generator = torch.Generator().manual_seed(seed_of(0, "view", view, start + first))
                crops.append(pretrained.random_crops(batch, TINY, generator))
            with torch.inference_mode():
                outs = [early(crop) for crop in crops]
            found.append(torch.stack([out.permute(0, 2, 3, 1) if out.ndim == 4 else out for out in outs], 1))
    return torch.cat(found).numpy()


# Values.


@pytest.mark.parametrize(("cut", "views", "shape"), [("middle", 0, (1, 6, 6, 4)), ("middle", 2, (3, 6, 6, 4)),
                                                      ("pool", 0, (1, 5)), ("pool", 1, (2, 5))])  # fmt: skip
def test_values_are_the_trunks(
    cut: str, views: int, shape: tuple[int, ...], place: Location, computed: list[int]
) -> None:
    values = activations.load(key(place, cut, views), place)
    assert values.dtype == np.float32
    assert values.shape == (COUNT, *shape)
    np.testing.assert_allclose(values, reference(place, cut, views), rtol=1e-5, atol=1e-6)
    assert sorted(computed) == list(range(0, COUNT, 64))
    assert isinstance(values, np.memmap)


def test_places_of_the_fixed_network(place: Location, computed: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps averaged over space, and logits; an interrupted extraction of them goes on as well."""
    maps = activations.load(key(place, "middle", 1), place)
    pooled, logits = key(place, "middle", 1, pooled=True), key(place, pretrained.LOGITS, 1)
    found = activations.load(pooled, place)
    assert found.shape == (COUNT, 2, 4)
    np.testing.assert_allclose(found, maps.mean((2, 3)), rtol=1e-5, atol=1e-6)
    vectors = activations.load(key(place, "pool", 1), place)
    last: Any = tiny_backbone.classifier("tiny", Path())[1]  # type: ignore[index]
    with torch.inference_mode():
        wanted = last(torch.from_numpy(vectors)).numpy()
    np.testing.assert_allclose(activations.load(logits, place), wanted, rtol=1e-4, atol=1e-5)
    for of in (pooled, logits):
        whole = np.array(activations.load(of, place))
        folder = activations.folder(of, place)
        (folder / "meta.json").unlink()
        folder.rename(folder.with_name(f"{folder.name}.partial"))
        for start in (0, 128):
            np.save(folder.with_name(f"{folder.name}.partial") / f"{start:07d}.npy", whole[start : start + 64])
        computed.clear()
        assert np.array_equal(activations.load(of, place), whole)
        assert sorted(computed) == [64, *range(192, COUNT, 64)]


def test_views_differ_from_one_another_and_the_centre_crop_is_the_same_with_them(
    place: Location, computed: list[int]
) -> None:
    alone, more = (activations.load(key(place, views=views), place) for views in (0, 3))
    assert np.array_equal(alone[:, 0], more[:, 0])
    same = [[np.array_equal(more[i, a], more[i, b]) for a in range(4) for b in range(a)] for i in range(COUNT)]
    assert np.mean(same) < 0.15, "crops of 6 from 8 pixels coincide now and then"


def test_a_copy_in_memory_may_be_changed_and_the_cache_is_not(place: Location, computed: list[int]) -> None:
    values = activations.load(key(place), place)
    first = values[0].copy()
    values[0] = 7
    assert np.array_equal(activations.load(key(place), place)[0], first)


def test_precision_changes_the_values_a_little(place: Location, computed: list[int]) -> None:
    full, half = (activations.load(key(place, precision=precision), place) for precision in ("fp32", "bf16"))
    assert half.dtype == np.float32
    difference = np.abs(full - half).mean() / np.abs(full).mean()
    assert 0 < difference < 0.02


# The key.


def test_every_ingredient_is_part_of_the_key(place: Location, computed: list[int]) -> None:
    base = key(place)
    changes: dict[str, Any] = {field.name: "other" for field in dataclasses.fields(Key)} | {"views": 1, "revision": 99}
    found = {base.hash}
    for name, value in changes.items():
        changed = dataclasses.replace(base, **{name: value})
        found.add(changed.hash)
        assert activations.folder(changed, place) != activations.folder(base, place)
    assert len(found) == 1 + len(dataclasses.fields(Key))
    assert dataclasses.replace(base).hash == base.hash


def test_what_the_user_or_the_code_changes_changes_the_key(
    place: Location, office: Location, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = key(place)
    assert key(place) == base
    others = [
        key(place, cut="pool"),
        key(place, views=1),
        key(place, precision="bf16"),
        key(place, device="cuda"),
        activations.key_of("tiny", "webcam", "middle", office, views=0, precision="fp32", device="cpu"),
    ]
    with monkeypatch.context() as patch:
        patch.setattr(activations, "REVISION", activations.REVISION + 1)
        others.append(key(place))
    with monkeypatch.context() as patch:
        patch.setitem(weights.FILES, "tiny", weights.File("weights/tiny.pth", digest="sha256:" + "0" * 64))
        others.append(key(place))
    for change in ({"crop": 5}, {"mean": (0.4, 0.5, 0.5)}, {"std": (0.5, 0.5, 0.4)}):
        with monkeypatch.context() as patch:
            patch.setitem(pretrained.KNOWN, "tiny", dataclasses.replace(TINY, **change))
            others.append(key(place))
    meta = place.root / "prepared" / f"dslr@{SIDE}" / "meta.json"
    content = json.loads(meta.read_text())
    content["parts"]["train"]["digest"] = "0" * 64
    meta.write_text(json.dumps(content))
    others.append(key(place))
    hashes = [other.hash for other in others]
    assert len({base.hash, *hashes}) == 1 + len(hashes)
    assert len({activations.transform(known) for known in pretrained.KNOWN.values()}) >= 5


# Once and only once.


def test_a_second_load_computes_nothing(place: Location, computed: list[int]) -> None:
    first = activations.load(key(place), place)
    computed.clear()
    again = activations.load(key(place), place)
    activations.ensure([key(place), key(place)], place, jobs=1)
    assert computed == []
    assert np.array_equal(first, again)
    folder = activations.folder(key(place), place)
    assert {path.name for path in folder.iterdir()} == {"values.npy", "meta.json"}
    assert [path.name for path in folder.parent.iterdir()] == [folder.name], "no partial folder is left"


def test_deleted_activations_are_computed_again(place: Location, computed: list[int]) -> None:
    first = np.array(activations.load(key(place), place))
    shutil.rmtree(place.root / "activations")
    computed.clear()
    assert np.array_equal(activations.load(key(place), place), first)
    assert len(computed) == BLOCKS


def test_an_interrupted_extraction_goes_on(
    place: Location, computed: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = reference(place, "middle", 1)
    save, count = activations._save, 0

    def interrupted(path: Path, values: np.ndarray[Any, Any]) -> None:
        nonlocal count
        count += 1
        if count == 4:
            raise KeyboardInterrupt
        save(path, values)

    monkeypatch.setattr(activations, "_save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        activations.load(key(place, views=1), place)
    assert not activations.is_complete(key(place, views=1), place)
    assert f"extracting {COUNT} images: " in capsys.readouterr().out
    computed.clear()
    values = activations.load(key(place, views=1), place)
    assert sorted(computed) == list(range(3 * 64, COUNT, 64)), "three blocks were kept"
    assert f"extracting {COUNT - 3 * 64} images: " in capsys.readouterr().out
    np.testing.assert_allclose(values, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "other shape", "other type"])
def test_a_damaged_block_of_an_interrupted_extraction_is_computed_again(
    damage: str, place: Location, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = np.array(activations.load(key(place), place))
    partial = activations.folder(key(place), place).with_suffix(".partial")
    shutil.rmtree(place.root / "activations")
    partial.mkdir(parents=True)
    for start in (0, 64):
        np.save(partial / f"{start:07d}.npy", first[start : start + 64])
    block = partial / "0000064.npy"
    content = block.read_bytes()
    if damage == "other shape":
        np.save(block, first[64:100])
    elif damage == "other type":
        np.save(block, first[64:128].astype(np.float64))
    else:
        block.write_bytes({"cut": content[:-40], "empty": b"", "text": b"hello"}[damage])
    computed.clear()
    assert np.array_equal(activations.load(key(place), place), first)
    assert sorted(computed) == list(range(64, COUNT, 64))


def run(place: Location, log: Path) -> subprocess.Popen[str]:
    """Another process that needs the activations."""
    command = [sys.executable, "-m", "tests.benchmarks.tiny_backbone", str(place.root), "1", str(log)]
    return subprocess.Popen(command, cwd=host.ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def fork(place: Location, log: Path, seconds: float) -> Child:
    """The same at once."""
    output = log.with_name(f"output-{time.monotonic_ns()}")
    return Child(lambda: tiny_backbone.run(place, 1, log, seconds), output)


def test_two_processes_on_a_cold_cache_share_the_work(place: Location, tmp_path: Path) -> None:
    log = tmp_path / "log"
    both = [fork(place, log, 0.05) for _ in range(2)]
    assert [child.wait() for child in both] == [0, 0], [child.output.read_text() for child in both]
    assert sorted(map(int, log.read_text().split())) == list(range(0, COUNT, 64)), "each block once"
    with tiny_backbone.installed(place):
        values = activations.load(key(place, views=1), place)
        digest = hashlib.sha256(values.tobytes()).hexdigest()
        assert {child.output.read_text().split()[-1] for child in both} == {digest}
        np.testing.assert_allclose(values, reference(place, "middle", 1), rtol=1e-5, atol=1e-6)


def test_a_killed_process_leaves_blocks_that_the_next_one_uses(place: Location, tmp_path: Path) -> None:
    log = tmp_path / "log"
    killed = fork(place, log, 0.1)
    deadline = time.monotonic() + 60
    while not (log.exists() and len(log.read_text().split()) >= 3) and time.monotonic() < deadline:
        time.sleep(0.02)
    killed.kill()
    before = len(log.read_text().split())
    assert 3 <= before < BLOCKS
    with tiny_backbone.installed(place) as computed:
        values = activations.load(key(place, views=1), place)
        assert BLOCKS - before - 1 <= len(computed) <= BLOCKS - before, "at most the last note was lost"
        np.testing.assert_allclose(values, reference(place, "middle", 1), rtol=1e-5, atol=1e-6)


# Damage and want of space.


@pytest.mark.parametrize("damage", ["flip", "cut", "no values", "other type", "meta cut", "meta list", "digest"])
def test_damaged_activations_are_computed_again(
    damage: str, place: Location, computed: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    first = np.array(activations.load(key(place), place))
    folder = activations.folder(key(place), place)
    values, meta = folder / "values.npy", folder / "meta.json"
    content = values.read_bytes()
    if damage == "flip":
        values.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    elif damage == "cut":
        values.write_bytes(content[:-4])
    elif damage == "no values":
        values.unlink()
    elif damage == "other type":
        np.save(values, first.astype(np.float64))
    elif damage == "meta cut":
        meta.write_text(meta.read_text()[:-30])
    elif damage == "meta list":
        meta.write_text("[]")
    else:
        meta.write_text(meta.read_text().replace(json.loads(meta.read_text())["digest"], "0" * 64))
        activations._intact.clear()  # as another process would see it
    computed.clear()
    capsys.readouterr()
    assert np.array_equal(activations.load(key(place), place), first)
    assert len(computed) == BLOCKS
    said = capsys.readouterr().err
    assert f"note: the cached activations in {folder} are damaged; computing them again." in said
    computed.clear()
    assert np.array_equal(activations.load(key(place), place), first)
    assert computed == []


def test_without_metadata_nothing_counts_as_complete(place: Location, computed: list[int]) -> None:
    first = np.array(activations.load(key(place), place))
    (activations.folder(key(place), place) / "meta.json").unlink()
    assert not activations.is_complete(key(place), place)
    assert np.array_equal(activations.load(key(place), place), first)


@pytest.mark.parametrize(("number", "says"), [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "the disk is full"),
                                               (errno.EACCES, "Permission denied")])  # fmt: skip
@pytest.mark.parametrize("when", ["a block", "the end", "a repair"])
def test_a_full_disk_is_a_sentence(
    when: str, number: int, says: str, place: Location, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    if when == "a repair":
        activations.load(key(place), place)
        (activations.folder(key(place), place) / "values.npy").write_bytes(b"")
    with monkeypatch.context() as patch:
        if when == "the end":
            patch.setattr(activations, "write_atomically", refused)
        else:
            patch.setattr(activations, "_save", refused)
        with pytest.raises(UserError) as caught:
            activations.load(key(place), place)
    assert str(caught.value) == (
        f"cannot write the activations in {place.root / 'activations'}: {says}; free some space or choose another data "
        "folder."
    )
    np.testing.assert_allclose(activations.load(key(place), place), reference(place, "middle", 0), rtol=1e-5, atol=1e-6)


def test_a_process_ended_from_outside_is_a_sentence(
    place: Location, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(*_: Any, **__: Any) -> None:
        raise LostWorkerError("A process in the process pool was terminated abruptly.")

    monkeypatch.setattr(activations, "_extract", ended)
    with pytest.raises(UserError, match="killed from outside, perhaps for lack of memory; try fewer --jobs"):
        activations.ensure([key(place)], place, jobs=2)


# Lite0 itself.


def test_another_process_computes_the_same_bits(
    location: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On real weights: two blocks by another process, and the first and the last batch by this one."""
    from datasets import registry, sources
    from datasets.photos import Photos
    from tests.datasets.office_helpers import image_file

    monkeypatch.setattr(activations, "BLOCK", 2 * activations.BATCH)
    count = activations.BLOCK + 2
    names = tuple(f"dslr/{of}/{number}.jpg" for of in registry.domain("dslr").classes for number in range(5))[:count]
    photos = Photos(names, np.arange(count) % 31, lambda index: image_file(names[index], (300, 280)))
    monkeypatch.setattr(sources, "acquire", lambda *_: ({"train": photos}, "made up"))
    path, place = weights.path("lite0", location), Location(tmp_path)
    store.prepare("dslr", place)
    place.kept(weights.FILES["lite0"]).parent.mkdir(parents=True)
    place.kept(weights.FILES["lite0"]).symlink_to(path)
    of = activations.key_of("lite0", "dslr", "pool", place, views=0, precision="fp32", device="cpu")
    assert Child(lambda: activations.ensure([of], place, jobs=1), tmp_path / "output").wait() == 0
    values = activations.load(of, place)
    assert values.shape == (count, 1, 1280)
    images = np.array(store.load("dslr", "train", place).images)
    early = activations._early("lite0", "pool", path, "cpu", pooled=False)
    for first, last in ((0, activations.BATCH), (activations.BLOCK, count)):
        with host.computing(threads=1), torch.inference_mode():
            here = activations.views_of(early, images[first:last], first, of)
        assert np.array_equal(values[first:last], here)


@pytest.fixture
def normalised(computed: list[int], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The tiny backbone with BatchNorm on both sides of the cut."""

    def trunk(name: str, path: Path) -> nn.Module:
        whole = tiny_backbone.trunk(name, path)
        norm, later = nn.BatchNorm2d(4), nn.BatchNorm2d(5)
        nn.init.uniform_(norm.weight)
        nn.init.uniform_(norm.running_mean)  # type: ignore[arg-type]
        stem, middle = whole.children()
        assert isinstance(middle, nn.Sequential)
        whole = nn.Sequential()
        whole.add_module("stem", nn.Sequential(stem, norm, nn.ReLU(), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)))
        whole.add_module("middle", nn.Sequential(*middle[:2], later, *middle[2:]))
        return whole

    monkeypatch.setattr(pretrained, "trunk", trunk)
    monkeypatch.setattr(activations, "STATISTICS_IMAGES", 100)
    activations._early.cache_clear()
    return computed


@pytest.mark.parametrize("cut", ["middle", "pool"])
def test_the_trunk_has_the_statistics_of_the_domain_that_is_asked_for(
    cut: str, place: Location, normalised: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, own = (activations.load(key(place, cut, statistics_of=of), place) for of in ("", "dslr"))
    images = torch.from_numpy(np.array(store.load("dslr", "train", place, SIDE).images))
    known = pretrained.KNOWN["tiny"]
    chosen = np.random.default_rng(seed_of(0, "statistics")).permutation(COUNT)[:100]
    early, _ = pretrained.split("tiny", pretrained.trunk("tiny", Path()), cut)
    early.eval()

    def values() -> np.ndarray[Any, Any]:
        with torch.inference_mode():
            found = early(pretrained.centre_crop(images, known))
        return (found.permute(0, 2, 3, 1) if found.ndim == 4 else found).numpy()[:, None]

    np.testing.assert_allclose(usual, values(), rtol=1e-4, atol=1e-5)
    bn_statistics.replace(early, lambda: [pretrained.centre_crop(images[chosen], known)])  # one pass for every layer
    np.testing.assert_allclose(own, values(), rtol=1e-4, atol=1e-5)
    assert np.abs(own - usual).max() > 0.01
    # Interrupted before the last block, it goes on under the same statistics.
    of = key(place, cut, statistics_of="dslr")
    shutil.rmtree(activations.folder(of, place))
    compute = activations._compute
    monkeypatch.setattr(activations, "_compute", lambda *given: 1 / 0 if given[3] > 256 else compute(*given))
    with pytest.raises(ZeroDivisionError):
        activations.load(of, place)
    monkeypatch.setattr(activations, "_compute", compute)
    np.testing.assert_array_equal(activations.load(of, place), own)
    assert {path.name for path in activations.folder(of, place).iterdir()} == {"values.npy", "meta.json"}


def test_the_statistics_are_part_of_the_key(place: Location, office: Location, computed: list[int]) -> None:
    usual, own = key(place), key(place, statistics_of="dslr")
    assert usual.hash != own.hash
    assert key(place).statistics == "imagenet"
    how = {"views": 0, "precision": "fp32", "device": "cpu"}
    of_webcam = activations.key_of("tiny", "dslr", "middle", office, statistics_of="webcam", **how)  # type: ignore[arg-type]
    assert of_webcam.hash not in (usual.hash, own.hash)
