"""Protocols with committed splits: who is labelled, who is tested, and that nobody is both."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import re
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest

from datasets import protocols, registry, splits, store
from datasets.errors import DataError
from datasets.protocols import Inputs, Problem, Task
from datasets.store import Location
from tests.datasets.office_helpers import SIDE, amazon_twins, official

SPLITS = range(5)
OFFICE31 = registry.suite("office31")
PER_CLASS = {"amazon": 20, "dslr": 8, "webcam": 8}
DRAWING = ("down-sampled", "supervised", *protocols.HELD_OUT_CLASSES)

needs_mirror = pytest.mark.skipif(not os.environ.get("DATA_MIRROR"), reason="DATA_MIRROR names no mirror")


def places(domain: str, part: str) -> Inputs:
    """Examples that are their own place in the domain."""
    return np.arange(len(official(domain)[0]))[:, None]


def made(label: str, protocol: str, split: int, location: Location, **options: Any) -> Problem:
    """A problem whose examples are places in their domain."""
    (task,) = protocols.tasks("office31", [label], location)
    return protocols.problem(
        "office31", task, location, protocol=protocol, split=split, side=SIDE, inputs=places, **options
    )


def rows(inputs: Inputs) -> list[int]:
    return np.asarray(inputs)[:, 0].tolist()


def available(domain: str) -> np.ndarray[Any, Any]:
    return np.bincount(official(domain)[1], minlength=31)


def names_of(part: splits.Names, domain: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield from part[domain].items()


# The committed files alone.


@pytest.mark.parametrize("suite", splits.SAMPLING)
def test_committed_splits_hold_what_the_protocols_draw(suite: str) -> None:
    sampling, classes = splits.SAMPLING[suite], registry.suite(suite).classes
    for number in range(sampling.splits):
        split = splits.read(suite, number)
        assert split.number == number
        assert set(split.source) == set(sampling.source)
        assert set(split.labelled) == set(split.semi) == set(split.first) == set(registry.suite(suite).domains)
        for domain in split.labelled:
            drawn = [(split.labelled, sampling.labelled, len(classes))]
            drawn += [(part, sampling.semi_labelled, None) for part in (split.semi, split.first)]
            if domain in split.source:
                drawn.append((split.source, sampling.source[domain], len(classes)))
            for part, most, how_many in drawn:
                found = dict(names_of(part, domain))
                assert len(found) == (how_many or sampling.semi_classes)
                assert list(found) == [name for name in classes if name in found], "classes keep their order"
                for some in found.values():
                    assert 1 <= len(some) <= most
                    assert len(set(some)) == len(some)
                    assert list(some) == sorted(some)
    with pytest.raises(DataError, match=f"{suite} has the splits 0 to 4, not 5"):
        splits.read(suite, 5)


def test_images_are_drawn_from_their_own_class() -> None:
    for number in SPLITS:
        split = splits.read("office31", number)
        for part in (split.source, split.labelled, split.semi, split.first):
            for domain in part:
                known = set(official(domain)[0])
                for name, some in names_of(part, domain):
                    assert {image.split("/")[1] for image in some} == {name}
                    assert set(some) <= known


def test_small_classes_give_what_they_have() -> None:
    """The lists are the record of how many: only those classes fall short that have too few images."""
    counts = dict(zip(OFFICE31.classes, available("dslr").tolist(), strict=True))
    assert (counts["ruler"], counts["mug"]) == (7, 8)
    twins = set().union(*amazon_twins())
    short: set[tuple[str, str, str, int]] = set()
    for number in SPLITS:
        split = splits.read("office31", number)
        for role, part, most in (
            ("source", split.source, PER_CLASS),
            ("labelled", split.labelled, dict.fromkeys(PER_CLASS, 3)),
            ("semi", split.semi, dict.fromkeys(PER_CLASS, 10)),
            ("first", split.first, dict.fromkeys(PER_CLASS, 10)),
        ):
            for domain in part:
                for name, some in names_of(part, domain):
                    there = [image for image in official(domain)[0] if image.split("/")[1] == name]
                    single = there if role == "source" else [image for image in there if image not in twins]
                    assert len(some) == min(most[domain], len(single))
                    if len(some) < most[domain]:
                        short.add((role, domain, name, len(some)))
    assert ("source", "dslr", "ruler", 7) in short
    assert {entry for entry in short if entry[0] == "labelled"} == set()
    assert all(domain == "dslr" for _, domain, _, _ in short)


def test_no_twin_of_amazon_is_granted() -> None:
    """So no pair of twins straddles the border of known and tested labels."""
    groups = amazon_twins()
    assert len(groups) == 49
    twins = set().union(*groups)
    assert all(len({name.split("/")[1] for name in group}) == 1 for group in groups)
    for suite in ("office31", "office-caltech10"):
        for number in SPLITS:
            split = splits.read(suite, number)
            for part in (split.labelled, split.semi, split.first):
                assert not {image for _, some in names_of(part, "amazon") for image in some} & twins


def test_splits_differ_and_domains_draw_their_own_classes() -> None:
    read = [splits.read("office31", number) for number in SPLITS]
    assert len({split.digest for split in read} | {split.digest_of_first for split in read}) == 10
    for part in ("source", "labelled", "semi", "first"):
        for domain in OFFICE31.domains:
            assert len({str(getattr(split, part)[domain]) for split in read}) == 5
    assert len({tuple(split.semi[domain]) for split in read for domain in OFFICE31.domains}) == 15


@pytest.mark.parametrize("suite", splits.SAMPLING)
def test_the_classes_with_labels_follow_the_rule_that_the_file_states(suite: str) -> None:
    classes, known = registry.suite(suite).classes, splits.SAMPLING[suite].semi_classes
    alphabetical = sorted(classes)[:known]
    for number in SPLITS:
        split = splits.read(suite, number)
        assert all(sorted(some) == alphabetical for some in split.first.values())
        assert any(sorted(some) != alphabetical for some in split.semi.values())
    content = json.loads((splits.FOLDER / f"{suite}.json").read_text())
    assert content["rules"] == splits.RULES
    assert set(content["rules"]) < set(content["splits"][0])


def test_the_first_class_without_labels_is_the_one_that_the_paper_shows() -> None:
    assert sorted(OFFICE31.classes)[splits.SAMPLING["office31"].semi_classes] == "monitor"


@pytest.mark.parametrize(
    ("protocol", "part"),
    [("supervised", "labelled"), ("semi-supervised", "first"), ("semi-supervised-random", "semi")],
)
def test_what_a_protocol_draws_decides_its_digest(protocol: str, part: str) -> None:
    split = splits.read("office31", 0)
    assert split.granted(protocol) is getattr(split, part)
    changed = dataclasses.replace(split, **{part: {**getattr(split, part), "amazon": {}}})
    assert changed.digest_of(protocol) != split.digest_of(protocol)
    others = {"labelled": {"semi-supervised"}, "semi": {"semi-supervised"}}
    for other in others.get(part, {"down-sampled", "supervised", "semi-supervised-random"}):
        assert changed.digest_of(other) == split.digest_of(other)


def test_a_changed_split_is_noticed(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (splits.FOLDER / "office31.json").read_text()
    monkeypatch.setattr(splits, "FOLDER", tmp_path)
    name = "amazon/bike/frame_0003.jpg"
    assert name in text
    first = text.split('"first": {', 1)[1]
    image = re.search(r"amazon/bike/frame_\d+\.jpg", first)
    assert image is not None
    granted = text.replace(first, first.replace(image[0], "amazon/bike/frame_9999.jpg", 1))
    for content in (text.replace(name, "amazon/bike/frame_0004.jpg", 1), granted, text[:-100], "[]", None):
        splits._file.cache_clear()
        (tmp_path / "office31.json").unlink(missing_ok=True)
        if content is not None:
            (tmp_path / "office31.json").write_text(content)
        with pytest.raises(DataError, match=r"office31.json is missing or damaged: restore it"):
            splits.read("office31", 0)
    splits._file.cache_clear()


def test_a_suite_without_splits_says_so(office: Location) -> None:
    for ask in (lambda: splits.read("office-home", 0), lambda: splits.draw("office-home", office)):
        with pytest.raises(DataError, match="office-home has no splits: its one protocol is full"):
            ask()


# Problems.


@pytest.mark.parametrize("label", [f"{a}:{b}" for a, b in OFFICE31.tasks])
def test_full_protocol_uses_everything(label: str, office: Location) -> None:
    problem = made(label, "full", 0, office)
    source, target = label.split(":")
    assert rows(problem.source.images) == list(range(len(official(source)[0])))
    assert rows(problem.target.images) == rows(problem.test.images) == list(range(len(official(target)[0])))
    assert problem.labelled_target is None
    assert problem.classes == 31
    assert "splits" not in problem.digests


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("label", ["amazon:webcam", "dslr:amazon", "webcam:dslr"])
@pytest.mark.parametrize("protocol", DRAWING)
def test_who_is_labelled_and_who_is_tested(protocol: str, label: str, split: int, office: Location) -> None:
    problem = made(label, protocol, split, office)
    source, target = label.split(":")
    labels = official(target)[1]
    everything = list(range(len(labels)))
    # The source: so many of each class, or all where there are fewer, with their own labels.
    assert np.bincount(problem.source.labels).tolist() == np.minimum(PER_CLASS[source], available(source)).tolist()
    assert problem.source.labels.tolist() == official(source)[1][rows(problem.source.images)].tolist()
    # Of the target every image is seen, and the tested ones are named by their places in it.
    assert rows(problem.target.images) == everything
    assert problem.tested is not None
    assert rows(problem.test.images) == problem.tested.tolist()
    assert problem.test.labels.tolist() == labels[problem.tested].tolist()
    assert problem.digests["splits"] == splits.read("office31", split).digest_of(protocol)
    if protocol == "down-sampled":
        assert problem.labelled_target is None
        assert problem.tested.tolist() == everything
        return
    assert problem.labelled_target is not None
    labelled_target = rows(problem.labelled_target.images)
    assert problem.labelled_target.labels.tolist() == labels[labelled_target].tolist()
    assert not set(labelled_target) & set(problem.tested.tolist())
    per_class = np.bincount(problem.labelled_target.labels, minlength=31)
    if protocol == "supervised":
        assert per_class.tolist() == [3] * 31
        assert sorted(labelled_target + problem.tested.tolist()) == everything, "all others are tested"
        return
    known = set(problem.labelled_target.labels.tolist())
    assert len(known) == 15
    assert (known == set(range(15))) == (protocol == "semi-supervised"), "the classes are numbered alphabetically"
    assert set(problem.test.labels.tolist()) == set(range(31)) - known
    assert problem.tested.tolist() == [i for i in everything if labels[i] not in known]
    assert all(per_class[c] == min(10, available(target)[c]) for c in known)


@pytest.mark.parametrize("protocol", DRAWING[1:])
def test_twins_stay_on_one_side(protocol: str, office: Location) -> None:
    """On the prepared data themselves, by the duplicates that the store found in the files."""
    images = store.load("amazon", "train", office, SIDE)
    found = {frozenset(images.names[index] for index in group) for group in images.duplicates}
    assert found == {frozenset(group) for group in amazon_twins()}
    for split in SPLITS:
        problem = made("dslr:amazon", protocol, split, office)
        assert problem.labelled_target is not None
        assert problem.tested is not None
        labelled_target, tested = set(rows(problem.labelled_target.images)), set(problem.tested.tolist())
        for group in images.duplicates:
            assert not (labelled_target & set(group) and tested & set(group))
            assert not labelled_target & set(group)


def test_a_granted_twin_would_take_its_group_out_of_the_test(office: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if a split granted one."""
    images = store.load("amazon", "train", office, SIDE)
    group = images.duplicates[0]
    read = splits.read("office31", 0)
    of = images.names[group[0]].split("/")[1]
    labelled = {**read.labelled, "amazon": {**read.labelled["amazon"], of: (images.names[group[0]],)}}
    changed = dataclasses.replace(read, labelled=labelled)
    monkeypatch.setattr(splits, "read", lambda *_: changed)
    problem = made("dslr:amazon", "supervised", 0, office)
    assert problem.tested is not None
    assert not set(problem.tested.tolist()) & set(group)


