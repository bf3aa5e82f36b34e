"""The learning rate over a training, beside PyTorch's own schedulers."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, MultiStepLR, SequentialLR

from benchmarks.records.store import recipe_values
from methods.contract import Recipe

STEPS, WARM = 40, 6


def optimiser() -> torch.optim.SGD:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))], lr=0.3)


def rates(found: torch.optim.SGD, scheduler: torch.optim.lr_scheduler.LRScheduler) -> list[float]:
    seen = []
    for _ in range(STEPS):
        seen.append(found.param_groups[0]["lr"] / 0.3)
        found.step()
        scheduler.step()
    return seen


def ours(**fields: object) -> list[float]:
    recipe = Recipe(steps=STEPS, epoch=10, rate=0.3, annealing=0.0, **fields)  # type: ignore[arg-type]
    return [recipe.rate_at(step / STEPS) for step in range(STEPS)]


def test_warm_up_and_cosine_are_pytorchs() -> None:
    sgd = optimiser()
    rising = LinearLR(sgd, start_factor=1 / WARM, total_iters=WARM - 1)
    falling = CosineAnnealingLR(sgd, T_max=STEPS - WARM)
    wanted = rates(sgd, SequentialLR(sgd, [rising, falling], milestones=[WARM]))
    assert ours(warmup=WARM / STEPS, cosine=True) == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def test_a_warm_up_alone_and_a_cosine_alone() -> None:
    sgd = optimiser()
    assert ours(warmup=WARM / STEPS) == pytest.approx(rates(sgd, LinearLR(sgd, 1 / WARM, 1.0, WARM - 1)), rel=1e-9)
    sgd = optimiser()
    assert ours(cosine=True) == pytest.approx(rates(sgd, CosineAnnealingLR(sgd, STEPS)), rel=1e-9)


def test_milestones_are_pytorchs() -> None:
    sgd = optimiser()
    wanted = rates(sgd, MultiStepLR(sgd, [10, 30]))
    assert ours(milestones=(0.25, 0.75)) == pytest.approx(wanted, rel=1e-9)


def test_annealing_is_the_papers_formula() -> None:
    recipe = Recipe(steps=STEPS, epoch=10, rate=1.0, annealing=10.0, power=0.75)
    assert [recipe.rate_at(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([1.0, 6**-0.75, 11**-0.75])


def test_a_longer_training_has_the_same_course_and_as_many_evaluations() -> None:
    recipe = Recipe(steps=STEPS, epoch=10, rate=0.3, annealing=0.0, warmup=0.25, cosine=True)
    twice = recipe.longer(2)
    assert (twice.steps, twice.epoch, twice.rate) == (2 * STEPS, 20, 0.3)
    late = [p / 20 for p in range(5, 20)]
    assert [twice.rate_at(p) for p in late] == [recipe.rate_at(p) for p in late]
    assert recipe.longer(1) == recipe


def test_what_came_later_is_in_a_cells_identity_only_where_it_is_used() -> None:
    plain = recipe_values(Recipe(steps=1, epoch=1, rate=1.0))
    assert not plain.keys() & {"warmup", "cosine", "nesterov"}
    used = recipe_values(Recipe(steps=1, epoch=1, rate=1.0, warmup=0.1, cosine=True, nesterov=True))
    assert used == {**plain, "warmup": 0.1, "cosine": True, "nesterov": True}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("epoch", 0),
        ("rate", 0.0),
        ("rate", float("nan")),
        ("batch", -1),
        ("momentum", 1.0),
        ("warmup", 1.0),
        ("weight_decay", -1e-4),
        ("annealing", -1.0),
        ("power", -0.5),
        ("milestones", (0.5, 1.5)),
    ],
)
def test_a_recipe_refuses_what_no_training_can_have(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^{field} must be "):
        dataclasses.replace(Recipe(steps=STEPS, epoch=10, rate=0.3), **{field: value})  # type: ignore[arg-type]
