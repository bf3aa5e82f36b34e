"""DaNN: its MMD and auto-encoder against the formulas, its full-batch step, and what gamma and pre-training do."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.cell.training import load_parameters, run_cell
from benchmarks.records.store import Record
from methods import contract, dann2014, kernels, source_only
from methods.contract import Domains, Recipe
from methods.dann2014 import Config
from tests.benchmarks.cells import problem, spec
from tests.methods import reference
from tests.methods.training import SHIFT, Run, batches, domain, frozen_trunk, perceptron, start

TIGHT = {"rtol": 1e-9, "atol": 1e-12}


def samples(n: int, m: int, features: int = 7, seed: int = 0) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(n + m, features, generator=random, dtype=torch.float64)
    return x[:n], 2 * x[n:] + 1


def source_median(source: Tensor) -> float:
    """Of the pairs of two source samples alone."""
    return float(np.median(reference.all_distances(list(source))))


def built(config: Config, network: Any = frozen_trunk) -> dann2014.DaNN:
    torch.manual_seed(0)
    return dann2014.build(config, network())


def doubled(model: dann2014.DaNN) -> dann2014.DaNN:
    """In float64, without dropout."""
    model.network.dropout.p = 0.0
    return model.double()


# The MMD


@pytest.mark.parametrize("sizes", [(6, 5), (5, 6), (2, 9)], ids=str)
def test_the_mmd_equals_the_double_loop(sizes: tuple[int, int]) -> None:
    source, target = samples(*sizes)
    a, b = source.clone().requires_grad_(), target.clone().requires_grad_()
    slow = reference.mmd_biased(a, b, source_median(source), [1.0], [0.0])
    fast = dann2014.mmd(a, b)
    torch.testing.assert_close(fast, slow, **TIGHT)
    for mine, theirs in zip(torch.autograd.grad(fast, [a, b]), torch.autograd.grad(slow, [a, b]), strict=True):
        torch.testing.assert_close(mine, theirs, **TIGHT)


def test_the_bandwidth_is_the_sources_alone() -> None:
    """It would be another number over all pairs, and the gradient takes it for a constant."""
    source, target = samples(8, 6)
    everything = reference.bandwidth(source, target, "median")
    assert abs(source_median(source) / everything - 1) > 0.3
    wrong = reference.mmd_biased(source, target, everything, [1.0], [0.0])
    assert abs(dann2014.mmd(source, target).item() - wrong.item()) > 1e-3
    distances = kernels.pair_distances(torch.cat([source, target]))
    own = kernels.among_first(distances, 8, 6)
    np.testing.assert_allclose(sorted(own.tolist()), sorted(reference.all_distances(list(source))), rtol=1e-9)


def test_limits_of_the_mmd() -> None:
    source, target = samples(9, 9)
    assert dann2014.mmd(source, source.flip(0)).item() == pytest.approx(0, abs=1e-12)
    far = dann2014.mmd(source, target + 1e4)
    k = [
        [np.exp(-(x - y).square().sum().item() / source_median(source)) for x in d for y in d] for d in (source, target)
    ]
    assert far.item() == pytest.approx(np.mean(k[0]) + np.mean(k[1]), rel=1e-6), "nothing is left of the mixed term"
    collapsed = torch.zeros(4, 3, dtype=torch.float64, requires_grad=True)
    value = dann2014.mmd(collapsed, collapsed)
    (gradient,) = torch.autograd.grad(value, collapsed)
    assert value.item() == pytest.approx(0, abs=1e-12)
    assert gradient.abs().max() == 0


@pytest.mark.parametrize("network", [perceptron, frozen_trunk])
def test_the_terms_of_a_step_by_hand(network: Any) -> None:
    """Value, weight and gradient, on the pre-activations: not on what the ReLU leaves of them."""
    model = doubled(built(Config(weight=3.0), network))
    (batch,) = batches(1)
    batch = batch._replace(
        source_x=batch.source_x[:8].double(), source_y=batch.source_y[:8], target_x=batch.target_x[:7].double()
    )
    losses = dann2014.step(model, batch)
    linear = model.network.bottleneck[0]
    q_s, q_t = (model.network.trunk(x) @ linear.weight.T + linear.bias for x in (batch.source_x, batch.target_x))
    assert (q_s < 0).any()
    slow = reference.mmd_biased(q_s, q_t, source_median(q_s), [1.0], [0.0])
    h = q_s.clamp(min=0)
    log_p = (h @ model.network.classifier.weight.T + model.network.classifier.bias).log_softmax(1)
    entropy = -log_p[torch.arange(8), batch.source_y].mean()
    assert {name: term.weight for name, term in losses.items()} == {"classification": 1.0, "mmd": 3.0}
    torch.testing.assert_close(losses["mmd"].value, slow, **TIGHT)
    torch.testing.assert_close(losses["classification"].value, entropy, **TIGHT)
    weights = [linear.weight, linear.bias, model.network.classifier.weight]
    mine = torch.autograd.grad(contract.total(losses), weights)
    theirs = torch.autograd.grad(entropy + 3 * slow, weights)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, **TIGHT)


# The full-batch step


def parts(n: int = 17, m: int = 12) -> tuple[Tensor, Tensor, Domains]:
    """All of both domains, and the same handed out in batches of 5."""
    (x, y), (target, _) = domain(n, 1), domain(m, 2, shift=SHIFT)
    x, target = x.double(), target.double()
    handed = Domains(
        source=lambda: zip(x.split(5), y.split(5), strict=True),
        target=lambda: iter(target.split(5)),
        labelled_target=lambda: iter(()),
    )
    return x, target, handed


def test_the_full_batch_term_is_the_formula_over_all_samples() -> None:
    model = doubled(built(dann2014.VARIANTS["full-batch"]))
    source, target, domains = parts()
    linear = model.network.bottleneck[0]
    q_s, q_t = (x @ linear.weight.T + linear.bias for x in (source, target))
    slow = reference.mmd_biased(q_s, q_t, source_median(q_s), [1.0], [0.0])
    losses = dann2014.epoch_step(model, domains, 0.5)
    assert {name: term.weight for name, term in losses.items()} == {"mmd": 1000.0}
    torch.testing.assert_close(losses["mmd"].value, slow, **TIGHT)
    (mine,), (theirs,) = (torch.autograd.grad(value, linear.weight) for value in (losses["mmd"].value, slow))
    torch.testing.assert_close(mine, theirs, **TIGHT)


def test_the_mmd_is_a_batchs_or_an_epochs_and_never_both() -> None:
    (batch,) = batches(1)
    *_, domains = parts()
    for variant, config in dann2014.VARIANTS.items():
        model = built(config)
        full = config.mmd == "full-batch"
        assert full == ("full-batch" in variant)
        assert ("mmd" in dann2014.step(model, batch)) == (not full)
        assert ("mmd" in dann2014.epoch_step(model.double(), domains, 0.5)) == full


def test_the_full_batch_step_moves_the_hidden_layer_alone_and_closes_in() -> None:
    run = start(dann2014.METHOD, Config(weight=10.0, mmd="full-batch"), frozen_trunk)
    *_, domains = parts(60, 50)
    run.model.double()
    before = {key: value.clone() for key, value in run.model.state_dict().items()}
    values = []
    for _ in range(20):
        losses = dann2014.epoch_step(run.model, domains, 0.5)
        values.append(losses["mmd"].value.item())
        run.optimiser.zero_grad()
        contract.total(losses).backward()
        run.optimiser.step()
    moved = {key for key, value in run.model.state_dict().items() if not torch.equal(value, before[key])}
    # The MMD does not change with the bias, which is the same for both domains: its gradient is rounding.
    assert "network.bottleneck.0.weight" in moved
    assert moved <= {"network.bottleneck.0.weight", "network.bottleneck.0.bias"}
    assert values[-1] < 0.3 * values[0]


# The auto-encoder


def test_the_reconstruction_error_is_the_formula() -> None:
    model = doubled(built(Config(pretraining=True)))
    assert model.reconstruction is not None
    with torch.no_grad():
        model.reconstruction.uniform_(-1, 1)
    x = domain(9, 1)[0].double()
    seen = x * (torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) > 0.3)
    linear = model.network.bottleneck[0]
    slow = torch.zeros((), dtype=torch.float64)
    for i in range(9):
        h = [max(torch.dot(w, seen[i]) + b, torch.tensor(0.0)) for w, b in zip(linear.weight, linear.bias, strict=True)]
        for j in range(x.shape[1]):
            rebuilt = sum(h[k] * linear.weight[k, j] for k in range(len(h))) + model.reconstruction[j]
            slow = slow + (rebuilt - x[i, j]) ** 2 / 2 / 9
    fast = dann2014.reconstruction_error(model, x, seen)
    torch.testing.assert_close(fast, slow, **TIGHT)
    wanted = [linear.weight, linear.bias, model.reconstruction]
    for mine, theirs in zip(torch.autograd.grad(fast, wanted), torch.autograd.grad(slow, wanted), strict=True):
        torch.testing.assert_close(mine, theirs, **TIGHT)


def test_corruption_sets_inputs_to_zero_and_leaves_the_others() -> None:
    x = torch.rand(400, 50) + 1
    torch.manual_seed(0)
    seen = dann2014.corrupted(x)
    hidden = seen == 0
    assert torch.equal(seen[~hidden], x[~hidden])
    assert hidden.double().mean().item() == pytest.approx(0.3, abs=0.01)
    assert (hidden.double().mean(0) - 0.3).abs().max() < 0.1, "every input alike"
    assert not torch.equal(seen, dann2014.corrupted(x)), "at every step anew"


def test_the_auto_encoder_sees_both_domains_and_no_label() -> None:
    model = built(Config(pretraining=True))
    (batch,) = batches(1)

    def error(**changes: Any) -> float:
        torch.manual_seed(0)
        return dann2014.reconstruction_step(model, batch._replace(**changes))["reconstruction"].value.item()

    assert error() == error(source_y=batch.source_y.flip(0))
    assert error() != error(source_x=2 * batch.source_x)
    assert error() != error(target_x=2 * batch.target_x)
    x = torch.cat([batch.source_x, batch.target_x])
    torch.manual_seed(0)
    seen = dann2014.corrupted(x)
    assert error() == dann2014.reconstruction_error(model, x, seen).item()


def pretrained(steps: int = 200) -> tuple[dann2014.DaNN, dict[str, Tensor], list[float]]:
    """A model after its auto-encoder's phase, its state before it, and the errors."""
    model = built(Config(pretraining=True))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    (phase,) = dann2014.phases(model.config, Recipe(steps=steps, epoch=steps, rate=0.1))
    assert phase.groups is not None
    parameters = [p for group in phase.groups(model) for p in group.parameters]
    run = Run(dann2014.METHOD, model, torch.optim.SGD(parameters, lr=phase.recipe.rate, momentum=phase.recipe.momentum))
    errors = []
    for batch in batches(steps):
        assert phase.step is not None
        errors.append(run.update(phase.step, batch)["reconstruction"])
        run.taken += 1
    return model, before, errors


