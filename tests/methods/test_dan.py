"""DAN: its estimates against the loops, its quadratic programme over epochs, and what the transfer term does."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from methods import dan, kernels, source_only
from methods.contract import Batch
from methods.dan import Config
from tests.methods import reference
from tests.methods.training import SHIFT, Run, batches, domain, frozen_trunk, perceptron, start


def samples(n: int, m: int, features: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(n + m, features, generator=random, dtype=torch.float64)
    return x[:n], x[n:] + 0.5


def weights(model: dan.DAN, layer: str) -> dan.KernelWeights:
    found = model.weights[layer]
    assert isinstance(found, dan.KernelWeights)
    return found


def trained(config: Config, steps: int = 60, seed: int = 0) -> Run:
    run = start(dan.METHOD, config, seed=seed)
    run.epoch = 20
    return run.train(batches(steps))


def held_out(run: Run, layer: str) -> tuple[Tensor, Tensor]:
    """A layer's activations of fresh samples of both domains."""
    network = run.model.network if isinstance(run.model, dan.DAN) else run.model
    network.eval()
    with torch.no_grad():
        source, target = network.layers(domain(200, 7001)[0]), network.layers(domain(200, 7002, shift=SHIFT)[0])
    return source[layer], target[layer]


def accuracy(run: Run) -> float:
    """On fresh target samples."""
    x, y = domain(500, 7003, shift=SHIFT)
    return (run.logits(x).argmax(1) == y).double().mean().item()


def discrepancy(source: Tensor, target: Tensor) -> float:
    """Unbiased MMD^2 with one kernel at the median."""
    distances = kernels.pair_distances(torch.cat([source, target]))
    values = kernels.gaussians(distances, kernels.median(distances), (0.0,)).squeeze(-1)
    return kernels.mmd_unbiased(values, len(source), len(target)).item()


# The objective