def test_hold_out_keeps_twins_together_and_every_class_alive(office: Location) -> None:
    images = store.load("amazon", "train", office, SIDE)
    for protocol in ("full", "down-sampled"):
        for seed in range(3):
            problem = made("amazon:webcam", protocol, 0, office, holdout=0.1, seed=seed)
            assert problem.held_out is not None
            kept, held = set(rows(problem.source.images)), set(rows(problem.held_out.images))
            assert not kept & held
            assert set(problem.source.labels.tolist()) == set(problem.held_out.labels.tolist()) == set(range(31))
            for group in images.duplicates:
                assert not (kept & set(group) and held & set(group))


@pytest.mark.parametrize(
    ("labels", "groups"),
    [([0, 0, 0, 1, 1], [[3, 4]]), ([0, 0, 1, 1, 1], [[0, 1], [2, 3]]), ([0, 0, 1, 1], [[0, 2], [1, 3]])],
)
def test_hold_out_never_takes_all_of_a_class(labels: list[int], groups: list[list[int]]) -> None:
    """A class that is one group of twins stays."""
    source = protocols.Labelled(np.arange(len(labels))[:, None], np.array(labels))
    for seed in range(20):
        kept, held = protocols._hold_out(source, groups, 0.4, 0, seed)
        assert held is not None
        assert set(kept.labels.tolist()) == set(labels)
        assert sorted(rows(kept.images) + rows(held.images)) == list(range(len(labels)))
        for group in groups:
            assert len({index in rows(held.images) for index in group}) == 1


