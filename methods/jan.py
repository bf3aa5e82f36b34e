"""JAN: Deep Transfer Learning with Joint Adaptation Networks (Long, Zhu, Wang, Jordan; ICML 2017).

The objective adds the joint maximum mean discrepancy (JMMD) of the domain-specific layers L to the source's
cross-entropy J: the distance between the domains' joint distributions of these layers' activations:

    min_f  (1/n_s) sum_i J(f(x_i), y_i)  +  lambda D_L(P, Q)

    D_L = (1/n_s^2) sum_{i,j} prod_{l in L} k^l(z_i^sl, z_j^sl) + (1/n_t^2) sum_{i,j} prod_{l in L} k^l(z_i^tl, z_j^tl)
          - (2 / (n_s n_t)) sum_{i,j} prod_{l in L} k^l(z_i^sl, z_j^tl)

z^sl and z^tl are the activations of layer l on source and target; the classifier's layer enters as its softmax.  With
one layer it is MMD^2.  The unbiased linear-time estimate is over disjoint quad-tuples, n = n_s = n_t:

    D_L = (2/n) sum_{i = 1..n/2} ( prod_l k^l(z_{2i-1}^sl, z_{2i}^sl) + prod_l k^l(z_{2i-1}^tl, z_{2i}^tl)
                                   - prod_l k^l(z_{2i-1}^sl, z_{2i}^tl) - prod_l k^l(z_{2i}^sl, z_{2i-1}^tl) )

Every kernel is Gaussian, k^l(x, y) = exp(-|x - y|^2 / gamma^l), gamma^l the median squared pairwise distance.
lambda rises from 0 during training, lambda_p = lambda (2 / (1 + exp(-10 p)) - 1).

JAN-A puts fully connected layers theta^l in front of the kernels, k^l(theta^l(x), theta^l(y)), that learn to tell the
domains apart:

    min_f max_theta  (1/n_s) sum_i J(f(x_i), y_i)  +  lambda D_L(P, Q; f, theta)

Constants of the paper: L = {fc6, fc7, softmax} on AlexNet and {pooled features, softmax} on ResNet; momentum 0.9; rate
eta_p = 0.01 / (1 + 10 p)^0.75, the classifier's ten times a pretrained layer's; sensitivity to lambda shown on {0.01,
0.02, 0.05, 0.1, 0.2, 0.5, 1}; three runs.  The authors say that their ResNet-50 numbers were obtained without
fine-tuning, so the track ``frozen`` is closest to their setting.

The authors' released code differs.  The Caffe network for AlexNet (variant ``authors``) has two JMMD terms of constant
weight 0.3 each, over (fc7, softmax) and over (softmax, softmax).  In each the first factor is a sum of 5 kernels, gamma
2^u with u = -2 .. 2 and gamma the batch's mean squared distance, and the last one is exp(-|x - y|^2 / 1.68);
quad-tuples are drawn at random with replacement.  The PyTorch network for ResNet-50 has one term over (bottleneck,
softmax), the same kernels, constant weight 1, and the overlapping tuples (i, i + 1); its training file defaults to all
pairs.  Both use the activations after dropout.  JAN-A is in neither.

The Caffe network for ResNet-50 (variant ``authors-resnet``) learns only the classifier and a bottleneck that is linear,
with neither ReLU nor dropout, at ten times the classifier's rate; its one term of constant weight 0.3 is over
(bottleneck, softmax), with the kernels as for AlexNet but exp(-|x - y|^2 / 1.3) for the softmax.  Biases learn at twice
the rate without decay in both Caffe networks.  The PyTorch training uses Nesterov momentum, fresh random crops and
flips, and the mean of ten crops at test time.

We follow the paper.  Deviations:

* L = {fc7, softmax} by default, fc7 being the suite's bottleneck, as in the released code.  The paper's two are the
  variants ``three-layers`` and ``pooled``.  On the track ``frozen`` the pooled features (fc6) are not trained, so their
  kernel is a constant weight for each pair of images.
* gamma^l is the median over the current batch (both domains, off the diagonal), recomputed at every step and without
  gradient; the paper's is over the training data.
* The layers theta^l are as wide as their input, with ReLU between them, and start as the identity (on non-negative
  activations, as all of L are), so JAN-A starts as JAN.  Their number and initialisation are our choice.  Their
  gradient is reversed in one joint update.  gamma^l is computed from z^l before theta^l, which learns the scale too.
* Annealing, rates and the number of steps are those of DAN's experiments (a = 20 instead of 10), so the source-only and
  DAN rows are the very same cells as there.
* lambda is chosen by the suite's label-free rule for each variant separately, from 0.03 to 30 (where the former rule
  chose, on DAN's grid), since the effect of a weight depends on kernels, layers and estimate.  The released variants
  keep the released 0.3.
* The released variants use all pairs (the unbiased quadratic estimate; random tuples estimate the same with more noise)
  and the activations before dropout.  ``authors-resnet`` keeps 1.68 for the softmax and has its own baseline, the same
  network without the term.
* The network is the suite's, not AlexNet or ResNet-50; its layers are named in ``methods.network``.  Quad-tuples are
  formed within a batch; samples left over count in the source's loss only.
* The figure on the JMMD (``jmmd``) measures all three networks alike: the unbiased estimate over up to 1,000 images of
  each domain, one Gaussian at the median for the bottleneck and one for the softmax.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from methods import kernels, recipes
from methods.contract import (
    Batch,
    Claim,
    Losses,
    Method,
    Paper,
    ParameterGroup,
    Row,
    Term,
    added,
    asked,
    classification,
    default_groups,
    frozen,
    rising,
)
from methods.network import Layers, Network
from methods.recipes import BRIEF_LENET, CALTECH, FROZEN, LAST_BLOCKS, selection, tuning

SINGLE = (0.0,)
"""u of the paper's kernel gamma 2^u."""
FIVE = kernels.powers(-2, 2, 1)
"""u of the released code's kernels for all factors but the last."""
SOFTMAX_GAMMA = 1.68
"""Bandwidth of the released code's kernel for the last factor, the softmax."""


