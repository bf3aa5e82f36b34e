"""SDT: its losses and soft labels against the formulas, its two ways to update, and what the terms do."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from methods import contract, sdt, source_only
from methods.contract import Batch, Losses, default_groups
from methods.sdt import SDT, Config
from tests.methods.training import CLASSES, SHIFT, Run, batches, domain, domains, perceptron, start

EXACT = {"rtol": 1e-10, "atol": 1e-12}
FEW = 9
"""Granted images of a batch."""


def random_of(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def model_of(config: Config) -> SDT:
    """In float64, without dropout; its soft labels are those of a network with random weights."""
    torch.manual_seed(0)
    model = sdt.build(config, perceptron(dropout=0.0)).double()
    model.soft_labels.copy_(random_of(CLASSES, CLASSES, seed=7).softmax(1))
    return model


def a_batch(labelled_target: int = FEW) -> Batch:
    (batch,) = batches(1, labelled_target=labelled_target)
    return Batch(*(x.double() if isinstance(x, Tensor) and x.is_floating_point() else x for x in batch))


# The formulas, as loops over single samples


def softmax(z: Tensor) -> Tensor:
    e = torch.exp(z)
    return e / e.sum()


def slow_domain_loss(logits: Tensor, d: int) -> Tensor:
    """Mean of L_D over the images of domain d."""
    total = torch.zeros((), dtype=torch.float64)
    for z in logits:
        q = softmax(z)
        total = total - sum(float(k == d) * torch.log(q[k]) for k in range(2))
    return total / len(logits)


def slow_confusion_loss(logits: Tensor) -> Tensor:
    """Mean of L_conf over some images."""
    total = torch.zeros((), dtype=torch.float64)
    for z in logits:
        q = softmax(z)
        total = total - sum(torch.log(q[k]) / 2 for k in range(2))
    return total / len(logits)


def slow_soft_loss(logits: Tensor, labels: Tensor, soft_labels: Tensor, tau: float) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for z, y in zip(logits, labels, strict=True):
        p = softmax(z / tau)
        total = total - sum(soft_labels[y, i] * torch.log(p[i]) for i in range(len(p)))
    return total / len(logits)


def both_gradients(loss: Callable[..., Tensor], slow: Callable[..., Tensor], *inputs: Tensor) -> None:
    """Value and gradients of a loss are those of its formula."""
    results = []
    for of in (loss, slow):
        leaves = [x.clone().requires_grad_() for x in inputs]
        value = of(*leaves)
        results.append([value, *torch.autograd.grad(value, leaves)])
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, **EXACT)


SIZES = [(5, 5), (6, 3)]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_the_domain_loss_is_the_formula_and_each_domain_is_a_half(sizes: tuple[int, int]) -> None:
    n, m = sizes

    def slow(source: Tensor, target: Tensor) -> Tensor:
        return (slow_domain_loss(source, 0) + slow_domain_loss(target, 1)) / 2

    both_gradients(sdt.domain_loss, slow, random_of(n, 2), random_of(m, 2, seed=1))


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_the_confusion_loss_is_the_formula(sizes: tuple[int, int]) -> None:
    n, m = sizes

    def slow(source: Tensor, target: Tensor) -> Tensor:
        return (slow_confusion_loss(source) + slow_confusion_loss(target)) / 2

    both_gradients(sdt.confusion_loss, slow, random_of(n, 2), random_of(m, 2, seed=1))
    even = torch.zeros(4, 2)
    assert sdt.confusion_loss(even, even).item() == pytest.approx(math.log(2)), "its least value"


@pytest.mark.parametrize("tau", [1.0, 2.0, 5.0])
def test_the_soft_loss_is_the_formula(tau: float) -> None:
    soft_labels = random_of(4, 4, seed=2).softmax(1)
    labels = torch.tensor([3, 0, 0, 2, 1])
    both_gradients(
        lambda z: sdt.soft_loss(z, soft_labels[labels], tau),
        lambda z: slow_soft_loss(z, labels, soft_labels, tau),
        3 * random_of(5, 4),
    )


def test_a_prediction_that_is_the_soft_label_has_no_gradient() -> None:
    logits = 3 * random_of(5, 4)
    leaf = logits.clone().requires_grad_()
    value = sdt.soft_loss(leaf, (logits / 2).softmax(1), 2.0)
    (gradient,) = torch.autograd.grad(value, leaf)
    assert gradient.abs().max() < 1e-15
    assert sdt.soft_loss(leaf, (logits / 2).softmax(1), 1.0).requires_grad
    (other,) = torch.autograd.grad(sdt.soft_loss(leaf, (logits / 2).softmax(1), 1.0), leaf)
    assert other.abs().max() > 0.01, "both are softened by the same temperature"


# The soft labels


def test_soft_labels_are_the_class_means_of_the_softened_predictions() -> None:
    """In evaluation mode, over all source images, of every size of batch."""
    model = sdt.build(Config(temperature=3.0), perceptron(dropout=0.5))
    model.train()
    sdt.begin(model, domains())
    wanted = torch.zeros(CLASSES, CLASSES, dtype=torch.float64)
    counts = [0] * CLASSES
    model.network.eval()
    for x, y in domains().source():
        for image, label in zip(x, y.tolist(), strict=True):
            wanted[label] += softmax(model.network(image[None]).detach().double()[0] / 3.0)
            counts[label] += 1
    wanted /= torch.tensor(counts, dtype=torch.float64)[:, None]
    torch.testing.assert_close(model.soft_labels, wanted, rtol=1e-6, atol=1e-7)
    assert model.soft_labels.dtype == torch.float64
    torch.testing.assert_close(model.soft_labels.sum(1), torch.ones(CLASSES, dtype=torch.float64), **EXACT)


def test_class_means_in_double_precision_and_of_absent_classes() -> None:
    logits, labels = random_of(7, 4), torch.tensor([0, 2, 2, 0, 2, 2, 0])
    parts = list(zip(logits.split(3), labels.split(3), strict=True))
    found = sdt.class_means(iter(parts), 4)
    for k in range(4):
        own = [softmax(z) for z, y in zip(logits, labels, strict=True) if y == k]
        wanted = sum(own) / len(own) if own else torch.zeros(4, dtype=torch.float64)
        torch.testing.assert_close(found[k], wanted, **EXACT)


def test_soft_labels_are_the_needed_networks_and_stay() -> None:
    """They come from the network that training starts from, and do not change while it is trained."""
    torch.manual_seed(1)
    trained = start(source_only.METHOD, source_only.Config()).train(batches(30)).model
    model = sdt.build(Config(), perceptron())
    sdt.init_from(model, {"source": trained.state_dict()})
    sdt.begin(model, domains())
    wanted = sdt.class_means(((trained.eval()(x) / 2, y) for x, y in domains().source()), CLASSES)
    torch.testing.assert_close(model.soft_labels, wanted, rtol=1e-6, atol=1e-7)
    assert all(model.soft_labels[k].argmax() == k for k in range(CLASSES))
    run = Run(sdt.METHOD, model, torch.optim.SGD(model.parameters(), lr=0.05))
    before = model.soft_labels.clone()
    run.train(batches(5, labelled_target=FEW))
    assert torch.equal(model.soft_labels, before)
    assert sdt.matrices(model)["soft_labels"] is model.soft_labels
    none = sdt.build(Config(soft=0.0), perceptron())
    assert sdt.matrices(none) == {}
    with torch.no_grad():
        assert set(sdt.diagnostics(none, domains())) == {"domain_accuracy"}


# One step


def test_the_terms_of_a_step() -> None:
    config = Config(confusion=0.03, soft=0.4, temperature=3.0)
    model, batch = model_of(config), a_batch()
    losses = sdt.step(model, batch)
    assert {name: term.weight for name, term in losses.items()} == {
        "classification": 1.0,
        "confusion": 0.03,
        "soft_labels": 0.4,
    }
    assert batch.labelled_target_x is not None
    assert batch.labelled_target_y is not None
    assert model.domain is not None
    source, target, labelled_target = (
        model.network.layers(x) for x in (batch.source_x, batch.target_x, batch.labelled_target_x)
    )
    confused = (slow_confusion_loss(model.domain(source["fc7"])) + slow_confusion_loss(model.domain(target["fc7"]))) / 2
    torch.testing.assert_close(losses["confusion"].value, confused, **EXACT)
    soft = slow_soft_loss(labelled_target["fc8"], batch.labelled_target_y, model.soft_labels, 3.0)
    torch.testing.assert_close(losses["soft_labels"].value, soft, **EXACT)
    (term,) = sdt.second_step(model, batch).values()
    told = (slow_domain_loss(model.domain(source["fc7"]), 0) + slow_domain_loss(model.domain(target["fc7"]), 1)) / 2
    torch.testing.assert_close(term.value, told, **EXACT)
    assert term.weight == 1.0


def test_terms_without_weight_or_labels_are_left_out() -> None:
    with_labels, without = a_batch(), a_batch(0)
    assert set(sdt.step(model_of(Config(soft=0.0)), with_labels)) == {"classification", "confusion"}
    assert set(sdt.step(model_of(Config(confusion=0.0)), with_labels)) == {"classification", "soft_labels"}
    assert set(sdt.step(model_of(Config()), without)) == {"classification", "confusion"}
    model = model_of(Config(confusion=0.0))
    assert model.domain is None
    assert sdt.second_step(model, with_labels) == {}


def gradients(model: SDT, losses: Losses) -> dict[str, Tensor]:
    """Name -> gradient of the objective, of the parameters that it has one for."""
    model.zero_grad(set_to_none=True)
    contract.total(losses).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_in_turn_each_update_has_its_own_parameters() -> None:
    model, batch = model_of(Config()), a_batch()
    network = {name for name, _ in model.named_parameters() if name.startswith("network.")}
    assert set(gradients(model, sdt.step(model, batch))) == network
    assert set(gradients(model, sdt.second_step(model, batch))) == {"domain.weight", "domain.bias"}


def test_the_second_update_leaves_everything_else_and_uses_the_features_of_the_first() -> None:
    """Momentum and decay move nothing of the network; the features are those before the network's update."""
    run = start(sdt.METHOD, Config()).train(batches(3, labelled_target=FEW))
    model, batch = run.model, next(batches(1, labelled_target=FEW))
    assert isinstance(model, SDT)
    assert model.domain is not None
    features = []
    hook = model.network.bottleneck.register_forward_hook(lambda _m, _i, out: features.append(out.detach()))
    theta = copy.deepcopy(model.domain.state_dict())
    run.update(sdt.step, batch)
    hook.remove()
    assert all(torch.equal(value, theta[key]) for key, value in model.domain.state_dict().items())
    source, _, target = features
    before, state = copy.deepcopy(model.network.state_dict()), copy.deepcopy(run.optimiser.state_dict()["state"])
    with torch.no_grad():
        wanted = sdt.domain_loss(model.domain(source), model.domain(target)).item()
    assert run.update(sdt.second_step, batch)["domain"] == wanted
    assert all(torch.equal(value, before[key]) for key, value in model.network.state_dict().items())
    assert all(not torch.equal(value, theta[key]) for key, value in model.domain.state_dict().items())
    names = [name for name, _ in model.named_parameters()]
    groups = [id(p) for group in run.optimiser.param_groups for p in group["params"]]
    place = {name: groups.index(id(p)) for name, p in model.named_parameters()}
    for name in names:
        same = torch.equal(
            run.optimiser.state_dict()["state"][place[name]]["momentum_buffer"],
            state.get(place[name], {}).get("momentum_buffer", torch.zeros(())),
        )
        assert same == name.startswith("network."), name


