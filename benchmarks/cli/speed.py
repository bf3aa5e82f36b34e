"""How fast the suite is, compared with lower bounds and with other suites: ``make bench``.

Every topic is a race in one process, on one thread: the suite's own code, a lower bound on its time or a plain
implementation of the same, and, if they are installed (``PEERS=1``), skada and pytorch-adapt.  Most budgets are ratios
of two contestants of one race, so they hold on any machine.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import importlib.util
import io
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.cell import training
from benchmarks.cell.loading import Sampler
from benchmarks.cli import made_up, waits
from benchmarks.cli.race import Race, race
from benchmarks.executors import execute
from benchmarks.machine import host
from benchmarks.machine.errors import UserError
from benchmarks.networks import activations, backbones, pretrained, weights
from benchmarks.networks.pretrained import Pretrained
from benchmarks.plan import plan
from benchmarks.plan.plan import Options
from benchmarks.records import files, schema
from benchmarks.records.store import Spec, Store, recipe_values
from benchmarks.records.words import plural
from datasets import registry, store
from datasets.errors import DataError
from datasets.protocols import Problem, Unlabelled
from datasets.store import Location
from methods import contract, jan, kernels
from methods.contract import Recipe
from methods.network import Network
from methods.recipes import HEAD

WIDTH, CLASSES = 256, 31
"""Width of the features and number of Office-31's classes, in the races of losses."""
FEATURES = 1280
"""Of EfficientNet-Lite."""
FIVE = kernels.powers(-2, 2, 1)
STEPS, BATCH = 28, 64
"""Steps and batch size of an epoch of LeNet."""

PLANS = (1, 4, 16, 64)
"""Numbers of cells of the timed plans."""

Call = Callable[[], object]


@dataclass(frozen=True)
class Budget:
    """An upper limit on a ratio within a race, or on a time."""

    topic: str
    size: str
    over: str
    under: str
    """Empty for a budget in seconds."""
    most: float
    says: str


OURS = waits.OURS
SKADA, ADAPT = "skada", "pytorch-adapt"
BUDGETS = (
    *(
        Budget("mmd", size, OURS, other, most, says)
        for size in ("32+32", "256+256")
        for other, most, says in (
            ("one Gram matrix", 2.2, "MK-MMD of five kernels, forward and backward, over one product of Gram"),
            (SKADA, 1 / 2.5, "the same over skada's"),
            (ADAPT, 1 / 3, "the same over pytorch-adapt's"),
        )
    ),
    *(
        Budget("jmmd", size, OURS, ADAPT, 1.0, "JMMD of two layers, forward and backward, over pytorch-adapt's")
        for size in ("32+32", "256+256")
    ),
    Budget("epoch", "28 steps", OURS, "plain network", 0.75, "an epoch of LeNet with DAN over the plain network alone"),
    Budget("epoch", "28 steps", OURS, SKADA, 1 / 1.5, "the same over skada's loop, its MMD on one layer"),
    Budget("epoch", "28 steps", OURS, ADAPT, 1 / 1.5, "the same over pytorch-adapt's loop, its MMD on one layer"),
    Budget("extraction", "16 images", OURS, "bare forward", 1 / 0.9, "extraction over the bare forward pass"),
    Budget("frozen", "600 steps", OURS, "bare algebra", 1.8, "a cell on cached activations over its matrix products"),
    Budget("frozen", "600 steps", "DAN", "bare algebra", 2.2, "the same of DAN over the products of source-only"),
    Budget("yosinski", "caffenet-32", OURS, "bare network", 1.1, "steps of Yosinski's network over the network alone"),
    Budget("start", "--help", OURS, "", 0.5, "start of the command line, seconds"),
    Budget("start", "plan dan", OURS, "", 1.5, "a plan, seconds"),
    Budget("start", "status dan", OURS, "", 1.5, "the state of all experiments of a paper, seconds"),
    Budget(
        "overhead", "1 step", OURS, "", 0.3, "a cell of one step on cached activations, its record included, seconds"
    ),
    Budget("plan over cells", "1", "2 jobs", "", 4.0, "one short cell with two jobs, seconds"),
    Budget("table", "5 seeds", "source_only", "", 60, "a table of Office-31, source-only, warm, seconds"),
    Budget("table", "5 seeds", "dan", "", 60, "the same of DAN"),
    Budget("compare", "1 seed", OURS, "", 240, "every method on Office-31, one seed, warm, seconds"),
    Budget("first", "reproduce dan", OURS, "", 240, "a first `make reproduce-dan`, packages installed, seconds"),
)


