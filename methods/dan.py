"""DAN: Learning Transferable Features with Deep Adaptation Networks (Long, Cao, Wang, Jordan; ICML 2015).

The objective adds the multi-kernel MMD of the task-specific layers to the source's cross-entropy J:

    min_Theta  (1/n_a) sum_i J(theta(x_i), y_i)  +  lambda sum_{l = 6..8} d_k^2(D_s^l, D_t^l)

D_s^l and D_t^l are the activations of layer l on source and target.  The kernel is a weighted sum of Gaussians,

    k = sum_u beta_u k_u,    k_u(x, y) = exp(-|x - y|^2 / gamma_u),    beta_u >= 0,
    gamma_u = 2^u gamma,     u = -8, -7.5, ..., 8  (33 kernels),       gamma the median squared pairwise distance

and d_k^2 is estimated without bias in linear time on disjoint quad-tuples z_i = (s_{2i-1}, s_{2i}, t_{2i-1}, t_{2i}):

    d_k^2 = (2/n_s) sum_{i = 1..n_s/2} g_k(z_i)
    g_k(z_i) = k(s_{2i-1}, s_{2i}) + k(t_{2i-1}, t_{2i}) - k(s_{2i-1}, t_{2i}) - k(s_{2i}, t_{2i-1})

The weights maximise the power of the two-sample test, d_k^2 / sigma_k, through a quadratic programme for each layer:

    min_beta  beta' (Q + epsilon I) beta    subject to  d' beta = 1,  beta >= 0,    epsilon = 1e-3

with d_u the estimate under k_u alone and Q the covariance of the g of all kernels.  Theta (by SGD) and beta (by the
programme) are optimised alternately.

Constants of the paper: AlexNet with conv1-3 fixed, conv4-5 and fc6-7 fine-tuned, fc8 new at ten times the rate;
momentum 0.9; Caffe's "inv" annealing; base rate cross-validated in 1e-5 .. 1e-2; lambda chosen without target labels,
its sensitivity shown on {0.1, 0.4, 0.7, 1, 1.4, 1.7, 2}.

The authors' released code differs (variant ``authors``): MMD on fc7 and fc8 only; 5 kernels, gamma 2^u with u = -2 .. 2
and gamma the mean, not the median; every beta 1, so the kernels are summed and not averaged, without a quadratic
programme; pairs drawn at random with replacement; activations after dropout; weight 1 per layer, constant; no weight
decay; biases at twice the rate; conv1-3 not fixed.  Its PyTorch successor for ResNet-50 adapts one layer, a bottleneck
of 256, on overlapping tuples (estimate ``cyclic``), with Nesterov momentum and fresh random crops and flips, and
averages ten crops at test time.

We follow the paper.  Deviations:

* gamma is the median over the current batch (both domains, off the diagonal), recomputed at every step for every layer
  and without gradient; the paper's is over the training data.
* The programme's solutions are scaled to sum 1.  Otherwise their scale, and lambda's meaning, would change each time.
* Theta and beta alternate by epoch: d and Q are computed over the quad-tuples of the epoch just finished.  The first
  epoch has uniform weights.  If no d is positive, the programme has no solution and the previous weights stay.
* ``progressive`` raises lambda from 0 by JAN's schedule, lambda (2 / (1 + exp(-10 p)) - 1).  Features learned from
  scratch, which is not the paper's case, can collapse under the full weight from the first step.  ``constant-weight``
  does without it.
* Table 1's row "DDC" is DDC as DAN's authors ran it: one Gaussian kernel at the median, on one layer (variant ``ddc``).
  DDC with its own linear kernel stands beside it.
* The network is the suite's, not AlexNet; its layers are named in ``methods.network``.  fc6 is left out where it is not
  trained.  Quad-tuples are formed within a batch; samples left over count in the source's loss only.
* Weight decay is 5e-4, as in Caffe's reference network; the released code has none.
* lambda is chosen by the suite's label-free rule for each variant separately, from 0.1 to 300 (where the former rule
  chose, on the paper's grid), since the effect of a weight depends on kernels, layers and estimate.  ``authors`` keeps
  the released 1.
* Variant ``authors`` uses all pairs (the unbiased quadratic estimate; random pairs estimate the same with more noise),
  activations before dropout, and the suite's progressive weight.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from methods import kernels, recipes
from methods.contract import (
    Batch,
    Claim,
    Domains,
    Losses,
    Method,
    Paper,
    Row,
    Term,
    asked,
    classification,
    frozen,
    rising,
)
from methods.network import Network
from methods.recipes import BRIEF_LENET, CALTECH, CLASSIC, FROZEN, LAST_BLOCKS, PHOTOS, selection, tuning

EXPONENTS = frozen(
    {
        "paper": kernels.powers(-8, 8, 0.5),
        "authors": kernels.powers(-2, 2, 1),
        "single": (0.0,),
    }
)
"""u of each kernel gamma_u = 2^u gamma, by the family's name."""


