"""The command ``check-device``: every method takes steps on a device, and the outcome is written to a report.

No data are needed: cells run on random images, trunks have random weights.  For every method, track and precision:

* the losses of a few steps agree with those of the CPU in float32, within ``BOUNDS``;
* a further step never waits for the device: while it runs, CUDA warns of each operation that does;
* throughput in images a second and use of the device's memory, in steps of ``--batch`` images of each domain.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import click
import numpy as np
import torch
from tabulate import tabulate
from torch import nn

from benchmarks.cell import training
from benchmarks.cell.loading import Sampler, domains_of, load_data
from benchmarks.cell.training import Parameters, Training
from benchmarks.cli import made_up
from benchmarks.cli.made_up import Drawn
from benchmarks.machine import host
from benchmarks.machine.errors import UserError
from benchmarks.networks import backbones
from benchmarks.networks.backbones import choice_of
from benchmarks.records.files import write_atomically
from benchmarks.records.store import Spec
from datasets.protocols import Problem
from methods import contract
from methods.contract import Phase, Recipe
from methods.network import Network

TRACKS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "frozen": ("lite0", "frozen"),
        "late": ("lite0", "late"),
        "finetune": ("lite0", "finetune"),
        "digits": ("lenet", "finetune"),
    }
)
"""What is checked -> backbone and track."""
PRECISIONS = ("fp32", "bf16")
BOUNDS: Mapping[str, float] = MappingProxyType({"fp32": 0.01, "bf16": 0.1})
"""Precision -> maximum difference of a loss from the CPU's in float32, relative to the larger of it and 1.  A GPU's
convolutions multiply with ten bits (TF32) by default, bf16 with seven."""
STEPS = 3
"""Precisions whose losses are compared."""
SMALL = 8
"""Images of each domain in these steps."""
WARM, TIMED = 3, 10
"""Steps before timing, and while timing."""
CLASSES = 31


@dataclass(frozen=True)
class Line:
    """The outcome for one method, track and precision."""

    method: str
    track: str
    precision: str
    difference: float = 0.0
    """The largest difference of a loss from the CPU's, as counted in ``BOUNDS``."""
    loss: str = ""
    """Which loss that is."""
    waits: tuple[str, ...] = ()
    """Lines of code at which a step waits for the device."""
    images: float = 0.0
    """Images of both domains a second."""
    memory: int = 0
    """Peak bytes of device memory; 0 if unknown."""
    error: str = ""
    """Why it failed."""
    left_out: str = ""
    """Why the method makes no sense there."""

    @property
    def ok(self) -> bool:
        """Whether everything is all right."""
        agrees = self.difference <= BOUNDS[self.precision]  # False for NaN
        return bool(self.left_out) or (not self.error and not self.waits and agrees)

    @property
    def verdict(self) -> str:
        """In words."""
        if self.left_out or self.error:
            return f"left out: {self.left_out}" if self.left_out else f"FAILED: {self.error}"
        found = [] if self.difference <= BOUNDS[self.precision] else [f"DIFFERS: {self.loss}"]
        return "; ".join([*found, *(["WAITS: " + ", ".join(self.waits)] if self.waits else [])]) or "ok"


@click.command("check-device")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cuda", show_default=True)
@click.option("--method", "methods", multiple=True, help="May be repeated; else all.")
@click.option("--track", "tracks", multiple=True, type=click.Choice(list(TRACKS)), help="May be repeated; else all.")
@click.option("--precision", "precisions", multiple=True, type=click.Choice(PRECISIONS), help="Else both.")
@click.option("--batch", type=click.IntRange(min=2), default=64, show_default=True, help="Images while timing.")
@click.option("--out", type=click.Path(path_type=Path), help="The report; default: runs/check-device-DEVICE.md.")
def check_device(
    device: str,
    methods: tuple[str, ...],
    tracks: tuple[str, ...],
    precisions: tuple[str, ...],
    batch: int,
    out: Path | None,
) -> None:
    """Let every method take steps on a device, compare with the CPU, and write a report; exit status 1 if it fails."""
    host.check_device(device, "bf16" if not precisions or "bf16" in precisions else "fp32")
    if unknown := [name for name in methods if name not in contract.names()]:
        raise UserError(f"unknown method {unknown[0]!r}; there are: {', '.join(contract.names())}.")
    found = []
    for line in lines(device, methods or contract.names(), tracks or tuple(TRACKS), precisions or PRECISIONS, batch):
        found.append(line)
        rate = f", {line.images:.0f} images/s" if line.images else ""
        click.echo(f"{line.track} {line.method} {line.precision}: {line.verdict}{rate}")
    path = out or host.ROOT / "runs" / f"check-device-{device}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, report(found, device, batch))
    bad = sum(not line.ok for line in found)
    click.echo(f"{f'{bad} of {len(found)} failed' if bad else 'all is well'}; the report to send in is {path}")
    sys.exit(1 if bad else 0)


