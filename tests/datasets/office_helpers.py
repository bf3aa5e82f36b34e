"""Archives in the layouts of the office data sets, in little, and stand-ins for Office-31 with its real file names."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datasets import registry, sources, store, verify
from datasets.domains import Domain
from datasets.photos import Photos
from datasets.store import Location

HERE = Path(__file__).parent
SIDE = 8
"""Height and width of the stand-ins."""


def image_file(name: str, size: tuple[int, int] = (40, 30), kind: str = "JPEG") -> bytes:
    """An image file that is a function of its name: smooth colours, so that JPEG keeps them."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return encoded(Image.fromarray(coarse).resize(size, Image.Resampling.BILINEAR), kind)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The image as a file of this kind."""
    out = io.BytesIO()
    image.save(out, format=kind, **options)
    return out.getvalue()


def write_archive(path: Path, members: Mapping[str, bytes]) -> Path:
    """A tar archive, compressed or not, or a zip archive, as the ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as packed:
            for name, content in members.items():
                packed.writestr(name, content)
        return path
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def write_tree(root: Path, members: Mapping[str, bytes]) -> Path:
    """The members as files."""
    for name, content in members.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def class_tree(prefix: str, classes: Sequence[str], per_class: int) -> dict[str, bytes]:
    """``prefix/CLASS/frame_0001.jpg`` ...; the images depend on class and number alone."""
    return {
        f"{prefix}/{name}/frame_{number:04d}.jpg": image_file(f"{name} {number}")
        for name in classes
        for number in range(1, per_class + 1)
    }


def expect(monkeypatch: pytest.MonkeyPatch, folder: Path, **counts: int) -> None:
    """Manifests that expect these numbers of images, instead of those of the real domains."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in counts.items():
        name = name.replace("_", "-")
        (folder / f"{name}.json").write_text(json.dumps({"domain": name, "parts": {"train": {"count": count}}}))
    monkeypatch.setattr(verify, "MANIFESTS", folder)


def official(domain: str) -> tuple[tuple[str, ...], np.ndarray[Any, np.dtype[np.int64]]]:
    """Names and labels of a domain of Office-31, from its committed manifest."""
    names = tuple(sorted(verify.file_digests(domain)))
    classes = registry.domain(domain).classes
    return names, np.array([classes.index(name.split("/")[1]) for name in names])


def amazon_twins() -> list[set[str]]:
    """The groups of identical files of Amazon, 49 of them, by name."""
    groups: dict[str, list[list[int]]] = json.loads((HERE / "amazon_twins.json").read_text())
    return [{f"amazon/{of}/frame_{n:04d}.jpg" for n in group} for of, some in groups.items() for group in some]


def stand_ins(root: Path) -> Location:
    """Office-31 with its real names, counts and twins, and made-up images of 8 x 8 pixels."""
    first = {name: min(group) for group in amazon_twins() for name in group}
    location = Location(root)

    def acquire(domain: Domain, _location: Location) -> tuple[dict[str, Photos], str]:
        names, labels = official(domain.name)

        def read(index: int) -> bytes:
            return image_file(first.get(names[index], names[index]), (SIDE, SIDE), "PNG")

        return {"train": Photos(names, labels, read)}, "made up"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "acquire", acquire)
        for domain in registry.suite("office31").domains.values():
            store.prepare(domain, location, SIDE)
    return location
