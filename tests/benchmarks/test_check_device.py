"""The check of a device: what it finds amiss, and that every method passes it on the CPU."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from benchmarks.cli import check_device
from benchmarks.cli.check_device import Line, furthest
from benchmarks.cli.main import group
from methods import contract
from methods.contract import Batch, Losses, Term

LEFT_OUT = {
    "frozen": {"yosinski"},
    "digits": {"shallow"},
}
"""What makes no sense on a track, as the methods say."""


@pytest.mark.parametrize("track", ["frozen", "digits"])
def test_every_method_passes_on_the_cpu(track: str) -> None:
    found = list(check_device.lines("cpu", contract.names(), [track], ["fp32"], 4))
    assert [line.method for line in found] == contract.names()
    assert {line.method: line.verdict for line in found if not line.ok} == {}
    assert {line.method for line in found if line.left_out} == LEFT_OUT[track]
    for line in found:
        assert line.difference == 0, "the CPU agrees with itself"
        assert (line.images > 0) == (not line.left_out and contract.load(line.method).step is not None)


@pytest.mark.parametrize(("track", "precision"), [("late", "bf16"), ("finetune", "fp32")])
def test_trunks_without_data_or_weights(track: str, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_device, "SMALL", 2)
    monkeypatch.setattr(check_device, "STEPS", 1)
    (line,) = check_device.lines("cpu", ["dan"], [track], [precision], 2)
    assert line.verdict == "ok"
    assert (line.difference > 0) == (precision == "bf16"), "losses are computed in bf16, and are not zero"


def altered(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Let the loss of source_only be another one in bf16, as on a device that computes wrongly."""
    real = contract.load("source_only")

    def step(model: Any, batch: Batch) -> Losses:
        (term,) = real.step(model, batch).values()  # type: ignore[misc]
        return {"classification": Term(change(term.value) if torch.is_autocast_enabled("cpu") else term.value)}

    load = contract.load
    wrong = dataclasses.replace(real, step=step)
    monkeypatch.setattr(contract, "load", lambda name: wrong if name == "source_only" else load(name))


@pytest.mark.parametrize("change", [lambda x: x * 1.2, lambda x: x * 0.8, lambda x: x + 0.5])
def test_another_loss_is_found(change: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    altered(monkeypatch, change)
    right, wrong = check_device.lines("cpu", ["source_only"], ["digits"], ["fp32", "bf16"], 2)
    assert right.ok
    assert not wrong.ok
    assert wrong.verdict.startswith("DIFFERS: classification at step ")


def test_an_error_is_told_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_value: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no kernel for this device\nand more")

    altered(monkeypatch, broken)
    right, wrong = check_device.lines("cpu", ["source_only"], ["digits"], ["fp32", "bf16"], 2)
    assert (right.verdict, wrong.verdict) == ("ok", "FAILED: RuntimeError: no kernel for this device")


def test_the_furthest_loss() -> None:
    expected = [{"step": 1.0, "loss": 10.0, "mmd": 0.1, "test_accuracy": 5.0}]
    name, difference = furthest(expected, [{"step": 1.0, "loss": 11.0, "mmd": 0.15, "test_accuracy": 90.0}])
    assert (name, difference) == ("loss at step 0", pytest.approx(0.1))
    assert furthest(expected, [{**expected[0], "mmd": 0.3}]) == ("mmd at step 0", pytest.approx(0.2))
    name, difference = furthest(expected, [{**expected[0], "loss": float("nan")}])
    assert name == "loss at step 0"
    assert not Line("dan", "late", "fp32", difference=difference).ok


def test_a_step_that_waits_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA's warnings, which are made up here; others are none of ours."""
    modes: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)

    def update(_step: int) -> None:
        for _ in range(2):
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
        warnings.warn("deprecated", stacklevel=1)

    (place,) = check_device.waiting(functools.partial(update))
    assert place.startswith("tests/benchmarks/test_check_device.py:")
    assert modes == ["warn", "default"]
    assert not Line("dan", "late", "fp32", waits=(place,)).ok
    assert check_device.waiting(functools.partial(lambda _step: None)) == ()


def test_the_report_can_be_sent_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "new" / "report.md"
    made = [
        Line("dan", "late", "fp32", 1e-4, "mmd at step 1", (), 812.0, 2_500_000),
        Line("shallow", "late", "fp32", left_out="it learns its own"),
        Line("jan", "late", "bf16", 0.2, "jmmd at step 2", ("methods/jan.py:7",), 700.0),
    ]
    monkeypatch.setattr(check_device, "lines", lambda *_given: iter(made))
    ended = CliRunner().invoke(group, ["check-device", "--device", "cpu", "--out", str(out)])
    assert ended.exit_code == 1
    assert f"1 of 3 failed; the report to send in is {out}" in ended.output
    text = out.read_text()
    for words in ("# Every method on cpu", "* torch: ", "* commit: ", "| 1.0e-04", "| 812 ", "left out: it learns its"):
        assert words in text
    assert "DIFFERS: jmmd at step 2; WAITS: methods/jan.py:7" in text
    monkeypatch.setattr(check_device, "lines", lambda *_given: iter(made[:2]))
    ended = CliRunner().invoke(group, ["check-device", "--device", "cpu", "--out", str(out)])
    assert (ended.exit_code, "all is well" in ended.output) == (0, True)
    ended = CliRunner().invoke(group, ["check-device", "--device", "cpu", "--method", "dam"], standalone_mode=False)
    assert "unknown method 'dam'" in str(ended.exception)
