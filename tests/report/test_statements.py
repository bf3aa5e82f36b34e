"""Every claim in one line: over its set-ups, with whose it is; what is expected by chance."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import pytest

from methods.contract import Claim
from report import ledger, statements
from report.ledger import Verdict
from tests.report.samples import BASE, FULL, PAPER, rows, write

GAIN = PAPER.claims[0]


def found(folder: Path, *claims: Claim) -> list[Verdict]:
    paper = dataclasses.replace(PAPER, claims=claims, not_run={"Table 9": "its images are not public"})
    return ledger.ledger({"dan": paper}, folder)


def moved(by: float, **fields: str) -> list[dict[str, str]]:
    """DAN's values raised by so much."""
    lines = rows(**fields)
    return [{**one, "value": f"{float(one['value']) + by * (one['method'] == 'dan')}"} for one in lines]


def test_a_claim_over_its_set_ups(tmp_path: Path) -> None:
    """DAN gains 3 points on digits-mini, loses 17 on digits, and 3 +- 2.5 less 2 decide nothing on a third."""
    lines = [*rows(), *moved(-20, dataset="digits"), *moved(-2, dataset="folder:mine")]
    write(tmp_path / "dan/digits.csv", lines)
    gain, last = statements.statements(found(tmp_path, GAIN))
    assert gain.words() == "reproduced on 1 of 3, reversed on 1 of 3, undecided on 1 of 3"
    assert (last.name, last.words()) == ("Table 9", "not run here (its images are not public)")
    write(tmp_path / "dan/digits.csv", rows())
    gain, _ = statements.statements(found(tmp_path, GAIN))
    assert gain.words() == "reproduced"


def test_what_is_mixed_and_what_is_not_run_is_said(tmp_path: Path) -> None:
    """Over two data sets; on both of them one task gains 30 and the other loses 10, each within a tenth of a point."""
    tasks = {"mnist:optdigits": 90.0, "optdigits:mnist": 50.0}
    lines = []
    for dataset in ("digits-mini", "digits"):
        for task, value in tasks.items():
            lines += rows(
                {("dan", task): (value, value + 0.1, value - 0.1), ("source_only", task): (60.0,) * 3}, dataset=dataset
            )
    write(tmp_path / "dan/digits.csv", lines)
    write(tmp_path / "dan/ablations.csv", rows({("dan", "mnist:optdigits"): (60.0,)}, experiment="ablations"))
    absent = dataclasses.replace(PAPER.claims[1], name="gain")
    (gain, _) = statements.statements(found(tmp_path, GAIN, absent))
    assert gain.words() == "reproduced on 2 of 2, mixed on 2; not run here on 1"
    assert {row.full_verdict for row in gain.rows[:2]} == {"reproduced, mixed"}


def test_a_joint_claim_is_judged_by_the_comparison_that_fits_least(tmp_path: Path) -> None:
    """DAN gains 8 points, so it is not below source-only, but not within one point of it."""
    write(tmp_path / "dan/digits.csv", moved(5))
    equal = partial(Claim, "equal", "DAN is within one point.", on=("digits",), margin=1.0)
    for joint, words in ((False, "reproduced on 1 of 2, reversed on 1 of 2"), (True, "reversed")):
        parts = equal(FULL, BASE, point="not below", joint=joint), equal(BASE, FULL, point="not above", joint=joint)
        made = found(tmp_path, *parts)
        (one, _) = statements.statements(made)
        assert one.words() == words
        counts = {"reversed": 1, "not run here": 1} | ({} if joint else {"reproduced": 1})
        assert {verdict: number for verdict, number in statements.counted(made) if number} == counts
        assert len(one.rows) == 2, "the ledger has both"


def test_questions_of_ours_are_counted_apart(tmp_path: Path) -> None:
    write(tmp_path / "dan/digits.csv", rows())
    turned = Claim("loss", "Source only beats DAN.", BASE, FULL, on=("digits",), whose="ours")
    made = found(tmp_path, GAIN, turned)
    assert dict(statements.counted(made)) == {
        **dict.fromkeys(("reversed", "no effect", "undecided", "not enough runs"), 0),
        **{"reproduced": 1, "not run here": 1},
    }
    assert dict(statements.counted(made, ours=True))["reversed"] == 1
    text = statements.markdown({"dan": PAPER}, made)
    assert "The paper's: 1 reproduced, 1 not run here. Ours: 1 reversed." in text
    assert "| DAN beats source only. (`gain`) | - | - | reproduced | - |" in text
    assert "| Source only beats DAN. (`loss`) | - | - | - | reversed |" in text


def test_where_the_paper_does_not_say_it_the_question_is_ours(tmp_path: Path) -> None:
    """A claim of the paper on one experiment, asked in another one too; no published effect stands beside that."""
    write(tmp_path / "dan/digits.csv", rows())
    write(tmp_path / "dan/ablations.csv", moved(-20, experiment="ablations"))
    made = found(tmp_path, dataclasses.replace(GAIN, also=("ablations",), published=2.5))
    assert [(row.whose, row.published, row.verdict) for row in made[:2]] == [
        ("paper", "2.5", "reproduced"),
        ("ours", "", "reversed"),
    ]
    (gain, _) = statements.statements(made)
    assert (gain.whose, gain.published) == ("paper", "2.5")
    assert (gain.words(), gain.words(ours=True)) == ("reproduced", "reversed")


def test_what_is_expected_by_chance(tmp_path: Path) -> None:
    """Both directions of one comparison are p = 0.035 twice; beside p above 0.5 once, of which one stands for two."""
    write(tmp_path / "dan/digits.csv", rows())
    write(tmp_path / "dan/ablations.csv", moved(-2.9, experiment="ablations"))
    turned = Claim("loss", "Source only beats DAN.", BASE, FULL, on=("digits",))
    none = Claim("none", "Nothing.", FULL, BASE, on=("ablations",))
    called, false = ledger.expected_false(found(tmp_path, GAIN, turned, none))
    assert (called, false) == (2, pytest.approx(0.05 * 2))
    assert "Of the 2 rows called reproduced or reversed about 0.1 are expected" in statements.chance(
        found(tmp_path, GAIN, turned, none)
    )