def report(found: Sequence[Line], device: str, batch: int) -> str:
    """All outcomes as Markdown, with a description of the machine."""
    about = {"device": host.device_name(device), "commit": host.commit(), **host.versions()}
    if device == "cuda":
        about |= {"CUDA": str(torch.version.cuda), "cuDNN": str(torch.backends.cudnn.version())}  # type: ignore[no-untyped-call]
    headers = ["track", "method", "precision", "difference", "images/s", "MB", ""]
    rows = [
        [
            *(line.track, line.method, line.precision),
            *([] if line.left_out or line.error else [f"{line.difference:.1e}", f"{line.images:.0f}"]),
            *([] if line.left_out or line.error else [f"{line.memory / 1e6:.0f}" if line.memory else ""]),
            *(["", "", ""] if line.left_out or line.error else []),
            line.verdict,
        ]
        for line in found
    ]
    bounds = ", ".join(f"{bound:g} in {precision}" for precision, bound in BOUNDS.items())
    return "\n".join(
        [
            f"# Every method on {about['device']}",
            "",
            *(f"* {name}: {value}" for name, value in about.items()),
            "",
            f"Losses of {STEPS} steps of {SMALL} + {SMALL} images against the CPU's in float32, bound {bounds}; images "
            f"a second and memory of steps of {batch} + {batch} images.",
            "",
            tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True),
            "",
        ]
    )


def lines(
    device: str, methods: Sequence[str], tracks: Sequence[str], precisions: Sequence[str], batch: int
) -> Iterator[Line]:
    """The outcomes of every method on every track, one precision after another."""
    for track in tracks:
        for method in methods:
            yield from _of_method(device, method, track, precisions, batch)


def _of_method(device: str, method: str, track: str, precisions: Sequence[str], batch: int) -> Iterator[Line]:
    spec, reason = _spec(method, track)
    if spec is None:
        yield Line(method, track, precisions[0], left_out=reason)
        return
    expected: list[dict[str, float]] = []
    for precision in precisions:
        line = Line(method, track, precision)
        try:
            expected = expected or losses(spec)
            on = dataclasses.replace(spec, device=device, precision=precision)
            name, difference = furthest(expected, losses(on))
            line = dataclasses.replace(line, loss=name, difference=difference)
            if contract.load(method).step is not None:
                images, memory, waits = _timed(on, batch)
                yield dataclasses.replace(line, images=images, memory=memory, waits=waits)
            else:
                yield line
        except Exception as error:  # whatever a device raises belongs in the report
            yield dataclasses.replace(line, error=f"{type(error).__name__}: {str(error).splitlines()[0][:200]}")


def _spec(method: str, track: str) -> tuple[Spec | None, str]:
    """A short cell of a method on a track, with its usual BatchNorm mode or else ``source``; or why there is none."""
    backbone, on = TRACKS[track]
    recipe = Recipe(steps=STEPS, epoch=1, rate=0.01, batch=SMALL)
    found, reason = contract.load(method), ""
    for name, mode in ((backbone, None), (backbone, "source"), (f"{backbone}-bn", None)):
        if name not in backbones.BACKBONES or (mode and not backbones.takes(name, on, mode)):
            continue
        spec = made_up.spec(method, recipe, name, on, batchnorm=mode)
        network = backbones.look(choice_of(spec))
        refused = found.applies(contract.config_of(found, spec.config), network) if found.applies else None
        if refused is None:
            return spec, ""
        reason = reason or refused
    return None, reason


def losses(spec: Spec) -> list[dict[str, float]]:
    """The losses of each step and measures of the target after it; without training, only the measures."""
    with host.computing(spec.threads):
        task = begun(spec)
        task.run(time.perf_counter(), None)
        return task.state.history


def furthest(expected: Sequence[Mapping[str, float]], found: Sequence[Mapping[str, float]]) -> tuple[str, float]:
    """The loss that differs most, and by how much, relative to the larger of it and 1; accuracies are left out.

    NaN if one of them is not a number.
    """
    differences = {
        f"{name} at step {number}": abs(other[name] - value) / max(1.0, abs(value))
        for number, (one, other) in enumerate(zip(expected, found, strict=True))
        for name, value in one.items()
        if not name.endswith("accuracy")
    }
    return max(differences.items(), key=lambda item: math.inf if math.isnan(item[1]) else item[1])


