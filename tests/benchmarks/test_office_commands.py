"""The command line on photographs: plans, lists, whole runs in little, and one sentence for every mistake."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from benchmarks.machine import host
from benchmarks.networks import activations, backbones, weights
from benchmarks.networks.backbones import choose
from benchmarks.plan import plan
from benchmarks.plan.plan import Options
from benchmarks.records.store import Store
from datasets import folders, office, registry, scan, verify
from datasets.store import Location
from methods import contract, recipes
from methods.contract import Recipe
from tests.benchmarks.test_command_line import call
from tests.datasets.office_helpers import SIDE, image_file, write_archive, write_tree
from tests.datasets.test_office_layouts import expect, home_members, unpinned

DAN = contract.load("dan")
Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def _no_mirror(monkeypatch: Patch) -> None:
    """These tests bring their own data."""
    monkeypatch.delenv("DATA_MIRROR", raising=False)


@pytest.fixture
def planned(office: Location, tmp_path: Path) -> Location:
    """A data folder where Office-31 seems to be prepared: enough for plans, which open no image."""
    for domain in registry.suite("office31").domains.values():
        meta = (office.root / "prepared" / f"{domain}@{SIDE}" / "meta.json").read_text()
        for side in (256, 28):
            write_tree(tmp_path / "data" / "prepared" / f"{domain}@{side}", {"meta.json": meta.encode()})
    return Location(tmp_path / "data")


@pytest.fixture
def short(monkeypatch: Patch) -> None:
    """Two rows, and two steps per cell."""
    for experiment in DAN.paper.experiments:  # type: ignore[union-attr]
        recipes = dict.fromkeys(experiment.recipes, Recipe(steps=2, epoch=1, rate=0.01, batch=4))
        monkeypatch.setitem(experiment.__dict__, "recipes", recipes)
        monkeypatch.setitem(experiment.__dict__, "rows", (experiment.baseline, experiment.rows[-1]))


@pytest.fixture
def data(location: Location, tmp_path: Path) -> Path:
    """A data folder of its own that has the weights of Lite0."""
    kept = Location(tmp_path / "data").kept(weights.FILES["lite0"])
    kept.parent.mkdir(parents=True)
    kept.symlink_to(weights.path("lite0", location).resolve())
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--track", "early"], "backbone 'lite0' has no track 'early'; it has: frozen, late, finetune."),
        (["--backbone", "lite9"], "unknown backbone 'lite9'; there are: lenet, "),
        (["--backbone", "lenet"], "backbone 'lenet' has no track 'frozen'; it has: finetune."),
        (["--backbone", "lenet", "--track", "finetune"], "backbone 'lenet' takes digits and office31 holds photos"),
        (["--track", "late", "--cut", "blocks.9"], "backbone 'lite0' has no cut 'blocks.9'; it has: blocks.1, "),
        (["--cut", "blocks.9"], "backbone 'lite0' has no cut 'blocks.9' on the track 'frozen'; it has: blocks.1, "),
        (["--batchnorm", "layer"], "unknown BatchNorm mode 'layer'; there are: none, source, separate, joint, kept."),
        (["--batchnorm", "kept"], "the head on the track 'frozen' has no BatchNorm statistics of ImageNet to keep"),
        (["--track", "late", "--batchnorm", "none"], "has BatchNorm layers, so its BatchNorm mode cannot be 'none'."),
        (["--tasks", "amazon:caltech"], "unknown task 'amazon:caltech' of office31: choose from amazon:dslr, "),
        (
            ["--views", "2", "--track", "finetune"],
            "views are cached, and 'lite0' on the track 'finetune' caches",
        ),
        (["--views", "-1"], "-1 is not in the range x>=0"),
        (["--dataset", "office32"], "unknown data set 'office32': choose one of digits-mini, "),
        (["--dataset", "folder:/does/not/exist"], "/does/not/exist is not a folder: name one with the layout"),
    ],
)
def test_a_mistake_is_one_sentence(
    options: list[str], says: str, planned: Location, tmp_path: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    dataset = [] if "--dataset" in options else ["--dataset", "office31"]
    for command in ("plan", "run", "reproduce"):
        what = [command, "dan", *dataset, *options, "--data", planned.root, "--runs", tmp_path / "runs"]
        status, _, error = call(capsys, monkeypatch, *what)
        assert status == 2
        assert says in error
        assert error.startswith("Error: ")
        assert error.count("\n") == 1


def test_the_late_track_of_one_task_and_seed(
    planned: Location, tmp_path: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    """``make plan-dan DATASET=office31 TRACK=late SEEDS=1 TASKS=amazon:webcam``."""
    variables = ["DATASET=office31", "TRACK=late", "SEEDS=1", "TASKS=amazon:webcam", "VENV=/nowhere"]
    made = subprocess.run(["make", "-n", "plan-dan", *variables], cwd=host.ROOT, capture_output=True, text=True)
    (line,) = [line for line in made.stdout.splitlines() if "benchmarks plan" in line]
    arguments = line.partition("benchmarks ")[2].replace("'", "").split()
    what = [*arguments, "--data", planned.root, "--runs", tmp_path / "runs"]
    status, output, error = call(capsys, monkeypatch, *what)
    assert (status, error) == (0, "")
    rows = [row for row in output.splitlines() if "amazon:webcam" in row]
    assert [re.split(r"  +", row)[1:7] for row in rows] == [
        ["table1-late", "office31", name, "-", "amazon:webcam", "0"] for name in ("source-only", "DAN")
    ]
    assert "2 cells, 0 done, 2 to run." in output
    options = Options(datasets=("office31",), tasks=("amazon:webcam",), seeds=1, track="late")
    specs = [cell.spec for cell in plan.make("dan", options, planned).cells]
    for spec in specs:
        assert (spec.backbone, spec.track, spec.cut, spec.batchnorm) == ("lite0", "late", "blocks.6", "kept")
        assert (spec.protocol, spec.split, spec.seed, spec.views) == ("full", 0, 0, 0)
        assert spec.data["weights"] == weights.digest("lite0")
    assert not (tmp_path / "runs").exists(), "a plan changes nothing"
    assert not (planned.root / "activations").exists()


def test_a_head_is_trained_at_the_rate_that_was_chosen_on_its_backbone(planned: Location) -> None:
    """GoogLeNet's features ask for another one; every paper's recipe follows, on the frozen track alone."""
    where = {"experiments": ("table1",), "datasets": ("office31",), "tasks": ("amazon:webcam",), "seeds": 1}
    for paper in ("dan", "autodial"):
        cells = plan.make(paper, Options(**where, backbone="googlenet", track="frozen"), planned).cells  # type: ignore[arg-type]
        assert {cell.spec.recipe["rate"] for cell in cells} == {0.05}
    assert choose("lite0", "frozen").adjusted(recipes.HEAD) is recipes.HEAD
    assert choose("googlenet", "late").adjusted(recipes.LATE) is recipes.LATE


def test_what_decides_the_numbers_is_in_the_identity_of_a_cell(planned: Location) -> None:
    base = {"datasets": ("office31",), "tasks": ("amazon:webcam",), "seeds": 1, "track": "late"}
    hashes = set()
    for change in ({}, {"cut": "blocks.5"}, {"views": 2}, {"batchnorm": "source"}, {"precision": "bf16"}):
        cells = plan.make("dan", Options(**base, **change), planned).cells  # type: ignore[arg-type]
        hashes |= {cell.spec.hash for cell in cells}
        (setting,) = {use.setting for cell in cells for use in cell.uses}
        assert setting == ";".join(f"{name}={value}" for name, value in change.items())
    assert len(hashes) == 10


@pytest.mark.parametrize("experiment", ["table3", "table3-supervised"])
def test_splits_take_the_place_of_seeds(experiment: str, planned: Location) -> None:
    cells = plan.make("dan", Options(experiments=(experiment,), datasets=("office31",)), planned).cells
    specs = [cell.spec for cell in cells if cell.spec.method == "dan"]
    assert len(specs) == 3 * 5
    assert {(spec.split, spec.seed) for spec in specs} == {(number, number) for number in range(5)}
    assert len({spec.data["splits"] for spec in specs}) == 5
    assert len({spec.protocol for spec in specs}) == 1


def test_every_experiment_on_office31_can_be_planned(planned: Location) -> None:
    for paper in contract.papers():
        for experiment in plan.paper(paper).experiments:
            side = backbones.backbone(experiment.backbone).side
            if "office31" in experiment.recipes and side in (None, 256):
                options = Options(experiments=(experiment.name,), datasets=("office31",))
                made = plan.make(paper, options, planned)
                assert made.cells, experiment.name
                assert not made.missing


def test_a_plan_says_how_to_get_what_is_missing(
    planned: Location, tmp_path: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    """Photographs of another size are not what `make data` prepares."""
    where = ["--tasks", "amazon:webcam", "--seeds", 1, "--runs", tmp_path / "runs"]
    what = ["plan", "dan", "--dataset", "office31", *where]
    _, output, _ = call(capsys, monkeypatch, *what, "--data", tmp_path / "nothing")
    assert (
        "Left out: amazon:webcam of office31: its data are not prepared; `make data DATASET=office31` does." in output
    )
    _, output, _ = call(capsys, monkeypatch, *what, "--data", planned.root, "--backbone", "lite1")
    assert (
        "Left out: amazon:webcam of office31: its data are not prepared at the 274 pixels of lite1; "
        "`make reproduce-dan` does." in output
    )
    _, output, _ = call(capsys, monkeypatch, *what, "--data", planned.root, "--backbone", "resnet50")
    assert "Left out" not in output


def test_photographs_are_listed(planned: Location, capsys: Capture, monkeypatch: Patch) -> None:
    status, output, _ = call(capsys, monkeypatch, "data", "--list", "--data", planned.root)
    assert status == 0
    for domain, count in (("caltech10", 1123), ("home-art", 2427), ("home-real", 4357), ("clef-bing", 600)):
        (line,) = [row for row in output.splitlines() if row.startswith(f"{domain} ")]
        assert f"train {count}" in line
        assert "not here" in line
    (line,) = [row for row in output.splitlines() if row.startswith("amazon ")]
    assert "damaged" in line, "metadata without images are no prepared data"
    for suite in office.SUITES:
        assert re.search(rf"^{suite.name} .*{suite.tasks[0][0]}:{suite.tasks[0][1]}", output, re.MULTILINE)


def test_office_home_from_its_archive_to_its_table(
    data: Path, tmp_path: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    """130 images in the publisher's layout, the real network, cells of sixty steps, and nothing left to do after."""
    expect(monkeypatch, tmp_path / "manifests", home_art=65, home_clipart=65)
    unpinned(monkeypatch, "home-art", "home-clipart")
    write_archive(tmp_path / "mirror" / "OfficeHomeDataset_10072016.zip", home_members())
    for experiment in DAN.paper.experiments:  # type: ignore[union-attr]
        recipes = dict.fromkeys(experiment.recipes, Recipe(steps=60, epoch=30, rate=0.1, batch=32))
        monkeypatch.setitem(experiment.__dict__, "recipes", recipes)
        monkeypatch.setitem(experiment.__dict__, "rows", (experiment.baseline, experiment.rows[-1]))
    runs = tmp_path / "runs"
    what = ["reproduce", "dan", "--experiment", "table1", "--dataset", "office-home", "--tasks", "art:clipart"]
    where = ["--data", data, "--mirror", tmp_path / "mirror", "--runs", runs, "--seeds", 1, "--jobs", 1]
    status, output, error = call(capsys, monkeypatch, *what, *where)
    assert status == 0, error
    assert "preparing home-art (office-home) ..." in output
    records = [Store(runs).read(cell) for cell in Store(runs).cells()]
    assert {record.spec["method"] for record in records} >= {"source_only", "dan"}
    for record in records:
        assert record.n_test == 65
        losses = [epoch["classification"] for epoch in record.history]
        assert losses[-1] < losses[0] < 8, "65 classes: the first epoch starts at about log 65 = 4.2"
        assert 0 <= record.value("accuracy") <= 100
        assert record.versions["timm"]
    assert len(list((data / "activations").iterdir())) == 2
    status, output, _ = call(capsys, monkeypatch, *what, *where)
    assert status == 0
    assert re.search(r"All \d+ cells are done\.", output)