@dataclass(frozen=True)
class Config:
    """JAN as in the paper by default."""

    weight: float = 1.0
    """lambda, the weight of D_L; 1 in the paper's schedule, 0.3 for each of two terms in the released Caffe network."""
    progressive: bool = True
    """Whether lambda rises from 0 as 2 / (1 + exp(-10 p)) - 1 (the paper's); constant in the released code."""
    layers: tuple[str, ...] = ("fc7", "softmax")
    """L, the layers whose joint distribution is adapted, one factor each: fc6 (pooled features), fc7, softmax."""
    second: tuple[str, ...] = ()
    """The factors of a second term, of equal weight; none in the paper."""
    kernels: Literal["paper", "authors"] = "paper"
    """k^l: one Gaussian at the median (the paper's), or 5 around the mean and a fixed one for the last factor."""
    estimator: Literal["linear", "cyclic", "unbiased", "biased"] = "linear"
    """Estimate of D_L: linear-time on disjoint quad-tuples (the paper's) or on overlapping ones,
    or a quadratic-time one over all pairs."""
    theta: int = 0
    """Adversarial fully connected layers in front of each kernel: 0 is JAN, more is JAN-A."""
    bottleneck: Literal["usual", "linear"] = added("usual")
    """With ReLU and dropout, at the classifier's rate; or linear and at ten times that rate (released for ResNet)."""


