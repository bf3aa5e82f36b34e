"""Running one cell: build, train, evaluate, checkpoint, record."""

from __future__ import annotations

import dataclasses
import math
import pickle
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import backbones, evaluation, machine
from benchmarks.errors import UserError
from benchmarks.evaluation import Evaluator
from benchmarks.feeding import Images
from benchmarks.records import Record
from benchmarks.spec import Spec
from benchmarks.streams import Batches, seed_of
from datasets.protocols import Problem
from methods import contract
from methods.contract import Batch, Losses, Method, Recipe

CHECKPOINT_AFTER = 300.0
"""Seconds: a cell expected to take longer writes a checkpoint at each epoch; a shorter one is run again."""

ENTROPY_IMAGES = 5000
"""Unlabelled target training images, at most, whose entropy the label-free selection of an epoch looks at."""

DISTANCE_IMAGES = 1000
"""Images of each domain, at most, that the domain distances are measured on."""


class DivergedError(UserError):
    """A loss became NaN or infinite."""


@dataclass(frozen=True)
class Data:
    """The images of one cell on its device.  The target's labels are in ``test`` alone, which no method sees."""

    source: Images
    source_y: Tensor
    target: Images
    target_probe: Images
    """A fixed part of the target's training images, for the entropy."""
    test: Evaluator
    held_out: Evaluator | None
    transductive: bool
    """Whether ``target_probe`` and ``test`` hold the same images in the same order."""
    channels: int
    classes: int


@dataclass
class State:
    """Where training stands: all that a checkpoint must hold."""

    model: nn.Module
    optimiser: torch.optim.SGD
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    """Spent in earlier sittings."""

    def save(self, path: Path, seconds: float) -> None:
        """Write a checkpoint atomically."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".partial")
        content = {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "history": self.history,
            "seconds": seconds,
        }
        try:
            torch.save(content, temporary)
            temporary.replace(path)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            temporary.unlink(missing_ok=True)
            raise UserError(
                f"cannot write the checkpoint {path}: {error}; free some space or choose --runs."
            ) from error

    def restore(self, path: Path, device: torch.device) -> None:
        """Go back to a checkpoint.

        Raises:
            UserError: the file is damaged.
        """
        try:
            content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
            self.model.load_state_dict(content["model"])
            self.optimiser.load_state_dict(content["optimiser"])
            self.step, self.history, self.seconds = content["step"], content["history"], content["seconds"]
        except (OSError, RuntimeError, LookupError, ValueError, TypeError, EOFError, pickle.UnpicklingError) as error:
            raise UserError(f"the checkpoint {path} is damaged; delete it and run again.") from error


def run_cell(
    spec: Spec,
    problem: Problem,
    *,
    commit: str,
    checkpoint: Path | None = None,
) -> Record:
    """Train and evaluate one cell.

    Args:
        spec: what to run.
        problem: its data, as ``datasets.protocols.problem`` gives it.
        commit: of the code, for the record.
        checkpoint: file to resume from, and to write to if the cell takes long; None keeps none.

    Raises:
        UserError: a loss became NaN or infinite, or a checkpoint could not be written or read.
    """
    with machine.computing(spec.threads):
        start = time.perf_counter()
        state, data, method = _prepare(spec, problem)
        if checkpoint is not None and checkpoint.exists():
            state.restore(checkpoint, torch.device(spec.device))
        _train(spec, method, state, data, start, checkpoint)
        values = _final_values(spec, state, data)
        counts = method.counts(state.model) if method.counts else {}
        return Record(
            cell=spec.hash,
            spec=asdict(spec),
            values=values,
            n_test=len(data.test.images),
            history=state.history,
            counts={name: float(value) for name, value in counts.items()},
            device=machine.device_name(spec.device),
            versions=machine.versions(),
            seconds=round(state.seconds + time.perf_counter() - start, 2),
            commit=commit,
            time=datetime.now(UTC).isoformat(timespec="seconds"),
        )


def load_data(problem: Problem, device: torch.device) -> Data:
    """A problem's images on a device; RGB for both domains if one of them is RGB."""
    channels = max(problem.source.images.shape[-1], problem.target.images.shape[-1])

    def images(array: Any) -> Images:
        return Images(array, channels, device)

    def labels(array: Any) -> Tensor:
        return torch.from_numpy(np.array(array)).to(device)

    transductive = problem.digests["target"] == problem.digests["test"]
    probe = problem.target.images
    if not transductive and len(probe) > ENTROPY_IMAGES:
        generator = np.random.default_rng(seed_of(0, "entropy probe"))
        probe = probe[np.sort(generator.permutation(len(probe))[:ENTROPY_IMAGES])]
    held_out = problem.held_out
    return Data(
        source=images(problem.source.images),
        source_y=labels(problem.source.labels),
        target=images(problem.target.images),
        target_probe=images(probe),
        test=Evaluator(images(problem.test.images), labels(problem.test.labels)),
        held_out=Evaluator(images(held_out.images), labels(held_out.labels)) if held_out else None,
        transductive=transductive,
        channels=channels,
        classes=problem.classes,
    )


