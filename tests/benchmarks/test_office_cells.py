"""Cells on photographs: what training gets under each protocol, and what it trains on each track."""

from __future__ import annotations

import dataclasses
import gc
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.cell import training
from benchmarks.cell.descent import Descent
from benchmarks.cell.loading import Sampler, domains_of, load_data
from benchmarks.cell.training import run_cell
from benchmarks.networks import weights
from benchmarks.networks.backbones import choose
from benchmarks.networks.feeding import Cached
from datasets import protocols, registry
from datasets.protocols import Inputs, Problem
from datasets.store import Location
from methods import contract
from methods.contract import Batch, Domains, Losses, Recipe
from tests.benchmarks.cells import spec
from tests.benchmarks.test_training import holds
from tests.datasets.office_helpers import SIDE, official

FROZEN = choose("lite0", "frozen")
CPU = torch.device("cpu")
BRIEF = Recipe(steps=6, epoch=3, rate=0.01, batch=16)


def coded(domain: str, _part: str = "train", views: int = 0) -> Inputs:
    """Cached features that tell the place of their image, and in training the view."""
    count = len(official(domain)[0])
    values = np.zeros((count, 1 + views, 1280), np.float32)
    values[..., 0] = np.arange(count)[:, None]
    values[..., 1] = np.arange(1 + views)[None]
    generator = np.random.default_rng(0)
    values[..., 2:12] = generator.normal(size=(count, 1, 10))
    return values


def made(label: str, protocol: str, location: Location, views: int = 0) -> Problem:
    (task,) = protocols.tasks("office31", [label], location)
    return protocols.problem(
        "office31",
        task,
        location,
        protocol=protocol,
        split=0 if protocol == "full" else 1,
        side=SIDE,
        inputs=lambda domain, part: coded(domain, part, views),
    )


def cell(protocol: str = "full", method: str = "source_only", **changes: Any) -> Any:
    how = {"backbone": "lite0", "track": "frozen", "cut": "pool", "recipe": BRIEF, "protocol": protocol, **changes}
    return spec(method, **how)


def places(x: torch.Tensor) -> list[int]:
    return x[:, 0].long().tolist()


# What training gets.


def everything(*roots: Any) -> list[Any]:
    """What can be reached from some objects, as ``reachable`` does, through the closures of functions too.

    Inputs, which are all the floating-point arrays of two and more dimensions, are left out.
    """
    found: dict[int, Any] = {}
    todo = list(roots)
    while todo:
        item = todo.pop()
        if id(item) in found or isinstance(item, types.ModuleType | type | types.FrameType):
            continue
        found[id(item)] = item
        if isinstance(item, types.FunctionType):
            todo.extend(cell.cell_contents for cell in item.__closure__ or ())
            continue
        if isinstance(item, np.ndarray) and item.base is not None:
            todo.append(item.base)
        todo.extend(gc.get_referents(item))
    return [item for item in found.values() if not _is_input(item)]


def _is_input(item: Any) -> bool:
    return isinstance(item, torch.Tensor | np.ndarray) and item.ndim > 1 and "float" in str(item.dtype)


def spied(monkeypatch: pytest.MonkeyPatch, batches: list[Batch], others: list[Any], name: str = "source_only") -> None:
    """The method keeps all it is ever given."""
    real = contract.load(name)

    def step(model: Any, batch: Batch) -> Losses:
        batches.append(batch)
        others.append(model)
        return real.step(model, batch)  # type: ignore[misc]

    def begin(model: Any, domains: Domains) -> None:
        others.extend([domains, list(domains.source()), list(domains.target()), list(domains.labelled_target())])
        others.extend([domains.source, domains.target, domains.labelled_target])
        if real.begin:
            real.begin(model, domains)

    monkeypatch.setattr(contract, "load", lambda _name: dataclasses.replace(real, step=step, begin=begin))


