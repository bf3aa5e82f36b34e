"""JAN and JAN-A: the joint statistic against the loops, its adversary, and what the transfer term does."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.cell import training
from methods import contract, dan, jan, kernels, source_only
from methods.contract import Batch
from methods.jan import Config
from tests.benchmarks.cells import TINY, problem, spec
from tests.methods import reference
from tests.methods.training import FEATURES, SHIFT, Run, batches, domain, frozen_trunk, perceptron, start

Kernel = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]
"""prod_l k^l(x^l, y^l) of the activations of two samples."""

WIDTHS = {"fc7": 12, "softmax": 3}
ESTIMATORS = ["linear", "cyclic", "unbiased", "biased"]


def samples(n: int, m: int, seed: int = 0) -> tuple[list[Tensor], list[Tensor]]:
    """Activations that are not negative of a feature layer and a softmax, n of the source and m of the target."""
    random = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(n + m, width, generator=random, dtype=torch.float64) for width in WIDTHS.values()]
    drawn[0][n:] += 0.5
    layers = [drawn[0].abs(), drawn[1].softmax(1)]
    return [layer[:n] for layer in layers], [layer[n:] for layer in layers]


def model_of(config: Config, seed: int = 0) -> jan.JAN:
    """In float64, its adversarial layers moved away from the identity."""
    model = jan.build(config, perceptron(dropout=0.0)).double()
    random = torch.Generator().manual_seed(seed)
    for parameter in model.theta.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=random, dtype=torch.float64)
    return model


# The loops, written from the paper's formulas


def estimate(name: str, k: Kernel, source: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    """D_L: ``source`` and ``target`` hold a tensor for each layer."""
    s, t = list(zip(*source, strict=True)), list(zip(*target, strict=True))
    n, m = len(s), len(t)
    total = torch.zeros((), dtype=torch.float64)
    if name == "linear":
        tuples = min(n, m) // 2
        for i in range(tuples):
            s1, s2, t1, t2 = s[2 * i], s[2 * i + 1], t[2 * i], t[2 * i + 1]
            total = total + (k(s1, s2) + k(t1, t2) - k(s1, t2) - k(s2, t1)) / tuples
        return total
    if name == "cyclic":
        tuples = min(n, m)
        for i in range(tuples):
            j = (i + 1) % tuples
            total = total + (k(s[i], s[j]) + k(t[i], t[j]) - k(s[i], t[j]) - k(s[j], t[i])) / tuples
        return total
    lost = 1 if name == "unbiased" else 0
    for one, size in ((s, n), (t, m)):
        for i in range(size):
            for j in range(size):
                if i != j or not lost:
                    total = total + k(one[i], one[j]) / (size * (size - lost))
    for x in s:
        for y in t:
            total = total - 2 * k(x, y) / (n * m)
    return total


def product_kernel(
    config: Config, source: Sequence[Tensor], target: Sequence[Tensor], maps: Sequence[Callable[[Tensor], Tensor]]
) -> Kernel:
    """prod_l k^l(theta^l(x), theta^l(y)), the bandwidths those of the layers themselves."""
    rule = "median" if config.kernels == "paper" else "mean"
    gammas = [reference.bandwidth(a, b, rule) for a, b in zip(source, target, strict=True)]
    exponents = [[0.0] if config.kernels == "paper" else [-2.0, -1.0, 0.0, 1.0, 2.0] for _ in gammas]
    if config.kernels == "authors":
        gammas[-1], exponents[-1] = 1.68, [0.0]

    def k(x: Sequence[Tensor], y: Sequence[Tensor]) -> Tensor:
        factors = [
            reference.kernel(mapped(a), mapped(b), gamma, [1.0] * len(us), us)
            for a, b, gamma, us, mapped in zip(x, y, gammas, exponents, maps, strict=True)
        ]
        return math.prod(factors[1:], start=factors[0])

    return k


def stacked(theta: nn.Module, parameters: Sequence[Tensor]) -> Callable[[Tensor], Tensor]:
    """theta^l as plain sums; ``parameters`` holds its weights, then its biases."""
    assert isinstance(theta, jan.Theta)
    weights, biases = parameters[: len(theta.weights)], parameters[len(theta.weights) :]

    def mapped(z: Tensor) -> Tensor:
        for number, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            z = torch.where(z > 0, z, 0.0) if number else z
            z = (weight * z).sum(1) + bias
        return z

    return mapped


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("family", ["paper", "authors"])
@pytest.mark.parametrize("theta", [0, 1, 2])
@pytest.mark.parametrize("sizes", [(5, 5), (6, 4), (3, 7)], ids=str)
def test_jmmd_equals_the_double_loop(estimator: str, family: str, theta: int, sizes: tuple[int, int]) -> None:
    config = Config(kernels=family, estimator=estimator, theta=theta)  # type: ignore[arg-type]
    model = model_of(config)
    source, target = samples(*sizes)
    inputs = [x.clone().requires_grad_() for x in (*source, *target)]
    ours = jan.jmmd(model, config.layers, inputs[:2], inputs[2:])

    copies = {
        name: [p.detach().clone().requires_grad_() for p in module.parameters()] for name, module in model.theta.items()
    }
    maps = [stacked(model.theta[name], copies[name]) if theta else (lambda z: z) for name in config.layers]
    k = product_kernel(config, source, target, maps)
    slow = estimate(estimator, k, inputs[:2], inputs[2:])
    close = {"rtol": 1e-9, "atol": 1e-12}
    torch.testing.assert_close(ours, slow, **close)
    mine, theirs = (
        torch.autograd.grad(ours, inputs, retain_graph=True),
        torch.autograd.grad(slow, inputs, retain_graph=True),
    )
    assert all(gradient.abs().max() > 1e-4 for gradient in theirs)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, **close)
    if theta:  # the adversary's gradient is reversed, that of the activations is not
        parameters = [p for name in config.layers for p in model.theta[name].parameters()]
        mine = torch.autograd.grad(ours, parameters)
        theirs = torch.autograd.grad(slow, [p for name in config.layers for p in copies[name]], allow_unused=True)
        for a, b in zip(mine, theirs, strict=True):
            torch.testing.assert_close(a, torch.zeros_like(a) if b is None else -b, **close)
        assert max(gradient.abs().max() for gradient in mine) > 1e-3


def test_with_one_layer_it_is_the_mmd() -> None:
    source, target = (parts[0] for parts in samples(8, 8))
    for estimator in ESTIMATORS:
        single = dan.Config(kernels="single", beta="uniform", estimator=estimator)  # type: ignore[arg-type]
        found = jan.jmmd(model_of(Config(estimator=estimator)), ("fc7",), [source], [target])  # type: ignore[arg-type]
        assert found.item() == pytest.approx(
            dan.mk_mmd(dan.build(single, perceptron()), "fc7", source, target).item(), rel=1e-9
        )


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("collapsed", [0, 1])
def test_a_layer_of_equal_activations_is_a_constant_factor(estimator: str, collapsed: int) -> None:
    model = model_of(Config(estimator=estimator))  # type: ignore[arg-type]
    source, target = samples(7, 6)
    names, other = ("fc7", "softmax"), 1 - collapsed
    alone = jan.jmmd(model, names[other : other + 1], [source[other]], [target[other]])
    source[collapsed], target[collapsed] = torch.ones(7, 4).double(), torch.ones(6, 4).double()
    assert jan.jmmd(model, names, source, target).item() == pytest.approx(alone.item(), rel=1e-9)


@pytest.mark.parametrize("family", ["paper", "authors"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("theta", [0, 1])
def test_collapsed_features_give_zero_and_no_gradient(family: str, estimator: str, theta: int) -> None:
    config = Config(kernels=family, estimator=estimator, theta=theta)  # type: ignore[arg-type]
    network = perceptron(dropout=0.0)
    for parameter in network.parameters():
        parameter.data.zero_()
    model = jan.build(config, network)
    (batch,) = batches(1)
    losses = jan.step(model, batch._replace(progress=0.5))
    assert abs(losses["jmmd"].value.item()) < 1e-5
    contract.total(losses).backward()
    for parameter in model.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()
    for parameter in model.theta.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() < 1e-5


# What the statistic can and cannot tell


def draws(n: int, seed: int, *, joined: bool = True) -> list[Tensor]:
    """Features and class probabilities; ``joined``: the feature tells the class, else both are drawn apart."""
    random = torch.Generator().manual_seed(seed)
    label = torch.randint(2, (n,), generator=random)
    shown = label if joined else label[torch.randperm(n, generator=random)]
    features = torch.randn(n, 3, generator=random, dtype=torch.float64)
    features[:, 0] += 3.0 * shown
    probability = 0.9 * torch.eye(2, dtype=torch.float64)[label] + 0.05
    return [features, probability]


def estimates(estimator: str, count: int, *, joined: bool, layers: Sequence[int] = (0, 1)) -> np.ndarray:
    """D_L of independent batches: a source whose feature tells the class, and a target as ``joined`` says."""
    model = jan.build(Config(estimator=estimator), perceptron())  # type: ignore[arg-type]
    names = [("fc7", "softmax")[layer] for layer in layers]
    found = []
    for i in range(count):
        source, target = draws(24, 2 * i), draws(20, 2 * i + 1, joined=joined)
        parts = [[part[layer] for layer in layers] for part in (source, target)]
        found.append(jan.jmmd(model, names, *parts).item())
    return np.array(found)


@pytest.mark.parametrize("estimator", ["linear", "unbiased"])
def test_the_mean_over_equal_distributions_is_zero_and_negative_values_stay(estimator: str) -> None:
    found = estimates(estimator, 800, joined=True)
    assert abs(found.mean()) < 3 * found.std(ddof=1) / math.sqrt(len(found))
    assert 0.3 < (found < 0).mean() < 0.8
    biased = estimates("biased", 800, joined=True)
    assert biased.min() > 0
    assert biased.mean() > 30 * biased.std(ddof=1) / math.sqrt(len(biased)), "the test tells a biased estimate"


@pytest.mark.parametrize("estimator", ["linear", "unbiased"])
def test_it_sees_what_the_layers_alone_do_not(estimator: str) -> None:
    """Two domains with equal features and equal predictions, but only in one of them the feature tells the class."""
    for layer in (0, 1):
        alone = estimates(estimator, 900, joined=False, layers=[layer])
        assert abs(alone.mean()) < 3 * alone.std(ddof=1) / 30
    joint = estimates(estimator, 900, joined=False)
    assert joint.mean() > 6 * joint.std(ddof=1) / 30


# The objective


def test_the_terms_are_cross_entropy_and_the_joint_discrepancy() -> None:
    network = perceptron(dropout=0.0)
    (batch,) = batches(1, size=10)
    source, target = network.layers(batch.source_x), network.layers(batch.target_x)
    layers = {"fc6": (source["fc6"], target["fc6"]), "fc7": (source["fc7"], target["fc7"])}
    layers["softmax"] = (source["fc8"].softmax(1), target["fc8"].softmax(1))
    for variant in ("default", "pooled", "three-layers", "authors"):
        config = jan.VARIANTS[variant]
        losses = jan.step(jan.build(config, network), batch._replace(progress=0.5))
        wanted = 0.0
        for names in filter(None, (config.layers, config.second)):
            parts = [[layers[name][domain].double() for name in names] for domain in (0, 1)]
            k = product_kernel(config, *parts, [lambda z: z] * len(names))
            wanted += estimate(config.estimator, k, *parts).item()
        assert losses["jmmd"].value.item() == pytest.approx(wanted, rel=1e-4, abs=1e-6)
        probability = source["fc8"].softmax(1)[torch.arange(len(batch.source_y)), batch.source_y]
        assert losses["classification"].value.item() == pytest.approx(-probability.log().mean().item(), rel=1e-5)
        assert losses["classification"].weight == 1
        rising = 2 / (1 + math.exp(-5)) - 1
        assert losses["jmmd"].weight == pytest.approx(0.3 if variant == "authors" else rising)


def test_trade_off() -> None:
    assert jan.trade_off(Config(weight=0.5), 0.0) == 0
    assert jan.trade_off(Config(weight=0.5), 0.1) == pytest.approx(0.5 * math.tanh(0.5))
    assert jan.trade_off(Config(weight=0.5, progressive=False), 0.0) == 0.5


@pytest.mark.parametrize("variant", ["unbiased", "biased", "authors"])
def test_the_order_of_the_target_is_irrelevant_to_quadratic_estimates(variant: str) -> None:
    (batch,) = batches(1)
    order = torch.randperm(len(batch.target_x), generator=torch.Generator().manual_seed(0))
    model = jan.build(jan.VARIANTS[variant], perceptron(dropout=0.0))
    values = [
        jan.step(model, one)["jmmd"].value.item() for one in (batch, batch._replace(target_x=batch.target_x[order]))
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_features_that_are_not_trained_weigh_the_pairs(estimator: str) -> None:
    """As on the track ``frozen``: the pooled features get no gradient, and they change that of the softmax."""
    network = frozen_trunk()
    network.dropout.p = 0.0
    (batch,) = batches(1)
    batch = batch._replace(source_x=batch.source_x.relu(), target_x=batch.target_x.relu())

    def gradient(layers: tuple[str, ...]) -> Tensor:
        model = jan.build(Config(layers=layers, estimator=estimator), network)  # type: ignore[arg-type]
        return torch.autograd.grad(jan.step(model, batch)["jmmd"].value, network.classifier.weight)[0]

    weighed, plain = gradient(("fc6", "softmax")), gradient(("softmax",))
    assert weighed.abs().max() > 0
    assert (weighed - plain).abs().max() > 0.1 * plain.abs().max()


@pytest.mark.parametrize("variant", list(jan.VARIANTS))
@pytest.mark.parametrize("sizes", [(32, 9), (7, 31)], ids=str)
def test_batches_of_unequal_sizes(variant: str, sizes: tuple[int, int]) -> None:
    model = jan.build(jan.VARIANTS[variant], perceptron())
    (batch,) = batches(1)
    n, m = sizes
    losses = jan.step(model, Batch(batch.source_x[:n], batch.source_y[:n], batch.target_x[:m], 0.5))
    (gradient,) = torch.autograd.grad(losses["jmmd"].value, model.network.bottleneck[0].weight)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("variant", ["default", "jan-a", "unbiased", "authors"])
def test_mixed_precision_leaves_the_statistic_in_full(variant: str) -> None:
    """Under autocast the layers are bfloat16, but softmax, adversary and distances are not."""
    model = jan.build(jan.VARIANTS[variant], perceptron(dropout=0.0))
    (batch,) = batches(1)
    with torch.autocast("cpu", torch.bfloat16):
        found = jan.step(model, batch)["jmmd"].value
        source, _, target = model.network.passes(batch.source_x, batch.target_x)
    assert source["fc7"].dtype == source["fc8"].dtype == torch.bfloat16
    assert found.dtype == torch.float32
    assert target is not None
    layers = [{"fc7": part["fc7"].float(), "softmax": part["fc8"].float().softmax(1)} for part in (source, target)]
    terms = [
        jan.jmmd(model, names, *([part[name] for name in names] for part in layers))
        for names in filter(None, (model.config.layers, model.config.second))
    ]
    assert found.item() == torch.stack(terms).sum().item()


# The adversary


def test_opposed_parameters_have_the_same_values_and_the_reversed_gradient() -> None:
    parameter = (10 ** torch.linspace(-30, 30, 101)).requires_grad_()
    assert torch.equal(jan.opposed(parameter), parameter)
    weights = torch.arange(101.0)
    (gradient,) = torch.autograd.grad((jan.opposed(parameter) * weights).sum(), parameter)
    assert torch.equal(gradient, -weights)


@pytest.mark.parametrize("theta", [1, 2, 3])
def test_jan_a_starts_as_jan(theta: int) -> None:
    network = perceptron(dropout=0.0)
    (batch,) = batches(1)
    plain, adversarial = (
        jan.step(jan.build(Config(theta=layers), network), batch)["jmmd"].value for layers in (0, theta)
    )
    assert plain.item() == adversarial.item()


def test_the_adversary_draws_no_random_numbers() -> None:
    network = perceptron()
    (batch,) = batches(1)
    before = torch.random.get_rng_state()
    models = [jan.build(jan.VARIANTS[variant], network) for variant in ("default", "jan-a-2")]
    assert torch.equal(torch.random.get_rng_state(), before), "nothing is drawn for its initial weights"
    after = []
    for model in models:
        torch.random.set_rng_state(before)
        jan.step(model, batch)
        after.append(torch.random.get_rng_state())
    assert not torch.equal(after[0], before)
    assert torch.equal(*after), "a step of JAN-A draws what one of JAN draws"


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("theta", [1, 2])
def test_the_adversary_raises_the_distance_of_a_fixed_network(estimator: str, theta: int) -> None:
    config = Config(estimator=estimator, theta=theta, progressive=False)  # type: ignore[arg-type]
    network = start(source_only.METHOD, source_only.Config()).train(batches(40)).model.eval()
    fixed = copy.deepcopy(network.state_dict())
    model = jan.build(config, network)  # type: ignore[arg-type]
    held_out = next(batches(1001, size=400, first=1000))

    def distance() -> float:
        with torch.no_grad():
            return jan.step(model, held_out)["jmmd"].value.item()

    first = distance()
    optimiser = torch.optim.SGD(model.theta.parameters(), lr=0.1, momentum=0.9)
    for batch in batches(100):
        optimiser.zero_grad()
        contract.total(jan.step(model, batch)).backward()
        optimiser.step()
    assert all(torch.equal(value, fixed[key]) for key, value in network.state_dict().items())
    assert distance() > 1.2 * first > 0


# What it does to a network


def trained(config: Config, steps: int = 60, seed: int = 0) -> Run:
    return start(jan.METHOD, config, seed=seed).train(batches(steps))


def held_out(run: Run) -> tuple[list[Tensor], list[Tensor]]:
    """fc7 and softmax of fresh samples of both domains."""
    network = contract.network_of(run.model).eval()
    with torch.no_grad():
        parts = [network.layers(domain(200, 7001)[0]), network.layers(domain(200, 7002, shift=SHIFT)[0])]
    source, target = ([part["fc7"], part["fc8"].softmax(1)] for part in parts)
    return source, target


def discrepancy(run: Run) -> float:
    """Unbiased JMMD of fc7 and softmax, one kernel each."""
    return jan.jmmd(jan.build(Config(estimator="unbiased"), perceptron()), ("fc7", "softmax"), *held_out(run)).item()


def accuracy(run: Run) -> float:
    """On fresh target samples."""
    x, y = domain(500, 7003, shift=SHIFT)
    return (run.logits(x).argmax(1) == y).double().mean().item()


NETWORKS = [("lenet", "none"), ("lenet-bn", "source"), ("lenet-bn", "separate")]


@pytest.mark.parametrize("variant", ["default", "jan-a", "authors"])
@pytest.mark.parametrize(("backbone", "batchnorm"), NETWORKS)
def test_without_weight_it_is_source_only_to_the_bit(
    variant: str, backbone: str, batchnorm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the runner, for 10 steps with dropout: parameters, target batches, and the losses that dropout enters."""
    recipe = dataclasses.replace(TINY, steps=10, epoch=5)
    config = dataclasses.replace(jan.VARIANTS[variant], weight=0.0)
    found = []
    for name, values in (("jan", contract.config_values(config)), ("source_only", {})):
        of = spec(name, recipe, backbone=backbone, batchnorm=batchnorm, config=values)
        run = training.prepare(of, problem(), None, {})
        seen: list[Tensor] = []
        step = run.method.step

        def watched(model: nn.Module, batch: Batch, seen: list[Tensor] = seen, step: object = step) -> object:
            seen.append(batch.target_x)
            return step(model, batch)  # type: ignore[operator]

        phases = tuple(dataclasses.replace(phase, step=watched) for phase in run.phases)
        run = dataclasses.replace(run, phases=phases)
        run.run(0.0, None)
        network = contract.network_of(run.state.model)
        history = [{k: epoch[k] for k in ("classification", "test_accuracy")} for epoch in run.state.history]
        found.append((network.state_dict(), seen, history))
    (ours, our_batches, our_history), (theirs, their_batches, their_history) = found
    assert len(our_batches) == len(their_batches) == 10
    assert all(torch.equal(a, b) for a, b in zip(our_batches, their_batches, strict=True))
    assert our_history == their_history
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        assert torch.equal(value, theirs[key]), key


