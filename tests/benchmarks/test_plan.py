"""Plans: which cells, shared by whom, with which settings; tables made from them; the label-free choice."""

from __future__ import annotations

import csv
import dataclasses
import math
import re
import shlex
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.executors import execute
from benchmarks.export import reuse, tables
from benchmarks.machine.errors import UserError
from benchmarks.plan import choices, choosing, comparing, plan, settings
from benchmarks.plan.plan import Options, Plan
from benchmarks.records import files, rules, schema
from benchmarks.records.store import Record, Store, read_specs
from datasets.errors import DataError
from datasets.store import Location
from methods import contract, dan, recipes
from methods.contract import Recipe

ONE_TASK = Options(datasets=("digits-mini",), tasks=("optdigits:mfeat",))


@pytest.fixture
def no_choices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty file of choices."""
    path = tmp_path / "choices.csv"
    monkeypatch.setattr(choices, "path", lambda: path)
    return path


def with_(**changes: object) -> Options:
    return dataclasses.replace(ONE_TASK, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("paper", contract.papers())
def test_every_experiment_of_every_paper_can_be_planned(
    paper: str, digits_mini: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all data at hand, which a machine need not have."""
    monkeypatch.setattr(plan, "is_ready", lambda *_: True)
    monkeypatch.setattr(plan, "data_digests", lambda *_: {"source": "a", "target": "b", "test": "b"})
    for experiment in contract.load(paper).paper.experiments:  # type: ignore[union-attr]
        planned = plan.make(paper, with_(experiments=(experiment.name,), datasets=(), tasks=()), digits_mini)
        assert planned.cells or planned.missing, experiment.name
        assert {use.experiment for cell in planned.cells for use in cell.uses} <= {experiment.name}
        hashes = [cell.spec.hash for cell in planned.cells]
        assert len(hashes) == len(set(hashes))


def test_experiments_share_cells(digits_mini: Location) -> None:
    both = plan.make("dan", with_(experiments=("digits", "ablations"), seeds=1), digits_mini)
    full = [cell for cell in both.cells if {use.experiment for use in cell.uses} == {"digits", "ablations"}]
    assert [cell.spec.method for cell in full] == ["source_only", "dan"]
    alone = plan.make("dan", with_(experiments=("digits",), seeds=1), digits_mini)
    assert [cell.spec.hash for cell in alone.cells] == [cell.spec.hash for cell in full]


def test_a_sweep_gives_one_row_per_value_and_leaves_the_baseline_alone(digits_mini: Location) -> None:
    swept = plan.make("dan", with_(experiments=("lambda-sensitivity",), seeds=1), digits_mini)
    settings = [(cell.spec.method, cell.uses[0].setting) for cell in swept.cells]
    assert settings == [("source_only", ""), *[("dan", f"weight={value}") for value in dan.LAMBDAS]]


