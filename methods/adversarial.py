"""What adversarial methods share: a domain classifier and gradient reversal.

The classifier D learns to tell the domains apart, the features f learn to prevent it.  Both happen in one update: D
descends on its loss, and the gradient that reaches f through D is multiplied by -lambda (the gradient reversal layer of
Ganin and Lempitsky, ICML 2015).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from methods.contract import ParameterGroup, default_groups
from methods.kernels import widened

SLOWER = 0.1
"""Learning rate of D as a multiple of the recipe's.  The suite's rates are three to ten times the papers' 0.01, where D
and the features may drive each other to infinity: at 1, the first of the two values tried, DANN's loss became infinite
or NaN on ``mfeat:optdigits``; at 0.1 it did not."""


def with_classifier(model: nn.Module, domain: DomainClassifier, rate: float) -> list[ParameterGroup]:
    """The model's usual parameter groups, but with D in a group of its own at its own multiple of the recipe's rate."""
    its = {id(parameter) for parameter in domain.parameters()}
    usual = [
        dataclasses.replace(group, parameters=tuple(one for one in group.parameters if id(one) not in its))
        for group in default_groups(model)
    ]
    return [*usual, ParameterGroup(tuple(domain.parameters()), rate=rate)]


def scaled_gradient(x: Tensor, scale: float) -> Tensor:
    """The same values, exactly; only the gradient is scaled."""
    return x.detach() + scale * (x - x.detach())


class DomainClassifier(nn.Sequential):
    """D: fully connected layers with ReLU between them; its single logit is positive for source.

    Args:
        width: of the features.
        hidden: widths of the hidden layers.
        dropout: probability of dropping a hidden unit; 0 draws no random numbers.
    """

    def __init__(self, width: int, hidden: Sequence[int], dropout: float = 0.0) -> None:
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [nn.Linear(width, size), nn.ReLU(), *([nn.Dropout(dropout)] if dropout else [])]
            width = size
        super().__init__(*layers, nn.Linear(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, width) -> (N,)."""
        logits: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return logits[:, 0]


def domain_losses(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """-log D(source) and -log(1 - D(target)) of each example, D the sigmoid of the logits (n,) and (m,)."""
    return softplus(-widened(source)), softplus(widened(target))


def told_apart(source: Tensor, target: Tensor) -> float:
    """Mean accuracy in percent over the two domains, from their logits (n,) and (m,)."""
    right = torch.stack([(source > 0).double().mean(), (target <= 0).double().mean()])
    return 100 * float(right.mean())
