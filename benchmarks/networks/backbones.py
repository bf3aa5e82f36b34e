"""Backbones: the networks that methods are built on, and what is known about each.

LeNet and the perceptrons are trained from scratch (track ``finetune``).  A pretrained backbone (``pretrained``) is used
on three tracks:
frozen    the trunk is fixed; its outputs are computed once and cached; bottleneck and classifier are trained on them;
          it may be cut earlier, where the activations are averaged over space, or at the ImageNet classifier's logits
late      the same cache at an earlier cut; the blocks after the cut are trained at a tenth of the rate
finetune  the whole network is trained, the trunk at a tenth of the rate, with augmentation on the fly

LeNet's ReLU comes after pooling, which gives the same function as the usual order for a third of the work.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, cast, get_args

from torch import nn

from benchmarks.machine.errors import UserError
from benchmarks.networks import eight_layers, pretrained
from benchmarks.networks.eight_layers import Shape
from benchmarks.networks.feeding import Window
from benchmarks.networks.pretrained import Pretrained
from benchmarks.records.store import Spec
from methods.contract import Recipe
from methods.network import BatchNormMode, Network, Start

TRUNK_RATE = 0.1
"""Learning rate of pretrained layers as a multiple of the new ones' (DAN, section 4.1)."""

PIXELS = 28
"""Height and width of a perceptron's input images."""

Scaling = Literal["joint", "per-domain"]
"""Features are standardised over both domains, or each domain over its own examples."""


@dataclass(frozen=True)
class Backbone:
    """One entry of ``BACKBONES``."""

    title: str
    kind: str
    """Kind of data it takes: ``digits``, ``features`` or ``photos`` (``datasets.registry.Domain.kind``)."""
    bottleneck_size: int
    dropout: float
    tracks: Mapping[str, BatchNormMode]
    """Track -> default BatchNorm mode; "none" if the network then has no such layers."""
    scratch: Callable[[int], tuple[nn.Module, int]] | None = None
    """Channels (of images) or width (of features) -> trunk trained from scratch, and the size of its output."""
    known: Pretrained | None = None
    """Description of the pretrained trunk, if it has one."""
    batchnorm_head: bool = field(default=False, kw_only=True)
    """Whether the bottleneck has BatchNorm wherever the network has any."""
    window: Window | None = field(default=None, kw_only=True)
    """How images are cropped, if it is trained from scratch on colour images at its own size."""
    grey_side: int | None = field(default=None, kw_only=True)
    """If it is trained from scratch on photographs: height and width they are scaled to before being made grey."""
    scaling: Scaling = field(default="joint", kw_only=True)
    """If it takes features: over which examples they are standardised to mean 0 and deviation 1
    (``feeding.scaled``)."""
    start: Start = field(default="he", kw_only=True)
    """How its layers are drawn if a method draws them itself."""

    @property
    def side(self) -> int | None:
        """Height and width of the prepared photographs it needs; None for other kinds of data."""
        if self.window is not None:
            return self.window.side if self.kind == "photos" else None
        return self.grey_side if self.known is None else self.known.side


def lenet_trunk(channels: int, batchnorm: bool = False) -> tuple[nn.Module, int]:
    """LeNet's convolutions for 28 x 28 images: 20 and 50 filters of 5 x 5, each max-pooled; (N, 800)."""
    norm1: list[nn.Module] = [nn.BatchNorm2d(20)] if batchnorm else []
    norm2: list[nn.Module] = [nn.BatchNorm2d(50)] if batchnorm else []
    trunk = nn.Sequential(
        *(nn.Conv2d(channels, 20, 5), *norm1, nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(20, 50, 5), *norm2, nn.MaxPool2d(2), nn.ReLU()),
        nn.Flatten(),
    )
    return trunk, 800


_PERCEPTRON = "perceptron with one hidden layer of 256"


def _vectors_trunk(width: int) -> tuple[nn.Module, int]:
    """Feature vectors as they are."""
    return nn.Identity(), width


def _pixels_trunk(channels: int) -> tuple[nn.Module, int]:
    """Images of 28 x 28 as vectors."""
    return nn.Flatten(), PIXELS * PIXELS * channels


_DIGIT = 127.5
"""Mean of the pixel range, and the divisor that scales it to -1 .. 1."""
_LAYERS = "eight layers (5 convolutional, 3 fully connected)"
_EIGHT = f"{_LAYERS} without BatchNorm, from scratch"
_COLOURS = Window(side=32, crop=32, padding=4, mirrored=True, mean=(_DIGIT,), scale=_DIGIT / 2)