def test_at_once_weights_and_features_get_what_the_authors_layer_gives_them() -> None:
    """Written out: dL_D/dz = (q - y) / N and dL_conf/dz = (q - 1/2) / N of each image of a domain of N, halved."""
    config = Config(confusion=0.3, soft=0.0, update="simultaneous")
    model, batch = model_of(config), a_batch(0)
    assert model.domain is not None
    features: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, out: Tensor) -> None:
        out.retain_grad()
        features.append(out)

    model.network.bottleneck.register_forward_hook(keep)
    losses = sdt.step(model, batch)
    assert set(losses) == {"classification", "confusion", "domain"}
    assert sdt.second_step(model, batch) == {}
    without = {name: term for name, term in losses.items() if name != "classification"}
    found = gradients(model, without)
    weight = torch.zeros_like(model.domain.weight)
    bias = torch.zeros_like(model.domain.bias)
    for d, f in enumerate(features):
        for image, gradient in zip(f, f.grad, strict=True):
            q = softmax(model.domain.weight @ image + model.domain.bias).detach()
            told = q - torch.eye(2, dtype=torch.float64)[d]
            confused = q - 0.5
            share = 0.5 / len(f)
            weight += share * torch.outer(told, image.detach())
            bias += share * told
            wanted = 0.3 * share * model.domain.weight.T @ (told + confused)
            torch.testing.assert_close(gradient, wanted.detach(), **EXACT)
            own = q[d].item()
            assert (told + confused)[d].item() == pytest.approx(2 * (own - 0.75)), "at rest where it is 3/4"
    torch.testing.assert_close(found["domain.weight"], weight.detach(), **EXACT)
    torch.testing.assert_close(found["domain.bias"], bias.detach(), **EXACT)