def test_pretraining_learns_to_reconstruct_and_changes_only_the_hidden_layer() -> None:
    model, before, errors = pretrained()
    assert np.mean(errors[-20:]) < 0.7 * np.mean(errors[:20])
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {"network.bottleneck.0.weight", "network.bottleneck.0.bias", "reconstruction"}


def test_the_decoder_is_no_more_trained_afterwards() -> None:
    run = start(dann2014.METHOD, Config(pretraining=True), frozen_trunk)
    c = run.model.reconstruction.clone()
    assert c.abs().max() > 0
    run.train(batches(5))
    assert torch.equal(run.model.reconstruction, c)


def test_pretraining_has_the_steps_and_batches_of_the_recipe() -> None:
    recipe = Recipe(steps=77, epoch=7, rate=0.1, batch=32)
    (phase,) = dann2014.phases(Config(pretraining=True), recipe)
    assert (phase.recipe.steps, phase.recipe.batch, phase.recipe.weight_decay) == (77, 32, 0)
    assert dann2014.phases(Config(), recipe) == ()


def test_where_it_is_not_run() -> None:
    for variant, config in dann2014.VARIANTS.items():
        assert dann2014.applies(config, frozen_trunk()) is None
        assert (dann2014.applies(config, perceptron()) is None) == (variant == "default")


