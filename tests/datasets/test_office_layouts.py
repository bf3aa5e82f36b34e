"""Photographs in the layouts that their publishers chose, and what is said of archives that are damaged or others."""

from __future__ import annotations

import dataclasses
import io
import os
import stat
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets import fetch, office, registry, store, verify
from datasets.domains import Domain, File, Route
from datasets.errors import DataError
from datasets.store import Location
from tests.datasets.data_helpers import Site
from tests.datasets.office_helpers import class_tree, expect, image_file, write_archive

needs_mirror = pytest.mark.skipif(not os.environ.get("DATA_MIRROR"), reason="DATA_MIRROR names no mirror")
SIDE = 32


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """An empty mirror."""
    (tmp_path / "mirror").mkdir()
    return tmp_path / "mirror"


@pytest.fixture
def place(tmp_path: Path, mirror: Path) -> Location:
    """An empty data folder, and the mirror."""
    return Location(tmp_path / "data", str(mirror))


def unpinned(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Domains whose files may have any digest and come from no public address."""
    known = dict(registry.DOMAINS)
    for name in names:
        domain = known[name]
        routes = tuple(
            Route(tuple(dataclasses.replace(file, digest="", urls=()) for file in route.files), route.decode)
            for route in domain.routes
        )
        known[name] = dataclasses.replace(domain, routes=routes)
    monkeypatch.setattr(registry, "DOMAINS", known)


def prepared(name: str, place: Location) -> store.Images:
    assert store.prepare(name, place, SIDE) == name
    return store.load(name, "train", place, SIDE)


def sentence(name: str, place: Location) -> str:
    """What is said when a domain cannot be prepared."""
    with pytest.raises(DataError) as caught:
        store.prepare(name, place, SIDE)
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert "Traceback" not in text
    assert not (place.root / "prepared" / f"{name}@{SIDE}").exists()
    return text


# Office-31.

FEW = office.OFFICE31[::6]
"""back_pack, desk_chair, headphones ...: six of the classes."""


def office31_layouts(origin: str, per_class: int = 2) -> dict[str, dict[str, bytes]]:
    """File of the mirror -> members, in the four layouts that Office-31 is published in."""

    def images(prefix: str) -> dict[str, bytes]:
        return {f"{prefix}/readme.txt": b"-", **class_tree(prefix, office.OFFICE31, per_class)}

    noise = {**class_tree("caltech/images", FEW, 1), f"__MACOSX/{origin}/images/bike/._frame_0001.jpg": b"no image"}
    repository = "DDC-transfer-learning-9090f7fdd7c149c6158c5145b516abee97bb0944/data/Office31"
    return {
        "office31.tar": {**images(f"{origin}/images"), **noise},
        "domain_adaptation_images.tar.gz": {**images(f"{origin}/images"), **noise},
        "DDC-transfer-learning.zip": {**images(f"{repository}/{origin}"), **noise},
        f"office31/{origin}.zip": {**images(origin), **noise},
    }


@pytest.mark.parametrize("origin", ["amazon", "dslr", "webcam"])
def test_every_layout_of_office31_gives_the_same(
    origin: str, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expect(monkeypatch, tmp_path / "manifests", **{origin: 62})
    found = []
    for number, (name, members) in enumerate(office31_layouts(origin).items()):
        write_archive(mirror / name, members)
        place = Location(tmp_path / f"data{number}", str(mirror))
        images = prepared(origin, place)
        found.append((images.digest, images.names, images.labels.tolist()))
        (mirror / name).unlink()
    assert all(each == found[0] for each in found)
    _, names, labels = found[0]
    assert names[:3] == tuple(f"{origin}/{of}" for of in ("back_pack/frame_0001.jpg", "back_pack/frame_0002.jpg",
                                                           "bike/frame_0001.jpg"))  # fmt: skip
    assert [office.OFFICE31[label] for label in labels] == [name.split("/")[1] for name in names]


def test_a_file_put_into_downloads_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expect(monkeypatch, tmp_path / "manifests", dslr=62)
    place = Location(tmp_path / "data")
    members = office31_layouts("dslr")["domain_adaptation_images.tar.gz"]
    write_archive(tmp_path / "data" / "downloads" / "domain_adaptation_images.tar.gz", members)
    assert len(prepared("dslr", place).labels) == 62


def test_ten_classes_under_their_names_of_caltech(
    place: Location, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expect(monkeypatch, tmp_path / "manifests", amazon10=20, caltech10=30)
    write_archive(mirror / "office31.tar", office31_layouts("amazon")["office31.tar"])
    images = prepared("amazon10", place)
    folders = [name.split("/")[1] for name in images.names]
    assert set(folders) == {"back_pack", "laptop_computer", *office.CALTECH10} - {"backpack", "laptop"}
    renamed = {"back_pack": "backpack", "laptop_computer": "laptop"}
    assert [office.CALTECH10[i] for i in images.labels] == [renamed.get(name, name) for name in folders]
    for number, (name, prefix) in enumerate(
        {"caltech10.tar": "caltech10", "OfficeCaltechDomainAdaptation.zip": "Office-0bcf/images/Caltech"}.items()
    ):
        write_archive(mirror / name, {**class_tree(prefix, office.CALTECH10, 3), **class_tree("amazon", FEW, 1)})
        images = prepared("caltech10", Location(tmp_path / f"caltech{number}", str(mirror)))
        (mirror / name).unlink()
        assert images.labels.tolist() == [label for label in range(10) for _ in range(3)]
        assert images.names[0] == "caltech10/backpack/frame_0001.jpg"


@needs_mirror
def test_the_real_ten_classes(location: Location) -> None:
    counts = {"amazon10": 958, "caltech10": 1123, "dslr10": 157, "webcam10": 295}
    for name, count in counts.items():
        store.prepare(name, location)
        images = store.load(name, "train", location)
        assert len(images.labels) == count
        assert verify.per_class(images.labels, 10) == verify.manifest(name)["train"].per_class
    # The ten classes of Amazon are the very images of Office-31.
    store.prepare("amazon", location)
    all_of, ten = store.load("amazon", "train", location), store.load("amazon10", "train", location)
    places = {name: index for index, name in enumerate(all_of.names)}
    for index in range(0, len(ten.names), 97):
        assert np.array_equal(ten.images[index], all_of.images[places[ten.names[index]]])


# SURF.


def mat(**arrays: Any) -> bytes:
    from scipy.io import savemat

    out = io.BytesIO()
    savemat(out, arrays)
    return out.getvalue()


def histograms(count: int = 30) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 40, (count, 800))


def test_surf_histograms(place: Location, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expect(monkeypatch, tmp_path / "manifests", caltech10_surf=30)
    labels = np.arange(30)[:, None] % 10 + 1
    for fts in (histograms().astype(np.uint8), histograms().astype(np.float64)):
        path = mirror / "office_caltech10_surf" / "Caltech10_SURF_L10.mat"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(mat(fts=fts, labels=labels))
        place = Location(tmp_path / str(fts.dtype), str(mirror))
        images = prepared("caltech10-surf", place)
        assert np.array_equal(images.images, histograms())
        assert images.labels.tolist() == [i % 10 for i in range(30)]
        assert images.duplicates == ()


def test_identical_histograms_are_twins(
    place: Location, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expect(monkeypatch, tmp_path / "manifests", webcam_surf=30)
    fts = histograms()
    fts[[7, 21]] = fts[3]
    (mirror / "office_caltech10_surf").mkdir()
    (mirror / "office_caltech10_surf" / "webcam_SURF_L10.mat").write_bytes(mat(fts=fts, labels=np.arange(30) % 10 + 1))
    assert prepared("webcam-surf", place).duplicates == ((3, 7, 21),)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"fts": histograms() + 0.5, "labels": np.ones(30)}, "fts holds values that are not counts"),
        ({"fts": histograms() - 1, "labels": np.ones(30)}, "fts holds values that are not counts"),
        ({"fts": np.full((30, 800), np.nan), "labels": np.ones(30)}, "fts is not a finite matrix"),
        ({"fts": histograms()[:, :700], "labels": np.ones(30)}, r"features: expected (N, 800), found (30, 700)"),
        ({"fts": histograms(), "labels": np.full(30, 11)}, "labels: expected 0 to 9, found 10 to 10"),
        ({"fts": histograms(), "labels": np.ones(29)}, "features: expected (N, 800)"),
        ({"fts": histograms()}, "cannot be decoded (KeyError: 'labels')"),
    ],
)
def test_other_matrices_are_refused(
    arrays: dict[str, Any], says: str, place: Location, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expect(monkeypatch, tmp_path / "manifests", dslr_surf=30)
    (mirror / "office_caltech10_surf").mkdir()
    (mirror / "office_caltech10_surf" / "dslr_SURF_L10.mat").write_bytes(mat(**arrays))
    assert says in sentence("dslr-surf", place)


@needs_mirror
def test_the_real_histograms(location: Location) -> None:
    for name, count in {"amazon-surf": 958, "caltech10-surf": 1123, "dslr-surf": 157, "webcam-surf": 295}.items():
        store.prepare(name, location)
        images = store.load(name, "train", location)
        assert images.images.shape == (count, 800)
        assert set(images.labels.tolist()) == set(range(10))


# Office-Home.

HOMES = {"home-art": "Art", "home-clipart": "Clipart", "home-product": "Product", "home-real": "Real World"}
HOME_ZIP = "OfficeHomeDataset_10072016.zip"


def home_members(per_class: int = 1) -> dict[str, bytes]:
    """Office-Home's archive in little; the images of a domain are its own."""
    return {
        f"OfficeHomeDataset_10072016/{folder}/{name}/{number:05d}.jpg": image_file(f"{folder} {name} {number}")
        for folder in HOMES.values()
        for name in office.OFFICE_HOME
        for number in range(1, per_class + 1)
    } | {"OfficeHomeDataset_10072016/ImageInfo.csv": b"-", "OfficeHomeDataset_10072016/Art/imagelist.txt": b"-"}


def home_rows(names: bool = False, paths: bool = True) -> list[dict[str, Any]]:
    """The same images as rows of a table."""
    rows = []
    for place, content in home_members().items():
        if place.endswith(".jpg"):
            _, folder, name, file = place.split("/")
            label = name if names else office.OFFICE_HOME.index(name)
            image = {"bytes": content, "path": file if paths else None}
            rows.append({"image": image, "domain": folder, "label": label})
    return rows


def write_parquet(mirror: Path, rows: list[dict[str, Any]], columns: Iterable[str] = ()) -> None:
    """Office-Home's three files."""
    import pyarrow
    import pyarrow.parquet

    (mirror / "office-home").mkdir(exist_ok=True)
    for number in range(3):
        part = pyarrow.Table.from_pylist(rows[number::3])
        part = part.select(list(columns)) if columns else part
        pyarrow.parquet.write_table(part, mirror / "office-home" / f"train-{number:05d}-of-00003.parquet")


@pytest.fixture
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Office-Home may have one image per class."""
    expect(monkeypatch, tmp_path / "manifests", home_art=65, home_clipart=65, home_product=65, home_real=65)
    unpinned(monkeypatch, *HOMES)


@pytest.mark.usefixtures("homes")
def test_office_home_as_zip_and_as_parquet(tmp_path: Path) -> None:
    places = {}
    for number in range(3):
        (tmp_path / f"mirror{number}").mkdir()
        places[number] = Location(tmp_path / f"data{number}", str(tmp_path / f"mirror{number}"))
    write_archive(tmp_path / "mirror0" / HOME_ZIP, home_members())
    write_parquet(tmp_path / "mirror1", home_rows())
    write_parquet(tmp_path / "mirror2", home_rows(names=True))
    for name, folder in HOMES.items():
        found = [prepared(name, place) for place in places.values()]
        assert len({images.digest for images in found}) == 1
        assert len({images.names for images in found}) == 1
        assert [office.OFFICE_HOME[label] for label in found[0].labels] == [n.split("/")[1] for n in found[0].names]
        assert found[0].names[0] == f"{folder}/Alarm_Clock/00001.jpg"
    assert len({store.digest(name, "train", places[0], SIDE) for name in HOMES}) == 4


@pytest.mark.usefixtures("homes")
def test_parquet_files_without_names_of_images(place: Location, mirror: Path) -> None:
    write_parquet(mirror, home_rows(paths=False))
    images = prepared("home-art", place)
    assert len(set(images.names)) == 65
    assert sorted(images.labels.tolist()) == list(range(65))


@pytest.mark.usefixtures("homes")
def test_other_parquet_files_are_refused(place: Location, mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = home_rows()
    for label in (65, -1):
        rows[0]["label"] = label
        write_parquet(mirror, rows)
        assert f"(ValueError: label {label} is none of the 65 classes)" in sentence("home-art", place)
    write_parquet(mirror, home_rows(), columns=["image", "domain"])
    assert "cannot be decoded" in sentence("home-art", place)
    write_parquet(mirror, [row for row in home_rows() if row["domain"] != "Art"])
    assert "no image of Art in them" in sentence("home-art", place)
    path = mirror / "office-home" / "train-00001-of-00003.parquet"
    path.write_bytes(path.read_bytes()[:-200])
    assert "cannot be decoded (ArrowInvalid" in sentence("home-real", place)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert sentence("home-real", place) == "reading parquet files needs the package pyarrow: `pip install pyarrow`."


def test_the_publishers_digest_of_office_home_is_checked(
    place: Location, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expect(monkeypatch, tmp_path / "manifests", home_art=65)
    write_archive(mirror / HOME_ZIP, home_members())
    said = sentence("home-art", place)
    assert said.startswith(f"{mirror / HOME_ZIP} has the digest md5:")
    assert "where md5:b1c14819770c4448fd5b6d931031c91c was expected: replace it and try again" in said


# ImageCLEF-DA.


def clef_members(labels: Mapping[str, int] | None = None) -> dict[str, bytes]:
    """ImageCLEF-DA's archive in little: two images per class and domain; labels of its own for ``b`` if given."""
    members = {}
    for letter in "bcip":
        lines = []
        for number in range(24):
            name = f"{letter}/{letter}_{number:03d}.jpg"
            members[f"image_CLEF/{name}"] = image_file(name)
            lines.append(f"{name} {number % 12}")
        members[f"image_CLEF/{letter}List.txt"] = "\n".join([*lines, ""]).encode()
    if labels is not None:
        members["image_CLEF/bList.txt"] = "\n".join(f"{name} {label}" for name, label in labels.items()).encode()
    return members


@pytest.fixture
def clefs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expect(monkeypatch, tmp_path / "manifests", clef_bing=24, clef_caltech=24, clef_imagenet=24, clef_pascal=24)


@pytest.mark.usefixtures("clefs")
def test_imageclef_as_zip_and_as_tar(tmp_path: Path) -> None:
    absolute = {
        name: content.replace(b"b/b_", b"/home/someone/image_CLEF/b/b_") if name.endswith("bList.txt") else content
        for name, content in clef_members().items()
    }
    elsewhere = {name.replace("/bList", "/lists/b_list"): content for name, content in clef_members().items()}
    digests = set()
    for number, (name, members) in enumerate(
        [("image_CLEF.zip", clef_members()), ("image_CLEF.tar.gz", absolute), ("image_CLEF.zip", elsewhere)]
    ):
        write_archive(tmp_path / f"mirror{number}" / name, members)
        place = Location(tmp_path / f"data{number}", str(tmp_path / f"mirror{number}"))
        images = prepared("clef-bing", place)
        assert images.labels.tolist() == [i % 12 for i in range(24)]
        assert images.names[5] == "b/b_005.jpg"
        digests.add(images.digest)
        assert len(prepared("clef-pascal", place).labels) == 24
    assert len(digests) == 1


@pytest.mark.usefixtures("clefs")
def test_other_lists_are_refused(place: Location, mirror: Path) -> None:
    good = {f"b/b_{number:03d}.jpg": number % 12 for number in range(24)}
    for labels, says in (
        ({**good, "b/none.jpg": 3}, "b/none.jpg is listed but missing"),
        ({**good, "b/b_000.jpg": 12}, "labels: expected 0 to 11, found others"),
        (dict(list(good.items())[:20]), "number of images: expected 24, found 20"),
        ({}, "the list of the domain b is empty"),
    ):
        write_archive(mirror / "image_CLEF.zip", clef_members(labels))
        assert says in sentence("clef-bing", place)
    write_archive(mirror / "image_CLEF.zip", {**clef_members(), "image_CLEF/lists/b_list.txt": b""})
    assert "holds 2 lists of the domain b, not one" in sentence("clef-bing", place)
    members = {name: content for name, content in clef_members().items() if not name.endswith("bList.txt")}
    write_archive(mirror / "image_CLEF.zip", members)
    assert "holds 0 lists of the domain b, not one" in sentence("clef-bing", place)


@pytest.mark.usefixtures("clefs")
def test_names_with_spaces_in_a_list(place: Location, mirror: Path) -> None:
    members = {name.replace("b_003", "b 003"): content for name, content in clef_members().items()}
    members["image_CLEF/bList.txt"] = members["image_CLEF/bList.txt"].replace(b"b_003", b"b 003")
    write_archive(mirror / "image_CLEF.zip", members)
    assert prepared("clef-bing", place).labels.tolist().count(3) == 2


# Damaged archives and images.


@pytest.fixture
def dslr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Members of a small archive of one domain, which its manifest expects."""
    expect(monkeypatch, tmp_path / "manifests", dslr=62)
    return office31_layouts("dslr")["office31.tar"]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda content: content[: len(content) // 2], "is not a complete tar or zip archive"),
        (lambda content: content[: len(content) // 2 - 511], "is not a complete tar or zip archive"),
        (lambda content: b"", "is not a complete tar or zip archive"),
        (lambda content: b"<html>Quota exceeded</html>" * 40, "is not a complete tar or zip archive"),
        (lambda content: content[:600] + bytes(512) + content[1112:], "is not a complete tar or zip archive"),
    ],
)
def test_a_damaged_tar(damage: Any, says: str, dslr: dict[str, bytes], place: Location, mirror: Path) -> None:
    path = write_archive(mirror / "office31.tar", dslr)
    path.write_bytes(damage(path.read_bytes()))
    said = sentence("dslr", place)
    assert str(path) in said
    assert says in said or "number of images: expected 62" in said or "no image of dslr" in said


def test_a_damaged_compressed_tar(dslr: dict[str, bytes], place: Location, mirror: Path) -> None:
    path = write_archive(mirror / "domain_adaptation_images.tar.gz", dslr)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    for content in (whole[: len(whole) // 2], bytes(flipped)):
        path.write_bytes(content)
        assert str(path) in sentence("dslr", place)


def test_a_damaged_zip(dslr: dict[str, bytes], place: Location, mirror: Path) -> None:
    path = write_archive(mirror / "office31" / "dslr.zip", office31_layouts("dslr")["office31/dslr.zip"])
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(b"\xff\xd8") + 300] ^= 255
    for content in (whole[: len(whole) // 2], bytes(flipped), whole[:-30]):
        path.write_bytes(content)
        assert str(path) in sentence("dslr", place)


def test_hostile_archives(dslr: dict[str, bytes], place: Location, mirror: Path) -> None:
    path = mirror / "office31.tar"
    for name in ("../dslr/images/bike/x.jpg", "/dslr/images/bike/x.jpg", "C:\\dslr\\x.jpg"):
        write_archive(path, {**dslr, name: b""})
        assert "holds the unsafe name" in sentence("dslr", place)
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("dslr/images/bike/frame_0001.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert "holds a link or device" in sentence("dslr", place)
    path.unlink()
    (mirror / "office31").mkdir()
    with zipfile.ZipFile(mirror / "office31" / "dslr.zip", "w") as packed:
        entry = zipfile.ZipInfo("dslr/bike/frame_0001.jpg")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(entry, "/etc/passwd")
    assert "holds a link or device" in sentence("dslr", place)


def test_missing_and_foreign_classes(dslr: dict[str, bytes], place: Location, mirror: Path) -> None:
    without = {name: content for name, content in dslr.items() if "/bike/" not in name}
    path = write_archive(mirror / "office31.tar", without)
    assert "number of images: expected 62, found 60" in sentence("dslr", place)
    write_archive(path, {"dslr/images/unicorn/frame_0001.jpg": image_file("x"), "readme": b""})
    assert "no image of dslr in it" in sentence("dslr", place)


def test_an_image_that_cannot_be_read_is_named(dslr: dict[str, bytes], place: Location, mirror: Path) -> None:
    name = "dslr/images/bike/frame_0002.jpg"
    path = mirror / "office31.tar"
    for content, says in (
        (dslr[name][: len(dslr[name]) // 2], "cannot be decoded"),
        (b"", "is empty"),
        (b"not an image", "is not a readable image"),
    ):
        write_archive(path, {**dslr, name: content})
        assert f"dslr/bike/frame_0002.jpg {says}" in sentence("dslr", place)


def test_other_content_than_the_manifest_records_is_named(place: Location, mirror: Path) -> None:
    """The committed manifest knows every file of Office-31."""
    write_archive(mirror / "office31.tar", office31_layouts("dslr")["office31.tar"])
    said = sentence("dslr", place)
    assert "dslr: dslr/back_pack/frame_0001.jpg: expected digest 9ce53e7ea95b7926, found " in said


def test_a_page_instead_of_a_file_sends_to_the_next_address(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As servers of large files answer when too many have downloaded."""
    expect(monkeypatch, tmp_path / "manifests", dslr=62)
    members = office31_layouts("dslr")
    packed = write_archive(tmp_path / "x.zip", members["office31/dslr.zip"]).read_bytes()
    site.files = {"first.tar.gz": b"<html>Too many downloads</html>", "second.zip": packed}
    site.types = {"first.tar.gz": "text/html; charset=utf-8"}
    domain = registry.domain("dslr")
    decode = domain.routes[0].decode
    routes = tuple(Route((File(name, (f"{site.address}/{name}",)),), decode) for name in site.files)
    changed: Domain = dataclasses.replace(domain, routes=routes)
    monkeypatch.setattr(registry, "DOMAINS", {"dslr": changed})
    monkeypatch.setattr(fetch, "BACKOFF_SECONDS", 0.01)
    place = Location(tmp_path / "data")
    assert len(prepared("dslr", place).labels) == 62
    assert not list((place.root / "downloads").glob("first*"))
    site.types["second.zip"] = "text/html"
    said = sentence("dslr", Location(tmp_path / "other"))
    assert "answers with a web page instead of the file" in said
    assert "put this by hand into" in said
