"""The network that all methods share: trunk, bottleneck, classifier.

The papers' layers are mapped once.  ``fc7`` is the bottleneck (after its ReLU, before dropout), ``fc8`` the logits,
``fc6`` the layer before the bottleneck if that layer is trained: the flattened pooled output of LeNet's convolutions,
the pooled output of a pretrained trunk on the ``late`` and ``finetune`` tracks.  On the ``frozen`` track ``fc6`` does
not exist.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

BatchNormMode = Literal["none", "source", "separate", "joint", "kept"]
"""How BatchNorm sees the two domains during training.

none      the network has no BatchNorm
source    source batches by their own statistics, which alone update the running ones; the target's activations
          (those of labelled target images too) are normalised by the running statistics
separate  each domain by its own batch; both update the running statistics, source first
joint     one concatenated batch of both domains
kept      running statistics, never updated (ImageNet's)

At test time BatchNorm always uses the running statistics.
"""


Start = Literal["he", "caffe"]
"""How layers from scratch are drawn if a method draws them itself: He's rule, or as in Caffe's reference network."""

Layers = dict[str, Tensor]
"""Layer name -> activations, (N, width)."""


class Passes(NamedTuple):
    """The activations of a batch's parts."""

    source: Layers
    labelled_target: Layers | None
    """Of the target images with labels granted by the protocol; None if it grants none."""
    target: Layers | None
    """None only if the caller said that it needs no target."""


class FrozenLayers(nn.Sequential):
    """The first layers of a network, if they are fixed: no gradient, always in evaluation mode.

    Their output for an image never changes, so it can be computed once; with ``passed`` set, the input has been through
    them already and is returned as it is.
    """

    passed = False

    def forward(self, x: Tensor) -> Tensor:
        """Output of the layers for x, or x."""
        if self.passed:
            return x
        with torch.no_grad():
            for layer in self:
                x = layer(x)
        return x

    def train(self, mode: bool = True) -> FrozenLayers:
        """Does nothing: dropout is off."""
        super().train(False)
        return self


class Network(nn.Module):
    """Trunk -> ``fc6`` -> bottleneck ``fc7`` -> dropout -> classifier ``fc8``.

    Args:
        trunk: maps inputs to (N, trunk_size).
        trunk_size: width of the trunk's output.
        bottleneck_size: width of fc7.
        classes: number of classes, the width of fc8.
        trunk_rate: learning rate of the trunk as a multiple of the new layers' (1: trained from scratch,
            0.1: pretrained and fine-tuned, 0: frozen).
        batchnorm: see ``BatchNormMode``.
        bottleneck_batchnorm: BatchNorm between the bottleneck's linear layer and its ReLU.
        dropout: probability of dropping a bottleneck unit in front of the classifier.
        start: see ``Start``; not used to draw anything here.

    Raises:
        ValueError: ``batchnorm`` is "none" although there are BatchNorm layers, or the reverse.
    """

    def __init__(
        self,
        trunk: nn.Module,
        trunk_size: int,
        *,
        bottleneck_size: int,
        classes: int,
        trunk_rate: float = 1.0,
        batchnorm: BatchNormMode = "none",
        bottleneck_batchnorm: bool = False,
        dropout: float = 0.5,
        start: Start = "he",
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.start: Start = start
        linear = nn.Linear(trunk_size, bottleneck_size)
        norm: list[nn.Module] = [nn.BatchNorm1d(bottleneck_size)] if bottleneck_batchnorm else []
        self.bottleneck = nn.Sequential(linear, *norm, nn.ReLU())
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(bottleneck_size, classes)
        self.trunk_size = trunk_size
        self.trunk_rate = trunk_rate
        self.classes = classes
        self.batchnorm: BatchNormMode = batchnorm
        self.layer_sizes: dict[str, int] = {"fc7": bottleneck_size, "fc8": classes}
        if trunk_rate > 0:
            self.layer_sizes = {"fc6": trunk_size, **self.layer_sizes}
        has_batchnorm = any(isinstance(module, _BatchNorm) for module in self.modules())
        if has_batchnorm == (batchnorm == "none"):
            state = "has" if has_batchnorm else "has no"
            raise ValueError(f"this network {state} BatchNorm layers, so its BatchNorm mode cannot be {batchnorm!r}.")

    def resized(self, bottleneck_size: int) -> Network:
        """This network with a bottleneck of another width: the same trunk, a new bottleneck and a new classifier.

        The new layers draw from torch's global random state, in the order of the constructor.  At its own width the
        network is returned as it is and nothing is drawn, so every comparison at that width stays the same.
        """
        linear = self.bottleneck[0]
        assert isinstance(linear, nn.Linear)
        if bottleneck_size == linear.out_features:
            return self
        return Network(
            self.trunk,
            linear.in_features,
            bottleneck_size=bottleneck_size,
            classes=self.classes,
            trunk_rate=self.trunk_rate,
            batchnorm=self.batchnorm,
            bottleneck_batchnorm=any(isinstance(module, _BatchNorm) for module in self.bottleneck),
            dropout=self.dropout.p,
            start=self.start,
        )

    def linear_bottleneck(self) -> Network:
        """This network with neither ReLU nor dropout after its bottleneck; the weights stay as drawn."""
        self.bottleneck = nn.Sequential(*(layer for layer in self.bottleneck if not isinstance(layer, nn.ReLU)))
        self.dropout = nn.Dropout(0.0)
        return self

    def layers(self, x: Tensor) -> Layers:
        """Activations of fc6 (N, trunk_size), fc7 (N, bottleneck_size) and fc8 (N, classes)."""
        fc6 = self.trunk(x)
        fc7 = self.bottleneck(fc6)
        fc8 = self.classifier(self.dropout(fc7))
        return {"fc6": fc6, "fc7": fc7, "fc8": fc8}

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (N, classes)."""
        return self.layers(x)["fc8"]

    def passes(
        self, source_x: Tensor, target_x: Tensor, labelled_target_x: Tensor | None = None, *, target_needed: bool = True
    ) -> Passes:
        """Activations of a batch's parts, with BatchNorm as in ``self.batchnorm``; source first, target last.

        One pass per part, not one concatenated batch, unless BatchNorm asks for it: a baseline that needs no target
        then computes the very same numbers on the labelled images, dropout masks included.

        Args:
            source_x: labelled source inputs, (n, ...).
            target_x: unlabelled target inputs, (m, ...).
            labelled_target_x: target inputs with labels granted by the protocol, (k, ...); None if it grants none.
            target_needed: False for a method without a target term: the target is then passed only if BatchNorm makes
                that pass matter.
        """
        if self.batchnorm == "joint":
            return self._joint(source_x, target_x, labelled_target_x)
        source = self.layers(source_x)
        running = self.batchnorm == "source"
        if running:
            self._normalise_by_running(True)
        labelled_target = None if labelled_target_x is None else self.layers(labelled_target_x)
        target = self.layers(target_x) if target_needed or self.batchnorm == "separate" else None
        if running:
            self._normalise_by_running(not self.training)
        return Passes(source, labelled_target, target)

    def _joint(self, source_x: Tensor, target_x: Tensor, labelled_target_x: Tensor | None) -> Passes:
        parts = [source_x, *([] if labelled_target_x is None else [labelled_target_x]), target_x]
        sizes = [len(part) for part in parts]
        split = {name: torch.split(x, sizes) for name, x in self.layers(torch.cat(parts)).items()}
        source, *labelled_target, target = ({name: x[i] for name, x in split.items()} for i in range(len(parts)))
        return Passes(source, labelled_target[0] if labelled_target else None, target)

    def train(self, mode: bool = True) -> Network:
        """As ``nn.Module.train``, but BatchNorm stays in evaluation mode where its statistics are kept."""
        super().train(mode)
        if self.batchnorm == "kept":
            self._normalise_by_running(True)
        return self

    def _normalise_by_running(self, running: bool) -> None:
        parts = [module for module in self.modules() if isinstance(module, FrozenLayers)]
        fixed = {id(module) for part in parts for module in part.modules()}
        for module in self.modules():
            if isinstance(module, _BatchNorm) and id(module) not in fixed:
                module.train(not running)


class Configured(nn.Module):
    """A network with the configuration of a method that adds no layers to it."""

    def __init__(self, config: Any, network: Network) -> None:
        super().__init__()
        self.config = config
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (N, classes)."""
        logits: Tensor = self.network(x)
        return logits
