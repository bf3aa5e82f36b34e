"""AdaBN: statistics against the sequential definition, what stays as it was, CORAL, and refusals."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterable
from typing import Literal

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv2d, linear, relu

from methods import adabn, bn_statistics, dan, recipes, source_only
from methods.adabn import Config
from methods.contract import Domains
from methods.network import Network
from tests.methods.training import CLASSES, FEATURES, SHIFT, batches, domain, perceptron, start

EPS = 1e-5
SIDE = 6
ADABN = Config()


def network(seed: int = 0) -> Network:
    """With BatchNorm in the trunk and in the bottleneck, and dropout; trained on the source for a few steps."""
    torch.manual_seed(seed)
    trunk = nn.Sequential(nn.Linear(FEATURES, 16), nn.BatchNorm1d(16), nn.ReLU())
    found = Network(
        trunk, 16, bottleneck_size=12, classes=CLASSES, batchnorm="source", bottleneck_batchnorm=True, dropout=0.5
    )
    run = start(source_only.METHOD, source_only.Config(), lambda: found, seed=seed)
    run.train(batches(30))
    found.eval()
    return found


def convolutional() -> Network:
    """Two-dimensional BatchNorm around a shortcut, whose layers do not compute in the order of their names."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.BatchNorm2d(4)
            self.first = nn.BatchNorm2d(4)
            self.conv1, self.conv2 = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.first(self.conv1(x))
            z: Tensor = self.last(self.conv2(relu(y)))
            return relu(y + z).flatten(1)

    torch.manual_seed(3)
    found = Network(Block(), 4 * SIDE * SIDE, bottleneck_size=5, classes=2, batchnorm="source").eval()
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return found


def adapted(found: Network, parts: Iterable[Tensor], config: Config = ADABN) -> adabn.AdaBN:
    """A copy of the network after ``begin``, as the runner calls it."""
    model = adabn.build(config, copy.deepcopy(found))
    target = list(parts)
    x, y = domain(200, 11)
    adabn.begin(model, Domains(source=lambda: [(x, y)], target=lambda: target, labelled_target=lambda: []))
    return model


def target_images(n: int = 150, seed: int = 5) -> Tensor:
    return domain(n, seed, shift=SHIFT)[0] * 1.7


