"""Tasks, and what a problem lets training see."""

from __future__ import annotations

import dataclasses
import gc
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest

from datasets import protocols, registry, store
from datasets.errors import DataError
from datasets.protocols import Task
from datasets.store import Location

MINI = registry.suite("digits-mini")


def one(label: str, location: Location, suite: str = "digits-mini") -> Task:
    (task,) = protocols.tasks(suite, [label], location)
    return task


def test_six_directions(real: Location) -> None:
    labels = [task.label for task in protocols.tasks("digits-mini", None, real)]
    assert sorted(labels) == sorted(f"{a}:{b}" for a in MINI.domains for b in MINI.domains if a != b)
    assert protocols.tasks(MINI, None, real) == protocols.tasks("digits-mini", [], real)


def test_wanted_tasks_come_in_order_and_once(here: Location) -> None:
    wanted = ["svhn:mnist", "usps:svhn", "svhn:mnist"]
    tasks = protocols.tasks("digits", wanted, here)
    assert [task.label for task in tasks] == ["svhn:mnist", "usps:svhn"]
    assert tasks[0] == Task("svhn", "mnist", "svhn", "mnist")


@pytest.mark.parametrize("label", ["mnist-optdigits", "mnist:mnist", "mnist:usps", "mnist", "", "a:b:c"])
def test_unknown_task_lists_the_valid_ones(label: str, here: Location) -> None:
    with pytest.raises(DataError, match=r"unknown task .* choose from mnist:optdigits, "):
        protocols.tasks("digits-mini", [label], here)


def test_subset_is_named_as_what_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    protocols._notify.cache_clear()
    (tmp_path / "mnist_m_10k.tar.gz").write_bytes(b"")
    place = Location(tmp_path / "data", str(tmp_path))
    assert one("mnist:mnistm", place, "digits") == Task("mnist", "mnistm-10k", "mnist", "mnistm-10k")
    assert one("mnist:mnistm-10k", place, "digits").label == "mnist:mnistm-10k"
    default = [task.label for task in protocols.tasks("digits", None, place)]
    assert default == ["mnist:usps", "usps:mnist", "svhn:mnist", "mnist:mnistm-10k", "syn:svhn"]
    said = capsys.readouterr().err
    assert said.count("mnistm is available only as a subset") == 1
    for part in ("train", "test"):
        (tmp_path / f"mnist_m_{part}.pt.tar.gz").write_bytes(b"")
    assert one("mnist:mnistm", place, "digits").label == "mnist:mnistm"
    # A prepared subset is not thrown over for a file to fetch; the complete set is as soon as it is prepared.
    prepared = {"mnistm-10k"}
    monkeypatch.setattr(store, "is_prepared", lambda name, location: name in prepared)
    assert one("mnist:mnistm", place, "digits").label == "mnist:mnistm-10k"
    prepared.add("mnistm")
    assert one("mnist:mnistm", place, "digits").label == "mnist:mnistm"


def test_without_a_mirror_the_complete_set_is_meant(here: Location) -> None:
    assert one("mnist:mnistm", here, "digits").target_domain == "mnistm"
    with pytest.raises(DataError, match="unknown task 'mnistm:mnistm-10k'"):
        protocols.tasks("digits", ["mnistm:mnistm-10k"], here)


def test_tested_images_are_the_unlabelled_ones(real: Location) -> None:
    for task in protocols.tasks("digits-mini", None, real):
        problem = protocols.problem("digits-mini", task, real)
        assert np.array_equal(problem.target.images, problem.test.images)
        assert not np.shares_memory(problem.target.images, problem.test.images)
        assert len(problem.test.labels) == len(problem.test.images)
        assert problem.classes == 10
        assert problem.held_out is None
        assert problem.digests == {
            "source": store.digest(task.source_domain, "train", real),
            "target": store.digest(task.target_domain, "train", real),
            "test": store.digest(task.target_domain, "train", real),
        }