@dataclass(frozen=True)
class Verdict:
    """A budget and what was measured."""

    budget: Budget
    measured: float
    noise: float

    @property
    def ok(self) -> bool:
        """Whether the budget is met, or missed by no more than the noise."""
        return self.measured - self.noise <= self.budget.most


def installed(peers: bool) -> tuple[str, ...]:
    """The other suites that take part."""
    names = {SKADA: ("skada", "skorch"), ADAPT: ("pytorch_adapt",)}
    return tuple(name for name, needed in names.items() if peers and all(map(importlib.util.find_spec, needed)))


def verdicts(races: Sequence[Race]) -> list[Verdict]:
    """Every budget whose contestants took part."""
    found = []
    for budget in BUDGETS:
        for one in races:
            names = {budget.over, budget.under} - {""}
            if (one.topic, one.size) == (budget.topic, budget.size) and names <= set(one.times):
                measured = one.ratio(budget.over, budget.under) if budget.under else one.seconds(budget.over)
                found.append(Verdict(budget, *measured))
    return found


def rows(races: Sequence[Race], peers: Sequence[str]) -> list[dict[str, str]]:
    """The rows of ``results/speed/speed.csv``."""
    about = {
        "threads": "1",
        "device": "cpu",
        "instructions": host.versions()["instructions"],
        "torch": host.versions()["torch"],
        "peers": " ".join(f"{name} {metadata.version(name)}" for name in peers),
        "commit": host.commit(),
    }
    found = []
    for one in races:
        for name, times in one.times.items():
            seconds, spread = one.seconds(name)
            numbers = {"seconds": f"{seconds:.4g}", "spread": f"{spread:.2g}", "rounds": str(len(times))}
            place = {"topic": one.topic, "size": one.size, "contestant": name, "clock": "wall" if one.wall else "cpu"}
            memory = {"memory": f"{one.memory[name]:.0f}" if name in one.memory else ""}
            found.append({**place, **numbers, **about, **memory})
    return found


def write(path: Path, races: Sequence[Race], peers: Sequence[str]) -> None:
    """Write the measurements, replacing earlier ones of the same races."""
    new = rows(races, peers)
    fresh = {(row["topic"], row["size"]) for row in new}
    old = [row for row in files.read_csv(path, schema.SPEED) if (row["topic"], row["size"]) not in fresh]
    files.write_csv(path, schema.SPEED, [*old, *new])


# ---------------------------------------------------------------------------------------------------------- the races


def losses(rounds: int, peers: Sequence[str], sizes: Sequence[int] = (32, 256)) -> Iterator[Race]:
    """MK-MMD and JMMD of two batches, forward and backward."""
    for n in sizes:
        yield _mmd(n, rounds, peers)
        yield _jmmd(n, rounds, peers)


def _random(n: int, width: int) -> Tensor:
    """Two batches of features stacked, (2 n, width)."""
    return torch.randn(2 * n, width, generator=torch.Generator().manual_seed(width))


def _backward(loss: Callable[[], Tensor], *leaves: Tensor) -> Call:
    """Forward and backward."""

    def call() -> None:
        for leaf in leaves:
            leaf.grad = None
        loss().backward()  # type: ignore[no-untyped-call]

    return call