def _timed(spec: Spec, batch: int) -> tuple[float, int, tuple[str, ...]]:
    """Images per second, bytes of memory, and where a step waits, as in ``Line``."""
    large = dataclasses.replace(Recipe(**spec.recipe), batch=batch)
    with host.computing(spec.threads):
        task = begun(dataclasses.replace(spec, recipe=dataclasses.asdict(large)))
        phase = task.phases[-1]
        if phase.begin:
            phase.begin(task.state.model, domains_of(task.data))
        task.state.model.train()
        one = Sampler(task.data, large, spec.seed)(0)
        update = functools.partial(_update, task, phase, one)
        cuda = spec.device == "cuda"
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        count = WARM if cuda else 1
        for step in range(count):
            update(step)
        waits = waiting(update) if cuda else ()
        _wait(spec)
        start = time.perf_counter()
        timed = TIMED if cuda else 1
        for step in range(timed):
            update(step)
        _wait(spec)
        seconds = time.perf_counter() - start
    images = timed * (len(one.source_x) + len(one.target_x))
    memory = torch.cuda.max_memory_allocated() if cuda else 0
    return images / seconds, memory, waits


def _update(task: Training, phase: Phase, batch: contract.Batch, step: int) -> None:
    """All updates of one step."""
    for stream, objective in (("step", phase.step), ("second step", phase.second_step)):
        if objective is not None:
            losses_of = functools.partial(objective, task.state.model, batch)
            task.update(phase, losses_of, batch.progress, stream, step)


def _wait(spec: Spec) -> None:
    if spec.device == "cuda":
        torch.cuda.synchronize()


def waiting(update: functools.partial[None]) -> tuple[str, ...]:
    """Where an update waits for the GPU, ``file:line``."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with _told_of_waits():
            update(0)
    told = [one for one in said if "synchronizing" in str(one.message)]
    return tuple(dict.fromkeys(f"{_shown(one.filename)}:{one.lineno}" for one in told))


@contextlib.contextmanager
def _told_of_waits() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("warn")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def _shown(filename: str) -> str:
    path = Path(filename)
    return str(path.relative_to(host.ROOT)) if path.is_relative_to(host.ROOT) else path.name


# --------------------------------------------------------------------------------------------- cells without data


def begun(spec: Spec) -> Training:
    """A cell on random data before its first step; its networks have random weights and no dropout.

    A GPU's random numbers differ from the CPU's, so nothing may be drawn in a step.  Earlier phases take as many steps
    as the main training.
    """
    recipe = Recipe(**spec.recipe)
    data = load_data(_problem(spec, 2 * recipe.batch), choice_of(spec), torch.device(spec.device))
    needed = _needed(spec, data.width, recipe)
    task = training.assembled(spec, data, _model(spec, data.width), needed)
    short = [
        dataclasses.replace(phase, recipe=dataclasses.replace(phase.recipe, steps=recipe.steps, epoch=recipe.epoch))
        for phase in task.phases
    ]
    return dataclasses.replace(task, phases=tuple(short))


def _problem(spec: Spec, count: int) -> Problem:
    """Random images, or random activations in their place."""
    generator = np.random.default_rng(0)
    choice = choice_of(spec)
    known, side = choice.backbone.known, choice.backbone.side

    def drawn(n: int) -> Drawn:
        if known is None or not choice.cut:
            shape = (n, side, side, 3) if side else (n, 28, 28, 1)
            return generator.integers(0, 256, shape, dtype=np.uint8)
        channels, *space = (known.places[choice.cut],) if choice.pooled else known.cuts[choice.cut]
        return generator.random((n, 1, *space, channels), dtype=np.float32)

    return made_up.problem(drawn, count, count, CLASSES)


def _needed(spec: Spec, width: int, recipe: Recipe) -> dict[str, Parameters]:
    """The networks that a cell starts from, untrained."""
    method = contract.load(spec.method)
    if method.needs is None:
        return {}
    found: dict[str, Parameters] = {}
    for name, need in method.needs(contract.config_of(method, spec.config), recipe).items():
        other = contract.load(need.method)
        config = other.variants["default"] if need.config is None else need.config
        its = dataclasses.replace(
            spec,
            method=need.method,
            config=contract.config_values(config),
            batchnorm=need.batchnorm or spec.batchnorm,
        )
        found[name] = _model(its, width).state_dict()
    return found


def _model(spec: Spec, width: int) -> nn.Module:
    """A model with random weights, on the CPU."""
    method = contract.load(spec.method)
    host.seed_torch("cpu", spec.seed, "initialisation")
    network = backbones.build(choice_of(spec), width=width, classes=CLASSES)
    _materialise(network)
    model = method.build(contract.config_of(method, spec.config), network)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def _materialise(network: Network) -> None:
    """Give a pretrained trunk, built without values, random ones that preserve the scale of its activations."""
    if not any(tensor.is_meta for tensor in network.trunk.parameters()):
        return
    network.trunk.to_empty(device="cpu")
    for module in network.trunk.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_parameters()
