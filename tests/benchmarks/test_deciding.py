"""The replicates that tables are to have are planned, run, merged into the committed tables; then nothing is to do."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import report.__main__ as report
from benchmarks.export import tables
from benchmarks.machine import host
from benchmarks.machine.errors import UserError
from benchmarks.plan import deciding, plan
from benchmarks.plan.plan import Options
from benchmarks.records import replicates
from benchmarks.records.replicates import Replicates
from datasets.store import Location
from methods import contract
from methods.contract import Recipe
from tests.benchmarks.test_command_line import call

DIGITS = Replicates("dan", "digits", "digits-mini", "full", "lenet", "finetune", first=2)
OFFICE = Replicates("dan", "table1", "office31", "full", "lite0", "frozen", first=5, planned=13)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of results of its own."""
    monkeypatch.setattr(host, "ROOT", tmp_path)
    return tmp_path / "results"


def test_what_is_wanted_is_what_reproduce_would_fill(kept: Path) -> None:
    late = dataclasses.replace(OFFICE, experiment="table1-late", track="late")
    lite2 = dataclasses.replace(OFFICE, backbone="lite2")
    subset = Replicates("yosinski", "curves", "cifar100-200", "transfer", "caffenet-32", "finetune", 5)
    replicates.write(kept, [DIGITS, OFFICE, late, lite2, subset])

    def chosen(paper: str, **options: object) -> list[Replicates]:
        return deciding.wanted(paper, Options(**options))  # type: ignore[arg-type]

    assert chosen("dan") == [DIGITS]
    assert chosen("dan", datasets=("office31",)) == [OFFICE]
    assert chosen("dan", datasets=("office31",), backbone="lite2") == [lite2]
    assert chosen("dan", datasets=("office31",), track="late") == [late]
    assert chosen("dan", experiments=("table1-late",)) == [late]
    assert chosen("yosinski", datasets=("cifar100",)) == [subset], "by the name of the whole set, too"
    assert chosen("all") == [DIGITS, OFFICE, late, subset]
    assert chosen("all", datasets=("office31",)) == [OFFICE]
    with pytest.raises(UserError, match="nothing of dan is to be decided there; `python -m report decide dan`"):
        chosen("dan", datasets=("digits",))
    with pytest.raises(UserError, match="unknown paper"):
        chosen("nope")


@pytest.mark.parametrize(
    ("datasets", "experiments", "track"),
    [((), (), None), (("office31",), (), None), (("office31",), (), "late"), ((), ("table1", "curves"), None)],
)
@pytest.mark.parametrize("paper", ["dan", "yosinski", plan.ALL])
def test_report_and_harness_mean_the_same_tables(
    paper: str, datasets: tuple[str, ...], experiments: tuple[str, ...], track: str | None
) -> None:
    own = {one.name for one in plan.paper(paper).experiments} if paper != plan.ALL else {"table1", "curves"}
    names = tuple(name for name in experiments if name in own)
    on = datasets if paper != "yosinski" else tuple("cifar100" for _ in datasets)
    shown = {
        (name, experiment.name) for name, _, its in report._to_decide(paper, names, on, track) for experiment in its
    }
    options = Options(experiments=names, datasets=on, track=track)
    planned = {
        (name, experiment.name)
        for name, its in plan.wanted(paper, options)
        for experiment in plan.chosen_experiments(name, its)
    }
    of_folders = {("yosinski", "imagenet"), ("yosinski", "imagenet-distant")}  # nothing of these is ever committed
    assert shown - of_folders == planned


def test_only_the_tasks_that_a_table_has_are_decided() -> None:
    """Those that no committed result is of may have data that cannot be had here."""
    digits = dataclasses.replace(DIGITS, dataset="digits")
    assert sorted(deciding.tasks_of(digits)) == ["mnist:mnistm-10k", "mnist:usps", "usps:mnist"]
    _, options = deciding.options_of(digits, Options(), 5)
    assert set(options.tasks) == set(deciding.tasks_of(digits))
    assert deciding.tasks_of(dataclasses.replace(digits, backbone="alexnet")) == ()


def test_other_cells_today_are_a_first_stage_of_their_own(few_digits: Location) -> None:
    row = dataclasses.replace(DIGITS, planned=3)
    first = {cell.spec.hash for cell in deciding.make([DIGITS], Options(), few_digits, {}).cells}
    for committed, seeds in (({}, 2), ({("dan", "digits"): first}, 3), ({("jan", "digits"): first}, 2)):
        cells = deciding.make([row], Options(), few_digits, committed).cells
        assert {cell.spec.seed for cell in cells} == set(range(seeds))
        assert first <= {cell.spec.hash for cell in cells}


def test_two_stages_then_nothing_to_do(
    few_digits: Location, kept: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A committed seed, two of the first stage, three in all; and the committed rows are what they were."""
    task = "optdigits:mfeat"
    for experiment in contract.papers()["dan"].experiments:
        short = dict.fromkeys(experiment.recipes, Recipe(steps=2, epoch=1, rate=0.01, batch=4))
        monkeypatch.setitem(experiment.__dict__, "recipes", short)
        monkeypatch.setitem(experiment.__dict__, "tasks", {"digits-mini": (task,)})
    place = ["--data", few_digits.root, "--runs", kept.parent / "runs", "--jobs", 1]
    what = ["dan", "--experiment", "digits", "--dataset", "digits-mini", "--seeds", 1]
    assert call(capsys, monkeypatch, "run", *what, *place)[0] == 0
    assert call(capsys, monkeypatch, "export", "dan", *place[:4])[0] == 0
    path = tables.committed_path("dan", "digits")
    before = tables.read(path)
    for planned, new, cells in ((None, 2, 4), (3, 2, 6)):
        replicates.write(kept, [dataclasses.replace(DIGITS, planned=planned)])
        status, output, error = call(capsys, monkeypatch, "decide", "dan", *place)
        assert status == 0, error
        assert f"{new} of {cells} cells to run" in output
        assert f"digits.csv: {cells} cells" in output
        assert len({one["cell"] for one in tables.read(path)}) == cells
    assert [one for one in tables.read(path) if one["seed"] == "0"] == before
    status, output, _ = call(capsys, monkeypatch, "decide", "dan", *place)
    assert (status, output.splitlines()[-1]) == (0, "All 6 cells are done.")
    for changed in (("--seeds", 9), ("--views", 2), ("--set", "dan.weight=3")):
        status, _, error = call(capsys, monkeypatch, "decide", "dan", *changed, *place)
        assert (status, error.startswith("Error: tasks, numbers of seeds and settings are those")) == (2, True)