def test_images_are_served_without_copies(real: Location) -> None:
    problem = protocols.problem("digits-mini", one("mnist:mfeat", real), real)
    for images in (problem.source.images, problem.target.images, problem.test.images):
        assert isinstance(images, np.memmap)


def test_writing_to_images_does_not_reach_the_store(real: Location) -> None:
    task = one("mnist:mfeat", real)
    problem = protocols.problem("digits-mini", task, real)
    problem.target.images[0] = 99
    again = protocols.problem("digits-mini", task, real)
    assert not (again.target.images[0] == 99).all()
    assert not (problem.test.images[0] == 99).all()


def reachable(start: Any) -> list[Any]:
    """Every object that can be reached from ``start`` through attributes, containers and bases of arrays."""
    seen: dict[int, Any] = {}
    todo = [start]
    while todo:
        item = todo.pop()
        if id(item) in seen or isinstance(item, type | ModuleType | FunctionType):
            continue
        seen[id(item)] = item
        todo += gc.get_referents(item)
        todo += [value for value in (getattr(item, "base", None), getattr(item, "__dict__", None)) if value is not None]
    return list(seen.values())


def test_no_target_label_can_be_reached_from_the_target(real: Location) -> None:
    problem = protocols.problem("digits-mini", one("mnist:mfeat", real), real, holdout=0.1)
    assert [field.name for field in dataclasses.fields(problem.target)] == ["images"]
    found = reachable(problem.target)
    assert any(item is problem.target.images for item in found)
    for item in found:
        assert not isinstance(item, protocols.Labelled | protocols.Problem | store.Images)
        if isinstance(item, np.ndarray):
            assert item.dtype == np.uint8
            assert item.shape == problem.target.images.shape
    # The walk does find labels where there are some.
    assert any(item is problem.test.labels for item in reachable(problem.test))


def test_hold_out_is_stratified_disjoint_and_complete(real: Location) -> None:
    task = one("optdigits:mnist", real)
    whole = protocols.problem("digits-mini", task, real)
    problem = protocols.problem("digits-mini", task, real, holdout=0.1, seed=4)
    assert problem.held_out is not None
    counts = np.bincount(whole.source.labels)
    assert np.bincount(problem.held_out.labels).tolist() == [round(0.1 * int(count)) for count in counts]

    def rows(data: protocols.Labelled) -> list[bytes]:
        return [image.tobytes() + bytes([label]) for image, label in zip(data.images, data.labels, strict=True)]

    assert sorted(rows(problem.source) + rows(problem.held_out)) == sorted(rows(whole.source))
    assert np.array_equal(problem.target.images, whole.target.images)
    assert problem.digests == whole.digests


def test_hold_out_depends_on_the_seed_alone(real: Location) -> None:
    task = one("mfeat:mnist", real)
    held = []
    for seed in (1, 1, 2):
        np.random.seed(seed + 50)  # the global stream must not matter
        problem = protocols.problem("digits-mini", task, real, holdout=0.2, seed=seed)
        assert problem.held_out is not None
        held.append(problem.held_out.images)
    assert np.array_equal(held[0], held[1])
    assert not np.array_equal(held[0], held[2])


def test_several_sources_follow_one_another(real: Location) -> None:
    task = one("mnist+mfeat:optdigits", real)
    assert task.label == "mnist+mfeat:optdigits"
    assert task.sources == (("mnist", task.source_domain), ("mfeat", "mfeat"))
    assert task.domains == (task.source_domain, "mfeat", "optdigits")
    both = protocols.problem("digits-mini", task, real, holdout=0.1, seed=3)
    parts = [
        protocols.problem("digits-mini", one(f"{name}:optdigits", real), real, holdout=0.1, seed=3)
        for name in ("mnist", "mfeat")
    ]
    assert both.sizes == tuple(len(part.source.labels) for part in parts)
    assert [part.sizes for part in parts] == [(), ()]
    assert both.held_out is not None
    for joined, pieces in (
        (both.source, [part.source for part in parts]),
        (both.held_out, [part.held_out for part in parts if part.held_out]),
    ):
        assert np.array_equal(joined.images, np.concatenate([piece.images for piece in pieces]))
        assert np.array_equal(joined.labels, np.concatenate([piece.labels for piece in pieces]))
    assert both.digests["source"] == "+".join(part.digests["source"] for part in parts)
    assert np.array_equal(both.target.images, parts[0].target.images)


