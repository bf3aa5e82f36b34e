"""Backbones: the trunks that methods are built on, and what is known of each.

Every trunk maps float images (N, channels, height, width) to (N, size).  ReLU follows the pooling, which gives
the same function as the usual order for a third of the work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast, get_args

from torch import nn

from benchmarks.errors import UserError
from methods.network import BatchNormMode, Network


@dataclass(frozen=True)
class Backbone:
    """One entry of ``BACKBONES``."""

    title: str
    trunk: Callable[[int], nn.Module]
    """Number of input channels -> trunk."""
    trunk_size: int
    bottleneck_size: int
    dropout: float
    tracks: tuple[str, ...]
    batchnorm: BatchNormMode
    """The BatchNorm mode unless another one is asked for; "none" if there are no such layers."""


def lenet_trunk(channels: int, batchnorm: bool = False) -> nn.Module:
    """LeNet's convolutions for 28 x 28 images: 20 and 50 filters of 5 x 5, each max-pooled; (N, 800)."""
    norm1: list[nn.Module] = [nn.BatchNorm2d(20)] if batchnorm else []
    norm2: list[nn.Module] = [nn.BatchNorm2d(50)] if batchnorm else []
    return nn.Sequential(
        *(nn.Conv2d(channels, 20, 5), *norm1, nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(20, 50, 5), *norm2, nn.MaxPool2d(2), nn.ReLU()),
        nn.Flatten(),
    )


BACKBONES: dict[str, Backbone] = {
    "lenet": Backbone(
        title="LeNet (conv 20, conv 50, fc 500), from scratch",
        trunk=lenet_trunk,
        trunk_size=800,
        bottleneck_size=500,
        dropout=0.5,
        tracks=("finetune",),
        batchnorm="none",
    ),
    "lenet-bn": Backbone(
        title="LeNet with BatchNorm after each layer before the last, from scratch",
        trunk=lambda channels: lenet_trunk(channels, batchnorm=True),
        trunk_size=800,
        bottleneck_size=500,
        dropout=0.5,
        tracks=("finetune",),
        batchnorm="source",
    ),
}


def backbone(name: str) -> Backbone:
    """The backbone of that name.

    Raises:
        UserError: there is none.
    """
    if name not in BACKBONES:
        raise UserError(f"unknown backbone {name!r}; there are: {', '.join(BACKBONES)}.")
    return BACKBONES[name]


def check(name: str, track: str, batchnorm: str) -> None:
    """That a backbone exists on a track and can be trained in a BatchNorm mode.

    Raises:
        UserError: it cannot.
    """
    known = backbone(name)
    if track not in known.tracks:
        raise UserError(f"backbone {name!r} has no track {track!r}; it has: {', '.join(known.tracks)}.")
    modes = get_args(BatchNormMode)
    if batchnorm not in modes:
        raise UserError(f"unknown BatchNorm mode {batchnorm!r}; there are: {', '.join(modes)}.")
    if (known.batchnorm == "none") != (batchnorm == "none"):
        layers = "no BatchNorm layers" if known.batchnorm == "none" else "BatchNorm layers"
        raise UserError(f"backbone {name!r} has {layers}, so its BatchNorm mode cannot be {batchnorm!r}.")


def build(name: str, *, channels: int, classes: int, batchnorm: str) -> Network:
    """A freshly initialised network; draws from torch's global random state."""
    known = backbone(name)
    return Network(
        known.trunk(channels),
        known.trunk_size,
        bottleneck_size=known.bottleneck_size,
        classes=classes,
        batchnorm=cast(BatchNormMode, batchnorm),
        bottleneck_batchnorm=known.batchnorm != "none",
        dropout=known.dropout,
    )