def test_problems_are_deterministic(office: Location) -> None:
    for protocol in DRAWING:
        np.random.seed(1)
        first = made("webcam:amazon", protocol, 3, office)
        np.random.seed(2)
        again = made("webcam:amazon", protocol, 3, office)
        assert rows(first.source.images) == rows(again.source.images)
        assert first.tested is not None
        assert again.tested is not None
        assert first.tested.tolist() == again.tested.tolist()
        assert first.digests == again.digests
        if first.labelled_target is not None and again.labelled_target is not None:
            assert rows(first.labelled_target.images) == rows(again.labelled_target.images)
        # A domain's draw does not depend on the task.
        other = made("webcam:dslr", protocol, 3, office)
        assert rows(first.source.images) == rows(other.source.images)


def test_stand_ins_must_be_as_many_as_the_images(office: Location) -> None:
    task = Task("amazon", "webcam", "amazon", "webcam")
    with pytest.raises(DataError, match="3 examples stand for 2817 images of amazon"):
        protocols.problem("office31", task, office, side=SIDE, inputs=lambda *_: np.zeros((3, 1)))


def test_a_split_of_other_images_is_refused(office: Location) -> None:
    images = store.load("dslr", "train", office, SIDE)
    with pytest.raises(DataError, match=r"nowhere\.jpg of the committed splits is not in dslr: prepare it again"):
        splits.indices({"bike": ("nowhere.jpg",)}, images, "dslr")


