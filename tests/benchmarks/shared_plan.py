"""A treatment and its base network on a folder of images, for several processes."""

from __future__ import annotations

import dataclasses

from benchmarks.executors import execute
from benchmarks.machine import processes
from benchmarks.networks import backbones
from benchmarks.plan import plan
from benchmarks.plan.plan import Cell, Options
from benchmarks.records.store import Store
from datasets import store
from datasets.store import Location
from methods import contract
from methods.contract import Recipe

RECIPE = Recipe(steps=6, epoch=3, rate=0.001, batch=8, annealing=0.0, milestones=(0.5,))


def cells(location: Location, folder: str) -> list[Cell]:
    """BnB with three frozen layers on the network for 32 pixels, without augmentation."""
    small = backbones.BACKBONES["caffenet-32"]
    assert small.window is not None
    window = dataclasses.replace(small.window, padding=0, mirrored=False)
    backbones.BACKBONES["caffenet-32"] = dataclasses.replace(small, window=window)
    method = contract.load("yosinski")
    assert method.paper is not None
    changes = {"recipes": {"folder": RECIPE}, "sweep": {"n": (3,)}, "backbone": "caffenet-32"}
    experiments = tuple(
        dataclasses.replace(one, **changes) if one.name == "imagenet" else one for one in method.paper.experiments
    )
    paper = dataclasses.replace(method.paper, experiments=experiments)
    known = {name: contract.load(name) for name in contract.names()}
    known["yosinski"] = dataclasses.replace(method, paper=paper)
    contract._methods = lambda: known  # type: ignore[assignment]
    options = Options(experiments=("imagenet",), datasets=(folder,), tasks=("a:b",), seeds=1)
    return [
        cell for cell in plan.make("yosinski", options, location).cells if cell.uses[0].row.label in ("base", "BnB")
    ]


def run(location: Location, folder: str, records: Store) -> int:
    """Run the plan as one of the processes that ``torchrun`` starts; the exit status."""
    processes.join("cpu")
    for part in ("train", "val"):
        store.prepare(f"{folder}/{part}", location, side=32)
    todo = cells(location, folder)
    processes.barrier()
    summary = execute.run(todo, execute.Local(location, records, 1), expected={})
    return 1 if summary.failed else 0
