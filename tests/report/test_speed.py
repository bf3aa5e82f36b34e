"""Figures of what was measured of speed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.cli import speed as measuring
from benchmarks.machine.errors import UserError
from benchmarks.records import files, schema
from report.figures import charts, speed


def lines(*measured: tuple[str, str, str, float]) -> list[dict[str, str]]:
    about = {"spread": "0.1", "rounds": "7", "clock": "cpu", "threads": "1", "device": "cpu", "instructions": "AVX2"}
    return [
        {**about, "topic": topic, "size": size, "contestant": name, "seconds": str(seconds), "torch": "2.14.1",
         "peers": "", "commit": "abc"}
        for topic, size, name, seconds in measured
    ]  # fmt: skip


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    files.write_csv(path, schema.SPEED, rows)
    return path


def test_our_entry_has_one_name() -> None:
    assert speed.OURS == measuring.OURS


def test_races_and_growth(tmp_path: Path) -> None:
    rows = lines(
        ("mmd", "32+32", "one Gram matrix", 2.0),
        ("mmd", "32+32", "this suite", 3.0),
        ("mmd", "32+32", "skada", 8.0),
        ("start", "--help", "this suite", 0.1),
        ("mmd over the batch", "32+32", "this suite", 1.0),
        ("mmd over the batch", "512+512", "this suite", 40.0),
    )
    races, growth = speed.of_all(write(tmp_path / "speed.csv", rows))
    ratios = races.data.set_index(["topic", "contestant"])["ratio"].to_dict()
    assert ratios == {
        ("mmd", "one Gram matrix"): 1, ("mmd", "this suite"): 1.5, ("mmd", "skada"): 4, ("start", "this suite"): 1,
    }  # fmt: skip
    assert growth.name == "speed-mmd-over-the-batch"
    assert growth.data["seconds"].tolist() == [1, 40]
    for chart, words in ((races, "mmd, 32+32"), (growth, "samples of each domain")):
        charts.save(chart, tmp_path / chart.name, ("svg",))
        picture = (tmp_path / f"{chart.name}.svg").read_text()
        assert words in picture
        assert "AVX2" in chart.caption


def test_no_file_no_figure_and_a_malformed_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "speed.csv"
    assert speed.of_all(path) == []
    write(path, [*lines(("mmd", "1", "a", 1.0)), lines(("mmd", "1", "b", 1.0))[0] | {"seconds": "fast"}])
    with pytest.raises(UserError, match=r"speed.csv, line 3: seconds and spread must be numbers\."):
        speed.of_all(path)
    write(path, lines(("mmd", "1", "a", -1.0)))
    with pytest.raises(UserError, match=r"line 2: .* not negative"):
        speed.of_all(path)
