"""One photograph as an array: geometry, formats, drafts, and files that are none."""

from __future__ import annotations

import io
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from datasets import photos, registry, store
from datasets.errors import DataError
from datasets.photos import Photos, decoded, square
from datasets.store import Location
from tests.datasets.office_helpers import encoded, image_file

Array = np.ndarray


@pytest.fixture(scope="module")
def china() -> Image.Image:
    """A real photograph of 640 x 427 pixels."""
    return Image.fromarray(load_sample_images().images[0])


def usual(image: Image.Image, side: int, crop: int) -> Array:
    """Resizing and centre cropping as torchvision does it, with Pillow alone on the fully decoded image."""
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    steps = Compose([Resize(side, InterpolationMode.BICUBIC, antialias=True), CenterCrop(crop)])
    return np.asarray(steps(image.convert("RGB")))


@pytest.mark.parametrize(
    "size", [(640, 427), (427, 640), (300, 300), (257, 256), (256, 259), (500, 333), (100, 301), (17, 40), (1500, 90)]
)
def test_a_centre_crop_is_the_usual_one(size: tuple[int, int], china: Image.Image) -> None:
    """To the last bit, odd margins and enlarged images included."""
    image = china.resize(size)
    ours = square(encoded(image), "x", 256)
    assert ours.shape == (256, 256, 3)
    assert ours.dtype == np.uint8
    assert np.array_equal(ours, usual(image, 256, 256))
    assert np.array_equal(ours[16:240, 16:240], usual(image, 256, 224))


@pytest.mark.parametrize(("side", "crop"), [(274, 240), (297, 260)])
def test_the_crop_of_the_larger_networks_is_the_usual_one_to_a_pixel(side: int, crop: int, china: Image.Image) -> None:
    first = round((side - crop) / 2)
    for size in ((640, 427), (427, 640), (500, 333), (501, 333)):
        image = china.resize(size)
        wanted = usual(image, side, crop).astype(int)
        ours = square(encoded(image), "x", side).astype(int)
        shifts = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)]
        crops = [ours[first + y : first + y + crop, first + x : first + x + crop] for y, x in shifts]
        assert any(np.array_equal(found, wanted) for found in crops)


@pytest.mark.parametrize("size", [(1100, 1100), (2048, 1500), (1501, 2251), (4000, 1027), (3001, 2049)])
def test_a_draft_of_a_large_jpeg_loses_nothing(size: tuple[int, int], china: Image.Image) -> None:
    """The mean difference from the whole decode is below one of 255 levels, and there is no shift."""
    content = encoded(china.resize(size, Image.Resampling.BICUBIC), "JPEG", quality=95)
    with Image.open(io.BytesIO(content)) as image:
        image.draft(None, (512, 512))
        assert (image.size != size) == (min(size) >= 1024)
        whole = usual(Image.open(io.BytesIO(content)), 256, 256).astype(float)
    ours = square(content, "x", 256).astype(float)
    assert np.abs(ours - whole).mean() < 1
    assert np.abs(ours - whole).max() < 40
    difference = np.abs(ours - whole).mean()
    for axis in (0, 1):
        for step in (1, -1):
            assert np.abs(np.roll(ours, step, axis) - whole).mean() > 2 * difference


def test_small_images_are_not_drafted(china: Image.Image) -> None:
    content = encoded(china, "JPEG", quality=90)
    assert np.array_equal(square(content, "x", 256), usual(Image.open(io.BytesIO(content)), 256, 256))


# Formats.


