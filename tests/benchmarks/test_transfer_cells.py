"""Cells of Yosinski's study: base networks as needs, cached frozen layers, views, resumption, and the value rule."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.cell import loading, training
from benchmarks.cell.descent import Descent
from benchmarks.cell.evaluation import ten_best
from benchmarks.executors import execute
from benchmarks.export import tables
from benchmarks.machine.errors import UserError
from benchmarks.machine.host import seed_of
from benchmarks.networks import feeding
from benchmarks.networks.backbones import BACKBONES
from benchmarks.networks.feeding import Window, Windows
from benchmarks.plan import plan
from benchmarks.plan.plan import Cell, Options, Plan
from benchmarks.records.store import UNSTABLE_FIELDS, Record, Store, recipe_values
from datasets.store import Location
from methods import contract, yosinski
from methods.contract import Recipe
from tests.benchmarks.test_plan import finish

RECIPE = Recipe(steps=24, epoch=2, rate=0.01, batch=16, annealing=0.0, milestones=(0.5,))
SHIFTING = Window(side=16, crop=16, padding=2, mirrored=True, mean=(127.5,), scale=127.5)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smoke study in a few steps."""
    method = contract.load("yosinski")
    assert method.paper is not None
    first, *others = method.paper.experiments
    small = dataclasses.replace(first, recipes={"digits-mini": RECIPE}, sweep={"n": (3, 6)})
    paper = dataclasses.replace(method.paper, experiments=(small, *others))
    known = {name: contract.load(name) for name in contract.names()}
    monkeypatch.setattr(contract, "_methods", lambda: {**known, "yosinski": dataclasses.replace(method, paper=paper)})


@pytest.fixture
def augmented(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small network's images shifted and mirrored."""
    known = dataclasses.replace(BACKBONES["caffenet-16"], window=SHIFTING)
    monkeypatch.setitem(BACKBONES, "caffenet-16", known)


def cells(location: Location, **options: Any) -> dict[tuple[str, str], Cell]:
    """(row, setting) -> cell of the smoke study."""
    planned = plan.make("yosinski", Options(experiments=("smoke",), **options), location)
    assert not planned.notes
    return {(use.row.label, use.setting): cell for cell in planned.cells for use in cell.uses}


def run(wanted: list[Cell], location: Location, store: Store) -> dict[str, Record]:
    summary = execute.run(wanted, execute.Local(location, store, 1), expected={})
    assert not summary.failed, summary.failed
    return {cell: store.read(cell) for cell in store.cells()}


def stable(record: Record) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(record).items() if name not in UNSTABLE_FIELDS}


def test_treatments_start_from_the_base_networks_of_both_sides(few_digits: Location) -> None:
    found = cells(few_digits)
    base = found["base", ""]
    assert len([key for key in found if key[0] == "base"]) == 1, "the base network stands outside the sweep"
    assert (base.spec.task, base.needs) == ("mnist-a:mnist-b", {})
    for n in (3, 6):
        for row in ("BnB", "BnB+"):
            assert found[row, f"n={n}"].needs["base"].spec == base.spec
        for row in ("AnB", "AnB+"):
            other = found[row, f"n={n}"].needs["base"].spec
            assert other.task == "mnist-b:mnist-a"
            assert other.data["splits"] != base.spec.data["splits"]
            assert dataclasses.replace(other, task=base.spec.task, data=base.spec.data) == base.spec
        assert not found["random", f"n={n}"].needs
    assert {cell.spec.data["splits"] for cell in found.values()} == {base.spec.data["splits"]}


def test_a_trained_treatment_keeps_the_frozen_layers_of_its_base_network(few_digits: Location, tmp_path: Path) -> None:
    found, store = cells(few_digits), Store(tmp_path)
    frozen, learned = found["AnB", "n=3"], found["AnB+", "n=3"]
    for cell in (frozen, learned):
        assert execute.run_one(cell, few_digits, store, "test", kept=True).error == ""
    source = torch.load(store.model_path(frozen.needs["base"].spec.hash), weights_only=True)
    kept = torch.load(store.model_path(frozen.spec.hash), weights_only=True)
    moved = torch.load(store.model_path(learned.spec.hash), weights_only=True)
    for layer in ("conv1", "conv2", "conv3"):
        for part in ("weight", "bias"):
            original = source[f"network.trunk.{layer}.0.{part}"]
            assert torch.equal(kept[f"network.trunk.fixed.{layer}.0.{part}"], original)
            assert not torch.equal(moved[f"network.trunk.{layer}.0.{part}"], original)


