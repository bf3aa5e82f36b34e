"""Yosinski: what is copied, what is fixed, how layers start, for every treatment and every n."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch import Tensor, nn

from benchmarks.networks import eight_layers
from benchmarks.networks.eight_layers import SMALL, TINY, Shape
from methods import yosinski
from methods.contract import Batch, Need, Recipe, config_values
from methods.network import FrozenLayers, Network
from methods.yosinski import BASE, Config, Treated
from tests.methods.training import frozen_trunk, normalised, perceptron

LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
TREATMENTS = [name for name in yosinski.VARIANTS if not name.startswith("base")]
NS = range(1, 8)
CLASSES = 5
DROPPING = dataclasses.replace(TINY, dropout=0.5)
"""The smallest network with the paper's dropout."""


def eight(shape: Shape = DROPPING, classes: int = CLASSES, channels: int = 1) -> Network:
    trunk, units = eight_layers.trunk(shape, channels)
    return Network(trunk, units, bottleneck_size=shape.units, classes=classes, dropout=shape.dropout, start=shape.start)


def base(seed: int = 0) -> Treated:
    torch.manual_seed(seed)
    return yosinski.build(BASE, eight())


def trained_base(seed: int = 7) -> Treated:
    """A base network away from its start, biases included."""
    model = base(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def treated(name: str, n: int, source: Treated | None = None, seed: int = 1) -> Treated:
    config = dataclasses.replace(yosinski.VARIANTS[name], n=n)
    torch.manual_seed(seed)
    model = yosinski.build(config, eight())
    needed = yosinski.needs(config, Recipe(steps=1, epoch=1, rate=0.01))
    if needed:
        yosinski.init_from(model, {"base": (source or trained_base()).state_dict()})
    return model


def weights(model: Treated) -> list[list[Tensor]]:
    """Layer by layer: weight and bias."""
    found = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    if model.config.frozen and model.config.n == 7:
        assert len(found) == 8
    return [[layer.weight, layer.bias] for layer in found]


def batch(step: int = 0) -> Batch:
    random = torch.Generator().manual_seed(step)
    x = torch.randn(16, 1, 16, 16, generator=random)
    y = torch.randint(CLASSES, (16,), generator=random)
    return Batch(x, y, x, 0.0)


def train(model: Treated, steps: int = 3) -> Treated:
    groups = [
        {"params": list(g.parameters), "lr": 0.05 * g.rate, "weight_decay": 0.1 if g.decay else 0.0}
        for g in yosinski.groups(model)
    ]
    optimiser = torch.optim.SGD(groups, momentum=0.9)
    model.train()
    for step in range(steps):
        optimiser.zero_grad()
        (term,) = yosinski.step(model, batch(step)).values()
        term.value.backward()
        optimiser.step()
    return model


def equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("n", NS)
@pytest.mark.parametrize("name", TREATMENTS)
def test_the_first_n_layers_and_no_other_are_copied_biases_included(name: str, n: int) -> None:
    source = trained_base()
    found, copied = weights(treated(name, n, source)), weights(source)
    for place, (layer, original) in enumerate(zip(found, copied, strict=True)):
        same = [torch.equal(a, b) for a, b in zip(layer, original, strict=True)]
        assert same == [place < n and name != "random"] * 2, LAYERS[place]


@pytest.mark.parametrize("n", NS)
@pytest.mark.parametrize("name", TREATMENTS)
def test_frozen_layers_stay_to_the_bit_and_all_others_learn(name: str, n: int) -> None:
    model = treated(name, n)
    before = copy.deepcopy(weights(model))
    after = weights(train(model))
    for place, (old, new) in enumerate(zip(before, after, strict=True)):
        fixed = place < n and model.config.frozen
        assert [torch.equal(a, b) for a, b in zip(old, new, strict=True)] == [fixed] * 2, LAYERS[place]
        assert all((p.grad is None) == fixed for p in new)
    learned = {id(p) for group in yosinski.groups(model) for p in group.parameters}
    fixed_ones = {id(p) for layer in after[:n] for p in layer} if model.config.frozen else set()
    assert learned == {id(p) for p in model.parameters()} - fixed_ones, "no decay reaches what is frozen"


@pytest.mark.parametrize("n", NS)
@pytest.mark.parametrize("name", ["default", "anb-plus"])
def test_copying_does_not_change_the_function_of_the_layers(name: str, n: int) -> None:
    """With all eight layers taken over, frozen or not, the new network is the old one."""
    source = trained_base().eval()
    model = treated(name, n, source).eval()
    for layer, original in zip(weights(model), weights(source), strict=True):
        for ours, theirs in zip(layer, original, strict=True):
            ours.data.copy_(theirs)
    x = batch().source_x
    assert torch.equal(model(x), source(x))


@pytest.mark.parametrize("n", NS)
def test_new_layers_are_not_the_first_values_of_the_base_network(n: int) -> None:
    """Under the same seed, where equality would give back what the frozen layers were co-adapted with."""
    started, first = weights(base(seed=1)), weights(treated("bnb", n, seed=1))
    other = weights(treated("anb-plus", n, seed=1))
    for place in range(n, 8):
        assert not torch.equal(started[place][0], first[place][0])
        assert torch.equal(first[place][0], other[place][0]), "treatments of one seed are paired"


def test_needs_are_the_base_networks_of_both_sides() -> None:
    recipe = Recipe(steps=1, epoch=1, rate=0.01)
    for name, opposite in {"default": True, "anb-plus": True, "bnb": False, "bnb-plus": False}.items():
        assert yosinski.needs(yosinski.VARIANTS[name], recipe) == {"base": Need("yosinski", BASE, opposite=opposite)}
    assert not yosinski.needs(BASE, recipe)
    assert not yosinski.needs(yosinski.VARIANTS["random"], recipe)
    assert {name: (c.copied, c.frozen) for name, c in yosinski.VARIANTS.items()} == {
        "default": ("other", True),
        "base": ("none", False),
        "base-twice": ("none", False),
        "bnb": ("own", True),
        "bnb-plus": ("own", False),
        "anb-plus": ("other", False),
        "random": ("none", True),
    }


@pytest.mark.parametrize("n", NS)
def test_the_prefix_is_the_frozen_layers_without_dropout_in_front_of_the_next(n: int) -> None:
    model = treated("default", n).train()
    fixed = yosinski.frozen_layers(model)
    assert isinstance(fixed, FrozenLayers)
    assert [name for name, _ in fixed.named_children() if name != "drop6"] == list(LAYERS[:n])
    dropping = [m for m in model.modules() if isinstance(m, nn.Dropout)]
    assert len(dropping) == 2
    assert [m.training for m in dropping] == [n < 7, True], "between two frozen layers there is none"
    x = batch().source_x
    out = fixed(x)
    assert not out.requires_grad
    source = trained_base().eval()
    passed = x
    for name, child in [*source.network.trunk.named_children(), ("fc7", source.network.bottleneck)]:
        if name in LAYERS[:n] or (name == "drop6" and n == 7):
            passed = child(passed)
    assert torch.equal(out, passed)
    torch.manual_seed(0)
    first = model(x)
    fixed.passed = True
    torch.manual_seed(0)
    assert torch.equal(model(out), first)
    fixed.passed = False


@pytest.mark.parametrize("n", NS)
def test_statistics_of_batchnorm_are_copied_and_frozen_with_their_layers(n: int) -> None:
    def network() -> Network:
        shape = dataclasses.replace(TINY, batchnorm=True)
        trunk, units = eight_layers.trunk(shape, 1)
        return Network(
            *(trunk, units), bottleneck_size=units, classes=CLASSES, dropout=0.0, batchnorm="source",
            bottleneck_batchnorm=True,
        )  # fmt: skip

    def norms(model: Treated) -> list[nn.Module]:
        return [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]

    torch.manual_seed(0)
    source = train(yosinski.build(BASE, network()))
    for name, frozen in (("bnb", True), ("bnb-plus", False)):
        model = yosinski.build(dataclasses.replace(yosinski.VARIANTS[name], n=n), network())
        yosinski.init_from(model, {"base": source.state_dict()})
        train(model)
        for place, (ours, theirs) in enumerate(zip(norms(model), norms(source), strict=True)):
            of_both = zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True)
            kept = [torch.equal(a, b) for a, b in of_both]
            if place < n and frozen:
                assert all(kept), LAYERS[place]
                assert not ours.training
            else:
                assert kept[2:4] == [False, False], "running mean and variance move"
                assert ours.training


