"""A small stand-in for the runner: tiny networks, two synthetic domains, and the steps the contract promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from methods.contract import Batch, Domains, Losses, Method, ParameterGroup, Recipe, default_groups, load, total
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


def pretrained() -> Network:
    """As on the late track: a trunk with BatchNorm that learns more slowly."""
    network = normalised()
    network.trunk_rate = 0.1
    return network


NETWORKS = {
    "perceptron": perceptron,
    "normalised": normalised,
    "frozen trunk": frozen_trunk,
    "pretrained": pretrained,
}


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
    steps: int, *, size: int = 32, shift: float = SHIFT, first: int = 0, of: int | None = None, labelled_target: int = 0
) -> Iterator[Batch]:
    """Batches ``first`` .. ``steps`` - 1; each depends on its number alone.  The target's are one sample shorter.

    Of ``labelled_target`` further target samples the labels are known.
    """
    for i in range(first, steps):
        x, y = domain(size, 2 * i)
        target, _ = domain(size - 1, 2 * i + 1, shift=shift)
        few = domain(labelled_target, 10_000 + i, shift=shift) if labelled_target else (None, None)
        yield Batch(x, y, target, i / (of or steps), *few)


def domains(n: int = 100) -> Domains:
    """All of both domains, of which three batches each are handed out."""
    (x, y), (target, _) = domain(n, 20_001), domain(n, 20_002, shift=SHIFT)
    third = -(-n // 3)
    return Domains(
        source=lambda: zip(x.split(third), y.split(third), strict=True),
        target=lambda: iter(target.split(third)),
        labelled_target=lambda: iter(()),
    )


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
        assert self.method.step is not None
        self.model.train()
        for batch in data:
            if self.method.before_epoch and self.taken % self.epoch == 0:
                self.method.before_epoch(self.model)
            terms = self.update(self.method.step, batch)
            if self.method.second_step:
                terms |= self.update(self.method.second_step, batch)
            self.taken += 1
            if self.method.epoch_step and self.taken % self.epoch == 0:
                terms |= self._descend(self.method.epoch_step(self.model, domains(), batch.progress))
            self.history.append(terms)
        return self

    def update(self, step: Callable[[Any, Batch], Losses], batch: Batch) -> dict[str, float]:
        """One optimiser step; the values of its terms."""
        # The stream of dropout, and no device's besides: ``torch.manual_seed`` formats a traceback for each of them.
        torch.default_generator.manual_seed(1000 + self.taken)
        return self._descend(step(self.model, batch))

    def _descend(self, losses: Losses) -> dict[str, float]:
        if losses:
            self.optimiser.zero_grad()
            total(losses).backward()
            self.optimiser.step()
        return {name: term.value.item() for name, term in losses.items()}

    def logits(self, x: Tensor) -> Tensor:
        """In evaluation mode, without gradient."""
        self.model.eval()
        with torch.no_grad():
            logits: Tensor = self.model(x)
        return logits


PHASE_STEPS = 5
"""Steps of each phase before the main one."""


def start(method: Method, config: Any, network: Any = perceptron, *, rate: float = 0.05, seed: int = 0) -> Run:
    """A run whose main training has not begun: what it needs is untrained, its phases are a few steps long."""
    torch.manual_seed(seed)
    model = method.build(config, network())
    recipe = Recipe(steps=PHASE_STEPS, epoch=PHASE_STEPS, rate=rate)
    needs = method.needs(config, recipe) if method.needs else {}
    if method.init_from:
        needed = {}
        for name, need in needs.items():
            other = load(need.method)
            own = other.variants["default"] if need.config is None else need.config
            needed[name] = other.build(own, network())
        method.init_from(model, {name: trained.state_dict() for name, trained in needed.items()})
    for phase in method.phases(config, recipe) if method.phases else ():
        if phase.begin:
            phase.begin(model, domains())
        run = Run(method, model, _optimiser(model, phase.groups or method.groups, rate))
        model.train()
        for batch in batches(PHASE_STEPS):
            assert phase.step is not None
            run.update(phase.step, batch)
            run.taken += 1
    if method.begin:
        method.begin(model, domains())
    return Run(method, model, _optimiser(model, method.groups, rate))


def _optimiser(
    model: nn.Module, groups: Callable[[Any], list[ParameterGroup]] | None, rate: float
) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        [
            {"params": group.parameters, "lr": rate * group.rate, "weight_decay": 5e-4 if group.decay else 0.0}
            for group in (groups or default_groups)(model)
        ],
        lr=rate,
        momentum=0.9,
    )
