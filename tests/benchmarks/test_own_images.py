"""A user's own images: comparison, networks for use, predictions, and what is said where something is missing."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.cell import kept
from benchmarks.machine import host
from benchmarks.machine.errors import UserError
from benchmarks.records import files, schema
from benchmarks.records.store import Store
from datasets import folders
from datasets.store import Location
from methods import contract
from report import __main__ as report
from report import comparison, site
from report import kept as by_class
from tests.benchmarks.own_images import CLASSES, QUICK, picture, tiny, write
from tests.benchmarks.test_command_line import call

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Location]:
    with tiny(tmp_path / "data") as location:
        yield location


def compare(capsys: Capture, patch: Patch, root: Path, place: Location, *more: object) -> tuple[int, str, str]:
    what = ["compare", "--dataset", f"folder:{root}", "--backbone", "tiny", "--set", QUICK, "--jobs", 1]
    return call(capsys, patch, *what, "--data", place.root, "--runs", place.root / "runs", *more)


def table(capsys: Capture, patch: Patch, root: Path, place: Location) -> str:
    patch.setattr("sys.argv", ["report", "compare", f"folder:{root}", "--runs", str(place.root / "runs")])
    report.main(standalone_mode=False)
    return capsys.readouterr().out


def rows(place: Location) -> list[dict[str, str]]:
    (path,) = (place.root / "runs" / "compare").glob("*.csv")
    return files.read_csv(path, schema.COMPARISON)


def test_from_folders_to_predictions(tmp_path: Path, place: Location, capsys: Capture, monkeypatch: Patch) -> None:
    """All methods on a labelled source and a flat target, the advice, and new files classified by what it names."""
    root = write(tmp_path / "my data", {"paper": True, "night, ü": False})
    status, output, error = compare(capsys, monkeypatch, root, place, "--seeds", 1)
    assert status == 0, output + error
    assert "paper: 24 images of 3 classes (blue 8, green 8, red 8)" in output
    assert "night, ü: 24 images without labels" in output
    found = rows(place)
    assert {row["method"] for row in found} == {*contract.names()} - {"yosinski"}
    assert not any(row["accuracy"] or row["error"] for row in found)
    assert all(
        row["a_distance"] and row["target_entropy"] and row["snd"] for row in found if row["method"] != "shallow"
    )

    text = table(capsys, monkeypatch, root, place)
    assert "no target labels, so no accuracy" in text
    assert "published" not in text
    advice = re.search(r"Take (.+?): it (has|is) .* s per training", text)
    assert advice, text
    network = re.search(r"predict (.+) FOLDER", text)
    assert network, text
    new = tmp_path / "new"
    new.mkdir()
    for label in range(3):
        for number in range(4):
            (new / f"{CLASSES[label]}-{number}").write_bytes(picture(label, 900 + number, False))
    status, output, _ = call(capsys, monkeypatch, "predict", *shlex.split(network[1]), new, "--data", place.root)
    assert status == 0
    predicted = list(csv.DictReader(io.StringIO(output)))
    assert [row["file"] for row in predicted] == sorted(path.name for path in new.iterdir())
    assert np.mean([row["file"].startswith(row["predicted"]) for row in predicted]) > 0.8
    assert all(1 / 3 <= float(row["probability"]) <= 1 for row in predicted)


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems take no names that are not UTF-8")
def test_odd_names_go_all_the_way(tmp_path: Path, place: Location, capsys: Capture, monkeypatch: Patch) -> None:
    """Data, comparison, predictions, table and page of a tree that holds every odd name at once."""
    raw = os.fsdecode("照".encode("gbk"))
    root = write(tmp_path / f"my data, 5% $x 'y' {raw}", {'it\'s "100 %", $HOME': True, "Real World": True, raw: False})
    first, second, flat = root / 'it\'s "100 %", $HOME', root / "Real World", root / raw
    for domain, cafe in ((first, unicodedata.normalize("NFC", "Café")), (second, unicodedata.normalize("NFD", "Café"))):
        (domain / "blue").rename(domain / cafe)
        (domain / "green").rename(domain / "a, b")
        (domain / "red").rename(domain / raw)
    (first / "a, b" / "0.png").rename(first / "a, b" / "0.jfif")
    (second / raw / "1.png").rename(second / raw / "without ending")
    (flat / "00.png").rename(flat / "zero\nzero, <b>.png")
    for junk in ("__MACOSX", "@eaDir", "lost+found"):
        (root / junk / "a").mkdir(parents=True)
        (second / junk).mkdir()
        (second / junk / "x.png").write_bytes(b"-")
    (second / "a, b" / "readme.txt").write_text("-")
    folders.forget()

    status, output, error = call(capsys, monkeypatch, "data", f"folder:{root}", "--data", place.root)
    assert status == 0, output + error
    assert r"\xd5\xd5: 24 images without labels" in output
    assert r"Real World: 24 images of 3 classes (Café 8, \xd5\xd5 8, a, b 8)" in unicodedata.normalize("NFC", output)
    assert "left out: 1 file that is not an image (1 .txt)" in output
    tasks = r"""Real World:\xd5\xd5 it's "100 %", $HOME:Real World"""
    more = ["--seeds", 1, "--methods", "dan shallow", "--tasks", tasks]
    status, output, error = compare(capsys, monkeypatch, root, place, *more)
    assert status == 0, output + error
    text = table(capsys, monkeypatch, root, place)
    assert r"Real World:\xd5\xd5" in text
    assert """it's "100 %", $HOME:Real World""" in text

    network = next(row["network"] for row in rows(place) if row["method"] == "dan" and row["task"].endswith("xd5"))
    status, output, error = call(capsys, monkeypatch, "predict", network, flat, "--data", place.root)
    assert status == 0, error
    predicted = list(csv.DictReader(io.StringIO(output)))
    assert len(predicted) == 24
    assert {row["predicted"] for row in predicted} <= {"Café", "a, b", r"\xd5\xd5"}
    assert r"zero\x0azero, <b>.png" in [row["file"] for row in predicted]

    (tmp_path / "results").mkdir()
    site.make({}, place.root / "runs", tmp_path / "results", tmp_path / "site")
    page = (tmp_path / "site" / "compare.html").read_text()
    assert r"Real World:\xd5\xd5" in page
    assert "it&#39;s &#34;100 %&#34;, $HOME:Real World" in page


