"""DDC: its loss and figures against the loops, its baseline to the bit, and what the transfer term does."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from methods import ddc, kernels, source_only
from methods.contract import Claim, Domains, Experiment
from methods.ddc import Config
from methods.network import Network
from tests.methods.training import NETWORKS, SHIFT, Run, batches, domain, frozen_trunk, normalised, perceptron, start

OFF = ddc.VARIANTS["no-mmd"]


def trained(config: Config, steps: int = 100, seed: int = 0) -> Run:
    return start(ddc.METHOD, config, seed=seed).train(batches(steps))


def whole(n: int = 200, size: int = 64, shift: float = SHIFT) -> tuple[Tensor, Tensor, Domains]:
    """All inputs of two domains, and the same as a method sees them, ``size`` at a time."""
    (source, labels), (target, _) = domain(n, 7001), domain(n - 33, 7002, shift=shift)

    def of_source() -> Iterator[tuple[Tensor, Tensor]]:
        return zip(source.split(size), labels.split(size), strict=True)

    return (
        source,
        target,
        Domains(source=of_source, target=lambda: iter(target.split(size)), labelled_target=lambda: iter(())),
    )


def figures(run: Run, domains: Domains) -> dict[str, float]:
    """What the trained model measures, as the runner asks for it."""
    assert isinstance(run.model, ddc.DDC)
    run.model.eval()
    with torch.no_grad():
        return ddc.diagnostics(run.model, domains)


def accuracy(run: Run) -> float:
    """On fresh target samples."""
    x, y = domain(500, 7003, shift=SHIFT)
    return (run.logits(x).argmax(1) == y).double().mean().item()


def slow_mmd(source: Tensor, target: Tensor) -> Tensor:
    """|sum_i phi(s_i) / n - sum_j phi(t_j) / m|, unit by unit."""
    n, m = len(source), len(target)
    total = torch.zeros((), dtype=torch.float64)
    for unit in range(source.shape[1]):
        means = sum(source[i, unit] for i in range(n)) / n, sum(target[j, unit] for j in range(m)) / m
        total = total + (means[0] - means[1]) ** 2
    return total.sqrt()


# The objective


def test_the_transfer_term_is_the_squared_distance_of_the_means_value_and_gradient() -> None:
    random = torch.Generator().manual_seed(0)
    source = torch.randn(6, 5, generator=random, dtype=torch.float64, requires_grad=True)
    target = torch.randn(4, 5, generator=random, dtype=torch.float64, requires_grad=True)
    ours, slow = kernels.mmd_of_means(source, target), slow_mmd(source, target) ** 2
    torch.testing.assert_close(ours, slow, rtol=1e-12, atol=1e-14)
    pairs = [torch.autograd.grad(value, [source, target]) for value in (ours, slow)]
    for mine, theirs in zip(*pairs, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-14)
    # It is the biased MMD^2 of the kernel x'y, over all pairs.
    pairs_of = [(source, source), (target, target), (source, target)]
    same, other, across = ((a @ b.T).mean() for a, b in pairs_of)
    torch.testing.assert_close(ours, same + other - 2 * across, rtol=1e-12, atol=1e-14)


def test_the_unbiased_term_leaves_out_pairs_of_a_sample_with_itself_value_and_gradient() -> None:
    random = torch.Generator().manual_seed(0)
    source = torch.randn(6, 5, generator=random, dtype=torch.float64, requires_grad=True)
    target = torch.randn(4, 5, generator=random, dtype=torch.float64, requires_grad=True)
    slow = torch.zeros((), dtype=torch.float64)
    for part, count in ((source, 6), (target, 4)):
        for i in range(count):
            for j in range(count):
                if i != j:
                    slow = slow + part[i] @ part[j] / (count * (count - 1))
    for i in range(6):
        for j in range(4):
            slow = slow - 2 * (source[i] @ target[j]) / 24
    ours = kernels.mmd_of_means_unbiased(source, target)
    torch.testing.assert_close(ours, slow, rtol=1e-12, atol=1e-14)
    pairs = [torch.autograd.grad(value, [source, target]) for value in (ours, slow)]
    for mine, theirs in zip(*pairs, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-14)


def test_of_equal_distributions_only_the_unbiased_estimate_is_zero_on_average() -> None:
    random = torch.Generator().manual_seed(1)
    draws = torch.randn(400, 2, 8, 5, generator=random, dtype=torch.float64)
    for estimate, wanted in ((kernels.mmd_of_means_unbiased, 0.0), (kernels.mmd_of_means, 2 * 5 / 8)):
        values = torch.stack([estimate(source, target) for source, target in draws])
        assert abs(values.mean() - wanted) < 3 * values.std() / 20


def test_the_variant_takes_the_unbiased_estimate() -> None:
    network = perceptron(dropout=0.0)
    (batch,) = batches(1)
    found = ddc.step(ddc.build(ddc.VARIANTS["unbiased"], network), batch)["mmd"]
    source, target = network.layers(batch.source_x)["fc7"], network.layers(batch.target_x)["fc7"]
    assert found.value.item() == pytest.approx(kernels.mmd_of_means_unbiased(source, target).item(), rel=1e-5)
    assert found.weight == 0.25


@pytest.mark.parametrize("layer", ["fc6", "fc7", "fc8"])
def test_the_terms_of_a_step(layer: str) -> None:
    network = perceptron(dropout=0.0)
    model = ddc.build(Config(layer=layer), network)  # type: ignore[arg-type]
    (batch,) = batches(1)
    losses = ddc.step(model, batch)
    source, target = network.layers(batch.source_x)[layer], network.layers(batch.target_x)[layer]
    assert losses["mmd"].value.item() == pytest.approx(slow_mmd(source, target).item() ** 2, rel=1e-5)
    assert losses["mmd"].weight == 0.25
    assert losses["classification"].weight == 1


def test_the_weight_is_constant() -> None:
    model = ddc.build(Config(), perceptron())
    assert {ddc.step(model, batch)["mmd"].weight for batch in batches(5)} == {0.25}


def test_granted_images_count_as_labelled_ones_and_change_no_mean() -> None:
    model = ddc.build(Config(), perceptron(dropout=0.0))
    (batch,) = batches(1, labelled_target=9)
    with_labels, without = (
        ddc.step(model, batch),
        ddc.step(model, batch._replace(labelled_target_x=None, labelled_target_y=None)),
    )
    assert with_labels["mmd"].value.item() == without["mmd"].value.item()
    assert with_labels["classification"].value.item() != without["classification"].value.item()


def test_mixed_precision_leaves_the_means_in_full() -> None:
    model = ddc.build(Config(), perceptron(dropout=0.0))
    (batch,) = batches(1)
    with torch.autocast("cpu", torch.bfloat16):
        found = ddc.step(model, batch)["mmd"].value
        source, _, target = model.network.passes(batch.source_x, batch.target_x)
    assert target is not None
    assert source["fc7"].dtype == torch.bfloat16
    assert found.item() == kernels.mmd_of_means(source["fc7"].float(), target["fc7"].float()).item()


def test_layers_that_are_not_trained_are_refused() -> None:
    assert ddc.applies(Config(), frozen_trunk()) is None
    assert "fc6" in (ddc.applies(Config(layer="fc6"), frozen_trunk()) or "")
    assert ddc.applies(Config(layer="fc6"), perceptron()) is None


# The baseline


@pytest.mark.parametrize("network", NETWORKS.values(), ids=list(NETWORKS))
def test_without_weight_it_is_source_only_to_the_bit(network: Callable[[], Network]) -> None:
    """Dropout is active, and with BatchNorm the target's batches move the running statistics."""
    off = start(ddc.METHOD, OFF, network).train(batches(50))
    baseline = start(source_only.METHOD, source_only.Config(), network).train(batches(50))
    assert [t["classification"] for t in off.history] == [t["classification"] for t in baseline.history]
    ours, theirs = off.model.network.state_dict(), baseline.model.state_dict()
    assert ours.keys() == theirs.keys()
    for key in ours:
        assert torch.equal(ours[key], theirs[key]), key
    on = start(ddc.METHOD, Config(), network).train(batches(50))
    assert not torch.equal(on.model.network.classifier.weight, off.model.network.classifier.weight)


