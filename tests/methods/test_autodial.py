"""AutoDIAL: its layers against the formula and their limits, what they learn, and what they do to a network."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmarks.networks import backbones
from methods import autodial, contract, source_only
from methods.autodial import AutoDIAL, Config, DomainAlignment
from methods.contract import Batch, ParameterGroup, default_groups
from methods.network import BatchNormMode, Network
from tests.methods import reference
from tests.methods.training import CLASSES, FEATURES, SHIFT, Run, batches, domain, perceptron, start

EXACT = {"rtol": 1e-10, "atol": 1e-12}
SHAPES = [(7, 5, 4), (6, 9, 3, 2, 2)]
"""Source images, target images, and the shape of one."""


def normalised(mode: BatchNormMode = "source", *, dropout: float = 0.5) -> Network:
    """With BatchNorm in the trunk and in the bottleneck."""
    trunk = nn.Sequential(nn.Linear(FEATURES, 16), nn.BatchNorm1d(16), nn.ReLU())
    return Network(
        trunk, 16, bottleneck_size=12, classes=CLASSES, batchnorm=mode, bottleneck_batchnorm=True, dropout=dropout
    )


def fine_tuned() -> Network:
    """The same with a pretrained trunk."""
    network = normalised()
    network.trunk_rate = 0.1
    return network


def samples(n: int, m: int, *shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two domains of different means and variances, float64."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(n + m, *shape, generator=random, dtype=torch.float64)
    return x[:n], 0.7 + 1.6 * x[n:]


def layer(size: int, sources: int | None, config: Config | None = None) -> DomainAlignment:
    """In float64, with a scale and a shift that are not 1 and 0."""
    found = DomainAlignment(size, config or Config()).double()
    found.sources = sources
    with torch.no_grad():
        found.weight.copy_(torch.linspace(0.5, 2, size))
        found.bias.copy_(torch.linspace(-1, 1, size))
    return found


def set_alpha(of: DomainAlignment, value: float) -> None:
    with torch.no_grad():
        of.alpha.fill_(value)


def affine(of: DomainAlignment, z: Tensor) -> Tensor:
    shape = (1, -1, *(1 for _ in z.shape[2:]))
    return z * of.weight.view(shape) + of.bias.view(shape)


def layers_of(run: Run) -> dict[str, DomainAlignment]:
    assert isinstance(run.model, AutoDIAL)
    return run.model.layers()


def alphas(run: Run) -> list[float]:
    return [float(one.alpha.detach()) for one in layers_of(run).values()]


def accuracy(run: Run, shift: float = SHIFT) -> float:
    """On fresh target samples."""
    x, y = domain(500, 7003, shift=shift)
    return (run.logits(x).argmax(1) == y).double().mean().item()


# The layer


@pytest.mark.parametrize("alpha", [0.5, 0.62, 0.9, 1.0])
@pytest.mark.parametrize("sizes", SHAPES, ids=str)
def test_the_layer_is_the_formula_in_value_and_gradients(sizes: tuple[int, ...], alpha: float) -> None:
    n, m, *shape = sizes
    ours = layer(shape[0], n)
    set_alpha(ours, alpha)
    source, target = samples(n, m, *shape)
    upstream = samples(n, m, *shape, seed=1)
    results = []
    for slow in (False, True):
        a, b = source.clone().requires_grad_(), target.clone().requires_grad_()
        if slow:
            free = torch.tensor(alpha, dtype=torch.float64, requires_grad=True)
            out = torch.cat([affine(ours, z) for z in reference.aligned(a, b, free, ours.eps)])
        else:
            assert isinstance(ours.alpha, nn.Parameter)
            free = ours.alpha
            out = ours(torch.cat([a, b]))
        gradients = torch.autograd.grad((out * torch.cat(upstream)).sum(), [a, b, free, ours.weight, ours.bias])
        results.append([out, *gradients])
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, **EXACT)


def test_the_gradient_of_alpha_is_the_difference_quotient() -> None:
    source, target = samples(7, 5, 4)
    upstream = torch.cat(samples(7, 5, 4, seed=1))
    ours = layer(4, 7)

    def value(alpha: float) -> Tensor:
        set_alpha(ours, alpha)
        total: Tensor = (ours(torch.cat([source, target])) * upstream).sum()
        return total

    h = 1e-6
    quotient = (value(0.8 + h) - value(0.8 - h)).item() / (2 * h)
    assert isinstance(ours.alpha, nn.Parameter)
    (gradient,) = torch.autograd.grad(value(0.8), ours.alpha)
    assert abs(quotient) > 0.1
    assert gradient.item() == pytest.approx(quotient, rel=1e-6)


def test_the_variance_is_the_mixtures_own_not_the_mean_of_the_variances() -> None:
    source, target = torch.zeros(6, 1, dtype=torch.float64), torch.full((3, 1), 2.0, dtype=torch.float64)
    ours = DomainAlignment(1, Config()).double()
    ours.sources = 6
    set_alpha(ours, 0.75)
    out = ours(torch.cat([source, target]))
    # q_st is 0 with probability 3/4 and 2 with 1/4: mean 1/2, variance 3/4, though both domains are constant.
    scale = (0.75 + ours.eps) ** 0.5
    torch.testing.assert_close(out[:6], torch.full_like(source, -0.5 / scale), **EXACT)
    torch.testing.assert_close(out[6:], torch.full_like(target, 0.5 / scale), **EXACT)


@pytest.mark.parametrize("sizes", SHAPES, ids=str)
def test_alpha_1_is_batchnorm_of_each_domain(sizes: tuple[int, ...]) -> None:
    n, m, *shape = sizes
    source, target = samples(n, m, *shape)
    norm = (nn.BatchNorm1d if len(shape) == 1 else nn.BatchNorm2d)(shape[0]).double()
    ours = DomainAlignment(shape[0], Config()).double()
    ours.sources = n
    torch.testing.assert_close(ours(torch.cat([source, target])), torch.cat([norm(source), norm(target)]), **EXACT)


@pytest.mark.parametrize("shape", [(4,), (3, 2, 2)], ids=str)
def test_alpha_half_with_equal_batches_is_batchnorm_of_both_domains(shape: tuple[int, ...]) -> None:
    both = torch.cat(samples(6, 6, *shape))
    norm = (nn.BatchNorm1d if len(shape) == 1 else nn.BatchNorm2d)(shape[0]).double()
    ours = DomainAlignment(shape[0], Config(alpha=0.5)).double()
    ours.sources = 6
    torch.testing.assert_close(ours(both), norm(both), **EXACT)


def test_alpha_half_with_unequal_batches_weighs_the_domains_not_the_images() -> None:
    source, target = samples(9, 3, 4)
    ours = DomainAlignment(4, Config(alpha=0.5)).double()
    ours.sources = 9
    out = ours(torch.cat([source, target]))
    repeated = torch.cat([source, target, target, target])
    expected = nn.BatchNorm1d(4).double()(repeated)
    torch.testing.assert_close(out, expected[:12], **EXACT)
    both = nn.BatchNorm1d(4).double()(torch.cat([source, target]))
    assert (out - both).abs().max() > 0.1


def test_the_layer_keeps_the_memory_format_and_half_precision() -> None:
    source, target = samples(4, 3, 3, 2, 2)
    x = torch.cat([source, target]).float().contiguous(memory_format=torch.channels_last)
    ours = DomainAlignment(3, Config())
    ours.sources = 4
    assert ours(x).is_contiguous(memory_format=torch.channels_last)
    half = ours(x.bfloat16())
    assert half.dtype == torch.bfloat16
    assert ours.mean.dtype == torch.float32
    assert torch.equal(half, ours(x.bfloat16().float()).bfloat16())  # the arithmetic itself is in full precision


def test_the_layer_wants_to_know_the_domains() -> None:
    with pytest.raises(RuntimeError, match="which rows are source"):
        layer(4, None)(torch.cat(samples(5, 5, 4)))


# Test time


def test_the_first_step_gives_the_target_moments_in_full() -> None:
    source, target = samples(7, 5, 4)
    ours = layer(4, 7)
    set_alpha(ours, 0.8)
    trained = ours(torch.cat([source, target]))
    ours.eval()
    torch.testing.assert_close(ours(target), trained[7:], **EXACT)
    torch.testing.assert_close(ours(source)[:3], ours(torch.cat([source[:3], target]))[:3], **EXACT)  # row by row


@pytest.mark.parametrize("keep", [0.95, 0.999])
def test_the_averages_weigh_the_steps_geometrically_and_sum_to_one(keep: float) -> None:
    ours = layer(2, 6, Config(keep=keep))
    set_alpha(ours, 0.7)
    means, variances = [], []
    for step in range(5):
        source, target = samples(6, 4, 2, seed=step)
        ours(torch.cat([source, target]))
        mu = 0.7 * target.mean(0) + 0.3 * source.mean(0)
        means.append(mu)
        variances.append(0.7 * (target - mu).square().mean(0) + 0.3 * (source - mu).square().mean(0))
    weights = np.array([keep ** (4 - step) for step in range(5)])
    for average, moments in ((ours.mean, means), (ours.var, variances)):
        expected = sum(w * one for w, one in zip(weights / weights.sum(), moments, strict=True))
        torch.testing.assert_close(average, expected, rtol=1e-5, atol=1e-6)


def test_as_released_averaged_variances_are_corrected_for_the_size_of_both_batches() -> None:
    """By m / (m - 1), m the responses to images of both domains; what normalises in training is not."""
    source, target = samples(3, 4, 2, 5, 1)
    ours, plain = (layer(2, 3, Config(released=released)) for released in (True, False))
    outs = [one(torch.cat([source, target])) for one in (ours, plain)]
    assert torch.equal(*outs)
    assert torch.equal(ours.mean, plain.mean)
    torch.testing.assert_close(ours.var, plain.var * 35 / 34, rtol=1e-12, atol=0)


def test_as_released_scale_and_shift_learn_slowly_and_without_decay() -> None:
    model = autodial.build(autodial.VARIANTS["authors"], normalised())
    affine_of = [p for one in model.layers().values() for p in (one.weight, one.bias)]
    *_, last = autodial.groups(model)
    assert [id(p) for p in last.parameters] == [id(p) for p in affine_of]
    assert (last.rate, last.decay) == (0.1, False)
    grouped = [id(p) for group in autodial.groups(model) for p in group.parameters]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())


def test_before_any_step_nothing_is_normalised() -> None:
    ours = DomainAlignment(4, Config()).double().eval()
    x, _ = samples(5, 0, 4)
    torch.testing.assert_close(ours(x), x / (1 + ours.eps) ** 0.5, **EXACT)


def test_evaluation_changes_nothing() -> None:
    run = start(autodial.METHOD, Config(), normalised).train(batches(5))
    before = copy.deepcopy(run.model.state_dict())
    run.logits(domain(50, 1)[0])
    assert all(torch.equal(before[key], value) for key, value in run.model.state_dict().items())


# Places


def test_in_a_pretrained_trunk_every_batchnorm_is_replaced() -> None:
    network = fine_tuned()
    parameters = {key: id(p) for key, p in network.named_parameters()}
    model = autodial.build(Config(), network)
    assert list(model.layers()) == ["trunk.1", "fc7"]
    assert not any(isinstance(module, _BatchNorm) for module in model.modules())
    assert network.dropout.p == 0.5
    kept = {key: id(p) for key, p in network.named_parameters() if not key.endswith("alpha")}
    assert kept == parameters  # scale and shift are the replaced layers' own


@pytest.mark.parametrize("variant", ["default", "source"])
def test_a_network_from_scratch_has_a_further_layer_after_its_logits(variant: str) -> None:
    """As the released AlexNet definition; the baseline has BatchNorm at the same places."""
    network = normalised()
    parameters = {key: id(p) for key, p in network.named_parameters()}
    model = autodial.build(autodial.VARIANTS[variant], network)
    kind = DomainAlignment if variant == "default" else nn.BatchNorm1d
    found = {name: module for name, module in network.named_modules() if isinstance(module, kind)}
    assert list(found) == ["trunk.1", "bottleneck.1", "classifier.1"]
    assert network.dropout.p == 0
    kept = {id(p) for _, p in network.named_parameters()}
    assert kept >= set(parameters.values()), "layers that stand in for BatchNorm keep its scale and shift"
    (batch,) = batches(1)
    fc8 = model.passes(batch.source_x, batch.target_x).source["fc8"]
    torch.testing.assert_close(fc8.mean(0), torch.zeros(CLASSES), rtol=0, atol=1e-5)


def test_without_the_last_layer_it_is_the_network_with_its_own_layers_replaced() -> None:
    network = normalised()
    model = autodial.build(autodial.VARIANTS["no-last-layer"], network)
    assert list(model.layers()) == ["trunk.1", "fc7"]
    assert network.dropout.p == 0.5


@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_a_network_from_scratch_against_a_slow_one(alpha: float) -> None:
    """Logits of both domains, the objective and its gradients, layer by layer in float64."""
    torch.manual_seed(1)
    model = autodial.build(Config(alpha=alpha, learned=False, entropy=0.3), normalised()).double()
    for number, one in enumerate(model.layers().values()):  # scales and shifts that are not 1 and 0
        with torch.no_grad():
            one.weight.copy_(torch.linspace(0.5, 1.5, len(one.weight)) + number)
            one.bias.copy_(torch.linspace(-1, 1, len(one.bias)))
    (batch,) = in_float64(batches(1))
    batch = batch._replace(target_x=batch.target_x[:9])
    free = torch.tensor(alpha, dtype=torch.float64)
    network, layers = model.network, model.layers()

    def slow() -> Tensor:
        source, target = batch.source_x, batch.target_x
        for linear, name in (
            (network.trunk[0], "trunk.1"),
            (network.bottleneck[0], "fc7"),
            (network.classifier[0], "fc8"),
        ):
            one = layers[name]
            source, target = (affine(one, z) for z in reference.aligned(linear(source), linear(target), free, one.eps))
            if name != "fc8":
                source, target = source.relu(), target.relu()
        p = source.softmax(1)[torch.arange(len(source)), batch.source_y]
        total: Tensor = -p.log().mean() + 0.3 * reference.entropy(target)
        return total

    values = [contract.total(autodial.step(model, batch)), slow()]
    parameters = list(model.parameters())
    assert len(parameters) == 12, "three linear layers and three scales and shifts"
    torch.testing.assert_close(*values, **EXACT)
    for ours, theirs in zip(*(torch.autograd.grad(value, parameters) for value in values), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("make", [perceptron, lambda: head_batchnorm()], ids=["plain head", "normalised bottleneck"])
def test_without_it_a_layer_follows_each_fully_connected_one(make: object) -> None:
    assert callable(make)
    network = make()
    model = autodial.build(Config(), network)
    assert [type(module).__name__ for module in network.bottleneck] == ["Linear", "DomainAlignment", "ReLU"]
    assert list(model.layers()) == ["fc7", "fc8"]
    assert network.dropout.p == 0
    (batch,) = batches(1)
    fc8 = model.passes(batch.source_x, batch.target_x).source["fc8"]
    torch.testing.assert_close(fc8.mean(0), torch.zeros(CLASSES), rtol=0, atol=1e-5)  # the logits are normalised


def head_batchnorm() -> Network:
    """As on the frozen track with BatchNorm: activations come in, the bottleneck has BatchNorm."""
    return Network(
        nn.Identity(),
        FEATURES,
        bottleneck_size=12,
        classes=CLASSES,
        trunk_rate=0.0,
        batchnorm="source",
        bottleneck_batchnorm=True,
    )


def test_a_layer_that_normalises_and_activates_still_activates() -> None:
    class Fused(nn.BatchNorm1d):
        def __init__(self) -> None:
            super().__init__(16, eps=1e-3)
            self.act = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.act(super().forward(x))
            return out

    trunk = nn.Sequential(nn.Linear(FEATURES, 16), Fused())
    network = Network(trunk, 16, bottleneck_size=12, classes=CLASSES, batchnorm="source", trunk_rate=0.1)
    model = autodial.build(Config(), network)
    (batch,) = batches(1)
    fc6 = model.passes(batch.source_x, batch.target_x).source["fc6"]
    ((name, only),) = model.layers().items()
    assert name == "trunk.1"
    assert only.eps == 1e-3
    assert fc6.min() == 0
    assert fc6.max() > 0


def test_lite0s_last_blocks_are_replaced_in_full() -> None:
    choice = backbones.choose("lite0", "late", "source")
    before, after = (backbones.build(choice, width=1, classes=5) for _ in range(2))
    norms = [module for module in before.modules() if isinstance(module, _BatchNorm)]
    model = autodial.build(Config(), after)
    assert len(model.layers()) == len(norms) > 2
    assert not any(isinstance(module, _BatchNorm) for module in model.modules())
    kinds = [[type(m).__name__ for m in network.modules()].count("ReLU6") for network in (before, after)]
    assert kinds[0] == kinds[1] > 1


@pytest.mark.parametrize("mode", ["separate", "joint", "kept"])
def test_it_refuses_networks_whose_baseline_is_another(mode: BatchNormMode) -> None:
    reason = autodial.applies(Config(), normalised(mode))
    assert reason is not None
    assert repr(mode) in reason
    assert autodial.applies(Config(), normalised("source")) is None
    assert autodial.applies(Config(), perceptron()) is None


# alpha


@pytest.mark.parametrize(("value", "expected"), [(0.2, 0.5), (1.3, 1.0), (0.7, 0.7)])
def test_alpha_is_projected_before_it_is_used(value: float, expected: float) -> None:
    ours, allowed = layer(4, 7), layer(4, 7)
    set_alpha(ours, value)
    set_alpha(allowed, expected)
    both = torch.cat(samples(7, 5, 4))
    torch.testing.assert_close(ours(both), allowed(both), **EXACT)
    assert float(ours.alpha.detach()) == pytest.approx(expected)


def test_alpha_stays_in_its_interval_where_the_rate_throws_it_out() -> None:
    run = start(autodial.METHOD, Config(), normalised, rate=0.5)
    seen = []
    for batch in batches(40):
        run.train(iter([batch]))
        seen += alphas(run)  # after the update, before the projection
        assert all(0.5 <= value <= 1 for value in autodial.diagnostics(run.model).values())
    assert min(seen) < 0.5 or max(seen) > 1
    run.model.train()
    run.model.passes(*batch[:1], batch.target_x)
    assert all(0.5 <= value <= 1 for value in alphas(run))


@pytest.mark.parametrize("network", [perceptron, normalised, head_batchnorm])
def test_alpha_learns_without_decay_and_everything_else_as_usual(network: object) -> None:
    assert callable(network)
    model = autodial.build(Config(), network())
    groups = autodial.groups(model)
    grouped = [id(p) for group in groups for p in group.parameters]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(p) for p in model.parameters()}
    *usual, last = groups
    assert last == ParameterGroup(
        tuple(one.alpha for one in model.layers().values()),  # type: ignore[misc]
        rate=model.network.trunk_rate or 0.1,
        decay=False,
    )
    ids = {id(p) for p in last.parameters}
    for group, plain in zip(usual, default_groups(model), strict=True):
        assert (group.rate, group.decay) == (plain.rate, plain.decay)
        assert [id(p) for p in group.parameters] == [id(p) for p in plain.parameters if id(p) not in ids]


@pytest.mark.parametrize(("variant", "value"), [("separate", 1.0), ("shared", 0.5), ("adabn-like", 1.0)])
def test_a_fixed_alpha_is_no_parameter(variant: str, value: float) -> None:
    run = start(autodial.METHOD, autodial.VARIANTS[variant], normalised).train(batches(10))
    assert not any(name.endswith("alpha") for name, _ in run.model.named_parameters())
    assert alphas(run) == [value, value, value]
    names = ("alpha.trunk.1", "alpha.fc7", "alpha.fc8", "alpha.mean")
    assert autodial.diagnostics(run.model) == dict.fromkeys(names, value)


def test_the_variants_without_alignment_count_nothing() -> None:
    assert autodial.diagnostics(autodial.build(autodial.VARIANTS["source"], normalised())) == {}


# The objective


def test_the_terms_are_cross_entropy_and_entropy() -> None:
    model = autodial.build(Config(), normalised(dropout=0.0))
    (batch,) = batches(1)
    losses = autodial.step(model, batch)
    passes = model.passes(batch.source_x, batch.target_x)
    assert passes.target is not None
    assert list(losses) == ["classification", "entropy"]
    assert losses["classification"].weight == 1
    assert losses["entropy"].weight == 0.1
    expected = reference.entropy(passes.target["fc8"].detach().double())
    assert losses["entropy"].value.item() == pytest.approx(expected.item(), rel=1e-5)
    p = passes.source["fc8"].softmax(1)[torch.arange(len(batch.source_y)), batch.source_y]
    assert losses["classification"].value.item() == pytest.approx(-p.log().mean().item(), rel=1e-5)
    assert list(autodial.step(autodial.build(Config(entropy=0.0), normalised()), batch)) == ["classification"]


def test_entropy_in_value_and_gradient() -> None:
    logits, _ = samples(5, 0, 4)
    a, b = ((3 * logits).clone().requires_grad_() for _ in range(2))
    ours, slow = autodial.entropy(a), reference.entropy(b)
    torch.testing.assert_close(ours, slow, **EXACT)
    torch.testing.assert_close(*(torch.autograd.grad(value, x)[0] for value, x in ((ours, a), (slow, b))), **EXACT)
    extreme = torch.tensor([[1000.0, 0.0, -1000.0]], requires_grad=True)
    value = autodial.entropy(extreme)
    (gradient,) = torch.autograd.grad(value, extreme)
    assert value == 0
    assert gradient.isfinite().all()
    assert autodial.entropy(torch.zeros(3, 8)).item() == pytest.approx(np.log(8))


def test_granted_images_are_target_images_to_the_statistics_and_not_to_the_entropy() -> None:
    (batch,) = batches(1, labelled_target=9)
    assert batch.labelled_target_x is not None
    model = autodial.build(Config(), normalised(dropout=0.0))
    other = copy.deepcopy(model)
    model.passes(batch.source_x, batch.target_x, batch.labelled_target_x)
    other.passes(batch.source_x, torch.cat([batch.labelled_target_x, batch.target_x]))
    for one, two in zip(model.layers().values(), other.layers().values(), strict=True):
        torch.testing.assert_close(one.mean, two.mean)
        torch.testing.assert_close(one.var, two.var)
    value = autodial.step(model, batch)["entropy"].value
    passes = model.passes(batch.source_x, batch.target_x, batch.labelled_target_x)
    assert passes.target is not None
    assert len(passes.target["fc8"]) == len(batch.target_x)
    assert value.item() == pytest.approx(autodial.entropy(passes.target["fc8"]).item())


# What it does to a network


@pytest.mark.parametrize("variant", ["source", "entropy-only"])
def test_the_baseline_of_replaced_layers_is_source_only_to_the_bit(variant: str) -> None:
    config = dataclasses.replace(autodial.VARIANTS[variant], entropy=0.0)
    off = start(autodial.METHOD, config, fine_tuned).train(batches(20))
    baseline = start(source_only.METHOD, source_only.Config(), fine_tuned).train(batches(20))
    assert [t["classification"] for t in off.history] == [t["classification"] for t in baseline.history]
    assert isinstance(off.model, AutoDIAL)
    for a, b in zip(off.model.network.state_dict().values(), baseline.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("network", [normalised, perceptron])
def test_alpha_1_without_entropy_trains_the_baseline(network: object) -> None:
    """Its source images know nothing of the target; only the statistics at test time differ."""

    def make() -> Network:
        assert callable(network)
        made: Network = network(dropout=0.0)
        return made.double()

    runs = []
    for variant in ("adabn-like", "source"):
        run = start(autodial.METHOD, autodial.VARIANTS[variant], make)
        run.model.double()
        runs.append(run.train(in_float64(batches(20))))
    one, two = (run.history for run in runs)
    assert [t["classification"] for t in one] == pytest.approx([t["classification"] for t in two], rel=1e-9)
    assert runs[0].history[-1]["classification"] < 0.5 * runs[0].history[0]["classification"]
    logits = [run.logits(domain(50, 7003, shift=SHIFT)[0].double()) for run in runs]
    assert (logits[0] - logits[1]).abs().max() > 0.1


def in_float64(data: object) -> object:
    for batch in data:  # type: ignore[attr-defined]
        yield Batch(batch.source_x.double(), batch.source_y, batch.target_x.double(), batch.progress)


@pytest.mark.parametrize("network", [normalised, perceptron])
def test_the_shifted_target_is_classified_better(network: object) -> None:
    errors = {
        variant: 1
        - np.mean(
            [
                accuracy(start(autodial.METHOD, autodial.VARIANTS[variant], network, seed=seed).train(batches(100)))
                for seed in range(3)
            ]
        )
        for variant in ("default", "source")
    }
    assert errors["source"] > 0.04
    assert errors["default"] < 0.5 * errors["source"]


@pytest.mark.parametrize("network", [normalised, perceptron])
def test_alpha_leaves_1_where_the_domains_are_alike(network: object) -> None:
    """Shared statistics are twice as many samples: where nothing is shifted, nothing speaks against them."""
    run = start(autodial.METHOD, Config(), network).train(batches(150, size=8, shift=0.0))
    assert np.mean(alphas(run)) < 0.95


def test_entropy_falls_with_its_term() -> None:
    def confidence(config: Config) -> float:
        run = start(autodial.METHOD, config, normalised).train(batches(60))
        return autodial.entropy(run.logits(domain(300, 7004, shift=SHIFT)[0])).item()

    assert confidence(Config(entropy=0.5)) < 0.8 * confidence(Config(entropy=0.0))


def test_an_interrupted_run_continues_with_the_same_bits() -> None:
    whole = start(autodial.METHOD, Config(), normalised).train(batches(10))
    first = start(autodial.METHOD, Config(), normalised).train(batches(6, of=10))
    second = start(autodial.METHOD, Config(), normalised)
    second.model.load_state_dict(copy.deepcopy(first.model.state_dict()))
    second.optimiser.load_state_dict(copy.deepcopy(first.optimiser.state_dict()))
    second.taken = first.taken
    second.train(batches(10, first=6))
    expected = whole.model.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in second.model.state_dict().items())
    assert first.history + second.history == whole.history


@pytest.mark.parametrize("variant", list(autodial.VARIANTS))
@pytest.mark.parametrize("sizes", [(32, 9), (7, 31)], ids=str)
def test_batches_of_unequal_sizes(variant: str, sizes: tuple[int, int]) -> None:
    n, m = sizes
    run = start(autodial.METHOD, autodial.VARIANTS[variant], normalised)
    (batch,) = batches(1)
    run.train(iter([Batch(batch.source_x[:n], batch.source_y[:n], batch.target_x[:m], 0.5)]))
    assert all(p.isfinite().all() for p in run.model.parameters())
