"""Two stages: how many replicates a table is to have, from the spread of the first stage alone."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.machine.errors import UserError
from benchmarks.records import files, replicates, schema
from benchmarks.records.replicates import Replicates
from datasets import splits
from methods.contract import Claim
from report import __main__ as cli
from report import build, deciding, ledger, records
from report.deciding import Where
from report.runs import Entry, runs_of
from report.table import as_text
from tests.report.samples import BASE, FULL, MAIN, PAPER, rows, write

TASK = "mnist:optdigits"
GAIN = PAPER.claims[0]
KERNELS = dataclasses.replace(PAPER.claims[1], on=("digits",))


def results(folder: Path, differences: Sequence[float], *, seconds: float = 1.0, **fields: str) -> Path:
    """DAN above source only by so much, replicate by replicate, on one task."""
    values = {("source_only", TASK): [50.0] * len(differences), ("dan", TASK): [50 + one for one in differences]}
    write(folder / "dan/digits.csv", [{**line, "seconds": str(seconds)} for line in rows(values, **fields)])
    return folder


def decide(folder: Path, where: Where | None = None, *claims: Claim, protocol: str = "full") -> list[Replicates]:
    """What is decided of the sample's table on digits."""
    experiment = dataclasses.replace(MAIN, protocol=protocol)
    paper = dataclasses.replace(PAPER, claims=claims or (GAIN,), experiments=(experiment,))
    return deciding.decide({"dan": (paper, [experiment])}, folder, where or Where())


SPREAD = (0.4, -0.4, 0.0, 0.4, -0.4)
"""Deviation 0.4: (2.776 x 0.4 / 0.5)^2 = 4.9, so five are enough; twice as much asks for 19.7."""


@pytest.mark.parametrize(
    ("differences", "seconds", "planned"),
    [
        (SPREAD, 1.0, 5),
        ([2 * one for one in SPREAD], 1.0, 20),
        ([1.5 * one for one in SPREAD], 1.0, 12),
        ([9 * one for one in SPREAD], 1.0, 20),
        ([2 * one for one in SPREAD], 10.0, 10),
        ([0.0] * 5, 1.0, 5),
    ],
)
def test_the_number_follows_from_the_spread(
    differences: list[float], seconds: float, planned: int, tmp_path: Path
) -> None:
    (row,) = decide(results(tmp_path, differences, seconds=seconds))
    assert (row.first, row.planned, row.claim, row.delta) == (5, planned, "gain", 0.5)
    assert row.most == (20 if seconds < 10 else 10)
    assert replicates.read(tmp_path) == [dataclasses.replace(row, spread=float(f"{row.spread:.6g}"))]


@pytest.mark.parametrize("shift", [-30.0, 0.3, 30.0])
def test_the_effect_has_no_say(shift: float, tmp_path: Path) -> None:
    (row,) = decide(results(tmp_path, [2 * one + shift for one in SPREAD]))
    assert row.planned == 20
    assert row.spread == pytest.approx(0.8)


def test_three_replicates_are_no_first_stage(tmp_path: Path) -> None:
    (row,) = decide(results(tmp_path, SPREAD[:3]))
    assert row == Replicates("dan", "digits", "digits-mini", "full", "lenet", "finetune", first=5)
    assert replicates.read(tmp_path) == [row]
    (row,) = decide(results(tmp_path, SPREAD))
    assert row.planned == 5


@pytest.mark.parametrize("later", [[9.0] * 15, [-9.0, 9.0] * 7 + [0.0]])
def test_the_number_stays_when_the_second_stage_is_there(later: list[float], tmp_path: Path) -> None:
    twice = [2 * one for one in SPREAD]
    assert decide(results(tmp_path, [*twice, *later])) == decide(results(tmp_path, twice))


def test_the_claim_that_asks_for_most_decides_for_the_table(tmp_path: Path) -> None:
    lines = rows({("source_only", TASK): [50.0] * 5, ("dan", TASK): [50 + one for one in SPREAD]})
    single = rows({("dan", TASK): [50 + one - 1.5 * other for one, other in zip(SPREAD, SPREAD, strict=True)]})
    single = [{**line, "variant": "single_kernel", "cell": f"single-{line['seed']}"} for line in single]
    write(tmp_path / "dan/digits.csv", [*lines, *single])
    (row,) = decide(tmp_path, None, GAIN, KERNELS)
    assert (row.claim, row.planned) == ("kernels", 12)
    write(tmp_path / "dan/digits.csv", [*lines, *(line for line in single if line["seed"] != "3")])
    (row,) = decide(tmp_path, None, GAIN, KERNELS)
    assert row.planned is None, "a line of it lacks a seed of the first stage"


