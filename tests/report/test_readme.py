"""The numbers of the README and of FINDINGS.md are those of the committed results."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.machine.errors import UserError
from methods.contract import papers
from report import build, headline, records
from report.__main__ import main
from report.table import cell_text

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
FINDINGS = (ROOT / "results" / "FINDINGS.md").read_text()


def test_the_table_of_all_methods_is_the_committed_result() -> None:
    """`make paper-tables` writes it."""
    table = headline.table(papers(), ROOT / "results")
    assert headline.inserted(README, table, "README.md") == README
    pictures = [
        f"report/tables/{name}/{experiment.picture}.svg"
        for name, paper in papers().items()
        for experiment in paper.experiments
        if experiment.picture and (ROOT / "results" / name / f"{experiment.name}.csv").is_file()
    ]
    assert pictures
    assert f"({pictures[0]})" in README
    assert all((ROOT / picture).is_file() for picture in pictures)


def test_the_table_of_other_data_is_the_committed_result() -> None:
    made = headline.other_data(papers(), ROOT / "results")
    assert headline.inserted(FINDINGS, made, "FINDINGS.md") == FINDINGS
    header, rule, *lines = [line.split("|")[1:-1] for line in made.splitlines()]
    assert {len(fields) for fields in (header, rule, *lines)} == {len(header)}
    data = [fields[0].strip() for fields in lines]
    assert data == sorted(data)
    assert headline.DATASET not in data
    assert {"digits", "digits-mini", "office-caltech10", "office-caltech10-surf"} <= set(data)


def test_a_method_that_loses_is_shown_as_that(tmp_path: Path) -> None:
    lines = [line for line in headline.table(papers(), ROOT / "results").splitlines() if "%" not in line]
    signs = {line.split("|")[7].strip()[0] for line in lines if line.endswith("**loses** |")}
    assert signs == {"-"}
    assert all(line.split("|")[7].strip()[0] == "+" for line in lines if line.endswith("| yes |"))
    assert headline.table(papers(), tmp_path).count("\n") == 2, "without results there is a header and no line"


def test_a_readme_without_the_marks_is_not_touched() -> None:
    with pytest.raises(UserError, match="once each"):
        headline.inserted("# A readme\n", "| a table |\n", "README.md")
    with pytest.raises(UserError, match="once each"):
        headline.inserted(headline.END + headline.BEGIN, "", "README.md")
    made = headline.inserted(f"before\n{headline.BEGIN}old\n{headline.END}after\n", "new\n", "README.md")
    assert made == f"before\n{headline.BEGIN}\nnew\n\n{headline.END}after\n"


def test_nothing_is_written_where_a_page_is_missing(tmp_path: Path) -> None:
    readme, results = tmp_path / "README.md", tmp_path / "results"
    results.mkdir()
    before = f"{headline.BEGIN}old\n{headline.END}"
    readme.write_text(before)
    outcome = CliRunner().invoke(
        main, ["headline", "--readme", str(readme), "--results", str(results), "--out", str(tmp_path / "tables")]
    )
    assert outcome.exit_code != 0
    assert "FINDINGS.md cannot be read" in outcome.output
    assert readme.read_text() == before


def test_the_table_of_digits_is_the_committed_result() -> None:
    lines = FINDINGS.splitlines()
    start = next(number for number, line in enumerate(lines) if "mnist:optdigits" in line)
    header, _, *rows = [[cell.strip(" *") for cell in line.split("|")[1:-1]] for line in lines[start : start + 5]]
    assert [row[0] for row in rows] == ["source-only", "DAN", "difference"]
    paper = papers()["dan"]
    experiment = next(one for one in paper.experiments if one.name == "digits")
    frame = records.load({records.COMMITTED: ROOT / "results" / "dan" / "digits.csv"})
    (group,) = (group for group in records.groups(frame) if group.dataset == "digits-mini")
    table = build.table_of("dan", paper, experiment, frame, group)
    accuracies, differences = table.grids[:2]
    for row, grid, place in ((rows[0], accuracies, 0), (rows[1], accuracies, 1), (rows[2], differences, 0)):
        shown = dict(zip(header[1:], row[1:], strict=True))
        found = dict(zip(grid.columns, map(cell_text, grid.lines[place].cells), strict=True))
        assert shown == {name: found[name] for name in shown}
