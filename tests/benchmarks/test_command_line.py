"""The command line as a user meets it: whole runs in little, and one sentence for every mistake."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

import methods
import report.__main__ as report
from benchmarks.cli.commands import commands
from benchmarks.cli.main import MODULES, SUMMARIES, Commands, main
from benchmarks.export import tables
from benchmarks.machine import host
from benchmarks.plan import comparing, declared, plan
from benchmarks.plan.plan import Options
from benchmarks.records import files, schema
from benchmarks.records.store import Store
from datasets.store import Location
from methods import contract, recipes
from methods.contract import Recipe

DAN = contract.load("dan")
ROOT = host.ROOT


def call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object
) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a command."""
    monkeypatch.setattr(sys, "argv", ["benchmarks", *map(str, arguments)])
    try:
        main()
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["plan", "nope"], "unknown paper 'nope'; there are: "),
        (["plan", "dan", "--dataset", "nope"], "unknown data set 'nope'"),
        (["plan", "dan", "--tasks", "a:b"], "unknown task 'a:b'"),
        (["plan", "dan", "--experiment", "nope"], "no experiment 'nope'"),
        (["plan", "dan", "--nope"], "No such option '--nope'"),
        (["plan", "dan", "--seeds", "-1"], "-1 is not in the range x>=1"),
        (["plan", "dan", "--seeds", "few"], "'few' is not a valid integer range"),
        (["plan", "dan", "--device", "tpu"], "'tpu' is not one of 'cpu', 'cuda'"),
        (["plan"], "Missing argument 'PAPER'"),
        (["nope"], "No such command 'nope'"),
        (["data", "nope"], "unknown data set 'nope'; there are: "),
        (["data", "--list", "--mirror", "/does/not/exist"], "the mirror /does/not/exist cannot be read"),
        (["status", "nope"], "unknown paper 'nope'"),
        (["export", "nope"], "unknown paper 'nope'"),
        (["choose", "nope"], "unknown paper 'nope'"),
        (["audit", "dna"], "unknown paper 'dna'"),
        (["audit", "--dataset", "ofice31"], "unknown data set 'ofice31'"),
        (["plan", "all", "--experiment", "digits nonsense"], "no paper has an experiment for nonsense;"),
        (["run", "dan", "--force", "--continue-committed"], "takes over what is committed: leave one out"),
        (
            ["compare", "--dataset", "office31", "--views", "4", "--commit"],
            "in the usual way: leave out views, or --commit",
        ),
        (["run", "dan", "--address", "head:6379"], "--address, --gpus and --memory are of a cluster"),
        (["audit", "--memory", "4"], "--address, --gpus and --memory are of a cluster"),
        (["choose", "dan", "--gpus", "0.5"], "--address, --gpus and --memory are of a cluster"),
        (["choose", "dan", "--views", "4"], "settings are chosen with the usual batchnorm, cut, views"),
        (["plan", "dann2014", "--dataset", "office-caltech10", "--tasks", "amazon:dslr"], "has the task amazon:dslr"),
        (["choose", "dan", "--dataset", "office-caltech10", "--tasks", "amazon:dslr"], "has the task amazon:dslr"),
        (["plan", "dan", "--experiment", "lambda-sensitivity", "--set", "dan.weight=4"], "compares several values"),
        (["plan", "dan", "--experiment", "late-trainings", "--set", "recipe.batch=8"], "compares several values"),
        (["plan", "dan", "--set", "recipe.steps=0"], "recipe.steps cannot be 0"),
        (["plan", "dan", "--set", "recipe.rate=-1"], "recipe.rate cannot be -1"),
        (["plan", "dan", "--set", "recipe.milestones=soon"], "recipe.milestones takes a value of type tuple"),
        (["plan", "ddc", "--set", "ddc.width=wide"], "ddc.width takes a value of type int, not 'wide'"),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: Sequence[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, _, error = call(capsys, monkeypatch, *arguments)
    assert status == 2
    assert says in error
    assert error.startswith("Error: ")
    assert error.count("\n") == 1
    assert "Traceback" not in error


def test_the_list_of_commands_appears_at_once_and_is_right() -> None:
    code = "import sys; import benchmarks.cli.main; print({'torch', 'pandas', 'sklearn'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
    known = {name: Commands().get_command(None, name) for name in SUMMARIES}  # type: ignore[arg-type]
    assert set(commands.commands) | set(MODULES) == set(SUMMARIES)
    for name, summary in SUMMARIES.items():
        assert (known[name].help or "").split()[:4] == summary.split()[:4]


@pytest.fixture
def newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is part of ``methods/``; what is in a module there is a method."""
    folder = tmp_path / "more"
    folder.mkdir()
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(folder)])
    monkeypatch.setattr(host, "ROOT", tmp_path)
    for known in (contract._methods, declared.check):
        known.cache_clear()
    yield folder / "newcomer.py"
    for name in ("newcomer", "broken"):
        sys.modules.pop(f"methods.{name}", None)
    for known in (contract._methods, declared.check):
        known.cache_clear()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight steps per cell instead of hundreds."""
    for experiment in DAN.paper.experiments:  # type: ignore[union-attr]
        recipes = dict.fromkeys(experiment.recipes, Recipe(steps=8, epoch=4, rate=0.01, batch=16))
        monkeypatch.setitem(experiment.__dict__, "recipes", recipes)


@pytest.mark.usefixtures("short")
def test_reproduce_runs_what_is_missing_and_then_nothing(
    few_digits: Location, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    what = ["dan", "--dataset", "digits-mini", "--tasks", "optdigits:mfeat mfeat:optdigits", "--seeds", 1]
    where = ["--data", few_digits.root, "--runs", tmp_path]
    status, output, _ = call(capsys, monkeypatch, "reproduce", *what, "--jobs", 1, *where)
    assert status == 0, output
    assert "4 of 4 cells to run" in output
    assert len(Store(tmp_path).cells()) == 4
    table = tables.read(Store(tmp_path).table_path("dan", "digits"))
    assert {row["selection"] for row in table} == {"last", "entropy", "oracle"}
    metrics = {row["metric"] for row in table}
    assert {name for name in metrics if "." not in name} == {"accuracy", "mmd", "a_distance"}
    assert {name.partition(".")[0] for name in metrics if "." in name} == {"beta"}

    status, output, _ = call(capsys, monkeypatch, "reproduce", *what, "--jobs", 1, *where)
    assert (status, "All 4 cells are done." in output) == (0, True)

    _, output, _ = call(capsys, monkeypatch, "plan", *what, *where)
    assert "4 cells, 4 done, 0 to run." in output
    _, output, _ = call(capsys, monkeypatch, "plan", *what[:-1], 2, *where)
    assert re.search(r"8 cells, 4 done, 4 to run\.\nWith \d+ jobs about \d+ s\.", output), output
    _, output, _ = call(capsys, monkeypatch, "status", *what, *where)
    assert re.search(r"digits\s+digits-mini\s+4\s+0\s+0\s+0\n", output), output


@pytest.mark.usefixtures("short")
def test_committed_results_count_as_done_if_asked(
    few_digits: Location, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = few_digits.root
    monkeypatch.setattr(host, "ROOT", tmp_path)
    what = ["dan", "--dataset", "digits-mini", "--tasks", "optdigits:mfeat", "--data", data]
    first = tmp_path / "first"
    assert call(capsys, monkeypatch, "run", *what, "--seeds", 1, "--jobs", 1, "--runs", first)[0] == 0
    status, output, error = call(capsys, monkeypatch, "export", "dan", "--data", data, "--runs", first)
    assert status == 0, error
    second = tmp_path / "second"
    go_on = [*what, "--seeds", 2, "--jobs", 1, "--runs", second]
    status, output, _ = call(capsys, monkeypatch, "run", *go_on, "--continue-committed")
    assert status == 0
    assert "2 of 4 cells to run" in output
    assert {record.spec["seed"] for record in map(Store(second).read, Store(second).cells())} == {1}
    status, output, error = call(
        capsys, monkeypatch, "run", *what, "--seeds", 1, "--jobs", 1, "--runs", second, "--keep", "--continue-committed"
    )
    assert status == 0, error
    assert "2 of 2 cells to run" in output, "no network is committed"
    assert all(Store(second).has_kept(cell) for cell in Store(first).cells())
    _, output, _ = call(capsys, monkeypatch, "status", *what, "--seeds", 2, "--runs", second, "--experiment", "digits")
    assert re.search(r"digits\s+digits-mini\s+4\s+0\s+0\s+0\n", output), output
    _, output, _ = call(capsys, monkeypatch, "plan", *what, "--seeds", 2, "--runs", tmp_path / "third")
    assert "4 cells, 0 done, 4 to run." in output
    assert "Of these 2 have committed results; CONTINUE_COMMITTED=1 (--continue-committed) counts them" in output


@pytest.mark.usefixtures("short")
def test_a_committed_cell_is_run_again(
    few_digits: Location, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "ROOT", tmp_path)
    where = ["--data", few_digits.root, "--runs", tmp_path / "runs"]
    what = ["dan", "--dataset", "digits-mini", "--tasks", "optdigits:mfeat", "--seeds", 1, "--jobs", 1]
    assert call(capsys, monkeypatch, "run", *what, *where)[0] == 0
    assert call(capsys, monkeypatch, "export", "dan", *where)[0] == 0
    table = tables.committed_path("dan", "digits")
    last = next(row for row in tables.read(table) if row["method"] == "dan")
    first = next(row for row in tables.read(table) if row["method"] != "dan")
    status, output, error = call(
        capsys, monkeypatch, "rerun", last["cell"][:12], first["cell"], "--jobs", 1, *where
    )  # a beginning of the name is enough
    assert status == 0, error
    assert "2 of 2 cells to run" in output, "other records do not stand in for it"
    assert len(re.findall(r"All \d+ values agree to the last digit\.", output)) == 2, output

    rows = tables.read(table)
    for row in rows:
        if (row["cell"], row["metric"], row["selection"]) == (last["cell"], "accuracy", "last"):
            row["value"] = f"{float(row['value']) + 1.5:.6g}"
    files.write_csv(table, schema.RESULTS, rows)
    specs = tmp_path / "results" / "dan" / "specs" / "digits.json"
    whole = specs.read_text()
    specs.write_text(re.sub(r'"instructions":"[^"]*",', "", whole))
    _, output, _ = call(capsys, monkeypatch, "rerun", last["cell"], "--jobs", 1, *where)
    assert re.search(r"accuracy\s+last\s+[\d.]+\s+[\d.]+\s+-1\.5\n", output), output
    assert re.search(r"^1 of \d+ values differ\.$", output, re.MULTILINE), output
    assert "vector unit unknown" in output
    assert "It may have been computed with other vector instructions" in output

    status, _, error = call(capsys, monkeypatch, "rerun", "ffffff", *where)
    assert (status, "no committed cell is called 'ffffff'" in error) == (2, True)

    status, output, error = call(capsys, monkeypatch, "audit", "--jobs", 1, *where)
    assert status == 0, error
    assert "2 cells run again: 1 equal to the last digit, 1 within 2 points with another vector unit, 0 wrong" in output
    assert f"differs: {last['cell']}, dan digits, optdigits:mfeat: by 1.50 points, another vector unit" in output
    specs.write_text(whole)
    status, output, _ = call(capsys, monkeypatch, "audit", "dan", "--jobs", 1, *where)
    assert (status, "1 equal to the last digit" in output) == (1, True), "on one machine nothing may move"
    assert f"WRONG: {last['cell']}, dan digits, optdigits:mfeat: by 1.50 points, the same vector unit" in output
    assert "All 2 cells are done" in output, "those run before are kept"
    _, output, _ = call(capsys, monkeypatch, "audit", "--draw", 1, "--jobs", 1, *where)
    assert "1 cell run again" in output

    monkeypatch.setitem(DAN.__dict__, "revision", DAN.revision + 1)
    status, _, error = call(capsys, monkeypatch, "rerun", last["cell"], *where)
    assert status == 2
    assert f"cell {last['cell']} would be another one today (its revision changed)" in error
    _, output, _ = call(capsys, monkeypatch, "audit", "--jobs", 1, *where)
    assert f"Left out: dan digits: cell {last['cell']} would be another one today" in output
    assert (
        "1 cell run again: 1 equal to the last digit, 0 within 2 points with another vector unit, 0 wrong; 1 " in output
    )
    status, _, error = call(capsys, monkeypatch, "audit", "--dataset", "office31", *where)
    assert (status, "no committed cell can be run again here" in error) == (2, True)


def test_a_cell_of_a_committed_comparison_is_run_again(
    few_digits: Location, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = comparing.template("digits-mini", Options())
    short = dataclasses.replace(usual, recipes={"digits-mini": Recipe(steps=8, epoch=4, rate=0.01, batch=16)})
    monkeypatch.setattr(comparing, "template", lambda *_: short)
    monkeypatch.setattr(host, "ROOT", tmp_path)
    where = ["--data", few_digits.root, "--runs", tmp_path / "runs", "--jobs", 1]
    what = ["--dataset", "digits-mini", "--tasks", "optdigits:mfeat", "--seeds", 1, "--methods", "source_only"]
    status, _, error = call(capsys, monkeypatch, "compare", *what, "--commit", *where)
    assert status == 0, error
    (row,) = files.read_csv(tmp_path / "results" / "compare" / "digits-mini.csv", schema.COMPARISON)
    other = [*what[:3], "mfeat:optdigits", *what[4:]]
    status, _, error = call(capsys, monkeypatch, "compare", *other, "--commit", *where)
    assert status == 2
    assert "digits-mini.csv has source-only on optdigits:mfeat, which this comparison does not run" in error
    _, output, error = call(capsys, monkeypatch, "rerun", row["cell"], *where)
    assert "compare digits-mini" in output, error
    assert "All 2 values agree to the last digit." in output
    _, output, _ = call(capsys, monkeypatch, "audit", "compare", *where)
    assert "1 cell run again: 1 equal to the last digit" in output


def test_committed_results_tell_how_long_cells_take(few_digits: Location, tmp_path: Path) -> None:
    options = Options(datasets=("digits-mini",), tasks=("optdigits:mfeat",), seeds=1)
    cells = plan.make("dan", options, few_digits).cells
    expected = tables.expected_seconds(cells, Store(tmp_path))
    assert set(expected) == {cell.spec.hash for cell in cells}
    assert all(1 < seconds < 100 for seconds in expected.values())


@pytest.fixture
def two_papers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite as if it were two papers with eight steps per cell, one of them on photographs that are not here."""
    papers = contract.papers()
    chosen = {name: papers[name] for name in ("dan", "ddc")}
    for paper in chosen.values():
        for experiment in paper.experiments:
            recipes = dict.fromkeys(experiment.recipes, Recipe(steps=8, epoch=4, rate=0.01, batch=16))
            monkeypatch.setitem(experiment.__dict__, "recipes", recipes)
    monkeypatch.setattr(contract, "papers", lambda: chosen)


def test_all_papers_are_run_on_the_track_that_they_share() -> None:
    def tracks(name: str, **named: str) -> set[str]:
        asked = [(one, its) for one, its in plan.wanted(name, Options(datasets=("office31",), **named))]
        return {experiment.track for one, its in asked for experiment in plan.chosen_experiments(one, its)}

    assert tracks("adabn") == {"late"}, "as the paper trains"
    assert tracks("all") == {"frozen"}
    assert tracks("all", track="late") == {"late"}


@pytest.mark.usefixtures("two_papers")
def test_all_papers_are_one_plan(
    few_digits: Location, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    what = ["all", "--dataset", "digits-mini", "--tasks", "optdigits:mfeat", "--seeds", 1]
    where = ["--data", few_digits.root, "--runs", tmp_path]
    _, output, _ = call(capsys, monkeypatch, "plan", *what, *where)
    assert "3 cells, 0 done, 3 to run." in output, "the papers share their source-only cell"
    status, output, error = call(capsys, monkeypatch, "reproduce", *what, "--jobs", 1, *where)
    assert status == 0, error
    for paper in ("dan", "ddc"):
        rows = tables.read(Store(tmp_path).table_path(paper, "digits"))
        assert {row["method"] for row in rows} == {"source_only", paper}
        assert {row["paper"] for row in rows} == {paper}
    _, output, _ = call(capsys, monkeypatch, "status", *what, *where)
    assert re.search(r"ddc\s+digits\s+digits-mini\s+2\s+0\s+0\s+0\n", output), output
    monkeypatch.setattr(host, "ROOT", tmp_path / "checkout")
    assert call(capsys, monkeypatch, "export", "all", *where)[0] == 0
    assert tables.committed_cells("dan", "ddc").keys() == {("dan", "digits"), ("ddc", "digits")}

    status, _, error = call(capsys, monkeypatch, "plan", "all", "--experiment", "nope", *where)
    assert (status, "no paper has an experiment for nope" in error) == (2, True)
    status, _, error = call(capsys, monkeypatch, "plan", "all", "--dataset", "nope", *where)
    assert (status, "unknown data set 'nope'" in error) == (2, True)
    everything = {(name, e.name) for name, paper in contract.papers().items() for e in paper.experiments}
    assert {(name, *its.experiments) for name, its in plan.wanted("all", Options())} == everything


@pytest.mark.usefixtures("short")
def test_a_failed_cell_is_told_by_the_exit_status(
    few_digits: Location, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_config: object, _network: object) -> None:
        raise RuntimeError("out of ideas")

    monkeypatch.setitem(DAN.__dict__, "build", broken)
    what = ["dan", "--dataset", "digits-mini", "--tasks", "optdigits:mfeat", "--seeds", 1, "--jobs", 1]
    status, output, error = call(capsys, monkeypatch, "run", *what, "--data", few_digits.root, "--runs", tmp_path)
    assert status == 1
    assert "Failed: dan optdigits:mfeat seed 0: RuntimeError: out of ideas" in error
    assert "Traceback" not in output + error
    assert [record.spec["method"] for record in map(Store(tmp_path).read, Store(tmp_path).cells())] == ["source_only"]
    (failure,) = (tmp_path / "failed").iterdir()
    assert "Traceback" in failure.read_text(), "the note keeps the details of a programming error"


def test_a_folder_that_cannot_hold_records_is_named(
    few_digits: Location, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    what = ["--dataset", "digits-mini", "--tasks", "optdigits:mfeat", "--data", few_digits.root]
    occupied = tmp_path / "file"
    occupied.touch()
    for command in ("plan", "run", "status"):
        status, _, error = call(capsys, monkeypatch, command, "dan", *what, "--runs", occupied)
        assert status == 2
        assert error == f"Error: {occupied} cannot be used as the folder of records (Not a directory); choose --runs.\n"


def test_a_damaged_record_is_named_and_one_of_another_cell_does_not_matter(
    few_digits: Location, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    what = ["dan", "--dataset", "digits-mini", "--tasks", "optdigits:mfeat", "--data", few_digits.root]
    other = tmp_path / "cells" / "0123456789abcdef.json"
    other.parent.mkdir()
    other.write_text('{"cell": "0123456789abcdef", "spec": {}, "values": [], "n_test": 1, "history": []}')
    assert call(capsys, monkeypatch, "plan", *what, "--runs", tmp_path)[0] == 0
    _, output, _ = call(capsys, monkeypatch, "plan", *what, "--runs", tmp_path)
    cell = re.search(r"\b[0-9a-f]{16}\b", output)
    assert cell
    for found in re.findall(r"\b[0-9a-f]{16}\b", output):  # all of them, so that nothing is run
        (other.parent / f"{found}.json").write_text("null")
    status, _, error = call(capsys, monkeypatch, "reproduce", *what, "--seeds", 1, "--runs", tmp_path, "--jobs", 1)
    assert status in (1, 2)
    assert f"{cell[0]}.json is not a readable record" in error


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("def build(:\n", "methods/broken.py cannot be imported (SyntaxError: "),
        ("raise RuntimeError('not today')\n", "methods/broken.py cannot be imported (RuntimeError: not today); fix"),
        ("METHOD = 3\n", "METHOD of methods/broken.py is not a methods.contract.Method; fix it."),
    ],
)
def test_a_broken_method_is_named(
    content: str, says: str, newcomer: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    newcomer.with_name("broken.py").write_text(content)
    theirs = CliRunner().invoke(report.main, ["list"])
    for status, error in (call(capsys, monkeypatch, "list")[::2], (theirs.exit_code, theirs.stderr)):
        assert status == 2
        assert error.startswith("Error: ")
        assert says in error
        assert "Traceback" not in error


def test_an_interrupted_command_tells_it_by_the_exit_status(
    few_digits: Location, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_given: object, **_named: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr("benchmarks.cell.training.run_cell", interrupted)
    what = ["dan", "--dataset", "digits-mini", "--tasks", "optdigits:mfeat", "--seeds", 1, "--jobs", 1]
    where = ["--data", few_digits.root, "--runs", tmp_path]
    status, output, error = call(capsys, monkeypatch, "reproduce", *what, *where)
    assert status == 130
    assert "the same command resumes from here" in output + error
    assert "Traceback" not in output + error
    monkeypatch.setattr(plan, "make", interrupted)
    status, output, error = call(capsys, monkeypatch, "plan", *what[:-2], *where)
    assert (status, error.strip()) == (130, "Interrupted.  Nothing finished is lost.")


def test_no_command_waits_for_what_only_some_cells_need() -> None:
    """They take seconds to import, and with them every command and every worker process would."""
    code = (
        "import sys; from benchmarks.cli import commands; from methods import contract; "
        "[contract.load(name) for name in contract.names()]; "
        "print(*{'sklearn', 'skada', 'scipy', 'pandas', 'torchvision', 'matplotlib'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=host.ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def examples() -> list[str]:
    """The Python of ``CONTRIBUTING.md``: a whole method, and what a paper adds to it."""
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE | re.DOTALL)


def with_paper() -> str:
    """The method with a paper: its import and its last line are replaced."""
    whole, more = examples()
    imports, _, rest = more.partition("\n\n")
    lines = [imports if line.startswith("from methods.contract ") else line for line in whole.splitlines()[:-1]]
    return "\n".join([*lines, rest])


@pytest.mark.parametrize("paper", [False, True])
def test_the_example_passes_the_linter(paper: bool, newcomer: Path) -> None:
    newcomer.write_text(with_paper() if paper else examples()[0])
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--config", ROOT / "pyproject.toml", newcomer]
        run = subprocess.run(ruff, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout


def test_a_new_method_takes_one_file(
    newcomer: Path, few_digits: Location, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in the list, the plan, the run, the tables and make help, with no other edit."""
    newcomer.write_text(with_paper())
    runs = newcomer.parent.parent / "runs"
    what = ["newcomer", "--tasks", "optdigits:mfeat", "--data", few_digits.root, "--runs", runs]
    assert "newcomer" in call(capsys, monkeypatch, "list")[1]
    assert "4 cells, 0 done, 4 to run." in call(capsys, monkeypatch, "plan", *what)[1]
    assert call(capsys, monkeypatch, "reproduce", *what, "--jobs", 1)[0] == 0
    table = CliRunner().invoke(report.main, ["table", "newcomer", "--runs", str(runs)]).output
    assert re.search(r"Newcomer +this machine +\d", table), table
    shutil.copy(ROOT / "Makefile", newcomer.parent)
    (newcomer.parent / "methods").mkdir()
    shutil.copy(newcomer, newcomer.parent / "methods")
    assert (
        "newcomer"
        in subprocess.run(["make", "help"], cwd=newcomer.parent, capture_output=True, text=True, check=True).stdout
    )


def test_an_error_in_a_step_names_the_line(
    newcomer: Path, few_digits: Location, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = with_paper().replace('target["fc7"]', 'target["fc9"]')
    newcomer.write_text(text)
    line = text[: text.index("fc9")].count("\n") + 1
    what = ["newcomer", "--tasks", "optdigits:mfeat", "--seeds", 1, "--data", few_digits.root, "--jobs", 1]
    status, output, error = call(capsys, monkeypatch, "reproduce", *what, "--runs", newcomer.parent.parent / "runs")
    assert status == 1
    assert f"FAILED: KeyError: 'fc9' (methods/newcomer.py, line {line}) (" in output + error


def test_a_wrong_declaration_is_said_where_it_is_used(
    newcomer: Path, few_digits: Location, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    newcomer.write_text(with_paper().replace("(FIRST,)", "FIRST"))
    for command in (["list"], ["plan", "newcomer"], ["plan", "all"], ["choose", "newcomer"]):
        status, _, error = call(capsys, monkeypatch, *command)
        said = "Error: methods/newcomer.py: experiments must be a tuple; write (FIRST,).\n"
        assert (status, error) == (2, said), command
    assert call(capsys, monkeypatch, "plan", "dan", "--data", few_digits.root)[0] == 0


def test_a_method_without_a_paper_is_run_beside_source_only(
    newcomer: Path, few_digits: Location, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    newcomer.write_text(examples()[0])
    short = Recipe(steps=8, epoch=4, rate=0.01, batch=16)
    monkeypatch.setattr(recipes, "LENET", dataclasses.replace(recipes.LENET, recipe=short))
    runs = newcomer.parent.parent / "runs"
    what = ["newcomer", "--tasks", "optdigits:mfeat", "--seeds", 1, "--data", few_digits.root, "--runs", runs]
    status, output, error = call(capsys, monkeypatch, "reproduce", *what, "--jobs", 1)
    assert (status, "3 of 3 cells to run" in output) == (0, True), error
    table = CliRunner().invoke(report.main, ["table", "newcomer", "--runs", str(runs)]).output
    assert re.search(r"source only +this machine +\d", table), table
    assert re.search(r"weak +this machine +\d", table), table
    assert "newcomer" not in call(capsys, monkeypatch, "list")[1], "it is no paper of the suite"


def test_every_paper_and_data_set_is_listed(
    few_digits: Location, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, output, _ = call(capsys, monkeypatch, "list")
    for name, paper in contract.papers().items():
        assert f"{name}{', a comparator' if paper.comparator else ''}: {paper.title}" in output
        assert all(f"\n{one.name} " in output and one.title in output for one in paper.experiments)
    assert max(map(len, output.splitlines())) < 180, "a line fits a wide window"
    _, output, _ = call(capsys, monkeypatch, "data", "--list", "--data", few_digits.root)
    assert re.search(r"optdigits .* prepared", output)
    assert re.search(r"svhn .* not here", output)


FOREIGN = "raise RuntimeError('the foreign package was imported')\n"


@pytest.mark.parametrize("how", ["site", "path"])
def test_a_foreign_package_called_datasets_is_no_trouble(how: str, tmp_path: Path) -> None:
    """Neither does it shadow ours, nor do we shadow it for programs outside the checkout."""
    foreign = tmp_path / "site-packages" / "datasets"
    foreign.mkdir(parents=True)
    (foreign / "__init__.py").write_text(FOREIGN)
    environment = {**os.environ, "PYTHONPATH": str(foreign.parent)}
    if how == "site":
        # As an installed package: a .pth-like entry at the end of sys.path.
        environment.pop("PYTHONPATH")
        hook = f"import site, sys; site.addsitedir({str(foreign.parent)!r}); "
    else:
        hook = ""
    ours = [sys.executable, "-c", hook + "import runpy, sys; sys.argv = ['x', 'list']; "
            "runpy.run_module('benchmarks', run_name='__main__')"]  # fmt: skip
    run = subprocess.run(ours, cwd=host.ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    elsewhere = [sys.executable, "-c", hook + "import datasets"]
    run = subprocess.run(elsewhere, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "the foreign package was imported" in run.stderr