def flat(mode: str, colour: object, kind: str, **options: object) -> Array:
    return square(encoded(Image.new(mode, (64, 48), colour), kind, **options), "x", 32)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mode", "colour", "kind", "wanted"),
    [
        ("RGB", (200, 100, 50), "PNG", (200, 100, 50)),
        ("RGB", (200, 100, 50), "WEBP", (200, 100, 50)),
        ("RGB", (200, 100, 50), "BMP", (200, 100, 50)),
        ("RGB", (200, 100, 50), "TIFF", (200, 100, 50)),
        ("RGB", (200, 100, 50), "PPM", (200, 100, 50)),
        ("L", 120, "JPEG", (120, 120, 120)),
        ("L", 120, "PNG", (120, 120, 120)),
        ("L", 120, "PPM", (120, 120, 120)),
        ("1", 1, "PNG", (255, 255, 255)),
        ("P", 0, "GIF", (0, 0, 0)),
        ("CMYK", (0, 255, 255, 0), "JPEG", (255, 0, 0)),
        ("CMYK", (0, 255, 255, 0), "TIFF", (255, 0, 0)),
        ("YCbCr", (128, 128, 128), "JPEG", (128, 128, 128)),
        ("I;16", 0x8000, "PNG", (127, 127, 127)),
        ("I;16", 0xFFFF, "PNG", (255, 255, 255)),
        ("I;16", 0x8000, "TIFF", (127, 127, 127)),
        ("I", 0x4000, "TIFF", (63, 63, 63)),
        ("LA", (40, 255), "PNG", (40, 40, 40)),
        ("RGBA", (200, 100, 50, 255), "PNG", (200, 100, 50)),
    ],
)
def test_colours_of_every_mode(mode: str, colour: object, kind: str, wanted: tuple[int, int, int]) -> None:
    found = flat(mode, colour, kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert found.shape == (32, 32, 3)
    assert np.abs(found.astype(int) - wanted).max() <= 2


@pytest.mark.parametrize(
    ("mode", "colour", "wanted"), [("RGBA", (0, 0, 0, 0), 255), ("RGBA", (0, 0, 0, 128), 127), ("LA", (0, 0), 255)]
)
def test_a_transparent_image_lies_on_white(mode: str, colour: object, wanted: int) -> None:
    """A black drawing on a transparent ground is no black square."""
    assert np.abs(flat(mode, colour, "PNG").astype(int) - wanted).max() <= 1
    drawing = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    drawing.paste((0, 0, 0, 255), (16, 16, 48, 48))
    found = square(encoded(drawing), "x", 64)
    assert found[0, 0].tolist() == [255, 255, 255]
    assert found[32, 32].tolist() == [0, 0, 0]


def test_a_palette_may_have_a_transparent_colour() -> None:
    image = Image.new("P", (40, 40), 0)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.paste(1, (0, 0, 40, 20))
    found = square(encoded(image, "PNG", transparency=0), "x", 40)
    assert found[5, 20].tolist() == [255, 0, 0]
    assert found[35, 20].tolist() == [255, 255, 255]


def test_sixteen_bits_keep_their_gradations() -> None:
    ramp = np.repeat(np.linspace(0, 65535, 64).astype(np.uint16)[None], 64, axis=0)
    found = square(encoded(Image.fromarray(ramp)), "x", 64)
    assert np.abs(found[0, :, 0].astype(float) - np.linspace(0, 255, 64)).max() <= 1


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_an_animation_gives_its_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ((250, 10, 10), (10, 250, 10), (10, 10, 250))]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=50, **options)
    assert np.abs(square(content, "x", 32).astype(int) - (250, 10, 10)).max() <= 8