def _mmd(n: int, rounds: int, peers: Sequence[str]) -> Race:
    x = _random(n, WIDTH).requires_grad_()
    contestants = {
        "one Gram matrix": _backward(lambda: (x @ x.T).sum(), x),
        OURS: _backward(lambda: _mk_mmd(x, n), x),
        **{name: _backward(functools.partial(_PEERS_MMD[name](), x[:n], x[n:]), x) for name in peers},
    }
    return race("mmd", f"{n}+{n}", contestants, rounds=rounds)


def _jmmd(n: int, rounds: int, peers: Sequence[str]) -> Race:
    x, p = _random(n, WIDTH).requires_grad_(), _random(n, CLASSES).softmax(1).requires_grad_()
    network = backbones.build(backbones.choose("lite0", "frozen"), width=FEATURES, classes=CLASSES)
    model = jan.build(contract.load("jan").variants["unbiased"], network)
    names, source, target = ("fc7", "softmax"), (x[:n], p[:n]), (x[n:], p[n:])
    contestants = {
        "two Gram matrices": _backward(lambda: (x @ x.T).sum() + (p @ p.T).sum(), x, p),
        OURS: _backward(lambda: jan.jmmd(model, names, source, target), x, p),
    }
    if ADAPT in peers:
        theirs = _adapt_mmd(count=1)
        contestants[ADAPT] = _backward(lambda: theirs(list(source), list(target)), x, p)
    return race("jmmd", f"{n}+{n}", contestants, rounds=rounds)


def _mk_mmd(x: Tensor, n: int) -> Tensor:
    """The unbiased estimate with five kernels around the median distance."""
    distances = kernels.pair_distances(x)
    beta = torch.full((len(FIVE),), 1 / len(FIVE))
    values = kernels.gaussian_sum(distances, kernels.median(distances), beta, FIVE)
    return kernels.mmd_unbiased(values, n, len(x) - n)


def _skada_mmd() -> Callable[[Tensor, Tensor], Tensor]:
    from skada.deep.losses import dan_loss

    return functools.partial(dan_loss, sigmas=[2.0**u for u in FIVE])


def _adapt_mmd(count: int = 5) -> Callable[..., Tensor]:
    from pytorch_adapt.layers import MMDLoss
    from pytorch_adapt.layers.utils import get_kernel_scales

    scales = get_kernel_scales(low=-2, high=2, num_kernels=count) if count > 1 else 1
    loss: Callable[..., Tensor] = MMDLoss(kernel_scales=scales, mmd_type="quadratic")
    return loss


_PEERS_MMD = {SKADA: _skada_mmd, ADAPT: _adapt_mmd}


def growth(rounds: int, sizes: Sequence[int] = (32, 128, 512, 2048, 4096)) -> Iterator[Race]:
    """MK-MMD as the batch size grows."""
    for n in sizes:
        x = _random(n, WIDTH).requires_grad_()
        call = _backward(functools.partial(_mk_mmd, x, n), x)
        yield race("mmd over the batch", f"{n}+{n}", {OURS: call}, rounds=rounds if n <= 512 else 3)


def cells_grow() -> Iterator[Race]:
    """A cell of 60 steps on cached activations, as its inputs grow."""
    growing = {
        "images": [(f"{n} images", cached(60, n)) for n in (500, 2000, 8000)],
        "classes": [(f"{n} classes", cached(60, 800, classes=n)) for n in (10, 31, 65, 345)],
        "domains": [(plural(n, "source"), cached(60, 800, sources=n)) for n in (1, 2, 4, 8)],
    }
    for over, cells in growing.items():
        for size, (spec, problem) in cells:
            call = functools.partial(training.run_cell, spec, problem, commit="")
            yield race(f"frozen over {over}", size, {OURS: call}, rounds=3)


class Plain(nn.Module):
    """LeNet as commonly written: ReLU before pooling, the default memory layout."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            *(nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2)),
            nn.Flatten(),
        )
        self.bottleneck = nn.Sequential(nn.Linear(800, 500), nn.ReLU())
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Linear(500, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (N, 10)."""
        logits: Tensor = self.classifier(self.dropout(self.bottleneck(self.trunk(x))))
        return logits


