"""From prepared data to the batches that a network sees.

Every kind of input has the same interface: its length, a batch of examples by their indices, the same as training sees
them (augmented, if it augments), and a subset of itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.machine.host import seed_of
from benchmarks.networks import pretrained
from benchmarks.networks.pretrained import Pretrained

Indices = NDArray[np.int64]

BATCH = 512
"""Batch size when all examples are passed in order."""
MOST_CACHED = 2**30
"""Maximum bytes of images kept on a GPU, and of fixed layers' activations kept in memory."""

PHOTO_BATCH = 64
"""The same for whole photographs, whose activations in the first layers take megabytes each."""


class Inputs(Protocol):
    """The examples of one domain on a device."""

    batch: int
    """Batch size when all examples are passed in order."""

    def __len__(self) -> int: ...

    def __call__(self, indices: Indices) -> Tensor:
        """The examples as seen in evaluation, float32, (B, ...)."""

    def training(self, indices: Indices, generator: torch.Generator) -> Tensor:
        """The examples as seen in training; anything random is drawn from the generator."""

    def part(self, indices: Indices) -> Self:
        """Only these examples, copied."""


def in_order(inputs: Inputs) -> Iterator[Tensor]:
    """All examples in order, ``inputs.batch`` at a time."""
    for start in range(0, len(inputs), inputs.batch):
        yield inputs(np.arange(start, min(start + inputs.batch, len(inputs))))


class Digits:
    """Small images, normalised to [-1, 1].

    Args:
        images: uint8, (N, height, width, channels), channels 1 or 3; used as is, not copied on the CPU.
        channels: number the network takes; grey images are repeated if it is 3.
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
        picked = self._images.index_select(0, torch.from_numpy(indices).to(self._device))
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
    """Photographs for a network trained as a whole: random crops and flips in training, otherwise the centre crop.

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


@dataclass(frozen=True)
class Window:
    """How a network trained from scratch sees images: a square crop, at a random position in training."""

    side: int
    """Height and width that images are scaled to."""
    crop: int
    """Height and width of the square, which is central in evaluation."""
    padding: int = 0
    """Pixels of the mean colour padded around the image, so that training crops may reach beyond it."""
    mirrored: bool = False
    """Whether training mirrors half of the images."""
    mean: tuple[float, ...] = (0.0,)
    """Mean of each channel, or of all; pixels are in 0 .. 255."""
    scale: float = 1.0
    """Divisor of the difference from the mean."""

    @property
    def augments(self) -> bool:
        """Whether training sees an image in more than one way."""
        return self.mirrored or self.side + 2 * self.padding > self.crop


