"""Folders of images as people have them: odd names, unlabelled targets, lists, stray files, broken images."""

from __future__ import annotations

import os
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets import fetch, folders, names, photos, protocols, registry, scan, store
from datasets.errors import DataError
from datasets.store import Location
from tests.datasets.office_helpers import encoded, image_file, write_tree

SIDE = 16


@pytest.fixture(autouse=True)
def _looked_at_anew() -> None:
    folders.forget()


def files(*places: str) -> dict[str, bytes]:
    return {place: image_file(place, (20, 16), "PNG") for place in places}


def labelled(domain: str, classes: str = "cup mug", count: int = 2) -> dict[str, bytes]:
    return files(*(f"{domain}/{one}/{number}.png" for one in classes.split() for number in range(count)))


def suite(root: Path, members: dict[str, bytes]) -> registry.Suite:
    write_tree(root, members)
    folders.forget()
    return registry.suite(f"folder:{root}")


def refused(root: Path, members: dict[str, bytes]) -> str:
    with pytest.raises(DataError) as caught:
        suite(root, members)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Targets without labels.


@pytest.mark.parametrize(
    "places",
    [
        ("new/0.png", "new/1.png"),
        ("new/0.png", "new/2024/05/1.png"),
        ("new/unlabelled/0.png", "new/unlabelled/deep/er/1.png"),
        ("new/2024/05/0.png", "new/2025/06/1.png"),
    ],
)
def test_a_domain_without_class_folders_is_a_target_alone(places: tuple[str, ...], tmp_path: Path) -> None:
    found = suite(tmp_path / "x", {**labelled("shop"), **files(*places)})
    assert found.tasks == (("shop", "new"),)
    assert found.classes == ("cup", "mug")
    location = Location(tmp_path / "data")
    (task,) = protocols.tasks(found.name, None, location)
    problem = protocols.problem(found.name, task, location, side=SIDE)
    assert problem.test.labels.tolist() == [-1, -1]
    assert problem.source.labels.tolist() == [0, 0, 1, 1]
    assert problem.classes == 2
    assert store.load(task.target_domain, "train", location, SIDE).names == tuple(sorted(places))
    with pytest.raises(DataError, match=r"new of .* has no labels, so it can be a target and no source"):
        protocols.tasks(found.name, ["new:shop"], location)


def test_where_labels_are_is_never_guessed(tmp_path: Path) -> None:
    stray = refused(tmp_path / "a", {**labelled("shop"), **labelled("web"), **files("web/3.png")})
    assert "holds the class cup and 1 image in no class (3.png): move these" in stray
    nothing = refused(tmp_path / "b", {**labelled("shop"), **labelled("web", "pot pan")})
    assert "no class in common" in nothing
    assert "below one folder named unlabelled" in nothing
    assert "has no domain with one folder per class" in refused(tmp_path / "c", files("a/0.png", "b/0.png"))


def test_a_list_of_files_is_a_data_set(tmp_path: Path) -> None:
    members = files("pool/a b.png", "pool/b.png", "pool/c.png", "pool/d, e.png")
    text = (
        '\ufeffpath,label,domain\npool/a b.png,mug,shop\npool/b.png,cup,shop\npool/c.png,,new\n"pool/d, e.png",,new\n'
    )
    write_tree(tmp_path, {**members, "list.csv": text.encode()})
    found = registry.suite(f"folder:{tmp_path / 'list.csv'}")
    assert (found.classes, found.tasks) == (("cup", "mug"), (("shop", "new"),))
    location = Location(tmp_path / "data")
    (task,) = protocols.tasks(found.name, None, location)
    problem = protocols.problem(found.name, task, location, side=SIDE)
    wanted = photos.square(members["pool/b.png"], "x", SIDE)
    assert problem.source.labels.tolist() == [0, 1]
    assert np.array_equal(problem.source.images[0], wanted)
    assert len(problem.target.images) == 2
    for line, says in (
        ("pool/b.png,,shop", "labels some images of shop and not pool/b.png"),
        ("pool/b.png,cup", "path and domain are needed, and three fields"),
        ("pool/b.png,Cup,shop\npool/c.png,cup,shop", "differ in case only"),
        ("pool/a b.png,mug,shop", "lists an image of shop twice"),
        ("pool/b\0.png,cup,shop", "holds a zero byte"),
        ('pool/b.png,cup,"shop\npool/c.png,cup,web', "cannot be read as a list .*for want of a quote"),
        ('"pool/b.png,cup,shop\n' + "pool/c.png,cup,web\n" * 10000, "cannot be read as a list .*for want of a quote"),
        ("pool/b.png,cup, ", "path and domain are needed, and three fields"),
        ("pool/b.png,mug,shop ", "has 1 .shop. of the two domains"),
    ):
        (tmp_path / "list.csv").write_text(f"path,label,domain\npool/a b.png,mug,shop\n{line}\n")
        folders.forget()
        with pytest.raises(DataError, match=says):
            registry.suite(f"folder:{tmp_path / 'list.csv'}")