def test_with_a_weight_it_is_not() -> None:
    off, on = (trained(Config(weight=weight), 20) for weight in (0.0, 1.0))
    assert not torch.equal(on.model.network.classifier.weight, off.model.network.classifier.weight)


@functools.cache
def unadapted() -> list[Run]:
    """Without weight all variants are the same network."""
    return [trained(Config(weight=0.0), 100, seed) for seed in range(2)]


@pytest.mark.parametrize("variant", [name for name, config in jan.VARIANTS.items() if config.weight])
def test_the_domains_come_closer_and_the_target_is_classified_better(variant: str) -> None:
    config = jan.VARIANTS[variant]
    on = [trained(config, 100, seed) for seed in range(2)]
    off = unadapted()
    closer, apart = (np.mean([discrepancy(run) for run in runs]) for runs in (on, off))
    assert apart > 0.01
    assert closer < 0.7 * apart
    assert np.mean([accuracy(run) for run in on]) > np.mean([accuracy(run) for run in off]) + 0.02


def test_adversary_and_network_both_move() -> None:
    run = trained(jan.VARIANTS["jan-a"], 40)
    for module in run.model.theta.values():
        assert (module.weights[0] - torch.eye(len(module.weights[0]))).abs().max() > 0.01


def test_widths_of_the_layers() -> None:
    assert [jan.width_of(frozen_trunk(), name) for name in ("fc6", "fc7", "softmax")] == [6, 12, 3]
    assert [jan.width_of(perceptron(), name) for name in ("fc6", "fc7", "softmax")] == [16, 12, 3]
    assert kernels.powers(-2, 2, 1) == jan.FIVE


