"""What a method measures after training, learning curves and matrices in the tables, and DDC without its term."""

from __future__ import annotations

import dataclasses
import math
from itertools import permutations
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.cell.evaluation import Evaluator
from benchmarks.cell.training import run_cell
from benchmarks.export import tables
from benchmarks.networks.feeding import Digits
from benchmarks.plan.plan import Cell, Plan, Use
from benchmarks.records.store import Record, Spec, Store
from datasets.protocols import Task
from methods import contract, kernels
from methods.contract import Batch, Domains, Losses, Row
from tests.benchmarks.cells import TINY, problem, spec
from tests.benchmarks.test_training import holds, reachable, stable
from tests.methods import reference


def run(of: Spec, **how: Any) -> Record:
    return run_cell(of, problem(), commit="test", **how)


class Spy:
    """A method that remembers the model it built and the target batches it saw."""

    def __init__(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.real = contract.load(name)
        self.models: list[nn.Module] = []
        self.targets: list[Tensor] = []
        watched = dataclasses.replace(self.real, build=self.build, step=self.step)
        monkeypatch.setattr(contract, "load", lambda _name: watched)

    def build(self, config: Any, network: Any) -> nn.Module:
        self.models.append(self.real.build(config, network))
        return self.models[-1]

    def step(self, model: Any, batch: Batch) -> Losses:
        assert self.real.step is not None
        self.targets.append(batch.target_x)
        return self.real.step(model, batch)


@pytest.mark.parametrize(("backbone", "mode"), [("lenet", "none"), ("lenet-bn", "separate")])
def test_without_its_term_ddc_is_its_baseline_after_twenty_steps(
    backbone: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Initial weights, batches of both domains, dropout masks and running statistics: every parameter, bit for bit."""
    how: dict[str, Any] = {
        "recipe": dataclasses.replace(TINY, steps=20, epoch=10),
        "backbone": backbone,
        "batchnorm": mode,
    }
    cells = {"ddc": spec("ddc", variant="no-mmd", **how), "source_only": spec("source_only", **how)}
    spies = {}
    for name, cell in cells.items():
        with monkeypatch.context() as patch:
            spies[name] = Spy(name, patch)
            run(cell)
    ddc, baseline = spies["ddc"], spies["source_only"]
    assert len(ddc.targets) == len(baseline.targets) == 20
    assert all(torch.equal(a, b) for a, b in zip(ddc.targets, baseline.targets, strict=True))
    ours, theirs = ddc.models[0].network.state_dict(), baseline.models[0].state_dict()
    assert ours.keys() == theirs.keys()
    for key in ours:
        assert torch.equal(ours[key], theirs[key]), key


def test_figures_are_measured_on_all_of_the_training_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    real, data = contract.load("source_only"), problem()
    seen: list[dict[str, Any]] = []

    def diagnostics(model: nn.Module, domains: Domains) -> dict[str, float]:
        source, target = list(domains.source()), list(domains.target())
        seen.append(
            {
                "training": model.training,
                "gradient": torch.is_grad_enabled(),
                "sizes": (sum(len(x) for x, _ in source), sum(map(len, target))),
                "labels": any(holds(item, data.test.labels) for item in reachable(model, source, target)),
            }
        )
        return {"source_images": len(source[0][0])}

    plain = run_cell(spec(), data, commit="test")
    monkeypatch.setattr(contract, "load", lambda _name: dataclasses.replace(real, diagnostics=diagnostics))
    record = run_cell(spec(), data, commit="test")
    assert seen == [{"training": False, "gradient": False, "sizes": (120, 120), "labels": False}]
    assert plain.diagnostics == {}
    assert record.diagnostics == {"source_images": 120.0}
    assert {**stable(record), "diagnostics": {}} == stable(plain)


def test_the_joint_mmd_is_that_of_a_slow_reference() -> None:
    generator = torch.Generator().manual_seed(1)
    source, target = ([torch.rand(n, w, generator=generator).double() for w in (4, 3)] for n in (6, 5))
    gammas = [reference.bandwidth(s, t, "median") for s, t in zip(source, target, strict=True)]

    def k(a: list[Tensor], i: int, b: list[Tensor], j: int) -> float:
        """The product of a Gaussian for each activation."""
        factors = zip(a, b, gammas, strict=True)
        return math.prod(float(reference.kernel(x[i], y[j], gamma, [1.0], [0.0])) for x, y, gamma in factors)

    within_source = fmean(k(source, i, source, j) for i, j in permutations(range(6), 2))
    within_target = fmean(k(target, i, target, j) for i, j in permutations(range(5), 2))
    across = fmean(k(source, i, target, j) for i in range(6) for j in range(5))
    expected = within_source + within_target - 2 * across
    assert kernels.joint_mmd(source, target).item() == pytest.approx(expected, rel=1e-9)


def test_the_joint_mmd_is_measured_where_it_is_asked_for_and_changes_nothing() -> None:
    plain, asked = run(spec()), run(spec(joint_mmd=True))
    extra = [row for row in asked.values if row not in plain.values]
    assert [row["metric"] for row in extra] == ["joint_mmd"]
    assert 0 < extra[0]["value"] < 2
    assert plain.cell != asked.cell
    assert asked.history == plain.history


def test_ddc_reports_the_mmd_that_selects() -> None:
    with_term, without = (run(spec("ddc", variant=variant)) for variant in ("default", "no-mmd"))
    names = {"linear_mmd", "linear_mmd_relative", "trunk_mmd", "trunk_mmd_relative"}
    for record in (with_term, without):
        assert names == set(record.diagnostics)
        assert min(record.diagnostics.values()) > 0
    assert with_term.diagnostics["linear_mmd"] < without.diagnostics["linear_mmd"]


def test_curves_are_in_the_tables_of_experiments_that_show_them(tmp_path: Path) -> None:
    record = run(spec("ddc"))
    store = Store(tmp_path)
    store.write(record)
    task = Task("left", "right", "left", "right")
    uses = [Use("ddc", experiment, Row("ddc"), "") for experiment in ("learning-curve", "unsupervised")]
    rows = list(tables.rows_of(Plan([Cell(spec("ddc"), task, uses)]), store))
    curves = {
        experiment: {row["metric"]: float(row["value"]) for row in rows if row["experiment"] == experiment}
        for experiment in ("learning-curve", "unsupervised")
    }
    shown = {
        f"{name}@{epoch['step']:.0f}": epoch[name]
        for epoch in record.history
        for name in ("test_accuracy", "classification")
    }
    assert len(shown) == 8
    found = {name: value for name, value in curves["learning-curve"].items() if "@" in name}
    assert found == pytest.approx(shown, rel=1e-5)
    assert not any("@" in name for name in curves["unsupervised"])


def test_the_confusion_counts_the_tested_images_by_class_and_prediction() -> None:
    labels = torch.tensor([0, 2, 2, 1])
    logits = torch.eye(3)[[1, 0, 2, 1, 1]] + 0.1  # of five inputs, all but the second are tested
    inputs = Digits(np.zeros((5, 2, 2, 1), np.uint8), 1, torch.device("cpu"))
    evaluator = Evaluator(inputs, labels, torch.tensor([0, 2, 3, 4]))
    assert evaluator.confusion(logits).tolist() == [[0, 1, 0], [0, 1, 0], [0, 1, 1]]
    assert evaluator.accuracy(logits) == 50.0


def test_matrices_are_kept_and_shown_where_an_experiment_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = torch.tensor([[0.7, 0.3, 0.0], [0.25, 0.75, 0.0], [0.0004, 0.0, 0.9996]], dtype=torch.float64)
    real, of = contract.load("source_only"), spec()
    assert run(of).matrices == {}, "kept by those methods alone that have any"
    with monkeypatch.context() as patch:
        method = dataclasses.replace(real, matrices=lambda model: {"likeness": own})
        patch.setattr(contract, "load", lambda _name: method)
        record = run(of)
    confusion = record.matrices["confusion"]
    counts = np.bincount(problem().test.labels, minlength=3)
    assert [sum(row) for row in confusion] == counts.tolist()
    assert 100 * sum(confusion[k][k] for k in range(3)) / counts.sum() == pytest.approx(record.value("accuracy"))
    assert {**stable(record), "matrices": {}} == stable(run(of))

    store = Store(tmp_path)
    store.write(record)
    assert store.read(record.cell).matrices == {"likeness": own.tolist(), "confusion": confusion}
    shown = dataclasses.replace(contract.papers()["dan"].experiments[0], name="shown", matrices=("likeness", "absent"))
    hidden = dataclasses.replace(shown, name="hidden", matrices=())
    paper = dataclasses.replace(contract.papers()["dan"], experiments=(shown, hidden))
    monkeypatch.setattr(contract, "papers", lambda: {"dan": paper})
    monkeypatch.setattr(tables.registry, "suite", lambda _name: SimpleNamespace(classes=("mug", "cup", "pen")))
    uses = [Use("dan", name, Row("source_only"), "") for name in ("shown", "hidden")]
    rows = list(tables.rows_of(Plan([Cell(of, Task("left", "right", "left", "right"), uses)]), store))
    found = {
        name: {row["metric"]: float(row["value"]) for row in rows if row["experiment"] == name and "@" in row["metric"]}
        for name in ("shown", "hidden")
    }
    assert found["hidden"] == {}
    assert found["shown"] == {
        "likeness@mug,mug": 0.7,
        "likeness@mug,cup": 0.3,
        "likeness@cup,mug": 0.25,
        "likeness@cup,cup": 0.75,
        "likeness@pen,pen": 0.9996,
    }
