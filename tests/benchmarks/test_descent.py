"""The suite's own SGD gives the numbers of PyTorch's, to the last bit, and spares what that imports."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from benchmarks.cell.descent import Descent, Group
from benchmarks.machine import host

SHAPES = ((33, 40), (33,), (7, 3, 5, 5), (7,), (3,))
RATES, DECAYS = (0.03, 0.003), (5e-4, 0.0)


def parameters() -> list[nn.Parameter]:
    random = torch.Generator().manual_seed(1)
    return [nn.Parameter(torch.randn(shape, generator=random)) for shape in SHAPES]


def give_gradients(to: list[nn.Parameter], step: int) -> None:
    """The last parameter has one at every second step, and not at the first."""
    random = torch.Generator().manual_seed(100 + step)
    for number, parameter in enumerate(to):
        gradient = torch.randn(parameter.shape, generator=random)
        parameter.grad = None if number == len(to) - 1 and step % 2 == 0 else gradient


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("nesterov", [False, True])
def test_the_same_bits_as_torch(momentum: float, nesterov: bool) -> None:
    nesterov = nesterov and momentum > 0
    mine, theirs = parameters(), parameters()
    descent = Descent([Group(mine[:2], RATES[0], DECAYS[0]), Group(mine[2:], RATES[1], DECAYS[1])], momentum, nesterov)
    groups = [
        {"params": part, "lr": rate, "weight_decay": decay}
        for part, rate, decay in zip((theirs[:2], theirs[2:]), RATES, DECAYS, strict=True)
    ]
    sgd = torch.optim.SGD(groups, lr=1.0, momentum=momentum, nesterov=nesterov)
    for step in range(9):
        anneal = (1 + 20 * step / 9) ** -0.75
        for group, rate in zip(sgd.param_groups, RATES, strict=True):
            group["lr"] = rate * anneal
        for part in (mine, theirs):
            give_gradients(part, step)
        descent.step(anneal)
        sgd.step()
        for one, other in zip(mine, theirs, strict=True):
            assert torch.equal(one, other)
    descent.zero_grad()
    assert all(parameter.grad is None for parameter in mine)


def test_a_checkpoint_holds_all_that_moves() -> None:
    """Also one that PyTorch's SGD wrote."""
    first, second, theirs = parameters(), parameters(), parameters()
    one, other = (Descent([Group(part, 0.1, 1e-3)], 0.9) for part in (first, second))
    sgd = torch.optim.SGD(theirs, lr=0.1, momentum=0.9, weight_decay=1e-3)
    for part, step in ((first, one.step), (theirs, lambda _anneal: sgd.step())):
        give_gradients(part, 0)
        step(1.0)
    for state in (one.state_dict(), sgd.state_dict()):
        other.load_state_dict(state)
        for target, source in zip(second, first, strict=True):
            assert (target in other.moving) == (source in one.moving)
            if source in one.moving:
                assert torch.equal(other.moving[target], one.moving[source])


def test_neither_training_nor_planning_imports_what_takes_seconds() -> None:
    """The compiler that ``torch.optim`` and ``torch.use_deterministic_algorithms`` import, and timm."""
    code = (
        "import sys; from benchmarks.cli import speed; from benchmarks.cell import training; "
        "from benchmarks.networks import backbones; "
        "training.run_cell(*speed.cached(2, 20), commit=''); backbones.look(backbones.choose('lite0', 'late')); "
        "print(sorted({'torch._dynamo', 'timm', 'sympy'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=host.ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