def test_a_kept_network_predicts_what_its_cell_did(
    tmp_path: Path, place: Location, capsys: Capture, monkeypatch: Patch
) -> None:
    root = write(tmp_path / "mine", {"a": True, "b": True})
    methods = "dan jan autodial adabn sdt/confusion dann2014 ddc"
    status, output, error = compare(
        capsys, monkeypatch, root, place, "--seeds", 1, "--tasks", "a:b", "--methods", methods
    )
    assert status == 0, output + error
    records = Store(place.root / "runs")
    assert len(rows(place)) == 8
    for row in rows(place):
        left = records.kept_path(row["cell"])
        before = files.read_csv(left / "predictions.csv", schema.PREDICTIONS)
        right = np.mean([one["predicted"] == one["label"] for one in before])
        assert float(row["accuracy"]) == pytest.approx(100 * right, abs=1e-3)
        status, output, _ = call(
            capsys, monkeypatch, "predict", row["cell"][:8], root / "b", "--format", "json",
            "--data", place.root, "--runs", records.root,
        )  # fmt: skip
        assert status == 0
        after = {f"b/{one['file']}": one for one in json.loads(output)}
        for one in before:
            assert after[one["file"]]["predicted"] == one["predicted"], row["method"]
            assert after[one["file"]]["probability"] == pytest.approx(float(one["probability"]), abs=2e-4)
        confusion = files.read_csv(left / "confusion.csv", ("class", *CLASSES))
        assert sum(int(line[line["class"]]) for line in confusion) == round(right * 24)
        per_class = files.read_csv(left / "per-class.csv", ("class", "images", "accuracy"))
        assert [line["images"] for line in per_class] == ["8", "8", "8"]
    text = table(capsys, monkeypatch, root, place)
    assert "gain" in text
    (one,) = comparison.found(place.root / "runs", tmp_path / "nothing")
    best = comparison.ranked(one)[0]
    assert f"{best.label}, class by class: accuracy in percent" in text
    (chart,) = by_class.of_comparison(one, 0)
    data = chart.data
    assert data["images"].sum() == 24
    right = data.loc[data["class"] == data["taken for"], "images"].sum()
    assert 100 * right / 24 == pytest.approx(best.mean("accuracy", one.tested), abs=1e-3)
    grid = by_class.grid(one)
    assert grid is not None
    assert [line.label for line in grid.lines] == list(CLASSES)
    assert re.search(r"Take .+: \d+\.\d %.*one seed, so the uncertainty is unknown|Take source-only", text), text