@pytest.mark.parametrize(
    "label", ["mnist+mnist:mfeat", "mnist+mfeat:mfeat", "mnist+usps:mfeat", "mnist+:mfeat", "+:mfeat"]
)
def test_sources_are_several_and_none_is_the_target(label: str, here: Location) -> None:
    with pytest.raises(DataError, match="unknown task"):
        protocols.tasks("digits-mini", [label], here)


def test_a_plus_may_be_part_of_a_name(here: Location) -> None:
    suite = dataclasses.replace(MINI, domains={"a+b": "mnist-5k", "a": "mfeat", "b": "optdigits"})
    (first, second) = protocols.tasks(suite, ["a+b:a", "a+b:b"], here)
    assert (first.label, first.sources) == ("a+b:a", (("a+b", "mnist-5k"),))
    assert second.further == ()


def test_grey_sources_beside_coloured_ones_become_coloured() -> None:
    random = np.random.default_rng(0)
    grey, coloured = (random.integers(0, 256, (n, 4, 4, c), dtype=np.uint8) for n, c in ((3, 1), (2, 3)))
    joined = protocols._joined(
        [protocols.Labelled(grey, np.zeros(3, int)), protocols.Labelled(coloured, np.ones(2, int))]
    )
    assert joined.images.shape == (5, 4, 4, 3)
    assert all(np.array_equal(joined.images[:3, ..., c], grey[..., 0]) for c in range(3))
    assert np.array_equal(joined.images[3:], coloured)
    assert joined.labels.tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "sampled"}, "unknown protocol 'sampled': choose one of full, down-sampled"),
        ({"protocol": "supervised", "split": 5}, "digits-mini has the splits 0 to 4, not 5"),
        ({"protocol": "supervised", "split": -1}, "digits-mini has the splits 0 to 4, not -1"),
        ({"split": 1}, "one split 0, not 1"),
        ({"holdout": 1.0}, "hold-out of 1.0 is impossible"),
        ({"holdout": -0.1}, "hold-out of -0.1 is impossible"),
        ({"holdout": float("nan")}, "hold-out of nan is impossible"),
        ({"seed": -1}, "seed -1 is negative"),
    ],
)
def test_impossible_options(options: dict[str, Any], message: str, real: Location) -> None:
    with pytest.raises(DataError, match=message):
        protocols.problem("digits-mini", one("mnist:mfeat", real), real, **options)


def test_inductive_suite_tests_on_the_test_part(here: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    """On small stand-ins for MNIST and USPS."""
    from datasets import sources
    from datasets.decoders import Native

    def acquire(domain: registry.Domain, location: Location) -> tuple[dict[str, Native], str]:
        parts = {}
        for index, part in enumerate(("train", "test")):
            images = np.full((20 - 5 * index, 28, 28, 1), 10 * index + len(domain.name), np.uint8)
            parts[part] = Native(images, np.arange(len(images)) % 10)
        return parts, "nowhere"

    monkeypatch.setattr(sources, "acquire", acquire)
    problem = protocols.problem("digits", one("mnist:usps", here, "digits"), here)
    assert (len(problem.source.images), len(problem.target.images), len(problem.test.images)) == (20, 20, 15)
    assert problem.source.images[0, 0, 0, 0] == 5
    assert problem.target.images[0, 0, 0, 0] == 4
    assert problem.test.images[0, 0, 0, 0] == 14
    assert problem.digests["target"] != problem.digests["test"]