def test_a_scaled_gradient_leaves_the_values() -> None:
    x = random_of(5, 3).float().requires_grad_()
    y = sdt.scaled_gradient(x, 0.3)
    assert torch.equal(x, y)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient, torch.full_like(x, 0.3))


@pytest.mark.parametrize("variant", ["default", "simultaneous"])
def test_mixed_precision_leaves_the_losses_in_full(variant: str) -> None:
    model = sdt.build(sdt.VARIANTS[variant], perceptron(dropout=0.0))
    (batch,) = batches(1, labelled_target=FEW)
    with torch.autocast("cpu", torch.bfloat16):
        losses = {**sdt.step(model, batch), **sdt.second_step(model, batch)}
    assert {term.value.dtype for term in losses.values()} == {torch.float32}


def test_each_labelled_image_of_the_training_can_count_alike() -> None:
    """Over 100 source and 25 granted images, whatever their numbers in a batch."""
    x, y = domain(25, 5, shift=SHIFT)
    few = dataclasses.replace(domains(), labelled_target=lambda: iter([(x[:20], y[:20]), (x[20:], y[20:])]))
    counted = sdt.build(Config(each_image=True), perceptron(dropout=0.0))
    sdt.begin(counted, few)
    model, batch = model_of(Config(each_image=True)), a_batch()
    model.labelled_target_share.copy_(counted.labelled_target_share)
    assert batch.labelled_target_x is not None
    assert batch.labelled_target_y is not None
    wanted = torch.zeros((), dtype=torch.float64)
    for x, y, share in ((batch.source_x, batch.source_y, 0.8), (batch.labelled_target_x, batch.labelled_target_y, 0.2)):
        losses = [-torch.log(softmax(z)[k]) for z, k in zip(model.network(x), y, strict=True)]
        wanted = wanted + share * sum(losses) / len(losses)
    torch.testing.assert_close(sdt.step(model, batch)["classification"].value, wanted, rtol=1e-7, atol=1e-9)
    without = a_batch(0)
    usual = sdt.step(model_of(Config(each_image=False)), without)["classification"].value
    assert torch.equal(sdt.step(model, without)["classification"].value, usual)


