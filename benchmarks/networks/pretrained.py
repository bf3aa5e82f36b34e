"""Backbones with ImageNet weights: where they can be cut, what input they take, and how their weights are loaded.

A *trunk* maps normalised images (N, 3, crop, crop) to (N, size), without the ImageNet classifier.  A trunk can be
*cut*: ``split`` returns the parts before and after the cut, which together are the trunk and share its layers.  If
nothing after a cut is trained, ``features`` returns vectors: early activations averaged over space, or the logits.

Importing timm and torchvision takes seconds, so they are imported where they are used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from benchmarks.networks import googlenet
from datasets.errors import DataError


@dataclass(frozen=True)
class Pretrained:
    """One entry of ``KNOWN``."""

    title: str
    side: int
    """Height and width of the prepared photographs: the crop over the fraction of the side in pretraining."""
    crop: int
    mean: tuple[float, float, float]
    """Of red, green and blue, for pixels in 0 .. 1."""
    std: tuple[float, float, float]
    cuts: Mapping[str, tuple[int, ...]]
    """Cut -> shape of one image's activation there, from input to output; the last one is the trunk's output."""
    late_cut: str
    """Default cut of the track ``late``."""
    has_batchnorm: bool = True
    bgr: bool = False
    """Whether the network takes blue, green and red, in this order."""
    repeats: tuple[int, ...] = ()
    """For EfficientNet-Lite: number of blocks in each stage."""
    head_rate: float = 1.0
    """Factor on the learning rate of a head on the fixed trunk (``methods.recipes.HEAD`` and everything derived from
    it), since features of another scale need another rate."""

    @property
    def size(self) -> int:
        """Width of the trunk's output."""
        return self.cuts[self.last_cut][0]

    @property
    def last_cut(self) -> str:
        """The cut after which nothing is left."""
        return list(self.cuts)[-1]

    @property
    def places(self) -> dict[str, int]:
        """Where the fixed network gives a feature vector -> its width: at every cut, and at the ImageNet classifier."""
        return {**{cut: shape[0] for cut, shape in self.cuts.items()}, LOGITS: CLASSES}

    def is_map(self, place: str) -> bool:
        """Whether the activation at a place has a height and a width."""
        return len(self.cuts.get(place, ())) == 3


LOGITS, CLASSES = "logits", 1000
"""The place after the ImageNet classifier, and the width there."""

HALF = (0.5, 0.5, 0.5)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _lite(
    number: int, crop: int, channels: tuple[int, ...], sides: tuple[int, ...], repeats: tuple[int, ...]
) -> Pretrained:
    """EfficientNet-Lite; ``channels`` and ``sides`` are those of the inputs of blocks 1 to 6."""
    cuts = {f"blocks.{i}": (c, s, s) for i, (c, s) in enumerate(zip(channels, sides, strict=True), start=1)}
    return Pretrained(
        title=f"EfficientNet-Lite{number}, ImageNet weights",
        side=int(crop / 0.875),
        crop=crop,
        mean=HALF,
        std=HALF,
        cuts={**cuts, "pool": (1280,)},
        late_cut="blocks.6",
        repeats=repeats,
    )


_GOOGLENET_SPACE = {"3": (28, 28), "4": (14, 14), "5": (7, 7)}
"""Stage -> height and width of the input of its inception blocks."""

