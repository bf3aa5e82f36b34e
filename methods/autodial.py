"""AutoDIAL: Automatic DomaIn Alignment Layers (Carlucci, Porzi, Caputo, Ricci, Rota Bulo; ICCV 2017).

A domain alignment layer normalises the two domains of a batch, each by the statistics of a mixture of both:

    q_st = alpha q_s + (1 - alpha) q_t,      q_ts = alpha q_t + (1 - alpha) q_s,      alpha in [0.5, 1]
    DA(x_s; alpha) = (x_s - mu_st) / sqrt(eps + var_st),      DA(x_t; alpha) = (x_t - mu_ts) / sqrt(eps + var_ts)

followed by a scale and a shift per feature that the domains share.  alpha = 1 normalises each domain by its own batch,
as separate BatchNorm does; alpha = 0.5 normalises both by the same statistics.  Every layer learns its alpha along with
the weights, so how much alignment a layer needs is not set by hand.  mu and var are the true moments of the mixture,

    mu_st = alpha E_s[x] + (1 - alpha) E_t[x]
    var_st = alpha E_s[(x - mu_st)^2] + (1 - alpha) E_t[(x - mu_st)^2]

and the gradient flows through them.  The objective adds the entropy of the target's predictions to the source's
cross-entropy:

    min_{theta, alpha}  -(1/n) sum_i log f(x_i)[y_i]  -  (lambda/m) sum_j sum_y f(x_j)[y] log f(x_j)[y]

At test time an image is normalised by the moving averages of the moments in DA(x_t; alpha).

Placement in the paper.  AlexNet: after fc6, fc7 and fc8, in front of the ReLU, all convolutions fixed, no dropout.
Inception-BN: in place of every BatchNorm layer, and none after the classifier.  Here, too, the network decides.  Where
a pretrained trunk has BatchNorm and is trained, every BatchNorm layer is replaced: on the track ``late`` those of the
trained blocks.  Otherwise a layer follows each fully connected layer of the head, bottleneck (fc7) and logits (fc8),
and there is no dropout: the track ``frozen``, AlexNet, LeNet without BatchNorm.  A network with BatchNorm that is
trained from scratch, LeNet-BN, has both: its BatchNorm layers are replaced, and one more layer follows the logits, as
in the released AlexNet definition and in later papers' digits.  Variant ``no-last-layer`` leaves that layer out, as
this suite once did.

Constants of the authors' released code (two network definitions, no solver): alpha one number per layer, initially 1,
clipped to [0.5, 1] before each forward pass, learned at the fine-tuned layers' rate (a tenth of the new classifier's)
without decay, scale and shift likewise; eps 1e-5; moving averages with momentum 0.999 (0.95 in lines that are commented
out), updated with variances multiplied by m / (m - 1), m the responses of both domains; lambda 0.1; batches split by
the sizes of the domains, 117 + 139 images for AlexNet, 32 + 16 for Inception-BN.  Variant ``authors`` has all of these.

Deviations:

* The moving averages keep 0.95 at each step: our trainings are a few hundred steps long, and a network trained from
  scratch outruns an average over a thousand.  They are corrected for their start (the first step's moments count in
  full, not those of a standard normal distribution), so they hold after any number of steps.  Variant ``slow-average``
  keeps 0.999, corrected in the same way.
* var is the moment above, without a correction for the batch size, in training and in the averages.
* Scale and shift learn at the rate of the layer they follow and decay as BatchNorm's do in the baseline.
* On digits a batch has equally many images of both domains, as in later papers' digits; ``by-size`` splits it by the
  sizes of the domains, which on USPS to MNIST leaves 14 source images beside 114 target images.
* Target images whose labels the protocol grants count as target in the layers' statistics and as labelled in the loss.
* A layer that replaces BatchNorm keeps its place, eps, scale and shift.
* The network is the suite's, with two fully connected layers in its head; on the tracks ``frozen`` and ``late`` images
  come as cached activations.  Rates and numbers of steps are the suite's, since the paper's solver is not released.

The baseline.  AutoDIAL changes the normalisation, so its fair baseline has the same layers at the same places, the same
batches, and the source's statistics: BatchNorm in the suite's mode ``source`` (``aligned=False``), where training does
not see the target.  Where BatchNorm is replaced, this is ``source_only`` itself, bit for bit.  Where layers are added
to the head, it is the variant ``source``; ``source_only`` stands beside it, without normalisation and with dropout, and
the difference between the two is the effect of BatchNorm in the head.  Domain distances in the records are measured on
features normalised by the target's statistics, for source images too.

AdaBN.  The paper's row of that name is AdaBN as its authors define it, so ``methods.adabn`` stands for it, on a network
trained with the source's statistics.  Its baseline is ``source_only``, not the one for layers in the head, so the two
are compared by their accuracies.  "alpha = 1, no entropy" is the closest that AutoDIAL's own layers come to it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm
from torch.nn.modules.batchnorm import _BatchNorm

from methods import kernels, recipes
from methods.contract import (
    Batch,
    Claim,
    Domains,
    Losses,
    Method,
    Paper,
    ParameterGroup,
    Recipe,
    Row,
    Setup,
    Term,
    added,
    asked,
    classification,
    default_groups,
    frozen,
)
from methods.network import Network, Passes
from methods.recipes import CALTECH, PHOTOS

LEAST, MOST = 0.5, 1.0
"""Range of alpha: from shared statistics to separate ones."""
EPSILON = 1e-5
"""eps of added layers; a layer that replaces BatchNorm keeps BatchNorm's eps."""
FINE_TUNED = 0.1
"""Rate of alpha as a multiple of the new layers' where no layer is fine-tuned: that of fine-tuned ones."""