@pytest.mark.parametrize("each_image", [True, False])
def test_without_hard_target_labels_these_speak_through_the_soft_ones_alone(each_image: bool) -> None:
    model, batch = model_of(Config(hard_target=False, each_image=each_image)), a_batch()
    model.labelled_target_share.fill_(0.3)
    assert batch.labelled_target_y is not None
    losses = sdt.step(model, batch)
    of_source = [-torch.log(softmax(z)[k]) for z, k in zip(model.network(batch.source_x), batch.source_y, strict=True)]
    wanted = sum(of_source, torch.zeros((), dtype=torch.float64)) / len(of_source)
    torch.testing.assert_close(losses["classification"].value, wanted, **EXACT)
    other = sdt.step(model, batch._replace(labelled_target_y=(batch.labelled_target_y + 1) % CLASSES))
    assert other["soft_labels"].value != losses["soft_labels"].value
    assert other["classification"].value == losses["classification"].value


@pytest.mark.parametrize("tau", [2.0, 5.0, 10.0])
def test_a_higher_temperature_makes_softer_labels(tau: float) -> None:
    harder, softer = (
        trained(Config(temperature=at), steps=1).model.soft_labels.diagonal().mean() for at in (tau / 2, tau)
    )
    assert 1 / CLASSES < softer < harder


# What the terms do


def trained(config: Config, seed: int = 0, steps: int = 150, labelled_target: int = FEW) -> Run:
    """From a network that has learned the source."""
    base = start(source_only.METHOD, source_only.Config(), seed=seed).train(batches(60))
    torch.manual_seed(seed)
    model = sdt.build(config, perceptron())
    sdt.init_from(model, {"source": base.model.state_dict()})
    sdt.begin(model, domains())
    parameters = [p for group in default_groups(model) for p in group.parameters]
    optimiser = torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=5e-4)
    return Run(sdt.METHOD, model, optimiser).train(batches(steps, labelled_target=labelled_target))


def features(run: Run, n: int = 1000) -> tuple[Tensor, Tensor]:
    """fc7 of fresh samples of both domains."""
    network = contract.network_of(run.model).eval()
    inputs = domain(n, 7000)[0], domain(n, 7001, shift=SHIFT)[0]
    with torch.no_grad():
        source, target = (network.layers(x)["fc7"] for x in inputs)
    return source, target