def test_networks_that_freeze_nothing_have_no_prefix() -> None:
    assert yosinski.frozen_layers(base()) is None
    assert yosinski.frozen_layers(treated("anb-plus", 3)) is None


def test_biases_learn_at_twice_the_rate_and_without_decay() -> None:
    model = treated("bnb-plus", 3)
    of_weights, of_biases = yosinski.groups(model)
    assert (of_weights.rate, of_weights.decay, of_biases.rate, of_biases.decay) == (1.0, True, 2.0, False)
    assert len(of_weights.parameters) == len(of_biases.parameters) == 8
    assert {id(p) for p in of_biases.parameters} == {id(bias) for _, bias in weights(model)}


def test_random_layers_start_by_their_rule() -> None:
    released = ((0.01, 0), (0.01, 1), (0.01, 0), (0.01, 1), (0.01, 1), (0.005, 1), (0.005, 1))
    inputs = (363, 1200, 2304, 1728, 1728, 9216, 4096)  # of a unit of the paper's network
    for rule in ("gaussian", "he", "caffe", "scaled"):
        torch.manual_seed(3)
        model = yosinski.build(Config(n=7, copied="none", start=rule), eight(SMALL, channels=3))
        for (weight, bias), (deviation, constant), fan in zip(weights(model)[:7], released, inputs, strict=True):
            he = (2 / weight[0].numel()) ** 0.5
            wanted = {
                "gaussian": 0.01,
                "he": he,
                "caffe": deviation,
                "scaled": deviation / (2 / fan) ** 0.5 * he,
            }[rule]
            assert weight.std().item() == pytest.approx(wanted, rel=0.05)
            assert weight.mean().item() == pytest.approx(0, abs=0.1 * wanted)
            assert (bias == (constant if rule in ("caffe", "scaled") else 0)).all()