def test_every_row_is_trained_by_each_recipe_of_a_sweep_over_its_fields(
    digits_mini: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    paper = contract.load("dan").paper
    assert paper is not None
    (digits,) = (one for one in paper.experiments if one.name == "digits")
    swept = dataclasses.replace(digits, recipe_sweep={"rate": (0.01, 0.05), "steps": (300, 1200)})
    monkeypatch.setattr(plan, "chosen_experiments", lambda *_: [swept])
    cells = plan.make("dan", with_(seeds=1), digits_mini).cells
    found = [(cell.spec.method, cell.uses[0].setting, *map(cell.spec.recipe.get, ("rate", "steps"))) for cell in cells]
    assert found == [
        (row.method, f"rate={rate};steps={steps}", rate, steps)
        for row in digits.rows
        for rate in (0.01, 0.05)
        for steps in (300, 1200)
    ]
    monkeypatch.undo()
    plain = plan.make("dan", with_(seeds=1, experiments=("digits",)), digits_mini).cells
    usual = {cell.spec.hash for cell in cells if cell.uses[0].setting == "rate=0.05;steps=300"}
    assert usual == {cell.spec.hash for cell in plain}, "the usual values are the usual cells"


def test_a_revision_can_be_raised_on_one_track_alone(digits_mini: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {cell.spec.hash for cell in plan.make("dan", ONE_TASK, digits_mini).cells}
    monkeypatch.setitem(contract.load("dan").__dict__, "raised", {"late": 2})
    assert {cell.spec.hash for cell in plan.make("dan", ONE_TASK, digits_mini).cells} == before
    monkeypatch.setitem(contract.load("dan").__dict__, "raised", {"finetune": 2})
    after = plan.make("dan", ONE_TASK, digits_mini).cells
    changed = {cell.spec.method for cell in after if cell.spec.hash not in before}
    assert changed == {"dan"}
    assert {cell.spec.revision for cell in after if cell.spec.method == "dan"} == {"harness 1, method 2"}


@pytest.mark.parametrize(
    ("experiment", "options", "mode"),
    [
        ("table1-frozen", {}, "source"),
        ("table1-frozen", {"backbone": "lite2"}, "source"),
        ("table1", {"backbone": "lite2"}, "source"),
        ("table1", {"backbone": "lite2", "batchnorm": "joint"}, "joint"),
        ("table1", {"backbone": "alexnet"}, "none"),
        ("table1-frozen", {"track": "late"}, "kept"),
    ],
)
def test_the_mode_of_an_experiment_holds_on_another_backbone_that_has_it(
    experiment: str, options: dict[str, str], mode: str
) -> None:
    (found,) = [one for one in contract.papers()["adabn"].experiments if one.name == experiment]
    assert plan.chosen_backbone(found, Options(**options)).batchnorm == mode  # type: ignore[arg-type]


def test_what_differs_from_the_defaults_is_in_the_setting(digits_mini: Location) -> None:
    options = with_(seeds=1, backbone="lenet-bn", batchnorm="joint", precision="bf16")
    assert {use.setting for cell in plan.make("dan", options, digits_mini).cells for use in cell.uses} == {
        "batchnorm=joint;precision=bf16"
    }


def test_a_setting_has_the_type_of_its_field() -> None:
    assert settings.of_method("ddc", contract.load("ddc").config(), ["ddc.width=64"]).width == 64
    assert settings.of_recipe(Recipe(1, 1, 0.1), ["recipe.milestones=0.5,0.75"]).milestones == (0.5, 0.75)


@pytest.mark.usefixtures("no_choices")
def test_nothing_is_said_of_a_choice_that_the_user_made(digits_mini: Location) -> None:
    assert any("no weight has been chosen for dan" in note for note in plan.make("dan", ONE_TASK, digits_mini).notes)
    assert not plan.make("dan", with_(settings=("dan.weight=4",)), digits_mini).notes


def test_statistics_that_were_asked_for_are_the_only_ones() -> None:
    frozen = next(one for one in plan.paper("adabn").experiments if one.name == "frozen-trunk")
    assert [one.statistics for one in plan._variations(frozen, Options())] == ["imagenet", "source", "own"]
    assert [one.statistics for one in plan._variations(frozen, Options(statistics="own"))] == ["own"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"experiments": ("nope",)}, "no experiment 'nope'; it has: digits"),
        ({"datasets": ("nope",)}, "unknown data set 'nope'"),
        ({"tasks": ("mfeat",)}, "unknown task 'mfeat'"),
        ({"tasks": ("mfeat:mfeat",)}, "unknown task 'mfeat:mfeat'"),
        ({"backbone": "nope"}, "unknown backbone 'nope'; there are: lenet"),
        ({"track": "nope"}, "has no track 'nope'; it has: finetune"),
        ({"batchnorm": "joint"}, "has no BatchNorm layers"),
        ({"backbone": "lenet-bn", "batchnorm": "nope"}, "unknown BatchNorm mode 'nope'"),
        ({"backbone": "lenet-bn", "batchnorm": "none"}, "has BatchNorm layers"),
        ({"datasets": ("digits",), "experiments": ("ablations",), "tasks": ()}, "not defined on data set 'digits'"),
    ],
)
def test_what_does_not_exist_is_named(change: dict[str, object], message: str, digits_mini: Location) -> None:
    with pytest.raises((UserError, DataError), match=message):
        plan.make("dan", with_(**change), digits_mini)


