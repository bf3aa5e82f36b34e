"""The command line: what it prints, its exit status, its mistakes in one sentence."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from methods.contract import papers
from report import __main__ as cli
from report.build import in_order
from report.records import Group
from tests.report.samples import MAIN, PAPER, rows, write, write_published

ROOT = Path(__file__).parents[2]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as the current one, and the invented paper as the only one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "papers", lambda: {"dan": PAPER})
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, arguments)


def one_sentence(result: Result, message: str) -> None:
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == "Error: " + message + "\n"


def test_table_of_both_origins(place: Path) -> None:
    write(place / "results/dan/digits.csv", rows())
    write(place / "runs/tables/dan/digits.csv", rows())
    write_published(place / "results/published.csv", [("DAN", "Avg", "72.9", "", "paper")])
    result = call("table", "dan", "--all")
    assert result.exit_code == 0
    assert "agree to the last digit" in result.stdout
    assert "Published: Table1" in result.stdout
    assert "Read from results/dan/digits.csv, runs/tables/dan/digits.csv." in result.stdout
    assert "Claim kernels: not run here (experiment ablations). Several kernels beat one." in result.stdout


def test_comparisons_are_of_one_data_set(place: Path) -> None:
    message = "compare takes one data set, not office31, digits."
    one_sentence(call("compare", "office31 digits", "--runs", str(place / "runs")), message)


def test_one_table_per_protocol_and_data_set(place: Path) -> None:
    write(place / "results/dan/digits.csv", [*rows(), *rows(dataset="digits"), *rows(protocol="down-sampled")])
    assert call("table", "dan", "--all").stdout.count("Accuracy in percent") == 3
    assert call("table", "dan", "--all", "--dataset", "digits-mini").stdout.count("Accuracy in percent") == 2


def test_what_is_there_on_another_track_is_shown(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late = dataclasses.replace(MAIN, name="late", track="late", default=True)
    paper = dataclasses.replace(PAPER, experiments=(dataclasses.replace(MAIN, default=True), late))
    monkeypatch.setattr(cli, "papers", lambda: {"dan": paper})
    write(place / "results/dan/late.csv", rows(experiment="late", track="late"))
    result = call("table", "dan", "--dataset", "digits-mini")
    assert (result.exit_code, "dan late on digits-mini" in result.stdout) == (0, True)
    assert call("table", "dan", "--dataset", "digits-mini", "--track", MAIN.track).exit_code == 2


def test_the_answer_comes_first_and_all_is_said_to_be_there(place: Path) -> None:
    """The gain with interval, verdict, what is published and how far runs agree; then the main table; then one line."""
    write(place / "results/dan/digits.csv", rows())
    write(place / "runs/tables/dan/digits.csv", rows())
    write_published(
        place / "results/published.csv", [("CNN", "Avg", "70.1", "", "paper"), ("DAN", "Avg", "72.9", "", "paper")]
    )
    printed = call("table", "dan").stdout
    answer, main, rest = (
        printed.index("+3.00 ± 0.58"),
        printed.index("Accuracy in percent"),
        printed.index("Also there"),
    )
    assert answer < main < rest
    (line,) = [line for line in printed.splitlines() if "+3.00" in line]
    for word in ("DAN", "both", "[+0.52, +5.48]", "reproduced", "+2.8 (AlexNet, Office-31)"):
        assert word in line
    assert "digits-mini, lenet: all 12 values in common agree to the last digit" in printed
    assert "make table-dan ALL=1" in printed
    assert "Gain over source only" in printed
    assert len(printed.splitlines()) < 35
    again = call("table", "dan", "--dataset", "digits-mini", "--tasks", "mnist:optdigits").stdout
    assert "make table-dan DATASET=digits-mini TASKS=mnist:optdigits ALL=1" in again
    assert "optdigits:\nmnist" not in again
    assert "83.0" not in again
    assert "84.0 ± 0.0" in again


def test_a_backbone_and_tasks_choose_what_is_shown(place: Path) -> None:
    write(place / "results/dan/digits.csv", [*rows(), *rows(backbone="other")])
    assert call("table", "dan", "--all").stdout.count("Accuracy in percent") == 2
    shown = call("table", "dan", "--all", "--backbone", "other").stdout
    assert shown.count("Accuracy in percent") == 1
    assert "backbone" in shown
    one_sentence(
        call("table", "dan", "--tasks", "a:b"),
        "there are no results on a:b; the tasks are: mnist:optdigits, optdigits:mnist.",
    )


def test_named_experiments_and_those_without_results(place: Path) -> None:
    write(place / "results/dan/digits.csv", rows())
    result = call("table", "dan", "--experiment", "ablations", "--experiment", "digits", "--all")
    assert result.exit_code == 0
    assert (
        "No results of ablations here; get them with: make reproduce-dan EXPERIMENT=ablations DATASET=" in result.stdout
    )


def test_all_papers(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = dataclasses.replace(
        PAPER, title="Another", experiments=(dataclasses.replace(MAIN, name="other"),), claims=()
    )
    monkeypatch.setattr(cli, "papers", lambda: {"dan": PAPER, "jan": other})
    one_sentence(call("table", "all"), "there are no such results; `python -m report list` shows what there is.")
    write(place / "results/dan/digits.csv", rows())
    result = call("table", "all", "--all")
    assert result.exit_code == 0
    assert result.stdout.count("Accuracy in percent") == 1
    assert "there are no results of jan for other yet; get them with: make reproduce-jan" in result.stdout
    write(place / "results/jan/other.csv", rows(dataset="digits"))
    office = rows({("dan", "amazon:webcam"): (1, 2), ("source_only", "amazon:webcam"): (1, 2)}, dataset="digits")
    write(place / "results/jan/other.csv", office)
    asked = call("table", "all", "--tasks", "amazon:webcam")
    assert "jan: Another" in asked.stdout
    assert "dan: Adaptation" not in asked.stdout, "it has no such task, and does not end the command"
    write(place / "results/jan/other.csv", rows(dataset="digits"))
    assert call("table", "all", "--all").stdout.count("Accuracy in percent") == 2
    named = call("table", "all", "--experiment", "other", "--all").stdout
    assert "jan other on digits" in named
    assert "dan digits on" not in named
    assert call("table", "all", "--all", "--dataset", "digits").stdout.count("Accuracy in percent") == 1
    one_sentence(
        call("table", "all", "--dataset", "nope"),
        "there are no such results; `python -m report list` shows what there is.",
    )


def test_no_results_names_the_command(place: Path) -> None:
    sentence = (
        "there are no results of dan for {}{} yet; get them with: make reproduce-dan EXPERIMENT={} DATASET={} TRACK={} "
        "BACKBONE=lenet"
    )
    for options, words in {
        (): ("digits", "", "digits", "digits-mini", "finetune"),
        ("--experiment", "ablations"): ("ablations", "", "ablations", "digits-mini", "finetune"),
        ("--dataset", "digits"): ("digits", " on digits", "digits", "digits", "finetune"),
        ("--track", "late"): ("digits", " on late", "digits", "digits-mini", "late"),
    }.items():
        one_sentence(call("table", "dan", *options), sentence.format(*words))


def test_no_results_names_only_the_experiments_on_the_data_set(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (recipe, *_) = MAIN.recipes.values()
    further = dataclasses.replace(MAIN, name="further", default=False, recipes={"office31": recipe})
    monkeypatch.setattr(cli, "papers", lambda: {"dan": dataclasses.replace(PAPER, experiments=(MAIN, further))})
    one_sentence(
        call("table", "dan", "--dataset", "office31"),
        "there are no results of dan for further on office31 yet; get them with: make reproduce-dan "
        "EXPERIMENT=further DATASET=office31 TRACK=finetune BACKBONE=lenet",
    )


def test_no_contributions_are_said_to_be_none(place: Path) -> None:
    result = call("contributed")
    assert (result.exit_code, result.stdout) == (0, "There are no contributed results in results/contributed.\n")


def test_unknown_names_list_what_exists(place: Path) -> None:
    one_sentence(call("table", "nope"), "unknown paper 'nope'; there are: dan.")
    one_sentence(
        call("table", "dan", "--experiment", "table9"),
        "dan has no experiment 'table9'; there are: digits, ablations, sensitivity.",
    )
    one_sentence(
        call("table", "dan", "--dataset", "cats"),
        "dan has nothing on a data set 'cats'; there are: digits-mini, digits.",
    )
    one_sentence(
        call("table", "dan", "--experiment", "ablations", "--dataset", "digits"),
        "dan ablations has nothing on a data set 'digits'; there are: digits-mini.",
    )


def test_malformed_file(place: Path) -> None:
    lines = rows()
    lines[0]["value"] = "high"
    write(place / "results/dan/digits.csv", lines)
    one_sentence(call("table", "dan"), "results/dan/digits.csv, line 2: value is 'high', expected a finite number.")


def test_out_file_holds_the_table_alone(place: Path) -> None:
    write(place / "results/dan/digits.csv", rows())
    printed = call("table", "dan", "--format", "csv").stdout
    assert printed.startswith("paper,experiment,dataset,")
    assert call("table", "dan", "--format", "csv", "--out", "made/here.csv").exit_code == 0
    assert (place / "made/here.csv").read_text() == printed
    (place / "file").write_text("")
    result = call("table", "dan", "--out", "file/inside")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: file/inside cannot be written: ")


def test_list(place: Path) -> None:
    write(place / "results/dan/digits.csv", rows())
    lines = call("list").stdout.splitlines()
    assert lines[0] == "dan: Adaptation of Things (A. Author, Venue 2015)"
    assert lines[1] == "  digits, default: accuracy on digits [committed]"
    assert lines[2] == "  ablations: parts left out [no results yet]"


def test_markdown_files_of_committed_results_do_not_depend_on_this_machine(place: Path) -> None:
    write(place / "results/dan/digits.csv", rows())
    assert call("tables", "dan").exit_code == 0
    path = place / "report/tables/dan/digits.md"
    first = path.read_bytes()
    assert first.startswith(b"# Adaptation of Things\n")
    write(place / "runs/tables/dan/digits.csv", rows()[:-1])
    assert call("tables", "dan").exit_code == 0
    assert path.read_bytes() == first
    assert sorted(found.name for found in path.parent.iterdir()) == ["digits.md"], (
        "experiments without results have no file"
    )


def test_markdown_files_need_committed_results(place: Path) -> None:
    write(place / "runs/tables/dan/digits.csv", rows())
    one_sentence(call("tables", "dan"), "there are no committed results of dan in results/dan.")


def test_the_real_command_refuses_without_a_traceback_and_imports_neither_pictures_nor_what_trains() -> None:
    """One process for both: it takes seconds to start."""
    code = (
        "import atexit, runpy, sys; atexit.register(lambda: print(*sys.modules)); "
        "sys.argv = ['report', 'table', 'no-such-paper']; runpy.run_module('report', run_name='__main__')"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 2
    assert result.stderr == f"Error: unknown paper 'no-such-paper'; there are: {', '.join(papers()) or 'none'}.\n"
    rooms = {name for name in result.stdout.split() if name.startswith("benchmarks.")}
    assert {name.split(".")[1] for name in rooms} == {"machine", "records"}
    assert not {"matplotlib", "datasets"} & set(result.stdout.split())


def test_the_first_data_set_of_an_experiment_comes_first() -> None:
    first, second = ("digits-mini", "digits")
    experiment = dataclasses.replace(MAIN, recipes=dict.fromkeys((first, second), next(iter(MAIN.recipes.values()))))
    found = [Group(name, "full", "lenet", "finetune") for name in ("other", second, first)]
    assert [group.dataset for group in in_order(experiment, found)] == [first, second, "other"]


def test_the_backbone_of_an_experiment_comes_first() -> None:
    experiment = dataclasses.replace(MAIN, backbone="lite0")
    data = ("digits", "digits-mini")
    found = [Group(name, "full", backbone, "frozen") for backbone in ("lite2", "googlenet", "lite0") for name in data]
    order = [(group.dataset, group.backbone) for group in in_order(experiment, found)]
    assert order == [(name, one) for name in experiment.recipes for one in ("lite0", "googlenet", "lite2")]
