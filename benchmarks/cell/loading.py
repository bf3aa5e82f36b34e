"""The data of a cell on its device: what training draws from, and what only the evaluator holds."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.cell.evaluation import Evaluator
from benchmarks.machine import processes
from benchmarks.machine.host import Batches, seed_of
from benchmarks.networks import activations, weights
from benchmarks.networks.backbones import Choice, choice_of
from benchmarks.networks.feeding import (
    Cached,
    Digits,
    Features,
    Inputs,
    Photos,
    Windows,
    grey,
    in_order,
    passed,
    scaled,
)
from benchmarks.plan.plan import Cell
from benchmarks.records.store import Spec
from datasets import protocols
from datasets.protocols import Problem, Task
from datasets.store import Location
from methods.contract import Batch, Domains, Recipe
from methods.network import FrozenLayers

ENTROPY_IMAGES = 5000
"""Maximum number of unlabelled target training images for the entropy in the label-free choice of an epoch."""


def problem_of(cell: Cell, location: Location) -> Problem:
    """The data of a cell: images, or the cached activations in their place."""
    spec = cell.spec

    def cached(domain: str, part: str) -> NDArray[np.float32]:
        assert part == "train", "photographs have no other part"
        return activations.load(activation_key(spec, cell.task, domain, location), location)

    return protocols.problem(
        spec.dataset,
        cell.task,
        location,
        protocol=spec.protocol,
        split=spec.split,
        holdout=spec.holdout,
        seed=spec.seed,
        side=choice_of(spec).backbone.side,
        inputs=cached if spec.cut else None,
    )


def weights_of(spec: Spec, location: Location) -> Path | None:
    """The pretrained weights, if the cell trains layers of the trunk."""
    return weights.path(spec.backbone, location) if trains_trunk(spec) else None


def trains_trunk(spec: Spec) -> bool:
    """Whether a cell needs the pretrained weights themselves."""
    return choice_of(spec).backbone.known is not None and spec.track != "frozen"


def activation_key(spec: Spec, task: Task, domain: str, location: Location) -> activations.Key:
    """The activations of a domain that a cell needs."""
    of = {"": "", "own": domain, "source": task.source_domain}[spec.statistics]
    return activations.key_of(
        spec.backbone,
        domain,
        spec.cut,
        location,
        views=spec.views,
        precision=spec.precision,
        device=spec.device,
        pooled=choice_of(spec).pooled,
        statistics_of=of,
    )


@dataclass(frozen=True)
class Labels:
    """Inputs with labels that training may see."""

    inputs: Inputs
    labels: Tensor
    """int64, (N,), on the device."""

    def __call__(self, indices: NDArray[np.int64], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A training batch: inputs and labels."""
        return self.inputs.training(indices, generator), self.labels[torch.from_numpy(indices).to(self.labels.device)]

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All examples in order, batch by batch."""
        return zip(in_order(self.inputs), torch.split(self.labels, self.inputs.batch), strict=True)


@dataclass(frozen=True)
class Data:
    """The examples of one cell on its device.  The target labels used for testing are in ``test`` alone."""

    source: Labels
    target: Inputs
    labelled_target: Labels | None
    """Target examples with labels granted by the protocol."""
    target_probe: Inputs
    """A fixed part of the target training examples, for the entropy."""
    test: Evaluator
    held_out: Evaluator | None
    transductive: bool
    """Whether ``target_probe`` and ``test`` hold the same inputs in the same order."""
    width: int
    """Channels of images, or width of feature vectors."""
    classes: int
    sizes: tuple[int, ...]
    """Number of examples of each source domain, in their order in ``source``; one entry for a single source."""
    alone: bool = False
    """Whether training uses one side only: the target's inputs are the source's, and the probe is the test set."""


def load_data(problem: Problem, choice: Choice, device: torch.device, views: int = 0) -> Data:
    """A problem's examples on a device.

    Args:
        views: number of fixed augmented views per image for networks from scratch, if such views are used.
    """
    of_source, of_target = (
        _feeder(problem, choice, device, domain, views) for domain in (problem.source.images, problem.target.images)
    )

    def labels(array: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(np.array(array)).to(device)

    target = of_target(problem.target.images)
    transductive = problem.tested is not None or problem.alone
    if problem.tested is not None:
        tested = problem.tested
        everything = np.array_equal(tested, np.arange(len(target)))
        test = Evaluator(target, labels(problem.test.labels), None if everything else labels(tested))
    else:
        test = Evaluator(of_target(problem.test.images), labels(problem.test.labels))
    probe = test.inputs if problem.alone else target
    if not transductive and len(target) > ENTROPY_IMAGES:
        generator = np.random.default_rng(seed_of(0, "entropy probe"))
        probe = target.part(np.sort(generator.permutation(len(target))[:ENTROPY_IMAGES]))
    labelled_target, held_out = problem.labelled_target, problem.held_out
    return Data(
        source=Labels(of_source(problem.source.images), labels(problem.source.labels)),
        target=target,
        labelled_target=Labels(of_target(labelled_target.images), labels(labelled_target.labels))
        if labelled_target
        else None,
        target_probe=probe,
        test=test,
        held_out=Evaluator(of_source(held_out.images), labels(held_out.labels)) if held_out else None,
        transductive=transductive,
        width=_width(problem, choice),
        classes=problem.classes,
        sizes=problem.sizes or (len(problem.source.labels),),
        alone=problem.alone,
    )


def through(data: Data, fixed: FrozenLayers) -> Data:
    """The data after fixed layers; unchanged if images are augmented anew at each step.

    Every image passes through the layers once.  Then ``fixed.passed`` is set.
    """
    kept: dict[int, Inputs] = {}
    held_out = [data.held_out.inputs] if data.held_out else []
    for inputs in (data.source.inputs, data.test.inputs, *held_out):
        if not isinstance(inputs, Windows) or not inputs.fixed or not data.alone or data.labelled_target is not None:
            return data
        cached = passed(inputs, fixed, trained=inputs is data.source.inputs)
        if cached is None:
            return data
        kept[id(inputs)] = cached
    fixed.passed = True
    source, test = kept[id(data.source.inputs)], kept[id(data.test.inputs)]
    return replace(
        data,
        source=replace(data.source, inputs=source),
        target=source,
        target_probe=test,
        test=replace(data.test, inputs=test),
        held_out=replace(data.held_out, inputs=kept[id(data.held_out.inputs)]) if data.held_out else None,
    )


def _width(problem: Problem, choice: Choice) -> int:
    """Channels of the network's input, or width of feature vectors."""
    if choice.backbone.grey_side:
        return 1
    widths = (problem.source.images.shape[-1], problem.target.images.shape[-1])
    return int(max(widths))  # RGB for both domains if one of them is RGB