@dataclass(frozen=True)
class Config:
    """The paper's full method by default."""

    weight: float = 1.0
    """lambda, the weight of the MMD terms; chosen without target labels in the paper, 1 in the released code."""
    progressive: bool = True
    """Whether lambda rises from 0 as 2 / (1 + exp(-10 p)) - 1; constant in the paper."""
    kernels: Literal["paper", "authors", "single"] = "paper"
    """Gaussian kernels: 33 around the median (the paper's), 5 around the mean, or the median alone (DAN_SK)."""
    estimator: Literal["linear", "cyclic", "unbiased", "biased"] = "linear"
    """Estimate of d_k^2: linear-time on disjoint quad-tuples (the paper's) or on overlapping ones,
    or a quadratic-time one over all pairs."""
    beta: Literal["qp", "uniform", "ones"] = "qp"
    """Kernel weights: from the quadratic programme (the paper's), 1 / kernels each, or 1 each."""
    layers: tuple[str, ...] = ("fc6", "fc7", "fc8")
    """l, the adapted layers; the paper's l = 6 .. 8, without those that the network does not train."""


VARIANTS = frozen(
    {
        "default": Config(),
        "dan7": Config(layers=("fc7",)),
        "dan8": Config(layers=("fc8",)),
        "dan-sk": Config(kernels="single", beta="uniform"),
        "ddc": Config(kernels="single", beta="uniform", layers=("fc7",)),
        "uniform-beta": Config(beta="uniform"),
        "unbiased": Config(estimator="unbiased"),
        "biased": Config(estimator="biased"),
        "cyclic": Config(estimator="cyclic"),
        "authors": Config(kernels="authors", estimator="unbiased", beta="ones", layers=("fc7", "fc8")),
        "constant-weight": Config(progressive=False),
    }
)