KNOWN: dict[str, Pretrained] = {
    "lite0": _lite(0, 224, (16, 24, 40, 80, 112, 192), (112, 56, 28, 14, 14, 7), (1, 2, 2, 3, 3, 4, 1)),
    "lite1": _lite(1, 240, (16, 24, 40, 80, 112, 192), (120, 60, 30, 15, 15, 8), (1, 3, 3, 4, 4, 5, 1)),
    "lite2": _lite(2, 260, (16, 24, 48, 88, 120, 208), (130, 65, 33, 17, 17, 9), (1, 3, 3, 4, 4, 5, 1)),
    "alexnet": Pretrained(
        title="AlexNet (torchvision), ImageNet weights",
        side=256,
        crop=224,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        cuts={"conv3": (384, 13, 13), "fc6": (4096,), "fc7": (4096,)},
        late_cut="conv3",
        has_batchnorm=False,
    ),
    "resnet50": Pretrained(
        title="ResNet-50 (torchvision, V1), ImageNet weights",
        side=256,
        crop=224,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        cuts={"layer2": (256, 56, 56), "layer3": (512, 28, 28), "layer4": (1024, 14, 14), "pool": (2048,)},
        late_cut="layer4",
    ),
    "googlenet": Pretrained(
        title="GoogLeNet (BVLC, 2014), ImageNet weights",
        side=256,
        crop=224,
        mean=(123 / 255, 117 / 255, 104 / 255),
        std=(1 / 255, 1 / 255, 1 / 255),  # pixels in 0 .. 255 less the mean
        cuts={
            **{name: (widths[0], *_GOOGLENET_SPACE[name[-2]]) for name, widths in googlenet.WIDTHS.items()},
            "pool": (1024,),
        },
        late_cut="inception_5a",
        has_batchnorm=False,
        bgr=True,
        # Chosen like HEAD's own rate: 0.03, 0.05, 0.1 and 0.2 gave source_only errors of 7.2, 6.7, 6.9 and 9.5 % on a
        # held-out tenth of Office-31's source, over three sources and five seeds.
        head_rate=0.5,
    ),
}
"""Name -> description.  A cut named after a block or layer is before it; AlexNet's are after the layer and its ReLU:
``conv3`` is the paper's border between fixed and fine-tuned layers, and the trunk ends with fc7, dropout included."""


def classifier(name: str, weights: Path) -> nn.Module:
    """The whole ImageNet model, (N, 3, crop, crop) -> logits (N, 1000), in evaluation mode.

    Raises:
        DataError: the file does not hold the weights of this network.
    """
    model = _architecture(name)
    try:
        model.load_state_dict(_state(name, weights), strict=True)
    except Exception as error:  # torch raises anything on a broken file
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise DataError(
            f"{weights} does not hold the weights of {name} ({reason}): delete it and try again."
        ) from error
    return model.eval()


def _state(name: str, weights: Path) -> Mapping[str, Tensor]:
    """The tensors of a weights file, named as the network's layers."""
    if name == "googlenet":
        return safetensors.torch.load_file(weights)
    state: dict[str, Tensor] = torch.load(weights, map_location="cpu", weights_only=True)
    return _timm_keys(state) if name.startswith("lite") else state


def trunk(name: str, weights: Path) -> nn.Module:
    """The pretrained trunk, in evaluation mode.

    Raises:
        DataError: the file does not hold the weights of this network.
    """
    return _without_classifier(name, classifier(name, weights))


def untrained(name: str) -> nn.Module:
    """The trunk with meaningless weights, on no device: for inspecting its layers."""
    with torch.device("meta"):
        return _without_classifier(name, _architecture(name))


def outline(name: str) -> nn.Module:
    """As ``untrained``; for EfficientNet-Lite only the BatchNorm layers, because importing timm takes seconds."""
    repeats = KNOWN[name].repeats
    if not repeats:
        return untrained(name)
    # A block has BatchNorm after each convolution: two in the first stage, which does not expand, three elsewhere.
    norms = {"stem": 1, **{f"blocks_{i}": n * (3 if i else 2) for i, n in enumerate(repeats)}, "head": 1}
    whole = nn.Sequential()
    for key, count in norms.items():
        whole.add_module(key, nn.Sequential(*(nn.BatchNorm2d(1, device="meta") for _ in range(count))))
    return whole


def _architecture(name: str) -> nn.Module:
    if name.startswith("lite"):
        import timm

        # With the prefix: TensorFlow's padding and epsilon, which the weights were trained with.
        model: nn.Module = timm.create_model(f"tf_efficientnet_{name}", pretrained=False)
        return model
    if name == "googlenet":
        return googlenet.build()
    from torchvision import models

    build = {"alexnet": models.alexnet, "resnet50": models.resnet50}[name]
    network: nn.Module = build(weights=None)
    return network


def _timm_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """timm's layer names instead of those of the package that the Lite weights come from.

    There the blocks are numbered consecutively, here by stage and block.
    """
    outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    full = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }
    unexpanded = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    expanded = {key.split(".")[1] for key in state if "._expand_conv." in key}
    places = _stages(state)
    renamed = {}
    for key, value in state.items():
        if match := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key):
            number, layer, tensor = match.groups()
            stage, block = places[int(number)]
            inner = full if number in expanded else unexpanded
            renamed[f"blocks.{stage}.{block}.{inner[layer]}.{tensor}"] = value
        else:
            layer, tensor = key.split(".")
            renamed[f"{outer[layer]}.{tensor}"] = value
    return renamed