# Gamma


def trained(config: Config, steps: int = 100, seed: int = 0) -> Run:
    return start(dann2014.METHOD, config, frozen_trunk, seed=seed).train(batches(steps))


def discrepancy(run: Run) -> float:
    """The MMD of fresh samples."""
    x = domain(200, 7001)[0], domain(200, 7002, shift=SHIFT)[0]
    with torch.no_grad():
        return dann2014.mmd(*(dann2014.hidden(run.model.network)(part) for part in x)).item()


def accuracy(run: Run) -> float:
    x, y = domain(500, 7003, shift=SHIFT)
    return (run.logits(x).argmax(1) == y).double().mean().item()


def test_the_domains_come_closer_and_the_target_is_classified_better() -> None:
    on, off = ([trained(Config(weight=gamma), seed=seed) for seed in range(3)] for gamma in (10.0, 0.0))
    assert np.mean([discrepancy(run) for run in on]) < 0.5 * np.mean([discrepancy(run) for run in off])
    assert np.mean([accuracy(run) for run in on]) > np.mean([accuracy(run) for run in off]) + 0.02


FIFTY = Recipe(steps=50, epoch=10, rate=0.05, batch=16, momentum=0.05, weight_decay=0.003, annealing=0.0)


def cell(
    method: str, config: Any, path: Path, backbone: str = "mlp-pixels", recipe: Recipe = FIFTY
) -> tuple[Record, Any]:
    """A cell's record and the parameters of its trained model."""
    one = spec(method, recipe, backbone=backbone, config=contract.config_values(config))
    keep = path / f"{len(list(path.iterdir()))}.pt"
    record = run_cell(one, problem(), commit="test", keep=keep)
    return record, load_parameters(keep)