def corner(kind: str, orientation: int | None) -> bytes:
    """Red in the left upper corner as it is stored, 60 x 40, with an EXIF orientation."""
    image = Image.new("RGB", (60, 40), "white")
    image.paste((255, 0, 0), (0, 0, 30, 20))
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    return encoded(image, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", [None, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
def test_images_are_turned_upright(orientation: int | None, kind: str) -> None:
    """As Pillow's own function turns the whole image before it is scaled."""
    from PIL import ImageOps

    content = corner(kind, orientation)
    with Image.open(io.BytesIO(content)) as image:
        wanted = usual(ImageOps.exif_transpose(image), 40, 40)
    found = square(content, "x", 40)
    assert np.abs(found.astype(int) - wanted).max() <= 1
    if orientation in (None, 0, 1, 9):
        assert found[2, 2, 1] < 60


def test_a_large_jpeg_is_turned_as_a_small_one(china: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    large = encoded(china.resize((2561, 1709)), "JPEG", exif=exif, quality=95)
    small = encoded(china, "JPEG", exif=exif, quality=95)
    assert np.abs(square(large, "x", 256).astype(float) - square(small, "x", 256)).mean() < 4


def test_a_broken_exif_block_is_no_reason_to_refuse_an_image() -> None:
    good = corner("JPEG", 6)
    start = good.index(b"Exif\0\0") + 6
    broken = good[:start] + b"\xff" * 8 + good[start + 8 :]
    assert square(broken, "x", 40)[2, 2, 1] < 60, "as it is stored"


# Files that are no photographs.


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "a/b.jpg is empty: replace it."),
        (b"hello", "a/b.jpg is not a readable image: replace it."),
        (image_file("x")[:-200], "a/b.jpg cannot be decoded (image file is truncated"),
        (image_file("x", kind="PNG")[:-200], "a/b.jpg cannot be decoded ("),
        (encoded(Image.new("L", (5, 300))), "a/b.jpg claims 5 x 300 pixels, which is not a photograph"),
        (encoded(Image.new("1", (11000, 10000))), "a/b.jpg claims 11000 x 10000 pixels, which is not a photograph"),
        (encoded(Image.new("1", (20000, 10000))), "a/b.jpg is not a readable image"),
        (encoded(Image.new("F", (30, 30)), "TIFF"), "a/b.jpg cannot be decoded (it holds floating-point numbers"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_is_said_of_a_file_that_is_no_photograph(content: bytes, says: str) -> None:
    with pytest.raises(DataError) as caught:
        square(content, "a/b.jpg", 64)
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_damage_never_gives_a_traceback(kind: str) -> None:
    """Bytes changed and cut at random: an image of the right shape, or the one error."""
    whole = image_file("y", (30, 20), kind)
    generator = np.random.default_rng(7)
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(generator.integers(1, 6)):
            content[generator.integers(len(content))] = generator.integers(256)
        if generator.random() < 0.3:
            del content[generator.integers(1, len(content)) :]
        said = "x "
        try:
            assert square(bytes(content), "x", 16).shape == (16, 16, 3)
        except DataError as error:
            said = str(error)
        assert said.startswith("x ")
        assert "\n" not in said


# Many.


def many(count: int) -> Photos:
    names = tuple(f"d/c/{number:04d}.jpg" for number in range(count))
    return Photos(names, np.zeros(count, dtype=np.int64), lambda index: image_file(names[index], (90, 70)))


def test_workers_give_the_bytes_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, whoever is finished first."""
    count = 2 * photos.BLOCK + 7
    found = {}
    for workers in (1, 4):
        monkeypatch.setattr(photos, "cpu_count", lambda workers=workers: workers)
        blocks = list(decoded(many(count), 24))
        assert [len(block) for block in blocks] == [photos.BLOCK, photos.BLOCK, 7]
        found[workers] = np.concatenate(blocks)
    assert np.array_equal(found[1], found[4])
    alone = many(count)
    for index in (0, photos.BLOCK, count - 1):
        assert np.array_equal(found[4][index], square(alone.read(index), "x", 24))


def test_workers_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "cpu_count", lambda: 3)
    working, most, lock = 0, 0, threading.Lock()

    def slow(content: bytes, name: str, side: int) -> Array:
        nonlocal working, most
        with lock:
            working += 1
            most = max(most, working)
        time.sleep(0.01)
        with lock:
            working -= 1
        return np.zeros((side, side, 3), np.uint8)

    monkeypatch.setattr(photos, "square", slow)
    assert sum(len(block) for block in decoded(many(20), 8)) == 20
    assert most == 3


def test_one_store_per_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each a file of bytes that is mapped, not read; the sizes do not disturb each other."""
    from datasets import sources

    domain = registry.domain("dslr")
    names = tuple(f"dslr/{name}/frame_0001.jpg" for name in domain.classes)
    content = Photos(names, np.arange(31), lambda index: image_file(names[index]))
    asked: list[str] = []

    def acquire(of: registry.Domain, _location: Location) -> tuple[dict[str, Photos], str]:
        asked.append(of.name)
        return {"train": content}, "made up"

    monkeypatch.setattr(sources, "acquire", acquire)
    place = Location(tmp_path)
    assert not store.is_prepared("dslr", place)
    for side in (32, 48, 32, 48):
        store.prepare("dslr", place, side)
        assert store.is_prepared("dslr", place, side)
        assert not store.is_prepared("dslr", place)
    assert asked == ["dslr", "dslr"], "each size is decoded once"
    for side in (32, 48):
        images = store.load("dslr", "train", place, side)
        file = tmp_path / "prepared" / f"dslr@{side}" / "train.images.npy"
        assert isinstance(images.images, np.memmap)
        assert Path(str(images.images.filename)) == file
        assert images.images.dtype == np.uint8
        assert file.stat().st_size == 31 * side * side * 3 + 128
        assert images.names == names
        for index in (0, 30):
            assert np.array_equal(images.images[index], square(content.read(index), "x", side))
    assert store.digest("dslr", "train", place, 32) != store.digest("dslr", "train", place, 48)
    (entry,) = [entry for entry in store.listing(place) if entry.name == "dslr"]
    assert (entry.state, entry.counts) == ("prepared", {"train": 31})
    assert entry.size == sum(f.stat().st_size for f in (tmp_path / "prepared").rglob("*") if f.is_file())
    # A copy that somebody made beside them is no size.
    (tmp_path / "prepared" / "dslr@32.bak").mkdir()
    assert {entry.name: entry.state for entry in store.listing(place)}["dslr"] == "prepared"
    # Damage is noticed at each size.
    images_file = tmp_path / "prepared" / "dslr@48" / "train.images.npy"
    damaged = bytearray(images_file.read_bytes())
    damaged[-1] ^= 1
    images_file.write_bytes(damaged)
    store.verify("dslr", place, 32)
    with pytest.raises(DataError, match=r"dslr@48 are damaged: delete this folder and prepare them again"):
        store.load("dslr", "train", place, 48)


def test_a_kind_without_size_ignores_it(real: Location) -> None:
    assert store.is_prepared("optdigits", real, 99)
    assert store.digest("optdigits", "train", real, 99) == store.digest("optdigits", "train", real)
