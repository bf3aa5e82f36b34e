"""Named random streams: what one part of a cell draws never depends on what another part draws."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray


def seed_of(seed: int, *name: str | int) -> int:
    """A 63-bit seed for the stream ``name`` of a cell's seed; independent for different names."""
    text = ":".join(str(part) for part in (seed, *name))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def seed_torch(device: str, seed: int, *name: str | int) -> None:
    """Set torch's global random state, of the CPU and of the device, to the beginning of a stream.

    ``torch.manual_seed`` would set that of every kind of device, and for those that are not in use it keeps a formatted
    stack trace at each call: as much time as a fifth of a step on cached activations, and memory that is never freed.
    """
    number = seed_of(seed, *name)
    torch.default_generator.manual_seed(number)
    if device == "cuda":
        torch.cuda.manual_seed_all(number)


class Batches:
    """Endless stream of mini-batch indices: shuffled passes over a domain, laid end to end.

    The batch of a step is a function of (seed, name, step) alone, so training resumes at any step without
    stored state.  A batch may span two passes, and a domain may be smaller than a batch.

    Args:
        n: number of examples, at least 1.
        size: examples in a batch.
        seed: the cell's seed.
        name: the stream's name, such as "source".
    """

    def __init__(self, n: int, size: int, seed: int, name: str) -> None:
        self.n, self.size, self.seed, self.name = n, size, seed, name
        self._passes: dict[int, NDArray[np.int64]] = {}

    def __call__(self, step: int) -> NDArray[np.int64]:
        """Indices of the examples of ``step`` (from 0), int64, (size,)."""
        start, stop = step * self.size, (step + 1) * self.size
        parts = []
        while start < stop:
            number, offset = divmod(start, self.n)
            part = self._pass(number)[offset : offset + stop - start]
            parts.append(part)
            start += len(part)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _pass(self, number: int) -> NDArray[np.int64]:
        if number not in self._passes:
            generator = np.random.default_rng(seed_of(self.seed, self.name, number))
            # Two passes at most are ever needed at once.
            self._passes = {k: v for k, v in self._passes.items() if k == number - 1}
            self._passes[number] = generator.permutation(self.n)
        return self._passes[number]
