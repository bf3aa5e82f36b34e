"""The README's headline numbers are those of the committed results."""

from __future__ import annotations

from pathlib import Path

from methods.contract import papers
from report import build, records, render

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_at_the_top_is_the_committed_result() -> None:
    readme = (ROOT / "README.md").read_text()
    top = [[cell.strip(" *") for cell in line.split("|")[1:-1]] for line in readme.splitlines() if line.startswith("|")]
    header, _, *lines = top[:5]
    assert [line[0] for line in lines] == ["source-only", "DAN", "difference"]
    paper = papers()["dan"]
    experiment = next(one for one in paper.experiments if one.name == "digits")
    frame = records.load({records.COMMITTED: ROOT / "results" / "dan" / "digits.csv"})
    (group,) = (group for group in records.groups(frame) if group.dataset == "digits-mini")
    table = build.build("dan", paper, experiment, frame, group)
    accuracies, differences = table.grids[:2]
    for line, grid, place in ((lines[0], accuracies, 0), (lines[1], accuracies, 1), (lines[2], differences, 0)):
        shown = dict(zip(header[1:], line[1:], strict=True))
        found = dict(zip(grid.columns, map(render.cell_text, grid.lines[place].cells), strict=True))
        assert shown == {name: found[name] for name in shown}
