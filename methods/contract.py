"""What a paper's module provides to the harness: data and a few typed functions.

The runner in ``benchmarks`` owns every loop, the clock, the random streams, evaluation, checkpoints and records.  A
module under ``methods/`` that defines ``METHOD`` is a method; it is found by its file name and needs no entry anywhere
else.  Nothing here or in any method imports ``benchmarks`` or ``datasets``.

Terms.  *Source*: the labelled domain.  *Target*: the domain that is tested; training sees only its images.
*Variant*: a named configuration of the method (``default`` is the paper's full method).  *Experiment*: one table or
figure of the paper.  *Task*: ``source:target``.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import math
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from methods.errors import UnknownMethodError
from methods.network import FrozenLayers, Network, Passes

_ADDED = "added"
"""Key of a field's metadata; see ``added``."""


class Batch(NamedTuple):
    """What one training step sees.  By construction it holds only the target labels that the protocol grants."""

    source_x: Tensor
    """Source inputs, float, (B, channels, height, width) or (B, features), normalised."""
    source_y: Tensor
    """Source labels, int64, (B,), in 0 .. classes - 1."""
    target_x: Tensor
    """Unlabelled target inputs, shaped like ``source_x`` except for their own B."""
    progress: float
    """Fraction of training done before this step, p in [0, 1)."""
    labelled_target_x: Tensor | None = None
    """Target inputs whose labels the protocol grants, (K, ...); None under an unsupervised protocol."""
    labelled_target_y: Tensor | None = None
    """Their labels, int64, (K,)."""


class Term(NamedTuple):
    """One named part of the objective; the runner minimises the sum of weight * value."""

    value: Tensor
    """Scalar tensor with a gradient, the unweighted value, which is recorded in the training history."""
    weight: float = 1.0
    """Trade-off parameter at this step (lambda, nu, gamma ... of the papers)."""


Losses = Mapping[str, Term]


@dataclass(frozen=True)
class Domains:
    """All that training may see of a cell's data, in order, a few hundred examples at a time.

    For what needs more than a batch: statistics over a domain, soft labels, full-batch terms.
    """

    source: Callable[[], Iterable[tuple[Tensor, Tensor]]]
    """Inputs and labels."""
    target: Callable[[], Iterable[Tensor]]
    """Inputs, without labels."""
    labelled_target: Callable[[], Iterable[tuple[Tensor, Tensor]]]
    """Target inputs whose labels the protocol grants, with these; nothing under an unsupervised protocol."""


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share a learning rate.  A parameter in no group is not trained."""

    parameters: tuple[nn.Parameter, ...]
    rate: float = 1.0
    """Multiple of the recipe's rate."""
    decay: bool = True
    """Whether the recipe's weight decay applies."""