def small_folder(root: Path) -> Path:
    """Two domains of two classes, six images each."""
    members = {
        f"{domain}/{name}/{number}.jpg": image_file(f"{name} {number}", (240, 230))
        for domain in ("shop", "street")
        for name in ("mug", "pen")
        for number in range(3)
    }
    return write_tree(root, members)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(
    ("experiment", "track", "kept"),
    [
        ("table1", [], 2),
        ("table1-late", ["--views", 1, "--tasks", "shop:street"], 2),
        ("table1-late", ["--track", "finetune", "--tasks", "shop:street"], 0),
    ],
)
def test_a_folder_on_every_track(
    experiment: str, track: list[object], kept: int, data: Path, tmp_path: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    """All pairs of its domains, unless some are named."""
    name = f"folder:{small_folder(tmp_path / 'mine')}"
    runs = tmp_path / "runs"
    what = ["dan", "--experiment", experiment, "--dataset", name, *track, "--seeds", 1, "--data", data, "--runs", runs]
    status, output, _ = call(capsys, monkeypatch, "data", name, "--data", data)
    assert status == 0
    assert output.count("prepared and verified") == 2
    status, _, error = call(capsys, monkeypatch, "run", *what, "--jobs", 1)
    assert status == 0, error
    records = [Store(runs).read(cell) for cell in Store(runs).cells()]
    tasks = {"shop:street"} if "--tasks" in track else {"shop:street", "street:shop"}
    assert {record.spec["task"] for record in records} == tasks
    assert {record.spec["method"] for record in records} >= {"source_only", "dan"}
    assert all(record.n_test == 6 for record in records)
    assert len(list((data / "activations").glob("*"))) == kept
    planned = call(capsys, monkeypatch, "plan", *what)[1]
    assert re.search(r"(\d+) cells, \1 done, 0 to run\.", planned)


def test_what_is_said_of_folders_that_are_no_data(tmp_path: Path, capsys: Capture, monkeypatch: Patch) -> None:
    root, data = small_folder(tmp_path / "mine"), tmp_path / "data"
    (root / "shop" / "pen" / "0.jpg").write_bytes(b"no image")
    status, output, error = call(capsys, monkeypatch, "data", f"folder:{root}", "--data", data)
    assert status == 2
    assert error == "Error: shop/pen/0.jpg is not a readable image: replace it.\n"
    assert "street: prepared" in output, "the other domain is prepared all the same"
    (root / "street" / "cup").mkdir()
    for known in (folders._suite, folders.domain, folders.state, scan.domains):
        known.cache_clear()
    what = ["reproduce", "dan", "--dataset", f"folder:{root}", "--data", data, "--runs", tmp_path / "runs"]
    for arguments in (["data", f"folder:{root}", "--data", data], what):
        status, _, error = call(capsys, monkeypatch, *arguments)
        assert status == 2
        assert "have different classes: cup is in street and not in shop" in error
        assert error.count("\n") == 1


def test_weights_that_cannot_be_had_are_a_sentence(tmp_path: Path, capsys: Capture, monkeypatch: Patch) -> None:
    from datasets import fetch

    monkeypatch.setattr(fetch, "BACKOFF_SECONDS", 0.0)
    file = weights.FILES["alexnet"]
    monkeypatch.setitem(
        weights.FILES, "alexnet", weights.File(file.name, ("http://127.0.0.1:9/x.pth",), digest=file.digest)
    )
    name = f"folder:{small_folder(tmp_path / 'mine')}"
    where = ["--data", tmp_path / "data", "--runs", tmp_path / "runs", "--seeds", 1, "--jobs", 1]
    status, _, error = call(
        capsys,
        monkeypatch,
        "reproduce",
        "dan",
        "--experiment",
        "table1",
        "--dataset",
        name,
        "--backbone",
        "alexnet",
        *where,
    )
    assert status == 2
    assert "the ImageNet weights of alexnet are not available" in error
    assert "BACKBONE=lite0 needs nothing but the package index" in error
    assert error.count("\n") == 1
    assert "Traceback" not in error


def test_activations_are_computed_once_before_the_cells(planned: Location, monkeypatch: Patch) -> None:
    """One key for each domain, whatever the number of cells; weights are looked at once."""
    from benchmarks.executors import execute

    asked: list[activations.Key] = []
    looked: list[str] = []
    monkeypatch.setattr(activations, "ensure", lambda keys, *_, **__: asked.extend(dict.fromkeys(keys)))
    monkeypatch.setattr(weights, "path", lambda name, _location: looked.append(name))
    cells = plan.make("dan", Options(datasets=("office31",), track="late", seeds=2), planned).cells
    workers = execute.Local(planned, Store(planned.root / "runs"), 1)
    execute.prepare(cells, planned, workers)
    assert sorted(key.domain for key in asked) == ["amazon", "dslr", "webcam"]
    assert {key.cut for key in asked} == {"blocks.6"}
    assert looked == ["lite0"]
    asked.clear()
    looked.clear()
    frozen = plan.make("dan", Options(datasets=("office31",), track="frozen", seeds=1), planned).cells
    execute.prepare(frozen, planned, workers)
    assert {key.cut for key in asked} == {"pool"}
    assert looked == []


def test_sizes_of_what_backbones_take() -> None:
    sizes = {name: known.side for name, known in backbones.BACKBONES.items() if known.side}
    small = {"mlp-photos": 28, "caffenet-32": 32, "caffenet-32-bn": 32}
    assert sizes == {
        "lite0": 256,
        "lite1": 274,
        "lite2": 297,
        "alexnet": 256,
        "resnet50": 256,
        "caffenet": 256,
        "googlenet": 256,
        **small,
    }
    assert json.loads((verify.MANIFESTS / "amazon.json").read_text())["parts"]["train"]["count"] == 2817
