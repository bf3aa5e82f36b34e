"""Statistics of BatchNorm layers over a whole domain.

For channel j of a layer, over all responses x_ij of the domain (all examples i, and of images all positions):

    mu_j = mean_i x_ij,    sigma_j^2 = mean_i (x_ij - mu_j)^2

in double precision, batch by batch (Chan, Golub and LeVeque, 1979), so that the variance between batches counts and
neither size nor order of the batches matters.  Layers are processed in the order in which they compute: the responses
of a layer are computed with the new statistics of the layers before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Batches = Callable[[], Iterable[Tensor]]
"""A domain's inputs, batch by batch; can be iterated repeatedly."""


@dataclass
class Moments:
    """Mean and variance of each channel over what has been added so far."""

    count: int = 0
    """Number of responses of each channel."""
    mean: Tensor | float = 0.0
    """float64, (channels,)."""
    squares: Tensor | float = 0.0
    """Sum of the squared deviations from the mean, float64, (channels,)."""

    def add(self, x: Tensor) -> None:
        """Adds responses, (N, channels, ...)."""
        others = [axis for axis in range(x.ndim) if axis != 1]
        variance, mean = torch.var_mean(x.double(), dim=others, correction=0)
        added = x.numel() // x.shape[1]
        total = self.count + added
        difference = mean - self.mean
        self.squares = self.squares + variance * added + difference**2 * (self.count * added / total)
        self.mean = self.mean + difference * (added / total)
        self.count = total

    @property
    def variance(self) -> Tensor | float:
        """Population variance (divided by the count), float64, (channels,)."""
        return self.squares / self.count


class _ReachedError(Exception):
    """Ends a forward pass at the layer of interest."""


def layers(network: nn.Module) -> dict[str, _BatchNorm]:
    """Name -> BatchNorm layer, in the network's own order."""
    return {name: module for name, module in network.named_modules() if isinstance(module, _BatchNorm)}


@torch.no_grad()
def in_order(network: nn.Module, x: Tensor) -> list[str]:
    """Names of the BatchNorm layers in the order in which they compute; ``x`` is any batch, in evaluation mode."""
    reached: dict[str, None] = {}
    handles = [
        layer.register_forward_pre_hook(lambda _module, _inputs, name=name: reached.setdefault(name))
        for name, layer in layers(network).items()
    ]
    try:
        network(x)
    finally:
        for handle in handles:
            handle.remove()
    return list(reached)


@torch.no_grad()
def replace(network: nn.Module, domain: Batches, count: int | None = None) -> list[str]:
    """Gives BatchNorm layers the statistics of a domain, one layer after another; nothing else changes.

    One pass over the domain per layer, which stops at that layer.

    Args:
        network: put in evaluation mode meanwhile, so that nothing is dropped, then back in its previous mode.
        domain: its inputs; at least one.
        count: how many layers, counted from the input; None: all of them.

    Returns:
        The names of the layers, in their order.
    """
    was_training = network.training
    network.eval()
    try:
        names = in_order(network, next(iter(domain())))[:count]
        for name in names:
            layer = layers(network)[name]
            moments = moments_at(network, layer, domain())
            _give(layer, moments)
    finally:
        network.train(was_training)
    return names


@torch.no_grad()
def replace_at_once(network: nn.Module, x: Tensor) -> None:
    """As ``replace`` for a domain that is a single batch, in one pass; nothing else changes.

    Args:
        network: in evaluation mode; its BatchNorm layers are each used once.
        x: the inputs.
    """

    def take(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        moments = Moments()
        moments.add(inputs[0])
        _give(layer, moments)

    handles = [layer.register_forward_pre_hook(take) for layer in layers(network).values()]
    try:
        network(x)
    finally:
        for handle in handles:
            handle.remove()


def _give(layer: nn.Module, moments: Moments) -> None:
    """Sets the running statistics of a BatchNorm layer to the moments."""
    assert isinstance(layer.running_mean, Tensor)
    assert isinstance(layer.running_var, Tensor)
    layer.running_mean.copy_(torch.as_tensor(moments.mean))
    layer.running_var.copy_(torch.as_tensor(moments.variance))


@torch.no_grad()
def moments_at(network: nn.Module, layer: nn.Module, batches: Iterable[Tensor]) -> Moments:
    """The moments of a layer's inputs, in the network's current mode."""
    moments = Moments()

    def take(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        moments.add(inputs[0])
        raise _ReachedError

    handle = layer.register_forward_pre_hook(take)
    try:
        for x in batches:
            try:
                network(x)
            except _ReachedError:
                continue
    finally:
        handle.remove()
    return moments
