"""The list of what is in ``results/``: its lines by hand, and that the committed file is up to date."""

from __future__ import annotations

from pathlib import Path

from methods.contract import papers
from report import contents
from tests.report.samples import PAPER, rows, write

ROOT = Path(__file__).resolve().parents[2]


def test_lines_of_a_file(tmp_path: Path) -> None:
    lines = [
        {**line, "cell": f"{line['method']}-{line['task']}-{line['seed']}", "seconds": "900", "commit": "abc"}
        for line in rows()
    ]
    again = [{**line, "selection": "oracle"} for line in lines]  # the same cells
    other = [{**lines[0], "dataset": "digits", "cell": "one", "commit": "def"}]
    write(tmp_path / "dan/digits.csv", [*lines, *again, *other])
    text = contents.contents({"dan": PAPER}, tmp_path)
    found = [line.split(" | ") for line in text.splitlines() if line.startswith("| [digits.csv](dan/digits.csv)")]
    assert [fields[2:] for fields in found] == [
        ["digits-mini, full", "lenet, finetune", "2", "3", "12", "3.00", "2.14.1", "abc |"],
        ["digits, full", "lenet, finetune", "1", "1", "1", "0.25", "2.14.1", "def |"],
    ]
    absent = [one.name for one in PAPER.experiments if one.name != "digits"]
    assert f"Not run yet: {', '.join(absent)}.\n" in text
    assert "make reproduce-dan EXPERIMENT=..." in text


def test_the_committed_list_is_up_to_date() -> None:
    made = contents.contents(papers(), ROOT / "results")
    assert (ROOT / "results" / "CONTENTS.md").read_text() == made, "run `make paper-tables` and commit what it writes"
