"""Steps that a GPU plays again: where they are, and that they are the steps."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from benchmarks.cell.replay import draws
from benchmarks.cell.training import Training
from benchmarks.cli import check_device, made_up
from methods import contract
from methods.contract import Recipe

RECIPE = Recipe(steps=6, epoch=2, rate=0.01, batch=8)


def begun(device: str, method: str = "yosinski") -> Training:
    return check_device.begun(made_up.spec(method, RECIPE, "lenet", "finetune", device=device))


def test_the_processor_plays_nothing_again() -> None:
    training = begun("cpu")
    assert training.method.steady
    assert training._replay(training.phases[-1]) is None


def test_a_network_that_draws_is_not_played_again() -> None:
    assert draws(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)))
    assert not draws(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.0)))


def test_a_steady_method_has_but_one_step_and_no_look_at_progress() -> None:
    for name in contract.names():
        method = contract.load(name)
        if method.steady:
            assert method.second_step is None
            assert method.phases is None
            training = begun("cpu", name)
            batches = [training_batch(training, progress) for progress in (0.0, 0.9)]
            first, last = (method.step(training.state.model, batch) for batch in batches if method.step)
            assert {name: (float(term.value.detach()), term.weight) for name, term in first.items()} == {
                name: (float(term.value.detach()), term.weight) for name, term in last.items()
            }


def training_batch(training: Training, progress: float) -> contract.Batch:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((4, 1, 28, 28), generator=generator)
    return contract.Batch(x, torch.tensor([0, 1, 2, 3]), x, progress)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_step_played_again_is_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {name: contract.load(name) for name in contract.names()}
    histories = []
    for steady in (True, False):
        method = dataclasses.replace(known["yosinski"], steady=steady)
        with monkeypatch.context() as patch:
            patch.setattr(contract, "_methods", lambda method=method: {**known, "yosinski": method})
            histories.append(check_device.losses(begun("cuda").spec))
    for played, taken in zip(*histories, strict=True):
        assert played["classification"] == pytest.approx(taken["classification"], rel=1e-3)
