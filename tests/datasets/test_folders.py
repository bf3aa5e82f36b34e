"""A user's own images as a data set."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets import folders, photos, protocols, registry, store
from datasets.errors import DataError
from datasets.store import Location
from tests.datasets.office_helpers import encoded, image_file, write_tree

SIDE = 24
CLASSES = ("chair", "desk lamp", "mug")


@pytest.fixture(autouse=True)
def _looked_at_anew() -> None:
    """What a process knows of folders is forgotten between tests."""
    forget()


forget = folders.forget


def tree(root: Path, domains: tuple[str, ...] = ("camera", "shop", "web"), per_class: int = 2) -> Path:
    """Three domains of three classes; one in Office-31's layout, files of several kinds, and things beside them."""
    members = {"notes.txt": b"-", ".hidden/chair/x.jpg": b"-"}
    for number, domain in enumerate(domains):
        middle = "images/" if number == 0 else ""
        for name in CLASSES:
            for index in range(per_class):
                kind, ending = [("JPEG", "jpg"), ("PNG", "PNG"), ("WEBP", "webp")][index % 3]
                members[f"{domain}/{middle}{name}/{index}.{ending}"] = image_file(f"{domain} {name} {index}", kind=kind)
            members[f"{domain}/{middle}{name}/.DS_Store"] = b"-"
            members[f"{domain}/{middle}{name}/list.txt"] = b"-"
    return write_tree(root, members)


def test_every_pair_of_domains_is_a_task(tmp_path: Path) -> None:
    suite = registry.suite(f"folder:{tree(tmp_path / 'mine')}")
    assert tuple(suite.domains) == ("camera", "shop", "web")
    assert set(suite.tasks) == {(a, b) for a in suite.domains for b in suite.domains if a != b}
    assert suite.classes == CLASSES
    assert suite.transductive


def test_a_folder_is_prepared_and_gives_problems(tmp_path: Path) -> None:
    name, place = f"folder:{tree(tmp_path / 'mine')}", Location(tmp_path / "data")
    for task in protocols.tasks(name, None, place):
        problem = protocols.problem(name, task, place, side=SIDE)
        assert problem.source.images.shape == problem.test.images.shape == (6, SIDE, SIDE, 3)
        assert problem.source.labels.tolist() == problem.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
        assert problem.classes == 3
    camera = store.load(registry.suite(name).domains["camera"], "train", place, SIDE)
    assert camera.names[:2] == ("camera/chair/0.jpg", "camera/chair/1.PNG")
    wanted = photos.square(image_file("camera desk lamp 1", kind="PNG"), "x", SIDE)
    assert np.array_equal(camera.images[3], wanted)
    with pytest.raises(DataError, match=f"{name} has no splits: its one protocol is full"):
        protocols.problem(name, protocols.tasks(name, None, place)[0], place, protocol="supervised", side=SIDE)
    with pytest.raises(DataError, match="unknown task 'shop:shop'"):
        protocols.tasks(name, ["shop:shop"], place)


def test_a_changed_folder_is_prepared_again(tmp_path: Path) -> None:
    root, place = tree(tmp_path / "mine"), Location(tmp_path / "data")
    domain = registry.suite(f"folder:{root}").domains["shop"]
    digests = []

    def step() -> None:
        forget()
        assert not store.is_prepared(domain, place, SIDE)
        store.prepare(domain, place, SIDE)
        assert store.is_prepared(domain, place, SIDE)
        digests.append(store.digest(domain, "train", place, SIDE))

    step()
    image = root / "shop" / "mug" / "0.jpg"
    image.write_bytes(image_file("another"))
    step()
    (root / "shop" / "mug" / "9.jpg").write_bytes(image_file("one more"))
    step()
    os.utime(image, ns=(1, 1))
    step()
    image.unlink()
    step()
    assert len(set(digests)) == 4, "the time alone changes no pixel"
    assert digests[2] == digests[3]


def test_two_folders_of_one_name_do_not_meet(tmp_path: Path) -> None:
    place = Location(tmp_path / "data")
    found = set()
    for number, per_class in enumerate((1, 2)):
        domain = registry.suite(f"folder:{tree(tmp_path / str(number) / 'mine', per_class=per_class)}").domains["web"]
        store.prepare(domain, place, SIDE)
        found.add(len(store.load(domain, "train", place, SIDE).labels))
    assert found == {3, 6}
    assert len(list((place.root / "prepared").iterdir())) == 2