@dataclass(frozen=True)
class Config:
    """The paper's full method by default."""

    entropy: float = 0.1
    """lambda, the weight of the target's entropy; 0.1 in the released code."""
    alpha: float = 1.0
    """Initial alpha, in [0.5, 1]; 1 in the released code."""
    learned: bool = True
    """Whether alpha is learned; otherwise it stays at its initial value, 1 as in DIAL, or 0.5."""
    aligned: bool = True
    """Whether the layers align; otherwise BatchNorm with the source's statistics takes their places."""
    keep: float = 0.95
    """Momentum of the averages of the target's moments: the share kept at each step; 0.999 in the released code."""
    after_logits: bool = added(True)
    """Whether a network trained from scratch also has a layer after its logits."""
    released: bool = added(False)
    """Whether averaged variances are multiplied by m / (m - 1), and scale and shift learn at a tenth of the new layers'
    rate without decay, as in the released code."""


VARIANTS = frozen(
    {
        "default": Config(),
        "source": Config(entropy=0.0, aligned=False),
        "entropy-only": Config(aligned=False),
        "alignment-only": Config(entropy=0.0),
        "separate": Config(learned=False),
        "shared": Config(alpha=0.5, learned=False),
        "adabn-like": Config(entropy=0.0, learned=False),
        "slow-average": Config(keep=0.999),
        "no-last-layer": Config(after_logits=False),
        "authors": Config(keep=0.999, released=True),
    }
)


class Moments(NamedTuple):
    """Moments of each feature of one domain, or of a mixture."""

    mean: Tensor
    """(features,)."""
    var: Tensor
    """(features,), about the mean; not corrected for the number of samples."""