class Windows:
    """Images seen through a ``Window``.

    Args:
        images: uint8, (N, height, width, channels), channels 1 or 3; a memory map unless they need scaling.
        window: how they are cropped.
        channels: number the network takes; grey images are repeated if it is 3.
        device: where batches go.  Images of at most ``MOST_CACHED`` bytes are moved to a GPU once.
        views: number of augmented views of each image, drawn once; 0: new ones at each step.
    """

    batch = 128

    def __init__(
        self, images: NDArray[np.uint8], window: Window, channels: int, device: torch.device, views: int = 0
    ) -> None:
        self._images = images if images.shape[1] == window.side else _shrunk(images, window.side)
        fits = device.type != "cpu" and self._images.nbytes <= MOST_CACHED
        self._moved = torch.from_numpy(np.array(self._images)).to(device) if fits else None
        self._window, self._channels, self._device = window, channels, device
        self._mean = torch.tensor(window.mean, device=device)
        self.views = views if window.augments else 0
        self._drawn = [self._draw(len(images), _generator(view)) for view in range(self.views)]

    def __len__(self) -> int:
        return len(self._images)

    @property
    def fixed(self) -> bool:
        """Whether training sees only what ``view`` returns."""
        return self.views > 0 or not self._window.augments

    def __call__(self, indices: Indices) -> Tensor:
        """The central squares, float32, (B, channels, crop, crop), channels last in memory."""
        window = self._window
        middle = torch.full((len(indices), 1), (window.side - window.crop) // 2 + window.padding)
        return self._cut(indices, middle, middle, torch.zeros((len(indices), 1), dtype=torch.bool))

    def training(self, indices: Indices, generator: torch.Generator) -> Tensor:
        """Random squares, shaped like the central ones; if views are fixed, a random one of these."""
        if not self._window.augments:
            return self(indices)
        if not self.views:
            return self._cut(indices, *self._draw(len(indices), generator))
        chosen = torch.randint(1, self.views + 1, (len(indices),), generator=generator) - 1
        rows, columns, mirrored = (
            torch.stack([drawn[part][indices] for drawn in self._drawn])[chosen, torch.arange(len(indices))]
            for part in range(3)
        )
        return self._cut(indices, rows, columns, mirrored)

    def view(self, number: int, indices: Indices) -> Tensor:
        """View 0, the central squares, or one of the fixed augmented views 1 .. ``views``."""
        if number == 0:
            return self(indices)
        rows, columns, mirrored = (drawn[indices] for drawn in self._drawn[number - 1])
        return self._cut(indices, rows, columns, mirrored)

    def part(self, indices: Indices) -> Windows:
        """An image keeps its fixed views."""
        part = Windows(np.asarray(self._images[indices]), self._window, self._channels, self._device)
        part.views = self.views
        part._drawn = [(a[indices], b[indices], c[indices]) for a, b, c in self._drawn]
        return part

    def _draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """First row and column of n squares, int64, (n, 1), and whether each is mirrored, bool, (n, 1)."""
        window = self._window
        last = window.side + 2 * window.padding - window.crop
        rows, columns = torch.randint(0, last + 1, (2, n, 1), generator=generator)
        mirrored = torch.rand((n, 1), generator=generator) < (0.5 if window.mirrored else 0.0)
        return rows, columns, mirrored

    def _cut(self, indices: Indices, rows: Tensor, columns: Tensor, mirrored: Tensor) -> Tensor:
        window = self._window
        # All crop parameters go to the device at once.
        cuts = torch.cat([torch.from_numpy(indices)[:, None], rows, columns, mirrored], 1).to(self._device)
        picked, rows, columns, mirrored = torch.split(cuts, 1, 1)
        if self._moved is not None:
            images = self._moved.index_select(0, picked[:, 0])
        else:
            images = torch.from_numpy(np.asarray(self._images[indices])).to(self._device)
        x = images.to(torch.float32).sub_(self._mean).mul_(1 / window.scale)
        if window.padding or window.side > window.crop:
            x = nn.functional.pad(x, (0, 0, *(window.padding,) * 4))
            along = torch.arange(window.crop, device=self._device)
            rows, columns = rows + along, columns + torch.where(mirrored > 0, along.flip(0), along)
            at = torch.arange(len(indices), device=self._device)[:, None, None]
            x = x[at, rows[:, :, None], columns[:, None, :]]
        x = x.permute(0, 3, 1, 2)
        if x.shape[1] != self._channels:
            x = x.expand(-1, self._channels, -1, -1).contiguous(memory_format=torch.channels_last)
        return x


def _generator(view: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed_of(0, "view", view))


def _shrunk(images: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Images scaled to ``side`` x ``side``, each new pixel the mean of those it covers."""
    x = torch.from_numpy(np.asarray(images)).permute(0, 3, 1, 2).to(torch.float32)
    scaled: NDArray[np.uint8] = (
        nn.functional.adaptive_avg_pool2d(x, side).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    )
    return scaled


class Cached:
    """Activations at a cut of a trunk.

    Args:
        values: float32 or bfloat16, (N, 1 + views, ...): for the centre crop, then for the augmented views; (width,) or
            (height, width, channels) each.
        device: where batches go.  On a GPU all activations are moved there once.
    """

    batch = BATCH

    def __init__(self, values: NDArray[np.float32] | Tensor, device: torch.device) -> None:
        self._values = (values if isinstance(values, Tensor) else torch.from_numpy(values)).to(device)
        self._device = device

    def __len__(self) -> int:
        return len(self._values)

    def __call__(self, indices: Indices) -> Tensor:
        """float32, (B, width) or (B, channels, height, width), channels last in memory."""
        # Copying whole rows is much faster than picking with two index tensors.
        return _channels_first(self._values[:, 0].index_select(0, torch.from_numpy(indices).to(self._device)))

    def training(self, indices: Indices, generator: torch.Generator) -> Tensor:
        """A random one of the augmented views for each example, if there are any."""
        views = self._values.shape[1] - 1
        if not views:
            return self(indices)
        chosen = torch.randint(1, views + 1, (len(indices),), generator=generator)
        return _channels_first(self._values[torch.from_numpy(indices).to(self._device), chosen.to(self._device)])

    def part(self, indices: Indices) -> Cached:
        return Cached(self._values[torch.from_numpy(indices).to(self._device)], self._device)


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
        return self._values.index_select(0, torch.from_numpy(indices).to(self._device))

    def training(self, indices: Indices, generator: torch.Generator) -> Tensor:
        """Features are not augmented."""
        return self(indices)

    def part(self, indices: Indices) -> Features:
        return Features(self(indices).cpu().numpy(), self._device)


@torch.no_grad()
def passed(inputs: Windows, layers: Callable[[Tensor], Tensor], *, trained: bool) -> Cached | None:
    """Outputs of fixed layers for all images, each computed once; None if they are too large to keep.

    Args:
        trained: whether the augmented views are needed too.
    """
    views = range(1 + (inputs.views if trained else 0))
    first = layers(inputs(np.arange(1)))
    if first.nbytes * len(inputs) * len(views) > MOST_CACHED:
        return None
    values = torch.empty((len(inputs), len(views), *channels_last(first).shape[1:]), dtype=first.dtype)
    for start in range(0, len(inputs), inputs.batch):
        indices = np.arange(start, min(start + inputs.batch, len(inputs)))
        for view in views:
            values[start : start + len(indices), view] = channels_last(layers(inputs.view(view, indices)))
    return Cached(values, first.device)


def _channels_first(x: Tensor) -> Tensor:
    """The inverse of ``channels_last``; nothing is copied."""
    return x.permute(0, 3, 1, 2) if x.ndim == 4 else x


def channels_last(x: Tensor) -> Tensor:
    """(B, C, H, W) as (B, H, W, C); (B, width) as it is."""
    return x.permute(0, 2, 3, 1) if x.ndim == 4 else x


def grey(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The luma of photographs (ITU-R BT.601), (N, height, width, 3) -> (N, height, width, 1)."""
    luma: NDArray[np.float64] = np.asarray(images) @ np.array([0.299, 0.587, 0.114])
    return np.rint(luma)[..., None].astype(np.uint8)


def scaled(values: NDArray[np.uint8], *domains: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Histograms of visual words as relative frequencies, each bin with mean 0 and deviation 1 over the domains.

    Args:
        values: counts, (N, width).
        domains: the histograms of both domains, or of its own; no labels are needed.

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