def _eight_layers(kind: str, shape: Shape, window: Window, title: str) -> Backbone:
    """A network trained from scratch whose trunk is the first six of eight layers."""
    return Backbone(
        title,
        kind,
        shape.units,
        shape.dropout,
        {"finetune": "source" if shape.batchnorm else "none"},
        functools.partial(eight_layers.trunk, shape),
        batchnorm_head=shape.batchnorm,
        window=window,
        start=shape.start,
    )


def _photo_backbone(known: Pretrained) -> Backbone:
    """A pretrained backbone with a bottleneck of 256.

    Where its BatchNorm layers are trained, their statistics stay ImageNet's unless another mode is asked for, as in the
    released PyTorch code of DAN and JAN.
    """
    kept: BatchNormMode = "kept" if known.has_batchnorm else "none"
    tracks: dict[str, BatchNormMode] = {"frozen": "none", "late": kept, "finetune": kept}
    return Backbone(known.title, "photos", 256, 0.5, tracks, known=known)


BACKBONES: dict[str, Backbone] = {
    "lenet": Backbone(
        "LeNet (conv 20, conv 50, fc 500), from scratch", "digits", 500, 0.5, {"finetune": "none"}, lenet_trunk
    ),
    "lenet-bn": Backbone(
        "LeNet with BatchNorm after each layer before the last, from scratch",
        "digits",
        500,
        0.5,
        {"finetune": "source"},
        lambda channels: lenet_trunk(channels, batchnorm=True),
        batchnorm_head=True,
    ),
    "mlp": Backbone(f"{_PERCEPTRON}, from scratch", "features", 256, 0.5, {"finetune": "none"}, _vectors_trunk),
    "mlp-per-domain": Backbone(
        f"{_PERCEPTRON}, from scratch; each domain scaled by itself, which aligns their means and deviations",
        "features",
        256,
        0.5,
        {"finetune": "none"},
        _vectors_trunk,
        scaling="per-domain",
    ),
    "mlp-pixels": Backbone(
        f"{_PERCEPTRON} on pixels, from scratch", "digits", 256, 0.5, {"finetune": "none"}, _pixels_trunk
    ),
    "mlp-photos": Backbone(
        f"{_PERCEPTRON} on the grey pixels of photographs scaled to {PIXELS} x {PIXELS}, from scratch",
        "photos",
        256,
        0.5,
        {"finetune": "none"},
        _pixels_trunk,
        grey_side=PIXELS,
    ),
    "caffenet": _eight_layers(
        "photos",
        eight_layers.REFERENCE,
        Window(side=256, crop=227, mirrored=True, mean=(123.0, 117.0, 104.0), scale=1.0),
        "Caffe's reference network (AlexNet), from scratch",
    ),
    "caffenet-32": _eight_layers(
        "photos",
        eight_layers.SMALL,
        _COLOURS,
        f"{_EIGHT}, 32 x 32 pixels",
    ),
    "caffenet-32-bn": _eight_layers(
        "photos",
        eight_layers.SMALL_BATCHNORM,
        _COLOURS,
        f"{_LAYERS} with BatchNorm after each layer before the last, from scratch, 32 x 32 pixels",
    ),
    "caffenet-16": _eight_layers(
        "digits",
        eight_layers.TINY,
        Window(side=16, crop=16, mean=(_DIGIT,), scale=_DIGIT),
        f"{_EIGHT}, digits scaled to 16 x 16 pixels",
    ),
    **{name: _photo_backbone(known) for name, known in pretrained.KNOWN.items()},
}


def backbone(name: str) -> Backbone:
    """The backbone of that name.

    Raises:
        UserError: there is none.
    """
    if name not in BACKBONES:
        raise UserError(f"unknown backbone {name!r}; there are: {', '.join(BACKBONES)}.")
    return BACKBONES[name]


@dataclass(frozen=True)
class Choice:
    """A backbone as used in a cell."""

    name: str
    track: str
    batchnorm: BatchNormMode
    cut: str
    """Cut of the trunk; empty if nothing is cached."""

    @property
    def backbone(self) -> Backbone:
        return BACKBONES[self.name]

    @property
    def pooled(self) -> bool:
        """Whether the cached activations are maps averaged over space."""
        known = self.backbone.known
        return known is not None and self.track == "frozen" and known.is_map(self.cut)

    def adjusted(self, recipe: Recipe) -> Recipe:
        """A recipe adapted to this choice: on a fixed trunk, at the rate its features need."""
        known = self.backbone.known
        factor = known.head_rate if known is not None and self.track == "frozen" else 1.0
        return recipe if factor == 1 else replace(recipe, rate=recipe.rate * factor)

    @property
    def is_default(self) -> bool:
        """Whether BatchNorm mode and cut are the defaults of backbone and track."""
        return self == choose(self.name, self.track)


