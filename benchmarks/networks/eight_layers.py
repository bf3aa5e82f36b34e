"""Networks of eight layers from scratch: five convolutional and three fully connected, as in Caffe's reference network.

A trunk is the first six, ``conv1`` to ``conv5`` and ``fc6``; the seventh and eighth are the suite's bottleneck and
classifier.  The small ones have the same depth and roles without groups and response normalisation, and pool after the
same layers.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

from torch import nn

from methods.network import Start


@dataclass(frozen=True)
class Shape:
    """An eight-layer network up to its sixth layer."""

    channels: tuple[int, int, int, int, int]
    """Filters of the convolutional layers."""
    sides: tuple[int, int, int, int, int]
    """Height and width of the filters."""
    units: int
    """Units of the sixth layer."""
    map_side: int
    """Height and width of the fifth layer's pooled output."""
    pool: int
    """Height and width of the max-pooling windows, at stride 2, in layers 1, 2 and 5."""
    stride: int = 1
    """Stride of the first layer."""
    grouped: bool = False
    """Whether layers 2, 4 and 5 have two groups, and layers 1 and 2 local response normalisation."""
    start: Start = "he"
    """How its layers are drawn if a method draws them itself."""
    dropout: float = 0.0
    """Probability of dropping a unit of layers 6 and 7 in training."""
    batchnorm: bool = False
    """Whether there is BatchNorm before the ReLU of layers 1 to 6."""


REFERENCE = Shape(
    (96, 256, 384, 384, 256), (11, 5, 3, 3, 3), 4096, 6, pool=3, stride=4, grouped=True, start="caffe", dropout=0.5
)
"""Caffe's own, for 227 x 227 pixels."""
SMALL = Shape((16, 32, 48, 48, 32), (5, 3, 3, 3, 3), 256, 4, pool=2)
"""For 32 x 32 pixels."""
SMALL_BATCHNORM = replace(SMALL, batchnorm=True)
"""The same with BatchNorm."""
TINY = Shape((16, 32, 48, 48, 32), (3, 3, 3, 3, 3), 128, 2, pool=2)
"""For 16 x 16 pixels."""


def trunk(shape: Shape, channels: int) -> tuple[nn.Module, int]:
    """The first six layers and the dropout before the seventh, and the number of units.

    (N, channels, height, width) -> (N, units).  ReLU comes after pooling, which gives the same function as the usual
    order for less work.
    """
    layers: dict[str, nn.Module] = {}
    for i, (width, side) in enumerate(zip(shape.channels, shape.sides, strict=True)):
        first = i == 0
        groups = 2 if shape.grouped and i in (1, 3, 4) else 1
        padding = 0 if first and shape.stride > 1 else side // 2
        convolution = nn.Conv2d(channels, width, side, shape.stride if first else 1, padding, groups=groups)
        pool: list[nn.Module] = [nn.MaxPool2d(shape.pool, 2)] if i in (0, 1, 4) else []
        batchnorm: list[nn.Module] = [nn.BatchNorm2d(width)] if shape.batchnorm else []
        norm: list[nn.Module] = (
            [nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)] if shape.grouped and i < 2 else []
        )
        layers[f"conv{i + 1}"] = nn.Sequential(convolution, *pool, *batchnorm, nn.ReLU(), *norm)
        channels = width
    linear = nn.Linear(channels * shape.map_side**2, shape.units)
    last: list[nn.Module] = [nn.BatchNorm1d(shape.units)] if shape.batchnorm else []
    layers["fc6"] = nn.Sequential(nn.Flatten(), linear, *last, nn.ReLU())
    layers["drop6"] = nn.Dropout(shape.dropout)
    return nn.Sequential(OrderedDict(layers)), shape.units