def network_of(parameters: Any) -> dict[str, Tensor]:
    return {key.removeprefix("network."): value for key, value in parameters.items() if key != "reconstruction"}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("mmd", ["mini-batch", "full-batch"])
def test_without_gamma_it_is_its_baseline_to_the_bit(mmd: Any, tmp_path: Path) -> None:
    """After 50 steps of the runner itself: batches of both domains, dropout, evaluations between them."""
    config = Config(weight=0.0, mmd=mmd)
    (record, off), (baseline, nn_) = (
        cell("dann2014", config, tmp_path),
        cell("source_only", source_only.Config(), tmp_path),
    )
    assert equal(network_of(off), dict(nn_))
    assert [e["test_accuracy"] for e in record.history] == [e["test_accuracy"] for e in baseline.history]
    assert record.value("mmd") == baseline.value("mmd")
    _, on = cell("dann2014", dataclasses.replace(config, weight=10.0), tmp_path)
    assert not equal(network_of(on), dict(nn_))


def test_pretrained_rows_share_their_pretraining(tmp_path: Path) -> None:
    """DAE+NN and DAE+DaNN start from the same weights, which the initial ones of the other rows are not."""
    one = dataclasses.replace(FIFTY, steps=1, epoch=1, rate=1e-12, weight_decay=0.0)
    states = [
        network_of(cell("dann2014", config, tmp_path, recipe=one)[1])
        for config in (Config(pretraining=True), dann2014.VARIANTS["dae-nn"], Config())
    ]
    a, b, plain = (state["bottleneck.0.weight"] for state in states)
    torch.testing.assert_close(a, b, rtol=0, atol=1e-8)
    assert (a - plain).abs().max() > 1e-5
    torch.testing.assert_close(states[0]["classifier.weight"], states[2]["classifier.weight"], rtol=0, atol=1e-8)


def test_a_full_batch_cell_records_the_mmd_of_all_samples(tmp_path: Path) -> None:
    record, _ = cell("dann2014", Config(weight=10.0, mmd="full-batch"), tmp_path)
    assert len(record.history) == 5
    values = [epoch["mmd"] for epoch in record.history]
    assert all(value > 0 for value in values)
    assert values[-1] < values[0]


def test_mixed_precision_leaves_the_discrepancy_in_full() -> None:
    model = built(Config())
    (batch,) = batches(1)
    with torch.autocast("cpu", torch.bfloat16):
        found = dann2014.step(model, batch)["mmd"].value
        q = [dann2014.hidden(model.network)(x) for x in (batch.source_x, batch.target_x)]
    assert q[0].dtype == torch.bfloat16
    assert found.dtype == torch.float32
    assert found.item() == dann2014.mmd(*(x.float() for x in q)).item()


def test_the_hidden_layer_is_linear_before_any_batchnorm() -> None:
    assert isinstance(dann2014.hidden(perceptron()), nn.Linear)
