"""Contributed results: checked, and shown apart."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks.machine.errors import UserError
from benchmarks.records.store import canonical, read_specs
from methods.contract import papers
from report import contributed, site
from report.figures import charts
from tests.report.markup import parse
from tests.report.samples import PAPER, rows, write
from tests.report.test_site import not_drawn

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A part of the committed results of DAN as if it had been sent in, with its specifications."""
    folder = tmp_path / "results/contributed/lab"
    (folder / "dan/specs").mkdir(parents=True)
    for name in ("dan/table1-late.csv", "dan/specs/table1-late.json"):
        (folder / name).write_bytes((ROOT / "results" / name).read_bytes())
    return tmp_path / "results"


def test_a_contribution_is_read_and_shown_apart(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (one,) = contributed.found(papers(), results)
    assert (one.name, len(one.boards)) == ("lab", 1)
    assert one.cells == len(read_specs(results / "contributed/lab/dan/specs/table1-late.json"))
    assert "device cpu" in one.made
    monkeypatch.setattr(charts, "save", not_drawn)
    write(results / "dan/digits.csv", rows())
    out = results.parent / "site"
    some = {"dan": papers()["dan"]}
    assert out / "contributed.html" in site.make(some, None, results, out)
    page = parse((out / "contributed.html").read_text())
    assert "no verdict of the suite rests on them" in page.text
    assert any(button.attributes.get("class") == "why" for button in page.all("button"))
    boards = parse((out / "index.html").read_text()).text.partition("Leaderboards")[2].partition("Words:")[0]
    assert "lite0, late" not in boards


def test_what_was_changed_is_refused(results: Path) -> None:
    beside = results / "contributed/lab/dan/specs/table1-late.json"
    whole = beside.read_text()
    data, *groups = json.loads(whole)
    groups[0]["spec"]["recipe"]["rate"] *= 2
    beside.write_text(canonical([data, *groups]))
    with pytest.raises(UserError, match="it was changed"):
        contributed.found(papers(), results)
    beside.unlink()
    with pytest.raises(UserError, match="has no specification"):
        contributed.found(papers(), results)
    beside.write_text(whole)
    table = results / "contributed/lab/dan/table1-late.csv"
    honest = table.read_text()
    table.write_text(re.sub(r"^(dan,table1-late),source_only,", r"\1,jan,", honest, flags=re.MULTILINE))
    with pytest.raises(UserError, match=r"method of cell [0-9a-f]+ is 'jan', unlike in its specification"):
        contributed.found(papers(), results)
    table.write_text(honest)
    write(results / "contributed/lab/dan/unknown.csv", rows())
    with pytest.raises(UserError, match="no experiment of the suite"):
        contributed.found({"dan": PAPER}, results)


def test_what_is_committed_of_others_is_whole() -> None:
    assert all(one.cells for one in contributed.found(papers(), ROOT / "results"))
