"""Stochastic gradient descent with the numbers of ``torch.optim.SGD``, at less cost.

``torch.optim`` imports PyTorch's compiler at its first use, which takes seconds per process, and copies each gradient
to add the weight decay.  Here the decay is added to the gradient itself, which is not used again.  PyTorch's ``fused``
version is faster still but rounds differently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Group:
    """Parameters with the same rate and decay."""

    parameters: Sequence[nn.Parameter]
    rate: float
    """Learning rate before annealing."""
    decay: float
    """Weight decay: the gradient of decay / 2 |w|^2 is added to that of the loss."""


@dataclass
class Descent:
    """SGD with momentum, v = momentum v + g, w = w - rate v; Nesterov momentum moves along g + momentum v."""

    groups: Sequence[Group]
    momentum: float
    nesterov: bool = False
    moving: dict[Tensor, Tensor] = field(default_factory=dict)
    """Parameter -> v, for those that have had a gradient."""

    def zero_grad(self) -> None:
        """Clear all gradients."""
        for group in self.groups:
            for parameter in group.parameters:
                parameter.grad = None

    @torch.no_grad()
    def step(self, anneal: float) -> None:
        """Move every parameter with a gradient, at ``anneal`` times its rate; the gradient is overwritten."""
        for group in self.groups:
            parameters: list[Tensor] = [one for one in group.parameters if one.grad is not None]
            gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
            if not parameters:
                continue
            if group.decay:
                torch._foreach_add_(gradients, parameters, alpha=group.decay)
            if self.momentum:
                velocities = [self._velocity(parameter) for parameter in parameters]
                torch._foreach_mul_(velocities, self.momentum)
                torch._foreach_add_(velocities, gradients)
                if self.nesterov:
                    torch._foreach_add_(gradients, velocities, alpha=self.momentum)
                else:
                    gradients = velocities
            torch._foreach_add_(parameters, gradients, alpha=-group.rate * anneal)

    def _velocity(self, parameter: Tensor) -> Tensor:
        if parameter not in self.moving:
            self.moving[parameter] = torch.zeros_like(parameter)
        return self.moving[parameter]

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds: v by the parameter's number, named as in ``torch.optim.SGD``."""
        numbered = enumerate(parameter for group in self.groups for parameter in group.parameters)
        return {
            "state": {
                number: {"momentum_buffer": self.moving[parameter]}
                for number, parameter in numbered
                if parameter in self.moving
            }
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict``."""
        parameters = [parameter for group in self.groups for parameter in group.parameters]
        self.moving = {
            parameters[number]: kept["momentum_buffer"].to(parameters[number].device)
            for number, kept in state["state"].items()
            if kept["momentum_buffer"] is not None
        }