def test_no_more_than_the_splits_that_there_are(tmp_path: Path) -> None:
    """They are drawn and committed by protocol, as many for every data set."""
    (row,) = decide(results(tmp_path, [9 * one for one in SPREAD], protocol="supervised"), protocol="supervised")
    assert (row.most, row.planned) == (5, 5)
    assert set(deciding.SPLITS.values()) == {one.splits for one in splits.SAMPLING.values()}


def test_intervals_take_the_first_stage_from_the_file(tmp_path: Path) -> None:
    """Twelve replicates of which five were first: t with 4 degrees of freedom and their spread."""
    results(tmp_path, [1.5 * one for one in SPREAD])
    decide(tmp_path)
    results(tmp_path, [*(1.5 * one for one in SPREAD), *[0.1] * 7])
    paper = dataclasses.replace(PAPER, claims=(GAIN,))
    (verdict, *_) = ledger.ledger({"dan": paper}, tmp_path)
    assert verdict.decision is not None
    found = verdict.decision.comparison
    assert found is not None
    assert (found.high - found.low) / 2 == pytest.approx(2.776445 * 0.6 / math.sqrt(12), abs=1e-5)
    frame = records.load(records.files("dan", "digits", None, tmp_path))
    (group,) = records.groups(frame)
    (run,) = runs_of(frame, group)
    assert run.compare(Entry(FULL), Entry(BASE)) == found, "the tables say the same"
    replicates.path(tmp_path).unlink()
    (plain, *_) = ledger.ledger({"dan": paper}, tmp_path)
    assert plain.decision is not None
    assert plain.decision.comparison is not None
    assert plain.decision.comparison.high < found.high


def test_the_table_says_how_many_there_are_to_be_and_why(tmp_path: Path) -> None:
    def text() -> str:
        frame = records.load(records.files("dan", "digits", None, tmp_path))
        table = build.table_of("dan", PAPER, MAIN, frame, *records.groups(frame))
        return " ".join(as_text(table).split())

    results(tmp_path, [1.5 * one for one in SPREAD])
    decide(tmp_path)
    assert "committed: n = 5 of 12 planned seeds" in text()
    results(tmp_path, [*(1.5 * one for one in SPREAD), *[0.1] * 7])
    assert "of 12 planned" not in text()
    assert "number of seeds fixed by the spread of the first 5, which intervals and p take" in text()


def test_only_what_is_asked_for(tmp_path: Path) -> None:
    results(tmp_path, SPREAD)
    for other in (Where(("digits",), "late"), Where(backbone="x"), Where(("usps",))):
        with pytest.raises(UserError, match="no claim has committed results there"):
            decide(tmp_path, other)
    assert [row.claim for row in decide(tmp_path, Where(("digits-mini",), "finetune", "lenet"))] == ["gain"]
    with pytest.raises(UserError, match="no claim"):
        decide(tmp_path, None, dataclasses.replace(GAIN, metric="oddity"))


def test_the_command_writes_the_file_and_shows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "papers", lambda: {"dan": PAPER})
    results(tmp_path / "results", [2 * one for one in SPREAD])
    for name in ("dan", "all"):
        result = CliRunner().invoke(cli.main, ["decide", name])
        assert result.exit_code == 0, result.output
        assert " ".join("dan digits digits-mini full lenet finetune 5 gain 0.8 0.5 20 20".split()) in " ".join(
            result.output.split()
        )
    result = CliRunner().invoke(cli.main, ["decide", "nope"])
    assert (result.exit_code, "unknown paper 'nope'" in result.output) == (2, True)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    decide(results(tmp_path, SPREAD))
    (row,) = files.read_csv(replicates.path(tmp_path), schema.REPLICATES)
    for text, says in (("some", "invalid literal"), ("", "first is empty")):
        files.write_csv(replicates.path(tmp_path), schema.REPLICATES, [{**row, "first": text}])
        with pytest.raises(UserError, match=rf"replicates.csv, line 2: {says}"):
            replicates.read(tmp_path)
