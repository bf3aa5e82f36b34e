"""Running one cell: build, train, evaluate, checkpoint, record."""

from __future__ import annotations

import contextlib
import functools
import math
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.cell import evaluation
from benchmarks.cell.descent import Descent, Group
from benchmarks.cell.loading import Data, Sampler, domains_of, load_data, through
from benchmarks.machine import host, processes
from benchmarks.machine.errors import UserError
from benchmarks.machine.host import seed_of, seed_torch
from benchmarks.networks import backbones
from benchmarks.networks.backbones import choice_of
from benchmarks.networks.feeding import Inputs
from benchmarks.records.store import LAST, Record, Spec
from datasets.protocols import HELD_OUT_CLASSES, Problem
from methods import contract, kernels
from methods.contract import Domains, Losses, Method, Phase, Recipe, Term
from methods.network import Network

CHECKPOINT_AFTER = 300.0
"""Seconds: a cell expected to take longer writes a checkpoint at each epoch; a shorter one is simply run again."""

DISTANCE_IMAGES = 1000
"""Maximum number of images per domain for measuring domain distances."""
SND_IMAGES = 4000
"""Maximum number of target images for measuring the soft neighbourhood density."""


FEW = "its settings, or the few images that it has, may be the reason"


class DivergedError(UserError):
    """A loss became NaN or infinite."""


Parameters = Mapping[str, Tensor]
"""The state dict of a trained model."""

DAMAGED = (OSError, RuntimeError, LookupError, ValueError, TypeError, EOFError, pickle.UnpicklingError)
"""Errors raised when reading a damaged file of torch."""


@dataclass
class State:
    """The state of a training: everything a checkpoint must hold."""

    model: nn.Module
    optimiser: Descent
    phase: int = 0
    """Number of the current phase."""
    step: int = 0
    """Steps taken in this phase."""
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    """Time spent before the last resume."""

    def save(self, path: Path, seconds: float) -> None:
        """Write a checkpoint atomically."""
        content = {
            "phase": self.phase,
            "step": self.step,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "history": self.history,
            "seconds": seconds,
        }
        _save_atomically(content, path)

    def restore(self, path: Path, phases: Sequence[Phase], method: Method, device: torch.device) -> None:
        """Return to a checkpoint.

        Raises:
            UserError: the file is damaged.
        """
        try:
            content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
            self.model.load_state_dict(content["model"])
            self.optimiser = optimiser_of(self.model, phases[content["phase"]], method)
            self.optimiser.load_state_dict(content["optimiser"])
            self.phase, self.step = content["phase"], content["step"]
            self.history, self.seconds = content["history"], content["seconds"]
        except DAMAGED as error:
            raise UserError(f"the checkpoint {path} is damaged; delete it and run again.") from error


def _save_atomically(content: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    try:
        torch.save(content, temporary)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        temporary.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error}; free some space or choose --runs.") from error


def load_parameters(path: Path) -> Parameters:
    """The parameters that ``run_cell`` kept in a file.

    Raises:
        UserError: the file is damaged.
    """
    try:
        parameters: Parameters = torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGED as error:
        raise UserError(f"the trained network {path} is damaged; delete it and run again.") from error
    return parameters


