"""The ledger of claims: its rows by hand, its reasons, and that the committed file is up to date."""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path

import pytest

from methods.contract import Claim, papers
from report import ledger
from report.claims import VERDICTS
from tests.report.samples import FULL, PAPER, SINGLE, papers_samples, rows, write

ROOT = Path(__file__).resolve().parents[2]


def numbered(lines: list[dict[str, str]]) -> list[dict[str, str]]:
    """A cell of its own for every line, method by method."""
    return [{**line, "cell": f"{line['method']}-{line['task']}-{line['seed']}"} for line in lines]


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_claim_with_its_numbers_and_cells(tmp_path: Path) -> None:
    write(tmp_path / "dan/digits.csv", numbered(rows()))
    (gain, kernels) = read(ledger.comma_separated(ledger.ledger({"dan": PAPER}, tmp_path)))
    assert tuple(gain) == ledger.COLUMNS
    # Differences by seed, means over tasks: 3, 4, 2; t = 4.303 and standard error 1 / sqrt(3).
    assert (float(gain["effect"]), gain["n"], gain["verdict"]) == (3.0, "3", "reproduced")
    assert float(gain["low"]) == pytest.approx(0.51586, abs=1e-5)
    assert float(gain["high"]) == pytest.approx(5.48414, abs=1e-5)
    assert gain["rule"] == (
        "accuracy of DAN above source only; mean of 2 tasks; digits-mini, full protocol, lenet, finetune; "
        "paired by seed"
    )
    tasks = ("mnist:optdigits", "optdigits:mnist")
    expected = {f"{method}-{task}-{seed}" for method in ("dan", "source_only") for task in tasks for seed in range(3)}
    assert set(gain["cells"].split()) == expected
    assert len(gain["cells"].split()) == 12
    assert kernels["verdict"] == (
        "not run here (there are no committed results; "
        "`make reproduce-dan EXPERIMENT=ablations DATASET=digits-mini` makes them on lenet, finetune)"
    )
    assert (kernels["effect"], kernels["n"], kernels["cells"]) == ("", "0", "")


def test_cells_that_enter_no_pair_are_not_named(tmp_path: Path) -> None:
    lines = [line for line in numbered(rows()) if line["cell"] != "dan-mnist:optdigits-2"]
    write(tmp_path / "dan/digits.csv", lines)
    gain, _ = read(ledger.comma_separated(ledger.ledger({"dan": PAPER}, tmp_path)))
    assert gain["n"] == "2"
    assert not any(cell.endswith("-2") for cell in gain["cells"].split())


def test_one_row_per_data_set_and_setting(tmp_path: Path) -> None:
    write(tmp_path / "dan/digits.csv", [*rows(), *rows(dataset="digits")])
    paper = dataclasses.replace(
        PAPER, claims=(PAPER.claims[0], Claim("sweep", "It helps.", "sensitivity", FULL, PAPER.claims[0].worse))
    )
    lines = [row for row in rows(experiment="sensitivity") if row["method"] == "source_only"]
    for value in ("0.1", "1.0"):
        lines += [row | {"setting": f"lam={value}"} for row in rows(experiment="sensitivity") if row["method"] == "dan"]
    write(tmp_path / "dan/sensitivity.csv", lines)
    found = ledger.ledger({"dan": paper}, tmp_path)
    assert [row.claim for row in found] == ["gain", "gain", "sweep", "sweep"]
    assert len({(row.claim, row.rule) for row in found}) == 4
    assert [("lam=0.1" in row.rule, "lam=1.0" in row.rule) for row in found[2:]] == [(True, False), (False, True)]


def test_what_is_not_run_says_why(tmp_path: Path) -> None:
    claim = Claim("kernels", "Several beat one.", "digits", FULL, SINGLE)
    paper = dataclasses.replace(PAPER, claims=(claim,), not_run={"Table 9": "its images are not public"})
    write(tmp_path / "dan/digits.csv", rows())
    found = ledger.ledger({"dan": paper}, tmp_path)
    assert [row.full_verdict for row in found] == [
        "not run here (a side of it has no committed results on digits-mini)",
        "not run here (its images are not public)",
    ]


def test_this_machines_runs_do_not_enter(tmp_path: Path) -> None:
    write(tmp_path / "runs/tables/dan/digits.csv", rows())
    found = ledger.ledger({"dan": PAPER}, tmp_path / "results")
    assert {row.verdict for row in found} == {"not run here"}


def test_every_claim_of_every_paper_is_in_it(tmp_path: Path) -> None:
    found = ledger.ledger(papers(), papers_samples(tmp_path))
    for name, paper in papers().items():
        claims = [row for row in found if row.paper == name]
        assert {claim.name for claim in paper.claims} | set(paper.not_run) == {row.claim for row in claims}
    assert len({(row.paper, row.claim, row.rule) for row in found}) == len(found)
    assert {row.verdict for row in found} <= set(VERDICTS)
    assert all(row.cells for row in found if row.verdict != "not run here")
    undecided = {row.claim for row in found if row.verdict == "not run here"}
    assert undecided <= {what for paper in papers().values() for what in paper.not_run}, "samples have all"


def test_the_committed_ledger_is_up_to_date() -> None:
    made = ledger.comma_separated(ledger.ledger(papers(), ROOT / "results"))
    assert (ROOT / "results" / "claims.csv").read_text() == made, "run `make paper-tables` and commit what it writes"