@pytest.mark.parametrize("n", [3, 6])
def test_cached_frozen_layers_give_what_uncached_ones_give(
    n: int, few_digits: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = cells(few_digits)["AnB", f"n={n}"]
    same_path(cell, few_digits, tmp_path, monkeypatch, expected=2)


@pytest.mark.usefixtures("augmented")
def test_cached_views_give_what_uncached_ones_give(
    few_digits: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = cells(few_digits, views=3)
    assert {setting for _, setting in found} == {"views=3", "n=3;views=3", "n=6;views=3"}
    cell = found["AnB", "n=3;views=3"]
    assert cell.needs["base"].spec.views == 3, "base networks see the same views"
    same_path(cell, few_digits, tmp_path, monkeypatch, expected=2)


@pytest.mark.usefixtures("augmented")
@pytest.mark.parametrize("views", [0, 3])
def test_frozen_and_trained_rows_see_the_same_images(views: int, few_digits: Location) -> None:
    """At every step a frozen row learns from the images that base learns from, or from what its layers make of them."""
    found = {(row, setting.split(";")[0]): cell for (row, setting), cell in cells(few_digits, views=views).items()}
    assert {cell.spec.views for cell in found.values()} == {views}
    prepared = {}
    for key in (("base", f"views={views}" if views else ""), ("BnB+", "n=3"), ("AnB", "n=3"), ("random", "n=6")):
        cell = found[key]
        needed = {
            name: training.prepare(need.spec, loading.problem_of(need, few_digits), None, {}).state.model.state_dict()
            for name, need in cell.needs.items()
        }
        one = training.prepare(cell.spec, loading.problem_of(cell, few_digits), None, needed)
        sampler = loading.Sampler(one.data, Recipe(**cell.spec.recipe), cell.spec.seed)
        prepared[key[0]] = (one.state.model, [sampler(step) for step in (0, 1, 17)])
    _, images = prepared.pop("base")
    assert not torch.equal(images[0].source_x, images[1].source_x)
    for row, (model, batches) in prepared.items():
        layers = yosinski.frozen_layers(model)
        assert (layers is None) == (row == "BnB+")
        for image, batch in zip(images, batches, strict=True):
            assert torch.equal(image.source_y, batch.source_y)
            if layers is None or not layers.passed:
                assert torch.equal(image.source_x, batch.source_x), "not cached"
                continue
            assert views
            layers.passed = False
            assert torch.allclose(layers(image.source_x), batch.source_x, atol=1e-5)
            layers.passed = True
        assert layers is None or layers.passed == bool(views)


def test_the_control_shares_nothing_with_base_but_its_start(few_digits: Location, tmp_path: Path) -> None:
    found, store = cells(few_digits), Store(tmp_path)
    base, twice = found["base", ""], found["base, twice the steps", ""]
    assert dataclasses.replace(twice.spec, recipe=base.spec.recipe) == base.spec
    assert (twice.spec.recipe["steps"], twice.spec.recipe["epoch"]) == (48, 4)
    assert not twice.needs
    assert twice.spec.hash not in {need.spec.hash for cell in found.values() for need in cell.needs.values()}
    records = run([twice], few_digits, store)
    assert records.keys() == {twice.spec.hash}, "it does not go on from base"
    history = records[twice.spec.hash].history
    assert [epoch["step"] for epoch in history] == [4.0 * i for i in range(1, 13)]
    shorter = run([base], few_digits, store)[base.spec.hash].history
    first = next(epoch["classification"] for epoch in shorter if epoch["step"] == 4)
    assert first != history[0]["classification"]


@pytest.mark.usefixtures("augmented")
def test_nothing_is_cached_where_images_are_augmented_anew(
    few_digits: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = cells(few_digits)["AnB", "n=3"]
    same_path(cell, few_digits, tmp_path, monkeypatch, expected=0)


def same_path(cell: Cell, location: Location, folder: Path, patch: pytest.MonkeyPatch, expected: int) -> None:
    """The cell run with and without room for activations: the same training, to rounding."""
    made: list[feeding.Cached | None] = []
    real = feeding.passed

    def counted(*arguments: Any, **named: Any) -> Any:
        made.append(real(*arguments, **named))
        return made[-1]

    patch.setattr("benchmarks.cell.loading.passed", counted)
    records = []
    for name, room in (("with", feeding.MOST_CACHED), ("without", 0)):
        patch.setattr(feeding, "MOST_CACHED", room)
        store = Store(folder / name)
        records.append(run([cell], location, store)[cell.spec.hash])
        if room:
            assert len([one for one in made if one is not None]) == expected
        else:
            assert not [one for one in made if one is not None]
        made.clear()
    first, second = records
    assert first.spec == second.spec
    for one, other in zip(first.history, second.history, strict=True):
        assert one["classification"] == pytest.approx(other["classification"], rel=1e-4)
        assert one["target_entropy"] == pytest.approx(other["target_entropy"], rel=1e-3)
        assert one["test_accuracy"] == pytest.approx(other["test_accuracy"], abs=0.3)


def test_a_killed_study_ends_with_the_same_records(
    few_digits: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A treatment is stopped in the middle of its base network, of itself, and between both."""
    cell = cells(few_digits)["AnB", "n=3"]
    whole = Store(tmp_path / "whole")
    wanted = run([cell], few_digits, whole)
    monkeypatch.setattr(training, "CHECKPOINT_AFTER", 0.0)
    killed = Store(tmp_path / "killed")
    real, count = training.State.save, 0

    class Killed(BaseException):
        """As a signal that no part of the harness can catch."""

    def save(self: training.State, path: Path, seconds: float) -> None:
        nonlocal count
        real(self, path, seconds)
        count += 1
        if count in (4, 15):
            raise Killed

    monkeypatch.setattr(training.State, "save", save)
    stops = 0
    while not killed.has(cell.spec.hash):
        try:
            execute._finish(cell, few_digits, killed, "test", kept=False)
        except Killed:
            stops += 1
    assert stops == 2
    found = {hash_: killed.read(hash_) for hash_ in killed.cells()}
    assert found.keys() == wanted.keys()
    for hash_, record in found.items():
        assert stable(record) == stable(wanted[hash_])
    assert not list((tmp_path / "killed" / "checkpoints").iterdir())


def test_one_side_alone_has_the_rule_of_the_paper_and_no_distances(few_digits: Location, tmp_path: Path) -> None:
    base = cells(few_digits)["base", ""]
    record = run([base], few_digits, Store(tmp_path))[base.spec.hash]
    accuracies = [epoch["test_accuracy"] for epoch in record.history]
    assert len(accuracies) == 12
    assert {row["metric"] for row in record.values} == {"accuracy"}
    assert record.value("accuracy") == accuracies[-1]
    assert record.value("accuracy", "ten-best") == pytest.approx(np.mean(sorted(accuracies)[-10:]))
    assert record.value("accuracy", "oracle") == max(accuracies)


def test_ten_best() -> None:
    history = [{"test_accuracy": float(value)} for value in (5, *range(100, 88, -1))]
    assert ten_best(history) == pytest.approx(95.5)
    assert ten_best(history[:3]) == pytest.approx((5 + 100 + 99) / 3)


def test_later_splits_and_tasks_join_the_committed_ones(
    few_digits: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a study goes on from a fresh clone: what is there stays, although it starts from other networks."""
    monkeypatch.setattr("benchmarks.machine.host.ROOT", tmp_path)
    tasks = ("mnist-a:mnist-b", "mnist-b:mnist-a")
    planned = plan.make("yosinski", Options(experiments=("smoke",), tasks=tasks, seeds=2), few_digits)
    path = tables.committed_path("yosinski", "smoke")
    every = set()
    for task, split in itertools.product(tasks, range(2)):
        part = [cell for cell in planned.cells if (cell.spec.task, cell.spec.split) == (task, split)]
        store = Store(tmp_path / f"runs {task} {split}")
        finish(Plan(part), store)
        tables.write_local(Plan(part), store, few_digits)
        tables.export("yosinski", ["smoke"], [], store, few_digits)
        every |= {cell.spec.hash for cell in part}
        assert {row["cell"] for row in tables.read(path)} == every
    assert len(every) == len(planned.cells) == 4 * 12
    assert all(tables.is_committed(cell, tables.committed_cells("yosinski")) for cell in planned.cells)


# ------------------------------------------------------------------------------------------------------ schedules


def test_the_rate_falls_at_the_milestones(
    few_digits: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = cells(few_digits)["base", ""]
    rates = []
    real = Descent.step

    def step(self: Descent, anneal: float) -> None:
        rates.append([group.rate * anneal for group in self.groups])
        real(self, anneal)

    monkeypatch.setattr(Descent, "step", step)
    run([base], few_digits, Store(tmp_path))
    assert rates == [pytest.approx([0.01, 0.02])] * 12 + [pytest.approx([0.001, 0.002])] * 12


def test_milestones_are_in_the_identity_of_a_cell_only_where_there_are_any(few_digits: Location) -> None:
    assert "milestones" not in recipe_values(Recipe(steps=1, epoch=1, rate=1.0))
    base = cells(few_digits)["base", ""].spec
    assert base.recipe["milestones"] == (0.5,)
    again = dataclasses.replace(base, recipe=json.loads(json.dumps(base.recipe)))
    assert again.hash == base.hash
    assert Recipe(**again.recipe).milestones == [0.5]


def test_another_precision_is_a_setting(few_digits: Location) -> None:
    assert {cell.spec.precision for cell in cells(few_digits).values()} == {"fp32"}
    assert {setting for _, setting in cells(few_digits, precision="bf16")} == {
        f"{n}precision=bf16" for n in ("", "n=3;", "n=6;")
    }


def test_views_are_refused_where_nothing_is_augmented(few_digits: Location) -> None:
    with pytest.raises(UserError, match="views are cached"):
        cells(few_digits, views=3)


def test_the_papers_schedule_is_whole() -> None:
    recipe = yosinski.PAPER_RECIPE
    drops = [round(m * recipe.steps) for m in recipe.milestones]
    assert drops == [100_000, 200_000, 300_000, 400_000]


# ---------------------------------------------------------------------------------------------------------- images


def images(n: int = 9, side: int = 16, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (n, side, side, channels), dtype=np.uint8)


def slow(image: np.ndarray, row: int, column: int, mirrored: bool, window: Window) -> np.ndarray:
    """One square, cut from the padded image and then mirrored, (channels, crop, crop)."""
    scaled = (image.astype(np.float64) - np.array(window.mean)) / window.scale
    padded = np.pad(scaled, ((window.padding,) * 2, (window.padding,) * 2, (0, 0)))
    square = padded[row : row + window.crop, column : column + window.crop]
    return np.asarray((square[:, ::-1] if mirrored else square).transpose(2, 0, 1))


@pytest.mark.parametrize("window", [SHIFTING, Window(side=16, crop=11, mirrored=True, mean=(1.0, 2.0, 3.0), scale=2.0)])
def test_squares_are_cut_and_mirrored_as_drawn(window: Window) -> None:
    all_images = images()
    inputs = Windows(all_images, window, 3, CPU)
    indices = np.array([4, 0, 7, 4])
    found = inputs.training(indices, torch.Generator().manual_seed(3))
    rows, columns, mirrored = inputs._draw(4, torch.Generator().manual_seed(3))
    for i, index in enumerate(indices):
        wanted = slow(all_images[index], int(rows[i]), int(columns[i]), bool(mirrored[i]), window)
        assert torch.allclose(found[i].double(), torch.from_numpy(wanted.copy()), atol=1e-5)
    corner = window.padding + (window.side - window.crop) // 2
    middle = inputs(indices)
    for i, index in enumerate(indices):
        wanted = slow(all_images[index], corner, corner, False, window)
        assert torch.allclose(middle[i].double(), torch.from_numpy(wanted.copy()), atol=1e-5)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_every_shift_and_both_directions_are_drawn() -> None:
    rows, columns, mirrored = Windows(images(), SHIFTING, 3, CPU)._draw(2000, torch.Generator().manual_seed(0))
    for drawn in (rows, columns):
        assert sorted(set(drawn.flatten().tolist())) == [0, 1, 2, 3, 4]
    assert mirrored.double().mean().item() == pytest.approx(0.5, abs=0.05)


def test_fixed_views_are_the_same_at_every_step_and_in_parts() -> None:
    inputs = Windows(images(), SHIFTING, 3, CPU, views=2)
    indices = np.arange(9)
    views = torch.stack([inputs.view(view, indices) for view in (1, 2)])
    assert not torch.equal(views[0], views[1])
    for seed in range(3):
        generator, other = (torch.Generator().manual_seed(seed) for _ in range(2))
        chosen = torch.randint(1, 3, (9,), generator=other) - 1
        assert torch.equal(inputs.training(indices, generator), views[chosen, torch.arange(9)])
    part = inputs.part(np.array([2, 5]))
    assert torch.equal(part.view(1, np.array([1])), views[0, 5:6])
    assert torch.equal(inputs.view(0, indices), inputs(indices))


def test_digits_are_scaled_by_means_and_not_augmented() -> None:
    window = BACKBONES["caffenet-16"].window
    assert window is not None
    assert not window.augments
    inputs = Windows(images(side=32, channels=1), window, 1, CPU)
    means = images(side=32, channels=1).reshape(9, 16, 2, 16, 2).mean((2, 4))
    found = (inputs(np.arange(9))[:, 0] * 127.5 + 127.5).numpy()
    assert np.abs(found - means).max() <= 0.5 + 1e-3
    assert torch.equal(inputs.training(np.arange(9), torch.Generator()), inputs(np.arange(9)))


def test_views_have_streams_of_their_own() -> None:
    assert len({seed_of(0, "view", view) for view in range(4)}) == 4
