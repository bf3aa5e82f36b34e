"""Class halves: how classes are parted, what training sees of a side, and that nothing tested is among it."""

from __future__ import annotations

import itertools
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets import cifar, halves, photos, protocols, registry, store, verify
from datasets.errors import DataError
from datasets.protocols import Problem, Task
from datasets.store import Location
from tests.datasets.data_helpers import png, write_tar
from tests.datasets.office_helpers import SIDE, amazon_twins, image_file, official, write_tree
from tests.datasets.test_data_protocols import reachable

CIFAR = registry.suite("cifar100")
OFFICE = registry.suite("office31")
RANDOM_PAIRS = [("cifar100", "a", "b"), ("office31", "amazon-a", "amazon-b"), ("digits-mini", "mnist-a", "mnist-b")]
SPLITS = range(4)


def parted(suite: str, name: str, split: int) -> list[int]:
    of = registry.suite(suite)
    side = halves.side(of, name)
    assert side is not None
    return halves.classes(of, side, split).tolist()


def one(suite: str, label: str, location: Location) -> Task:
    (task,) = protocols.tasks(suite, [label], location)
    return task


# ------------------------------------------------------------------------------------------------------- classes


@pytest.mark.parametrize(("suite", "first", "second"), RANDOM_PAIRS)
def test_halves_are_disjoint_and_complete(suite: str, first: str, second: str) -> None:
    every = range(len(registry.suite(suite).classes))
    drawn = [(parted(suite, first, split), parted(suite, second, split)) for split in SPLITS]
    for a, b in drawn:
        assert sorted(a + b) == list(every)
        assert len(a) == len(every) // 2
        assert (a, b) == (sorted(a), sorted(b))
    assert len({tuple(a) for a, _ in drawn}) == len(SPLITS)


def test_the_rule_is_the_legacy_generators() -> None:
    for split in SPLITS:
        np.random.seed(split)
        assert parted("cifar100", "a", split) == sorted(np.random.choice(np.arange(100), 50, replace=False).tolist())


def test_man_made_and_natural_are_parted_by_superclass() -> None:
    assert len(cifar.CLASSES) == len(set(cifar.CLASSES)) == 100
    assert [len(names.split()) for names in cifar.SUPERCLASSES.values()] == [5] * 20
    made = set(itertools.chain.from_iterable(cifar.SUPERCLASSES[name].split() for name in cifar.MAN_MADE))
    assert len(made) == 30
    assert made | set(cifar.NATURAL) == set(cifar.CLASSES)
    assert not made & set(cifar.NATURAL)
    draws = set()
    for split in SPLITS:
        man, natural = (parted("cifar100", name, split) for name in ("man", "natural"))
        assert {cifar.CLASSES[index] for index in man} == made
        assert {cifar.CLASSES[index] for index in natural} < set(cifar.NATURAL)
        assert len(natural) == len(man)
        draws.add(tuple(natural))
    assert len(draws) == len(SPLITS)


def test_cut_halves_are_parts_of_the_halves() -> None:
    for split, (cut, whole) in itertools.product(SPLITS, (("a-cut", "a"), ("b-cut", "b"))):
        part = parted("cifar100", cut, split)
        assert len(part) == 30
        assert set(part) < set(parted("cifar100", whole, split))


@pytest.mark.parametrize(
    ("suite", "label"),
    [
        *(
            ("cifar100", label)
            for label in ("a:a", "a:natural", "a-cut:b", "a@10:b", "a:cifar100", "cifar100-a:b", "c:d")
        ),
        *(("cifar100", label) for label in ("a@0:b@0", "a+b:man")),
        *(
            ("office31", label)
            for label in ("a:b", "amazon-a:webcam-b", "amazon-man:amazon-natural", "amazon-a:amazon")
        ),
    ],
)
def test_what_is_no_pair_of_sides_is_no_task(suite: str, label: str, here: Location) -> None:
    with pytest.raises(DataError, match="unknown task"):
        protocols.tasks(suite, [label], here)


def test_sides_know_their_domain(here: Location) -> None:
    assert one("office31", "webcam-b:webcam-a", here) == Task("webcam-b", "webcam-a", "webcam", "webcam")
    assert one("cifar100", "a@25:b@25", here) == Task("a@25", "b@25", "cifar100", "cifar100")
    assert [task.label for task in protocols.tasks("cifar100-200", None, here)] == ["a:b", "b:a"]