def digits(method: str) -> tuple[Spec, Problem]:
    """A cell of LeNet on random digits, one epoch long."""
    recipe = Recipe(steps=STEPS, epoch=STEPS, rate=0.03, batch=BATCH)
    spec = made_up.spec(method, recipe, "lenet", "finetune")
    generator = np.random.default_rng(0)
    return spec, made_up.problem(
        lambda n: generator.integers(0, 256, (n, 28, 28, 1), dtype=np.uint8), STEPS * BATCH, 64, 10
    )


def epoch(rounds: int, peers: Sequence[str]) -> Iterator[Race]:
    """The 28 steps of an epoch, both domains: LeNet with DAN as the harness trains it, the network alone, and the same
    network, and the plain one, in the loops of other suites with their MMD of five kernels on the bottleneck only."""
    spec, problem = digits("dan")
    task = training.prepare(spec, problem, None, {})
    phase, sampler = task.phases[-1], Sampler(task.data, Recipe(**spec.recipe), spec.seed)
    task.state.model.train()

    def ours() -> None:
        for step in range(STEPS):
            batch = sampler(step)
            assert phase.step is not None
            task.update(phase, functools.partial(phase.step, task.state.model, batch), batch.progress, "step", step)

    plain = Plain()
    network = contract.network_of(task.state.model)
    plain.load_state_dict(dict(zip(plain.state_dict(), network.state_dict().values(), strict=True)))
    x = batch_of(problem)
    with torch.no_grad():
        difference = float((plain.eval()(x) - network.eval()(x)).abs().max())
    if difference > 1e-5:
        raise AssertionError(f"the two networks are not the same: their logits differ by {difference}")
    network.train()
    plain.train()
    optimiser = torch.optim.SGD(plain.parameters(), lr=0.03, momentum=0.9, weight_decay=5e-4)
    y = torch.from_numpy(problem.source.labels[: 2 * BATCH])

    def alone() -> None:
        for _ in range(STEPS):
            optimiser.zero_grad()
            functional.cross_entropy(plain(x), y).backward()  # type: ignore[no-untyped-call]
            optimiser.step()

    theirs = {
        f"{name}{as_written}": _PEERS_EPOCH[name](copy.deepcopy(module), problem)
        for name in peers
        for as_written, module in (("", network), (", plain network", plain))
    }
    yield race("epoch", f"{STEPS} steps", {"plain network": alone, OURS: ours, **theirs}, rounds=rounds)


def _skada_epoch(network: Network | Plain, problem: Problem) -> Call:
    """An epoch in skada's loop, which is skorch's, with its batches of equally many images of both domains."""
    from skada.deep import DAN

    net = DAN(
        network,
        layer_name="bottleneck",
        sigmas=[2.0**u for u in FIVE],
        batch_size=BATCH,
        max_epochs=1,
        train_split=None,
        warm_start=True,  # each call trains one more epoch
        verbose=0,
        lr=0.03,
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.9,
        optimizer__weight_decay=5e-4,
    ).initialize()
    count = len(problem.source.labels)
    x = np.concatenate([_pixels(problem.source.images), _pixels(problem.target.images)])
    y = np.concatenate([problem.source.labels, np.full(count, -1)])  # skada's mark for unlabelled samples
    domain = np.repeat([1, -2], count)
    return lambda: net.fit(x, y, sample_domain=domain)


def _adapt_epoch(network: Network | Plain, problem: Problem) -> Call:
    """An epoch of pytorch-adapt's hook for an alignment beside classification, on ready batches of tensors."""
    from pytorch_adapt.hooks import AlignerHook, AlignerPlusCHook

    upper, lower = nn.Sequential(network.trunk, network.bottleneck), nn.Sequential(network.dropout, network.classifier)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.03, momentum=0.9, weight_decay=5e-4)
    hook = AlignerPlusCHook([optimiser], aligner_hook=AlignerHook(_adapt_mmd()), softmax=False)
    source, target = (torch.from_numpy(_pixels(one.images)) for one in (problem.source, problem.target))
    labels = torch.from_numpy(problem.source.labels)

    def call() -> None:
        order = torch.randperm(len(source)), torch.randperm(len(target))
        for first, second in zip(*(torch.split(one, BATCH) for one in order), strict=True):
            batch = {"src_imgs": source[first], "target_imgs": target[second], "src_labels": labels[first]}
            hook({"G": upper, "C": lower, **batch})

    return call


