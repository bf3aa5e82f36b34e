"""What can be wrong in the declarations of a method's module, and what is said then."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from benchmarks.machine.errors import UserError
from benchmarks.plan import declared
from methods import contract, deep_coral
from methods.contract import Claim, Experiment, Paper, Recipe, Row

BASE, FULL = Row("source_only"), Row("deep_coral", label="CORAL")
RECIPE = Recipe(steps=4, epoch=2, rate=0.05)
FIRST = Experiment("first", "What it shows", (BASE, FULL), {"digits-mini": RECIPE}, BASE, default=True)
CLAIM = Claim("gain", "It gains.", FULL, BASE, on=("first",))
PAPER = Paper("A title", "Somebody", "Somewhere", 2026, "", (FIRST,), (CLAIM,))


def said(monkeypatch: pytest.MonkeyPatch, paper: Paper = PAPER, **changes: Any) -> str:
    """What is said of a method with this paper, and with these changes."""
    load, method = contract.load, dataclasses.replace(deep_coral.METHOD, paper=paper, **changes)
    monkeypatch.setattr(contract, "load", lambda name: method if name == "newcomer" else load(name))
    declared.check.cache_clear()
    try:
        declared.check("newcomer")
    except UserError as error:
        return str(error)
    return ""


def test_nothing_is_said_of_what_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(monkeypatch) == ""
    everywhere = dataclasses.replace(FIRST, recipes={"folder": RECIPE}, sweep={"weight": (1.0,)})
    assert said(monkeypatch, dataclasses.replace(PAPER, experiments=(everywhere,))) == ""


CONFIG = deep_coral.METHOD.config()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"variants": {"weak": CONFIG}}, "the variant 'default' must be a Config."),
        ({"variants": {"default": CONFIG, "weak": 0.1}}, "the variant 'weak' must be a Config."),
        ({"chosen": {"wieght": (1.0,)}}, "chosen names 'wieght', which is no field of Config."),
        ({"chosen": {"weight": (0.1, 0.2)}}, f"the grid of 'weight' in chosen has not its default, {CONFIG.weight}."),
        ({"fixed": ("auhtors",)}, "fixed names 'auhtors', which is no variant; there are: default"),
        ({"fixed": "default"}, "fixed must be a tuple; write ('default',)."),
    ],
)
def test_mistakes_in_a_method(changes: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(monkeypatch, **changes).startswith(f"methods/newcomer.py: {says}")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"experiments": FIRST}, "experiments must be a tuple; write (FIRST,)."),
        (
            {"experiments": ((FIRST, FIRST),)},
            "experiments must hold Experiment alone, and has a tuple; write *asked(...).",
        ),
        ({"claims": CLAIM}, "claims must be a tuple; write (FIRST,)."),
        ({"claims": ("gain",)}, "claims must hold Claim alone, and has a str."),
        ({"experiments": (FIRST, FIRST)}, "two experiments are called 'first'."),
        (
            {"experiments": (dataclasses.replace(FIRST, default=False),)},
            "no experiment is run by default; give one default=True.",
        ),
    ],
)
def test_mistakes_in_a_paper(changes: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(monkeypatch, dataclasses.replace(PAPER, **changes)) == f"methods/newcomer.py: {says}"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rows": BASE}, "rows must be a tuple; write (FIRST,)."),
        ({"rows": ("source_only",)}, "rows must hold Row alone, and has a str."),
        ({"published": "Table1"}, "published must be a tuple; write ('Table1',)."),
        ({"sweep": {"weight": 0.1}}, "sweep['weight'] must be a tuple; write (FIRST,)."),
        ({"rows": (BASE, Row("deep_corla"))}, "unknown method 'deep_corla'; there are: adabn, "),
        (
            {"rows": (BASE, Row("deep_coral", "fulll"))},
            "deep_coral has no variant 'fulll'; it has: default",
        ),
        ({"rows": (BASE, FULL, Row("deep_coral"))}, "the row 'CORAL' is there twice."),
        (
            {"baseline": Row("source_only", label="plain")},
            "its baseline 'plain' is none of its rows, source_only, CORAL.",
        ),
        ({"recipes": {}}, "it has no data set."),
        ({"recipes": {"digits-mimi": RECIPE}}, "unknown data set 'digits-mimi'; there are: "),
        ({"tasks": {"office32": ("amazon:webcam",)}}, "unknown data set 'office32'; there are: "),
        ({"protocol": "halves"}, "unknown protocol 'halves'; there are: full, "),
        ({"backbone": "lenot"}, "unknown backbone 'lenot'"),
        ({"track": "frosen"}, "backbone 'lenet' has no track 'frosen'; it has: finetune."),
        ({"batchnorm": "joined"}, "unknown BatchNorm mode 'joined'; there are: "),
        ({"sweep": {"wieght": (0.1,)}}, "sweep names 'wieght', which is a field of no row's configuration."),
        ({"recipe_sweep": {"rates": (0.1,)}}, "recipe_sweep names 'rates', which is no field of Recipe."),
    ],
)
def test_mistakes_in_an_experiment(changes: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    paper = dataclasses.replace(PAPER, experiments=(dataclasses.replace(FIRST, **changes),))
    assert said(monkeypatch, paper).startswith(f"methods/newcomer.py: experiment 'first': {says}")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"on": ("frist",)}, "unknown experiment 'frist'; there are: first."),
        ({"also": "first"}, "also must be a tuple; write ('first',)."),
        ({"worse": Row("mcc")}, "'mcc' is none of the rows of 'first', source_only, CORAL."),
    ],
)
def test_mistakes_in_a_claim(changes: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    paper = dataclasses.replace(PAPER, claims=(dataclasses.replace(CLAIM, **changes),))
    assert said(monkeypatch, paper) == f"methods/newcomer.py: claim 'gain': {says}"