def integers(start: Any) -> list[np.ndarray[Any, Any]]:
    """Every array of whole numbers that can be reached, through attributes, containers and bases, views included."""
    seen: dict[int, Any] = {}
    todo = [start]
    while todo:
        item = todo.pop()
        if id(item) in seen or isinstance(item, type | ModuleType | FunctionType):
            continue
        seen[id(item)] = item
        todo += gc.get_referents(item)
        todo += [value for value in (getattr(item, "base", None), getattr(item, "__dict__", None)) if value is not None]
    return [item for item in seen.values() if isinstance(item, np.ndarray) and item.dtype == np.int64]


@pytest.mark.parametrize("protocol", protocols.PROTOCOLS)
def test_no_other_label_can_be_reached_from_what_training_gets(protocol: str, office: Location) -> None:
    """Images are uint8 here, so whatever is int64 is a label."""
    (task,) = protocols.tasks("office31", ["amazon:webcam"], office)
    problem = protocols.problem("office31", task, office, protocol=protocol, side=SIDE)
    assert integers(problem.target) == []
    labelled_target = integers(problem.labelled_target)
    if problem.labelled_target is None:
        assert labelled_target == []
    else:
        assert [array.tolist() for array in labelled_target] == [problem.labelled_target.labels.tolist()]
    assert {len(array) for array in integers(problem.source)} <= {len(problem.source.labels)}
    assert any(array is problem.test.labels for array in integers(problem.test)), "the search itself works"


# The real images.


@pytest.mark.parametrize(
    "suite", ["digits-mini", *(pytest.param(name, marks=needs_mirror) for name in splits.SAMPLING if "office" in name)]
)
def test_drawing_again_gives_the_committed_splits(suite: str, location: Location) -> None:
    for domain in registry.suite(suite).domains.values():
        store.prepare(domain, location)
    drawn = splits.draw(suite, location)
    assert drawn == [splits.read(suite, number) for number in SPLITS]


@needs_mirror
def test_twins_of_the_real_images_are_the_known_ones(location: Location) -> None:
    for domain in OFFICE31.domains.values():
        store.prepare(domain, location)
        images = store.load(domain, "train", location)
        found = {frozenset(images.names[index] for index in group) for group in images.duplicates}
        assert found == ({frozenset(group) for group in amazon_twins()} if domain == "amazon" else set())
        for group in images.duplicates:
            first = np.asarray(images.images[group[0]])
            assert all(np.array_equal(images.images[index], first) for index in group)


@needs_mirror
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("protocol", DRAWING[1:])
def test_identical_feature_vectors_stay_on_one_side(protocol: str, split: int, location: Location) -> None:
    suite = "office-caltech10-surf"
    for domain in registry.suite(suite).domains.values():
        store.prepare(domain, location)
    (task,) = protocols.tasks(suite, ["dslr:amazon"], location)
    problem = protocols.problem(suite, task, location, protocol=protocol, split=split)
    assert problem.labelled_target is not None
    labelled_target = {vector.tobytes() for vector in np.asarray(problem.labelled_target.images)}
    tested = {vector.tobytes() for vector in np.asarray(problem.test.images)}
    assert not labelled_target & tested