AUTHORS_RESNET = Config(weight=0.3, progressive=False, kernels="authors", estimator="unbiased", bottleneck="linear")
VARIANTS = frozen(
    {
        "default": Config(),
        "jan-a": Config(theta=1),
        "jan-a-2": Config(theta=2),
        "pooled": Config(layers=("fc6", "softmax")),
        "three-layers": Config(layers=("fc6", "fc7", "softmax")),
        "fc7-alone": Config(layers=("fc7",)),
        "softmax-alone": Config(layers=("softmax",)),
        "unbiased": Config(estimator="unbiased"),
        "biased": Config(estimator="biased"),
        "cyclic": Config(estimator="cyclic"),
        "authors-kernels": Config(kernels="authors"),
        "authors": Config(
            weight=0.3,
            progressive=False,
            second=("softmax", "softmax"),
            kernels="authors",
            estimator="unbiased",
        ),
        "authors-resnet": AUTHORS_RESNET,
        "authors-resnet-source": replace(AUTHORS_RESNET, weight=0.0),
        "constant-weight": Config(progressive=False),
    }
)


class Theta(nn.Module):
    """theta^l: fully connected layers trained adversarially.

    It starts as the identity on non-negative activations and draws no random numbers.

    Args:
        width: of the activations.
        layers: number of layers.
    """

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.weights = nn.ParameterList(torch.eye(width) for _ in range(layers))
        self.biases = nn.ParameterList(torch.zeros(width) for _ in range(layers))

    def forward(self, z: Tensor) -> Tensor:
        """(N, width) -> (N, width).  z gets the usual gradient, the parameters get theirs reversed."""
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            z = linear(z.relu() if number else z, opposed(weight), opposed(bias))
        return z


def opposed(parameter: Tensor) -> Tensor:
    """The same values, exactly; the gradient changes sign, so descent becomes ascent."""
    return 2 * parameter.detach() - parameter


