"""One cell: reproducible, resumable, blind to target labels, honest about a loss that is no number."""

from __future__ import annotations

import dataclasses
import gc
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.cell import training
from benchmarks.cell.loading import shares
from benchmarks.cell.training import DivergedError, State, run_cell
from benchmarks.machine.errors import UserError
from benchmarks.records.store import UNSTABLE_FIELDS, Record, Spec, recipe_values
from methods import contract, source_only
from methods.contract import Batch, Losses, Recipe, Term
from tests.benchmarks.cells import TINY, problem, spec


def stable(record: Record) -> dict[str, Any]:
    """The fields in which two runs of a cell must agree."""
    return {k: v for k, v in dataclasses.asdict(record).items() if k not in UNSTABLE_FIELDS}


def run(of: Spec, **how: Any) -> Record:
    return run_cell(of, problem(), commit="test", **how)


TRAINED = [name for name in contract.names() if contract.load(name).step and not contract.load(name).needs]
"""Methods that train and start from no other cell's network; the others are in ``test_needs``."""


@pytest.mark.parametrize("method", TRAINED)
def test_a_cell_is_a_function_of_its_spec(method: str) -> None:
    brief = dataclasses.replace(TINY, steps=10)
    first, again = run(spec(method, brief)), run(spec(method, brief))
    assert stable(first) == stable(again)
    assert stable(run(spec(method, brief, seed=1)))["history"] != first.history


