"""The races of whole commands: what they run, that they tell of what is missing, and their memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.cli import speed, waits
from benchmarks.cli.race import Race
from benchmarks.cli.speed import Skipped
from benchmarks.cli.waits import Waited
from benchmarks.machine.errors import UserError
from datasets.store import Location


def test_a_command_is_timed_with_its_memory() -> None:
    short = waits.wait_for(["-c", "pass"])
    large = waits.wait_for(["-c", "import time; time.sleep(0.2); x = b'1' * 100_000_000"])
    assert short.seconds < large.seconds
    assert large.seconds > 0.2
    assert large.megabytes == pytest.approx(short.megabytes + 100, abs=15)
    with pytest.raises(UserError, match=r"`python -c .*` ended with 3: so it is"):
        waits.wait_for(["-c", "import sys; print('one'); print('so it is'); sys.exit(3)"])


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The commands that would have been run, each the number of its place in seconds."""
    found: list[tuple[str, ...]] = []

    def note(arguments: list[str]) -> Waited:
        found.append(tuple(arguments[2:]))
        return Waited(float(len(found)), 100.0 * len(found))

    monkeypatch.setattr(waits, "wait_for", note)
    monkeypatch.setattr(waits, "require_office", lambda _location: None)
    return found


def test_tables_are_warm_and_each_in_a_runs_folder_of_its_own(said: list[Any], tmp_path: Path) -> None:
    (one,) = speed.run(3, (), Location(tmp_path, "copies"), ["table"])
    assert isinstance(one, Race)
    assert {name: one.seconds(name)[0] for name in one.times} == {"source_only": 2, "dan": 3}
    assert one.memory == {"source_only": 200, "dan": 300}
    warming, *tables = said
    assert warming[:5] == ("compare", "--dataset", "office31", "--methods", "source_only")
    assert [command[4] for command in tables] == ["source_only", "dan"]
    assert all(command[5:7] == ("--seeds", "5") and command[-2:] == ("--mirror", "copies") for command in tables)
    assert len({command[command.index("--runs") + 1] for command in said}) == 3
    assert {command[command.index("--data") + 1] for command in said} == {str(tmp_path)}


def test_the_first_run_finds_nothing_prepared(said: list[Any], tmp_path: Path) -> None:
    (one,) = speed.run(3, (), Location(tmp_path, None), ["first"])
    assert isinstance(one, Race)
    (command,) = said
    assert command[:2] == ("reproduce", "dan")
    assert command[command.index("--data") + 1] != str(tmp_path)
    assert "--mirror" not in command


def test_comparing_and_commands(said: list[Any], tmp_path: Path) -> None:
    compared, *_ = speed.run(3, (), Location(tmp_path, None), ["compare"])
    assert isinstance(compared, Race)
    assert compared.seconds(waits.OURS)[0] == 2, "the first is for warming up"
    assert said[1][:5] == ("compare", "--dataset", "office31", "--seeds", "1")
    plan, status = waits.commands(Location(tmp_path, None), 9)
    assert (plan.size, status.size, len(plan.times[waits.OURS])) == ("plan dan", "status dan", 3)


@pytest.mark.parametrize("topic", ["table", "compare", "plans"])
def test_what_is_not_prepared_is_left_out_in_a_sentence(
    topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits.weights, "path", lambda _name, _location: tmp_path)

    def unavailable(*_given: Any, **_named: Any) -> None:
        raise UserError("no digits here.")

    monkeypatch.setattr(speed.store, "prepare", unavailable)
    (one,) = speed.run(3, (), Location(tmp_path, None), [topic])
    assert isinstance(one, Skipped)
    words = "no digits here." if topic == "plans" else "not prepared; `make data DATASET=office31` does it."
    assert one.topic == topic
    assert one.reason.endswith(words)


def test_every_budget_is_of_a_race_that_there_is() -> None:
    races = {"mmd": "losses", "jmmd": "losses", "plan over cells": "plans"}
    assert {races.get(budget.topic, budget.topic) for budget in speed.BUDGETS} <= set(speed.TOPICS)


def test_yosinskis_networks_take_the_same_steps() -> None:
    """The network alone and the suite's steps are of one network on the same images."""
    calls = speed.yosinski_calls("caffenet-16")
    assert set(calls) == {"bare network", speed.OURS}
    for call in calls.values():
        call()


@pytest.mark.parametrize(("over", "many"), [("classes", {"classes": 5}), ("sources", {"sources": 4})])
def test_growing_cells_are_what_they_say(over: str, many: dict[str, int]) -> None:
    _, problem = speed.cached(2, 40, **many)  # type: ignore[arg-type]
    assert problem.classes == many.get("classes", speed.CLASSES)
    assert problem.sizes == ((10,) * 4 if over == "sources" else ())
    assert set(problem.source.labels) <= set(range(problem.classes))