@pytest.mark.parametrize("label", ["amazon:webcam", "webcam:amazon"])
@pytest.mark.parametrize("protocol", [name for name in protocols.PROTOCOLS if name != "transfer"])
def test_every_target_label_that_training_sees_is_granted(
    protocol: str, label: str, office: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = made(label, protocol, office)
    batches: list[Batch] = []
    others: list[Any] = []
    spied(monkeypatch, batches, others)
    run_cell(cell(protocol), problem, commit="test")
    assert len(batches) == BRIEF.steps
    source, target = (official(name)[1] for name in label.split(":"))
    drawn = set(np.asarray(problem.source.images)[:, 0, 0].astype(int).tolist())
    labelled_target = (
        set() if problem.labelled_target is None else set(problem.labelled_target.images[:, 0, 0].astype(int).tolist())
    )
    assert problem.tested is not None
    assert not labelled_target & set(problem.tested.tolist()) or protocol == "full"
    for batch in batches:
        assert set(places(batch.source_x)) <= drawn
        assert batch.source_y.tolist() == source[places(batch.source_x)].tolist()
        assert (
            (batch.labelled_target_x is None) == (batch.labelled_target_y is None) == (problem.labelled_target is None)
        )
        if batch.labelled_target_x is not None and batch.labelled_target_y is not None:
            assert set(places(batch.labelled_target_x)) <= labelled_target
            assert batch.labelled_target_y.tolist() == target[places(batch.labelled_target_x)].tolist()
            assert len(batch.labelled_target_y) == len(batch.source_y)
    domains = others[0]
    assert isinstance(domains, Domains)
    found = [(place, y) for x, ys in domains.labelled_target() for place, y in zip(places(x), ys.tolist(), strict=True)]
    assert {place for place, _ in found} == labelled_target
    assert all(target[place] == y for place, y in found)
    assert [place for x in domains.target() for place in places(x)] == list(range(len(target))), "all are seen"
    assert {place for x, _ in domains.source() for place in places(x)} == drawn
    # And by no way round can the tested labels be reached.
    tested = problem.test.labels
    reached = everything(batches, others)
    assert not any(holds(item, tested) for item in reached)
    assert not any(holds(item, target) for item in reached)
    assert any(holds(item, tested) for item in everything(problem.test)), "the search itself works"
    assert any(holds(item, tested) for item in everything(lambda: problem.test)), "through closures too"


@pytest.mark.parametrize("method", ["source_only", "dan"])
@pytest.mark.parametrize("protocol", ["supervised", *protocols.HELD_OUT_CLASSES])
def test_tested_labels_change_the_score_and_granted_ones_the_training(
    protocol: str, method: str, office: Location
) -> None:
    problem = made("amazon:webcam", protocol, office)
    assert problem.labelled_target is not None
    generator = np.random.default_rng(0)
    shuffled = dataclasses.replace(problem.test, labels=generator.permutation(problem.test.labels))
    other = dataclasses.replace(problem.labelled_target, labels=np.roll(problem.labelled_target.labels, 1))
    first, scored, taught = (
        run_cell(cell(protocol, method), data, commit="test")
        for data in (
            problem,
            dataclasses.replace(problem, test=shuffled),
            dataclasses.replace(problem, labelled_target=other),
        )
    )
    for a, b, c in zip(first.history, scored.history, taught.history, strict=True):
        assert {k: v for k, v in a.items() if k != "test_accuracy"} == {
            k: v for k, v in b.items() if k != "test_accuracy"
        }
        assert a["classification"] != c["classification"]
    assert first.value("mmd") == scored.value("mmd")
    assert first.n_test == len(problem.test.labels)
    counts = np.bincount(problem.source.labels)
    assert first.examples["source"] == counts.sum() == len(problem.source.labels)
    assert first.examples["source_least"] == counts.min()
    assert first.examples["labelled_target"] == len(problem.labelled_target.labels)
    assert first.examples["target"] == len(problem.target.images)


@pytest.mark.parametrize("protocol", ["supervised", *protocols.HELD_OUT_CLASSES])
def test_granted_images_are_learned_from(protocol: str, office: Location) -> None:
    """After enough steps the model knows them, which the source alone does not teach."""
    problem = made("dslr:webcam", protocol, office)
    assert problem.labelled_target is not None
    generator = np.random.default_rng(1)
    directions = generator.normal(size=(2, 31, 10)).astype(np.float32)

    def classed(images: Inputs, labels: Any, domain: int) -> Inputs:
        images = np.array(images)
        images[..., :2] = 0
        images[:, 0, 2:12] = 3 * directions[domain][labels]
        return images

    target = official("webcam")[1]
    problem = dataclasses.replace(
        problem,
        source=dataclasses.replace(problem.source, images=classed(problem.source.images, problem.source.labels, 0)),
        target=protocols.Unlabelled(classed(problem.target.images, target, 1)),
        labelled_target=dataclasses.replace(
            problem.labelled_target, images=classed(problem.labelled_target.images, problem.labelled_target.labels, 1)
        ),
    )
    recipe = Recipe(steps=160, epoch=80, rate=0.03, batch=32)
    with_labels = run_cell(cell(protocol, recipe=recipe), problem, commit="test").value("accuracy")
    without = run_cell(cell(protocol, recipe=recipe), dataclasses.replace(problem, labelled_target=None), commit="test")
    if protocol == "supervised":
        assert with_labels > 90 > 40 > without.value("accuracy")
    else:  # of the tested classes no label was granted; the best of all 31 classes counts
        assert with_labels < 40


@pytest.mark.parametrize("protocol", protocols.HELD_OUT_CLASSES)
def test_the_best_of_all_classes_counts(protocol: str, office: Location) -> None:
    """Where some classes are tested and others have labels, one of these may be, wrongly, the answer."""
    problem = made("amazon:webcam", protocol, office)
    assert problem.labelled_target is not None
    assert problem.tested is not None
    data = load_data(problem, FROZEN, CPU)
    target = official("webcam")[1]
    logits = torch.nn.functional.one_hot(torch.from_numpy(target), 31).float()
    assert data.test.accuracy(logits) == 100
    assert data.test.among_tested(logits) == {"accuracy_among_tested": 100, "taken_for_labelled": 0}
    logits[:, int(problem.labelled_target.labels[0])] = 2
    assert data.test.accuracy(logits) == 0
    assert data.test.among_tested(logits) == {"accuracy_among_tested": 100, "taken_for_labelled": 100}
    one = int(problem.test.labels[0])
    logits[:, one] = 3
    share = 100 * float(np.mean(problem.test.labels == one))
    assert data.test.among_tested(logits) == pytest.approx({"accuracy_among_tested": share, "taken_for_labelled": 0})
    logits = torch.zeros(len(target), 31)
    logits[torch.arange(len(target)), torch.from_numpy(target)] = 1
    logits[np.setdiff1d(np.arange(len(target)), problem.tested)] = 0
    assert data.test.accuracy(logits) == 100, "images that are not tested do not count"


@pytest.mark.parametrize("protocol", [name for name in protocols.PROTOCOLS if name != "transfer"])
def test_accuracy_among_the_tested_classes_is_told_where_some_are_held_out(protocol: str, office: Location) -> None:
    record = run_cell(cell(protocol), made("amazon:webcam", protocol, office), commit="test")
    among = record.find("accuracy_among_tested")
    assert (among is not None) == (protocol in protocols.HELD_OUT_CLASSES)
    assert among is None or among >= record.value("accuracy")


# Batches.


def test_streams_of_batches_are_independent(office: Location) -> None:
    """Source and target batches are the same with and without granted labels; every pass sees every image once."""
    problem = made("amazon:webcam", "supervised", office)
    recipe = Recipe(steps=300, epoch=100, rate=0.1, batch=32)
    samplers = [
        Sampler(load_data(data, FROZEN, CPU), recipe, seed=4)
        for data in (problem, dataclasses.replace(problem, labelled_target=None))
    ]
    for step in (0, 1, 17, 299):
        a, b = (sampler(step) for sampler in samplers)
        assert torch.equal(a.source_x, b.source_x)
        assert torch.equal(a.target_x, b.target_x)
        assert b.labelled_target_x is None
        assert a.progress == step / 300
    sampler = samplers[0]
    for part, count in (("source_x", 620), ("target_x", 795), ("labelled_target_x", 93)):
        seen = [place for step in range(100) for place in places(getattr(sampler(step), part))]
        for start in range(0, len(seen) - count, count):
            assert len(set(seen[start : start + count])) == count, "whole passes, one after the other"
    late, other = Sampler(sampler.data, recipe, seed=4, phase="late"), Sampler(sampler.data, recipe, seed=5)
    for another in (late, other):
        for part in ("source_x", "target_x", "labelled_target_x"):
            assert places(getattr(another(0), part)) != places(getattr(sampler(0), part))
    assert places(sampler(3).source_x) == places(sampler(3).source_x)


@pytest.mark.parametrize("views", [0, 3])
def test_training_takes_augmented_views_and_evaluation_the_centre_crop(views: int, office: Location) -> None:
    problem = made("amazon:webcam", "supervised", office, views=views)
    data = load_data(problem, FROZEN, CPU)
    sampler = Sampler(data, Recipe(steps=50, epoch=50, rate=0.1, batch=32), seed=0)
    seen: set[int] = set()
    for step in range(20):
        batch = sampler(step)
        assert batch.labelled_target_x is not None
        drawn = torch.cat([batch.source_x, batch.target_x, batch.labelled_target_x])[:, 1]
        seen |= set(drawn.int().tolist())
        again = sampler(step)
        assert torch.equal(batch.source_x, again.source_x)
    assert seen == (set(range(1, views + 1)) or {0})
    for inputs in (data.source.inputs, data.target, data.test.inputs):
        assert not inputs(np.arange(len(inputs)))[:, 1].any()
        assert not inputs.part(np.arange(3))(np.arange(3))[:, 1].any()
    for _, x in enumerate(domains_of(data).target()):
        assert not x[:, 1].any()


def test_cached_maps_come_channels_first() -> None:
    values = np.random.default_rng(0).normal(size=(9, 2, 4, 5, 3)).astype(np.float32)
    inputs = Cached(values, CPU)
    x = inputs(np.array([8, 0]))
    assert x.shape == (2, 3, 4, 5)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(x.numpy(), values[[8, 0], 0].transpose(0, 3, 1, 2))
    drawn = inputs.training(np.array([8, 0]), torch.Generator())
    assert np.array_equal(drawn.numpy(), values[[8, 0], 1].transpose(0, 3, 1, 2))


# Tracks.


def maps(problem: Problem) -> Problem:
    """Random activations before blocks.6 in place of the features."""

    def some(images: Inputs, seed: int) -> Inputs:
        values: Inputs = np.random.default_rng(seed).normal(size=(len(images), 1, 7, 7, 192))
        return values.astype(np.float32)

    source = dataclasses.replace(problem.source, images=some(problem.source.images, 0)[:40])
    source = dataclasses.replace(source, labels=problem.source.labels[:40])
    target = some(problem.target.images, 1)[:40]
    return dataclasses.replace(
        problem,
        source=source,
        target=protocols.Unlabelled(target),
        test=protocols.Labelled(target, official("dslr")[1][:40]),
        tested=np.arange(40),
    )


@pytest.fixture(scope="module")
def lite0(location: Location) -> Path:
    return weights.path("lite0", location)


@pytest.mark.parametrize("mode", ["kept", "source", "separate", "joint"])
def test_late_trains_the_last_blocks_at_a_tenth_of_the_rate(
    mode: str, lite0: Path, office: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = maps(made("amazon:dslr", "full", office))
    recipe = Recipe(steps=2, epoch=2, rate=0.01, batch=8)
    of = cell("full", track="late", cut="blocks.6", batchnorm=mode, recipe=recipe)
    models: list[nn.Module] = []
    before: list[dict[str, torch.Tensor]] = []
    real = contract.load("source_only")

    def step(model: nn.Module, batch: Batch) -> Losses:
        if not models:
            models.append(model)
            before.append({name: value.clone() for name, value in model.state_dict().items()})
        return real.step(model, batch)  # type: ignore[misc]

    rates: dict[int, float] = {}
    optimiser_of = training.optimiser_of

    def watched(*arguments: Any) -> Descent:
        made = optimiser_of(*arguments)
        rates.update({id(p): group.rate for group in made.groups for p in group.parameters})
        return made

    monkeypatch.setattr(training, "optimiser_of", watched)
    monkeypatch.setattr(contract, "load", lambda _name: dataclasses.replace(real, step=step))
    run_cell(of, problem, commit="test", weights=lite0)
    after = models[0].state_dict()
    for name, parameter in models[0].named_parameters():
        assert rates[id(parameter)] == pytest.approx(0.001 if name.startswith("trunk") else 0.01)
    changed = {name for name in after if not torch.equal(after[name], before[0][name])}
    assert {name for name, _ in models[0].named_parameters()} <= changed
    statistics = {name for name in after if "running" in name}
    assert statistics & changed == (set() if mode == "kept" else statistics)


def test_frozen_needs_no_weights_and_trains_the_head_alone(office: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    models: list[Any] = []
    batches: list[Batch] = []
    spied(monkeypatch, batches, models)
    run_cell(cell(), made("amazon:dslr", "full", office), commit="test")
    model = models[-1]
    assert isinstance(model.trunk, nn.Identity)
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"bottleneck", "classifier"}


def test_a_mode_without_effect_on_the_baseline_gives_its_numbers(office: Location) -> None:
    """On the frozen track, DAN at weight zero is the baseline to the last bit, under granted labels too."""
    off = contract.config_values(dataclasses.replace(contract.load("dan").variants["default"], weight=0.0))
    for mode in ("none", "source", "separate", "joint"):
        problem = made("amazon:dslr", "supervised", office)
        a = run_cell(cell("supervised", "dan", config=off, batchnorm=mode), problem, commit="test")
        b = run_cell(cell("supervised", batchnorm=mode), problem, commit="test")
        shared = ("classification", "target_entropy", "test_accuracy")
        assert [{k: e[k] for k in shared} for e in a.history] == [{k: e[k] for k in shared} for e in b.history]
        assert a.values == b.values
    assert registry.suite("office31").transductive