@pytest.mark.parametrize(
    ("columns", "says"), [("path,label,domain,size", "has more than the columns"), ("path,label", "lacks the columns")]
)
def test_a_list_has_three_columns(columns: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"{columns}\n")
    with pytest.raises(DataError, match=says):
        registry.suite(f"folder:{tmp_path / 'list.csv'}")


@pytest.mark.parametrize(
    ("link", "to", "says"),
    [
        ("shop/cup/again", ".", "is a link to a folder that it is in: remove it"),
        ("shop/cup/up", "../..", "is a link to a folder that it is in: remove it"),
        ("shop/cup/itself", "itself", "cannot be read .Too many levels of symbolic links.: fix or remove it"),
        ("shop/itself", "itself", "cannot be read .Too many levels of symbolic links.: fix or remove it"),
    ],
)
def test_a_link_that_leads_back_is_named(link: str, to: str, says: str, tmp_path: Path) -> None:
    write_tree(tmp_path, {**labelled("shop"), **labelled("web")})
    (tmp_path / link).symlink_to(to)
    with pytest.raises(DataError, match=says):
        registry.suite(f"folder:{tmp_path}")


def test_common_classes_are_an_explicit_wish(tmp_path: Path) -> None:
    members = {**labelled("shop", "cup mug pan"), **labelled("web", "bowl cup mug"), **files("new/0.png")}
    assert "different classes: pan is in shop and not in web" in refused(tmp_path / "x", members)
    name = f"folder:{tmp_path}/x#common"
    found = registry.suite(name)
    assert found.classes == ("cup", "mug")
    location = Location(tmp_path / "data")
    (task,) = protocols.tasks(name, ["web:shop"], location)
    problem = protocols.problem(name, task, location, side=SIDE)
    assert problem.source.labels.tolist() == problem.test.labels.tolist() == [0, 0, 1, 1]
    assert np.array_equal(problem.source.images[0], photos.square(members["web/cup/0.png"], "x", SIDE))
    assert problem.tested is not None
    assert problem.tested.tolist() == [0, 1, 2, 3]
    said = folders.summary(name)
    assert said.count("  left out: 2 images of 1 class that not all domains share (pan)") == 1
    assert said.count("  left out: 2 images of 1 class that not all domains share (bowl)") == 1
    assert "new: 1 image without labels" in said


# 1. Names.


@pytest.mark.parametrize("domain", ["Real World", "a, b", "it's", '"q"', "100%", "$HOME", "a  b", "+", "a+b"])
def test_domains_of_any_name_can_be_named(domain: str, tmp_path: Path) -> None:
    found = suite(tmp_path / "my data, 'x' 5%/set $one", {**labelled(domain), **labelled("Art"), **labelled("Web")})
    location = Location(tmp_path / "data")
    for text in (f"Art:{domain}", f"Art:Web Art:{domain}  {domain}:Web", f" {domain}:Art "):
        labels = [task.label for task in protocols.tasks(found.name, [text], location)]
        assert " ".join(labels).split() == text.split()
    (task, *_) = protocols.tasks(found.name, [f"{domain}:Art"], location)
    assert len(protocols.problem(found.name, task, location, side=SIDE).source.labels) == 4