def _stages(state: Mapping[str, Tensor]) -> list[tuple[int, int]]:
    """Stage and block of each consecutively numbered block; a stage begins where the width changes."""
    count = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("_blocks."))
    widths = [len(state[f"_blocks.{number}._project_conv.weight"]) for number in range(count)]
    return [(stage, block) for stage, (_, run) in enumerate(groupby(widths)) for block, _ in enumerate(run)]


def _without_classifier(name: str, model: nn.Module) -> nn.Module:
    """The layers in order, one child each, named like the cuts before them."""
    children: dict[str, Any]
    if name.startswith("lite"):
        m: Any = model
        children = {
            "stem": nn.Sequential(m.conv_stem, m.bn1),
            **{f"blocks_{i}": block for i, block in enumerate(m.blocks)},
            "head": nn.Sequential(m.conv_head, m.bn2, m.global_pool),
        }
    elif name == "alexnet":
        m = model
        children = {
            "early": m.features[:8],
            "conv3": m.features[8:],
            "pool": nn.Sequential(m.avgpool, nn.Flatten()),
            "fc": m.classifier[:3],
            "fc6": m.classifier[3:6],
        }
    elif name == "googlenet":
        children = {key: child for key, child in model.named_children() if key != "loss3"}
    else:
        m = model
        children = {
            "stem": nn.Sequential(m.conv1, m.bn1, m.relu, m.maxpool),
            **{f"layer{i}": getattr(m, f"layer{i}") for i in range(1, 5)},
            "pool": nn.Sequential(m.avgpool, nn.Flatten()),
        }
    whole = nn.Sequential()
    for key, child in children.items():
        whole.add_module(key, child)
    return whole


def split(name: str, whole: nn.Module, cut: str) -> tuple[nn.Module, nn.Module]:
    """A trunk before and after a cut; the layers are shared with it, and keep their names."""
    assert isinstance(whole, nn.Sequential)
    if cut == KNOWN[name].last_cut:
        return whole, nn.Identity()
    names = [key for key, _ in whole.named_children()]
    place = names.index(cut.replace(".", "_"))
    parts = nn.Sequential(), nn.Sequential()
    for number, (key, child) in enumerate(whole.named_children()):
        parts[number >= place].add_module(key, child)
    return parts


def features(name: str, weights: Path, place: str) -> nn.Module:
    """The fixed network up to one of ``Pretrained.places``: images -> (N, width), maps averaged over space.

    Raises:
        DataError: the file does not hold the weights of this network.
    """
    if place == LOGITS:
        return classifier(name, weights)
    early, _ = split(name, trunk(name, weights), place)
    if not KNOWN[name].is_map(place):
        return early
    return nn.Sequential(early, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def centre_crop(images: Tensor, known: Pretrained) -> Tensor:
    """The network's input from prepared photographs.

    Args:
        images: uint8, (N, side, side, 3).

    Returns:
        float32, (N, 3, crop, crop), channels last in memory.
    """
    first = round((images.shape[1] - known.crop) / 2)
    return _normalised(images[:, first : first + known.crop, first : first + known.crop], known)


def random_crops(images: Tensor, known: Pretrained, generator: torch.Generator) -> Tensor:
    """As ``centre_crop``, with a separate random window for each image, and half of them mirrored.

    Args:
        images: uint8, (N, side, side, 3).
        generator: on the CPU, whatever the device of the images.
    """
    n, side, crop = len(images), images.shape[1], known.crop
    corners = torch.randint(0, side - crop + 1, (2, n, 1), generator=generator)
    mirrored = torch.rand((n, 1), generator=generator) < 0.5
    window = torch.arange(crop)
    rows = corners[0] + window
    columns = corners[1] + torch.where(mirrored, window.flip(0), window)
    at = torch.arange(n)[:, None, None]
    picked = images[tuple(index.to(images.device) for index in (at, rows[:, :, None], columns[:, None, :]))]
    return _normalised(picked, known)


def _normalised(images: Tensor, known: Pretrained) -> Tensor:
    mean = torch.tensor(known.mean, device=images.device) * 255
    scale = 1 / (torch.tensor(known.std, device=images.device) * 255)
    x = images.to(torch.float32).sub_(mean).mul_(scale)
    return (x.flip(3) if known.bgr else x).permute(0, 3, 1, 2)
