"""The races: their arithmetic, what is written of them, and that contestants do the same work."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.cli import speed
from benchmarks.cli.race import Race, race
from benchmarks.cli.speed import OURS, Budget
from benchmarks.executors import execute
from benchmarks.machine import host
from benchmarks.networks import backbones
from benchmarks.records import files, schema
from datasets.store import Location
from tests.benchmarks import small_plan


def made(topic: str, size: str, **times: list[float]) -> Race:
    return Race(topic, size, {name.replace("_", " "): np.array(found) for name, found in times.items()})


def test_a_race_measures_each_contestant_in_every_round() -> None:
    order = []
    found = race("sleep", "some", {"short": lambda: order.append("s"), "long": lambda: time.sleep(0.01)}, rounds=4,
                 wall=True)  # fmt: skip
    assert {name: len(times) for name, times in found.times.items()} == {"short": 4, "long": 4}
    assert len(order) == 5, "a warm-up and one call a round"
    assert found.seconds("long")[0] == pytest.approx(0.01, rel=0.5)
    assert found.times["short"].max() < 0.005


def test_ratios_are_within_rounds() -> None:
    one = made("t", "s", a=[2, 4, 6, 8, 20], b=[1, 2, 3, 4, 5])
    assert one.seconds("a") == (6, 2)
    assert one.ratio("a", "b") == (2, 0), "a slow round slows both"


def test_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    budgets = (
        Budget("t", "s", "a", "b", 2.5, "kept"),
        Budget("t", "s", "b", "a", 0.48, "missed by less than the noise"),
        Budget("t", "s", "a", "", 3.0, "seconds, exceeded"),
        Budget("t", "s", "a", "absent", 1.0, "not measured"),
        Budget("t", "other", "a", "b", 1.0, "not measured"),
    )
    monkeypatch.setattr(speed, "BUDGETS", budgets)
    found = speed.verdicts([made("t", "s", a=[4, 4, 4, 6], b=[2, 2, 2, 1.5])])
    assert [(one.budget.says, one.ok) for one in found] == [
        ("kept", True), ("missed by less than the noise", True), ("seconds, exceeded", False),
    ]  # fmt: skip
    assert found[1].measured == 0.5
    assert found[2].measured == 4


def test_what_is_written_replaces_the_same_race_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bench.csv"
    speed.host.versions()  # which are asked for once
    monkeypatch.setattr(speed.metadata, "version", {"skada": "0.6.0"}.__getitem__)
    speed.write(path, [made("mmd", "1", this=[1, 2, 3]), made("mmd", "2", this=[5, 5, 5])], ())
    speed.write(path, [made("mmd", "2", this=[7, 7, 7])], ("skada",))
    rows = files.read_csv(path, schema.SPEED)
    assert [(row["size"], row["seconds"], row["spread"]) for row in rows] == [("1", "2", "0.5"), ("2", "7", "0")]
    assert rows[1]["peers"] == "skada 0.6.0"
    assert rows[0]["rounds"] == "3"


def test_the_networks_that_race_are_the_same_network() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed, "STEPS", 2)
        (one,) = speed.epoch(3, ())  # raises where the logits differ
        assert set(one.times) == {"plain network", OURS}
        forward = speed.Plain.forward
        patch.setattr(speed.Plain, "forward", lambda self, x: forward(self, x) + 1e-4)
        with pytest.raises(AssertionError, match="not the same"):
            list(speed.epoch(3, ()))


@pytest.mark.parametrize(("peer", "needed"), [(speed.SKADA, "skorch"), (speed.ADAPT, "pytorch_adapt")])
def test_another_suite_trains_the_same_network_as_often(
    peer: str, needed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(needed)
    monkeypatch.setattr(speed, "STEPS", 3)
    _, problem = speed.digits("dan")
    network = backbones.build(backbones.choose("lenet", "finetune"), width=1, classes=10)
    before = network.classifier.weight.detach().clone()
    steps: list[int] = []
    step = torch.optim.SGD.step
    monkeypatch.setattr(torch.optim.SGD, "step", lambda *given, **named: (steps.append(1), step(*given, **named))[1])
    seen: list[int] = []
    network.bottleneck.register_forward_hook(lambda _module, _inputs, output: seen.append(len(output)))
    speed._PEERS_EPOCH[peer](network, problem)()
    assert len(steps) == 3
    assert sum(seen) == 3 * 2 * speed.BATCH, "both domains, each once"
    assert not torch.equal(before, network.classifier.weight)


@pytest.mark.parametrize("topic", ["losses", "overhead"])
def test_topics_run(topic: str, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    found = list(speed.run(3, (), Location(tmp_path, None), [topic]))
    assert torch.get_num_threads() == before
    assert {one.topic for one in found} == ({"mmd", "jmmd"} if topic == "losses" else {"overhead"})
    for one in found:
        assert OURS in one.times
        assert all((times > 0).all() for times in one.times.values())


def test_a_plan_is_timed_over_cells_and_jobs(few_digits: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(speed, "PLANS", (1, 2))
    note = {"": lambda cells, _location, jobs: asked.append((len(cells), jobs))}
    monkeypatch.setattr(speed, "ways", lambda: note)
    found = list(speed.plans(few_digits))
    jobs = range(1, min(2, host.cores()) + 1)
    assert [one.size for one in found] == ["1", "2"]
    assert all(list(one.times) == ["1 job", "2 jobs"][: len(jobs)] for one in found)
    assert asked[0] == (1, 1), "the first is for warming up"
    assert set(asked) == {(count, n) for count in (1, 2) for n in jobs}


def test_a_timed_plan_is_run_and_leaves_nothing(few_digits: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    run = execute.run

    def note(*given: Any, **named: Any) -> None:
        ended.append(len(run(*given, **named).done))

    monkeypatch.setattr(execute, "run", note)
    speed._run_plan(small_plan.cells(few_digits)[:2], few_digits, 2)
    assert ended == [2]
    assert not multiprocessing.active_children(), "the next plan starts its own"
