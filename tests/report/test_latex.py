"""LaTeX tables: escaping, marks, and that they compile where a LaTeX is found."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from methods.contract import papers
from report import build, latex
from report.build import table_of
from report.records import Group
from report.table import Grid, Interval, Line, Number, Table
from tests.report.samples import MAIN, PAPER, VALUES, papers_samples, rows
from tests.report.test_tables import GROUP, frame

COMPILER = shutil.which("tectonic") or shutil.which("pdflatex")


def document(body: str) -> str:
    return "\\documentclass{article}\\usepackage{booktabs,graphicx}\\begin{document}\n" + body + "\n\\end{document}\n"


def compiled(text: str, folder: Path) -> str:
    """The compiler's log; fails the test if it does not compile."""
    (folder / "table.tex").write_text(document(text), encoding="utf-8")
    assert COMPILER is not None
    options = [] if "tectonic" in COMPILER else ["-interaction=nonstopmode", "-halt-on-error"]
    made = subprocess.run([COMPILER, *options, "table.tex"], cwd=folder, capture_output=True, timeout=300, check=False)
    log = made.stdout.decode(errors="replace") + made.stderr.decode(errors="replace")
    assert made.returncode == 0, log[-2000:]
    assert (folder / "table.pdf").stat().st_size > 1000
    return log


def test_special_characters_are_escaped() -> None:
    assert latex.escaped("a_b & 50 % of {x} #1 $ ~ ^ \\ <") == (
        "a\\_b \\& 50 \\% of \\{x\\} \\#1 \\$ \\textasciitilde{} \\textasciicircum{} \\textbackslash{} $<$"
    )
    assert latex.escaped("A->W") == "A$\\to$W"


def test_a_table_by_hand() -> None:
    lines = (
        Line("one", "run", (Number(50.0, 1.0, best=True), Interval(-1.0, 2.0), "reproduced")),
        Line("two", "run", (Number(49.0, float("nan"), tied=True), "-", "-")),
    )
    table = Table("p", "e", GROUP, "title", (), (Grid("g", "grid", ("a", "b", "c"), lines),))
    text = latex.latex(table)
    assert "one & run & \\textbf{50.0 $\\pm$ 1.0} & {[}$-$1.00, $+$2.00{]} & reproduced \\\\" in text
    assert "two & run & \\underline{49.0 $\\pm$ -} & -- & -- \\\\" in text
    for rule in ("\\toprule", "\\midrule", "\\bottomrule"):
        assert text.count(rule) == 1
    assert "\\begin{tabular}{llrrl}" in text


@pytest.mark.page
@pytest.mark.skipif(COMPILER is None, reason="no LaTeX here")
def test_every_committed_table_compiles(tmp_path: Path) -> None:
    results = Path(__file__).parents[2] / "results"
    compiles_everything(results, tmp_path)


@pytest.mark.page
@pytest.mark.skipif(COMPILER is None, reason="no LaTeX here")
def test_tables_of_every_experiment_of_every_paper_compile(tmp_path: Path) -> None:
    compiles_everything(papers_samples(tmp_path / "results"), tmp_path)


def compiles_everything(results: Path, folder: Path) -> None:
    parts = []
    for name, paper in papers().items():
        for experiment in paper.experiments:
            loaded = build.load(name, experiment, None, results)
            parts += map(latex.latex, build.tables(name, paper, loaded, loaded.groups, results))
    assert parts
    log = compiled("\\clearpage\n".join(parts), folder)
    assert "Missing character" not in log


def test_a_long_name_makes_the_table_fit(tmp_path: Path) -> None:
    many = {("dan", f"a{i}:b"): (50.0,) for i in range(12)} | {("source_only", f"a{i}:b"): (40.0,) for i in range(12)}
    text = latex.latex(table_of("dan", PAPER, MAIN, frame(tmp_path, rows(many)), GROUP))
    assert "\\resizebox{\\textwidth}" in text
    assert (
        "\\resizebox"
        not in latex.latex(table_of("dan", PAPER, MAIN, frame(tmp_path, rows(VALUES)), GROUP))
        .split("Claims")[0]
        .split("Difference")[0]
    )
    assert isinstance(GROUP, Group)
