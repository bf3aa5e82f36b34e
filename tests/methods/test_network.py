"""The shared network: its layers, and how BatchNorm sees the two domains in each mode."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, linear, relu

from methods.contract import default_groups
from methods.network import BatchNormMode, Network

WIDTH, HIDDEN, CLASSES = 5, 6, 3
MODES = [mode for mode in get_args(BatchNormMode) if mode != "none"]
MOMENTUM, EPSILON = 0.1, 1e-5


def trunk() -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.BatchNorm1d(HIDDEN))


def network(mode: BatchNormMode, *, batchnorm: bool = True, seed: int = 0, dropout: float = 0.0) -> Network:
    """In float64, with BatchNorm statistics and weights that are not the initial ones."""
    torch.manual_seed(seed)
    made = Network(
        trunk() if batchnorm else nn.Linear(WIDTH, HIDDEN),
        HIDDEN,
        bottleneck_size=4,
        classes=CLASSES,
        batchnorm=mode,
        dropout=dropout,
    ).double()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.running_mean, -1, 1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, -1, 1)
    return made.train()


def parts() -> tuple[Tensor, Tensor, Tensor]:
    """Source, target and granted inputs, of different sizes and statistics."""
    generator = torch.Generator().manual_seed(3)

    def some(n: int, shift: float, scale: float) -> Tensor:
        return torch.randn(n, WIDTH, generator=generator, dtype=torch.float64) * scale + shift

    return some(8, 0.0, 1.0), some(10, 2.0, 3.0), some(7, -1.0, 0.5)


class Reference:
    """The network's function written out, with statistics that the caller chooses."""

    def __init__(self, of: Network) -> None:
        self.parameters = {name: value.detach().clone() for name, value in of.state_dict().items()}
        self.mean = self.parameters["trunk.1.running_mean"]
        self.var = self.parameters["trunk.1.running_var"]

    def before(self, x: Tensor) -> Tensor:
        return linear(x, self.parameters["trunk.0.weight"], self.parameters["trunk.0.bias"])

    def logits(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        p = self.parameters
        h = (self.before(x) - mean) / torch.sqrt(var + EPSILON) * p["trunk.1.weight"] + p["trunk.1.bias"]
        fc7 = relu(linear(h, p["bottleneck.0.weight"], p["bottleneck.0.bias"]))
        return linear(fc7, p["classifier.weight"], p["classifier.bias"])

    def by_batch(self, x: Tensor) -> Tensor:
        h = self.before(x)
        return self.logits(x, h.mean(0), h.var(0, unbiased=False))

    def by_running(self, x: Tensor) -> Tensor:
        return self.logits(x, self.mean, self.var)

    def move(self, x: Tensor) -> None:
        """The running statistics after a batch."""
        h = self.before(x)
        self.mean = (1 - MOMENTUM) * self.mean + MOMENTUM * h.mean(0)
        self.var = (1 - MOMENTUM) * self.var + MOMENTUM * h.var(0, unbiased=True)


def statistics(of: Network) -> tuple[Tensor, Tensor]:
    state = of.state_dict()
    return state["trunk.1.running_mean"], state["trunk.1.running_var"]


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("with_granted", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_what_each_mode_computes(mode: BatchNormMode, with_granted: bool) -> None:
    """Activations and running statistics after one step, against the formulas."""
    model, (source, target, labelled_target) = network(mode), parts()
    reference = Reference(model)
    if mode == "joint":
        everything = torch.cat([source, labelled_target, target] if with_granted else [source, target])
        joint = reference.by_batch(everything)
        reference.move(everything)
        sizes = [len(source), *([len(labelled_target)] if with_granted else []), len(target)]
        split = list(torch.split(joint, sizes))
        wanted = {"source": split[0], "target": split[-1], "labelled_target": split[1] if with_granted else None}
    elif mode == "kept":
        wanted = {"source": reference.by_running(source), "target": reference.by_running(target)}
        wanted["labelled_target"] = reference.by_running(labelled_target) if with_granted else None
    elif mode == "source":
        wanted = {"source": reference.by_batch(source)}
        reference.move(source)
        wanted["labelled_target"] = reference.by_running(labelled_target) if with_granted else None
        wanted["target"] = reference.by_running(target)
    else:
        wanted = {"source": reference.by_batch(source), "target": reference.by_batch(target)}
        wanted["labelled_target"] = reference.by_batch(labelled_target) if with_granted else None
        for part in (source, *([labelled_target] if with_granted else []), target):
            reference.move(part)
    passes = model.passes(source, target, labelled_target if with_granted else None)
    for name, logits in wanted.items():
        found = getattr(passes, name)
        if logits is None:
            assert found is None
        else:
            close(found["fc8"], logits)
    for found, value in zip(statistics(model), (reference.mean, reference.var), strict=True):
        close(found, value)


@pytest.mark.parametrize("mode", MODES)
def test_two_steps_go_on_from_the_statistics_of_the_first(mode: BatchNormMode) -> None:
    """In particular, BatchNorm learns again after the target's pass of mode ``source``."""
    once, twice = network(mode), network(mode)
    source, target, _ = parts()
    once.passes(source, target)
    twice.passes(source, target)
    twice.passes(source, target)
    moved = not torch.equal(statistics(once)[0], statistics(twice)[0])
    assert moved == (mode != "kept")


@pytest.mark.parametrize("mode", MODES)
def test_evaluation_uses_running_statistics_and_moves_none(mode: BatchNormMode) -> None:
    model, (source, target, labelled_target) = network(mode).eval(), parts()
    reference, before = Reference(model), statistics(model)[0].clone()
    passes = model.passes(source, target, labelled_target)
    for found, x in ((passes.source, source), (passes.target, target), (passes.labelled_target, labelled_target)):
        assert found is not None
        close(found["fc8"], reference.by_running(x))
        close(model(x), reference.by_running(x))
    assert torch.equal(statistics(model)[0], before)
    assert not any(module.training for module in model.modules()), "and the mode stays"


@pytest.mark.parametrize("mode", MODES)
def test_the_target_is_passed_where_its_statistics_matter(mode: BatchNormMode) -> None:
    """A baseline that needs no target moves the same statistics and computes the same source activations."""
    source, target, labelled_target = parts()
    full, short = network(mode), network(mode)
    all_of = full.passes(source, target, labelled_target)
    some = short.passes(source, target, labelled_target, target_needed=False)
    assert torch.equal(all_of.source["fc8"], some.source["fc8"])
    assert all_of.labelled_target is not None
    assert some.labelled_target is not None
    assert torch.equal(all_of.labelled_target["fc8"], some.labelled_target["fc8"])
    assert (some.target is None) == (mode in ("source", "kept"))
    for a, b in zip(statistics(full), statistics(short), strict=True):
        assert torch.equal(a, b)


def test_without_batchnorm_the_parts_are_independent() -> None:
    source, target, labelled_target = parts()
    model = network("none", batchnorm=False)
    passes = model.passes(source, target, labelled_target)
    assert passes.target is not None
    assert passes.labelled_target is not None
    for found, x in ((passes.source, source), (passes.target, target), (passes.labelled_target, labelled_target)):
        close(found["fc8"], model(x))
    assert model.passes(source, target, target_needed=False).target is None
    assert model.passes(source, target).labelled_target is None


@pytest.mark.parametrize("mode", ["none", *MODES])
def test_dropout_of_the_source_does_not_depend_on_the_target(mode: BatchNormMode) -> None:
    """Source first: the masks of the labelled images are the same with and without a target pass."""
    source, target, labelled_target = parts()

    def logits(needed: bool, of: Tensor) -> tuple[Tensor, Tensor]:
        model = network(mode, batchnorm=mode != "none", dropout=0.5)
        torch.manual_seed(5)
        passes = model.passes(source, of, labelled_target, target_needed=needed)
        assert passes.labelled_target is not None
        return passes.source["fc8"], passes.labelled_target["fc8"]

    for a, b in zip(logits(True, target), logits(False, target), strict=True):
        assert torch.equal(a, b)
    if mode != "joint":  # one batch, one normalisation
        for a, b in zip(logits(True, target), logits(True, target + 1), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("mode", ["none", *MODES])
def test_gradients_of_source_and_target_reach_the_trunk(mode: BatchNormMode) -> None:
    source, target, labelled_target = parts()
    for part in ("source", "target", "labelled_target"):
        model = network(mode, batchnorm=mode != "none")
        layers = getattr(model.passes(source, target, labelled_target), part)
        layers["fc8"].square().sum().backward()
        assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


def test_kept_statistics_survive_every_change_of_mode() -> None:
    """BatchNorm stays in evaluation; all else trains, the layer's own scale and shift included."""
    model = network("kept")
    outer = nn.Sequential(model, nn.Dropout(0.5))
    for _ in range(2):
        outer.eval()
        outer.train()
    norm = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d)]
    assert [module.training for module in norm] == [False]
    assert model.dropout.training
    assert model.trunk[0].training  # type: ignore[index]
    before = statistics(model)[0].clone()
    model.layers(parts()[0])["fc8"].sum().backward()
    assert torch.equal(statistics(model)[0], before)
    assert norm[0].weight.grad is not None
    reference = batch_norm(
        model.trunk[0](parts()[1]),
        norm[0].running_mean,
        norm[0].running_var,
        norm[0].weight,
        norm[0].bias,  # type: ignore[index]
    )
    close(model.trunk(parts()[1]), reference)


@pytest.mark.parametrize(("batchnorm", "mode"), [(True, "none"), *((False, mode) for mode in MODES)])
def test_a_mode_without_layers_or_layers_without_mode(batchnorm: bool, mode: BatchNormMode) -> None:
    with pytest.raises(ValueError, match=f"its BatchNorm mode cannot be '{mode}'"):
        network(mode, batchnorm=batchnorm)


def test_batchnorm_of_the_bottleneck_counts() -> None:
    options = {"bottleneck_size": 4, "classes": 3, "bottleneck_batchnorm": True}
    made = Network(nn.Identity(), 4, batchnorm="source", **options)  # type: ignore[arg-type]
    assert isinstance(made.bottleneck[1], nn.BatchNorm1d)
    with pytest.raises(ValueError, match="this network has BatchNorm layers"):
        Network(nn.Identity(), 4, batchnorm="none", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [0.0, 0.1, 1.0])
def test_layers_and_rates(rate: float) -> None:
    """fc6 exists where the trunk is trained; a trunk at rate 0 is in no group."""
    made = Network(nn.Linear(5, 6), 6, bottleneck_size=4, classes=3, trunk_rate=rate)
    sizes = {"fc7": 4, "fc8": 3}
    assert made.layer_sizes == (sizes if rate == 0 else {"fc6": 6, **sizes})
    groups = {id(p): group.rate for group in default_groups(made) for p in group.parameters}
    for name, parameter in made.named_parameters():
        wanted = rate if name.startswith("trunk") else 1.0
        assert groups.get(id(parameter), 0.0) == wanted
    layers = made.eval().layers(torch.randn(2, 5))
    assert {name: value.shape[1] for name, value in layers.items()} == {"fc6": 6, **sizes}
    assert (layers["fc7"] >= 0).all()
    assert torch.equal(layers["fc8"], made.classifier(layers["fc7"]))