class _Moments(torch.autograd.Function):
    """Mean and variance over all but the features; ``torch.var_mean`` takes several times as long on the CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        dims = [i for i in range(x.ndim) if i != 1]
        mean = x.mean(dims)
        ctx.save_for_backward(x, mean)
        return mean, (x - per_feature(mean, x)).square_().mean(dims)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """(d_mean + 2 (x - mean) d_var) / N, linear in x."""
        x, mean = ctx.saved_tensors
        d_mean, d_var = (gradient / (x.numel() // x.shape[1]) for gradient in gradients)
        return torch.addcmul(per_feature(d_mean - 2 * mean * d_var, x), x, per_feature(2 * d_var, x))


def per_feature(values: Tensor, x: Tensor) -> Tensor:
    """(features,), reshaped to broadcast against x, (N, features, ...)."""
    return values.view(1, -1, *(1 for _ in x.shape[2:]))


def moments(x: Tensor) -> Moments:
    """Moments of (N, features) or (N, features, height, width)."""
    mean, var = _Moments.apply(x)
    return Moments(mean, var)


def mixture(own: Moments, other: Moments, alpha: Tensor) -> Moments:
    """Moments of alpha own + (1 - alpha) other.

    E[(x - mu)^2] under the mixture is the mean of the variances plus the variance of the means.
    """
    between = alpha * (1 - alpha) * (own.mean - other.mean).square()
    return Moments(
        alpha * own.mean + (1 - alpha) * other.mean,
        alpha * own.var + (1 - alpha) * other.var + between,
    )


class DomainAlignment(nn.Module):
    """A domain alignment layer with its scale and shift, for (N, size) or (N, size, height, width).

    In training the first ``sources`` rows are source images and the rest target images; in evaluation all are
    normalised as target images.

    Args:
        size: number of features.
        config: how alpha starts and is learned, and how the averages move.
        replaced: BatchNorm layer that it replaces, taking over scale, shift, eps and what follows normalisation (an
            activation, perhaps); None for an additional layer.
    """

    alpha: Tensor
    """One number; a parameter if it is learned."""
    mean: Tensor
    """Moving average of mu_ts, (size,)."""
    var: Tensor
    """Moving average of var_ts, (size,)."""
    steps: Tensor
    """Number of steps in the averages, int64."""

    def __init__(self, size: int, config: Config, replaced: _BatchNorm | None = None) -> None:
        super().__init__()
        layer = nn.BatchNorm1d(size, eps=EPSILON) if replaced is None else replaced
        self.weight, self.bias, self.eps, self.keep = layer.weight, layer.bias, layer.eps, config.keep
        self.corrected = config.released
        self.after = nn.Sequential(*layer.children())
        alpha = torch.tensor(config.alpha)
        if config.learned:
            self.alpha = nn.Parameter(alpha)
        else:
            self.register_buffer("alpha", alpha)
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("var", torch.ones(size))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.sources: int | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Aligned, scaled and shifted, shaped like x.

        Raises:
            RuntimeError: in training, if it was not told which rows are source images.
        """
        out: Tensor = self.after(self._aligned(x))
        return out

    def _aligned(self, x: Tensor) -> Tensor:
        if not self.training:
            return batch_norm(x, self.mean, self.var, self.weight, self.bias, training=False, eps=self.eps)
        if self.sources is None:
            raise RuntimeError("a domain alignment layer does not know which rows are source images")
        with torch.no_grad():
            self.alpha.clamp_(LEAST, MOST)
        with kernels.full_precision(x.device):
            parts = torch.split(kernels.widened(x), [self.sources, len(x) - self.sources])
            source, target = (moments(part) for part in parts)
            st, ts = mixture(source, target, self.alpha), mixture(target, source, self.alpha)
            self._average(ts, x.numel() // x.shape[1])
            out = torch.cat([self._normalised(part, m) for part, m in zip(parts, (st, ts), strict=True)])
        return out.to(x.dtype)

    def _normalised(self, x: Tensor, by: Moments) -> Tensor:
        scale = self.weight * torch.rsqrt(by.var + self.eps)
        shift = self.bias - by.mean * scale
        return torch.addcmul(per_feature(shift, x), x, per_feature(scale, x))

    @torch.no_grad()
    def _average(self, target: Moments, responses: int) -> None:
        """Moves the averages; the share of the new moments is such that the weights of all steps so far sum to 1.

        Args:
            target: mu_ts and var_ts.
            responses: number of responses of each feature, over images of both domains.
        """
        var = target.var * (responses / max(responses - 1, 1)) if self.corrected else target.var
        self.steps += 1
        share = (1 - self.keep) / (1 - self.keep ** self.steps.double())
        self.mean += share * (target.mean - self.mean)
        self.var += share * (var - self.var)


class AutoDIAL(nn.Module):
    """The network with its alignment layers, or with BatchNorm in their places."""

    def __init__(self, config: Config, network: Network) -> None:
        super().__init__()
        self.config = config
        self.network = network
        if not normalised_trunk(network) or (config.after_logits and from_scratch(network)):
            add_to_head(network)
        if config.aligned:
            replace_batchnorm(network, config)
        # One pass over both domains, or two where only the source's gives statistics.
        network.batchnorm = "joint" if config.aligned else "source"
        network.train(network.training)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (N, classes)."""
        logits: Tensor = self.network(x)
        return logits

    def layers(self) -> dict[str, DomainAlignment]:
        """The alignment layers from input to output: ``trunk.1``, ..., ``fc7``, ``fc8``."""
        found = {}
        for path, module in self.network.named_modules():
            if isinstance(module, DomainAlignment):
                part = path.split(".")[0]
                found[{"bottleneck": "fc7", "classifier": "fc8"}.get(part, path)] = module
        return found

    def passes(self, source_x: Tensor, target_x: Tensor, labelled_target_x: Tensor | None = None) -> Passes:
        """Activations of a batch, from (n, ...), (m, ...) and (k, ...) inputs; the target's only where needed."""
        for layer in self.layers().values():
            layer.sources = len(source_x)
        needed = self.config.aligned or self.config.entropy > 0
        return self.network.passes(source_x, target_x, labelled_target_x, target_needed=needed)


def normalised_trunk(network: Network) -> bool:
    """Whether the trunk is trained and has BatchNorm: then BatchNorm layers are replaced, otherwise layers added."""
    return network.trunk_rate > 0 and any(isinstance(module, _BatchNorm) for module in network.trunk.modules())


def from_scratch(network: Network) -> bool:
    """Whether nothing was pretrained, so that everything learns at one rate."""
    return network.trunk_rate == 1


def add_to_head(network: Network) -> None:
    """Adds BatchNorm after bottleneck and logits where there is none; removes dropout, which would disturb it."""
    linear, *rest = network.bottleneck
    if not isinstance(rest[0], _BatchNorm):
        size = network.layer_sizes["fc7"]
        network.add_module("bottleneck", nn.Sequential(linear, nn.BatchNorm1d(size, eps=EPSILON), *rest))
    norm = nn.BatchNorm1d(network.classes, eps=EPSILON)
    network.add_module("classifier", nn.Sequential(network.classifier, norm))
    network.dropout.p = 0.0


def replace_batchnorm(network: Network, config: Config) -> None:
    """Replaces each BatchNorm layer by an alignment layer."""
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, _BatchNorm):
                parent.add_module(name, DomainAlignment(layer.num_features, config, layer))


