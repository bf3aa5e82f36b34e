"""GoogLeNet as trained by BVLC: Szegedy et al., "Going Deeper with Convolutions" (CVPR 2015), without the two auxiliary
classifiers, which are only used in training, and without the last dropout, which does nothing at inference.

Layers are named as in Caffe's definition (``models/bvlc_googlenet/deploy.prototxt``), with a dot instead of the slash:
``inception_3a.3x3_reduce``.  torchvision's network of the same name has BatchNorm, no local response normalisation and
other filters, so it is a different one.  The input is blue, green and red in 0 .. 255 less the mean of each
(``pretrained``).

ReLU comes after pooling where Caffe has it before: the same function at a quarter of the work.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = {
    "inception_3a": (192, 64, 96, 128, 16, 32, 32),
    "inception_3b": (256, 128, 128, 192, 32, 96, 64),
    "inception_4a": (480, 192, 96, 208, 16, 48, 64),
    "inception_4b": (512, 160, 112, 224, 24, 64, 64),
    "inception_4c": (512, 128, 128, 256, 24, 64, 64),
    "inception_4d": (512, 112, 144, 288, 32, 64, 64),
    "inception_4e": (528, 256, 160, 320, 32, 128, 128),
    "inception_5a": (832, 256, 160, 320, 32, 128, 128),
    "inception_5b": (832, 384, 192, 384, 48, 128, 128),
}
"""Block -> its input channels, then those of its convolutions: 1x1, 3x3_reduce, 3x3, 5x5_reduce, 5x5, pool_proj
(Szegedy et al., Table 1)."""


class ResponseNorm(nn.Module):
    """Local response normalisation over 5 neighbouring channels, alpha 1e-4, beta 0.75, k 1 (Krizhevsky et al., 2012).

    x_c / (1 + 1e-4 / 5 * sum of x_j^2 over j = c - 2 .. c + 2) ** 0.75, computed in float32 under autocast as well:
    torch's own layer takes six times as long, a third of the whole network's time.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) of any type -> the same shape, type and layout."""
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        channels = x.shape[1]
        squares = functional.pad(wide.square().permute(0, 2, 3, 1), (2, 2))
        total = squares[..., :channels] + squares[..., 1 : channels + 1]
        for first in (2, 3, 4):
            total += squares[..., first : channels + first]
        root = total.mul_(1e-4 / 5).add_(1).rsqrt()
        # s ** -0.75 = s ** -1 * s ** 0.25; rsqrt is vectorised on CPUs, pow and sqrt are not.
        return (wide * (root * root * root.rsqrt()).permute(0, 3, 1, 2)).to(x.dtype)


class Inception(nn.ModuleDict):
    """Four branches on the same input, joined along the channels."""

    def __init__(
        self, channels: int, one: int, three_reduced: int, three: int, five_reduced: int, five: int, pooled: int
    ) -> None:
        super().__init__(
            {
                "1x1": nn.Conv2d(channels, one, 1),
                "3x3_reduce": nn.Conv2d(channels, three_reduced, 1),
                "3x3": nn.Conv2d(three_reduced, three, 3, padding=1),
                "5x5_reduce": nn.Conv2d(channels, five_reduced, 1),
                "5x5": nn.Conv2d(five_reduced, five, 5, padding=2),
                "pool_proj": nn.Conv2d(channels, pooled, 1),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, one + three + five + pooled, H, W)."""
        branches = (
            self["1x1"](x),
            self["3x3"](functional.relu_(self["3x3_reduce"](x))),
            self["5x5"](functional.relu_(self["5x5_reduce"](x))),
            self["pool_proj"](functional.max_pool2d(x, 3, stride=1, padding=1)),
        )
        return functional.relu_(torch.cat(branches, dim=1))


def build() -> nn.Sequential:
    """The untrained network, (N, 3, 224, 224) -> logits (N, 1000); all before ``loss3`` is the trunk, (N, 1024)."""
    blocks: OrderedDict[str, nn.Module] = OrderedDict()
    blocks["conv1"] = nn.Sequential(
        OrderedDict(
            {
                "7x7_s2": nn.Conv2d(3, 64, 7, stride=2, padding=3),
                "pool": _pool(),
                "relu": nn.ReLU(inplace=True),
                "norm": ResponseNorm(),
            }
        )
    )
    blocks["conv2"] = nn.Sequential(
        OrderedDict(
            {
                "3x3_reduce": nn.Conv2d(64, 64, 1),
                "relu_reduce": nn.ReLU(inplace=True),
                "3x3": nn.Conv2d(64, 192, 3, padding=1),
                "relu": nn.ReLU(inplace=True),
                "norm": ResponseNorm(),
                "pool": _pool(),
            }
        )
    )
    for name, widths in WIDTHS.items():
        blocks[name] = Inception(*widths)
        if name in ("inception_3b", "inception_4e"):
            blocks[f"pool{name[-2]}"] = _pool()
    blocks["pool5"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    blocks["loss3"] = nn.Sequential(OrderedDict(classifier=nn.Linear(1024, 1000)))
    return nn.Sequential(blocks)


def shapes() -> dict[str, tuple[int, ...]]:
    """Name -> shape of every weight and bias."""
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in build().state_dict().items()}


def _pool() -> nn.Module:
    """Caffe's pooling: a window that begins inside the image counts, so 112 becomes 56, 28, 14 and 7."""
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)
