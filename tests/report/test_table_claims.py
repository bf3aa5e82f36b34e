"""Claims in a table: what decides each, and the verdicts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from methods.contract import Claim
from report import ledger
from report.build import table_of
from report.table import Line, Number
from tests.report.samples import BASE, FULL, MAIN, PAPER, SINGLE, SWEEP, VALUES, rows, write
from tests.report.test_tables import GROUP, cells, frame, grid

# --------------------------------------------------------------------------------------------------- claims


def verdicts(tmp_path: Path, dan: Sequence[float], source: Sequence[float], claim: Claim) -> list[str]:
    paper = dataclasses.replace(PAPER, claims=(claim,))
    data = frame(tmp_path, rows({("source_only", "a:b"): source, ("dan", "a:b"): dan}))
    found = grid(table_of("dan", paper, MAIN, data, GROUP), "claims")
    return [str(line.cells[-1]) for line in found.lines]


@pytest.mark.parametrize(
    ("dan", "verdict"),
    [
        ((53.0, 53.1, 52.9) * 2, "reproduced"),
        ((47.0, 47.1, 46.9) * 2, "reversed"),
        ((53.0, 53.1, 52.9), "reproduced"),
        ((53.0, 47.0, 51.0) * 2, "undecided (about 261 seeds)"),
        ((50.0, 50.0, 50.0) * 2, "no effect"),
        ((50.2, 50.0, 50.1) * 2, "reproduced"),  # [+0.01, +0.19]: small, and above 0
        ((50.2, 49.9, 50.1) * 2, "no effect"),
        ((50.6, 49.4, 50.0) * 2, "undecided (about 7 seeds)"),
        ((50.4, 50.7, 50.9, 49.5), "undecided (about 13 seeds)"),
        ((53.0,), "not enough runs"),
    ],
)
def test_verdicts(tmp_path: Path, dan: Sequence[float], verdict: str) -> None:
    assert verdicts(tmp_path, dan, (50.0,) * 6, PAPER.claims[0]) == [verdict]


def test_verdict_turns_round_with_the_claim(tmp_path: Path) -> None:
    turned = Claim("loss", "Source only beats DAN.", BASE, FULL, on=("digits",))
    assert verdicts(tmp_path, (53.0, 53.1, 52.9) * 2, (50.0,) * 6, turned) == ["reversed"]


def test_a_claim_may_be_about_some_tasks(tmp_path: Path) -> None:
    claim = dataclasses.replace(PAPER.claims[0], tasks=("a:c",))
    paper = dataclasses.replace(PAPER, claims=(claim,))
    worse, better = (50.0,) * 6, (53.0, 53.1, 52.9) * 2
    data = {("source_only", "a:b"): worse, ("dan", "a:b"): (40.0,) * 6}
    data |= {("source_only", "a:c"): worse, ("dan", "a:c"): better}
    found = grid(table_of("dan", paper, MAIN, frame(tmp_path, rows(data)), GROUP), "claims")
    assert [line.cells[-1] for line in found.lines] == ["reproduced"]
    assert "(DAN against source only, a:c)" in found.notes[0]
    absent = dataclasses.replace(PAPER, claims=(dataclasses.replace(claim, tasks=("b:a",)),))
    found = grid(table_of("dan", absent, MAIN, frame(tmp_path, rows(data)), GROUP), "claims")
    assert [line.cells[-1] for line in found.lines] == ["not run here"]


def test_a_claim_may_be_about_another_metric_the_smaller_the_better(tmp_path: Path) -> None:
    claim = dataclasses.replace(PAPER.claims[0], metric="a_distance", higher=False)
    paper = dataclasses.replace(PAPER, claims=(claim,))
    data = rows({("source_only", "a:b"): (50.0,) * 6, ("dan", "a:b"): (50.0,) * 6})
    for row in list(data):
        distance = 1.5 if row["method"] == "source_only" else 0.5 + int(row["seed"]) / 100
        data.append({**row, "metric": "a_distance", "value": str(distance)})
    found = grid(table_of("dan", paper, MAIN, frame(tmp_path, data), GROUP), "claims")
    (line,) = found.lines
    assert line.cells[-1] == "reproduced"
    effect = line.cells[0]
    assert isinstance(effect, Number)
    assert effect.value == pytest.approx(0.975)


def test_figures_in_families_have_a_grid_of_their_own(tmp_path: Path) -> None:
    data = rows({("source_only", "a:b"): (50.0,), ("dan", "a:b"): (50.0,)})
    named = {"mmd": "0.5", "alpha.fc7": "0.9", "alpha.fc8": "0.8"}
    full = next(row for row in data if row["method"] == "dan")
    data += [{**full, "metric": name, "value": value} for name, value in named.items()]
    table = table_of("dan", PAPER, MAIN, frame(tmp_path, data), GROUP)
    assert grid(table, "quantities").columns == ("mmd",)
    assert grid(table, "figures").columns == ("alpha.fc7", "alpha.fc8")
    assert [line.label for line in grid(table, "figures").lines] == ["DAN"]


def test_a_claim_about_a_row_without_results(tmp_path: Path) -> None:
    absent = Claim("kernels", "Several kernels beat one.", FULL, SINGLE, on=("digits",))
    assert verdicts(tmp_path, (53.0, 53.1, 52.9), (50.0, 50.0, 50.0), absent) == ["not run here"]


def test_claims_of_a_sweep_are_decided_per_setting(tmp_path: Path) -> None:
    paper = dataclasses.replace(PAPER, claims=(Claim("gain", "It helps.", FULL, BASE, on=("sensitivity",)),))
    low = {key: [value - 10 * (key[0] == "dan") for value in found] for key, found in VALUES.items()}
    lines = [row for row in rows() if row["method"] == "source_only"]
    lines += [row | {"setting": "lam=0.1"} for row in rows() if row["method"] == "dan"]
    lines += [row | {"setting": "lam=1.0"} for row in rows(low) if row["method"] == "dan"]
    table = table_of("dan", paper, SWEEP, frame(tmp_path, lines), GROUP)
    assert cells(table, "claims", "gain, lam=0.1")["verdict"] == "reproduced"
    assert cells(table, "claims", "gain, lam=1.0")["verdict"] == "reversed"


def test_a_claim_may_compare_two_points_of_a_sweep(tmp_path: Path) -> None:
    points = {"better_setting": "lam=1.0", "worse_setting": "lam=10.0"}
    claim = Claim("peak", "1 beats 10.", FULL, FULL, on=("sensitivity",), **points)
    paper = dataclasses.replace(PAPER, claims=(claim,))
    data = []
    for setting, accuracy in (("lam=0.1", 50.0), ("lam=1.0", 60.0), ("lam=10.0", 55.0)):
        data += [
            {**row, "setting": setting} for row in rows({("dan", "a:b"): (accuracy,) * 6}, experiment="sensitivity")
        ]
    found = grid(table_of("dan", paper, SWEEP, frame(tmp_path, data), GROUP), "claims")
    (line,) = found.lines
    assert line.label == "peak"
    assert line.cells[-1] == "reproduced"


def averaged(setting: str, values: Mapping[str, Sequence[float]]) -> list[dict[str, str]]:
    """Rows of DAN at a point of the sweep, by task."""
    found = rows({("dan", task): numbers for task, numbers in values.items()}, experiment="sensitivity")
    return [{**row, "setting": setting} for row in found]


def decided(tmp_path: Path, claim: Claim, data: list[dict[str, str]]) -> tuple[float, Line, tuple[str, ...]]:
    """Effect, line and notes of the one claim."""
    paper = dataclasses.replace(PAPER, claims=(claim,))
    found = grid(table_of("dan", paper, SWEEP, frame(tmp_path, data), GROUP), "claims")
    (line,) = found.lines
    effect = line.cells[0]
    return (effect.value if isinstance(effect, Number) else float("nan")), line, found.notes


def test_a_claim_may_average_over_points_of_a_sweep(tmp_path: Path) -> None:
    """Replicate by replicate; a row outside the sweep stands as it is."""
    claim = Claim("gain", "It helps.", FULL, BASE, on=("sensitivity",), better_setting=("lam=0.1", "lam=10.0"))
    base = rows({("source_only", "a:b"): (50.0,) * 6}, experiment="sensitivity")
    data = [
        *base,
        *averaged("lam=0.1", {"a:b": (50.0, 52, 50, 52, 50, 52)}),
        *averaged("lam=1.0", {"a:b": (0.0,) * 6}),
        *averaged("lam=10.0", {"a:b": (56.0, 54, 56, 54, 56, 54)}),
    ]
    effect, line, notes = decided(tmp_path, claim, data)
    assert effect == pytest.approx(3.0)
    assert (line.label, line.cells[-1]) == ("gain", "reproduced")
    assert "(mean of DAN, lam=0.1 and lam=10.0 against source only)" in notes[0]
    # A replicate that lacks one of the points is left out; without any of one point there is nothing to compare.
    effect, line, _ = decided(
        tmp_path, claim, [row for row in data if (row["setting"], row["seed"]) != ("lam=0.1", "0")]
    )
    assert effect == pytest.approx(3.0)
    assert isinstance(line.cells[3], Number)
    assert line.cells[3].value == 5
    _, line, _ = decided(tmp_path, claim, [row for row in data if row["setting"] != "lam=0.1"])
    assert line.cells[-1] == "not run here"


@pytest.mark.parametrize(("margin", "verdict"), [(0.0, "reversed"), (1.0, "reproduced"), (0.3, "reversed")])
def test_a_claim_may_be_that_nothing_is_lost(margin: float, verdict: str, tmp_path: Path) -> None:
    claim = Claim("general", "It is as good.", FULL, BASE, on=("sensitivity",), better_setting="lam=1.0", margin=margin)
    data = rows({("source_only", "a:b"): (50.0,) * 6}, experiment="sensitivity")
    data += averaged("lam=1.0", {"a:b": (49.5, 49.4, 49.6) * 2})
    effect, line, notes = decided(tmp_path, claim, data)
    assert effect == pytest.approx(margin - 0.5)
    assert line.cells[-1] == verdict
    assert (f"{margin:+g} points" in notes[0]) == bool(margin)


def test_a_claim_may_be_that_a_difference_is_larger_on_some_tasks_than_on_others(tmp_path: Path) -> None:
    claim = Claim(
        "further",
        "It falls further.",
        BASE,
        FULL,
        on=("sensitivity",),
        worse_setting="lam=1.0",
        tasks=("a:b",),
        than=("c:d",),
    )
    data = rows({("source_only", task): (50.0,) * 6 for task in ("a:b", "c:d", "e:f")}, experiment="sensitivity")
    data += averaged("lam=1.0", {"a:b": (40.0, 41, 39) * 2, "c:d": (45.0,) * 6, "e:f": (0.0,) * 6})
    effect, line, notes = decided(tmp_path, claim, data)
    assert effect == pytest.approx(5.0)
    assert line.cells[-1] == "reproduced"
    assert notes[0].endswith("a:b, less the same on c:d)")
    _, line, _ = decided(tmp_path, claim, [row for row in data if row["task"] != "c:d"])
    assert line.cells[-1] == "not run here"


def test_a_claim_may_be_that_a_difference_is_larger_at_one_setting_than_at_another(tmp_path: Path) -> None:
    claim = Claim(
        "grows",
        "It grows.",
        FULL,
        SINGLE,
        on=("sensitivity",),
        better_setting="lam=1.0",
        worse_setting="lam=1.0",
        than_setting="lam=0.1",
    )
    lines = []
    for setting, ours, other in (("lam=1.0", 60.0, 50.0), ("lam=0.1", 55.0, 52.0)):
        for variant, level in ((FULL.variant, ours), (SINGLE.variant, other)):
            lines += [
                {**line, "variant": variant}
                for line in averaged(setting, {"a:b": [level + shift for shift in (-1.0, 0.0, 1.0)]})
            ]
    effect, line, notes = decided(tmp_path, claim, lines)
    assert effect == pytest.approx((60 - 50) - (55 - 52))
    assert line.cells[-1] != "not run here"
    assert "less the same at lam=0.1" in notes[0]
    mean = line.cells[0]
    assert isinstance(mean, Number)
    assert mean.basis is None, "it is no mean of cells less that of others"
    write(tmp_path / "dan/sensitivity.csv", lines)
    (row, *_) = ledger.ledger({"dan": dataclasses.replace(PAPER, claims=(claim,))}, tmp_path)
    assert row.decision is not None
    assert row.decision.basis is not None
    assert len(row.decision.basis.cells) == len(row.decision.basis.minus) == 6, "each side has the cells of two lines"
    _, line, _ = decided(tmp_path, claim, [row for row in lines if row["setting"] == "lam=1.0"])
    assert line.cells[-1] == "not run here"


@pytest.mark.parametrize(("higher", "effect"), [(True, -3.0), (False, 3.0)])
def test_a_claim_may_be_about_a_level(higher: bool, effect: float, tmp_path: Path) -> None:
    claim = Claim(
        "chance",
        "It is at chance.",
        FULL,
        FULL,
        on=("sensitivity",),
        better_setting="lam=1.0",
        level=5.0,
        higher=higher,
    )
    found, line, notes = decided(tmp_path, claim, averaged("lam=1.0", {"a:b": (1.5, 2.0, 2.5) * 2}))
    assert found == pytest.approx(effect)
    assert line.cells[-1] == ("reversed" if higher else "reproduced")
    assert "against 5" in notes[0]
    mean = line.cells[0]
    assert isinstance(mean, Number)
    assert mean.basis is not None
    assert {len(mean.basis.cells), len(mean.basis.minus)} == {0, 6}


@pytest.mark.parametrize(("sign", "verdict"), [(-1, "reproduced"), (1, "reversed")])
def test_a_claim_may_be_that_one_metric_ranks_the_settings_as_another_does(
    sign: int, verdict: str, tmp_path: Path
) -> None:
    """The less of the one, the more of the other; in the third replicate two settings have changed places."""
    claim = Claim("rule", "The less the better.", FULL, FULL, on=("sensitivity",), ranks="mmd")
    data = []
    for place, setting in enumerate(("lam=0.1", "lam=1.0", "lam=10.0", "lam=100.0")):
        tested = averaged(setting, {"a:b": [50.0 + place, 50 + place, 50 + (place if place < 2 else 5 - place)]})
        data += tested
        data += [{**line, "metric": "mmd", "value": f"{5 + sign * place}"} for line in tested]
    effect, line, notes = decided(tmp_path, claim, data)
    assert effect == pytest.approx(-sign * (1 + 1 + 0.8) / 3)
    assert (line.label, line.cells[-1]) == ("rule", verdict)
    assert "(least mmd with greatest accuracy over the settings of DAN, rank correlation)" in notes[0]
    mean = line.cells[0]
    assert isinstance(mean, Number)
    assert mean.basis is None, "it is no mean of cells"
    _, line, _ = decided(tmp_path, claim, [row for row in data if row["setting"] in ("lam=0.1", "lam=1.0")])
    assert line.cells[-1] == "not run here"


def test_a_level_of_0_compares_tasks(tmp_path: Path) -> None:
    claim = Claim(
        "fewer",
        "Fewer are worse.",
        BASE,
        BASE,
        on=("sensitivity",),
        tasks=("a:b", "c:d"),
        than=("c:d", "e:f"),
        level=0.0,
    )
    data = rows(
        {
            ("source_only", "a:b"): (50.0, 51.0),
            ("source_only", "c:d"): (45.0, 46.0),
            ("source_only", "e:f"): (20.0, 21),
        },
        experiment="sensitivity",
    )
    effect, _, _ = decided(tmp_path, claim, data)
    assert effect == pytest.approx(((50 - 45) + (45 - 20)) / 2)