def run_cell(
    spec: Spec,
    problem: Problem,
    *,
    commit: str,
    checkpoint: Path | None = None,
    weights: Path | None = None,
    needed: Mapping[str, Parameters] | None = None,
    keep: Path | None = None,
    finished: Callable[[nn.Module, Data], None] | None = None,
) -> Record:
    """Train and evaluate one cell.

    Args:
        spec: what to run.
        problem: its data, from ``datasets.protocols.problem``.
        commit: of the code, for the record.
        checkpoint: file to resume from, and to write to if the cell takes long; None for none.
        weights: of the pretrained backbone, if layers of it are trained.
        needed: the trained networks it starts from, by the names in ``spec.needs``.
        keep: file for the trained model's parameters, if other cells start from them.
        finished: called with the trained model and its data.

    Raises:
        UserError: a loss became NaN or infinite, or a file could not be written or read.
    """
    with host.computing(spec.threads):
        start = time.perf_counter()
        training = prepare(spec, problem, weights, needed or {})
        state, data, method = training.state, training.data, training.method
        if checkpoint is not None and checkpoint.exists():
            state.restore(checkpoint, training.phases, method, torch.device(spec.device))
        training.run(start, checkpoint)
        values = _final_values(spec, state.history, state.model, data)
        if keep is not None and processes.is_main():
            _save_atomically(state.model.state_dict(), keep)
        if finished is not None and processes.is_main():
            finished(state.model, data)
        return Record(
            cell=spec.hash,
            spec=asdict(spec),
            values=values,
            n_test=len(data.test.labels),
            history=state.history,
            diagnostics=_diagnostics(method, state.model, data),
            examples=_examples(data),
            matrices=_matrices(method, state.model, data),
            device=host.device_name(spec.device),
            source=host.code_digest(spec.method),
            versions=host.versions(),
            seconds=round(state.seconds + time.perf_counter() - start, 2),
            commit=commit,
            time=datetime.now(UTC).isoformat(timespec="seconds"),
        )


def _examples(data: Data) -> dict[str, int]:
    """The sizes of what training sees; a class may have fewer images than its protocol asks for."""
    sizes = {"target": len(data.target)}
    for name, part in (("source", data.source), ("labelled_target", data.labelled_target)):
        if part is not None:
            counts = torch.bincount(part.labels)
            sizes |= {name: len(part.labels), f"{name}_least": int(counts[counts > 0].min())}
    return sizes