def test_twins_are_noticed(tmp_path: Path) -> None:
    root = tree(tmp_path / "mine")
    (root / "web" / "mug" / "copy.jpg").write_bytes((root / "web" / "chair" / "0.jpg").read_bytes())
    domain, place = registry.suite(f"folder:{root}").domains["web"], Location(tmp_path / "data")
    store.prepare(domain, place, SIDE)
    images = store.load(domain, "train", place, SIDE)
    assert [[images.names[index] for index in group] for group in images.duplicates] == [
        ["web/chair/0.jpg", "web/mug/copy.jpg"]
    ]


def test_a_relative_path_and_a_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    domains = {
        str(registry.suite(name).domains) for name in ("folder:mine", "folder:~/mine", f"folder:{tmp_path}/mine/")
    }
    assert len(domains) == 1


def refusal(root: Path, place: Location) -> str:
    """What is said of a folder, when it is looked at or prepared."""

    def prepare_all() -> None:
        for domain in registry.suite(f"folder:{root}").domains.values():
            store.prepare(domain, place, SIDE)

    forget()
    with pytest.raises(DataError) as caught:
        prepare_all()
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def test_what_is_said_of_other_folders(tmp_path: Path) -> None:
    place = Location(tmp_path / "data")
    assert refusal(tmp_path / "nowhere", place) == (
        f"{tmp_path}/nowhere is not a folder: name one with the layout DOMAIN/CLASS/image, or a list that ends with "
        ".csv."
    )
    (tmp_path / "empty").mkdir()
    assert "has 0 (none) of the two domains with images that are needed" in refusal(tmp_path / "empty", place)
    lonely = tree(tmp_path / "lonely", ("one",))
    assert "has 1 (one) of the two domains" in refusal(lonely, place)
    file = tmp_path / "file"
    file.write_bytes(b"")
    assert "is not a folder" in refusal(file, place)
    odd = tree(tmp_path / "odd", ("a", "b:c"))
    assert f"{odd}/b:c has a colon in its name, which tasks cannot spell: rename it." == refusal(odd, place)
    with pytest.raises(DataError, match="nowhere/x has no folders of classes"):
        registry.domain("folder:nowhere/x")


def test_label_spaces_that_differ(tmp_path: Path) -> None:
    root, place = tree(tmp_path / "mine"), Location(tmp_path / "data")
    write_tree(root, {"shop/sofa/0.jpg": image_file("sofa")})
    assert "have different classes: sofa is in shop and not in camera; all domains need the same ones" in refusal(
        root, place
    )
    write_tree(root, {"camera/images/sofa/0.jpg": image_file("sofa")})
    assert "sofa is in camera and not in web" in refusal(root, place)


def test_empty_classes_and_images_that_cannot_be_read(tmp_path: Path) -> None:
    root, place = tree(tmp_path / "mine"), Location(tmp_path / "data")
    images = list((root / "web" / "mug").glob("[0-9]*"))
    kept = [path.read_bytes() for path in images]
    for path in images:
        path.unlink()
    assert f"{root}/web/mug holds no image: every class of every domain needs some." == refusal(root, place)
    for path, content in zip(images, kept, strict=True):
        path.write_bytes(content)
    bad = root / "shop" / "chair" / "0.jpg"
    good = bad.read_bytes()
    for content, says in (
        (good[: len(good) // 2], "shop/chair/0.jpg cannot be decoded ("),
        (b"", "shop/chair/0.jpg is empty: replace it."),
        (b"text", "shop/chair/0.jpg is not a readable image: replace it."),
        (encoded(Image.new("RGB", (2, 200))), "shop/chair/0.jpg claims 2 x 200 pixels"),
    ):
        bad.write_bytes(content)
        assert refusal(root, place).startswith(says)
    bad.unlink()
    bad.symlink_to("nowhere.jpg")
    assert "0.jpg cannot be read (No such file or directory): fix or remove it." in refusal(root, place)
    bad.unlink()
    bad.mkdir()
    assert "0.jpg cannot be read (Is a directory): fix or remove it." in refusal(root, place)


def test_a_folder_that_breaks_after_it_was_prepared(tmp_path: Path) -> None:
    root, place = tree(tmp_path / "mine"), Location(tmp_path / "data")
    domain = registry.suite(f"folder:{root}").domains["shop"]
    store.prepare(domain, place, SIDE)
    (root / "shop" / "chair" / "9.jpg").symlink_to("nowhere.jpg")
    forget()
    with pytest.raises(DataError, match=r"9.jpg cannot be read \(No such file or directory\)"):
        store.is_prepared(domain, place, SIDE)
