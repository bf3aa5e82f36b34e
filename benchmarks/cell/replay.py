"""Steps that a GPU plays again.

Of a small network's step the GPU's share is short: a hundred kernels of a few microseconds each, and to start one takes
the processor longer.  Where a step does the same work each time (``Method.steady``), its forward and backward pass are
recorded once, as a CUDA graph, and started at once from then on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from methods.contract import Batch, Losses, Term

WARM = 3
"""Steps before the recording, in which the libraries choose and load their kernels."""


class Replay:
    """The losses of a batch, with their gradients.

    Args:
        step: computes both; the parameters' ``grad`` is new after it.
        model: whose parameters these are.
    """

    def __init__(self, step: Callable[[Batch], Losses], model: nn.Module) -> None:
        self._step, self._model = step, model
        self._taken = 0
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, batch: Batch) -> Losses:
        """The losses, detached once the step is recorded."""
        self._taken += 1
        if self._taken <= WARM:
            return self._step(batch)
        if self._graph is None:
            self._record(batch)
        assert self._graph is not None
        for place, name in self._places.items():
            value = getattr(batch, name)
            if value.shape != place.shape:
                return self._step(batch)
            place.copy_(value)
        self._graph.replay()
        for parameter, gradient in self._gradients:
            parameter.grad = gradient
        return {name: Term(term.value.detach().clone(), term.weight) for name, term in self._losses.items()}

    def _record(self, batch: Batch) -> None:
        copies: dict[int, Tensor] = {}
        self._places: dict[Tensor, str] = {}  # what the recorded step reads -> the batch's field that is copied there
        for name, value in batch._asdict().items():
            if isinstance(value, Tensor) and id(value) not in copies:  # a field may be another one's very tensor
                copies[id(value)] = value.clone()
                self._places[copies[id(value)]] = name
        values: dict[str, Any] = {name: copies.get(id(value), value) for name, value in batch._asdict().items()}
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._losses = self._step(Batch(**values))
        self._gradients = [(one, one.grad) for one in self._model.parameters() if one.grad is not None]


def draws(model: nn.Module) -> bool:
    """Whether a forward pass in training draws random numbers."""
    return any(isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0 for module in model.modules())