@dataclass(frozen=True)
class Recipe:
    """The optimisation: SGD with momentum, rate annealed as eta_p = rate / (1 + a p)^b, with p in [0, 1) the progress.

    JAN states a = 10, b = 0.75 (section 4.1); DAN's Caffe "inv" policy with gamma 1e-3, power 0.75 and 20,000
    iterations is a = 20, b = 0.75.  a = 0 keeps the rate constant except for its ``milestones``.
    """

    steps: int
    """Number of optimiser steps."""
    epoch: int
    """Steps between two evaluations; also the period of a method's once-per-epoch parts."""
    rate: float
    """Learning rate of new layers; a pretrained trunk learns at ``Network.trunk_rate`` times this."""
    batch: int = 64
    """Images of each domain per step."""
    momentum: float = 0.9
    weight_decay: float = 5e-4
    annealing: float = 20.0
    """a in eta_p."""
    power: float = 0.75
    """b in eta_p."""
    by_size: bool = False
    """Whether the ``2 * batch`` images of a step are split by the sizes of the two domains instead of equally."""
    milestones: tuple[float, ...] = ()
    """Values of p at each of which the rate is divided by ten."""
    warmup: float = 0.0
    """Fraction of the steps over which the rate first rises linearly from 0, in [0, 1)."""
    cosine: bool = False
    """Whether the rate then falls to 0 along half a cosine."""
    nesterov: bool = False
    """Whether the momentum is Nesterov's."""

    def __post_init__(self) -> None:
        """Refuse what no training can have.

        Raises:
            ValueError: a number out of its range.
        """
        for name in ("steps", "epoch", "rate", "batch"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0")
        for name in ("momentum", "warmup"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1")
        for name in ("weight_decay", "annealing", "power"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0")
        if not all(0 <= milestone <= 1 for milestone in self.milestones):
            raise ValueError("milestones must be between 0 and 1")

    def rate_at(self, progress: float) -> float:
        """Factor on ``rate`` at progress p, in [0, 1]."""
        factor: float = (1 + self.annealing * progress) ** -self.power
        factor *= 0.1 ** sum(progress >= milestone for milestone in self.milestones)
        if progress < self.warmup:
            return factor * min(1.0, (progress + 1 / self.steps) / self.warmup)
        if self.cosine:
            factor *= (1 + math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup))) / 2
        return factor

    def longer(self, times: int) -> Recipe:
        """The same with ``times`` as many steps and as many evaluations as before."""
        return dataclasses.replace(self, steps=self.steps * times, epoch=self.epoch * times)


@dataclass(frozen=True)
class Phase:
    """Training before the main one, with its own optimiser: pre-training, or source training."""

    name: str
    """Also the name of its random streams."""
    step: Callable[[Any, Batch], Losses] | None
    recipe: Recipe
    begin: Callable[[Any, Domains], None] | None = None
    """Called once, before the first step."""
    groups: Callable[[Any], list[ParameterGroup]] | None = None
    """Parameter groups; by default those of the method."""
    second_step: Callable[[Any, Batch], Losses] | None = None
    """See ``Method.second_step``."""


@dataclass(frozen=True)
class Need:
    """A network trained by another cell, from which this one starts.

    The other cell has the same data, backbone, track and seed.  It is trained once, however many cells, experiments and
    papers start from it.
    """

    method: str
    config: Any = None
    """None for the method's default variant, with what the label-free rule chose for it."""
    task: str = ""
    """``source:target``; the cell's own task if empty."""
    opposite: bool = False
    """Whether it is trained on the cell's own task with source and target exchanged."""
    recipe: Recipe | None = None
    """The cell's own recipe if None."""
    batchnorm: str = ""
    """How BatchNorm sees the two domains; as in the cell itself if empty."""
    labelled_target: bool = True
    """Whether it too gets the target labels that the cell's protocol grants."""


@dataclass(frozen=True)
class Row:
    """One line of a table: a method in one of its variants."""

    method: str
    variant: str = "default"
    label: str = ""
    """Label in the table; if empty the variant, or the method for ``default``."""
    times: int = 1
    """Training length as a multiple of the recipe's steps."""

    @property
    def name(self) -> str:
        """Its name in tables and messages."""
        return self.label or (self.method if self.variant == "default" else self.variant)


@dataclass(frozen=True)
class Experiment:
    """One table or figure of a paper, as data."""

    name: str
    title: str
    rows: tuple[Row, ...]
    """In the order of the table."""
    recipes: Mapping[str, Recipe]
    """Data sets it is defined on, the default one first, each with its recipe; ``folder`` stands for any folder."""
    baseline: Row
    """Row that differences are taken over; one of ``rows``."""
    seeds: int = 3
    """Number of seeds; under a protocol with splits, number of splits, each with its own seed."""
    tasks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Data set -> its tasks in this experiment, in the order of the table; the suite's own tasks for the others."""
    sweep: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Config field -> values; every row whose method has the field is run once per value."""
    unswept: tuple[Row, ...] = ()
    """Rows left out of the sweep although their method has its field."""
    recipe_sweep: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Field of the recipe -> values; every row is run once at each combination."""
    cuts: tuple[str, ...] = ()
    """Cuts of the pretrained trunk; every row is run once at each.  Empty for the track's usual cut."""
    bn_statistics: tuple[str, ...] = ()
    """BatchNorm statistics of a frozen trunk, ``imagenet``, ``source`` or ``own``; every row is run under each.  Empty
    for ImageNet's."""
    selects: str = ""
    """A metric measured without target labels; the paper chooses the setting of a row with its least value."""
    curve: tuple[str, ...] = ()
    """Entries of the training history whose value at every evaluation enters the tables, ``test_accuracy@120``."""
    last: tuple[str, ...] = ()
    """Entries of the training history whose last value enters the tables under its own name, ``snd``."""
    also_over: tuple[Row, ...] = ()
    """Further rows over which the gain of the paper's own method is shown, where the choice of baseline matters."""
    tsne: bool = False
    """Whether the features of its trained networks are embedded in the plane (t-SNE), for a figure."""
    joint_mmd: bool = False
    """Whether the joint MMD of bottleneck and softmax between the domains is measured on its trained networks."""
    protocol: str = "full"
    holdout: float = 0.0
    """Fraction of the labelled source held out, for rules that choose an evaluation by it."""
    backbone: str = "lenet"
    track: str = "finetune"
    batchnorm: str = ""
    """How BatchNorm sees the two domains; empty for the default of backbone and track."""
    cut: str = ""
    """Where a pretrained trunk is cut; empty for the default of backbone and track."""
    default: bool = False
    """Run where its data set is named but no experiment, on the track of the first such experiment unless a track is
    named.  If no data set is named either, the paper's first such experiment is run."""
    matrices: tuple[str, ...] = ()
    """Matrices of the records (``Method.matrices``) whose entries enter the tables, ``soft_labels@mug,cup``."""
    published: tuple[str, ...] = ()
    """Tables of the paper (column ``table`` of ``results/published.csv``) shown beside this one."""
    layers: str = ""
    """The field of the sweep that counts layers, if any: its figure has a position for each value, 0 for the rows
    outside the sweep, and beside it the published values for the tasks ``FIELD=3 ...``."""
    picture: str = ""
    """Name of the README's picture, if that is this experiment's first figure; one experiment has it."""


@dataclass(frozen=True)
class Setup:
    """Where a question is asked: data, protocol, network and training, shared by all rows of an experiment."""

    recipe: Recipe | Mapping[str, Recipe]
    """One for all data sets, or data set -> its own."""
    backbone: str = "lenet"
    track: str = "finetune"
    batchnorm: str = ""
    cut: str = ""
    protocol: str = "full"
    seeds: int = 3
    datasets: tuple[str, ...] = ()
    """The default one first."""
    tasks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    published: tuple[str, ...] = ()

    @property
    def recipes(self) -> Mapping[str, Recipe]:
        """Data set -> recipe."""
        same = self.recipe
        return frozen({one: same[one] if isinstance(same, Mapping) else same for one in self.datasets})

    def on(self, *datasets: str, **changes: Any) -> Setup:
        """The same on these data sets (on its own if none is named), with the given changes."""
        return dataclasses.replace(self, datasets=datasets or self.datasets, **changes)


def asked(
    title: str,
    rows: tuple[Row, ...],
    setups: Mapping[str, Setup],
    *,
    baseline: Row | None = None,
    default: bool = True,
    **more: Any,
) -> tuple[Experiment, ...]:
    """One question as an experiment for each of its set-ups.

    Args:
        title: shared by all of them.
        rows: likewise.
        setups: name of an experiment, and of its files -> where the question is asked.
        baseline: the first row if None.
        default: whether they run where no experiment is named.
        more: further fields of ``Experiment``.
    """
    shared = {"rows": rows, "baseline": baseline or rows[0], "default": default, **more}
    of_place = [one.name for one in dataclasses.fields(Setup) if one.name not in ("recipe", "datasets")]
    return tuple(
        Experiment(name, title, recipes=setup.recipes, **{**{key: getattr(setup, key) for key in of_place}, **shared})
        for name, setup in setups.items()
    )


WHOSE: Mapping[str, str] = MappingProxyType(
    {
        "paper": "read in the paper",
        "code": "in the code or the logs that the authors released",
        "ours": "a question that the paper does not ask; it counts neither for nor against it",
    }
)
"""``Claim.whose`` -> what it means."""


@dataclass(frozen=True)
class Claim:
    """A statement, made once, decided by a comparison of two rows wherever it is asked."""

    name: str
    text: str
    better: Row
    worse: Row
    on: tuple[str, ...] = ()
    """Experiments that decide it, on all their data sets and tasks."""
    also: tuple[str, ...] = ()
    """Experiments on data or under a protocol that the paper does not speak of: there the question is ours."""
    point: str = ""
    """Which of several comparisons of one statement (all of the same name) this is, ``than width 64``."""
    joint: bool = False
    """Whether the statement holds only where all comparisons of its name do: over a set-up it is judged once, by the
    one that fits it least."""
    metric: str = "accuracy"
    """The metric compared, at the last iterate."""
    higher: bool = True
    """Whether ``better`` should have the larger value, or the smaller one."""
    tasks: tuple[str, ...] = ()
    """The tasks it is about; all if empty."""
    better_setting: str | tuple[str, ...] = ""
    """If the experiment has a sweep, the point of it for ``better``, ``k=v;k=v``; the mean if several."""
    worse_setting: str | tuple[str, ...] = ""
    margin: float = 0.0
    """By how many points ``better`` may be worse: above 0, the claim is that it is as good."""
    than: tuple[str, ...] = ()
    """Tasks, as many as ``tasks``; on each of them the difference should be smaller than on the one of ``tasks``."""
    than_setting: str | tuple[str, ...] = ""
    """A point of the sweep, or several, where the difference of the two rows should be smaller: it is subtracted."""
    level: float | None = None
    """A constant in place of ``worse``, which is then the same row as ``better``: the value should be above it, or
    below it if not ``higher``."""
    ranks: str = ""
    """A metric that should rank the settings of ``better`` as ``metric`` does, the least first: the effect is the rank
    correlation of the two with its sign flipped, for each task and replicate; ``worse`` is then the same row."""
    whose: str = "paper"
    """Who says it, one of ``WHOSE``."""
    where: str = ""
    """The table, figure or page it was read in."""
    published: float | None = None
    """The published effect, in the unit of the metric, if it does not follow from ``results/published.csv``; None if it
    does, or if there is no number."""

    @property
    def experiments(self) -> tuple[str, ...]:
        """All experiments that decide it."""
        return *self.on, *self.also

    def whose_on(self, experiment: str) -> str:
        """Whose question it is in that experiment, one of ``WHOSE``."""
        return "ours" if experiment in self.also else self.whose


@dataclass(frozen=True)
class Paper:
    """Bibliographic data, and what is reproduced."""

    title: str
    authors: str
    venue: str
    year: int
    link: str
    experiments: tuple[Experiment, ...]
    claims: tuple[Claim, ...] = ()
    published_rows: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    """Row label here -> ``method`` in ``results/published.csv``; several if its tables name it differently."""
    key: str = ""
    """``paper`` in ``results/published.csv``; the module's name if empty."""
    published_only: tuple[str, ...] = ()
    """Methods of published tables that are shown although no row here reproduces them."""
    not_run: Mapping[str, str] = field(default_factory=dict)
    """What in the paper is not reproduced here -> the reason."""
    easy: str = ""
    """What was easy to reproduce, in a sentence or two."""
    difficult: str = ""
    """What was difficult, and what the paper leaves open although the result depends on it."""
    comparator: bool = False
    """Whether the method is shown beside the suite's papers, under the same recipes, with no claim to reproduce its own
    paper."""


@dataclass(frozen=True)
class Method:
    """Everything the runner needs of a method.

    ``build``, ``step`` and the optional functions are called in this order::

        model = build(config, network)                   once, under the stream "initialisation"
        init_from(model, needed)                           once, with the networks named by ``needs``
        for every phase of phases(config, recipe):       the same as below, without evaluation
        begin(model, domains)                            once, before the main training
        for every epoch:
            before_epoch(model)                          once per ``Recipe.epoch`` steps, before the first of them
            losses = step(model, batch)                  forward only; the runner does the rest
            losses = second_step(model, batch)           a further update on the same batch
            losses = epoch_step(model, domains, p)       a further update at the end of the epoch, p in (0, 1];
                                                         none where it returns no losses
        diagnostics(model, domains)                      once, of the trained model
        matrices(model)                                  likewise
        model(x) -> logits                               in evaluation mode, (N, classes)

    Whatever must survive an interruption has to be a parameter or a buffer of the model.
    """

    config: type
    """Frozen dataclass; a docstring under each field gives symbol, equation and the paper's value."""
    build: Callable[[Any, Network], nn.Module]
    step: Callable[[Any, Batch], Losses] | None
    """None if nothing is trained: the model is evaluated once, as ``init_from`` and ``begin`` leave it."""
    variants: Mapping[str, Any] = field(default_factory=dict)
    """Variant name -> configuration; has ``default``."""
    paper: Paper | None = None
    """None for a baseline that no paper introduced."""
    revision: int = 1
    """Raised by hand when a change of the module alters its numbers."""
    raised: Mapping[str, int] = field(default_factory=dict)
    """Track -> revision there, if a change has altered the numbers of that track alone."""
    chosen: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Config field -> grid: chosen by the suite's label-free rule per data set and track, for all variants but those in
    ``fixed``."""
    fixed: tuple[str, ...] = ()
    """Variants that keep their own values of the ``chosen`` fields, such as those from the authors' released code."""
    groups: Callable[[Any], list[ParameterGroup]] | None = None
    """Parameter groups; by default the network's, and everything else at rate 1."""
    needs: Callable[[Any, Recipe], Mapping[str, Need]] | None = None
    """Configuration and the cell's recipe -> name -> the trained networks it starts from."""
    init_from: Callable[[Any, Mapping[str, Mapping[str, Tensor]]], None] | None = None
    """Copies what the model needs from the needed networks (name -> state dict of its model)."""
    frozen_layers: Callable[[Any], FrozenLayers | None] | None = None
    """The fixed first layers of a model, if any: inputs that are never re-augmented pass through them only once."""
    phases: Callable[[Any, Recipe], tuple[Phase, ...]] | None = None
    """Configuration and the cell's recipe -> what is trained first."""
    begin: Callable[[Any, Domains], None] | None = None
    before_epoch: Callable[[Any], None] | None = None
    second_step: Callable[[Any, Batch], Losses] | None = None
    """A second objective with its own update; parameters that get no gradient from it stay as they are."""
    epoch_step: Callable[[Any, Domains, float], Losses] | None = None
    diagnostics: Callable[[Any, Domains], Mapping[str, float]] | None = None
    """Measures of the trained model itself (never accuracies), beta, alpha, ..., or of what training may see; called in
    evaluation mode, without gradient.  They become metrics of the tables; a name with a dot, as in ``alpha.fc7``, is
    one of a family and shown apart from the others."""
    matrices: Callable[[Any], Mapping[str, Tensor]] | None = None
    """Matrices of the trained model with a row and a column for each class.  The records keep them, with ``confusion``
    beside them, which the method never sees: how many test images of each class (row) were predicted as which (column).
    ``Experiment.matrices`` brings them into the tables."""
    applies: Callable[[Any, Network], str | None] | None = None
    """Reason why this configuration makes no sense on this network, or None; shown in the plan instead of running."""

    def revision_on(self, track: str) -> int:
        """The revision of its cells on a track."""
        return max(self.revision, self.raised.get(track, 0))


def names() -> list[str]:
    """Names of all modules of ``methods/`` that define ``METHOD``, sorted.

    Raises:
        UnknownMethodError: a module cannot be imported, or its ``METHOD`` is not a ``Method``.
    """
    return sorted(_methods())


def load(name: str) -> Method:
    """The method of module ``methods/<name>.py``.

    Raises:
        UnknownMethodError: there is no such module, or it defines no ``METHOD``.
    """
    methods = _methods()
    if name not in methods:
        raise UnknownMethodError(f"unknown method {name!r}; there are: {', '.join(sorted(methods))}.")
    return methods[name]


@functools.cache
def _methods() -> dict[str, Method]:
    import methods

    found = {}
    for info in pkgutil.iter_modules(methods.__path__):
        try:
            module = importlib.import_module(f"methods.{info.name}")
        except Exception as error:
            text = f"methods/{info.name}.py cannot be imported ({type(error).__name__}: {error}); fix or remove it."
            raise UnknownMethodError(text) from error
        method = getattr(module, "METHOD", None)
        if isinstance(method, Method):
            found[info.name] = method
        elif method is not None:
            raise UnknownMethodError(f"METHOD of methods/{info.name}.py is not a methods.contract.Method; fix it.")
    return found


def papers() -> dict[str, Paper]:
    """Module name -> paper, for every method that has one: the suite's papers and the comparators."""
    return {name: paper for name in names() if (paper := load(name).paper) is not None}


def recipe_key(dataset: str) -> str:
    """The key of a data set in ``Experiment.recipes``: every ``folder:PATH`` is ``folder``."""
    return "folder" if dataset.startswith("folder:") else dataset


SHARED_TRACK = "frozen"
"""The track on which all papers are run and shown together, where a paper has it."""


def usual_experiments(paper: Paper, datasets: Sequence[str] = (), track: str | None = None) -> list[Experiment]:
    """What is run and shown if no experiment is named: the default ones on the named data sets.

    Of these, those on ``track`` if there are any, else those on the track of the first: another track of the same table
    may take hours where the first takes minutes.  Without a data set it is the paper's first default experiment.
    """
    usual = [experiment for experiment in paper.experiments if experiment.default]
    if not datasets:
        return usual[:1]
    keys = {recipe_key(dataset) for dataset in datasets}
    usual = [experiment for experiment in usual if keys & set(experiment.recipes)]
    tracks = [experiment.track for experiment in usual]
    shown = track if track in tracks else next(iter(tracks), None)
    return [experiment for experiment in usual if experiment.track == shown]


def default_groups(model: nn.Module) -> list[ParameterGroup]:
    """The network's trunk at its own rate (left out at rate 0), everything else at rate 1."""
    networks = [module for module in model.modules() if isinstance(module, Network)]
    trunk = {id(p) for network in networks for p in network.trunk.parameters()}
    rate = networks[0].trunk_rate if networks else 1.0
    slow = tuple(p for p in model.parameters() if id(p) in trunk and p.requires_grad)
    new = tuple(p for p in model.parameters() if id(p) not in trunk and p.requires_grad)
    groups = [ParameterGroup(new)]
    if slow and rate > 0:
        groups.append(ParameterGroup(slow, rate=rate))
    return groups


def network_of(model: nn.Module) -> Network:
    """The one network that a model is built on."""
    return next(module for module in model.modules() if isinstance(module, Network))


def added(default: Any) -> Any:
    """A field added to a configuration later.

    Its default is what the method did before, or the revision was raised if not; at the default the field is left out
    of what identifies a cell, so that older cells keep their identity.
    """
    return field(default=default, metadata={_ADDED: True})


def config_of(method: Method, values: Mapping[str, Any]) -> Any:
    """The configuration with these values: the inverse of ``config_values``."""
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return method.config(**plain)


def config_values(config: Any) -> dict[str, Any]:
    """A configuration as plain JSON values: what a cell's record holds and what its hash is computed from."""
    defaults = {one.name: one.default for one in dataclasses.fields(config) if _ADDED in one.metadata}
    every = {one.name: getattr(config, one.name) for one in dataclasses.fields(config)}
    values = {key: value for key, value in every.items() if key not in defaults or value != defaults[key]}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def classification(passes: Passes, batch: Batch) -> Term:
    """Mean cross-entropy over all labelled images of a batch: the source's, and the target's granted by the protocol.

    There are as many source as labelled target images, so one of the latter counts more than one of the larger source;
    DDC's and SDT's L_C(X_L, y) is over the labelled images of both domains, in a proportion that is not stated.
    """
    logits, labels = passes.source["fc8"], batch.source_y
    if passes.labelled_target is not None and batch.labelled_target_y is not None:
        logits = torch.cat([logits, passes.labelled_target["fc8"]])
        labels = torch.cat([labels, batch.labelled_target_y])
    return Term(cross_entropy(logits, labels))


def rising(progress: float) -> float:
    """The papers' progressive schedule 2 / (1 + exp(-10 p)) - 1: from 0 to nearly 1, for p in 0 .. 1."""
    return 2 / (1 + math.exp(-10 * progress)) - 1


def frozen(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    """A read-only view, for module-level tables."""
    return MappingProxyType(dict(mapping))


def total(losses: Losses) -> Tensor:
    """Sum of weight * value over all terms, a scalar."""
    return functools.reduce(
        torch.add, (term.value if term.weight == 1 else term.value * term.weight for term in losses.values())
    )
