"""What differs between two result trees, and a fresh run against the bands."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.machine.errors import UserError
from report import __main__ as cli
from report import bands
from report.diff import compare
from tests.report.samples import PAPER, VALUES, rows, write

ROOT = Path(__file__).resolve().parents[2]


def test_equal_trees_have_no_difference(tmp_path: Path) -> None:
    for side in ("old", "new"):
        write(tmp_path / side / "dan/digits.csv", rows())
    assert compare(tmp_path / "old", tmp_path / "new", {"dan": PAPER}) == []


def test_values_means_and_verdicts_that_moved(tmp_path: Path) -> None:
    write(tmp_path / "old/dan/digits.csv", rows())
    worse = {key: [value - 20 * (key[0] == "dan") for value in numbers] for key, numbers in VALUES.items()}
    write(tmp_path / "new/dan/digits.csv", rows(worse))
    assert compare(tmp_path / "old", tmp_path / "new", {"dan": PAPER}) == [
        "dan/digits.csv: 6 of 12 changed",
        "  largest change of an accuracy 20.00 points, dan, default, mnist:optdigits, 0, 0, last",
        "  DAN on digits-mini, full, lenet, finetune: 73.50 (n = 3) -> 53.50 (n = 3), -20.00",
        "claim dan gain: reproduced -> reversed",
    ]


def test_files_and_cells_that_came_and_went(tmp_path: Path) -> None:
    write(tmp_path / "old/dan/digits.csv", rows())
    write(tmp_path / "new/dan/digits.csv", [row for row in rows() if row["seed"] != "2"])
    write(tmp_path / "new/jan/digits.csv", rows(paper="jan"))
    found = compare(tmp_path / "old", tmp_path / "new", {"dan": PAPER})
    assert found[0] == "dan/digits.csv: 4 gone"
    assert "jan/digits.csv: new, 1 cells" in found
    write(tmp_path / "new/dan/digits.csv", rows(cell="other"))
    assert compare(tmp_path / "old", tmp_path / "new", {})[0] == "dan/digits.csv: 1 cells of another specification"


def test_command_tells_by_its_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "papers", lambda: {"dan": PAPER})
    old, new = tmp_path / "old", tmp_path / "new"
    write(old / "dan/digits.csv", rows())
    write(new / "dan/digits.csv", rows())
    same = CliRunner().invoke(cli.main, ["diff", str(old), str(new)])
    assert (same.exit_code, same.stdout) == (0, f"{old} and {new} hold the same results.\n")
    write(new / "dan/digits.csv", rows()[1:])
    assert CliRunner().invoke(cli.main, ["diff", str(old), str(new)]).exit_code == 1
    absent = CliRunner().invoke(cli.main, ["diff", str(old), str(tmp_path / "nowhere")])
    assert absent.exit_code == 2
    assert absent.stderr == f"Error: {tmp_path / 'nowhere'} is not a folder of results.\n"


# --------------------------------------------------------------------------------------------------------- bands

BAND = bands.Band("dan", "digits-mini", "mnist:optdigits", 79, 83, 83, 85, 2, 0.5)


def fresh(tmp_path: Path, accuracy: float = 84.0, mmd: float = 0.1) -> Path:
    """A run of DAN and its baseline on the band's task; returns the runs folder."""
    task = BAND.task
    lines = rows({("source_only", task): (80.0, 82.0), ("dan", task): (accuracy, accuracy)})
    lines += rows({("source_only", task): (0.4, 0.4), ("dan", task): (mmd, mmd)}, metric="mmd")
    write(tmp_path / "runs/tables/dan/digits.csv", lines)
    return tmp_path / "runs"


def test_a_run_inside_its_band(tmp_path: Path) -> None:
    check = bands.check(BAND, fresh(tmp_path), tmp_path / "results", "digits")
    assert (check.accuracy, check.baseline, check.n) == (84.0, 81.0, 2)
    assert check.closer == pytest.approx(0.25)
    assert check.wrong == []
    assert "inside" in bands.text([check])
    assert "no committed accuracy has moved" in bands.text([check])


@pytest.mark.parametrize(
    ("accuracy", "mmd", "words"),
    [
        (82.9, 0.1, ["accuracy 82.9 is outside 83 .. 85", "the gain 1.9 is below 2"]),
        (85.5, 0.1, ["accuracy 85.5 is outside 83 .. 85"]),
        (84.0, 0.3, ["the domains are 0.75 times as far apart as the baseline's, more than 0.5"]),
    ],
)
def test_a_run_outside(tmp_path: Path, accuracy: float, mmd: float, words: list[str]) -> None:
    assert bands.check(BAND, fresh(tmp_path, accuracy, mmd), tmp_path / "results", "digits").wrong == words


def test_what_moved_against_the_committed_results(tmp_path: Path) -> None:
    write(tmp_path / "results/dan/digits.csv", rows({("dan", BAND.task): (84.0, 83.0)}))
    check = bands.check(BAND, fresh(tmp_path), tmp_path / "results", "digits")
    assert check.moved == ("dan mnist:optdigits seed 1: committed 83.00, now 84.00 (+1.00)",)


def test_without_a_run_it_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="`make check-regression` makes it"):
        bands.check(BAND, tmp_path, tmp_path, "digits")


def test_command_of_the_regression(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "papers", lambda: {"dan": PAPER})
    path = tmp_path / "bands.csv"
    path.write_text(
        "paper,dataset,task,baseline_low,baseline_high,low,high,gain,distance\n"
        "dan,digits-mini,mnist:optdigits,79,83,83,85,2,0.5\n"
    )
    common = ["check-regression", "--bands", str(path)]
    assert CliRunner().invoke(cli.main, [*common, "--list"]).stdout == "dan digits-mini mnist:optdigits\n"
    assert CliRunner().invoke(cli.main, [*common, "--runs", str(fresh(tmp_path))]).exit_code == 0
    assert CliRunner().invoke(cli.main, [*common, "--runs", str(fresh(tmp_path, 70.0))]).exit_code == 1
    path.write_text(path.read_text().replace("0.5\n", "half\n"))
    result = CliRunner().invoke(cli.main, common)
    assert result.exit_code == 2
    assert "bands.csv, line 2: distance is 'half'" in result.stderr


def test_a_band_without_a_distance_leaves_it_free(tmp_path: Path) -> None:
    path = tmp_path / "bands.csv"
    path.write_text(
        "paper,dataset,task,baseline_low,baseline_high,low,high,gain,distance\n"
        "dan,digits-mini,mnist:optdigits,79,83,83,85,2,\n"
    )
    (band,) = bands.read(path)
    check = bands.check(band, fresh(tmp_path, mmd=0.8), tmp_path / "results", "digits")
    assert check.wrong == []
    assert "mmd 2.00 of the baseline's: inside" in bands.text([check])
    assert bands.check(band, fresh(tmp_path, 82.9, 0.8), tmp_path / "results", "digits").wrong


def test_committed_bands_are_read() -> None:
    assert bands.read(ROOT / "tests/regression/bands.csv")