def applies(config: Config, network: Network) -> str | None:
    """Why this network with the source's statistics would not be the baseline, or None."""
    if network.batchnorm in ("none", "source"):
        return None
    return (
        "alignment layers take the place of BatchNorm that normalises the source by its own batches; choose the "
        f"BatchNorm mode 'source', not {network.batchnorm!r}."
    )


def build(config: Config, network: Network) -> AutoDIAL:
    """Puts the alignment layers into the network."""
    return AutoDIAL(config, network)


def groups(model: AutoDIAL) -> list[ParameterGroup]:
    """As usual, but alpha (and as released, scale and shift) at the fine-tuned layers' rate and without decay."""
    layers = model.layers().values()
    alphas = tuple(layer.alpha for layer in layers if isinstance(layer.alpha, nn.Parameter))
    affine = tuple(p for layer in layers for p in (layer.weight, layer.bias)) if model.config.released else ()
    ids = {id(p) for p in (*alphas, *affine)}
    found = [
        dataclasses.replace(group, parameters=tuple(p for p in group.parameters if id(p) not in ids))
        for group in default_groups(model)
    ]
    if alphas:
        found.append(ParameterGroup(alphas, rate=model.network.trunk_rate or FINE_TUNED, decay=False))
    if affine:
        found.append(ParameterGroup(affine, rate=FINE_TUNED, decay=False))
    return found


def entropy(logits: Tensor) -> Tensor:
    """Mean entropy of the predicted distributions, logits (N, classes): a scalar in nats."""
    log_p = kernels.widened(logits).log_softmax(1)
    return -(log_p.exp() * log_p).sum(1).mean()


def step(model: AutoDIAL, batch: Batch) -> Losses:
    """Cross-entropy of the labelled images and entropy of the unlabelled ones."""
    passes = model.passes(batch.source_x, batch.target_x, batch.labelled_target_x)
    losses = {"classification": classification(passes, batch)}
    if model.config.entropy > 0:
        assert passes.target is not None
        losses["entropy"] = Term(entropy(passes.target["fc8"]), model.config.entropy)
    return losses


def diagnostics(model: AutoDIAL, _domains: Domains | None = None) -> dict[str, float]:
    """alpha of each layer, and their mean."""
    alphas = {name: float(layer.alpha.detach().clamp(LEAST, MOST)) for name, layer in model.layers().items()}
    if not alphas:
        return {}
    figures = {f"alpha.{name}": alpha for name, alpha in alphas.items()}
    return {**figures, "alpha.mean": sum(alphas.values()) / len(alphas)}


