"""Cells that start from networks that other cells trained, and cells that train nothing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn import svm
from sklearn.svm import LinearSVC
from torch import Tensor

from benchmarks.cell import training
from benchmarks.executors import execute
from benchmarks.export import tables
from benchmarks.machine.errors import UserError
from benchmarks.plan import choices, plan
from benchmarks.plan.plan import Cell, Options
from benchmarks.records.store import Store, canonical, recipe_values
from datasets import protocols
from datasets.store import Location
from methods import contract, source_only
from methods.contract import Batch, Domains, Experiment, Losses, Method, Need, Paper, Recipe, Row
from methods.network import Network

RECIPE = Recipe(steps=12, epoch=6, rate=0.01, batch=16)


@dataclasses.dataclass(frozen=True)
class Config:
    """What the made-up method takes."""

    extra: int = 0
    """Further steps' worth of nothing: makes configurations differ."""


class Started(torch.nn.Module):
    """A network that starts from another one's weights."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x)
        return logits


def _start(model: Started, needed: Mapping[str, Mapping[str, Tensor]]) -> None:
    model.network.load_state_dict(needed["base"])


def _begin(model: Started, domains: Domains) -> None:
    model.seen.fill_(sum(len(x) for x in domains.target()))


def _step(model: Started, batch: Batch) -> Losses:
    return source_only.step(model.network, batch)


def made_up(step: Any) -> Method:
    """A method that starts from the source-only network."""
    experiment = Experiment(
        name="started",
        title="a made-up experiment",
        rows=(Row("source_only"), Row("started")),
        recipes={"digits-mini": RECIPE},
        baseline=Row("source_only"),
        seeds=1,
        tasks={"digits-mini": ("optdigits:mfeat",)},
        default=True,
    )
    return Method(
        config=Config,
        build=lambda config, network: Started(network),
        step=step,
        variants={"default": Config()},
        paper=Paper("Title", "Authors", "Venue", 2020, "https://example.org", (experiment,)),
        needs=lambda config, recipe: {"base": Need("source_only", source_only.Config())},
        init_from=_start,
        begin=_begin,
        diagnostics=lambda model, _domains: {"seen": float(model.seen)},
    )


@pytest.fixture
def add(monkeypatch: pytest.MonkeyPatch) -> Callable[[Method], None]:
    """Makes a method known under the name ``started``."""

    def known(method: Method) -> None:
        everything = {**{name: contract.load(name) for name in contract.names()}, "started": method}
        monkeypatch.setattr(contract, "_methods", lambda: everything)

    return known


def planned(location: Location) -> list[Cell]:
    return plan.make("started", Options(), location).cells


def run(cells: list[Cell], location: Location, store: Store) -> None:
    summary = execute.run(cells, execute.Local(location, store, 1), expected={})
    assert not summary.failed, summary.failed


def test_a_cell_that_trains_nothing_is_the_network_that_it_starts_from(
    add: Any, few_digits: Location, tmp_path: Path
) -> None:
    add(made_up(None))
    store = Store(tmp_path)
    base, started = planned(few_digits)
    assert started.spec.needs == {"base": base.spec.hash}
    run([started], few_digits, store)  # the base is trained although nobody asked for it
    first, second = store.read(base.spec.hash), store.read(started.spec.hash)
    assert second.value("accuracy") == first.value("accuracy")
    assert len(second.history) == 1
    assert second.diagnostics == {"seen": 334.0}


def test_training_goes_on_from_the_network(add: Any, few_digits: Location, tmp_path: Path) -> None:
    add(made_up(_step))
    store = Store(tmp_path)
    base, started = planned(few_digits)
    run([base, started], few_digits, store)
    first, second = store.read(base.spec.hash), store.read(started.spec.hash)
    assert second.history[0]["classification"] < first.history[0]["classification"]


def test_a_network_is_trained_once_and_made_again_where_it_is_lost(
    add: Any, few_digits: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(made_up(None))
    store = Store(tmp_path)
    base, started = planned(few_digits)
    trained = []
    real = training.run_cell

    def counted(spec: Any, *arguments: Any, **named: Any) -> Any:
        trained.append(spec.hash)
        return real(spec, *arguments, **named)

    monkeypatch.setattr("benchmarks.cell.training.run_cell", counted)
    run([started, base], few_digits, store)
    assert trained == [base.spec.hash, started.spec.hash]
    before = store.record_path(base.spec.hash).read_bytes()
    weights = torch.load(store.model_path(base.spec.hash), weights_only=True)
    store.model_path(base.spec.hash).unlink()
    store.record_path(started.spec.hash).unlink()
    run([started], few_digits, store)
    assert trained[2:] == [base.spec.hash, started.spec.hash]
    assert store.record_path(base.spec.hash).read_bytes() == before, "a record that stands is not written again"
    again = torch.load(store.model_path(base.spec.hash), weights_only=True)
    assert all(torch.equal(weights[key], again[key]) for key in weights)


def test_a_damaged_network_is_a_sentence(add: Any, few_digits: Location, tmp_path: Path) -> None:
    add(made_up(None))
    store = Store(tmp_path)
    base, started = planned(few_digits)
    run([started], few_digits, store)
    path = store.model_path(base.spec.hash)
    path.write_bytes(path.read_bytes()[:100])
    store.record_path(started.spec.hash).unlink()
    outcome = execute.run_one(started, few_digits, store, "test")
    assert "is damaged; delete it and run again" in outcome.error
    with pytest.raises(UserError, match="damaged"):
        training.load_parameters(path)


def test_what_a_cell_needs_is_part_of_its_identity_and_of_no_older_one(add: Any, few_digits: Location) -> None:
    add(made_up(None))
    base, started = planned(few_digits)
    other = dataclasses.replace(started.spec, needs={"base": "0" * 16})
    assert other.hash != started.spec.hash
    content = json.loads(canonical(dataclasses.asdict(base.spec)))
    assert content["needs"] == {}
    assert dataclasses.replace(base.spec, needs={}).hash == base.spec.hash


def test_a_need_may_be_of_another_recipe_and_task(add: Any, few_digits: Location) -> None:
    longer = dataclasses.replace(RECIPE, steps=24)
    method = made_up(None)
    need = Need("source_only", source_only.Config(), task="mnist:mfeat", recipe=longer)
    add(dataclasses.replace(method, needs=lambda config, recipe: {"base": need}))
    base, started = planned(few_digits)
    needed = started.needs["base"].spec
    assert needed.task == "mnist:mfeat"
    assert needed.recipe == recipe_values(longer)
    assert needed.data["source"] != base.spec.data["source"]
    assert needed.data["target"] == base.spec.data["target"]
    assert started.needs["base"].label.endswith("for others to start from")


def test_a_need_may_be_of_another_batchnorm_mode(add: Any, few_digits: Location) -> None:
    method = made_up(None)
    add(dataclasses.replace(method, needs=lambda config, recipe: {"base": Need("source_only", batchnorm="joint")}))
    base, started = plan.make("started", Options(backbone="lenet-bn"), few_digits).cells
    assert (base.spec.batchnorm, started.spec.batchnorm) == ("source", "source")
    needed = started.needs["base"].spec
    assert needed.batchnorm == "joint"
    assert dataclasses.replace(needed, batchnorm="source").hash == base.spec.hash


def test_tasks_and_seeds_that_are_run_one_after_the_other_stay_in_one_table(
    add: Any, few_digits: Location, tmp_path: Path
) -> None:
    """Each starts from a network of its own, which makes none of them outdated."""
    add(made_up(None))
    store = Store(tmp_path)
    for tasks, seeds in (("optdigits:mfeat",), 1), (("mfeat:optdigits",), 1), (("optdigits:mfeat",), 2):
        part = plan.make("started", Options(experiments=("started",), tasks=tasks, seeds=seeds), few_digits)
        run(part.cells, few_digits, store)
        (path,) = tables.write_local(part, store, few_digits)
    rows = tables.read(path)
    found = {(row["task"], row["seed"]) for row in rows if row["method"] == "started"}
    assert found == {("optdigits:mfeat", "0"), ("mfeat:optdigits", "0"), ("optdigits:mfeat", "1")}


@pytest.mark.parametrize("protocol", [name for name in protocols.PROTOCOLS if name != "transfer"])
def test_a_need_without_granted_labels_is_the_cell_of_the_protocol_without(
    protocol: str, add: Any, few_digits: Location
) -> None:
    """The very cell that a table under that protocol has, so that the two share a network."""
    method = made_up(None)
    assert method.paper is not None
    (experiment,) = method.paper.experiments

    def cells(of: str, need: Need) -> list[Cell]:
        one = dataclasses.replace(experiment, protocol=of, seeds=2 if of != "full" else 1)
        paper = dataclasses.replace(method.paper, experiments=(one,))  # type: ignore[type-var]
        add(dataclasses.replace(method, paper=paper, needs=lambda config, recipe: {"base": need}))
        return planned(few_digits)

    without = "full" if protocol == "full" else "down-sampled"
    wanted = [cell.spec.hash for cell in cells(without, Need("source_only")) if cell.spec.method == "source_only"]
    needed = [
        cell.needs["base"].spec for cell in cells(protocol, Need("source_only", labelled_target=False)) if cell.needs
    ]
    assert [spec.hash for spec in needed] == wanted
    assert {spec.protocol for spec in needed} == {without}
    with_labels = [cell.needs["base"].spec for cell in cells(protocol, Need("source_only")) if cell.needs]
    assert {spec.protocol for spec in with_labels} == {protocol}


def test_a_need_without_configuration_is_the_row_of_the_table(
    add: Any, few_digits: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default variant with what was chosen for it, so that the two share a cell."""
    place = {"method": "dan", "variant": "default", "dataset": "digits-mini", "backbone": "lenet", "track": "finetune"}
    chosen = {**place, "parameter": "weight", "value": "0.4", "chosen": "1"}
    monkeypatch.setattr(choices, "read", lambda: [chosen])
    method = made_up(None)
    assert method.paper is not None
    (experiment,) = method.paper.experiments
    rows = (Row("source_only"), Row("dan"), Row("started"))
    paper = dataclasses.replace(method.paper, experiments=(dataclasses.replace(experiment, rows=rows),))
    add(dataclasses.replace(method, paper=paper, needs=lambda config, recipe: {"base": Need("dan")}))
    _, row, started = planned(few_digits)
    assert row.spec.config["weight"] == 0.4
    assert started.spec.needs == {"base": row.spec.hash}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_adabn_is_a_function_of_its_spec_and_draws_by_the_seed(
    add: Any, few_digits: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Features of a network of twelve steps are hard to separate, and nothing here asks for the best separation.
    monkeypatch.setattr(svm, "LinearSVC", lambda **given: LinearSVC(**{**given, "max_iter": 1, "tol": 10.0}))
    method = contract.load("adabn")
    few = dataclasses.replace(method.variants["adabn-coral"], images=32)
    experiment = Experiment(
        name="few",
        title="a few target images",
        rows=(Row("source_only"), Row("started")),
        recipes={"digits-mini": RECIPE},
        baseline=Row("source_only"),
        seeds=2,
        tasks={"digits-mini": ("optdigits:mfeat",)},
        backbone="lenet-bn",
        default=True,
    )
    paper = Paper("Title", "Authors", "Venue", 2020, "https://example.org", (experiment,))
    add(dataclasses.replace(method, variants={"default": few}, paper=paper))
    records = []
    for folder in ("one", "two"):
        store = Store(tmp_path / folder)
        cells = [cell for cell in planned(few_digits) if cell.needs][: 2 if folder == "one" else 1]
        run(cells, few_digits, store)
        records.append([store.read(cell.spec.hash) for cell in cells])
    for first, again in zip(*records, strict=False):
        assert (first.values, first.history, first.diagnostics) == (again.values, again.history, again.diagnostics)
        assert first.diagnostics == {"adapted_images": 32.0, "adapted_layers": 3.0}
    assert records[0][0].history != records[0][1].history