def test_data_sets_in_one_text() -> None:
    assert names.parted("digits-mini office31") == ("digits-mini", "office31")
    assert names.parted("digits folder:/x/my data/set one folder:/y") == (
        "digits",
        "folder:/x/my data/set one",
        "folder:/y",
    )
    assert names.parted("folder:/x/it's, 5% $y") == ("folder:/x/it's, 5% $y",)


# 2. Names that are not UTF-8.


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems take no such names")
def test_names_in_another_encoding(tmp_path: Path) -> None:
    raw = os.fsdecode("照".encode("gbk"))
    root = tmp_path / raw
    members = {f"{raw}/{raw}/{raw}.png": image_file("x", kind="PNG"), f"{raw}/cup/1.png": image_file("y", kind="PNG")}
    found = suite(root, {**members, **files("new/1.png", "new/2\n.png")})
    for text in (found.name, *found.domains, *found.classes, *found.domains.values()):
        text.encode("utf-8")
    assert found.classes == (r"\xd5\xd5", "cup")
    assert registry.suite(found.name) == found, "what is shown can be typed"
    location = Location(tmp_path / "data")
    (task,) = protocols.tasks(found.name, None, location)
    protocols.problem(found.name, task, location, side=SIDE)
    assert store.load(task.source_domain, "train", location, SIDE).names[0] == r"\xd5\xd5/\xd5\xd5/\xd5\xd5.png"
    assert store.load(task.target_domain, "train", location, SIDE).names == ("new/1.png", r"new/2\x0a.png")


# 5, 8, 9, 10.


def test_what_is_read_and_what_is_left_out(tmp_path: Path) -> None:
    members = labelled("shop")
    for ending in ("jfif", "jpe", "JPG"):
        members[f"shop/mug/x.{ending}"] = image_file(ending)
    members["shop/mug/y.tga"] = encoded(Image.new("RGB", (20, 16), "red"), "TGA")
    members["shop/mug/deep/er/z.jp2"] = encoded(Image.new("RGB", (20, 16), "red"), "JPEG2000")
    members["shop/mug/bare"] = image_file("bare")
    members |= {"shop/mug/readme.txt": b"-", "shop/list": b"text", "shop/cup/a.TXT": b"-", "shop/cup/.hidden.png": b"-"}
    for odd in ("__MACOSX", "@eaDir", "#recycle", "lost+found", "$RECYCLE.BIN", "System Volume Information"):
        members |= {f"{odd}/a/x.png": b"-", f"shop/{odd}/x.png": b"-", f"shop/mug/{odd}/x.png": b"-"}
    found = suite(tmp_path / "x", {**members, **files("new/0.png")})
    assert set(found.domains) == {"shop", "new"}
    assert folders.summary(found.name) == [
        "new: 1 image without labels",
        "shop: 10 images of 2 classes (cup 2, mug 8)",
        "  left out: 3 files that are not images (2 .txt, 1 no ending)",
    ]
    store.prepare(found.domains["shop"], Location(tmp_path / "data"), SIDE)


def test_class_names_that_are_nearly_the_same(tmp_path: Path) -> None:
    composed, parted = unicodedata.normalize("NFC", "Café"), unicodedata.normalize("NFD", "Café")
    assert composed != parted
    found = suite(tmp_path / "a", {**labelled("shop", f"{composed} mug"), **labelled("web", f"{parted} mug")})
    assert found.classes == (composed, "mug")
    both = refused(tmp_path / "b", {**labelled("shop", f"{composed} {parted}"), **labelled("web", "mug")})
    assert f"two folders named {composed}, in two spellings of its accents" in both
    case = refused(tmp_path / "c", {**labelled("shop", "cup mug"), **labelled("web", "cup Mug")})
    assert "the classes mug of shop and Mug of web" in case
    assert "differ in case only" in case
    (tmp_path / "a" / "natural.txt").write_bytes("\ufeffmug\n".encode())
    folders.forget()
    assert registry.suite(found.name).natural == ("mug",)


