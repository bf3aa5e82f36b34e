"""The numbers of the README and of FINDINGS.md are those of the committed results."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.machine.errors import UserError
from methods.contract import papers
from report import build, headline, records
from report.__main__ import main
from report.table import cell_text
from tests.report.samples import BASE, FULL, MAIN, PAPER, RECIPE, SINGLE, VALUES, rows, write

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


def test_the_table_of_all_data_is_the_committed_result() -> None:
    made = headline.every_table(papers(), ROOT / "results")
    assert headline.inserted(FINDINGS, made, "FINDINGS.md") == FINDINGS
    header, rule, *lines = [line.split("|")[1:-1] for line in made.splitlines()]
    assert {len(fields) for fields in (header, rule, *lines)} == {len(header)}
    data = [fields[0].strip() for fields in lines]
    others = [name for name in data if name != headline.DATASET]
    assert data == [headline.DATASET] * (len(data) - len(others)) + sorted(others)
    assert {"office31", "digits", "digits-mini", "office-caltech10", "office-caltech10-surf"} <= set(data)
    signs = {fields[7].strip()[0] for fields in lines if fields[-1].strip() == "**loses**"}
    assert signs == {"-"}
    assert all(fields[7].strip()[0] == "+" for fields in lines if fields[-1].strip() == "yes")


def test_the_readme_has_a_row_for_every_paper_and_the_words(tmp_path: Path) -> None:
    """And what the numbers are not in its first lines; it is one screen long."""
    lines = headline.table(papers(), ROOT / "results").splitlines()[2:]
    suite = [name for name, paper in papers().items() if not paper.comparator]
    assert len(lines) == len(suite)
    assert all(any(f"`{name}`)" in line for line in lines) for name in suite)
    loses = [line for line in lines if line.endswith("**loses** |")]
    assert all(line.split("|")[3].strip().startswith("-") for line in loses)
    gains = [line for line in lines if line.endswith(" yes |")]
    assert gains
    assert all(line.split("|")[3].strip().startswith("+") for line in gains)
    words = (headline.glossary(), "README.md", headline.WORDS_BEGIN, headline.WORDS_END)
    assert headline.inserted(README, *words) == README
    assert headline.glossary().count("* **") == 12
    assert "What the numbers are not" in "\n".join(README.splitlines()[:10])
    assert len(README.partition("<details>")[0].splitlines()) < 50
    empty = headline.table(papers(), tmp_path).splitlines()[2:]
    assert all("not run here" in line for line in empty), "without results there is no verdict"


def test_a_gain_that_depends_on_the_baseline_is_shown_over_each(tmp_path: Path) -> None:
    """Over source-only it is 3 with seeds 4, 3, 2 and 2, 5, 2; DAN_SK is one point above DAN everywhere."""
    experiment = dataclasses.replace(
        MAIN, rows=(BASE, FULL, SINGLE), recipes={"office31": RECIPE}, also_over=(SINGLE,), published=()
    )
    paper = dataclasses.replace(PAPER, experiments=(experiment,), claims=())
    above = {key: [one + 1 for one in numbers] for key, numbers in VALUES.items() if key[0] == "dan"}
    lines = [*rows(dataset="office31"), *rows(above, dataset="office31", variant="single_kernel")]
    path = write(tmp_path / "dan" / "digits.csv", lines)
    (line,) = headline.table({"dan": paper}, tmp_path).splitlines()[2:]
    assert "| +3.00 ± 0.58; over DAN_SK -1.00 ± 0.00 |" in line
    assert line.endswith("| yes; over DAN_SK **loses** |")
    _, _, first, further = headline.every_table({"dan": paper}, tmp_path).splitlines()
    assert [text.split("|")[2].strip() for text in (first, further)] == ["DAN", "DAN, over DAN_SK"]
    assert [text.split("|")[8].strip()[:5] for text in (first, further)] == ["+3.00", "-1.00"]
    frame = records.load({records.COMMITTED: path})
    grids = build.table_of("dan", paper, experiment, frame, records.groups(frame)[0]).grids
    shown = {grid.name: grid.title for grid in grids if grid.name.startswith("difference")}
    assert shown == {
        "difference": "Difference over source only, percentage points",
        "difference-1": "Difference over DAN_SK, percentage points",
    }


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