def test_what_is_committed_of_a_comparison_is_not_run_again(
    tmp_path: Path, place: Location, capsys: Capture, monkeypatch: Patch
) -> None:
    root = write(tmp_path / "mine", {"a": True, "b": True})
    what = ["--seeds", 1, "--tasks", "a:b", "--methods", "shallow"]
    compare(capsys, monkeypatch, root, place, *what)
    (local,) = (place.root / "runs" / "compare").glob("*.csv")
    committed = tmp_path / "results" / "compare" / local.name
    committed.parent.mkdir(parents=True)
    text = local.read_text()
    committed.write_text(text)
    assert len(comparison.found(place.root / "runs", tmp_path / "results")) == 1, "the same is shown once"
    committed.write_text(text.replace(rows(place)[-1]["accuracy"], "12.5"))
    monkeypatch.setattr(host, "ROOT", tmp_path)
    again = place.root / "runs" / "again"
    status, output, error = compare(capsys, monkeypatch, root, place, *what, "--continue-committed", "--runs", again)
    assert status == 0, error
    assert re.search(r"^\d+ cells? of the committed comparison (is|are) taken over\.$", output, re.MULTILINE)
    assert "to run" not in output
    assert "12.5" in (again / "compare" / local.name).read_text()
    committed.write_text("\n".join(text.splitlines()[:-1]) + "\n")
    _, output, _ = compare(capsys, monkeypatch, root, place, *what, "--continue-committed", "--runs", again)
    assert "1 of 1 cell to run" in output