def slow_logits(found: Network, seen: Tensor, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The paper's definition in float64, layer after layer, over all responses to ``seen`` at once.

    Returns the logits of ``x`` and the means and variances of the two layers.
    """
    state = {key: value.double() for key, value in found.state_dict().items()}
    h, z = seen.double(), x.double()
    moments: list[Tensor] = []
    for linear_layer, norm in (("trunk.0", "trunk.1"), ("bottleneck.0", "bottleneck.1")):
        h, z = (v @ state[f"{linear_layer}.weight"].T + state[f"{linear_layer}.bias"] for v in (h, z))
        mean = torch.stack([sum(column, torch.zeros(())) / len(column) for column in h.T])
        variance = torch.stack([((c - m) ** 2).sum() / len(c) for c, m in zip(h.T, mean, strict=True)])
        moments += [mean, variance]
        gamma, beta = state[f"{norm}.weight"], state[f"{norm}.bias"]
        h, z = (gamma * (v - mean) / (variance + EPS).sqrt() + beta for v in (h, z))
        h, z = h.clamp(min=0), z.clamp(min=0)
    return z @ state["classifier.weight"].T + state["classifier.bias"], moments


# The statistics


def test_layer_after_layer_as_the_paper_defines_it() -> None:
    found, seen, x = network(), target_images(), target_images(40, 6)
    model = adapted(found, seen.split(32))
    wanted, moments = slow_logits(found, seen, x)
    torch.testing.assert_close(model(x).double(), wanted, rtol=1e-4, atol=1e-4)
    norms = [model.network.trunk[1], model.network.bottleneck[1]]  # type: ignore[index]
    for norm, mean, variance in zip(norms, moments[::2], moments[1::2], strict=True):
        torch.testing.assert_close(norm.running_mean.double(), mean, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(norm.running_var.double(), variance, rtol=1e-5, atol=1e-5)
    assert (found(x) - model(x)).abs().max() > 0.1


def test_later_layers_see_the_adapted_earlier_ones() -> None:
    """One pass under the old statistics gives the second layer others."""
    found, seen = network(), target_images()
    once = bn_statistics.moments_at(found, found.bottleneck[1], [seen])
    model = adapted(found, [seen])
    second = model.network.bottleneck[1]
    assert isinstance(second, nn.BatchNorm1d)
    assert second.running_mean is not None
    assert (second.running_mean - torch.as_tensor(once.mean)).abs().max() > 0.05


def test_images_are_pooled_over_all_positions_and_layers_in_the_order_of_computation() -> None:
    found = convolutional()
    x = torch.randn(17, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) + 0.8
    state = {key: value.double() for key, value in found.state_dict().items()}

    def norm(v: Tensor, name: str) -> Tensor:
        channels = v.transpose(0, 1).flatten(1)
        means = torch.tensor([math.fsum(c.tolist()) / len(c) for c in channels], dtype=torch.float64)
        squares = ((channels - means[:, None]) ** 2).tolist()
        variances = torch.tensor([math.fsum(c) / len(c) for c in squares], dtype=torch.float64)
        weight, bias = state[f"trunk.{name}.weight"], state[f"trunk.{name}.bias"]
        return batch_norm(v, means, variances, weight, bias, eps=EPS)

    y = norm(conv2d(x.double(), state["trunk.conv1.weight"], state["trunk.conv1.bias"], padding=1), "first")
    z = norm(conv2d(relu(y), state["trunk.conv2.weight"], state["trunk.conv2.bias"], padding=1), "last")
    fc6 = relu(y + z).flatten(1)
    assert bn_statistics.in_order(found, x[:2]) == ["trunk.first", "trunk.last"]
    assert bn_statistics.replace(found, lambda: x.split(5)) == ["trunk.first", "trunk.last"]
    torch.testing.assert_close(found.layers(x)["fc6"].double(), fc6, rtol=1e-4, atol=1e-4)
    fc7 = relu(linear(fc6, state["bottleneck.0.weight"], state["bottleneck.0.bias"]))
    torch.testing.assert_close(found.layers(x)["fc7"].double(), fc7, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("sizes", [[150], [1] * 150, [64, 64, 22], [149, 1], [3, 90, 57]])
def test_neither_size_nor_order_of_the_batches_matters(sizes: list[int]) -> None:
    """Batches of different sizes too; and the variance between batches counts, for they differ much."""
    found, seen = network(), target_images()
    seen = seen[seen[:, 0].argsort()]
    order = torch.randperm(len(seen), generator=torch.Generator().manual_seed(2))
    one = adapted(found, [seen])
    x = target_images(40, 6)
    for parts in (seen.split(sizes), reversed(seen.split(sizes)), seen[order].split(sizes)):
        torch.testing.assert_close(adapted(found, parts)(x), one(x), rtol=0, atol=1e-4)


def test_moments_do_not_lose_digits_far_from_zero() -> None:
    x = torch.randn(1000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 1e-3 + 1e5
    moments = bn_statistics.Moments()
    for part in x.split([1, 400, 599]):
        moments.add(part)
    assert moments.count == 1000
    for column, mean, variance in zip(
        x.T, torch.as_tensor(moments.mean), torch.as_tensor(moments.variance), strict=True
    ):
        exact = math.fsum(column.tolist()) / 1000
        assert mean.item() == pytest.approx(exact, rel=1e-14)
        wanted = math.fsum((value - exact) ** 2 for value in column.tolist()) / 1000
        assert variance.item() == pytest.approx(wanted, rel=1e-6)


def test_the_source_as_target_gives_the_population_statistics_of_the_source() -> None:
    found, x = network(), domain(300, 21)[0]
    model = adapted(found, x.split(64))
    first = model.network.trunk[1]  # type: ignore[index]
    h = found.trunk[0](x).double()  # type: ignore[index]
    torch.testing.assert_close(first.running_mean.double(), h.mean(0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(first.running_var.double(), h.var(0, correction=0), rtol=1e-5, atol=1e-5)
    # Those are what the moving averages of the training estimate, so little changes.
    agreeing = (model(x).argmax(1) == found(x).argmax(1)).double().mean()
    assert agreeing > 0.95


# What stays as it was


def test_nothing_but_the_statistics_changes() -> None:
    found = network()
    before, after = found.state_dict(), adapted(found, [target_images()]).network.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {
        f"{layer}.{name}" for layer in ("trunk.1", "bottleneck.1") for name in ("running_mean", "running_var")
    }


def test_dropout_is_off_and_the_mode_comes_back() -> None:
    found, seen = network(), target_images()
    reference = adapted(found, [seen]).network
    training = copy.deepcopy(found).train()
    assert training.training
    bn_statistics.replace(training, lambda: [seen])
    assert training.training
    assert all(module.training for module in training.modules())
    assert all(torch.equal(a, b) for a, b in zip(training.buffers(), reference.buffers(), strict=True))
    # With dropout in front of a BatchNorm layer the statistics would be random.
    dropping = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(FEATURES)).train()
    bn_statistics.replace(dropping, lambda: [seen])
    torch.testing.assert_close(dropping[1].running_mean, seen.mean(0))


def test_no_hook_is_left_behind_even_after_an_error() -> None:
    found = network()
    adapted(found, [target_images()])
    with pytest.raises(RuntimeError):
        bn_statistics.replace(found, lambda: [target_images()[:, :-1]])
    assert not any(module._forward_pre_hooks for module in found.modules())


def test_no_label_reaches_it() -> None:
    """Of the domains it asks for the unlabelled target alone."""

    def forbidden() -> list[tuple[Tensor, Tensor]]:
        raise AssertionError("AdaBN looked at labels")

    model = adabn.build(Config(), network())
    seen = target_images()
    adabn.begin(model, Domains(source=forbidden, target=lambda: [seen], labelled_target=forbidden))
    assert adabn.diagnostics(model) == {"adapted_images": 150, "adapted_layers": 2}


def test_without_adaptation_the_trained_network_is_tested() -> None:
    found, x = network(), target_images(40, 6)
    for kind in ("source", "kept"):
        model = adapted(found, [target_images()], Config(statistics=kind))  # type: ignore[arg-type]
        assert torch.equal(model(x), found(x))
        assert adabn.diagnostics(model) == {"adapted_images": 0, "adapted_layers": 0}


# The divergence of the domains


def test_the_symmetric_divergence_is_that_of_two_gaussians() -> None:
    """Against the definition, the integral of (p - q) log(p / q), on a grid."""
    (mean, var), (other_mean, other_var) = ((0.3, 0.5), (-1.0, 2.0))
    x = torch.linspace(-30, 30, 600_001, dtype=torch.float64)

    def log_density(of: float, spread: float) -> Tensor:
        return -((x - of) ** 2) / (2 * spread) - math.log(2 * math.pi * spread) / 2

    p, q = log_density(mean, var), log_density(other_mean, other_var)
    wanted = torch.trapezoid((p.exp() - q.exp()) * (p - q), x)
    one, other = (
        (torch.tensor([a], dtype=torch.float64), torch.tensor([b], dtype=torch.float64))
        for a, b in ((mean, var), (other_mean, other_var))
    )
    torch.testing.assert_close(adabn.symmetric_kl(one, other)[0], wanted, rtol=1e-8, atol=0)
    torch.testing.assert_close(adabn.symmetric_kl(other, one)[0], wanted, rtol=1e-8, atol=0)
    assert adabn.symmetric_kl(one, one)[0] == 0


def test_the_divergence_is_of_what_enters_the_layers_before_and_after() -> None:
    """Source responses under the source's statistics, target responses under those that are tested."""
    found, seen = network(), target_images()
    x, _ = domain(200, 11)
    before, after = (
        adapted(found, seen.split(70), Config(statistics=of, divergence=True))  # type: ignore[arg-type]
        for of in ("source", "target")
    )
    for model in (before, after):
        entered = []
        for one, images in ((found, x), (model.network, seen)):
            values = one.bottleneck[0](one.trunk(images)).detach().double()
            entered.append((values.mean(0), values.var(0, correction=0) + EPS))
        wanted = adabn.symmetric_kl(*entered).mean().item()
        told = adabn.diagnostics(model)
        assert told["kl_deep"] == pytest.approx(wanted, rel=1e-5)
        assert told["kl_deep"] == told["kl_shallow"], "of two layers the second is the last"
    assert adabn.diagnostics(after)["kl_deep"] < 0.5 * adabn.diagnostics(before)["kl_deep"]
    assert torch.equal(after(seen), adapted(found, seen.split(70))(seen)), "measuring changes nothing"


# The networks that it starts from


def test_a_network_is_taken_from_a_bare_one_and_from_a_wrapped_one() -> None:
    found, x = network(), target_images(20)
    for trained in (found, dan.build(dan.Config(), found)):
        model = adabn.build(Config(), network(seed=1))
        adabn.init_from(model, {"trained": trained.state_dict()})
        assert torch.equal(model.network.eval()(x), found(x))
    with pytest.raises(RuntimeError, match="Unexpected key"):
        adabn.init_from(adabn.build(Config(), perceptron()), {"trained": found.state_dict()})


def test_all_variants_on_source_training_share_one_network() -> None:
    recipe = recipes.DIGITS["digits-mini"]
    wanted = {name: adabn.needs(config, recipe)["trained"] for name, config in adabn.VARIANTS.items()}
    assert wanted["default"] == wanted["coral"] == wanted["adabn-coral"]
    assert wanted["default"].method == "source_only"
    assert wanted["default"].batchnorm == ""
    assert wanted["kept"].batchnorm == "kept"
    assert wanted["on-dan"].method == "dan"
    for changes in ({"images": 16}, {"layers": 1}):
        assert adabn.needs(dataclasses.replace(Config(), **changes), recipe)["trained"] == wanted["default"]


# Few images, few layers


def test_draws_are_by_seed_nested_and_complete() -> None:
    x = torch.arange(100.0)[:, None]

    def draw(count: int, seed: int) -> set[float]:
        torch.manual_seed(seed)
        parts = list(adabn.drawn(lambda: x.split(33), count)())
        found = [value for part in parts for value in part[:, 0].tolist()]
        assert len(found) == len(set(found)) == min(count, 100)
        assert found == sorted(found)
        return set(found)

    assert draw(16, 0) == draw(16, 0)
    assert draw(16, 0) < draw(32, 0) < draw(64, 0)
    assert draw(16, 0) != draw(16, 1)
    assert draw(100, 0) == draw(500, 0) == set(x[:, 0].tolist())
    counted = np.zeros(100)
    for seed in range(300):
        counted[[int(value) for value in draw(10, seed)]] += 1
    assert counted.min() > 10  # each image is drawn 30 times on average, also those at the borders of batches
    assert counted.max() < 60


def test_a_draw_gives_the_statistics_of_its_images() -> None:
    found, seen, x = network(), target_images(), target_images(40, 6)
    torch.manual_seed(8)
    chosen = seen[torch.randperm(len(seen))[:16].sort().values]
    torch.manual_seed(8)
    model = adapted(found, seen.split(64), Config(images=16))
    torch.testing.assert_close(model(x), adapted(found, [chosen])(x), rtol=0, atol=1e-5)
    assert adabn.diagnostics(model)["adapted_images"] == 16


def test_layers_are_adapted_from_the_input_on() -> None:
    found, seen = network(), target_images()
    part, whole = adapted(found, [seen], Config(layers=1)), adapted(found, [seen], Config(layers=2))
    default = adapted(found, [seen])
    states = [model.network.state_dict() for model in (part, whole, default)]
    for name in ("running_mean", "running_var"):
        assert torch.equal(states[0][f"trunk.1.{name}"], states[1][f"trunk.1.{name}"])
        assert torch.equal(states[0][f"bottleneck.1.{name}"], found.state_dict()[f"bottleneck.1.{name}"])
        assert torch.equal(states[1][f"bottleneck.1.{name}"], states[2][f"bottleneck.1.{name}"])
    assert adabn.diagnostics(part)["adapted_layers"] == 1


# CORAL


def features(n: int, seed: int, scale: float = 1.0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    mixing = torch.randn(5, 5, generator=random, dtype=torch.float64)
    return scale * torch.randn(n, 5, generator=random, dtype=torch.float64) @ mixing


def test_coral_colours_the_source_like_the_target() -> None:
    source, target = features(400, 0), features(300, 1)
    found = adabn.aligned(source, target)

    def root(matrix: np.ndarray, sign: int) -> np.ndarray:  # type: ignore[type-arg]
        u, s, v = np.linalg.svd(matrix)
        return np.asarray((u * s ** (sign / 2)) @ v)

    covariances = [np.cov(x.numpy(), rowvar=False) + np.eye(5) for x in (source, target)]
    wanted = source.numpy() @ root(covariances[0], -1) @ root(covariances[1], 1)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-8, atol=1e-10)
    # Where the covariances are large the identity matters little: second moments agree.
    found = adabn.aligned(source * 1e4, target * 1e4)
    np.testing.assert_allclose(np.cov(found.T.numpy()), np.cov(target.T.numpy()) * 1e8, rtol=1e-5)
    torch.testing.assert_close(adabn.aligned(source, source), source)


@pytest.mark.parametrize("c", [1.0, 0.01])
@pytest.mark.parametrize("classifier", ["svm", "softmax"])
@pytest.mark.parametrize("classes", [2, 3])
def test_the_new_classifier_takes_the_features_as_they_are(
    classes: int, classifier: Literal["svm", "softmax"], c: float
) -> None:
    torch.manual_seed(0)
    found = Network(nn.Identity(), 4, bottleneck_size=5, classes=classes, trunk_rate=0.0)
    source, target = features(200, 2), features(150, 3, scale=4.0) + 2.0
    source[:, 3] = 0.0  # a unit that is dead on both domains
    target[:, 3] = 0.0
    labels = torch.from_numpy(np.random.default_rng(0).integers(0, classes, 200))
    source[:, 0] += 3.0 * labels
    adabn.retrain(found, source, labels, target, classifier=classifier, c=c)

    def standard(x: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        deviation = x.std(0)
        return np.asarray((x - x.mean(0)) / np.where(deviation > 0, deviation, 1))

    s, t = standard(source.numpy()), standard(target.numpy())
    x = adabn.aligned(torch.from_numpy(s), torch.from_numpy(t)).numpy()
    kinds = {"svm": LinearSVC(C=c, dual=False, max_iter=10_000), "softmax": LogisticRegression(C=c, max_iter=10_000)}
    margins = kinds[classifier].fit(x, labels.numpy()).decision_function(t)
    wanted = np.stack([-margins, margins], 1) / 2 if classes == 2 else margins
    logits = found.classifier(target.float())
    np.testing.assert_allclose(logits.detach().numpy(), wanted, atol=1e-4)


def test_coral_takes_source_features_before_and_target_features_after_the_adaptation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, seen = network(), target_images()
    given: list[tuple[Tensor, Tensor, Tensor]] = []
    monkeypatch.setattr(
        adabn, "retrain", lambda _network, source, labels, target, **_how: given.append((source, labels, target))
    )
    model = adapted(found, seen.split(70), Config(coral=True))
    x, y = domain(200, 11)
    ((source, labels, target),) = given
    torch.testing.assert_close(source, found.layers(x)["fc7"].double(), rtol=0, atol=1e-5)
    assert torch.equal(labels, y)
    torch.testing.assert_close(target, model.network.layers(seen)["fc7"].double(), rtol=0, atol=1e-5)


def test_coral_leaves_the_rest_of_the_network() -> None:
    found = network()
    before = found.state_dict()
    after = adapted(found, [target_images()], Config(statistics="source", coral=True)).network.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"classifier.weight", "classifier.bias"}


# Refusals


def test_without_batchnorm_it_refuses() -> None:
    for config in adabn.VARIANTS.values():
        assert "no BatchNorm" in str(adabn.applies(config, perceptron()))
    assert adabn.applies(Config(), network()) is None


def test_other_refusals_say_why() -> None:
    found = network()
    assert "2 BatchNorm layers, not 3" in str(adabn.applies(Config(layers=3), found))
    assert adabn.applies(Config(layers=2), found) is None
    assert "ImageNet" in str(adabn.applies(Config(statistics="kept"), found))
    found.trunk_rate = 0.1
    assert adabn.applies(Config(statistics="kept"), found) is None


def test_it_helps_where_the_domains_differ_in_their_statistics() -> None:
    """Features of the target are scaled and moved; the weights know the classes all the same."""
    found = network()
    x, y = domain(500, 31)
    moved = x * torch.tensor([3.0, 0.3, 1.0, 2.0, 0.5, 1.0]) + torch.tensor([4.0, -2.0, 1.0, -3.0, 2.0, 0.0])

    def accuracy(model: nn.Module) -> float:
        return (model(moved).argmax(1) == y).double().mean().item()

    assert accuracy(adapted(found, moved.split(100))) > accuracy(found) + 0.1