# The width


@pytest.mark.parametrize("network", NETWORKS.values(), ids=list(NETWORKS))
def test_another_width_is_the_same_network_otherwise(network: Callable[[], Network]) -> None:
    torch.manual_seed(0)
    usual = network()
    wider = usual.resized(40)
    assert wider.layer_sizes == {**usual.layer_sizes, "fc7": 40}
    assert list(wider.layer_sizes) == list(usual.layer_sizes)
    assert wider.trunk is usual.trunk
    assert [type(module) for module in wider.modules()] == [type(module) for module in usual.modules()]
    for name in ("trunk_rate", "classes", "batchnorm"):
        assert getattr(wider, name) == getattr(usual, name)
    assert wider.dropout.p == usual.dropout.p
    assert wider.layers(domain(4, 0)[0])["fc7"].shape == (4, 40)


def test_at_its_own_width_the_network_stays_and_nothing_is_drawn() -> None:
    network = perceptron()
    state = torch.get_rng_state()
    assert network.resized(12) is network
    assert torch.equal(torch.get_rng_state(), state)
    a, b = (start(ddc.METHOD, config).train(batches(20)) for config in (Config(), Config(width=12)))
    assert a.history == b.history


@pytest.mark.parametrize("network", [perceptron, normalised])
def test_with_and_without_mmd_start_alike_at_every_width(network: Callable[[], Network]) -> None:
    for width in (3, 40):
        on, off = (start(ddc.METHOD, dataclasses.replace(config, width=width), network) for config in (Config(), OFF))
        states = on.model.state_dict(), off.model.state_dict()
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
        assert on.train(batches(1)).history == off.train(batches(1)).history, "the term acts from the second step on"
    trunks = [start(ddc.METHOD, Config(width=width), network).model.network.trunk.state_dict() for width in (3, 40)]
    assert all(torch.equal(trunks[0][key], trunks[1][key]) for key in trunks[0])


