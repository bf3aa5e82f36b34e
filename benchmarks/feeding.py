"""From decoded images to the batches that a network sees."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Images:
    """Decoded images of one domain, served as normalised float batches.

    Args:
        images: uint8, (N, height, width, channels), channels 1 or 3; kept as it is, no copy on the CPU.
        channels: what the network takes; grey images are repeated if it is 3.
        device: where batches go.  On a GPU the whole domain is moved there once, as uint8.
    """

    def __init__(self, images: NDArray[np.uint8], channels: int, device: torch.device) -> None:
        self._images = torch.from_numpy(images).to(device)
        self._channels = channels
        self._device = device

    def __len__(self) -> int:
        return len(self._images)

    def __call__(self, indices: NDArray[np.int64]) -> Tensor:
        """The images of ``indices`` as float32 in [-1, 1], (B, channels, height, width), channels last in memory."""
        picked = self._images[torch.from_numpy(indices).to(self._device)]
        x = picked.permute(0, 3, 1, 2).to(torch.float32).mul_(2 / 255).sub_(1)
        if x.shape[1] != self._channels:
            x = x.expand(-1, self._channels, -1, -1).contiguous(memory_format=torch.channels_last)
        return x

    def part(self, indices: NDArray[np.int64]) -> Images:
        """The images of ``indices`` alone, copied."""
        return Images(self._images[torch.from_numpy(indices)].cpu().numpy(), self._channels, self._device)

    def in_order(self, batch: int = 512) -> Iterator[Tensor]:
        """All images in their order, ``batch`` at a time."""
        for start in range(0, len(self), batch):
            yield self(np.arange(start, min(start + batch, len(self))))