def test_other_protocols_part_no_classes(office: Location) -> None:
    task = one("office31", "amazon-a:amazon-b", office)
    for protocol in protocols.PROTOCOLS[:-1]:
        with pytest.raises(DataError, match=f"the protocol {protocol} does not part"):
            protocols.problem("office31", task, office, protocol=protocol, side=SIDE)
        with pytest.raises(DataError, match=f"the protocol {protocol} does not part"):
            protocols.digests("office31", task, office, protocol=protocol, side=SIDE)


# ------------------------------------------------------------------------------------------------------- problems


def made(label: str, split: int, location: Location, **options: Any) -> Problem:
    task = one("office31", label, location)
    return protocols.problem("office31", task, location, protocol="transfer", split=split, side=SIDE, **options)


def rows(images: Any, labels: Any) -> list[tuple[bytes, int]]:
    return [(image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True)]


@pytest.mark.parametrize("split", range(2))
def test_a_side_is_trained_and_tested_on_its_own_classes(split: int, office: Location) -> None:
    whole = store.load("amazon", "train", office, SIDE)
    seen = []
    for label in ("amazon-a:amazon-b", "amazon-b:amazon-a"):
        problem = made(label, split, office)
        classes = np.array(parted("office31", label.partition(":")[2], split))
        assert problem.classes == len(classes)
        assert problem.alone
        assert problem.labelled_target is None
        assert problem.tested is None
        # Every image of these classes is either trained on or tested, under the place of its class among them.
        wanted = np.isin(whole.labels, classes)
        found = rows(problem.source.images, classes[problem.source.labels])
        found += rows(problem.test.images, classes[problem.test.labels])
        assert sorted(found) == sorted(rows(whole.images[wanted], whole.labels[wanted]))
        counts, tested = (np.bincount(part.labels) for part in (problem.source, problem.test))
        assert np.all(np.abs(tested / (counts + tested) - halves.TESTED) < 0.1), "twins go together"
        assert np.array_equal(problem.target.images, problem.source.images)
        seen.append(problem)
    assert seen[0].digests["splits"] != seen[1].digests["splits"]
    assert seen[0].digests["source"] == seen[1].digests["source"]


def test_the_tested_fifth_is_the_same_for_every_split_and_no_twin_of_a_trained_image(office: Location) -> None:
    tested: set[bytes] = set()
    trained: set[bytes] = set()
    for split in SPLITS:
        for label in ("amazon-a:amazon-b", "amazon-b:amazon-a"):
            problem = made(label, split, office)
            tested |= {image.tobytes() for image in problem.test.images}
            trained |= {image.tobytes() for image in problem.source.images}
    assert len(amazon_twins()) == 49
    assert len(official("amazon")[0]) - 100 < len(tested) + len(trained) <= len(official("amazon")[0])
    assert not tested & trained


def test_no_tested_label_can_be_reached_from_what_training_sees(office: Location) -> None:
    problem = made("amazon-a:amazon-b", 0, office, holdout=0.1)
    assert problem.held_out is not None
    for part in (problem.source, problem.target, problem.held_out):
        for item in reachable(part):
            assert not isinstance(item, protocols.Problem | store.Images)
            assert item is not problem.test.labels
            assert item is not problem.test.images
            if isinstance(item, np.ndarray) and item.ndim == 1:
                assert len(item) in (len(problem.source.labels), len(problem.held_out.labels))
    assert any(item is problem.test.labels for item in reachable(problem.test))
    assert not np.shares_memory(problem.test.images, problem.source.images)


def test_fewer_images_are_a_part_of_more(office: Location) -> None:
    whole = made("amazon-a:amazon-b", 1, office)
    before: set[tuple[bytes, int]] = set()
    for images in (3, 10):
        problem = made(f"amazon-a@{images}:amazon-b@{images}", 1, office)
        assert np.bincount(problem.source.labels).tolist() == [images] * problem.classes
        now = set(rows(problem.source.images, problem.source.labels))
        assert before <= now <= set(rows(whole.source.images, whole.source.labels))
        assert rows(problem.test.images, problem.test.labels) == rows(whole.test.images, whole.test.labels)
        before = now
    digests = {made(f"amazon-a@{n}:amazon-b@{n}", 1, office).digests["splits"] for n in (3, 10)}
    assert len({*digests, whole.digests["splits"]}) == 3