def test_the_network_released_for_resnet() -> None:
    """A linear bottleneck without ReLU and dropout, of the same first values; the classifier at a tenth of the rate."""
    models = []
    for name in ("default", "authors-resnet"):
        torch.manual_seed(0)
        models.append(jan.build(jan.VARIANTS[name], perceptron(dropout=0.5)).train())
    plain, released = models
    x = torch.randn(6, FEATURES, generator=torch.Generator().manual_seed(0))
    weights = dict(plain.named_parameters())
    assert all(torch.equal(value, weights[name]) for name, value in released.named_parameters())
    network = released.network
    layers = network.layers(x)
    linear = network.bottleneck[0]
    assert isinstance(linear, nn.Linear)
    assert torch.equal(layers["fc7"], layers["fc6"] @ linear.weight.T + linear.bias)
    assert layers["fc7"].min() < 0
    assert torch.equal(layers["fc8"], network.classifier(layers["fc7"])), "nothing is dropped in training"
    rates = {id(parameter): group.rate for group in jan.groups(released) for parameter in group.parameters}
    found = {name: rates[id(parameter)] for name, parameter in released.named_parameters() if id(parameter) in rates}
    assert {rate for name, rate in found.items() if "classifier" in name} == {0.1}
    assert {rate for name, rate in found.items() if "bottleneck" in name} == {1.0}
    usual = {id(parameter): group.rate for group in jan.groups(plain) for parameter in group.parameters}
    assert {usual[id(plain.network.classifier.weight)], usual[id(plain.network.classifier.bias)]} == {1.0}