def test_a_network_that_cannot_be_used_is_one_sentence(
    tmp_path: Path, place: Location, capsys: Capture, monkeypatch: Patch
) -> None:
    root = write(tmp_path / "mine", {"a": True, "b": False})
    compare(capsys, monkeypatch, root, place, "--seeds", 1, "--methods", "source_only shallow")
    cell, other = ({row["method"]: row["cell"] for row in rows(place)}[name] for name in ("source_only", "shallow"))
    file = Store(place.root / "runs").kept_path(cell) / "network.pt"
    whole = file.read_bytes()
    content = torch.load(file, weights_only=True)

    def said(model: object, *paths: object) -> str:
        status, _, error = call(
            capsys, monkeypatch, "predict", model, *(paths or (root / "b",)), "--data", place.root,
            "--runs", place.root / "runs",
        )  # fmt: skip
        assert (status, error.count("\n")) == (2, 1), error
        return error

    def changed(**values: object) -> str:
        torch.save({**content, **values}, file)
        return said(file)

    file.write_bytes(whole[: len(whole) // 2])
    assert "is not a kept network, or is damaged" in said(file)
    parameters = {name: value + 1 for name, value in content["parameters"].items()}
    assert "its parameters are not those that were kept" in changed(parameters=parameters)
    assert "another version of the suite (format 99" in changed(format=99)
    spec = {**content["spec"], "revision": "harness 0, method 0"}
    assert "another version of source_only (harness 0, method 0; here" in changed(spec=spec)
    assert "trained on other weights of tiny" in changed(weights="sha256:0")
    assert "which this version of the suite does not have" in changed(spec={**content["spec"], "method": "nope"})
    file.write_bytes(whole)
    assert "no cell that left a network is called 'zzz'" in said("zzz")
    assert "left predictions but no network" in said(other)
    assert "there are no images in" in said(file, tmp_path / "data" / "locks")
    assert "cannot be read" in said(tmp_path / "nowhere.pt")


def test_a_network_trained_on_a_gpu_serves_without_one(
    tmp_path: Path, place: Location, capsys: Capture, monkeypatch: Patch
) -> None:
    root = write(tmp_path / "mine", {"a": True, "b": False})
    compare(capsys, monkeypatch, root, place, "--seeds", 1, "--methods", "source_only")
    file = Store(place.root / "runs").kept_path(rows(place)[0]["cell"]) / "network.pt"
    what = ["predict", file, root / "b", "--data", place.root, "--runs", place.root / "runs"]
    _, usual, _ = call(capsys, monkeypatch, *what)
    content = torch.load(file, weights_only=True)
    torch.save({**content, "spec": {**content["spec"], "device": "cuda"}}, file)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert call(capsys, monkeypatch, *what) == (
        0,
        usual,
        "Note: the network was trained on a GPU; there is none here, so the CPU classifies.\n",
    )


def test_images_that_cannot_be_read_are_left_out_of_predictions(
    tmp_path: Path, place: Location, capsys: Capture, monkeypatch: Patch
) -> None:
    root = write(tmp_path / "mine", {"a": True, "b": False})
    compare(capsys, monkeypatch, root, place, "--seeds", 1, "--methods", "source_only")
    (root / "b" / "00.png").write_bytes(b"text")
    (root / "b" / "01.png").write_bytes(b"")
    what = ["predict", rows(place)[0]["cell"], root / "b", "--out", tmp_path / "p.csv"]
    status, output, error = call(capsys, monkeypatch, *what, "--data", place.root, "--runs", place.root / "runs")
    assert (status, output) == (1, f"22 images in {tmp_path}/p.csv\n")
    assert error.splitlines() == [
        "Left out: 00.png is not a readable image: replace it.",
        "Left out: 01.png is empty: replace it.",
    ]


def test_weights_chosen_here(tmp_path: Path, place: Location, capsys: Capture, monkeypatch: Patch) -> None:
    root = write(tmp_path / "mine", {"a": True, "b": False}, count=16)
    more = ["--seeds", 1, "--methods", "dann2014", "--choose"]
    status, output, error = compare(capsys, monkeypatch, root, place, *more)
    assert status == 0, output + error
    (note,) = {row["note"] for row in rows(place) if row["method"] == "dann2014"}
    assert re.fullmatch(r"DaNN: weight [\d.]+ was chosen here without target labels", note)
    assert not (Path(__file__).parents[2] / "results" / "compare" / "folder").exists()
    status, output, error = compare(capsys, monkeypatch, root, place, *more, "--force")
    assert status == 0, output + error
    assert "are done" not in output, "what the choice is made from is trained again as well"
    more = ["--seeds", 1, "--methods", "dann2014", "--set", "dann2014.weight=3", "--precision", "bf16"]
    status, output, error = compare(capsys, monkeypatch, root, place, *more)
    assert status == 0, output + error
    assert {row["note"] for row in rows(place)} == {""}, "nothing was chosen, and nothing is to be"
    assert all(row["setting"].endswith("set.dann2014.weight=3;precision=bf16") for row in rows(place))


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--methods", "dam"], "unknown method 'dam'; there are: adabn, autodial, cdan"),
        (["--methods", "dan/nope"], "dan has no variant 'nope'"),
        (["--commit"], "results on your own images, or with SET, are not committed"),
        (["--experiment", "x"], "compare takes one data set"),
        (["--force", "--continue-committed"], "takes over what is committed: leave one out"),
        (["--set", "dan.weigth=2"], "dan has no setting 'weigth'; it has: "),
        (["--set", "recipe.steps=many"], "recipe.steps takes a value of type int, not 'many'"),
        (["--set", "den.weight=2"], "SET names 'den', which is not planned; there are: recipe, source_only, "),
        (["--set", "steps"], "SET takes METHOD.FIELD=VALUE or recipe.FIELD=VALUE, not 'steps'"),
        (["--tasks", "b:a"], "has no labels, so it can be a target and no source."),
        (["--tasks", "a:c"], "unknown task 'a:c'"),
    ],
)
def test_mistakes_in_a_comparison_are_one_sentence(
    more: list[str], says: str, tmp_path: Path, place: Location, capsys: Capture, monkeypatch: Patch
) -> None:
    root = write(tmp_path / "mine", {"a": True, "b": False}, count=2)
    status, _, error = compare(capsys, monkeypatch, root, place, *more)
    assert status == 2
    assert error.startswith("Error: ")
    assert error.count("\n") == 1
    assert says in error