# LeNet from scratch, at the rate of the suite's other trainings on digits.
DIGITS = Setup(
    frozen(
        {
            "digits-mini": Recipe(steps=300, epoch=30, rate=0.03),
            "digits": Recipe(steps=2000, epoch=200, rate=0.03),
        }
    ),
    backbone="lenet-bn",
).on("digits-mini", "digits")
HEAD = dataclasses.replace(recipes.HEAD, batch=128, by_size=True)
"""256 images of both domains per step, as in the released AlexNet definition; rate and steps as for the suite's other
heads."""
FROZEN = recipes.FROZEN.on(recipe=HEAD)
LATE = recipes.LAST_BLOCKS.on(recipe=dataclasses.replace(recipes.LATE, by_size=True))
"""The last blocks at a tenth of the rate, bottleneck and classifier; 64 images of both domains per step, near the 48 of
the released Inception-BN definition."""


def shared_out(setup: Setup, by_size: bool) -> Setup:
    """The same with each batch split by the sizes of the domains, or equally."""
    its = {key: dataclasses.replace(recipe, by_size=by_size) for key, recipe in setup.recipes.items()}
    return setup.on(recipe=frozen(its))


ENTROPIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Grid for the study of rules that choose lambda; the tables have the released 0.1."""

SOURCE_ONLY = Row("source_only", label="source-only")
SAME_HEAD = Row("autodial", "source", label="source-only, same head")
ADABN = Row("adabn", label="AdaBN")
ADABN_LIKE = Row("autodial", "adabn-like", label="alpha = 1, no entropy")
ENTROPY_ONLY = Row("autodial", "entropy-only", label="entropy only")
ALIGNMENT_ONLY = Row("autodial", "alignment-only", label="alignment only")
SEPARATE = Row("autodial", "separate", label="alpha = 1")
SHARED = Row("autodial", "shared", label="alpha = 0.5")
SLOW = Row("autodial", "slow-average", label="averages keep 0.999")
NO_LAST_LAYER = Row("autodial", "no-last-layer", label="no layer after the logits")
RELEASED = Row("autodial", "authors", label="AutoDIAL, as released")
FULL = Row("autodial", label="AutoDIAL")
PARTS = (ADABN_LIKE, ENTROPY_ONLY, ALIGNMENT_ONLY, SEPARATE, SHARED, SLOW, RELEASED, FULL)
FOUR = (SOURCE_ONLY, SAME_HEAD, ADABN_LIKE, FULL)

# fmt: off
EXPERIMENTS = (
    *asked("AutoDIAL in place of BatchNorm and after the logits on digits, beside the paper's Table 4 (SVHN to MNIST)",
           (SOURCE_ONLY, SAME_HEAD, ADABN, ADABN_LIKE, FULL), {
        "digits": DIGITS.on(seeds=5, published=("Table4 digits",))}, baseline=SAME_HEAD),
    *asked("Table 1: layers after each fully connected layer of the head", FOUR, {
        "table1": FROZEN.on(*PHOTOS, published=("Table1 AlexNet",))}, baseline=SAME_HEAD),
    *asked("Table 2: layers in place of every BatchNorm layer of the last blocks",
           (SOURCE_ONLY, ADABN, ADABN_LIKE, FULL), {
        "table2": LATE.on("office31", "office-caltech10", "office-home", "folder", tasks=CALTECH, batchnorm="source",
                          published=("Table2 Inception-BN",))}),
    *asked("Table 3: Office-31 and Caltech, their ten common classes", FOUR, {
        "table3": FROZEN.on("office-caltech10", tasks=CALTECH, published=("Table3 Office-Caltech",))},
           baseline=SAME_HEAD),
    *asked("What alignment, entropy, the learned alpha and the layer after the logits contribute on digits",
           (SOURCE_ONLY, SAME_HEAD, *PARTS, NO_LAST_LAYER), {
        "ablations": DIGITS}, default=False, baseline=SAME_HEAD),
    *asked("What alignment, entropy and the learned alpha contribute, in the head", (SOURCE_ONLY, SAME_HEAD, *PARTS), {
        "ablations-office": FROZEN.on("office31", published=("Table1 AlexNet",))}, default=False, baseline=SAME_HEAD),
    *asked("Each batch shared out by the sizes of the domains, not equally",
           (SOURCE_ONLY, SAME_HEAD, ADABN_LIKE, FULL, NO_LAST_LAYER), {
        "by-size": shared_out(DIGITS, True).on(seeds=5)}, default=False, baseline=SAME_HEAD),
    *asked("As many source as target images in each batch, not shared out by size, layers in the head", FOUR, {
        "equal-batches-office": shared_out(FROZEN.on("office31", published=("Table1 AlexNet",)), False)},
           default=False, baseline=SAME_HEAD),
    recipes.selection(SAME_HEAD, FULL, recipe=HEAD),
    *recipes.tuning(SAME_HEAD, FULL, weight="entropy", grid=ENTROPIES, photos=FROZEN, digits=DIGITS),
)
ABLATED = ("ablations", "ablations-office")
CLAIMS = (
    Claim("adaptation-helps", "AutoDIAL is more accurate than the same network with the source's statistics.",
          FULL, SOURCE_ONLY, on=("table2",), where="Table 2"),
    Claim("adaptation-helps-the-head", "AutoDIAL is more accurate than the same head with the source's statistics.",
          FULL, SAME_HEAD, also=("table1", "table3", "digits", "by-size")),
    Claim("above-source-only", "AutoDIAL is more accurate than source-only training without its layers.",
          FULL, SOURCE_ONLY, on=("table1", "table3"), also=("digits",), where="Tables 1 and 3"),
    Claim("above-adabn", "AutoDIAL is more accurate than AdaBN, level against level.",
          FULL, ADABN, on=("table2",), also=("digits",), where="Table 2"),
    Claim("above-alignment-of-1", "AutoDIAL is more accurate than its layers at alpha = 1 without entropy.",
          FULL, ADABN_LIKE, also=("table2", "digits")),
    Claim("last-layer-helps", "On a network from scratch the layer after the logits makes AutoDIAL more accurate.",
          FULL, NO_LAST_LAYER, also=("ablations", "by-size")),
    Claim("entropy-helps", "AutoDIAL is more accurate than its alignment alone.", FULL, ALIGNMENT_ONLY, also=ABLATED),
    Claim("alignment-helps", "AutoDIAL is more accurate than the entropy term alone.",
          FULL, ENTROPY_ONLY, also=ABLATED),
    Claim("learned-alpha-above-separate", "A learned alpha is more accurate than alpha fixed at 1.",
          FULL, SEPARATE, also=ABLATED),
    Claim("learned-alpha-above-shared", "A learned alpha is more accurate than alpha fixed at 0.5.",
          FULL, SHARED, also=ABLATED),
    Claim("alpha-below-1", "The learned alpha, averaged over the layers, is below 1: some statistics are shared.",
          FULL, SEPARATE, on=("ablations-office",), also=("ablations",), where="figure on the learned alpha",
          metric="alpha.mean", higher=False),
    Claim("alpha-above-half", "The learned alpha, averaged over the layers, is above 0.5: not all are shared.",
          FULL, SHARED, on=("ablations-office",), also=("ablations",), where="figure on the learned alpha",
          metric="alpha.mean"),
)
# fmt: on

PAPER = Paper(
    title="AutoDIAL: Automatic DomaIn Alignment Layers",
    authors="Fabio Maria Carlucci, Lorenzo Porzi, Barbara Caputo, Elisa Ricci, Samuel Rota Bulò",
    venue="ICCV",
    year=2017,
    link="https://arxiv.org/abs/1704.08082",
    experiments=EXPERIMENTS,
    claims=CLAIMS,
    easy="The layer's moments are fully specified, and two released network definitions give its constants.",
    difficult=(
        "No solver was released. A network trained from scratch becomes confident and wrong under the entropy "
        "term unless its layers and batches are the authors'."
    ),
    published_rows=frozen({"source-only": "Inception-BN source", ADABN.label: "AdaBN", "AutoDIAL": "AutoDIAL"}),
)

METHOD = Method(
    config=Config,
    build=build,
    step=step,
    variants=VARIANTS,
    paper=PAPER,
    groups=groups,
    raised=frozen({"finetune": 2}),
    diagnostics=diagnostics,
    applies=applies,
)