def _feeder(problem: Problem, choice: Choice, device: torch.device, domain: Any, views: int) -> Callable[[Any], Inputs]:
    """How an array of one domain becomes inputs.

    Args:
        domain: the domain's examples in training, source or target.
        views: for images of networks from scratch.
    """
    if choice.cut:
        return lambda array: Cached(array, device)
    if choice.backbone.kind == "features":
        both = (problem.source.images, problem.target.images)
        over = (domain,) if choice.backbone.scaling == "per-domain" else both
        return lambda array: Features(scaled(array, *over), device)
    width = _width(problem, choice)
    return lambda array: images_of(array, choice, width, device, views)


def images_of(images: NDArray[np.uint8], choice: Choice, width: int, device: torch.device, views: int = 0) -> Inputs:
    """Images as the inputs of a network that is not cut.

    Args:
        images: uint8, (N, height, width, channels), as prepared.
        choice: the network.
        width: number of channels that it takes.
        device: where batches go.
        views: for networks from scratch, as in ``load_data``.
    """
    if (window := choice.backbone.window) is not None:
        return Windows(images, window, width, device, views)
    if (known := choice.backbone.known) is not None:
        return Photos(images, known, device)
    return Digits(grey(images), 1, device) if choice.backbone.grey_side else Digits(images, width, device)