def choose(name: str, track: str, batchnorm: str | None = None, cut: str | None = None) -> Choice:
    """A backbone on a track, with its defaults filled in.

    Raises:
        UserError: the backbone, its track, BatchNorm mode or cut does not exist, or two of them do not fit.
    """
    known = backbone(name)
    if track not in known.tracks:
        raise UserError(f"backbone {name!r} has no track {track!r}; it has: {', '.join(known.tracks)}.")
    mode = batchnorm or known.tracks[track]
    _check_mode(name, track, mode)
    return Choice(name, track, cast(BatchNormMode, mode), _cut(name, track, cut))


def choice_of(spec: Spec) -> Choice:
    """The backbone as a cell uses it."""
    return Choice(spec.backbone, spec.track, cast(BatchNormMode, spec.batchnorm), spec.cut)


def takes(name: str, track: str, mode: str) -> bool:
    """Whether a backbone can have a BatchNorm mode on a track.

    Raises:
        UserError: the backbone does not exist.
    """
    usual = backbone(name).tracks.get(track)
    if track == "frozen":  # its network is the head, which has BatchNorm only if asked for
        return usual is not None and mode != "kept"
    return usual is not None and (usual == "none") == (mode == "none")


def _check_mode(name: str, track: str, mode: str) -> None:
    known = backbone(name)
    modes = get_args(BatchNormMode)
    if mode not in modes:
        raise UserError(f"unknown BatchNorm mode {mode!r}; there are: {', '.join(modes)}.")
    if takes(name, track, mode):
        return
    if track == "frozen":
        raise UserError(
            "the head on the track 'frozen' has no BatchNorm statistics of ImageNet to keep; choose another mode."
        )
    layers = "no BatchNorm layers" if known.tracks[track] == "none" else "BatchNorm layers"
    raise UserError(f"backbone {name!r} has {layers}, so its BatchNorm mode cannot be {mode!r}.")


def _cut(name: str, track: str, cut: str | None) -> str:
    known = backbone(name).known
    if known is None or track == "finetune":
        if cut:
            raise UserError(f"backbone {name!r} is not cut on the track {track!r}; leave the cut out.")
        return ""
    *early, last = known.cuts
    if track == "frozen":
        if cut is not None and cut not in known.places:
            raise UserError(
                f"backbone {name!r} has no cut {cut!r} on the track 'frozen'; it has: {', '.join(known.places)}."
            )
        return cut or last
    if cut is not None and cut not in early:
        raise UserError(f"backbone {name!r} has no cut {cut!r}; it has: {', '.join(early)}.")
    return cut or known.late_cut


def build(choice: Choice, *, width: int, classes: int, weights: Path | None = None) -> Network:
    """A freshly initialised network; draws from torch's global random state.

    Args:
        choice: what to build.
        width: channels of the images or width of the features for a network from scratch; otherwise unused.
        classes: number of classes.
        weights: the pretrained weights; None builds untrained layers of the same shapes.
    """
    known = choice.backbone
    if known.known is None or choice.track == "frozen":
        whole = None
    else:
        whole = pretrained.untrained(choice.name) if weights is None else pretrained.trunk(choice.name, weights)
    return _around(choice, width, classes, whole)


def look(choice: Choice) -> Network:
    """A network that cannot compute, for methods to tell whether they make sense on it (``pretrained.outline``)."""
    fixed = choice.backbone.known is None or choice.track == "frozen"
    return _around(choice, 1, 2, None if fixed else pretrained.outline(choice.name))


def _around(choice: Choice, width: int, classes: int, whole: nn.Module | None) -> Network:
    """A network; ``whole`` is the pretrained trunk if layers of it are trained."""
    known = choice.backbone
    trunk, size, rate = _trunk(choice, width, whole)
    head = known.batchnorm_head or (choice.track == "frozen" and choice.batchnorm != "none")
    return Network(
        trunk,
        size,
        bottleneck_size=known.bottleneck_size,
        classes=classes,
        trunk_rate=rate,
        batchnorm=choice.batchnorm,
        bottleneck_batchnorm=head,
        dropout=known.dropout,
        start=known.start,
    )


def _trunk(choice: Choice, width: int, whole: nn.Module | None) -> tuple[nn.Module, int, float]:
    """Trunk, the size of its output, and its learning rate as a multiple of the new layers'."""
    known = choice.backbone
    if known.scratch is not None:
        trunk, size = known.scratch(width)
        return trunk, size, 1.0 if any(True for _ in trunk.parameters()) else 0.0
    assert known.known is not None
    size = known.known.size
    if choice.track == "frozen":
        return nn.Identity(), known.known.places[choice.cut], 0.0
    assert whole is not None
    if choice.track == "late":
        _, whole = pretrained.split(choice.name, whole, choice.cut)
    return whole, size, TRUNK_RATE