@pytest.mark.parametrize("method", TRAINED)
def test_an_interrupted_cell_goes_on_as_if_nothing_had_happened(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_AFTER", 0.0)
    path = tmp_path / "checkpoints" / "cell.pt"
    save, left = State.save, iter((False, True))

    def stop_after_two(state: State, *arguments: Any) -> None:
        save(state, *arguments)
        if next(left):
            raise KeyboardInterrupt

    monkeypatch.setattr(State, "save", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        run(spec(method), checkpoint=path)
    resumed: list[int] = []
    monkeypatch.setattr(State, "save", lambda state, *_: resumed.append(state.step))
    record = run(spec(method), checkpoint=path)
    assert resumed == [15], "of four epochs of five steps two were left, and after the last one nothing is saved"
    assert stable(record) == stable(run(spec(method)))


def test_initial_weights_and_what_a_step_draws_follow_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = contract.load("source_only")
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def spy(model: Any, batch: Batch) -> Losses:
        seen.append((model.classifier.weight.detach().clone(), torch.rand(9)))
        return real.step(model, batch)

    monkeypatch.setattr(contract, "load", lambda _name: dataclasses.replace(real, step=spy))
    for seed in (0, 1, 0):
        run(spec(seed=seed))
    first, other, again = (seen[number * TINY.steps] for number in range(3))
    for one, two, same in zip(first, other, again, strict=True):
        assert torch.equal(one, same)
        assert not torch.equal(one, two)


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cell.pt"
    training._save_atomically({"step": 1}, path)
    before = path.read_bytes()

    def full(_content: object, where: Path) -> None:
        where.write_bytes(b"half of it")
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match="the disk is full"):
        training._save_atomically({"step": 2}, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_short_cell_writes_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "cell.pt"
    run(spec(), checkpoint=path)
    assert not path.exists()


@pytest.mark.parametrize("content", [b"PK\x03\x04 not a checkpoint", b"garbage", b""])
def test_a_damaged_checkpoint_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cell.pt"
    path.write_bytes(content)
    with pytest.raises(UserError, match="is damaged; delete it"):
        run(spec(), checkpoint=path)


def test_training_learns_and_the_record_says_so() -> None:
    record = run(spec(recipe=dataclasses.replace(TINY, steps=60, epoch=20, rate=0.02)))
    assert [epoch["step"] for epoch in record.history] == [20, 40, 60]
    losses = [epoch["classification"] for epoch in record.history]
    assert losses[-1] < 0.5 * losses[0]
    assert record.value("accuracy") > 60
    assert record.value("accuracy") == record.history[-1]["test_accuracy"]
    assert record.n_test == 120


def test_dropout_batches_and_initialisation_do_not_depend_on_the_transfer_term() -> None:
    """A method whose transfer weight is zero gives its baseline's very numbers."""
    method = contract.load("dan")
    off = dataclasses.replace(method.variants["default"], weight=0.0)
    dan = run(spec("dan", config=contract.config_values(off)))
    source_only = run(spec())
    shared = ("step", "classification", "target_entropy", "test_accuracy")
    for with_term, without in zip(dan.history, source_only.history, strict=True):
        assert {k: with_term[k] for k in shared} == {k: without[k] for k in shared}
    assert dan.values == source_only.values


def test_a_loss_that_is_no_number_stops_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    real = contract.load("source_only")

    def poisoned(model: Any, batch: Batch) -> Losses:
        losses = dict(real.step(model, batch))
        if batch.progress >= 0.5:
            losses["transfer"] = Term(losses["classification"].value * float("nan"))
        return losses

    monkeypatch.setattr(contract, "load", lambda _name: dataclasses.replace(real, step=poisoned))
    both = (
        r"the losses 'classification' and 'transfer' of source_only on left:right \(seed 0\) became nan by step 15 "
        r"\(one may have made the others so\); a smaller rate or weight may help\."
    )
    with pytest.raises(DivergedError, match=both):
        run(spec())
    monkeypatch.setattr(contract, "load", lambda _name: dataclasses.replace(real, step=one_too_large))
    one = r"the loss 'transfer' of source_only on left:right \(seed 0\) became inf by step 5; a smaller rate"
    with pytest.raises(DivergedError, match=one):
        run(spec())


def one_too_large(model: Any, batch: Batch) -> Losses:
    """A value that is infinite at once, without a share in the gradient."""
    losses = source_only.step(model, batch)
    return {**losses, "transfer": Term(losses["classification"].value + float("inf"), weight=0.0)}


MUST = "step of methods/source_only.py must return {name: Term(scalar tensor, weight)}; "


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (lambda _value: None, f"{MUST}it returns None."),
        (lambda value: value, f"{MUST}it returns a tensor of shape ()."),
        (lambda value: {"own": value}, f"{MUST}'own' is a tensor of shape () and no Term."),
        (lambda value: {"own": (value, 1.0)}, f"{MUST}'own' is a value of type tuple and no Term."),
        (lambda value: {"own": Term(value.expand(500))}, f"{MUST}'own' is a tensor of shape (500,)."),
        (lambda value: {"own": Term(value.item())}, f"{MUST}'own' is a value of type float."),
        (
            lambda value: {"good": Term(value), "own": Term(value.detach())},
            "methods/source_only.py: the loss 'own' has no gradient; is it detached?",
        ),
    ],
)
@pytest.mark.parametrize("stream", ["step", "second_step", "epoch_step"])
def test_what_a_method_returns_is_looked_at_once(
    stream: str, given: Any, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = contract.load("source_only")

    def wrong(model: Any, *_rest: Any) -> Any:
        return given(model.classifier.weight.sum())

    monkeypatch.setattr(contract, "load", lambda _name: dataclasses.replace(real, **{stream: wrong}))
    with pytest.raises(UserError) as error:
        run(spec())
    assert str(error.value) == (says.replace("step", stream, 1) if says.startswith("step") else says)


def reachable(*roots: Any) -> Iterator[Any]:
    """Every object that can be reached from some, without passing through modules, classes or functions."""
    seen: set[int] = set()
    stack = list(roots)
    while stack:
        item = stack.pop()
        if id(item) in seen or isinstance(item, types.ModuleType | type | types.FunctionType | types.FrameType):
            continue
        seen.add(id(item))
        yield item
        if isinstance(item, torch.Tensor):
            stack.append(item.untyped_storage())
        if isinstance(item, np.ndarray) and item.base is not None:
            stack.append(item.base)
        stack.extend(gc.get_referents(item))


def holds(item: Any, labels: np.ndarray[Any, Any]) -> bool:
    """Whether an array or tensor contains these labels, in this order, anywhere."""
    if isinstance(item, torch.Tensor):
        item = item.detach().cpu().numpy()
    if not isinstance(item, np.ndarray) or item.dtype == object or item.size < len(labels):
        return False
    windows = np.lib.stride_tricks.sliding_window_view(item.ravel(), len(labels))
    return bool((windows[:, :8] == labels[:8]).all(1).any() and (windows == labels).all(1).any())


def test_a_method_cannot_reach_target_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    real, data = contract.load("source_only"), problem()
    seen: list[bool] = []

    def spy(model: Any, batch: Batch) -> Losses:
        seen.append(any(holds(item, data.test.labels) for item in reachable(model, batch)))
        return real.step(model, batch)

    monkeypatch.setattr(contract, "load", lambda _name: dataclasses.replace(real, step=spy))
    run_cell(spec(), data, commit="test")
    assert len(seen) == TINY.steps
    assert not any(seen)
    assert any(holds(item, data.test.labels) for item in reachable(data.test)), "the search itself works"


@pytest.mark.parametrize("tested_apart", [False, True])
def test_shuffled_target_labels_change_the_score_and_nothing_else(tested_apart: bool) -> None:
    """Whether the target's training images are tested or others."""
    data = dataclasses.replace(problem(), tested=None) if tested_apart else problem()
    others = (data.test.labels + 1) % data.classes
    shuffled = dataclasses.replace(data, test=dataclasses.replace(data.test, labels=others))
    method = "dan"
    first = run_cell(spec(method), data, commit="test")
    second = run_cell(spec(method), shuffled, commit="test")
    for a, b in zip(first.history, second.history, strict=True):
        assert {k: v for k, v in a.items() if k != "test_accuracy"} == {
            k: v for k, v in b.items() if k != "test_accuracy"
        }
        assert a["test_accuracy"] != b["test_accuracy"]
    assert first.value("mmd") == second.value("mmd")


def test_a_step_without_losses_is_no_update() -> None:
    """Neither weight decay nor the momentum of earlier steps moves anything."""
    none = dataclasses.replace(contract.load("source_only"), epoch_step=lambda *_: {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contract, "load", lambda _name: none)
        with_it = run(spec())
    assert stable(with_it) == stable(run(spec()))


@pytest.mark.parametrize("mode", ["source", "separate", "joint", "kept"])
def test_batchnorm_mode_is_the_same_for_a_method_and_its_baseline(mode: str) -> None:
    """With the transfer weight at zero the two agree in every mode, running statistics included."""
    method = contract.load("dan")
    off = contract.config_values(dataclasses.replace(method.variants["default"], weight=0.0))
    dan = run(spec("dan", config=off, backbone="lenet-bn", batchnorm=mode))
    source_only = run(spec(backbone="lenet-bn", batchnorm=mode))
    assert [e["test_accuracy"] for e in dan.history] == [e["test_accuracy"] for e in source_only.history]
    assert [e["target_entropy"] for e in dan.history] == [e["target_entropy"] for e in source_only.history]


@pytest.mark.parametrize(
    ("sizes", "images"),
    [((958, 1123), (117, 139)), ((500, 500), (128, 128)), ((10_000, 1), (254, 2)), ((1, 10_000), (2, 254))],
)
def test_a_batch_by_size_is_shared_out_like_the_domains(sizes: tuple[int, int], images: tuple[int, int]) -> None:
    """117 and 139 are AutoDIAL's, for the 958 and 1123 images of Amazon and Caltech's ten classes."""
    recipe = Recipe(steps=1, epoch=1, rate=0.1, batch=128)
    assert shares(dataclasses.replace(recipe, by_size=True), *sizes) == images
    assert shares(recipe, *sizes) == tuple(min(128, max(size, 2)) for size in sizes), "no image twice"


def test_training_sees_batches_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()
    method = contract.load("source_only")
    assert method.step is not None

    def step(model: Any, batch: Batch) -> Losses:
        seen.add((len(batch.source_x), len(batch.source_y), len(batch.target_x)))
        losses: Losses = method.step(model, batch)  # type: ignore[misc]
        return losses

    monkeypatch.setattr(contract, "load", lambda name: dataclasses.replace(method, step=step))
    whole = problem()
    part = dataclasses.replace(whole.source, images=whole.source.images[:40], labels=whole.source.labels[:40])
    recipe = dataclasses.replace(TINY, by_size=True)
    run_cell(spec(recipe=recipe), dataclasses.replace(whole, source=part), commit="test")
    assert seen == {(8, 8, 24)}  # of 2 * 16 images, as 40 to 120


def test_equal_batches_leave_a_cell_its_identity() -> None:
    """The field came after the first results."""
    assert "by_size" not in recipe_values(TINY)
    assert recipe_values(dataclasses.replace(TINY, by_size=True)) == {**recipe_values(TINY), "by_size": True}
    assert Recipe(**recipe_values(TINY)) == TINY
    assert spec().hash != spec(recipe=dataclasses.replace(TINY, by_size=True)).hash


def test_a_frozen_trunk_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    real = contract.load("source_only")
    before: list[torch.Tensor] = []
    trunks: list[torch.nn.Module] = []

    def build(config: Any, network: Any) -> torch.nn.Module:
        network.trunk_rate = 0.0
        trunks.append(network.trunk)
        before.extend(parameter.detach().clone() for parameter in network.trunk.parameters())
        return real.build(config, network)

    monkeypatch.setattr(contract, "load", lambda _name: dataclasses.replace(real, build=build))
    record = run(spec())
    assert record.history[0]["classification"] != record.history[-1]["classification"]
    for old, new in zip(before, trunks[0].parameters(), strict=True):
        assert torch.equal(old, new)
