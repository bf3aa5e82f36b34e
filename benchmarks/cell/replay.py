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

WARM = 2
"""Steps before the recording, in which the libraries choose and load their kernels."""


class Replay:
    """The losses of a batch, without a way back, and their gradients in the parameters.

    Args:
        step: computes both.
        model: whose parameters these are.
    """

    def __init__(self, step: Callable[[Batch], Losses], model: nn.Module) -> None:
        self._step, self._model = step, model
        self._taken = 0
        # A recording needs a stream of its own, on which autograd has worked before.
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, batch: Batch) -> Losses:
        self._taken += 1
        if self._taken <= WARM:
            return self._aside(batch)
        if self._graph is None:
            self._record(batch)
        assert self._graph is not None
        given = {name: getattr(batch, name) for name in self._places}
        if any(value.shape != self._places[name].shape for name, value in given.items()):
            return self._aside(batch)
        for name, value in given.items():
            self._places[name].copy_(value)
        self._graph.replay()
        for parameter, gradient in self._gradients:
            parameter.grad = gradient
        return _values(self._losses)

    def _aside(self, batch: Batch) -> Losses:
        """A step that is not played again."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            losses = _values(self._step(batch))
        torch.cuda.current_stream().wait_stream(self._stream)
        return losses

    def _record(self, batch: Batch) -> None:
        copies: dict[int, Tensor] = {}
        self._places: dict[str, Tensor] = {}  # field of the batch -> what the recorded step reads in its place
        for name, value in batch._asdict().items():
            if isinstance(value, Tensor) and id(value) not in copies:  # a field may be another one's very tensor
                self._places[name] = copies[id(value)] = value.clone()
        values: dict[str, Any] = {name: copies.get(id(value), value) for name, value in batch._asdict().items()}
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=self._stream):
            self._losses = {
                name: Term(term.value.detach(), term.weight) for name, term in self._step(Batch(**values)).items()
            }
        self._gradients = [(one, one.grad) for one in self._model.parameters() if one.grad is not None]


def _values(losses: Losses) -> Losses:
    """Copies that the next step leaves alone."""
    return {name: Term(term.value.detach().clone(), term.weight) for name, term in losses.items()}


def draws(model: nn.Module) -> bool:
    """Whether a forward pass in training draws random numbers."""
    return any(isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0 for module in model.modules())