def trained_model(spec: Spec, data: Data, weights: Path | None, parameters: Parameters) -> nn.Module:
    """The model of a finished cell, on its device.

    Args:
        spec: the cell.
        data: from ``load_data``.
        weights: as for ``run_cell``.
        parameters: what ``run_cell`` kept.
    """
    model = _new_model(spec, data, weights)
    model.load_state_dict(parameters)
    return model.to(device=torch.device(spec.device), memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _new_model(spec: Spec, data: Data, weights: Path | None) -> nn.Module:
    """A cell's freshly initialised model."""
    method = contract.load(spec.method)
    seed_torch(spec.device, spec.seed, "initialisation")
    network = backbones.build(choice_of(spec), width=data.width, classes=data.classes, weights=weights)
    return method.build(contract.config_of(method, spec.config), network)


def prepare(spec: Spec, problem: Problem, weights: Path | None, needed: Mapping[str, Parameters]) -> Training:
    """A cell's training before its first step; arguments as for ``run_cell``."""
    data = load_data(problem, choice_of(spec), torch.device(spec.device), spec.views)
    return assembled(spec, data, _new_model(spec, data, weights), needed)


def assembled(spec: Spec, data: Data, model: nn.Module, needed: Mapping[str, Parameters]) -> Training:
    """As ``prepare``, from data on their device and a freshly initialised model on the CPU."""
    method = contract.load(spec.method)
    if method.init_from:
        method.init_from(model, needed)
    model.to(device=torch.device(spec.device), memory_format=torch.channels_last)  # type: ignore[call-overload]
    fixed = method.frozen_layers(model) if method.frozen_layers else None
    if fixed is not None:
        with _autocast(spec):
            data = through(data, fixed)
    config, recipe = contract.config_of(method, spec.config), Recipe(**spec.recipe)
    earlier = method.phases(config, recipe) if method.phases else ()
    main = Phase("", method.step, recipe, begin=method.begin, second_step=method.second_step)
    phases = (*earlier, main)
    step = processes.step_of(method, model, recipe.batch)
    return Training(spec, method, State(model, optimiser_of(model, phases[0], method)), data, phases, step)


def _autocast(spec: Spec) -> contextlib.AbstractContextManager[Any]:
    """The spec's precision."""
    return torch.autocast(spec.device, torch.bfloat16) if spec.precision == "bf16" else contextlib.nullcontext()


def optimiser_of(model: nn.Module, phase: Phase, method: Method) -> Descent:
    """A phase's optimiser, with empty state."""
    recipe, groups_of = phase.recipe, phase.groups or method.groups or contract.default_groups
    groups = [
        Group(group.parameters, recipe.rate * group.rate, recipe.weight_decay if group.decay else 0.0)
        for group in groups_of(model)
    ]
    return Descent(groups, recipe.momentum, recipe.nesterov)


@dataclass(frozen=True)
class Training:
    """One cell's training: its phases one after another, each epoch by epoch."""

    spec: Spec
    method: Method
    state: State
    data: Data
    phases: tuple[Phase, ...]
    """The last one is the main one, whose epochs are evaluated."""
    shared: nn.Module | None = None
    """The method's step if several processes take it together."""

    def run(self, start: float, checkpoint: Path | None) -> None:
        """Train from the current state.

        Args:
            start: when this session began, ``time.perf_counter()``.
            checkpoint: where to keep the state of a long training; None for none.
        """
        state = self.state
        domains = domains_of(self.data)
        taken = 0
        left = sum(phase.recipe.steps for phase in self.phases[state.phase :] if phase.step) - state.step
        for number, phase in enumerate(self.phases[state.phase :], start=state.phase):
            if number > state.phase:
                state.phase, state.step, state.optimiser = number, 0, optimiser_of(state.model, phase, self.method)
            if phase.begin and state.step == 0:
                seed_torch(self.spec.device, self.spec.seed, f"{phase.name} begin".strip())
                phase.begin(state.model, domains)
            if phase.step is None:
                state.history.append({"step": 0.0, **self._evaluate()})
                continue
            sampler = Sampler(self.data, phase.recipe, self.spec.seed, phase.name)
            while state.step < phase.recipe.steps:
                before = state.step
                self._epoch(phase, sampler, domains)
                taken += state.step - before
                elapsed = time.perf_counter() - start
                long = state.seconds + elapsed * left / taken > CHECKPOINT_AFTER
                if checkpoint is not None and long and taken < left and processes.is_main():
                    state.save(checkpoint, state.seconds + elapsed)

    def _epoch(self, phase: Phase, sampler: Sampler, domains: Domains) -> None:
        """The steps up to the next evaluation, which follows if the phase is the main one."""
        state, method, main = self.state, self.method, phase is self.phases[-1]
        if main and method.before_epoch:
            method.before_epoch(state.model)
        state.model.train()
        values: dict[str, list[Tensor]] = {}
        first, last = state.step, min(state.step + phase.recipe.epoch, phase.recipe.steps)
        objectives = {"step": phase.step, "second step": phase.second_step}
        for step in range(first, last):
            batch = sampler(step)
            for stream, objective in objectives.items():
                if objective is not None:
                    losses_of = functools.partial(objective, state.model, batch)
                    if self.shared is not None:
                        losses_of = functools.partial(self.shared, batch)
                    for name, term in self.update(phase, losses_of, batch.progress, stream, step).items():
                        values.setdefault(name, []).append(term.value.detach())
        means = processes.mean({name: _sum(terms) / (last - first) for name, terms in values.items()})
        if main and method.epoch_step:
            progress = last / phase.recipe.steps
            losses_of = functools.partial(method.epoch_step, state.model, domains, progress)
            losses = self.update(phase, losses_of, progress, "epoch step", last)
            means |= {name: float(term.value.detach()) for name, term in losses.items()}
        state.step = last
        _require_finite(means, self.spec, last)
        if main:
            state.history.append({"step": float(last), **means, **self._evaluate()})

    def _evaluate(self) -> dict[str, float]:
        """Measures after an epoch: target entropy (label-free) and test accuracy (shown, and for the oracle).

        With held-out source also the criteria that need it, which takes as long as a few epochs.
        """
        model, data = self.state.model, self.data
        logits = _logits(self.spec, model, data, data.test.inputs)
        probe = logits if data.transductive else _logits(self.spec, model, data, data.target_probe)
        seen = {"target_entropy": evaluation.mean_entropy(probe)}
        if not math.isfinite(seen["target_entropy"]):
            raise DivergedError(f"the predictions of {self.spec.method} on {self.spec.task} are not finite; {FEW}.")
        if data.test.knows:
            seen["test_accuracy"] = data.test.accuracy(logits)
        over = self.phases[-1].step is None or self.state.step == self.phases[-1].recipe.steps
        if data.held_out is None or (self.spec.looks == LAST and not over):
            return seen
        return {**seen, **self._validate(data.held_out, probe)}

    def _validate(self, held_out: evaluation.Evaluator, target_logits: Tensor) -> dict[str, float]:
        """The criteria of ``benchmarks.cell.evaluation`` that need held-out source."""
        model, data, seed = self.state.model, self.data, self.spec.seed
        logits = _logits(self.spec, model, data, held_out.inputs)
        seen = {"source_accuracy": held_out.accuracy(logits)}
        if len(target_logits) > 1:
            some = drawn(len(target_logits), SND_IMAGES, seed)  # each is compared with every other
            seen["snd"] = evaluation.neighbourhood_density(
                target_logits[torch.from_numpy(some).to(target_logits.device)]
            )
        enough = min(len(held_out.inputs), len(data.source.inputs), len(data.target)) > 1
        if enough and not data.alone and any(isinstance(module, Network) for module in model.modules()):
            losses = torch.nn.functional.cross_entropy(logits.double(), held_out.labels, reduction="none")
            parts = (held_out.inputs, *(subset(x, DISTANCE_IMAGES, seed) for x in (data.source.inputs, data.target)))
            features = (evaluation.bottleneck_of(model, part).cpu().numpy() for part in parts)
            seen |= evaluation.risks(losses.cpu().numpy(), *features)
        return seen

    def update(self, phase: Phase, losses_of: Callable[[], Losses], progress: float, stream: str, step: int) -> Losses:
        """One optimiser step.  Dropout and whatever else a step draws have their own stream for each step."""
        state, spec = self.state, self.spec
        name = f"{phase.name} {stream}" if phase.name else stream
        seed_torch(spec.device, spec.seed, name, step, *processes.stream())
        with _autocast(spec):
            losses = losses_of()
            if step == 0 or stream == "epoch step":
                _require_terms(losses, stream, spec.method)
            if not losses:
                return losses
            total = contract.total(losses)
        state.optimiser.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        state.optimiser.step(phase.recipe.rate_at(progress))
        return losses


def _sum(values: Sequence[Tensor]) -> float:
    """Sum in order, in double precision; waits for the device only once."""
    total = 0.0
    for value in torch.stack(list(values)).tolist():  # not ``sum``, which corrects for rounding since Python 3.12
        total += value
    return total


def _require_terms(losses: Any, stream: str, method: str) -> None:
    """Checks what a method has returned, at the first step of a phase: torch's errors would name neither file nor term.

    Raises:
        UserError: it is no mapping of names to terms, or a value is not a scalar tensor with a gradient.
    """
    asked = f"{stream.replace(' ', '_')} of methods/{method}.py must return {{name: Term(scalar tensor, weight)}}"
    if not isinstance(losses, Mapping):
        raise UserError(f"{asked}; it returns {_described(losses)}.")
    for name, term in losses.items():
        if not isinstance(term, Term):
            raise UserError(f"{asked}; {name!r} is {_described(term)} and no Term.")
        if not isinstance(term.value, Tensor) or term.value.ndim:
            raise UserError(f"{asked}; {name!r} is {_described(term.value)}.")
        if not term.value.requires_grad:
            raise UserError(f"methods/{method}.py: the loss {name!r} has no gradient; is it detached?")


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return "None" if value is None else f"a value of type {type(value).__name__}"


def _require_finite(means: dict[str, float], spec: Spec, step: int) -> None:
    """NaN and infinity survive in an epoch's mean, so one check per epoch is enough and needs no synchronisation."""
    wrong = {repr(name): str(value) for name, value in means.items() if not math.isfinite(value)}
    if not wrong:
        return
    losses, values = " and ".join(wrong), " and ".join(dict.fromkeys(wrong.values()))
    several = len(wrong) > 1  # parameters that one has spoilt spoil the others at the next step
    raise DivergedError(
        f"the {'losses' if several else 'loss'} {losses} of {spec.method} on {spec.task} (seed {spec.seed}) became "
        f"{values} by step {step}{' (one may have made the others so)' if several else ''}; "
        "a smaller rate or weight may help."
    )


def _logits(spec: Spec, model: nn.Module, data: Data, inputs: Inputs) -> Tensor:
    """Logits in full precision; in the training's for one-sided training, where tests take much of the time."""
    with torch.autocast(spec.device, torch.bfloat16, enabled=data.alone and spec.precision == "bf16"):
        return evaluation.logits_of(model, inputs)


def _final_values(
    spec: Spec, history: Sequence[dict[str, float]], model: nn.Module, data: Data
) -> list[dict[str, Any]]:
    chosen = evaluation.select(history)
    if data.alone:
        chosen["ten-best"] = evaluation.ten_best(history)
    values: list[dict[str, Any]] = [
        {"selection": rule, "metric": "accuracy", "value": accuracy} for rule, accuracy in chosen.items()
    ]
    measured: dict[str, float] = {} if data.test.knows else _label_free(spec, history, model, data)
    if spec.protocol in HELD_OUT_CLASSES:
        measured |= data.test.among_tested(_logits(spec, model, data, data.test.inputs))
    # Without a Network there is no bottleneck to look at, and with one side there is no other to compare it with.
    if not data.alone and any(isinstance(module, Network) for module in model.modules()):
        source, target = data.held_out.inputs if data.held_out else data.source.inputs, data.target
        parts = [subset(inputs, DISTANCE_IMAGES, spec.seed) for inputs in (source, target)]
        features = [evaluation.bottleneck_of(model, part) for part in parts]
        measured |= evaluation.domain_distances(*features)
        if spec.joint_mmd and min(map(len, features)) >= evaluation.FEWEST:
            predicted = [_logits(spec, model, data, part).softmax(1) for part in parts]
            pairs = zip(features, predicted, strict=True)
            measured["joint_mmd"] = float(kernels.joint_mmd(*pairs))
    if data.held_out is not None:
        accuracy = data.held_out.accuracy(_logits(spec, model, data, data.held_out.inputs))
        measured["source_error"] = 1 - accuracy / 100
    values += [{"selection": "last", "metric": name, "value": value} for name, value in measured.items()]
    return values


def _label_free(spec: Spec, history: Sequence[dict[str, float]], model: nn.Module, data: Data) -> dict[str, float]:
    """What a cell reports instead of an accuracy if its target has no labels; from the last iterate."""
    found = {"target_entropy": history[-1]["target_entropy"]}
    if len(data.target) > 1:
        logits = _logits(spec, model, data, subset(data.target, SND_IMAGES, spec.seed))
        found["snd"] = evaluation.neighbourhood_density(logits)
    return found


@torch.no_grad()
def _diagnostics(method: Method, model: nn.Module, data: Data) -> dict[str, float]:
    """What the method reports about its trained model; leaves the model's mode unchanged."""
    if method.diagnostics is None:
        return {}
    was_training = model.training
    model.eval()
    figures = method.diagnostics(model, domains_of(data))
    model.train(was_training)
    return {name: float(value) for name, value in figures.items()}


def _matrices(method: Method, model: nn.Module, data: Data) -> dict[str, list[list[float]]]:
    """The method's matrices and the confusion matrix of the test images, if the method has matrices."""
    if method.matrices is None:
        return {}
    found = dict(method.matrices(model))
    if data.test.knows:
        found["confusion"] = data.test.confusion(evaluation.logits_of(model, data.test.inputs))
    return {name: matrix.tolist() for name, matrix in found.items()}


def subset(inputs: Inputs, most: int, seed: int) -> Inputs:
    """A random part of the inputs, at most ``most``, the same for every method."""
    return inputs.part(drawn(len(inputs), most, seed))


def drawn(count: int, most: int, seed: int) -> NDArray[np.int64]:
    """Which of ``count`` inputs are in a random part of at most ``most``, int64, (min(count, most),)."""
    generator = np.random.default_rng(seed_of(seed, "distances"))
    return generator.permutation(count)[:most]