_PEERS_EPOCH = {SKADA: _skada_epoch, ADAPT: _adapt_epoch}


def _pixels(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """In the form a network takes, (N, 1, 28, 28), in [-1, 1]."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1)


def batch_of(problem: Problem) -> Tensor:
    """As many images of both domains as in one step, in the network's input form, (128, 1, 28, 28)."""
    images = np.ascontiguousarray(problem.source.images[: 2 * BATCH])
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().sub(127.5).div(127.5).contiguous()


TRUNKS = ("lite0", "googlenet")
"""Backbones whose activations are extracted on the CPU."""


def extraction(rounds: int, location: Location) -> Iterator[Race | Skipped]:
    """Activations of photographs, including cropping and normalisation, and the network's forward pass alone."""
    for backbone in TRUNKS:
        known = pretrained.KNOWN[backbone]
        try:
            path = weights.path(backbone, location)
        except (UserError, DataError) as error:
            yield Skipped(f"extraction by {backbone}", str(error))
            continue
        early = pretrained.features(backbone, path, known.last_cut).to(memory_format=torch.channels_last)
        images = _photographs(known)
        cropped = pretrained.centre_crop(torch.from_numpy(images), known)
        calls: dict[str, Call] = {
            "bare forward": _bare(early, cropped),
            OURS: functools.partial(_extract, backbone, early, images),
        }
        size = f"{len(images)} images" if backbone == TRUNKS[0] else f"{len(images)} images, {backbone}"
        found = race("extraction", size, calls, rounds=rounds)
        memory = {OURS: waits.memory_of(f"extract_once({backbone!r}, {str(path)!r})")}
        yield dataclasses.replace(found, memory=memory)


def _photographs(known: Pretrained) -> NDArray[np.uint8]:
    side = known.side
    return np.random.default_rng(0).integers(0, 256, (activations.BATCH, side, side, 3), dtype=np.uint8)


def _bare(early: nn.Module, cropped: Tensor) -> Call:
    @torch.inference_mode()
    def call() -> None:
        early(cropped)

    return call


@torch.inference_mode()
def _extract(backbone: str, early: nn.Module, images: NDArray[np.uint8]) -> None:
    known = pretrained.KNOWN[backbone]
    key = activations.Key(
        backbone=backbone, weights="", domain="", data="", transform="", cut=known.last_cut, views=0, precision="fp32",
        statistics="imagenet", device="cpu", revision=0, pooled=True,
    )  # fmt: skip
    activations.views_of(early, images, 0, key)


def extract_once(backbone: str, path: str) -> None:
    """The activations of one batch of photographs, in a process whose memory is measured."""
    known = pretrained.KNOWN[backbone]
    early = pretrained.features(backbone, Path(path), known.last_cut).to(memory_format=torch.channels_last)
    with host.computing(1):
        _extract(backbone, early, _photographs(known))


YOSINSKI_STEPS = 5


def yosinski(rounds: int) -> Iterator[Race]:
    """Steps of a base network of Yosinski's study on random images, and the network alone on ready ones."""
    for backbone in ("caffenet-16", "caffenet-32"):
        calls = yosinski_calls(backbone)
        found = race("yosinski", backbone, calls, rounds=max(3, rounds // 3))
        yield dataclasses.replace(found, memory={OURS: waits.memory_of(f"yosinski_calls({backbone!r})[speed.OURS]()")})


def yosinski_calls(backbone: str) -> dict[str, Call]:
    """The contestants of ``yosinski``."""
    recipe = Recipe(steps=YOSINSKI_STEPS, epoch=YOSINSKI_STEPS, rate=0.01, batch=BATCH)
    base = contract.config_values(contract.load("yosinski").variants["base"])
    spec = dataclasses.replace(made_up.spec("yosinski", recipe, backbone, "finetune", protocol="transfer"), config=base)
    window = backbones.BACKBONES[backbone].window
    assert window is not None
    shape = (window.side, window.side, 3 if backbones.BACKBONES[backbone].kind == "photos" else 1)
    generator = np.random.default_rng(0)
    drawn = made_up.problem(lambda n: generator.integers(0, 256, (n, *shape), dtype=np.uint8), 256, 64, 50)
    one_side = dataclasses.replace(drawn, target=Unlabelled(drawn.source.images), alone=True)
    task = training.prepare(spec, one_side, None, {})
    phase, sampler = task.phases[-1], Sampler(task.data, recipe, spec.seed)
    task.state.model.train()
    network = copy.deepcopy(task.state.model)
    ready = [sampler(step) for step in range(YOSINSKI_STEPS)]

    def bare() -> None:
        for batch in ready:
            network.zero_grad()
            functional.cross_entropy(network(batch.source_x), batch.source_y).backward()  # type: ignore[no-untyped-call]

    def ours() -> None:
        for step in range(YOSINSKI_STEPS):
            batch = sampler(step)
            assert phase.step is not None
            task.update(phase, functools.partial(phase.step, task.state.model, batch), batch.progress, "step", step)

    return {"bare network": bare, OURS: ours}


def cached(
    steps: int, count: int, *, method: str = "source_only", classes: int = CLASSES, sources: int = 1
) -> tuple[Spec, Problem]:
    """A cell on random activations.

    Args:
        steps: number of training steps.
        count: images per domain, and in the test.
        method: its method.
        classes: number of classes.
        sources: number of domains among which the source's images are divided.
    """
    recipe = dataclasses.replace(HEAD, steps=steps, epoch=max(1, steps // 10))
    generator = np.random.default_rng(0)
    spec = made_up.spec(method, recipe, "lite0", "frozen")
    problem = made_up.problem(lambda n: generator.random((n, 1, FEATURES), dtype=np.float32), count, count, classes)
    return spec, dataclasses.replace(problem, sizes=(count // sources,) * sources if sources > 1 else ())


def frozen(rounds: int) -> Iterator[Race]:
    """Whole cells of 600 steps on cached activations, and only the matrix products that the baseline's steps need."""
    spec, problem = cached(HEAD.steps, 800)
    dan, _ = cached(HEAD.steps, 800, method="dan")
    x = torch.from_numpy(problem.source.images[:BATCH, 0].copy())
    first, second = torch.randn(WIDTH, FEATURES) / 36, torch.randn(CLASSES, WIDTH) / 16

    def bare() -> None:
        for _ in range(HEAD.steps):
            hidden = x @ first.T
            logits = hidden @ second.T
            logits.T @ hidden
            (logits @ second).T @ x

    cells: dict[str, Call] = {
        name: functools.partial(training.run_cell, one, problem, commit="")
        for name, one in ((OURS, spec), ("DAN", dan))
    }
    yield race("frozen", f"{HEAD.steps} steps", {"bare algebra": bare, **cells}, rounds=max(3, rounds // 3))


def overhead(rounds: int) -> Iterator[Race]:
    """A cell of one step: everything except training, its record included."""
    spec, problem = cached(1, 800)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        ours = {OURS: lambda: store.write(training.run_cell(spec, problem, commit=""))}
        yield race("overhead", "1 step", ours, rounds=max(3, rounds // 3))


def start(rounds: int) -> Iterator[Race]:
    """The command line's list of commands, in a new process."""
    command = [sys.executable, "-m", "benchmarks", "--help"]
    call = functools.partial(subprocess.run, command, cwd=host.ROOT, capture_output=True, check=True)
    yield race("start", "--help", {OURS: call}, rounds=max(3, rounds // 3), wall=True)


def plans(location: Location) -> Iterator[Race]:
    """A plan of short cells on real digits, by number of cells and of jobs, each run once in wall-clock time: from the
    start of its worker processes, or of a Ray cluster of this machine only, to their end.

    Raises:
        DataError: the digits are not available.
    """
    for domain in registry.suite("digits-mini").domains.values():
        store.prepare(domain, location)
    jobs = [1, *([2] if host.cores() > 1 else [])]
    options = Options(datasets=("digits-mini",), tasks=("optdigits:mfeat",), seeds=32)
    made = plan.make("dan", options, location).cells
    recipe = recipe_values(Recipe(steps=20, epoch=20, rate=0.03))
    short = [dataclasses.replace(cell, spec=dataclasses.replace(cell.spec, recipe=recipe)) for cell in made]
    ways()[""](short[:1], location, 1)  # one-off setup of this process happens before timing
    for count in PLANS:
        times = {
            f"{plural(n, 'job')}{way}": _seconds(run, short[:count], location, n)
            for way, run in ways().items()
            for n in jobs
        }
        yield Race("plan over cells", str(count), times, wall=True)


RunPlan = Callable[[Sequence[plan.Cell], Location, int], None]


def _seconds(run: RunPlan, cells: Sequence[plan.Cell], location: Location, jobs: int) -> NDArray[np.float64]:
    """Wall-clock time of one run, (1,)."""
    start = time.perf_counter()
    run(cells, location, jobs)
    return np.array([time.perf_counter() - start])


def ways() -> dict[str, RunPlan]:
    """What follows the number of jobs -> how plans are run: here, and also on Ray if it is installed."""
    if importlib.util.find_spec("ray") is None:
        return {"": _run_plan}
    return {"": _run_plan, " on Ray": _run_on_ray}


def _run_plan(cells: Sequence[plan.Cell], location: Location, jobs: int) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        execute.run(cells, execute.Local(location, Store(Path(folder)), jobs), expected={})


def _run_on_ray(cells: Sequence[plan.Cell], location: Location, jobs: int) -> None:
    from benchmarks.executors import cluster

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()), cluster.joined(None, jobs):
        workers = cluster.Cluster(location, Store(Path(folder)), cluster.Share(cpus=1), jobs)
        execute.run(cells, workers, expected={})


@dataclass(frozen=True)
class Skipped:
    """A race that cannot be run here."""

    topic: str
    reason: str


Races = Callable[[int, Sequence[str], Location], Iterator[Race | Skipped]]
TOPICS: Mapping[str, Races] = MappingProxyType(
    {
        "losses": lambda rounds, peers, _location: losses(rounds, peers),
        "growth": lambda rounds, _peers, _location: itertools.chain(growth(rounds), cells_grow()),
        "epoch": lambda rounds, peers, _location: epoch(rounds, peers),
        "extraction": lambda rounds, _peers, location: extraction(rounds, location),
        "yosinski": lambda rounds, _peers, _location: yosinski(rounds),
        "frozen": lambda rounds, _peers, _location: frozen(rounds),
        "overhead": lambda rounds, _peers, _location: overhead(rounds),
        "start": lambda rounds, _peers, location: itertools.chain(start(rounds), waits.commands(location, rounds)),
        "plans": lambda _rounds, _peers, location: plans(location),
        "table": lambda _rounds, _peers, location: waits.table(location),
        "compare": lambda _rounds, _peers, location: waits.compare(location),
        "first": lambda _rounds, _peers, location: waits.first(location),
    }
)
"""What is timed, by name; the last ones are what a user waits for, and take minutes."""


def run(
    rounds: int, peers: Sequence[str], location: Location, topics: Iterable[str] = TOPICS
) -> Iterator[Race | Skipped]:
    """Every race, or those of the named topics, one after another; the reason if a topic lacks data or weights."""
    with host.computing(1):
        for name in topics:
            try:
                yield from TOPICS[name](rounds, peers, location)
            except (UserError, DataError) as error:
                yield Skipped(name, str(error))