def test_common_classes_alone(tmp_path: Path, place: Location, capsys: Capture, monkeypatch: Patch) -> None:
    root = write(tmp_path / "mine", {"a": True, "b": True})
    (root / "a" / "blue").rename(root / "a" / "violet")
    folders.forget()
    status, _, error = compare(capsys, monkeypatch, root, place, "--seeds", 1, "--methods", "dan")
    assert (status, "CLASSES=common takes those that all have" in error) == (2, True)
    more = ["--seeds", 1, "--methods", "dan", "--classes", "common", "--tasks", "a:b"]
    status, output, error = compare(capsys, monkeypatch, root, place, *more)
    assert status == 0, output + error
    assert "left out: 8 images of 1 class that not all domains share (violet)" in output
    assert "left out: 8 images of 1 class that not all domains share (blue)" in output
    left = Store(place.root / "runs").kept_path(rows(place)[0]["cell"])
    predicted = files.read_csv(left / "predictions.csv", schema.PREDICTIONS)
    assert len(predicted) == 16
    assert {row["label"] for row in predicted} == {"green", "red"}
    assert all(row["file"].startswith(f"b/{row['label']}/") for row in predicted)


def written(path: Path, *found: dict[str, str]) -> comparison.Comparison:
    """A comparison read from a file with these fields, and unlike labels of its tasks."""
    same = {"dataset": "office31", "protocol": "full", "backbone": "lite0", "track": "frozen", "seed": "0"}
    files.write_csv(
        path, schema.COMPARISON, [{**dict.fromkeys(schema.COMPARISON, ""), **same, **fields} for fields in found]
    )
    return comparison.read(path, "local")


def test_two_methods_with_one_name_are_two(tmp_path: Path) -> None:
    names = [("source_only", "default", "source-only"), ("adabn", "coral", "CORAL"), ("shallow", "coral", "CORAL")]
    one = written(
        tmp_path / "x.csv",
        *(
            {"method": name, "variant": variant, "label": label, "task": "a:b", "accuracy": str(50 + n), "seconds": "1"}
            for n, (name, variant, label) in enumerate(names)
        ),
    )
    assert [(m.label, m.mean("accuracy", ["a:b"])) for m in one.methods] == [
        ("source-only", 50), ("CORAL (adabn/coral)", 51), ("CORAL (shallow/coral)", 52)
    ]  # fmt: skip


def test_the_advice_where_methods_are_level_or_alone(tmp_path: Path) -> None:
    def said(*accuracies: tuple[str, str]) -> str:
        rows = [
            {"method": method, "variant": "default", "label": method, "task": "a:b", "seed": str(seed),
             "accuracy": accuracy, "seconds": "1", "network": "/media/Bob's disk/network.pt"}
            for method, accuracy in accuracies for seed in range(2)
        ]  # fmt: skip
        return comparison.advice(written(tmp_path / "x.csv", *rows), [])

    level = said(("source_only", "40"), ("dan", "90"), ("jan", "90"))
    assert "+50.0 points over source-only (95 % interval +50.0 to +50.0, 2 seeds), level with jan;" in level
    assert "1.0 points ahead of jan beyond doubt" in said(("source_only", "40"), ("dan", "90"), ("jan", "89"))
    assert "no method is better than source-only training" in said(("source_only", "90"), ("dan", "80"))
    assert said(("source_only", "90")).startswith("Take source_only: 90.0 %; it takes 1.0 s per training.")
    command = said(("source_only", "90")).partition("by: ")[2]
    assert shlex.split(command)[4] == "/media/Bob's disk/network.pt"