def separation(config: Config) -> tuple[float, float]:
    """Without target labels, means over two seeds: L_D of the last steps, and what a fresh machine tells apart."""
    runs = [trained(config, seed, steps=200, labelled_target=0) for seed in range(2)]
    losses = [np.mean([terms["domain"] for terms in run.history[-30:]]) for run in runs]
    return float(np.mean(losses)), float(np.mean([sdt.domain_accuracy(*features(run)) for run in runs]))


@functools.cache
def unconfused() -> tuple[float, float]:
    """theta_D learns, the features do not heed it."""
    return separation(Config(confusion=1e-9, soft=0.0))


def test_confusion_makes_the_domains_harder_to_tell() -> None:
    loss, accuracy = separation(Config(confusion=1.0, soft=0.0))
    without_loss, without_accuracy = unconfused()
    assert without_loss < 0.6
    assert loss == pytest.approx(math.log(2), abs=0.03), "no better than a guess"
    assert accuracy < without_accuracy - 5


def test_at_once_and_at_equal_weights_the_domains_stay_apart() -> None:
    """The gradients are at rest where the probability of an image's own domain is 3/4."""
    loss, accuracy = separation(Config(confusion=1.0, soft=0.0, update="simultaneous"))
    assert loss == pytest.approx(-math.log(0.75), abs=0.15)
    assert accuracy > unconfused()[1] + 10


def test_soft_labels_move_the_predictions_of_target_images() -> None:
    """A large weight brings the softened predictions of each class's target images to its soft label."""

    def distance(run: Run) -> float:
        model = run.model
        assert isinstance(model, SDT)
        x, y = domain(600, 7005, shift=SHIFT)
        p = (run.logits(x).double() / model.config.temperature).softmax(1)
        means = torch.stack([p[y == k].mean(0) for k in range(CLASSES)])
        return float((means - soft_labels).abs().sum(1).mean())

    on = trained(Config(confusion=0.0, soft=3.0))
    soft_labels = on.model.soft_labels
    off = trained(Config(confusion=0.0, soft=0.0))
    assert distance(on) < 0.7 * distance(off)


# Domains told apart by a support vector machine


def test_domain_accuracy_on_held_out_features() -> None:
    near, far = random_of(300, 20), random_of(400, 20, seed=1) + 3
    assert sdt.domain_accuracy(near, far) == 100.0
    same = sdt.domain_accuracy(near, random_of(400, 20, seed=2))
    assert abs(same - 50) < 8
    wide = sdt.domain_accuracy(random_of(60, 500), random_of(60, 500, seed=1))
    assert wide < 75, "500 features tell 60 training images apart, but not others"
    x = random_of(2500, 3)
    assert sdt.domain_accuracy(x, x) == pytest.approx(50, abs=5)
    assert sdt.domain_accuracy(near, far[:50]) == sdt.domain_accuracy(near, far[:50])


def test_diagnostics_are_of_all_images_of_the_training() -> None:
    run = trained(Config(), steps=5)
    model = run.model.eval()
    assert isinstance(model, SDT)
    everything = domains()
    with torch.no_grad():
        source = torch.cat([model.network.layers(x)["fc7"] for x, _ in everything.source()])
        target = torch.cat([model.network.layers(x)["fc7"] for x in everything.target()])
        found = sdt.diagnostics(model, everything)
    assert found["domain_accuracy"] == sdt.domain_accuracy(source, target)
    assert found["soft_own"] == pytest.approx(float(model.soft_labels.diagonal().mean()))


# The experiments


def test_protocols_and_rows_of_the_tables() -> None:
    experiments = {experiment.name: experiment for experiment in sdt.PAPER.experiments}
    assert experiments["table1"].protocol == experiments["digits"].protocol == "supervised"
    assert {experiments[name].protocol for name in ("table2", "table2-late", "tau")} == {"semi-supervised"}
    assert experiments["table2-random"].protocol == "semi-supervised-random"
    assert experiments["table2-random"].rows == experiments["table2"].rows
    for variant, config in sdt.BY_DOMAIN.items():
        whole = sdt.VARIANTS[variant.removesuffix("by-domain").removesuffix("-") or "default"]
        assert config == dataclasses.replace(whole, each_image=False) != whole
    for name, experiment in experiments.items():
        if experiment.protocol == "full":
            used = {sdt.VARIANTS[row.variant].labels for row in experiment.rows if row.method == "sdt"}
            assert used == {"both"}, f"{name} has no target labels"
