"""What adversarial methods share: a domain classifier and gradient reversal.

The classifier D learns to tell the domains apart, the features f learn to prevent it.  Both happen in one update: D
descends on its loss, and the gradient that reaches f through D is multiplied by -lambda (the gradient reversal layer of
Ganin and Lempitsky, ICML 2015).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from methods.kernels import widened


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