class JAN(nn.Module):
    """The network and JAN-A's adversarial layers, by the name of the layer they are placed on."""

    def __init__(self, config: Config, network: Network) -> None:
        super().__init__()
        self.config = config
        self.network = network.linear_bottleneck() if config.bottleneck == "linear" else network
        names = dict.fromkeys((*config.layers, *config.second)) if config.theta else ()
        self.theta = nn.ModuleDict({name: Theta(width_of(network, name), config.theta) for name in names})

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (N, classes)."""
        logits: Tensor = self.network(x)
        return logits


def width_of(network: Network, name: str) -> int:
    """Width of fc6, fc7 or softmax; fc6 may be asked for even where it is not trained."""
    return {"fc6": network.trunk_size, "fc7": network.layer_sizes["fc7"], "softmax": network.classes}[name]


def build(config: Config, network: Network) -> JAN:
    """Wraps the network."""
    return JAN(config, network)


def trade_off(config: Config, progress: float) -> float:
    """lambda at progress p in 0 .. 1."""
    return config.weight * (rising(progress) if config.progressive else 1.0)


def activations(layers: Layers, name: str) -> Tensor:
    """z^l in at least single precision, (N, width): a layer of the network, or the softmax of its logits."""
    return kernels.widened(layers["fc8"]).softmax(1) if name == "softmax" else kernels.widened(layers[name])


def family(config: Config, distances: Tensor, *, last: bool) -> tuple[Tensor, tuple[float, ...]]:
    """gamma and the exponents u of a factor's kernels exp(-d / (2^u gamma)), which are summed.

    Args:
        config: says which kernels.
        distances: squared distances of the layer's activations, (P,).
        last: whether it is the last factor of its term.
    """
    if config.kernels == "paper":
        return kernels.median(distances), SINGLE
    if last:
        return distances.new_full((), SOFTMAX_GAMMA), SINGLE
    return kernels.mean(distances), FIVE


def jmmd(model: JAN, names: Sequence[str], source: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    """D_L of one batch: a scalar, which may be negative if the estimate is unbiased.

    Args:
        model: its configuration, and theta if it is JAN-A.
        names: the layers of L.
        source: the activations of each on the source, (n, width).
        target: and on the target, (m, width).
    """
    config = model.config
    linear = config.estimator in kernels.LINEAR_TIME
    factors, diagonal = [], 1.0
    for number, (name, s, t) in enumerate(zip(names, source, target, strict=True), start=1):
        mapped = model.theta[name] if config.theta else nn.Identity()
        # A bandwidth is a constant; only JAN's quadratic estimates need the gradient of these distances.
        plain = kernels.pair_distances(torch.cat([s, t]))
        gamma, exponents = family(config, plain, last=number == len(names))
        if linear:
            tuples = kernels.quad_tuple_distances(mapped(s), mapped(t), cyclic=config.estimator == "cyclic")
            factors.append(kernels.gaussians(tuples, gamma, exponents).sum(-1))
        else:
            distances = kernels.pair_distances(mapped(torch.cat([s, t]))) if config.theta else plain
            factors.append(kernels.gaussian_sum(distances, gamma, gamma.new_ones(len(exponents)), exponents))
        diagonal *= len(exponents)
    product = functools.reduce(torch.mul, factors)
    if linear:
        return kernels.quad_tuple_g(product).mean()
    n, m = len(source[0]), len(target[0])
    if config.estimator == "unbiased":
        return kernels.mmd_unbiased(product, n, m)
    return kernels.mmd_biased(product, n, m, diagonal=diagonal)


def step(model: JAN, batch: Batch) -> Losses:
    """Cross-entropy of the labelled images and the JMMD of the adapted layers."""
    passes = model.network.passes(batch.source_x, batch.target_x, batch.labelled_target_x)
    assert passes.target is not None
    terms = []
    with kernels.full_precision(batch.source_x.device):
        for names in filter(None, (model.config.layers, model.config.second)):
            source = [activations(passes.source, name) for name in names]
            target = [activations(passes.target, name) for name in names]
            terms.append(jmmd(model, names, source, target))
    return {
        "classification": classification(passes, batch),
        "jmmd": Term(torch.stack(terms).sum(), trade_off(model.config, batch.progress)),
    }


def groups(model: JAN) -> list[ParameterGroup]:
    """The usual ones; with a linear bottleneck the classifier at a tenth of the rate, as released for ResNet."""
    usual = default_groups(model)
    if model.config.bottleneck == "usual":
        return usual
    slow = tuple(model.network.classifier.parameters())
    known = {id(parameter) for parameter in slow}
    new, *rest = usual
    fast = tuple(parameter for parameter in new.parameters if id(parameter) not in known)
    return [ParameterGroup(fast), ParameterGroup(slow, rate=0.1), *rest]


LAMBDAS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""The grid of the paper's sensitivity figure."""
WIDE = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Grid that the rule chooses from."""

FIGURE = frozen({"office31": ("amazon:webcam",)})
"""The Office-31 task of the sensitivity figure."""
DISTANCES = frozen({"office31": ("amazon:webcam", "webcam:dslr")})
"""A hard and an easy task, for the A-distance."""
TABLE1 = ("Table1 ResNet", "Table1 AlexNet")

SOURCE_ONLY = Row("source_only", label="source-only")
TCA = Row("shallow", "tca", label="TCA")
DDC = Row("dan", "ddc", label="DDC, as DAN ran it")
DAN = Row("dan", label="DAN")
FULL = Row("jan", label="JAN")
ADVERSARIAL = Row("jan", "jan-a", label="JAN-A")
ALL_PAIRS = Row("jan", "unbiased", label="JAN, all pairs")
RELEASED = Row("jan", "authors", label="JAN, as released")
RESNET = Row("jan", "authors-resnet", label="JAN, as released for ResNet")
RESNET_BASE = Row("jan", "authors-resnet-source", label="its network without JAN")
POOLED = Row("jan", "pooled", label="JAN, pooled features")
BOTH = (SOURCE_ONLY, FULL)
FOUR = (SOURCE_ONLY, DAN, FULL, ADVERSARIAL)
WITH_POOLED = (SOURCE_ONLY, TCA, DDC, DAN, POOLED, FULL, ADVERSARIAL)
TABLE = (*WITH_POOLED, ALL_PAIRS, RELEASED, RESNET_BASE, RESNET)
CALTECH_TABLE = (SOURCE_ONLY, TCA, DDC, DAN, FULL, ADVERSARIAL, ALL_PAIRS, RELEASED)
OTHER_FORMS = ("cyclic", "three-layers", "unbiased", "biased", "authors-kernels", "authors", "constant-weight")
PARTS = (
    *(SOURCE_ONLY, Row("jan", "fc7-alone"), Row("jan", "softmax-alone"), POOLED),
    *(Row("jan", form) for form in OTHER_FORMS),
    *(FULL, ADVERSARIAL, Row("jan", "jan-a-2", label="JAN-A, two layers")),
)
"""The rows of the ablations."""

# fmt: off
EXPERIMENTS = (
    *asked("JAN and its source-only baseline on digits, beside the paper's Table 1 (Office-31)", BOTH, {
        "digits": BRIEF_LENET.on("digits-mini", "digits", published=("Table1 ResNet",))}),
    *asked("JAN on digits beside DAN and JAN-A", FOUR, {
        "digits-compared": BRIEF_LENET.on("digits-mini", "digits", published=("Table1 ResNet",))}, default=False),
    *asked("Table 1: Office-31 on a trunk that is not fine-tuned, as the authors' ResNet-50 was not", TABLE, {
        "table1": FROZEN.on("office31", "folder", published=TABLE1)}),
    *asked("Table 1 with the last blocks fine-tuned, which the authors' ResNet-50 was not", FOUR, {
        "table1-late": LAST_BLOCKS.on("office31", "folder", published=TABLE1)}),
    *asked("Table 2: ImageCLEF-DA on a trunk that is not fine-tuned, as the authors' ResNet-50 was not", WITH_POOLED, {
        "table2": FROZEN.on("imageclef-da", published=("Table2 ResNet", "Table2 AlexNet"))}),
    *asked("Office-31 and Caltech, their ten common classes (not in the paper; the tasks of DAN's Table 2)",
           CALTECH_TABLE, {
        "office-caltech10": FROZEN.on("office-caltech10", tasks=CALTECH)}),
    *asked("Office-Home (not in the paper; beside what CDAN's authors report)", FOUR, {
        "office-home": FROZEN.on("office-home", seeds=3, published=("CDAN Office-Home table",))}),
    *asked("Proxy A-distance of the bottleneck's features, the paper's figure", FOUR, {
        "a-distance": FROZEN.on("office31", tasks=DISTANCES)}, default=False),
    *asked("The bottleneck's features of both domains in the plane, the paper's figure (DAN and JAN on A:W)",
           (SOURCE_ONLY, DAN, FULL), {
        "distributions": FROZEN.on("office31", tasks=FIGURE, seeds=1)}, default=False, tsne=True),
    *asked("JMMD of the bottleneck and the softmax, the paper's figure (CNN, DAN and JAN on A:W)",
           (SOURCE_ONLY, DAN, FULL), {
        "jmmd": FROZEN.on("office31", tasks=FIGURE)}, default=False, joint_mmd=True),
    *asked("Target accuracy over the steps of the training, the paper's figure on convergence (A:W)", FOUR, {
        "convergence": FROZEN.on("office31", tasks=FIGURE)}, default=False, curve=("test_accuracy",)),
    *asked("What JAN's layers, estimator, kernels, weight and adversarial layers contribute", PARTS, {
        "ablations": BRIEF_LENET.on("digits-mini"),
        "ablations-office": FROZEN.on("office31", seeds=3, published=("Table1 ResNet",))}, default=False),
    *asked("Accuracy over the weight lambda, the paper's sensitivity figure", BOTH, {
        "lambda-sensitivity": BRIEF_LENET.on("digits-mini"),
        "lambda-office": FROZEN.on("office31", tasks=FIGURE, seeds=8)},
           default=False, sweep=frozen({"weight": LAMBDAS})),
    selection(SOURCE_ONLY, FULL, ADVERSARIAL),
    *tuning(SOURCE_ONLY, FULL, ALL_PAIRS, grid=WIDE),
)
TABLES, ELSEWHERE = ("table1", "table1-late", "table2"), ("office-caltech10", "office-home")
CLAIMS = (
    Claim("adaptation-helps", "JAN is more accurate on the target than the same network trained on the source alone.",
          FULL, SOURCE_ONLY, on=TABLES, also=(*ELSEWHERE, "digits"), where="Tables 1 and 2"),
    Claim("adaptation-helps", "JAN is more accurate on the target than the same network trained on the source alone.",
          RESNET, RESNET_BASE, on=("table1",), where="Table 1", point="as released for ResNet", whose="code"),
    Claim("adaptation-helps", "JAN is more accurate on the target than the same network trained on the source alone.",
          RELEASED, SOURCE_ONLY, on=("table1",), where="Table 1", point="as released for AlexNet", whose="code"),
    Claim("hard-above-easy", "JAN gains more on the tasks with Amazon than between DSLR and Webcam, which are alike.",
          FULL, SOURCE_ONLY, on=("table1", "table1-late"), where="Table 1", tasks=recipes.OFFICE_HARD,
          than=recipes.OFFICE_EASY),
    Claim("joint-above-marginal",
          "Adapting the joint distribution of layers (JAN) is more accurate than that of each layer (DAN).",
          FULL, DAN, on=TABLES, also=(*ELSEWHERE, "digits-compared"), where="Tables 1 and 2"),
    Claim("adversarial-above-plain", "Maximising the JMMD by adversarial layers (JAN-A) is more accurate than JAN.",
          ADVERSARIAL, FULL, on=TABLES, also=(*ELSEWHERE, "digits-compared"), where="Table 1"),
    Claim("a-distance-falls", "JAN's features have a smaller A-distance between the domains than source-only's.",
          FULL, SOURCE_ONLY, on=("a-distance",), where="figure on the A-distance", metric="a_distance", higher=False),
    Claim("a-distance-below-dan", "JAN's features have a smaller A-distance between the domains than DAN's.",
          FULL, DAN, on=("a-distance",), where="figure on the A-distance", metric="a_distance", higher=False),
    Claim("jmmd-falls", "JAN's features and predictions have a smaller JMMD between the domains than source-only's.",
          FULL, SOURCE_ONLY, on=("jmmd",), where="figure on the JMMD", metric="joint_mmd", higher=False),
    Claim("jmmd-below-dan", "JAN's features and predictions have a smaller JMMD between the domains than DAN's.",
          FULL, DAN, on=("jmmd",), where="figure on the JMMD", metric="joint_mmd", higher=False),
    Claim("lambda-rises", "Accuracy rises with lambda up to a moderate value, the grid's middle: half the bell shape.",
          FULL, FULL, on=("lambda-office",), where="figure on lambda",
          better_setting="weight=0.1", worse_setting="weight=0.01"),
    Claim("lambda-falls", "Accuracy falls beyond a moderate lambda, the grid's middle: the bell's other half.",
          FULL, FULL, on=("lambda-office",), where="figure on lambda",
          better_setting="weight=0.1", worse_setting="weight=1.0"),
)
# fmt: on

PAPER = Paper(
    title="Deep Transfer Learning with Joint Adaptation Networks",
    authors="Mingsheng Long, Han Zhu, Jianmin Wang, Michael I. Jordan",
    venue="ICML",
    year=2017,
    link="https://proceedings.mlr.press/v70/long17a.html",
    experiments=EXPERIMENTS,
    claims=CLAIMS,
    easy="The loss is a product of kernels, and three released networks show the authors' constants.",
    difficult=(
        "The three released networks differ from the paper and from each other in kernels, weights and layers, "
        "and none has the adversarial form."
    ),
    published_rows=frozen(
        {
            "source-only": ("ResNet-50", "AlexNet"),
            DDC.label: "DDC",
            **{row: row for row in ("TCA", "DAN", "JAN", "JAN-A")},
        }
    ),
)

METHOD = Method(
    config=Config,
    build=build,
    step=step,
    variants=VARIANTS,
    paper=PAPER,
    chosen=frozen({"weight": WIDE}),
    fixed=("authors", "authors-resnet", "authors-resnet-source"),
    groups=groups,
)