def test_what_stands_for_the_images_is_parted_like_them(office: Location) -> None:
    """Trained, held-out and tested places are apart, and together all of the side's classes."""
    labels = official("amazon")[1]
    problem = made("amazon-a:amazon-b", 2, office, holdout=0.1, inputs=lambda *_: np.arange(len(labels))[:, None])
    assert problem.held_out is not None
    parts = [np.asarray(part.images)[:, 0] for part in (problem.source, problem.held_out, problem.test)]
    places = np.concatenate(parts)
    assert len(set(places.tolist())) == len(places)
    assert sorted(places.tolist()) == np.flatnonzero(np.isin(labels, parted("office31", "amazon-b", 2))).tolist()


def test_whole_domains_may_be_the_sides(real: Location) -> None:
    task = one("digits-mini", "mnist:optdigits", real)
    problem = protocols.problem("digits-mini", task, real, protocol="transfer", split=1)
    whole = store.load("optdigits", "train", real)
    assert problem.classes == 10
    assert len(problem.source.labels) + len(problem.test.labels) == len(whole.labels)
    found = rows(problem.source.images, problem.source.labels) + rows(problem.test.images, problem.test.labels)
    assert sorted(found) == sorted(rows(whole.images, whole.labels))


def test_a_negative_split_is_a_sentence(office: Location) -> None:
    with pytest.raises(DataError, match="split -1 is negative"):
        made("amazon-a:amazon-b", -1, office)


# -------------------------------------------------------------------------------------------------- whole data sets


def tree(root: Path, classes: tuple[str, ...], counts: dict[str, int]) -> Path:
    """``PART/CLASS/image`` with so many images of each class."""
    members = {
        f"{part}/{name}/{number}.png": image_file(f"{part} {name} {number}", (SIDE, SIDE), "PNG")
        for part, count in counts.items()
        for name in classes
        for number in range(count)
    }
    return write_tree(root, members)


def test_a_folder_of_train_and_val_is_one_domain(tmp_path: Path) -> None:
    classes = tuple("cat dog gnu jar mug pen van".split())
    root = tree(tmp_path / "images", classes, {"train": 5, "val": 2})
    (root / "natural.txt").write_text("cat\ndog\n\ngnu\n")
    name, location = f"folder:{root}", Location(tmp_path / "data")
    task = one(name, "a:b", location)
    assert task.test_domain == f"folder:{root}/val"
    assert set(task.domains) == {f"folder:{root}/train", f"folder:{root}/val"}
    problem = protocols.problem(name, task, location, protocol="transfer", side=SIDE)
    assert (problem.classes, len(problem.source.labels), len(problem.test.labels)) == (4, 20, 8)
    distant = protocols.problem(name, one(name, "natural:man", location), location, protocol="transfer", side=SIDE)
    assert (distant.classes, len(distant.source.labels)) == (3, 15)
    digests = problem.digests
    assert digests["test"] == store.digest(f"folder:{root}/val", "train", location, SIDE) != digests["target"]
    with pytest.raises(DataError, match="unknown task"):
        protocols.tasks(name, ["train-a:train-b"], location)


def test_a_list_of_natural_classes_has_to_fit(tmp_path: Path) -> None:
    root = tree(tmp_path / "images", ("cat", "mug"), {"train": 1, "val": 1})
    (root / "natural.txt").write_text("cow\n")
    with pytest.raises(DataError, match="lists cow, which is not a class"):
        registry.suite(f"folder:{root}")


def pixels(part: str, per_class: int) -> np.ndarray:
    """Made-up images, class by class, uint8 (100 * per_class, 32, 32, 3)."""
    random = np.random.default_rng(len(part))
    return random.integers(0, 256, (100 * per_class, 32, 32, 3), dtype=np.uint8)


def test_the_published_archive_and_image_files_give_the_same(tmp_path: Path) -> None:
    counts = {"train": 3, "test": 2}
    pickles = {"meta": pickle.dumps({"fine_label_names": list(cifar.CLASSES)}, protocol=3)}
    files = {}
    for part, per_class in counts.items():
        images, labels = pixels(part, per_class), np.tile(np.arange(100), per_class)
        content = {
            "data": images.transpose(0, 3, 1, 2).reshape(-1, 3072),
            "fine_labels": labels.tolist(),
            "filenames": [f"{index}.png" for index in range(len(labels))],
        }
        pickles[part] = pickle.dumps(content, protocol=3)
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            files[f"cifar100/{part}/{cifar.CLASSES[label]}/{index:05d}.png"] = png(image)
    first = write_tar(tmp_path / "python.tar.gz", {f"cifar-100-python/{name}": data for name, data in pickles.items()})
    second = write_tar(tmp_path / "files.tar.gz", files)
    for part in counts:
        one, other = (read([path])[part] for read, path in ((cifar.published, first), (cifar.folders, second)))
        assert one.names == other.names
        assert list(one.names) == sorted(one.names)
        assert np.array_equal(one.labels, other.labels)
        decoded = [np.concatenate(list(store.photos.decoded(photos, 32))) for photos in (one, other)]
        assert np.array_equal(*decoded)
        order = np.argsort(np.tile(np.arange(100), counts[part]), kind="stable")
        assert np.array_equal(decoded[0], pixels(part, counts[part])[order])


