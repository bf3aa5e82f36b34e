"""The comparators: their losses against the loops of the papers' formulas, their baselines to the bit, what they do."""

from __future__ import annotations

import dataclasses
import importlib
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from methods import adversarial, cdan, contract, dann, deep_coral, mcc, source_only
from methods.contract import Batch, Method
from methods.network import Network
from tests.methods.training import CLASSES, FEATURES, NETWORKS, SHIFT, Run, batches, domain, frozen_trunk, start

METHODS: dict[str, Method] = {
    name: contract.load(name) for name, paper in contract.papers().items() if paper.comparator
}
PROGRESS = 0.3
LAMBDA = 0.7


def drawn(n: int, m: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Activations of two domains, float64, that take part in the gradient."""
    random = torch.Generator().manual_seed(seed)
    source = torch.randn(n, width, generator=random, dtype=torch.float64)
    target = 2 + 3 * torch.randn(m, width, generator=random, dtype=torch.float64)
    return source.requires_grad_(), target.requires_grad_()


def agree(fast: Tensor, slow: Tensor, *inputs: Tensor) -> None:
    """The same value and the same gradients."""
    assert fast.item() == pytest.approx(slow.item(), rel=1e-12)
    for a, b in zip(torch.autograd.grad(fast, inputs), torch.autograd.grad(slow, inputs), strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-14)


def one_batch(progress: float = PROGRESS) -> Batch:
    """A batch in float64, in the middle of the training."""
    (batch,) = batches(1)
    return batch._replace(source_x=batch.source_x.double(), target_x=batch.target_x.double(), progress=progress)


def small(name: str, **changes: Any) -> Any:
    """The default configuration with these changes, and a classifier of the domains that is quick to train."""
    config = METHODS[name].config()
    return dataclasses.replace(config, **changes, **({"hidden": (64,)} if hasattr(config, "hidden") else {}))


def built(name: str, **changes: Any) -> Any:
    """The model in float64, without the network's dropout, so that the loops see the same activations."""
    torch.manual_seed(5)
    method = METHODS[name]
    network = frozen_trunk()
    network.dropout.p = 0.0
    return method.build(dataclasses.replace(method.config(), **{"weight": LAMBDA, **changes}), network).double()


# Deep CORAL


def slow_coral(source: Tensor, target: Tensor) -> Tensor:
    """Equations 1 to 3, element by element."""
    d = source.shape[1]

    def covariance(x: Tensor, a: int, b: int) -> Tensor:
        n = len(x)
        products = sum(x[i, a] * x[i, b] for i in range(n))
        return (products - sum(x[i, a] for i in range(n)) * sum(x[i, b] for i in range(n)) / n) / (n - 1)

    total = torch.zeros((), dtype=torch.float64)
    for a in range(d):
        for b in range(d):
            total = total + (covariance(source, a, b) - covariance(target, a, b)) ** 2
    return total / (4 * d * d)


@pytest.mark.parametrize(("n", "m"), [(7, 7), (9, 4)])
def test_coral_is_the_loops(n: int, m: int) -> None:
    source, target = drawn(n, m, 5)
    agree(deep_coral.coral(source, target), slow_coral(source, target), source, target)


def test_coral_sees_no_means() -> None:
    source, _ = drawn(12, 12, 4)
    assert deep_coral.coral(source, source + 5).item() == pytest.approx(0, abs=1e-20)


@pytest.mark.parametrize("layer", ["fc7", "fc8"])
def test_a_step_of_deep_coral_is_of_its_layer(layer: str) -> None:
    model, batch = built("deep_coral", layer=layer), one_batch()
    losses = deep_coral.step(model, batch)
    source, target = (model.network.layers(x)[layer] for x in (batch.source_x, batch.target_x))
    assert losses["coral"].value.item() == pytest.approx(slow_coral(source, target).item(), rel=1e-9)
    assert losses["coral"].weight == LAMBDA


# MCC


def slow_confusion(z: Tensor, temperature: float) -> Tensor:
    """Equations 1 to 7, W held constant."""
    b, classes = z.shape
    y = [[(z[i, j] / temperature).exp() for j in range(classes)] for i in range(b)]
    y = [[value / sum(row) for value in row] for row in y]
    certain = [1 + math.exp(sum(v.item() * math.log(v.item()) for v in row)) for row in y]
    w = [b * value / sum(certain) for value in certain]
    c = [[sum(y[i][j] * w[i] * y[i][k] for i in range(b)) for k in range(classes)] for j in range(classes)]
    off = [sum(c[j][k] / sum(c[j]) for k in range(classes) if k != j) for j in range(classes)]
    return torch.stack([torch.as_tensor(value) for value in off]).sum() / classes


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_class_confusion_is_the_loops(temperature: float) -> None:
    z, _ = drawn(6, 1, 4)
    agree(mcc.class_confusion(3 * z, temperature), slow_confusion(3 * z, temperature), z)


def test_class_confusion_is_none_for_certain_predictions_and_most_for_uniform_ones() -> None:
    certain = 1e4 * torch.eye(4, dtype=torch.float64)[torch.arange(12) % 3]  # one class is never predicted
    assert mcc.class_confusion(certain, 2.5).item() == pytest.approx(0, abs=1e-12)
    assert mcc.class_confusion(torch.zeros(12, 4), 2.5).item() == pytest.approx(3 / 4)


def test_a_step_of_mcc_is_of_the_target() -> None:
    model, batch = built("mcc"), one_batch()
    losses = mcc.step(model, batch)
    wanted = slow_confusion(model.network(batch.target_x), 2.5).item()
    assert (losses["confusion"].value.item(), losses["confusion"].weight) == (pytest.approx(wanted, rel=1e-9), LAMBDA)


# DANN


def log_sigmoid(x: Tensor) -> Tensor:
    return -torch.log(1 + torch.exp(-x))


def slow_told(model: Any, source: Tensor, target: Tensor) -> Tensor:
    """L_d summed over the two domains, each the mean over its examples: source is 0 in the paper, and likelier here."""
    own = -sum(log_sigmoid(model.domain(x[None])[0]) for x in source) / len(source)
    return own - sum(log_sigmoid(-model.domain(x[None])[0]) for x in target) / len(target)


def gradients(value: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(value, parameters, retain_graph=True))


def opposed(name: str, model: Any, losses: Any, slow: Tensor) -> None:
    """The classifier of the domains descends on the loss, the network climbs by lambda of it."""
    assert losses["domain"].value.item() == pytest.approx(slow.item(), rel=1e-9)
    of_domain = list(model.domain.parameters())
    for mine, its in zip(gradients(losses["domain"].value, of_domain), gradients(slow, of_domain), strict=True):
        assert torch.allclose(mine, its, rtol=1e-7, atol=1e-12), name
    of_features = list(model.network.bottleneck.parameters())
    scale = -LAMBDA * (2 / (1 + math.exp(-10 * PROGRESS)) - 1)
    for mine, its in zip(gradients(losses["domain"].value, of_features), gradients(slow, of_features), strict=True):
        assert its.abs().max() > 0
        assert torch.allclose(mine, scale * its, rtol=1e-7, atol=1e-12), name


def test_a_step_of_dann_is_the_minimax_problem_of_the_paper() -> None:
    model, batch = built("dann", hidden=(8, 8)), one_batch()
    losses = dann.step(model, batch)
    source, target = (model.network.layers(x)["fc7"] for x in (batch.source_x, batch.target_x))
    opposed("dann", model, losses, slow_told(model, source, target))
    assert losses["domain"].weight == 1.0
    wanted = cross_entropy(model.network(batch.source_x), batch.source_y).item()
    assert losses["classification"].value.item() == pytest.approx(wanted, rel=1e-12)


def test_the_features_are_opposed_little_by_little() -> None:
    model = built("dann", hidden=(8,))
    for progress, scale in ((0.0, 0.0), (1.0, -LAMBDA * (2 / (1 + math.exp(-10)) - 1))):
        batch = one_batch(progress)
        value = dann.step(model, batch)["domain"].value
        source, target = (model.network.layers(x)["fc7"] for x in (batch.source_x, batch.target_x))
        slow = slow_told(model, source, target)
        weight = [model.network.bottleneck[0].weight]
        assert torch.allclose(gradients(value, weight)[0], scale * gradients(slow, weight)[0], atol=1e-12)


def test_the_released_weight_is_a_tenth_of_a_mean_over_both_domains() -> None:
    assert dann.VARIANTS["authors"].domain_weight == 0.1 / 2


def test_told_apart_is_the_mean_of_both_domains() -> None:
    source, target = torch.tensor([1.0, 2.0, -1.0, 3.0]), torch.tensor([-1.0, 1.0])
    assert adversarial.told_apart(source, target) == pytest.approx(100 * (3 / 4 + 1 / 2) / 2)


# CDAN


def entropy_weight(g: Tensor) -> Tensor:
    return 1 + torch.exp(sum(p * torch.log(p) for p in g))


def joint(model: Any, f: Tensor, g: Tensor) -> Tensor:
    """T(f, g) of one example: every product of a feature and a prediction, or d random ones."""
    if not model.randomised:
        return torch.stack([p * value for p in g for value in f])
    d = model.of_features.shape[1]
    rows = [
        sum(model.of_features[a, i] * f[a] for a in range(len(f)))
        * sum(model.of_predictions[b, i] * g[b] for b in range(len(g)))
        for i in range(d)
    ]
    return torch.stack([torch.as_tensor(row) for row in rows]) / math.sqrt(d)


@pytest.mark.parametrize("entropy", [False, True])
@pytest.mark.parametrize("randomised", [False, True])
def test_a_step_of_cdan_is_the_minimax_problem_of_the_paper(
    entropy: bool, randomised: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if randomised:
        monkeypatch.setattr(cdan, "MOST", 10)
    model, batch = built("cdan", entropy=entropy, random=7, hidden=(8,)), one_batch()
    assert model.randomised == randomised
    losses = cdan.step(model, batch)
    slow = torch.zeros((), dtype=torch.float64)
    for x, sign in ((batch.source_x, 1), (batch.target_x, -1)):
        layers = model.network.layers(x)
        for f, z in zip(layers["fc7"], layers["fc8"], strict=True):
            g = z.softmax(0)
            weight = entropy_weight(g) if entropy else 1.0
            slow = slow - weight * log_sigmoid(sign * model.domain(joint(model, f, g)[None])[0]) / len(x)
    opposed("cdan", model, losses, slow)
    head = [model.network.classifier.weight]  # which opposes D, too: its predictions are part of h
    scale = -LAMBDA * (2 / (1 + math.exp(-10 * PROGRESS)) - 1)
    assert torch.allclose(gradients(losses["domain"].value, head)[0], scale * gradients(slow, head)[0], atol=1e-12)


def test_the_released_form_weighs_each_domain_alike_and_holds_the_predictions_constant() -> None:
    model, batch = built("cdan", entropy=True, random=0, released=True, hidden=(8,)), one_batch()
    value = cdan.step(model, batch)["domain"].value
    slow, weights = [], []
    for x, sign in ((batch.source_x, 1), (batch.target_x, -1)):
        layers = model.network.layers(x)
        g = layers["fc8"].softmax(1)
        w = torch.stack([entropy_weight(one) for one in g])
        told = [
            log_sigmoid(sign * model.domain(joint(model, f, p.detach())[None])[0])
            for f, p in zip(layers["fc7"], g, strict=True)
        ]
        slow.append(-(w * torch.stack(told)).sum() / w.sum().item())
        weights.append(w)
    wanted = torch.stack(slow).sum() / 2
    assert value.item() == pytest.approx(wanted.item(), rel=1e-9)
    head = [model.network.classifier.weight]
    scale = -LAMBDA * (2 / (1 + math.exp(-10 * PROGRESS)) - 1)
    assert torch.allclose(gradients(value, head)[0], scale * gradients(wanted, head)[0], atol=1e-12)


def test_the_random_map_keeps_inner_products_on_average() -> None:
    """E <T(f, g), T(f', g')> = <f, f'> <g, g'>: the paper's theorem 1."""
    torch.manual_seed(0)
    network = Network(torch.nn.Identity(), FEATURES, bottleneck_size=12, classes=CLASSES, trunk_rate=0.0)
    model = cdan.CDAN(cdan.Config(random=400_000), network).double()
    model.randomised = True
    model.register_buffer("of_features", torch.randn(12, 400_000, dtype=torch.float64))
    model.register_buffer("of_predictions", torch.randn(CLASSES, 400_000, dtype=torch.float64))
    f, g = torch.rand(2, 12, dtype=torch.float64), torch.rand(2, CLASSES, dtype=torch.float64)
    a, b = model.mapped(f, g)
    assert float(a @ b) == pytest.approx(float(f[0] @ f[1]) * float(g[0] @ g[1]), rel=0.03)


def test_the_map_is_random_only_where_the_products_are_many() -> None:
    for classes, randomised in ((16, False), (17, True)):
        network = Network(torch.nn.Identity(), 8, bottleneck_size=256, classes=classes, trunk_rate=0.0)
        model = cdan.CDAN(cdan.Config(), network)
        assert model.randomised == randomised
        assert model.domain[0].in_features == (1024 if randomised else 4096)
        assert cdan.CDAN(cdan.VARIANTS["authors"], network).domain[0].in_features == 256 * classes


# All of them


@pytest.mark.parametrize("network", [pytest.param(make, id=name) for name, make in NETWORKS.items()])
@pytest.mark.parametrize("name", METHODS)
def test_at_weight_0_the_network_is_the_baselines_to_the_bit(name: str, network: Any) -> None:
    method, config = METHODS[name], small(name, weight=0.0)
    baseline = start(source_only.METHOD, source_only.Config(), network).train(batches(6))
    own = start(method, config, network).train(batches(6))
    a, b = contract.network_of(own.model).state_dict(), contract.network_of(baseline.model).state_dict()
    assert all(torch.equal(a[key], b[key]) for key in b)


def accuracy(run: Run) -> float:
    x, y = domain(500, 7003, shift=SHIFT)
    return (run.logits(x).argmax(1) == y).double().mean().item()


@pytest.mark.parametrize("name", ["cdan", "dann", "deep_coral", "mcc"])  # weight 1 and such a shift suit not every one
def test_the_shifted_target_is_classified_better(name: str) -> None:
    method = METHODS[name]
    configs = [small(name, weight=value) for value in (1.0, 0.0)]
    adapted, alone = (
        sum(accuracy(start(method, config, seed=seed).train(batches(60))) for seed in range(3)) / 3
        for config in configs
    )
    assert adapted > alone + 0.02


@pytest.mark.parametrize("name", METHODS)
def test_comparators_claim_nothing(name: str) -> None:
    paper = METHODS[name].paper
    assert paper is not None
    assert not paper.claims
    assert "comparator" in (importlib.import_module(f"methods.{name}").__doc__ or "")