def test_a_task_of_which_nothing_finished_is_not_called_unlabelled(tmp_path: Path) -> None:
    base = {"method": "source_only", "variant": "default", "label": "source-only"}
    done = {**base, "task": "a:b", "accuracy": "50", "target_entropy": "1", "seconds": "1"}
    lost = {**base, "task": "b:a", "error": "not run"}
    bare = {**base, "task": "b:a", "target_entropy": "1", "seconds": "1"}

    def text(*found: dict[str, str]) -> str:
        (grid,) = comparison.table(written(tmp_path / "x.csv", *found), []).grids
        return "\n".join([grid.title, *grid.notes])

    assert "b:a: the target has no labels, so no accuracy; the other tasks decide" in text(done, bare)
    assert "no labels" not in text(done, lost)
    assert "no target labels, so no accuracy" in text(bare)
    assert text(lost).splitlines()[0] == "Methods: nothing finished"
    assert "labels" not in text(lost)


def test_a_class_may_be_called_class(tmp_path: Path) -> None:
    kept._write_confusion(tmp_path, ("class", "other"), torch.tensor([[5, 1], [2, 4]]))
    assert (tmp_path / "confusion.csv").read_text() == "class,class,other\nclass,5,1\nother,2,4\n"
    classes, counts = by_class._read(tmp_path)
    assert (classes, counts.tolist()) == (("class", "other"), [[5, 1], [2, 4]])


def test_what_the_criterion_is_worth() -> None:
    """Rank correlation, regret and gain against values by hand."""
    places = [("a:b", "0", 0)]

    def method(label: str, accuracy: float, distance: float) -> comparison.Method:
        values = {name: {} for name in comparison.NUMBERS}
        values |= {"accuracy": {places[0]: accuracy}, "a_distance": {places[0]: distance}}
        name = "source_only" if label == "base" else label
        return comparison.Method(label, name, values, {places[0]: "c"}, {}, {}, "")

    group = comparison.Group("office31", "full", "lite0", "frozen")
    methods = (method("base", 70, 1.9), method("x", 80, 1.5), method("y", 75, 1.1), method("z", 60, 1.8))
    one = comparison.Comparison("committed", Path("x"), group, "", ("a:b",), methods)
    found = comparison.trust([one], "a_distance")
    assert found is not None
    # Ranks by accuracy z base y x; by the least distance base z x y: d = 1, 1, 1, 1, so rho = 1 - 6 * 4 / (4 * 15).
    assert found.correlation == pytest.approx(0.6)
    assert (found.regret, found.gain, found.tasks) == (5.0, 5.0, 1)
    assert comparison.trust([], "a_distance") is None


def test_without_labels_the_fastest_of_tied_methods_is_taken() -> None:
    place = ("a:b", "0", 0)

    def method(label: str, entropy: float, seconds: float) -> comparison.Method:
        values = {name: {} for name in comparison.NUMBERS}
        values |= {"target_entropy": {place: entropy}, "seconds": {place: seconds}}
        name = "source_only" if label == "base" else label
        return comparison.Method(label, name, values, {place: "c"}, {}, {}, "")

    def told(*methods: comparison.Method) -> tuple[list[str], str]:
        group = comparison.Group("folder:shots", "full", "lite0", "frozen")
        one = comparison.Comparison("local", Path("x"), group, "", ("a:b",), methods)
        return [each.label for each in one.ordered], comparison.advice(one, [])

    base, slow, quick, unsure = (
        method("base", 0.2, 1.0), method("slow", 0.0001, 9.0), method("quick", 0.0004, 3.0), method("unsure", 0.3, 2.0)
    )  # fmt: skip
    order, words = told(base, slow, quick, unsure)
    assert order == ["quick", "slow", "base", "unsure"]
    assert "Take quick: it is the fastest of the 2 methods with the best target entropy, 0.000" in words
    order, words = told(base, slow, unsure)
    assert order == ["slow", "base", "unsure"]
    assert "Take slow: it has the best target entropy" in words


def test_what_sorts_methods_is_the_best_that_is_known() -> None:
    committed = comparison.found(None, host.ROOT / "results")
    known = {name: one.correlation for name in comparison.CRITERIA if (one := comparison.trust(committed, name))}
    assert max(known, key=lambda name: known[name]) == comparison.CRITERION


def test_a_kept_file_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "network.pt").write_bytes(b"")
    with pytest.raises(UserError, match="is not a kept network"):
        kept.read(tmp_path / "network.pt")
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    torch.save({"format": 1}, tmp_path / "network.pt")
    with pytest.raises(UserError, match="is not a kept network"):
        kept.read(tmp_path / "network.pt")