class KernelWeights(nn.Module):
    """beta of one layer, and the sums over the current epoch's quad-tuples that the next beta is computed from.

    Args:
        initial: weights of the first epoch, float64, (kernels,).
    """

    beta: Tensor
    """Weights of the kernels, float64, (kernels,)."""
    g_sum: Tensor
    """Sum of g, float64, (kernels,)."""
    gg_sum: Tensor
    """Sum of g g', float64, (kernels, kernels)."""
    tuples: Tensor
    """Number of quad-tuples in the sums, int64."""
    kept: Tensor
    """Number of epochs after which no d was positive, so beta stayed, int64."""

    def __init__(self, initial: Tensor) -> None:
        super().__init__()
        size = len(initial)
        self.register_buffer("beta", initial.clone())
        self.register_buffer("g_sum", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("gg_sum", torch.zeros(size, size, dtype=torch.float64))
        self.register_buffer("tuples", torch.zeros((), dtype=torch.int64))
        self.register_buffer("kept", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def add(self, g: Tensor) -> None:
        """Adds the quad-tuples of one step, g of shape (tuples, kernels), without waiting for the device."""
        g = g.double()
        self.g_sum += g.sum(0)
        self.gg_sum.addmm_(g.T, g)
        self.tuples += len(g)

    @torch.no_grad()
    def solve(self) -> None:
        """beta from the quadratic programme over the sums, which are then reset; does nothing without quad-tuples."""
        count = int(self.tuples)
        if count == 0:
            return
        d = self.g_sum / count
        q = self.gg_sum / count - torch.outer(d, d)
        beta = kernels.kernel_weights(d.cpu().numpy(), q.cpu().numpy())
        if beta is None:
            self.kept += 1
        else:
            self.beta.copy_(torch.from_numpy(beta))
        for total in (self.g_sum, self.gg_sum, self.tuples):
            total.zero_()


class DAN(nn.Module):
    """The network with the kernel weights of its adapted layers."""

    def __init__(self, config: Config, network: Network) -> None:
        super().__init__()
        self.config = config
        self.network = network
        self.exponents: tuple[float, ...] = EXPONENTS[config.kernels]
        size = len(self.exponents)
        initial = torch.full((size,), 1.0 if config.beta == "ones" else 1 / size, dtype=torch.float64)
        self.weights = nn.ModuleDict({layer: KernelWeights(initial) for layer in adapted(config, network)})

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (N, classes)."""
        logits: Tensor = self.network(x)
        return logits


def adapted(config: Config, network: Network) -> list[str]:
    """Those of the configured layers that the network trains."""
    return [layer for layer in config.layers if layer in network.layer_sizes]


def applies(config: Config, network: Network) -> str | None:
    """Why there is nothing to adapt, or None."""
    if adapted(config, network):
        return None
    return f"none of the adapted layers ({', '.join(config.layers)}) is trained in this network"


def build(config: Config, network: Network) -> DAN:
    """Wraps the network."""
    return DAN(config, network)


def trade_off(config: Config, progress: float) -> float:
    """lambda at progress p in 0 .. 1."""
    return config.weight * (rising(progress) if config.progressive else 1.0)


def mk_mmd(model: DAN, layer: str, source: Tensor, target: Tensor) -> Tensor:
    """d_k^2 of one layer's activations, (n, features) and (m, features): a scalar, which may be negative.

    With ``beta="qp"`` the batch's quad-tuples are also added to the layer's sums.
    """
    config, exponents = model.config, model.exponents
    weights = model.weights[layer]
    assert isinstance(weights, KernelWeights)
    linear, learned = config.estimator in kernels.LINEAR_TIME, config.beta == "qp"
    # The linear-time estimate needs all distances only for their median, a quadratic-time one needs g only for beta.
    with torch.set_grad_enabled(torch.is_grad_enabled() and not linear):
        distances = kernels.pair_distances(torch.cat([source, target]))
    gamma = kernels.mean(distances) if config.kernels == "authors" else kernels.median(distances)
    beta = weights.beta.to(distances.dtype)

    if linear or learned:
        with torch.set_grad_enabled(torch.is_grad_enabled() and linear):
            tuples = kernels.quad_tuple_distances(source, target, cyclic=config.estimator == "cyclic")
            g = kernels.quad_tuple_g(kernels.gaussians(tuples, gamma, exponents))
        if learned:
            weights.add(g)
        if linear:
            return torch.dot(g.mean(0), beta)
    kernel = kernels.gaussian_sum(distances, gamma, beta, exponents)
    n, m = len(source), len(target)
    if config.estimator == "unbiased":
        return kernels.mmd_unbiased(kernel, n, m)
    return kernels.mmd_biased(kernel, n, m, diagonal=beta.sum())


def step(model: DAN, batch: Batch) -> Losses:
    """Cross-entropy of the labelled images and the MMD summed over the adapted layers."""
    passes = model.network.passes(batch.source_x, batch.target_x, batch.labelled_target_x)
    source, target = passes.source, passes.target
    assert target is not None
    with kernels.full_precision(batch.source_x.device):
        pairs = [(layer, kernels.widened(source[layer]), kernels.widened(target[layer])) for layer in model.weights]
        mmd = torch.stack([mk_mmd(model, *pair) for pair in pairs])
    return {
        "classification": classification(passes, batch),
        "mmd": Term(mmd.sum(), trade_off(model.config, batch.progress)),
    }


def before_epoch(model: DAN) -> None:
    """Solves every layer's quadratic programme over the epoch just finished."""
    for weights in model.weights.values():
        assert isinstance(weights, KernelWeights)
        weights.solve()


def diagnostics(model: DAN, _domains: Domains | None = None) -> dict[str, float]:
    """Per layer: effective number of kernels, their mean u, and how often beta was kept because no d was positive."""
    figures = {}
    for layer, weights in model.weights.items():
        assert isinstance(weights, KernelWeights)
        share = (weights.beta / weights.beta.sum()).tolist()
        figures[f"beta.{layer}.kernels"] = kernels.effective_number(share)
        figures[f"beta.{layer}.mean_u"] = math.fsum(b * u for b, u in zip(share, model.exponents, strict=True))
        figures[f"beta.{layer}.kept"] = float(weights.kept)
    return figures


LAMBDAS = (0.1, 0.4, 0.7, 1.0, 1.4, 1.7, 2.0)
"""The grid of the paper's sensitivity figure."""
WIDE = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
"""Grid that the rule chooses from."""

HARD = frozen({"office31": ("amazon:webcam",), "office-caltech10": ("caltech:webcam",)})
"""The tasks of the paper's figures on A-distance and on lambda."""
FIGURES = FROZEN.on(*HARD, tasks=HARD, seeds=8)

TCA = Row("shallow", "tca", label="TCA")
SOURCE_ONLY = Row("source_only", label="source-only")
DDC = Row("dan", "ddc", label="DDC, as DAN ran it")
LINEAR_DDC = Row("ddc", label="DDC, linear")
FULL = Row("dan", label="DAN")
ONE_LAYER_7 = Row("dan", "dan7", label="DAN_7")
ONE_LAYER_8 = Row("dan", "dan8", label="DAN_8")
ALL_PAIRS = Row("dan", "unbiased", label="DAN, all pairs")
RELEASED = Row("dan", "authors", label="DAN, as released")
ONE_KERNEL = Row("dan", "dan-sk", label="DAN_SK")
TABLE = (SOURCE_ONLY, TCA, LINEAR_DDC, DDC, ONE_LAYER_7, ONE_LAYER_8, ONE_KERNEL, ALL_PAIRS, RELEASED, FULL)
"""The rows of Tables 1 and 2."""
BOTH = (SOURCE_ONLY, FULL)
OTHER_FORMS = ("cyclic", "uniform-beta", "unbiased", "biased", "authors", "constant-weight")
PARTS = (SOURCE_ONLY, ONE_LAYER_7, ONE_LAYER_8, ONE_KERNEL, *(Row("dan", form) for form in OTHER_FORMS), FULL)
"""The rows of the ablations."""

# fmt: off
EXPERIMENTS = (
    *asked("DAN and its source-only baseline on digits, beside the paper's Table 1 (Office-31)", BOTH, {
        "digits": BRIEF_LENET.on("digits-mini", "digits", published=("Table1",))}),
    *asked("Table 1: all labelled source, all unlabelled target images",
           TABLE, {
        "table1": FROZEN.on(*PHOTOS, published=("Table1",))}),
    *asked("Table 2: Office-31 and Caltech, their ten common classes",
           TABLE, {
        "table2": FROZEN.on("office-caltech10", tasks=CALTECH, published=("Table2",))}),
    *asked("Table 3, unsupervised: 20 or 8 labelled source images per class", BOTH, {
        "table3": FROZEN.on("office31", tasks=CLASSIC, protocol="down-sampled",
                            published=("Table3 classic unsupervised",))}),
    *asked("Table 3, which the paper calls semi-supervised: 3 labelled target images per class too", BOTH, {
        "table3-supervised": FROZEN.on("office31", tasks=CLASSIC, protocol="supervised",
                                       published=("Table3 classic semi-supervised (3 tgt labels)",))}),
    *asked("Table 1 with the last blocks fine-tuned", BOTH, {
        "table1-late": LAST_BLOCKS.on("office31", "office-caltech10", "office-home", "folder", tasks=CALTECH,
                                      published=("Table1", "Table2"))}),
    *asked("Proxy A-distance of the bottleneck's features, the paper's figure", BOTH, {
        "a-distance": FIGURES}, default=False),
    *asked("What DAN's layers, kernels, weights and estimator contribute", PARTS, {
        "ablations": BRIEF_LENET.on("digits-mini"),
        "ablations-office": FROZEN.on("office31", seeds=3)}, default=False, published=("Table1",)),
    *asked("Accuracy over the weight lambda, the paper's sensitivity figure", BOTH, {
        "lambda-sensitivity": BRIEF_LENET.on("digits-mini"),
        "lambda-office": FIGURES}, default=False, sweep=frozen({"weight": LAMBDAS})),
    selection(SOURCE_ONLY, FULL),
    *tuning(SOURCE_ONLY, FULL, ALL_PAIRS, grid=WIDE),
    *recipes.late_trainings(SOURCE_ONLY),
)
CLAIMS = (
    Claim("adaptation-helps", "DAN is more accurate on the target than the same network trained on the source alone.",
          FULL, SOURCE_ONLY, on=("table1", "table1-late", "table2"), also=("digits", "table3", "table3-supervised"),
          where="Tables 1 and 2"),
    Claim("adaptation-helps", "DAN is more accurate on the target than the same network trained on the source alone.",
          RELEASED, SOURCE_ONLY, on=("table1",), where="Table 1", point="as released", whose="code"),
    Claim("hard-above-easy", "DAN gains more on the tasks with Amazon than between DSLR and Webcam, which are alike.",
          FULL, SOURCE_ONLY, on=("table1", "table1-late"), where="Table 1", tasks=recipes.OFFICE_HARD,
          than=recipes.OFFICE_EASY),
    Claim("above-ddc", "DAN is more accurate than DDC with one Gaussian kernel, as DAN's authors ran it.",
          FULL, DDC, on=("table1", "table2"), where="Tables 1 and 2"),
    Claim("above-linear-ddc", "DAN is more accurate than DDC with its own linear kernel.",
          FULL, LINEAR_DDC, also=("table1",)),
    Claim("layers-above-fc7", "Adapting several layers is more accurate than adapting fc7 alone.",
          FULL, ONE_LAYER_7, on=("table1",), also=("ablations",), where="Table 1"),
    Claim("layers-above-fc8", "Adapting several layers is more accurate than adapting fc8 alone.",
          FULL, ONE_LAYER_8, on=("table1",), also=("ablations",), where="Table 1"),
    Claim("kernels-above-one", "Several kernels with optimised weights are more accurate than a single kernel.",
          FULL, ONE_KERNEL, on=("table1",), also=("ablations",), where="Table 1"),
    Claim("a-distance-falls", "DAN's features have a smaller A-distance between the domains than source-only's.",
          FULL, SOURCE_ONLY, on=("a-distance",), where="figure on the A-distance", metric="a_distance", higher=False),
    Claim("lambda-rises", "Accuracy rises with lambda up to a moderate value: the rising half of the bell shape.",
          FULL, FULL, on=("lambda-office",), where="figure on lambda",
          better_setting="weight=1.0", worse_setting="weight=0.1"),
    Claim("lambda-falls", "Accuracy falls beyond a moderate lambda: the falling half of the bell shape.",
          FULL, FULL, on=("lambda-office",), where="figure on lambda",
          better_setting="weight=1.0", worse_setting="weight=2.0"),
)
# fmt: on

PAPER = Paper(
    title="Learning Transferable Features with Deep Adaptation Networks",
    authors="Mingsheng Long, Yue Cao, Jianmin Wang, Michael I. Jordan",
    venue="ICML",
    year=2015,
    link="https://proceedings.mlr.press/v37/long15.html",
    experiments=EXPERIMENTS,
    claims=CLAIMS,
    easy=(
        "The loss is in the released code, and ours agrees with it to rounding; the quadratic programme is one "
        "call of a library."
    ),
    difficult=(
        "The released code is not the printed method: kernels, layers and estimates differ. The paper chooses "
        "the weight without target labels but gives few details of how."
    ),
    not_run=frozen({"A-distance of the raw input": "no cell measures it, only that of the bottleneck's features"}),
    published_rows=frozen(
        {"source-only": "CNN", DDC.label: "DDC", **{row: row for row in ("TCA", "DAN", "DAN_7", "DAN_8", "DAN_SK")}}
    ),
)

METHOD = Method(
    config=Config,
    build=build,
    step=step,
    variants=VARIANTS,
    paper=PAPER,
    chosen=frozen({"weight": WIDE}),
    fixed=("authors",),
    before_epoch=before_epoch,
    diagnostics=diagnostics,
    applies=applies,
)
