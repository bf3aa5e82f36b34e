"""How often the rule is wrong, with the spreads and the task differences of the committed results."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from methods.contract import papers
from report import ledger, simulation
from report.claims import REPRODUCED, REVERSED
from report.simulation import Situation

pytestmark = pytest.mark.regression
ROOT = Path(__file__).resolve().parents[2]
NOISE = 0.1
"""Percent points: three standard errors of a share of 2.5 % over as many draws."""


@pytest.fixture(scope="module")
def found() -> list[Situation]:
    return simulation.situations(ledger.ledger(papers(), ROOT / "results"))


@pytest.mark.parametrize("size", simulation.SIZES)
def test_no_effect_is_called_reproduced_once_in_forty(size: int, found: list[Situation]) -> None:
    given = simulation.shares(found, 0.0, size)
    assert given[REPRODUCED] <= 2.5 + NOISE
    assert given[REVERSED] <= 2.5 + NOISE
    assert simulation.shares(found, 1.0, size)[REPRODUCED] > 20 * given[REPRODUCED]


def test_nor_more_often_where_the_spread_fixes_the_number(found: list[Situation]) -> None:
    given, mean = simulation.two_stages(found, 0.0)
    assert given[REPRODUCED] <= 2.5 + NOISE
    assert 5 < mean < 20
    assert simulation.two_stages(found, 1.0)[0][REPRODUCED] > 90


def test_the_table_in_the_text_is_what_comes_out(found: list[Situation]) -> None:
    """Within a point: other results, and other versions of numpy, move it a little."""
    page = (ROOT / "REPRODUCIBILITY.md").read_text()
    table = page.split(simulation.BEGIN)[1].split(simulation.END)[0]
    for size in simulation.SIZES[:2]:
        (line,) = re.findall(rf"\| 0 \| {size} \| (.*) \|", table)
        numbers = [float(cell.split()[0]) for cell in line.split("|")]
        assert numbers == pytest.approx(list(simulation.shares(found, 0.0, size).values()), abs=1)
