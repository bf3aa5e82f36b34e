"""A pretrained backbone of a few weights, for tests of the cache: arguments DATA VIEWS LOG [SECONDS-PER-BLOCK].

As a program it computes the activations of ``dslr`` and notes every computed block in LOG.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.networks import activations, pretrained, weights
from benchmarks.networks.activations import Key
from benchmarks.networks.pretrained import HALF, Pretrained
from datasets.store import Location
from tests.datasets.office_helpers import SIDE

TINY = Pretrained(
    "Tiny", SIDE, 6, HALF, HALF, {"middle": (4, 6, 6), "pool": (5,)}, late_cut="middle", has_batchnorm=False
)
CONTENT = b"weights of the tiny backbone"


def trunk(_name: str, _weights: Path) -> nn.Module:
    torch.manual_seed(11)
    whole = nn.Sequential()
    whole.add_module("stem", nn.Conv2d(3, 4, 3, padding=1))
    whole.add_module("middle", nn.Sequential(nn.ReLU(), nn.Conv2d(4, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    return whole


def classifier(name: str, weights: Path) -> nn.Module:
    return nn.Sequential(trunk(name, weights), nn.Linear(5, pretrained.CLASSES)).eval()


@contextmanager
def installed(location: Location) -> Iterator[list[int]]:
    """The backbone ``tiny`` exists; gives the places of the blocks that are computed meanwhile."""
    file = weights.File("weights/tiny.pth", digest=f"sha256:{hashlib.sha256(CONTENT).hexdigest()}")
    location.kept(file).parent.mkdir(parents=True, exist_ok=True)
    location.kept(file).write_bytes(CONTENT)
    computed: list[int] = []
    compute = activations._compute

    def counted(key: Key, path: Path, images: str, start: int, *rest: Any) -> int:
        computed.append(start)
        return compute(key, path, images, start, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(pretrained.KNOWN, "tiny", TINY)
        patch.setitem(weights.FILES, "tiny", file)
        patch.setattr(pretrained, "trunk", trunk)
        patch.setattr(pretrained, "classifier", classifier)
        patch.setattr(activations, "_compute", counted)
        patch.setattr(activations, "BLOCK", 64)
        patch.setattr(activations, "BATCH", 16)
        activations._early.cache_clear()
        yield computed
        activations._early.cache_clear()


def key(location: Location, cut: str = "middle", views: int = 0, **changes: Any) -> Key:
    how = {"precision": "fp32", "device": "cpu", **changes}
    return activations.key_of("tiny", "dslr", cut, location, views=views, **how)


def run(location: Location, views: int, log: Path, seconds: float = 0.0) -> None:
    """Compute what is missing of the activations, each block some seconds late and noted; prints their digest."""
    with installed(location) as computed:
        compute = activations._compute

        def noted(*arguments: Any) -> int:
            time.sleep(seconds)
            count = compute(*arguments)
            with log.open("a") as file:
                file.write(f"{computed[-1]}\n")
            return count

        activations._compute = noted
        values = activations.load(key(location, views=views), location)
        print(hashlib.sha256(values.tobytes()).hexdigest())


if __name__ == "__main__":
    root, shown, notes = sys.argv[1:]
    run(Location(Path(root)), int(shown), Path(notes))