def test_missing_data_are_named_and_the_rest_is_planned(tmp_path: Path) -> None:
    planned = plan.make("dan", ONE_TASK, Location(tmp_path, None))
    assert planned.cells == []
    assert planned.missing == [
        "optdigits:mfeat of digits-mini: its data are not prepared; `make data DATASET=digits-mini` does."
    ]


def test_the_suggested_command_quotes_a_folder_with_blanks(digits_mini: Location, no_choices: Path) -> None:
    method, name = contract.load("dan"), "folder:/of/my photos"
    (cell, *_) = [one for one in plan.make("dan", ONE_TASK, digits_mini).cells if one.spec.method == "dan"]
    (use, *_) = cell.uses
    _, note = choices.resolve(use.row, method, method.config(), dataclasses.replace(cell.spec, dataset=name))
    assert note is not None
    command = re.findall("`(.*?)`", note)[0]
    assert shlex.split(command)[5:7] == ["--dataset", name]


def test_a_committed_choice_fills_the_setting_of_every_variant_without_one_of_its_own(
    digits_mini: Location, no_choices: Path
) -> None:
    default = contract.load("dan").variants["default"].weight
    before = plan.make("dan", with_(experiments=("ablations",), seeds=1), digits_mini)
    assert any("no weight has been chosen" in note for note in before.notes)
    assert {c.spec.config["weight"] for c in before.cells if c.spec.method == "dan"} == {default}
    row = dict.fromkeys(schema.CHOICES, "0") | {
        **{"method": "dan", "variant": "default", "parameter": "weight", "dataset": "digits-mini"},
        **{"backbone": "lenet", "track": "finetune", "value": "1.4", "chosen": "1"},
    }
    choices.write([row, {**row, "variant": "unbiased", "value": "30"}, {**row, "variant": "authors", "value": "3"}])
    after = plan.make("dan", with_(experiments=("ablations",), seeds=1), digits_mini)
    assert after.notes == []
    weights = {c.uses[0].row.variant: c.spec.config["weight"] for c in after.cells if c.spec.method == "dan"}
    assert weights.pop("authors") == 1.0, "the released code's own"
    assert weights.pop("unbiased") == 30.0
    assert set(weights.values()) == {1.4}
    on_another_backbone = plan.make("dan", with_(backbone="lenet-bn", seeds=1), digits_mini)
    assert {c.spec.config["weight"] for c in on_another_backbone.cells if c.spec.method == "dan"} == {default}


def finish(
    planned: Plan, store: Store, accuracy: float = 80.0, history: Sequence[dict[str, float]] = (), **values: float
) -> None:
    """Made-up records of every cell of a plan."""
    for cell in planned.cells:
        rows = [{"selection": rule, "metric": "accuracy", "value": accuracy} for rule in ("last", "entropy", "oracle")]
        rows += [{"selection": "last", "metric": name, "value": value} for name, value in values.items()]
        record = Record(cell.spec.hash, dataclasses.asdict(cell.spec), rows, n_test=7, history=[*history], device="cpu")
        record.versions = {"torch": "0"}
        store.write(record)