def _prepare(spec: Spec, problem: Problem) -> tuple[State, Data, Method]:
    device = torch.device(spec.device)
    method = contract.load(spec.method)
    data = load_data(problem, device)
    torch.manual_seed(seed_of(spec.seed, "initialisation"))
    network = backbones.build(spec.backbone, channels=data.channels, classes=data.classes, batchnorm=spec.batchnorm)
    model = method.build(contract.config_of(method, spec.config), network)
    model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    recipe = Recipe(**spec.recipe)
    groups = method.groups(model) if method.groups else contract.default_groups(model)
    optimiser = torch.optim.SGD(
        [
            {
                "params": list(group.parameters),
                "lr": recipe.rate * group.rate,
                "multiple": group.rate,
                "weight_decay": recipe.weight_decay if group.decay else 0.0,
            }
            for group in groups
        ],
        lr=recipe.rate,
        momentum=recipe.momentum,
    )
    return State(model, optimiser), data, method


def _train(
    spec: Spec,
    method: Method,
    state: State,
    data: Data,
    start: float,
    checkpoint: Path | None,
) -> None:
    recipe = Recipe(**spec.recipe)
    source_batches = Batches(len(data.source), recipe.batch, spec.seed, "source")
    target_batches = Batches(len(data.target), recipe.batch, spec.seed, "target")
    resumed_at = state.step
    while state.step < recipe.steps:
        if method.before_epoch:
            method.before_epoch(state.model)
        state.model.train()
        sums: dict[str, Tensor] = {}
        first, last = state.step, min(state.step + recipe.epoch, recipe.steps)
        for step in range(first, last):
            picked = source_batches(step)
            batch = Batch(
                source_x=data.source(picked),
                source_y=data.source_y[torch.from_numpy(picked).to(data.source_y.device)],
                target_x=data.target(target_batches(step)),
                progress=step / recipe.steps,
            )
            losses = _update(spec, method, state, recipe, batch, step)
            for name, term in losses.items():
                sums[name] = sums.get(name, 0.0) + term.value.detach().double()
        state.step = last
        means = {name: float(value) / (last - first) for name, value in sums.items()}
        _require_finite(means, spec, last)
        state.history.append({"step": float(last), **means, **_look(state.model, data)})
        elapsed = time.perf_counter() - start
        expected = state.seconds + elapsed * (recipe.steps - resumed_at) / (last - resumed_at)
        if checkpoint is not None and expected > CHECKPOINT_AFTER and last < recipe.steps:
            state.save(checkpoint, state.seconds + elapsed)


def _update(spec: Spec, method: Method, state: State, recipe: Recipe, batch: Batch, step: int) -> Losses:
    """One optimiser step.  Dropout and whatever else a step draws have a stream of their own for each step."""
    anneal = (1 + recipe.annealing * batch.progress) ** -recipe.power
    for group in state.optimiser.param_groups:
        group["lr"] = recipe.rate * group["multiple"] * anneal
    torch.manual_seed(seed_of(spec.seed, "step", step))
    with torch.autocast(spec.device, torch.bfloat16, enabled=spec.precision == "bf16"):
        losses = method.step(state.model, batch)
        total = contract.total(losses)
    state.optimiser.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]
    state.optimiser.step()
    return losses


def _require_finite(means: dict[str, float], spec: Spec, step: int) -> None:
    """NaN and infinity survive in an epoch's mean, so one look per epoch is enough and costs no synchronisation."""
    for name, value in means.items():
        if not math.isfinite(value):
            raise DivergedError(
                f"the loss {name!r} of {spec.method} on {spec.task} (seed {spec.seed}) became {value} by step {step}; "
                "a smaller rate or weight may help."
            )


def _look(model: nn.Module, data: Data) -> dict[str, float]:
    """What is known after an epoch: target entropy (label-free) and test accuracy (for the oracle, and reported)."""
    logits = evaluation.logits_of(model, data.test.images)
    probe = logits if data.transductive else evaluation.logits_of(model, data.target_probe)
    return {"target_entropy": evaluation.mean_entropy(probe), "test_accuracy": data.test.accuracy(logits)}


def select(history: Sequence[dict[str, float]]) -> dict[str, float]:
    """Selection rule -> test accuracy in percent.

    ``last``: the last iterate, the headline.  ``entropy``: the epoch of least target entropy, the earliest if
    several.  ``oracle``: the best epoch on target labels; not a result that a user without labels could have.
    """
    by_entropy = min(history, key=lambda epoch: epoch["target_entropy"])
    return {
        "last": history[-1]["test_accuracy"],
        "entropy": by_entropy["test_accuracy"],
        "oracle": max(epoch["test_accuracy"] for epoch in history),
    }


def _final_values(spec: Spec, state: State, data: Data) -> list[dict[str, Any]]:
    chosen = select(state.history)
    values: list[dict[str, Any]] = [
        {"selection": rule, "metric": "accuracy", "value": accuracy} for rule, accuracy in chosen.items()
    ]
    source, target = data.held_out.images if data.held_out else data.source, data.target
    features = [
        evaluation.bottleneck_of(state.model, subset(images, DISTANCE_IMAGES, spec.seed)) for images in (source, target)
    ]
    measured = evaluation.domain_distances(*features)
    if data.held_out is not None:
        accuracy = data.held_out.accuracy(evaluation.logits_of(state.model, data.held_out.images))
        measured["source_error"] = 1 - accuracy / 100
    values += [{"selection": "last", "metric": name, "value": value} for name, value in measured.items()]
    return values


def subset(images: Images, most: int, seed: int) -> Images:
    """A random part of the images, ``most`` at the most, the same for every method."""
    generator = np.random.default_rng(seed_of(seed, "distances"))
    return images.part(generator.permutation(len(images))[:most])


def fields(recipe: Recipe) -> dict[str, Any]:
    """A recipe as plain values, for a spec."""
    return dataclasses.asdict(recipe)