def test_a_subset_is_another_data_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    protocols._notify.cache_clear()
    place = Location(tmp_path / "data", str(tmp_path))
    assert protocols.at_hand("cifar100", place) == "cifar100"
    (tmp_path / "cifar100_200.tar.gz").write_bytes(b"")
    assert protocols.at_hand("cifar100", place) == "cifar100-200"
    assert protocols.at_hand("cifar100-200", place) == "cifar100-200"
    assert protocols.at_hand("office31", place) == "office31"
    assert "cifar100 is available only as a subset; results on it are named cifar100-200" in capsys.readouterr().err
    (tmp_path / "cifar-100-python.tar.gz").write_bytes(b"")
    assert protocols.at_hand("cifar100", place) == "cifar100"
    # What is prepared, at whatever size, is used before a file is fetched.
    monkeypatch.setattr(store, "_is_prepared_somehow", lambda domain, location: domain.name == "cifar100-200")
    assert protocols.at_hand("cifar100", place) == "cifar100-200"


def test_the_subset_is_two_fifths_and_half_of_every_class() -> None:
    expected = verify.manifest("cifar100-200")
    assert expected["train"].per_class == (200,) * 100
    assert expected["test"].per_class == (50,) * 100
    whole = verify.manifest("cifar100")
    assert (whole["train"].per_class, whole["test"].per_class) == ((500,) * 100, (100,) * 100)
    names = verify.file_digests("cifar100-200")
    assert {name.split("/")[1] for name in names} == set(cifar.CLASSES)


def test_the_subset_is_cut_from_the_published_archive_by_name(tmp_path: Path) -> None:
    """As the files of the subset are: the first of each class in the order of their names, whatever the archive's."""
    images, labels = pixels("train", 3), np.tile(np.arange(100), 3)
    files = [f"{'cab'[index // 100]}_s_{index:06d}.png" for index in range(300)]
    content = {
        "data": images.transpose(0, 3, 1, 2).reshape(-1, 3072),
        "fine_labels": labels.tolist(),
        "filenames": files,
    }
    pickles = {"meta": {"fine_label_names": list(cifar.CLASSES)}, "train": content, "test": content}
    members = {f"cifar-100-python/{name}": pickle.dumps(one, protocol=3) for name, one in pickles.items()}
    whole = write_tar(tmp_path / "python.tar.gz", members)
    first = {
        f"cifar100/{part}/{cifar.CLASSES[labels[index]]}/{files[index]}": png(images[index])
        for part, most in (("train", 2), ("test", 1))
        for index in range(100, 100 + 100 * most)
    }
    cut = cifar.published([whole], {"train": 2, "test": 1})
    for part, other in cifar.folders([write_tar(tmp_path / "files.tar.gz", first)]).items():
        one = cut[part]
        assert one.names == other.names
        assert np.array_equal(one.labels, other.labels)
        decoded = np.concatenate(list(store.photos.decoded(other, 32)))
        assert one.pixels is not None
        assert np.array_equal(one.pixels, decoded)
        assert np.array_equal(np.concatenate(list(store.photos.decoded(one, 32))), decoded)


def test_images_published_as_arrays_are_verified_as_arrays(tmp_path: Path) -> None:
    domain = registry.domain("cifar100-200")
    parts = {}
    for part, count in cifar.SUBSET.items():
        labels = np.repeat(np.arange(100), count)
        shape = (100 * count, 32, 32, 3)
        parts[part] = photos.Photos(("",) * len(labels), labels, lambda index: b"", pixels=np.zeros(shape, np.uint8))
    with pytest.raises(DataError, match="cifar100-200, train: images: expected digest"):
        verify.check(domain, parts, "the archive")