@pytest.mark.parametrize("estimator", ["linear", "cyclic", "unbiased", "biased"])
@pytest.mark.parametrize("family", ["paper", "authors", "single"])
@pytest.mark.parametrize("beta", ["qp", "uniform", "ones"])
def test_mk_mmd_equals_the_double_loop(estimator: str, family: str, beta: str) -> None:
    config = dataclasses.replace(Config(), kernels=family, estimator=estimator, beta=beta)  # type: ignore[arg-type]
    model = dan.build(config, perceptron())
    exponents = {"paper": [u / 2 for u in range(-16, 17)], "authors": [-2, -1, 0, 1, 2], "single": [0]}[family]
    if beta == "qp":
        share = torch.rand(len(exponents), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        weights(model, "fc7").beta.copy_(share / share.sum())
    source, target = samples(6, 5)
    gamma = reference.bandwidth(source, target, "mean" if family == "authors" else "median")
    betas = {
        "qp": weights(model, "fc7").beta.tolist(),
        "uniform": [1 / len(exponents)] * len(exponents),
        "ones": [1.0] * len(exponents),
    }[beta]

    a, b = source.clone().requires_grad_(), target.clone().requires_grad_()
    ours = dan.mk_mmd(model, "fc7", a, b)
    slow = reference.ESTIMATORS[estimator](a, b, gamma, betas, exponents)
    tolerance = {"rtol": 1e-9, "atol": 1e-12}
    torch.testing.assert_close(ours, slow, **tolerance)
    for mine, theirs in zip(torch.autograd.grad(ours, [a, b]), torch.autograd.grad(slow, [a, b]), strict=True):
        torch.testing.assert_close(mine, theirs, **tolerance)


def test_the_terms_are_cross_entropy_and_the_sum_over_layers() -> None:
    network = perceptron(dropout=0.0)
    model = dan.build(Config(beta="uniform"), network)
    (batch,) = batches(1)
    losses = dan.step(model, batch._replace(progress=0.5))
    source, target = network.layers(batch.source_x), network.layers(batch.target_x)
    parts = [dan.mk_mmd(model, layer, source[layer], target[layer]) for layer in ("fc6", "fc7", "fc8")]
    assert losses["mmd"].value.item() == pytest.approx(sum(parts).item(), rel=1e-6)
    probability = source["fc8"].softmax(1)[torch.arange(len(batch.source_y)), batch.source_y]
    assert losses["classification"].value.item() == pytest.approx(-probability.log().mean().item(), rel=1e-5)
    assert losses["classification"].weight == 1
    assert losses["mmd"].weight == pytest.approx(2 / (1 + math.exp(-5)) - 1)


def test_trade_off() -> None:
    assert dan.trade_off(Config(weight=0.7), 0.0) == 0
    assert dan.trade_off(Config(weight=0.7), 0.1) == pytest.approx(0.7 * math.tanh(0.5))
    assert dan.trade_off(Config(weight=0.7, progressive=False), 0.0) == 0.7


def test_layers_that_are_not_trained_are_left_out() -> None:
    assert list(dan.build(Config(), frozen_trunk()).weights) == ["fc7", "fc8"]
    assert dan.applies(Config(), frozen_trunk()) is None
    reason = dan.applies(Config(layers=("fc6",)), frozen_trunk())
    assert reason is not None
    assert "fc6" in reason
    assert dan.applies(Config(layers=("fc6",)), perceptron()) is None


@pytest.mark.parametrize("variant", ["unbiased", "biased", "authors"])
def test_the_order_of_the_target_is_irrelevant_to_quadratic_estimates(variant: str) -> None:
    config = dataclasses.replace(dan.VARIANTS[variant], beta="uniform")
    (batch,) = batches(1)
    order = torch.randperm(len(batch.target_x), generator=torch.Generator().manual_seed(0))
    values = [
        dan.step(dan.build(config, network), one)["mmd"].value.item()
        for network in [perceptron(dropout=0.0)]
        for one in (batch, batch._replace(target_x=batch.target_x[order]))
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-4, abs=1e-6)


def test_unbiased_estimates_go_negative_and_stay_so() -> None:
    # Equal domains and an untrained network.
    for variant in ("default", "unbiased"):
        model = dan.build(dan.VARIANTS[variant], perceptron(dropout=0.0))
        values = [dan.step(model, batch)["mmd"].value.item() for batch in batches(40, shift=0.0)]
        assert 5 < sum(value < 0 for value in values) < 35


# The kernel weights


def test_the_programme_is_solved_over_the_whole_epoch() -> None:
    model = dan.build(Config(layers=("fc7",)), perceptron(dropout=0.0))
    gathered = []
    for batch in batches(5):
        source, _, target = model.network.passes(batch.source_x, batch.target_x)
        dan.step(model, batch)
        a, b = source["fc7"].detach().double(), target["fc7"].detach().double()
        gamma = reference.bandwidth(a, b, "median")
        for i in range(len(b) // 2):
            corners = [
                (a[2 * i], a[2 * i + 1]),
                (b[2 * i], b[2 * i + 1]),
                (a[2 * i], b[2 * i + 1]),
                (a[2 * i + 1], b[2 * i]),
            ]
            k = np.array(
                [[math.exp(-(x - y).square().sum() / (gamma * 2**u)) for u in model.exponents] for x, y in corners]
            )
            gathered.append(k[0] + k[1] - k[2] - k[3])
    g = np.stack(gathered)
    expected = kernels.kernel_weights(g.mean(0), np.cov(g.T, bias=True))
    layer = weights(model, "fc7")
    assert len(g) == 5 * 15 == layer.tuples
    np.testing.assert_allclose(layer.beta, np.full(33, 1 / 33), rtol=1e-6)  # uniform in the first epoch
    dan.before_epoch(model)
    np.testing.assert_allclose(layer.beta, expected, atol=1e-4)
    assert layer.tuples == 0
    assert layer.g_sum.abs().max() == layer.gg_sum.abs().max() == 0
    assert layer.kept == 0


@pytest.mark.parametrize("variant", ["default", "unbiased", "biased"])
def test_beta_stays_on_the_simplex(variant: str) -> None:
    run = start(dan.METHOD, dan.VARIANTS[variant])
    moved = False
    for batch in batches(24):
        run.train(iter([batch]))
        for layer in ("fc6", "fc7", "fc8"):
            beta = weights(run.model, layer).beta
            assert beta.min() >= 0
            assert beta.sum().item() == pytest.approx(1, abs=1e-6)
            moved |= (beta - 1 / 33).abs().max().item() > 0.01
    assert moved


def test_beta_is_kept_when_no_d_is_positive() -> None:
    model = dan.build(Config(), perceptron())
    layer = weights(model, "fc7")
    dan.before_epoch(model)
    assert layer.kept == 0  # nothing was gathered, so nothing was solved
    layer.add(torch.rand(20, 33, generator=torch.Generator().manual_seed(0)))
    layer.solve()
    beta = layer.beta.clone()
    layer.add(-torch.rand(20, 33, generator=torch.Generator().manual_seed(1)))
    layer.solve()
    assert torch.equal(layer.beta, beta)
    assert layer.kept == 1
    assert layer.tuples == 0
    layer.add(torch.rand(20, 33, generator=torch.Generator().manual_seed(2)))
    layer.solve()
    assert not torch.equal(layer.beta, beta)
    assert dan.diagnostics(model)["beta.fc7.kept"] == 1
    assert dan.diagnostics(model)["beta.fc6.kept"] == 0


def test_fixed_weights_gather_nothing_and_never_change() -> None:
    for variant, value in (("uniform-beta", 1 / 33), ("authors", 1.0), ("dan-sk", 1.0)):
        model = trained(dan.VARIANTS[variant], 12).model
        assert isinstance(model, dan.DAN)
        for layer in model.weights:
            assert weights(model, layer).tuples == 0
            assert (weights(model, layer).beta - value).abs().max() < 1e-6


def test_counts_describe_beta() -> None:
    model = dan.build(Config(layers=("fc8",)), perceptron())
    assert dan.diagnostics(model)["beta.fc8.kernels"] == pytest.approx(33)
    beta = weights(model, "fc8").beta
    beta.zero_()
    beta[0], beta[4] = 0.5, 0.5  # u = -8 and u = -6
    assert dan.diagnostics(model) == pytest.approx({"beta.fc8.kernels": 2, "beta.fc8.mean_u": -7, "beta.fc8.kept": 0})


# What it does to a network


@pytest.mark.parametrize("variant", ["default", "unbiased", "authors"])
def test_without_weight_it_is_source_only_to_the_bit(variant: str) -> None:
    # Dropout is active: the source goes through the network first, so its masks are the same.
    off = start(dan.METHOD, dataclasses.replace(dan.VARIANTS[variant], weight=0.0)).train(batches(20))
    baseline = start(source_only.METHOD, source_only.Config()).train(batches(20))
    assert [t["classification"] for t in off.history] == [t["classification"] for t in baseline.history]
    for (key, a), b in zip(off.model.network.state_dict().items(), baseline.model.state_dict().values(), strict=True):
        assert torch.equal(a, b), key
    on = trained(dan.VARIANTS[variant], 20)
    assert not torch.equal(on.model.network.classifier.weight, off.model.network.classifier.weight)


@functools.cache
def unadapted() -> list[Run]:
    """Without weight all variants are the same network."""
    return [trained(Config(weight=0.0), 100, seed) for seed in range(2)]


@pytest.mark.parametrize("variant", list(dan.VARIANTS))
def test_the_domains_come_closer_and_the_target_is_classified_better(variant: str) -> None:
    config = dan.VARIANTS[variant]
    layer = "fc7" if "fc7" in config.layers else "fc8"
    on = [trained(config, 100, seed) for seed in range(2)]
    off = unadapted()
    closer, apart = (np.mean([discrepancy(*held_out(run, layer)) for run in runs]) for runs in (on, off))
    assert apart > 0.01
    assert closer < 0.7 * apart
    assert np.mean([accuracy(run) for run in on]) > np.mean([accuracy(run) for run in off]) + 0.02


@pytest.mark.parametrize("estimator", ["linear", "unbiased", "biased"])
def test_the_transfer_term_falls(estimator: str) -> None:
    # Training on the source alone pulls the domains apart; the same batches are compared.
    config = dataclasses.replace(Config(), estimator=estimator, progressive=False, beta="uniform")
    on = [terms["mmd"] for terms in trained(config, 100).history]
    off = [terms["mmd"] for terms in trained(dataclasses.replace(config, weight=0.0), 100).history]
    assert on[0] == off[0]
    assert np.mean(on[-40:]) < 0.7 * np.mean(on[:10])
    assert np.mean(on[-40:]) < 0.7 * np.mean(off[-40:])


@pytest.mark.parametrize("variant", list(dan.VARIANTS))
@pytest.mark.parametrize("sizes", [(32, 9), (7, 31)], ids=str)
def test_batches_of_unequal_sizes(variant: str, sizes: tuple[int, int]) -> None:
    model = dan.build(dan.VARIANTS[variant], perceptron())
    (batch,) = batches(1)
    n, m = sizes
    losses = dan.step(model, Batch(batch.source_x[:n], batch.source_y[:n], batch.target_x[:m], 0.5))
    (gradient,) = torch.autograd.grad(losses["mmd"].value, model.network.bottleneck[0].weight)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


def test_mixed_precision_leaves_the_discrepancy_in_full() -> None:
    """Under autocast the layers are bfloat16, but their distances are not."""
    model = dan.build(Config(), perceptron(dropout=0.0))
    batch = next(iter(batches(1)))
    with torch.autocast("cpu", torch.bfloat16):
        found = dan.step(model, batch)["mmd"].value
        source, _, target = model.network.passes(batch.source_x, batch.target_x)
    assert source["fc7"].dtype == torch.bfloat16
    assert found.dtype == torch.float32
    again = dan.build(Config(), perceptron(dropout=0.0))
    exact = [dan.mk_mmd(again, layer, source[layer].float(), target[layer].float()) for layer in again.weights]
    assert found.item() == torch.stack(exact).sum().item()