def test_a_released_start_is_for_networks_with_those_layers() -> None:
    config = Config(n=2, copied="none", start="scaled")
    assert "Caffe" in str(yosinski.applies(config, perceptron()))
    assert yosinski.applies(config, eight()) is None


def test_the_reference_network_is_the_papers() -> None:
    torch.manual_seed(0)
    model = yosinski.build(BASE, eight(eight_layers.REFERENCE, classes=500, channels=3))
    shapes = [tuple(weight.shape) for weight, _ in weights(model)]
    assert shapes == [
        *((96, 3, 11, 11), (256, 48, 5, 5), (384, 256, 3, 3), (384, 192, 3, 3), (256, 192, 3, 3)),
        *((4096, 9216), (4096, 4096), (500, 4096)),
    ]
    assert sum(p.numel() for p in model.parameters()) == 60_965_224 - 500 * 4097  # of the network for 1000 classes
    deviations = [weight.std().item() for weight, _ in weights(model)]
    assert deviations == pytest.approx([0.01] * 5 + [0.005] * 2 + [0.01], rel=0.02)
    assert [bias.mean().item() for _, bias in weights(model)] == [0, 1, 0, 1, 1, 1, 1, 0]
    x, sides = torch.zeros(1, 3, 227, 227), []
    for child in list(model.network.trunk.children())[:5]:
        x = child(x)
        sides.append(x.shape[-1])
    assert sides == [27, 13, 13, 13, 6]
    assert model(torch.zeros(1, 3, 227, 227)).shape == (1, 500)


def test_the_reference_network_normalises_responses_as_caffe_does() -> None:
    """b = a / (1 + alpha / 5 sum over five neighbouring channels of a^2)^beta, after pooling."""
    norm = eight_layers.trunk(eight_layers.REFERENCE, 3)[0].conv1[-1]
    a = torch.rand(1, 12, 2, 2, dtype=torch.float64) * 100
    slow = torch.empty_like(a)
    for i in range(12):
        near = a[:, max(0, i - 2) : i + 3].square().sum(1)
        slow[:, i] = a[:, i] / (1 + 1e-4 / 5 * near) ** 0.75
    assert torch.allclose(norm(a), slow, rtol=1e-10)


@pytest.mark.parametrize(("shape", "side", "channels"), [(SMALL, 32, 3), (TINY, 16, 1)])
def test_small_networks_have_eight_layers_of_the_same_roles(shape: Shape, side: int, channels: int) -> None:
    network = eight(shape, channels=channels)
    paths = list(yosinski.layers_of(network))
    assert paths == [*(f"trunk.{name}" for name in LAYERS[:6]), "bottleneck", "classifier"]
    pooled = [name.split(".")[0] for name, module in network.trunk.named_modules() if isinstance(module, nn.MaxPool2d)]
    assert pooled == ["conv1", "conv2", "conv5"]
    assert network(torch.zeros(2, channels, side, side)).shape == (2, CLASSES)


def test_pooling_before_the_relu_is_the_usual_order() -> None:
    block = eight_layers.trunk(TINY, 1)[0].conv1
    x = torch.randn(4, 1, 16, 16)
    convolution, pool, relu = block
    assert torch.equal(block(x), pool(relu(convolution(x))))


def test_other_networks_are_refused_with_a_reason() -> None:
    assert "BatchNorm" in str(yosinski.applies(Config(), normalised()))
    assert "from scratch" in str(yosinski.applies(Config(), frozen_trunk()))
    assert yosinski.applies(Config(n=2), perceptron()) is None
    assert yosinski.applies(Config(n=3), perceptron()) == "it has 3 layers, so n = 3 leaves none to be learned"
    assert [yosinski.applies(Config(n=n), eight()) for n in range(8)] == [None] * 8


def test_a_treatment_is_plain_data() -> None:
    assert config_values(Config()) == {"n": 1, "copied": "other", "frozen": True, "start": "network"}