def rows_in(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_tables_merge_by_place(digits_mini: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.machine.host.ROOT", tmp_path)
    store = Store(tmp_path / "runs")
    one = plan.make("dan", with_(seeds=1), digits_mini)
    finish(one, store)
    local = store.table_path("dan", "digits")
    assert tables.write_local(one, store, digits_mini) == {local: 2}
    two = plan.make("dan", with_(tasks=("mfeat:optdigits",), seeds=1), digits_mini)
    finish(two, store, accuracy=81.0)
    assert tables.write_local(two, store, digits_mini) == {local: 4}, "other tasks stay"
    assert tuple(rows_in(local)[0]) == schema.RESULTS

    committed = tables.committed_path("dan", "digits")
    assert tables.export("dan", ["digits"], [], store, digits_mini) == {committed: 4}
    assert committed.read_bytes() == local.read_bytes()
    assert tables.committed_cells("dan") == {("dan", "digits"): {cell.spec.hash for cell in one.cells + two.cells}}
    assert tables.export("dan", ["digits"], ["digits"], store, digits_mini) == {}, "no such data set was run"
    tables.export("dan", ["digits"], [], store, digits_mini)
    assert committed.read_bytes() == local.read_bytes(), "exporting twice changes nothing"
    (sent,) = tables.export("dan", ["digits"], [], store, digits_mini, "lab")
    assert sent == committed.parents[1] / "contributed" / "lab" / "dan" / "digits.csv"
    assert sent.read_bytes() == local.read_bytes()
    assert read_specs(sent.parent / "specs" / "digits.json").keys() == {
        cell.spec.hash for cell in one.cells + two.cells
    }


def test_two_runs_write_their_tables_one_after_the_other(digits_mini: Location, tmp_path: Path) -> None:
    store, planned = Store(tmp_path), plan.make("dan", with_(seeds=1), digits_mini)
    finish(planned, store)
    ended = threading.Event()

    def write() -> None:
        tables.write_local(planned, store, digits_mini)
        ended.set()

    with store.lock("tables"):
        other = threading.Thread(target=write)
        other.start()
        assert not ended.wait(0.5)
    other.join()
    assert len(rows_in(store.table_path("dan", "digits"))) > 0
    (tmp_path / "locks" / "tables.lock").unlink(missing_ok=True)
    (tmp_path / "locks" / "tables.lock").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*tables.lock: "):
        tables.write_local(planned, store, digits_mini)


def test_a_row_takes_the_place_of_its_own_slot_alone(digits_mini: Location, tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    one = plan.make("dan", with_(seeds=1), digits_mini)
    finish(one, store)
    (local,) = tables.write_local(one, store, digits_mini)
    rows = rows_in(local)
    places = "paper experiment method variant dataset protocol backbone track setting device".split()
    for column, other in (*((name, "other") for name in places), ("split", "9"), ("seed", "9")):
        path = tmp_path / f"{column}.csv"
        tables.merge(path, rows, store, digits_mini)
        for _ in range(2):
            tables.merge(path, [{**row, column: other} for row in rows], store, digits_mini)
        assert len(rows_in(path)) == 2 * len(rows), column


@pytest.fixture
def committed_digits(digits_mini: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A plan whose made-up results are committed."""
    monkeypatch.setattr("benchmarks.machine.host.ROOT", tmp_path)
    store = Store(tmp_path / "first")
    digits = plan.make("dan", with_(seeds=1), digits_mini)
    finish(digits, store, accuracy=100 / 3, mmd=0.25)
    tables.write_local(digits, store, digits_mini)
    tables.export("dan", ["digits"], [], store, digits_mini)
    return digits


def test_what_another_table_has_committed_is_taken_from_there(
    committed_digits: Plan, digits_mini: Location, tmp_path: Path
) -> None:
    store = Store(tmp_path / "second")
    ablations = plan.make("dan", with_(experiments=("ablations",), seeds=1), digits_mini)
    shared = {cell.spec.hash for cell in committed_digits.cells}
    assert reuse.reuse_committed(ablations.cells, store) == 2
    assert set(store.cells()) == shared
    (path,) = tables.write_local(ablations, store, digits_mini)
    committed = rows_in(tables.committed_path("dan", "digits"))
    assert rows_in(path) == [{**row, "experiment": "ablations"} for row in committed]
    assert {row["value"] for row in rows_in(path)} == {"33.3333", "0.25"}
    tables.export("dan", ["ablations"], [], store, digits_mini)
    assert read_specs(tmp_path / "results/dan/specs/ablations.json").keys() == shared


def test_a_cell_whose_history_is_shown_is_not_taken_from_another_table(committed_digits: Plan, tmp_path: Path) -> None:
    store, cells = Store(tmp_path / "second"), committed_digits.cells
    shown = [dataclasses.replace(cell, course=True) for cell in cells]
    assert reuse.reuse_committed(shown, store) == 0
    assert reuse.reuse_committed(cells, store) == len(cells)
    assert [execute.is_done(cell, store) for cell in (cells[0], shown[0])] == [True, False], "taken before"


def test_a_cell_knows_whether_its_course_is_shown(digits_mini: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    paper = contract.load("dan").paper
    assert paper is not None
    digits, *_ = paper.experiments
    assert {cell.course for cell in plan.make("dan", ONE_TASK, digits_mini).cells} == {False}
    curve = dataclasses.replace(digits, curve=("test_accuracy",))
    monkeypatch.setattr(plan, "chosen_experiments", lambda *_: [curve])
    assert {cell.course for cell in plan.make("dan", ONE_TASK, digits_mini).cells} == {True}


def test_a_line_never_mixes_two_states_of_the_suite(
    digits_mini: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a change that alters numbers, fresh cells drive the stale ones of their line out, other seeds included."""
    monkeypatch.setattr("benchmarks.machine.host.ROOT", tmp_path)
    store = Store(tmp_path / "runs")
    old = plan.make("dan", with_(tasks=("optdigits:mfeat", "mfeat:optdigits"), seeds=2), digits_mini)
    finish(old, store)
    tables.write_local(old, store, digits_mini)
    tables.export("dan", ["digits"], [], store, digits_mini)
    for method in map(contract.load, ("dan", "source_only")):
        monkeypatch.setitem(method.__dict__, "revision", method.revision + 1)
    new = plan.make("dan", with_(tasks=("optdigits:mfeat",), seeds=1), digits_mini)
    finish(new, store, accuracy=81.0)
    (path,) = tables.write_local(new, store, digits_mini)
    assert {(row["task"], row["seed"], row["value"]) for row in rows_in(path)} == {("optdigits:mfeat", "0", "81")}
    (path,) = tables.export("dan", ["digits"], [], store, digits_mini)
    assert {row["cell"] for row in rows_in(path)} == {cell.spec.hash for cell in new.cells}


def test_a_cell_is_committed_only_where_every_table_has_it(digits_mini: Location) -> None:
    both = plan.make("dan", with_(experiments=("digits", "ablations"), seeds=1), digits_mini)
    shared = next(cell for cell in both.cells if len(cell.uses) == 2)
    assert not tables.is_committed(shared, {("dan", "digits"): {shared.spec.hash}})
    assert tables.is_committed(shared, {("dan", name): {shared.spec.hash} for name in ("digits", "ablations")})


def test_damaged_committed_files_are_named(no_choices: Path) -> None:
    header = ",".join(schema.CHOICES)
    for content, message in [
        (b"", "missing column"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"a,b\n1,2\n", "missing column"),
        (f"{header}\ndan,weight\n".encode(), "line 2: expected 18 fields"),
        (
            f"{header}\ndan,default,weight,x,x,x,abc,0,0,0,0,0,0,x,0,1,x,x\n".encode(),
            "line 2: the value 'abc' is not a number",
        ),
    ]:
        no_choices.write_bytes(content)
        with pytest.raises(UserError, match=message):
            choices.read()


def test_choices_are_read_once_and_again_where_they_have_changed(
    no_choices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = dict.fromkeys(schema.CHOICES, "1")
    choices.write([row])
    opened: list[Path] = []
    rows = files.numbered_rows
    monkeypatch.setattr(files, "numbered_rows", lambda path, columns: (opened.append(path), rows(path, columns))[1])
    first = choices.read()
    first.append({})
    assert choices.read() == [row], "what a reader does to its list is its own affair"
    assert len(opened) <= 1
    choices.write([{**row, "variant": "other"}])
    assert [one["variant"] for one in choices.read()] == ["1", "other"]


def test_a_choice_on_fewer_tasks_does_not_replace_one_on_more(no_choices: Path) -> None:
    row = dict.fromkeys(schema.CHOICES, "x") | {"value": "1", "chosen": "1", "tasks": "a:b b:a"}
    choices.write([row])
    with pytest.raises(UserError, match=r"a choice made on 2 tasks \(a:b, b:a\), which one made on 1 of them"):
        choices.write([{**row, "tasks": "a:b"}])
    assert choices.read() == [row]


def test_the_choice_takes_the_least_mean_rank_of_the_suites_rule(
    digits_mini: Location, tmp_path: Path, no_choices: Path
) -> None:
    (study,) = choosing.studies("dan", with_(seeds=2), digits_mini)
    assert {cell.spec.holdout for cells in study.cells.values() for cell in cells} == {0.1}
    store = Store(tmp_path / "runs")
    for value, (first, second) in study.cells.items():
        # One seed likes 3 best and 10 next, the other 10 best by far, but for its first, whose weights explode.
        risks = {0.1: 1e12, 10: 0.1}
        finish(Plan([first]), store, source_error=0.1, history=[{"dev": abs(math.log(value / 4))}])
        finish(Plan([second]), store, source_error=0.2, history=[{"dev": risks.get(value, 1 + value)}])
    rows = choosing.score(study, store)
    assert [row["value"] for row in rows if row["chosen"] == "1"] == ["10"]
    best = next(row for row in rows if row["chosen"] == "1")
    assert (best["rule"], best["source_error"], best["a_distance"]) == ("DEV", "0.1500", "")
    assert float(best["criterion"]) == pytest.approx(1.5)
    choices.write(rows)
    choices.write(rows)
    assert choices.read() == rows


def test_what_the_choice_lacks_may_be_images_of_the_target(digits_mini: Location, tmp_path: Path) -> None:
    (study,) = choosing.studies("dan", with_(seeds=1), digits_mini)
    for cells in study.cells.values():
        finish(Plan(cells), Store(tmp_path), source_error=0.1, history=[{"target_entropy": 0.1}])
    with pytest.raises(UserError, match="needs dev, and that needs a network, two images of the target and two held"):
        choosing.score(study, Store(tmp_path))


@pytest.mark.parametrize("rule", ["DEV", "SND"])
def test_a_weight_at_which_a_training_diverges_is_not_chosen(
    rule: str, digits_mini: Location, tmp_path: Path, no_choices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the rule wants its quantity small or large."""
    monkeypatch.setattr(rules, "SUITE", rule)
    (study,) = choosing.studies("dan", with_(seeds=2), digits_mini)
    store = Store(tmp_path / "runs")
    with pytest.raises(UserError, match="dan diverges on digits-mini at every weight of its grid"):
        choosing.score(study, store)
    for value, (first, second) in study.cells.items():
        finish(Plan([first]), store, history=[{"dev": -value, "snd": value}])
        if value < 100:
            finish(Plan([second]), store, history=[{"dev": -value, "snd": value}])
    rows = choosing.score(study, store)
    assert [(row["value"], row["dev"]) for row in rows if row["chosen"] == "1"] == [("30", "-30.0000")]
    assert [row["dev"] for row in rows[-2:]] == ["", ""]


def test_a_method_that_always_diverges_leaves_the_comparison(digits_mini: Location, tmp_path: Path) -> None:
    options = Options(tasks=("mnist:optdigits",), seeds=1)
    every = comparing.make("digits-mini", ("source_only", "dan", "ddc"), options, digits_mini)
    grids = list(comparing.studies(every, options, digits_mini))
    store = Store(tmp_path)
    for value, cells in next(study for _, study in grids if study.method == "ddc").cells.items():
        finish(Plan(cells), store, history=[{"dev": -value}])
    found = comparing.decide(every, grids, store, options, digits_mini)
    assert [one.row.method for one in found.contestants] == ["source_only", "ddc"]
    assert found.left_out == ["DAN: dan diverges on digits-mini at every weight of its grid."]


def test_every_open_variant_of_a_table_has_a_study_of_its_own(digits_mini: Location) -> None:
    found = list(choosing.studies("dan", with_(experiments=("ablations",), seeds=1), digits_mini))
    assert found[0].variant == "default"
    rows = {
        row.variant
        for row in plan.chosen_experiments("dan", with_(experiments=("ablations",)))[0].rows
        if row.method == "dan"
    }
    assert {one.variant for one in found} == rows - {"authors"}
    (estimator,) = {
        cell.spec.config["estimator"]
        for one in found
        if one.variant == "unbiased"
        for cells in one.cells.values()
        for cell in cells
    }
    assert estimator == "unbiased"


def test_the_study_records_what_the_rules_look_at() -> None:
    assert (*choosing.FINAL, *recipes.CRITERIA) == rules.METRICS


def test_held_out_cells_are_other_cells(digits_mini: Location) -> None:
    (study,) = choosing.studies("dan", ONE_TASK, digits_mini)
    held_out = {cell.spec.hash for cells in study.cells.values() for cell in cells}
    every = plan.make("dan", with_(experiments=("digits", "lambda-sensitivity")), digits_mini)
    assert held_out.isdisjoint(cell.spec.hash for cell in every.cells)
