"""SDT in whole cells: its baseline to the bit, the labels that its rows learn from, and those that it never sees."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.cell import training
from benchmarks.cell.training import run_cell
from datasets.protocols import Labelled, Problem
from methods import contract, sdt, source_only
from methods.contract import Batch, Method
from methods.sdt import SDT, Config
from tests.benchmarks.cells import TINY, problem, spec
from tests.benchmarks.test_training import holds, reachable
from tests.methods.training import batches, perceptron, start

FEW = 9
"""Granted images of a batch."""


# The baseline


def granting(labels: int = FEW) -> Problem:
    """The usual problem with some target labels granted; the others are tested."""
    whole = problem()
    tested = np.arange(labels, len(whole.test.labels))
    return dataclasses.replace(
        whole,
        labelled_target=Labelled(whole.target.images[:labels], whole.test.labels[:labels]),
        test=Labelled(whole.test.images[tested], whole.test.labels[tested]),
        tested=tested,
    )


CASES = [
    *(("lenet-bn", mode, "off") for mode in ("source", "separate", "joint")),
    *(("lenet", "none", switched) for switched in ("off", "off-late", "off-late-simultaneous")),
    ("lenet-bn", "separate", "off-late"),
]
"""Backbone, BatchNorm mode, and whether there is a domain classifier at work although nothing heeds it."""


@pytest.mark.parametrize(("backbone", "mode", "switched"), CASES)
def test_without_weights_it_is_training_on_both_labels_to_the_bit(backbone: str, mode: str, switched: str) -> None:
    """In the runner, 10 steps from the same network, with dropout."""
    recipe = dataclasses.replace(TINY, steps=10, epoch=5)
    how: dict[str, Any] = {"backbone": backbone, "batchnorm": mode}
    base = training.prepare(spec(recipe=TINY, **how), problem(1), None, {})
    base.run(0.0, None)
    needed = base.state.model.state_dict()

    config = Config(confusion=0.0, soft=0.0, each_image=False)
    update = "simultaneous" if switched.endswith("simultaneous") else "alternating"
    built = config if switched == "off" else Config(update=update, each_image=False)
    ours = training.prepare(
        spec("sdt", recipe, config=contract.config_values(built), **how), granting(), None, {"source": needed}
    )
    assert isinstance(ours.state.model, SDT)
    ours.state.model.config = dataclasses.replace(config, update=update)
    theirs = training.prepare(spec(recipe=recipe, **how), granting(), None, {})
    theirs.state.model.load_state_dict(needed)
    for run in (ours, theirs):
        run.run(0.0, None)
    mine, wanted = ours.state.model.network.state_dict(), theirs.state.model.state_dict()
    assert mine.keys() == wanted.keys()
    for key, value in wanted.items():
        assert torch.equal(mine[key], value), key
    assert not torch.equal(wanted["classifier.weight"], needed["classifier.weight"])
    for a, b in zip(ours.state.history, theirs.state.history, strict=True):
        assert {key: a[key] for key in b} == b
    if switched != "off":
        assert ours.state.model.domain is not None
        assert ours.state.history[-1]["domain"] < ours.state.history[0]["domain"], "it learns although nothing follows"


def test_with_weights_it_is_not() -> None:
    off, *on = (
        start(sdt.METHOD, sdt.VARIANTS[name]).train(batches(20, labelled_target=FEW)).model.network.classifier.weight
        for name in ("source-target", "confusion", "soft", "default", "simultaneous")
    )
    for number, one in enumerate(on):
        assert not torch.equal(one, off)
        assert not any(torch.equal(one, other) for other in on[:number])


# The labels that are learned from


def test_the_row_source_is_source_only_without_the_granted_labels() -> None:
    """So the row of the table is the very network that the joint training starts from."""
    ours = start(sdt.METHOD, sdt.VARIANTS["source"]).train(batches(20, labelled_target=FEW))
    theirs = start(source_only.METHOD, source_only.Config()).train(batches(20))
    mine, wanted = ours.model.network.state_dict(), theirs.model.state_dict()
    assert all(torch.equal(mine[key], value) for key, value in wanted.items())
    for name in ("source", "target"):
        assert sdt.needs(sdt.VARIANTS[name], TINY) == {}
    assert set(sdt.needs(Config(), TINY)) == {"source"}
    assert not sdt.needs(Config(), TINY)["source"].labelled_target


def test_the_row_target_learns_from_granted_labels_alone() -> None:
    ours = start(sdt.METHOD, sdt.VARIANTS["target"]).train(batches(20, labelled_target=FEW))

    def swapped(steps: int) -> Iterator[Batch]:
        for batch in batches(steps, labelled_target=FEW):
            assert batch.labelled_target_x is not None
            assert batch.labelled_target_y is not None
            yield Batch(batch.labelled_target_x, batch.labelled_target_y, batch.target_x, batch.progress)

    theirs = start(source_only.METHOD, source_only.Config()).train(swapped(20))
    mine, wanted = ours.model.network.state_dict(), theirs.model.state_dict()
    assert all(torch.equal(mine[key], value) for key, value in wanted.items())
    with pytest.raises(ValueError, match="this protocol grants none"):
        sdt.step(sdt.build(sdt.VARIANTS["target"], perceptron()), next(batches(1)))


def test_training_starts_from_the_source_network() -> None:
    torch.manual_seed(3)
    trained = perceptron().state_dict()
    model = sdt.build(Config(), perceptron())
    sdt.init_from(model, {"source": trained})
    assert all(torch.equal(model.network.state_dict()[key], value) for key, value in trained.items())
    fresh = sdt.build(sdt.VARIANTS["source"], perceptron())
    before = copy.deepcopy(fresh.state_dict())
    sdt.init_from(fresh, {})
    assert all(torch.equal(fresh.state_dict()[key], value) for key, value in before.items())


def needed_by(data: Problem) -> dict[str, Any]:
    """A source network for a cell on ``data``."""
    base = training.prepare(spec(recipe=TINY), dataclasses.replace(data, labelled_target=None), None, {})
    base.run(0.0, None)
    return {"source": base.state.model.state_dict()}


@pytest.mark.parametrize("variant", ["default", "simultaneous"])
def test_only_granted_labels_reach_the_method(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the whole cell: what its functions are given holds no tested label, and what they make depends on none."""
    data = granting()
    real, seen = contract.load("sdt"), []

    def watched(name: str) -> Callable[..., Any]:
        function = getattr(real, name)

        def spy(*arguments: Any) -> Any:
            found = list(arguments)
            for argument in arguments:
                if isinstance(argument, contract.Domains):
                    found += [list(argument.source()), list(argument.target()), list(argument.labelled_target())]
            seen.append((name, any(holds(item, data.test.labels) for item in reachable(*found))))
            return function(*arguments)

        return spy

    functions = ("step", "second_step", "begin", "diagnostics", "matrices")
    method: Method = dataclasses.replace(real, **{name: watched(name) for name in functions})
    of = spec("sdt", dataclasses.replace(TINY, steps=8, epoch=4), variant=variant)
    needed = needed_by(data)
    with monkeypatch.context() as patch:
        patch.setattr(contract, "load", lambda _name: method)
        first = run_cell(of, data, commit="test", needed=needed)
    assert {name for name, _ in seen} == set(functions)
    assert not [name for name, found in seen if found]

    shuffled = np.random.default_rng(0).permutation(data.test.labels)
    other = dataclasses.replace(data, test=dataclasses.replace(data.test, labels=shuffled))
    second = run_cell(of, other, commit="test", needed=needed)
    for a, b in zip(first.history, second.history, strict=True):
        assert {k: v for k, v in a.items() if k != "test_accuracy"} == {
            k: v for k, v in b.items() if k != "test_accuracy"
        }
    assert first.diagnostics == second.diagnostics
    assert first.matrices["soft_labels"] == second.matrices["soft_labels"]
    assert first.matrices["confusion"] != second.matrices["confusion"], "that is the evaluator's"

    assert data.labelled_target is not None
    labels = (data.labelled_target.labels + 1) % data.classes
    third = run_cell(
        of,
        dataclasses.replace(data, labelled_target=Labelled(data.labelled_target.images, labels)),
        commit="test",
        needed=needed,
    )
    for term in ("classification", "soft_labels"):
        assert third.history[0][term] != first.history[0][term], "granted labels are learned from"