# The figures that select


@pytest.mark.parametrize("size", [64, 7, 1000])
def test_the_measured_mmd_is_that_of_the_whole_domains(size: int) -> None:
    run = trained(Config(), 10)
    source, target, domains = whole(n=80, size=size)
    found = figures(run, domains)
    with torch.no_grad():
        a, b = (run.model.network.layers(x) for x in (source, target))
    assert set(found) == {"linear_mmd", "linear_mmd_relative", "trunk_mmd", "trunk_mmd_relative"}
    for name, layer in (("linear_mmd", "fc7"), ("trunk_mmd", "fc6")):
        x, y = a[layer].double(), b[layer].double()
        assert found[name] == pytest.approx(slow_mmd(x, y).item(), rel=1e-6)
        spreads = [np.mean([math.dist(row, z.mean(0)) ** 2 for row in z]) for z in (x, y)]
        assert found[f"{name}_relative"] == pytest.approx(found[name] / math.sqrt(np.mean(spreads)), rel=1e-6)


def test_the_relative_mmd_has_no_scale_and_collapsed_features_have_none() -> None:
    run = trained(Config(), 10)
    _, _, domains = whole()
    before = figures(run, domains)
    with torch.no_grad():
        for parameter in run.model.network.bottleneck.parameters():
            parameter.mul_(4)
    after = figures(run, domains)
    assert after["linear_mmd"] == pytest.approx(4 * before["linear_mmd"], rel=1e-6)
    assert after["linear_mmd_relative"] == pytest.approx(before["linear_mmd_relative"], rel=1e-6)
    with torch.no_grad():
        for parameter in run.model.network.bottleneck.parameters():
            parameter.zero_()
    collapsed = figures(run, domains)
    assert collapsed["linear_mmd"] == collapsed["linear_mmd_relative"] == 0


def test_the_features_below_do_not_depend_on_what_is_trained_on_them() -> None:
    _, _, domains = whole()
    runs = [start(ddc.METHOD, config, frozen_trunk).train(batches(20)) for config in (Config(), OFF, Config(width=50))]
    assert len({figures(run, domains)["trunk_mmd"] for run in runs}) == 1
    assert len({figures(run, domains)["linear_mmd"] for run in runs}) == 3


# What it does to a network


@pytest.mark.parametrize("width", [None, 50])
def test_the_domains_come_closer_and_the_target_is_classified_better(width: int | None) -> None:
    _, _, domains = whole(500)
    on = [trained(Config(width=width), seed=seed) for seed in range(3)]
    off = [trained(dataclasses.replace(OFF, width=width), seed=seed) for seed in range(3)]
    for name in ("linear_mmd", "linear_mmd_relative"):
        closer, apart = (np.mean([figures(run, domains)[name] for run in runs]) for runs in (on, off))
        assert closer < 0.7 * apart
    assert np.mean([accuracy(run) for run in on]) > np.mean([accuracy(run) for run in off]) + 0.02


def test_the_transfer_term_falls() -> None:
    on, off = ([terms["mmd"] for terms in trained(config).history] for config in (Config(), OFF))
    assert on[0] == off[0]
    assert np.mean(on[-40:]) < 0.5 * np.mean(off[-40:])


# What is reproduced


def test_recipes_are_those_of_the_papers_on_the_same_data() -> None:
    """So the source-only cells are shared."""
    from methods import dan, jan

    def recipes(experiments: tuple[Experiment, ...]) -> dict[str, object]:
        return {experiment.name: dict(experiment.recipes) for experiment in experiments}

    ours, others = recipes(ddc.PAPER.experiments), recipes(dan.PAPER.experiments)
    for name, other in (("unsupervised", "table3"), ("supervised", "table3-supervised")):
        assert ours[name] == others[other]
    assert ours["digits"] == recipes(jan.PAPER.experiments)["digits"]


@pytest.mark.parametrize("claim", ddc.PAPER.claims, ids=lambda claim: f"{claim.name} {claim.point}".strip())
def test_claims_compare_points_that_their_experiment_has(claim: Claim) -> None:
    for experiment in (one for one in ddc.PAPER.experiments if one.name in claim.experiments):
        swept = {**experiment.sweep, **({"cut": experiment.cuts} if experiment.cuts else {})}
        for setting in filter(None, (claim.better_setting, claim.worse_setting)):
            name, _, value = setting.partition("=")
            assert value in map(str, swept[name])
        assert len(swept) == 1 or not claim.ranks
        name, _, step = claim.metric.partition("@")
        if step:
            (recipe,) = experiment.recipes.values()
            assert name in experiment.curve
            assert int(step) % recipe.epoch == 0
            assert int(step) <= recipe.steps
