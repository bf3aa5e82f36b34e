"""A small stand-in for the runner: tiny networks, two synthetic domains, and the steps the contract promises."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from methods.contract import Batch, Method, default_groups, total
from methods.network import Network

CLASSES = 3
FEATURES = 6
SHIFT = 3.0


def perceptron(*, dropout: float = 0.5) -> Network:
    """Without BatchNorm, every layer trained."""
    trunk = nn.Sequential(nn.Linear(FEATURES, 16), nn.ReLU())
    return Network(trunk, 16, bottleneck_size=12, classes=CLASSES, dropout=dropout)


def normalised() -> Network:
    """With BatchNorm in the trunk and in the bottleneck."""
    trunk = nn.Sequential(nn.Linear(FEATURES, 16), nn.BatchNorm1d(16), nn.ReLU())
    return Network(
        trunk, 16, bottleneck_size=12, classes=CLASSES, batchnorm="separate", bottleneck_batchnorm=True, dropout=0.5
    )


def frozen_trunk() -> Network:
    """As on the frozen track: activations come in, fc6 is not trained."""
    return Network(nn.Identity(), FEATURES, bottleneck_size=12, classes=CLASSES, trunk_rate=0.0)


NETWORKS = {"perceptron": perceptron, "normalised": normalised, "frozen trunk": frozen_trunk}


def domain(n: int, seed: int, *, shift: float = 0.0) -> tuple[Tensor, Tensor]:
    """Separable classes: inputs (n, FEATURES) and labels (n,).

    The class shows strongly in one of the first three features and more weakly in one of the last three.  ``shift``
    moves the first feature, which a network trained at ``shift`` 0 takes for the first class.
    """
    random = torch.Generator().manual_seed(seed)
    y = torch.randint(CLASSES, (n,), generator=random)
    x = 0.7 * torch.randn(n, FEATURES, generator=random)
    x[torch.arange(n), y] += 3
    x[torch.arange(n), CLASSES + y] += 2
    x[:, 0] += shift
    return x, y


def batches(
    steps: int, *, size: int = 32, shift: float = SHIFT, first: int = 0, of: int | None = None, granted: int = 0
) -> Iterator[Batch]:
    """Batches ``first`` .. ``steps`` - 1; each depends on its number alone.  The target's are one sample shorter.

    Of ``granted`` further target samples the labels are known.
    """
    for i in range(first, steps):
        x, y = domain(size, 2 * i)
        target, _ = domain(size - 1, 2 * i + 1, shift=shift)
        few = domain(granted, 10_000 + i, shift=shift) if granted else (None, None)
        yield Batch(x, y, target, i / (of or steps), *few)


@dataclass
class Run:
    """A model, its optimiser and the terms of every step so far."""

    method: Method
    model: nn.Module
    optimiser: torch.optim.Optimizer
    epoch: int = 4
    taken: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    def train(self, data: Iterator[Batch]) -> Run:
        """One step per batch, as the runner takes them."""
        self.model.train()
        for batch in data:
            if self.method.before_epoch and self.taken % self.epoch == 0:
                self.method.before_epoch(self.model)
            torch.manual_seed(1000 + self.taken)  # the stream of dropout
            losses = self.method.step(self.model, batch)
            self.history.append({name: term.value.item() for name, term in losses.items()})
            self.optimiser.zero_grad()
            total(losses).backward()
            self.optimiser.step()
            self.taken += 1
        return self

    def logits(self, x: Tensor) -> Tensor:
        """In evaluation mode, without gradient."""
        self.model.eval()
        with torch.no_grad():
            logits: Tensor = self.model(x)
        return logits


def start(method: Method, config: Any, network: Any = perceptron, *, rate: float = 0.05, seed: int = 0) -> Run:
    """A run with nothing trained yet."""
    torch.manual_seed(seed)
    model = method.build(config, network())
    groups = [
        {"params": group.parameters, "lr": rate * group.rate, "weight_decay": 5e-4 if group.decay else 0.0}
        for group in (method.groups or default_groups)(model)
    ]
    return Run(method, model, torch.optim.SGD(groups, momentum=0.9))