def test_all_broken_images_are_named_at_once(tmp_path: Path) -> None:
    members = {**labelled("shop", count=70), **files("new/0.png")}
    members |= {"shop/cup/0.png": b"", "shop/mug/69.png": b"text", "shop/cup/9.png": members["shop/cup/9.png"][:60]}
    found = suite(tmp_path / "x", members)
    with pytest.raises(DataError) as caught:
        store.prepare(found.domains["shop"], Location(tmp_path / "data"), SIDE)
    said = str(caught.value)
    assert said.startswith("3 images cannot be used (shop/cup/0.png is empty; ")
    assert "shop/cup/9.png cannot be decoded" in said
    assert said.endswith("shop/mug/69.png is not a readable image): replace or remove them.")


@pytest.mark.parametrize(("bits", "value"), [(12, 2048), (10, 512), (14, 8192), (16, 32768), (8, 128)])
def test_few_bits_in_sixteen_are_not_black(bits: int, value: int) -> None:
    pixels = np.full((8, 8), value, np.uint16)
    pixels[0, 0] = 2**bits - 1
    made = photos.square(encoded(Image.fromarray(pixels)), "x", 8)
    assert abs(int(made[4, 4, 0]) - 127) <= 1
    assert made[0, 0, 0] > 200


# 6, 7, 11.


@pytest.mark.parametrize(
    ("error", "says"),
    [(PermissionError(13, "Permission denied"), "Permission denied"), (OSError(116, "Stale file handle"), "Stale")],
)
def test_what_cannot_be_read_is_not_called_damaged(
    error: OSError, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = suite(tmp_path / "x", {**labelled("shop"), **files("new/0.png")})
    location = Location(tmp_path / "data")
    store.prepare(found.domains["shop"], location, SIDE)

    def fails(*_arguments: object, **_options: object) -> None:
        raise error

    for owner, name in ((Path, "read_text"), (np.lib.format, "open_memmap")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, fails)
            with pytest.raises(DataError, match=f"cannot be read .{says}.*: fix that and try again"):
                store.load(found.domains["shop"], "train", location, SIDE)
    store.load(found.domains["shop"], "train", location, SIDE)


def test_a_name_as_long_as_a_file_system_takes(tmp_path: Path) -> None:
    found = suite(tmp_path / "x", {**labelled("d" * 250), **files("new/0.png")})
    (task,) = protocols.tasks(found.name, None, Location(tmp_path / "data"))
    protocols.problem(found.name, task, Location(tmp_path / "data"), side=SIDE)


def test_one_folder_has_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite(tmp_path / "x", {**labelled("shop"), **files("new/0.png")})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "x")
    spelled = ("folder:x", "folder:x/", "folder:./x/../x", f"folder:{tmp_path}/x//", "folder:link")
    assert {names.parted(text) for text in spelled} == {(f"folder:{tmp_path}/x",)}
    assert {registry.suite(text).name for text in spelled} == {f"folder:{tmp_path}/x"}


@pytest.mark.parametrize("text", ["folder:", "folder: "])
def test_a_folder_without_a_path_is_an_error(text: str) -> None:
    with pytest.raises(DataError, match="folder: names no folder: write folder:PATH"):
        registry.suite(text)


def test_every_source_is_listed() -> None:
    offers = store._offers(registry.domain("amazon"))
    routes = registry.domain("amazon").routes
    assert all(file.name in offers[0] for route in routes for file in route.files)
    hosts = {url.split("/")[2] for route in routes for file in route.files for url in file.urls}
    assert hosts <= set(offers)


def test_a_busy_mirror_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Answer:
        def __init__(self, status: int) -> None:
            self.status_code, self.ok = status, status < 400

        def __enter__(self) -> Answer:
            return self

        def __exit__(self, *_error: object) -> None:
            pass

    def request(method: str, url: str, **_options: object) -> Answer:
        asked.append(method)
        return Answer(429 if len(asked) < 4 else 200)

    monkeypatch.setattr(fetch.requests, "request", request)
    monkeypatch.setattr(fetch, "BACKOFF_SECONDS", 0.0)
    assert fetch.exists("http://mirror/x")
    assert len(asked) == 4


def test_below_finds_what_a_scan_finds(tmp_path: Path) -> None:
    write_tree(tmp_path, {**labelled("shop"), "shop/@eaDir/x.png": b"", "a.txt": b""})
    assert len(scan.below(tmp_path)) == 4
