"""The ledger of claims: its rows by hand, its reasons, and that the committed file is up to date."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from pathlib import Path

import pytest

from methods.contract import WHOSE, Claim, papers
from report import ledger, statements
from report.claims import VERDICTS
from report.ledger import Verdict
from tests.report.samples import FULL, PAPER, SINGLE, papers_samples, rows, write, write_published

ROOT = Path(__file__).resolve().parents[2]


def numbered(lines: list[dict[str, str]]) -> list[dict[str, str]]:
    """A cell of its own for every line, method by method."""
    return [{**line, "cell": f"{line['method']}-{line['task']}-{line['seed']}"} for line in lines]


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_claim_with_its_numbers_and_cells(tmp_path: Path) -> None:
    write(tmp_path / "dan/digits.csv", numbered(rows()))
    made = ledger.ledger({"dan": PAPER}, tmp_path)
    (gain, kernels) = read(ledger.comma_separated(made))
    (behind,) = read(ledger.cells_behind(made))
    assert tuple(gain) == ledger.COLUMNS
    # Differences by seed, means over tasks: 3, 4, 2; t = 4.303 and standard error 1 / sqrt(3).
    assert (float(gain["effect"]), gain["n"], gain["verdict"]) == (3.0, "3", "reproduced")
    assert float(gain["low"]) == pytest.approx(0.51586, abs=1e-5)
    assert float(gain["high"]) == pytest.approx(5.48414, abs=1e-5)
    assert float(gain["se"]) == pytest.approx(0.57735, abs=1e-5)
    # t = 3 sqrt(3) with 2 degrees of freedom; the only p of the paper, so q is the same; on no task alone is it sure.
    assert float(gain["p"]) == pytest.approx(0.0350985, abs=1e-6)
    assert (gain["q"], gain["tasks_up"], gain["tasks_down"]) == (gain["p"], "0", "0")
    assert gain["compared"] == "DAN above source only; mean of 2 tasks; paired by seed"
    assert [gain[name] for name in ("experiment", "dataset", "protocol", "backbone", "track", "metric")] == [
        *("digits", "digits-mini", "full", "lenet", "finetune", "accuracy"),
    ]
    assert (gain["text"], gain["whose"]) == ("DAN beats source only.", "paper")
    tasks = ("mnist:optdigits", "optdigits:mnist")
    for column, method in (("cells", "dan"), ("less", "source_only")):
        assert set(behind[column].split()) == {f"{method}-{task}-{seed}" for task in tasks for seed in range(3)}
        assert len(behind[column].split()) == 6
    assert {name: behind[name] for name in ledger.PLACE} == {name: gain[name] for name in ledger.PLACE}
    assert kernels["verdict"] == (
        "not run here (it needs digits-mini on lenet, finetune: "
        "`make reproduce-dan EXPERIMENT=ablations DATASET=digits-mini TRACK=finetune BACKBONE=lenet`)"
    )
    assert (kernels["effect"], kernels["n"], kernels["q"]) == ("", "0", "")


def test_q_is_over_all_comparisons_of_a_paper(tmp_path: Path) -> None:
    write(tmp_path / "dan/digits.csv", rows())
    full = [line for line in rows(experiment="ablations") if line["method"] == "dan"]
    single = [
        {**line, "variant": "single_kernel", "value": f"{float(line['value']) - 1 - int(line['seed']) / 8}"}
        for line in full
    ]
    write(tmp_path / "dan/ablations.csv", [*full, *single])
    gain, kernels = read(ledger.comma_separated(ledger.ledger({"dan": PAPER}, tmp_path)))
    p = sorted(float(row["p"]) for row in (gain, kernels))
    q = sorted(float(row["q"]) for row in (gain, kernels))
    assert q == pytest.approx([2 * p[0], p[1]], rel=1e-4)


@pytest.mark.parametrize("whose", ["paper", "code", "ours"])
def test_the_published_effect_is_that_of_the_same_data(whose: str, tmp_path: Path) -> None:
    """Of Table 1, 72.9 of DAN less 70.1 of the network: 2.8; nothing of a question that the paper does not ask."""
    lines = [("CNN", "Avg", "70.1", "", "paper"), ("DAN", "Avg", "72.9", "", "unverified")]
    lines += [(name, task, value, "", "paper") for name, task, value in (("CNN", "A->W", "61"), ("DAN", "A->W", "68"))]
    lines += [(name, task, value, "", "paper") for name, task, value in (("CNN", "D->W", "95"), ("DAN", "D->W", "96"))]
    write_published(tmp_path / "published.csv", lines)
    claim = dataclasses.replace(PAPER.claims[0], whose=whose, where="Table 1")
    hard = dataclasses.replace(claim, tasks=("amazon:webcam",), than=("dslr:webcam",))
    paper = dataclasses.replace(PAPER, claims=(claim, hard, dataclasses.replace(claim, published=1.5)))
    office = rows(
        {(method, task): (60.0, 61.0) for method in ("dan", "source_only") for task in hard.tasks + hard.than}
    )
    write(tmp_path / "dan/digits.csv", [{**line, "dataset": "office31"} for line in office])
    found = [row.published for row in ledger.ledger({"dan": paper}, tmp_path)]
    assert found == ([""] * 3 if whose == "ours" else ["2.8 (unverified)", "6", "1.5"])
    write(tmp_path / "dan/digits.csv", rows())
    assert [row.published for row in ledger.ledger({"dan": paper}, tmp_path)] == [
        "",
        "",
        "" if whose == "ours" else "1.5",
    ]


def test_cells_that_enter_no_pair_are_not_named(tmp_path: Path) -> None:
    lines = [line for line in numbered(rows()) if line["cell"] != "dan-mnist:optdigits-2"]
    write(tmp_path / "dan/digits.csv", lines)
    made = ledger.ledger({"dan": PAPER}, tmp_path)
    gain, _ = read(ledger.comma_separated(made))
    assert gain["n"] == "2"
    (behind,) = read(ledger.cells_behind(made))
    assert not any(cell.endswith("-2") for cell in f"{behind['cells']} {behind['less']}".split())


def test_one_row_per_data_set_and_setting(tmp_path: Path) -> None:
    write(tmp_path / "dan/digits.csv", [*rows(), *rows(dataset="digits")])
    paper = dataclasses.replace(
        PAPER, claims=(PAPER.claims[0], Claim("sweep", "It helps.", FULL, PAPER.claims[0].worse, on=("sensitivity",)))
    )
    lines = [row for row in rows(experiment="sensitivity") if row["method"] == "source_only"]
    for value in ("0.1", "1.0"):
        lines += [row | {"setting": f"lam={value}"} for row in rows(experiment="sensitivity") if row["method"] == "dan"]
    write(tmp_path / "dan/sensitivity.csv", lines)
    found = ledger.ledger({"dan": paper}, tmp_path)
    assert [row.claim for row in found] == ["gain", "gain", "sweep, lam=0.1", "sweep, lam=1.0"]
    assert [row.statement for row in found] == ["gain", "gain", "sweep", "sweep"]
    assert len({row.place for row in found}) == 4
    assert [("lam=0.1" in row.compared, "lam=1.0" in row.compared) for row in found[2:]] == [
        (True, False),
        (False, True),
    ]


def test_what_is_not_run_says_why(tmp_path: Path) -> None:
    claim = Claim("kernels", "Several beat one.", FULL, SINGLE, on=("digits",))
    paper = dataclasses.replace(PAPER, claims=(claim,), not_run={"Table 9": "its images are not public"})
    write(tmp_path / "dan/digits.csv", rows())
    found = ledger.ledger({"dan": paper}, tmp_path)
    assert [row.full_verdict for row in found] == [
        "not run here (a side of it has no committed results there)",
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
        assert {claim.name for claim in paper.claims} | set(paper.not_run) == {row.statement for row in claims}
    assert len({row.place for row in found}) == len(found)
    assert {row.verdict for row in found} <= set(VERDICTS)
    assert all(any(row.cells) for row in found if row.verdict != "not run here")
    absent = {row.claim for row in found if row.verdict == "not run here"}
    assert absent <= {what for paper in papers().values() for what in paper.not_run}, "samples have all"


@pytest.fixture(scope="module")
def committed() -> list[Verdict]:
    return ledger.ledger(papers(), ROOT / "results")


def test_the_committed_ledger_is_up_to_date(committed: list[Verdict]) -> None:
    made = {
        "claims.csv": ledger.comma_separated(committed),
        "claim_cells.csv": ledger.cells_behind(committed),
        "CLAIMS.md": statements.markdown(papers(), committed),
    }
    for name, text in made.items():
        assert (ROOT / "results" / name).read_text() == text, "run `make paper-tables` and commit what it writes"


def test_what_is_undecided_says_what_it_would_take(committed: list[Verdict]) -> None:
    undecided = [row for row in committed if row.verdict == "undecided"]
    assert all(
        re.fullmatch(r"undecided(, mixed)? \((about \d+|over 1000) (seeds|splits)\)", row.full_verdict)
        for row in undecided
    )
    for row in committed:
        assert (row.verdict == "not run here") == bool(row.why)
        assert row.whose in WHOSE