def domains_of(data: Data) -> Domains:
    """All that training may see of a cell's data."""
    labelled_target = data.labelled_target
    return Domains(
        source=data.source.in_order,
        target=functools.partial(in_order, data.target),  # not a closure over the data, which include labels
        labelled_target=labelled_target.in_order if labelled_target else lambda: iter(()),
    )


def shares(recipe: Recipe, source: int, target: int) -> tuple[int, int]:
    """How many source and target images a step sees, for domains of these sizes.

    A batch does not repeat images to fill up: from a smaller domain it takes the whole domain.  Only if a domain is a
    single image does a batch contain it twice, as no discrepancy is defined for one sample.
    """
    first = second = recipe.batch
    if recipe.by_size:
        both = 2 * recipe.batch
        first = min(max(both * source // (source + target), 2), both - 2)
        second = both - first
    return fitting(first, source), fitting(second, target)


def fitting(batch: int, size: int) -> int:
    """The batch size for a domain, see ``shares``."""
    return min(batch, max(size, 2))


def source_batches(
    sizes: Sequence[int], steps: int, batch: int, seed: int, name: str
) -> Callable[[int], NDArray[np.int64]]:
    """Step -> indices of its source examples.

    With several source domains each batch comes from only one, so that BatchNorm never sees a mixture (as AdaBN asks);
    the domain is drawn for each step, larger domains more often.

    Args:
        sizes: number of examples of each domain; they follow one another.
        steps: number of steps.
        batch: examples per batch, or all of a domain that has fewer.
        seed: the cell's.
        name: of the stream.
    """
    if len(sizes) == 1:
        return Batches(sizes[0], fitting(batch, sizes[0]), seed, name)
    generator = np.random.default_rng(seed_of(seed, f"{name} domains"))
    # A small domain's batches hold fewer examples, so they come more often: every example is shown equally often.
    often = np.array([size * (batch / fitting(batch, size)) for size in sizes])
    domains = generator.choice(len(sizes), size=steps, p=often / often.sum())
    streams = [Batches(size, fitting(batch, size), seed, f"{name} {number}") for number, size in enumerate(sizes)]

    def indices(step: int) -> NDArray[np.int64]:
        domain = domains[step]
        earlier = int((domains[:step] == domain).sum())
        found: NDArray[np.int64] = streams[domain](earlier) + sum(sizes[:domain])
        return found

    return indices


class Sampler:
    """The batches of a phase: each depends only on seed, phase and step, so training can resume at any step.

    Args:
        data: where to draw from.
        recipe: the phase's.
        seed: the cell's.
        phase: the phase's name; empty for the main one.
    """

    def __init__(self, data: Data, recipe: Recipe, seed: int, phase: str = "") -> None:
        self.data, self.seed, self.steps = data, seed, recipe.steps
        prefix = f"{phase} " if phase else ""
        self._stream, self._rank = f"{prefix}augmentation", processes.stream()
        source, target = shares(recipe, len(data.source.inputs), len(data.target))
        self._source = source_batches(data.sizes, recipe.steps, source, seed, f"{prefix}source")
        self._target = Batches(len(data.target), target, seed, f"{prefix}target")
        granted = f"{prefix}granted"
        self._labelled_target = (
            Batches(len(data.labelled_target.inputs), source, seed, granted) if data.labelled_target else None
        )

    def __call__(self, step: int) -> Batch:
        """The batch of a step, with as many labelled target images as source images."""
        generator = torch.Generator().manual_seed(seed_of(self.seed, self._stream, step, *self._rank))
        source_x, source_y = self.data.source(processes.share(self._source(step)), generator)
        alone = self.data.alone  # then a second draw of the same images would be wasted
        target_x = source_x if alone else self.data.target.training(self._target(step), generator)
        labelled_target_x, labelled_target_y = None, None
        if self._labelled_target is not None and self.data.labelled_target is not None:
            labelled_target_x, labelled_target_y = self.data.labelled_target(self._labelled_target(step), generator)
        return Batch(source_x, source_y, target_x, step / self.steps, labelled_target_x, labelled_target_y)
