"""The figure of one data set on several networks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from methods.contract import Row
from report import leaderboard
from report.figures import backbones, charts
from report.records import COMMITTED, load
from tests.report.samples import BASE, FULL, MAIN, PAPER, rows, write, write_published

METHODS = ("dan", "jan", "mcc")
TABLE = dataclasses.replace(MAIN, rows=(BASE, FULL, Row("jan", label="JAN"), Row("mcc", label="MCC")))


def table(level: float, gains: tuple[float, ...], network: str) -> list[dict[str, str]]:
    """Source-only at a level, the same in every seed but for a tenth, and methods above it."""
    values = {
        (method, "amazon:webcam"): tuple(level + gain + seed / 10 for seed in range(3))
        for method, gain in zip(("source_only", *METHODS), (0.0, *gains), strict=True)
    }
    return rows(values, dataset="office31", backbone=network, track="frozen")


def boards(tmp_path: Path, *tables: list[dict[str, str]]) -> list[leaderboard.Board]:
    path = write(tmp_path / "dan/digits.csv", [row for one in tables for row in one])
    write_published(
        tmp_path / "published.csv", [("CNN", "Avg", "70.0", "", "paper"), ("DAN", "Avg", "72.5", "", "paper")]
    )
    return leaderboard.boards({"dan": PAPER}, [("dan", TABLE, load({COMMITTED: path}))], tmp_path)


def test_gains_on_each_network_beside_the_published_one(tmp_path: Path) -> None:
    found = boards(tmp_path, table(80, (1, 2, 3), "lite0"), table(70, (2, 3, 9), "googlenet"))
    (chart,) = backbones.of_all(found)
    assert chart.name == "backbones-office31-full-frozen"
    data = chart.data.set_index(["row", "backbone"])
    assert data["gain"].to_dict() == pytest.approx(
        {("MCC", "googlenet"): 9, ("MCC", "lite0"): 3, ("JAN", "googlenet"): 3, ("JAN", "lite0"): 2,
         ("DAN", "googlenet"): 2, ("DAN", "lite0"): 1}
    )  # fmt: skip
    assert data.loc[("DAN", "lite0"), "accuracy"] == pytest.approx(81.1)
    assert data.loc[("DAN", "lite0"), "published"] == pytest.approx(2.5)
    assert "googlenet and lite0 1.00 (n = 3)" in chart.caption, "the weaker network first"
    (path,) = charts.save(chart, tmp_path / "figure", ("svg",))
    assert "published, AlexNet" in path.read_text()


def test_orders_that_are_turned_round_are_told(tmp_path: Path) -> None:
    (chart,) = backbones.of_all(boards(tmp_path, table(80, (1, 2, 3), "lite0"), table(70, (3, 2, 1), "googlenet")))
    assert "googlenet and lite0 -1.00 (n = 3)" in chart.caption


def test_rows_of_one_name_stay_apart(tmp_path: Path) -> None:
    whole = [row for level, network in ((80, "lite0"), (70, "googlenet")) for row in table(level, (1, 2, 3), network)]
    named = dataclasses.replace(TABLE, rows=(BASE, FULL, Row("jan", label="JAN"), Row("mcc", label="JAN")))
    parts = [
        (
            paper,
            dataclasses.replace(named, name=paper),
            [row for row in whole if row["method"] in ("source_only", *its)],
        )
        for paper, its in (("dan", ("dan", "jan")), ("mcc", ("mcc",)))
    ]
    loaded = [
        (paper, experiment, load({COMMITTED: write(tmp_path / f"{paper}.csv", some)}))
        for paper, experiment, some in parts
    ]
    write_published(tmp_path / "published.csv", [])
    found = leaderboard.boards({"dan": PAPER, "mcc": PAPER}, loaded, tmp_path)
    (chart,) = backbones.of_all(found)
    assert set(chart.data["row"]) == {"DAN", "JAN (dan)", "JAN (mcc)"}
    gains = chart.data.set_index(["row", "backbone"])["gain"]
    assert gains["JAN (mcc)", "lite0"] == pytest.approx(3)
    assert gains["JAN (dan)", "googlenet"] == pytest.approx(2)


def test_one_network_or_few_methods_make_no_figure(tmp_path: Path) -> None:
    assert not backbones.of_all(boards(tmp_path, table(80, (1, 2, 3), "lite0")))
    few = [row for row in table(70, (3, 2, 1), "googlenet") if row["method"] in ("source_only", "dan")]
    assert not backbones.of_all(boards(tmp_path, table(80, (1, 2, 3), "lite0"), few))
