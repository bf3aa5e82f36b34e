"""From prepared data to the batches that a network sees.

Every kind of input has the same abilities: its length, the examples of some indices as a batch, the same as training
sees them (augmented, where it augments), and a part of itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import pretrained
from benchmarks.pretrained import Pretrained

Indices = NDArray[np.int64]

BATCH = 512
"""Examples at once where all of them are passed in order."""

PHOTO_BATCH = 64
"""The same of whole photographs, whose activations in the first layers take megabytes each."""


class Inputs(Protocol):
    """The examples of one domain on a device."""

    batch: int
    """Examples at once where all of them are passed in order."""

    def __len__(self) -> int: ...

    def __call__(self, indices: Indices) -> Tensor:
        """The examples as the evaluation sees them, float32, (B, ...)."""

    def training(self, indices: Indices, generator: torch.Generator) -> Tensor:
        """The examples as training sees them; what is random is drawn from the generator."""

    def part(self, indices: Indices) -> Self:
        """These examples alone, copied."""


def in_order(inputs: Inputs) -> Iterator[Tensor]:
    """All examples in their order, ``inputs.batch`` at a time."""
    for start in range(0, len(inputs), inputs.batch):
        yield inputs(np.arange(start, min(start + inputs.batch, len(inputs))))


class Digits:
    """Small images, normalised to [-1, 1].

    Args:
        images: uint8, (N, height, width, channels), channels 1 or 3; kept as it is, no copy on the CPU.
        channels: what the network takes; grey images are repeated if it is 3.
        device: where batches go.  On a GPU the whole domain is moved there once, as uint8.
    """

    batch = BATCH

    def __init__(self, images: NDArray[np.uint8], channels: int, device: torch.device) -> None:
        self._images = torch.from_numpy(images).to(device)
        self._channels = channels
        self._device = device

    def __len__(self) -> int:
        return len(self._images)

    def __call__(self, indices: Indices) -> Tensor:
        """float32 in [-1, 1], (B, channels, height, width), channels last in memory."""
        picked = self._images[torch.from_numpy(indices).to(self._device)]
        x = picked.permute(0, 3, 1, 2).to(torch.float32).mul_(2 / 255).sub_(1)
        if x.shape[1] != self._channels:
            x = x.expand(-1, self._channels, -1, -1).contiguous(memory_format=torch.channels_last)
        return x

    def training(self, indices: Indices, generator: torch.Generator) -> Tensor:
        """Digits are not augmented."""
        return self(indices)

    def part(self, indices: Indices) -> Digits:
        return Digits(self._images[torch.from_numpy(indices)].cpu().numpy(), self._channels, self._device)


class Photos:
    """Photographs for a network that is trained as a whole: random crops and flips in training, the centre crop else.

    Args:
        images: uint8, (N, side, side, 3), a memory map; only the images of a batch are moved to the device.
        known: the backbone's description: crop and normalisation.
        device: where batches go.
    """

    batch = PHOTO_BATCH

    def __init__(self, images: NDArray[np.uint8], known: Pretrained, device: torch.device) -> None:
        self._images = images
        self._known = known
        self._device = device

    def __len__(self) -> int:
        return len(self._images)

    def __call__(self, indices: Indices) -> Tensor:
        """float32, (B, 3, crop, crop), channels last in memory."""
        return pretrained.centre_crop(self._picked(indices), self._known)

    def training(self, indices: Indices, generator: torch.Generator) -> Tensor:
        """float32, (B, 3, crop, crop), channels last in memory."""
        return pretrained.random_crops(self._picked(indices), self._known, generator)

    def part(self, indices: Indices) -> Photos:
        return Photos(np.asarray(self._images[indices]), self._known, self._device)

    def _picked(self, indices: Indices) -> Tensor:
        return torch.from_numpy(np.asarray(self._images[indices])).to(self._device, non_blocking=True)


class Cached:
    """Activations at a cut of a pretrained trunk.

    Args:
        values: float32, (N, 1 + views, ...): the centre crop's, then those of the augmented views; (width,) or
            (height, width, channels) each.
        device: where batches go.  On a GPU all activations are moved there once.
    """

    batch = BATCH

    def __init__(self, values: NDArray[np.float32], device: torch.device) -> None:
        self._values = torch.from_numpy(values).to(device)
        self._device = device

    def __len__(self) -> int:
        return len(self._values)

    def __call__(self, indices: Indices) -> Tensor:
        """float32, (B, width) or (B, channels, height, width), channels last in memory."""
        return self._picked(indices, torch.zeros(len(indices), dtype=torch.int64))

    def training(self, indices: Indices, generator: torch.Generator) -> Tensor:
        """Of the augmented views, where there are any, one at random for each example."""
        views = self._values.shape[1] - 1
        if not views:
            return self(indices)
        return self._picked(indices, torch.randint(1, views + 1, (len(indices),), generator=generator))

    def part(self, indices: Indices) -> Cached:
        return Cached(self._values[torch.from_numpy(indices)].cpu().numpy(), self._device)

    def _picked(self, indices: Indices, views: Tensor) -> Tensor:
        x = self._values[torch.from_numpy(indices).to(self._device), views.to(self._device)]
        return x.permute(0, 3, 1, 2) if x.ndim == 4 else x


class Features:
    """Feature vectors.

    Args:
        values: float32, (N, width).
        device: where batches go; all of them are moved there once.
    """

    batch = BATCH

    def __init__(self, values: NDArray[np.float32], device: torch.device) -> None:
        self._values = torch.from_numpy(values).to(device)
        self._device = device

    def __len__(self) -> int:
        return len(self._values)

    def __call__(self, indices: Indices) -> Tensor:
        """float32, (B, width)."""
        return self._values[torch.from_numpy(indices).to(self._device)]

    def training(self, indices: Indices, generator: torch.Generator) -> Tensor:
        """Features are not augmented."""
        return self(indices)

    def part(self, indices: Indices) -> Features:
        return Features(self(indices).cpu().numpy(), self._device)


def grey(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The luma of photographs (ITU-R BT.601), (N, height, width, 3) -> (N, height, width, 1)."""
    luma: NDArray[np.float64] = np.asarray(images) @ np.array([0.299, 0.587, 0.114])
    return np.rint(luma)[..., None].astype(np.uint8)


def scaled(values: NDArray[np.uint8], *domains: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Histograms of visual words as relative frequencies, each bin with mean 0 and deviation 1 over the domains.

    Args:
        values: counts, (N, width).
        domains: the histograms of both domains, or of the own one; no labels are needed.

    Returns:
        float32, (N, width); a bin that is constant over the domains is 0.
    """
    joint = np.concatenate([_frequencies(domain) for domain in domains])
    deviation = joint.std(0)
    standard: NDArray[np.float64] = (_frequencies(values) - joint.mean(0)) / np.where(deviation > 0, deviation, 1.0)
    return standard.astype(np.float32)


def _frequencies(counts: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Histograms whose bins sum to 1; an empty one stays 0."""
    values = counts.astype(np.float64)
    shares: NDArray[np.float64] = values / np.maximum(values.sum(1, keepdims=True), 1)
    return shares
