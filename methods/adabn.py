"""AdaBN: Adaptive Batch Normalization for Practical Domain Adaptation (Li et al.; Pattern Recognition 2018).

A network with BatchNorm is trained on the source.  The idea is that its weights know the classes and the statistics of
its BatchNorm layers know the domain.  So every layer j gets the statistics of all target images (Algorithm 1):

    mu_j = E[x_j],    sigma_j^2 = Var[x_j]                               over all responses x_j to target images
    y_j  = gamma_j (x_j - mu_j) / sigma_j + beta_j                       gamma, beta and all weights as trained

Nothing is learned and there is nothing to tune.  The sums are kept by an online algorithm (Knuth), so any number of
images will do.  Each domain is normalised by its own statistics; with several sources every training mini-batch comes
from one domain.  ``methods.bn_statistics`` works layer by layer: the responses of a layer are computed with the new
statistics of the layers before it.

AdaBN + CORAL also aligns the second moments of the features (Sun, Feng, Saenko; AAAI 2016).  With C_S and C_T the
covariances of source and target features, each standardised within its domain,

    f_S  <-  f_S (C_S + I)^(-1/2) (C_T + I)^(1/2)             then a linear classifier is trained on (f_S, y_S)

Source features are computed under the source's statistics, target features under the target's.

The distance between the domains, before and after (arXiv version 1603.04779, Table 4; form and layers remembered, not
checked): the responses of each channel of a layer are taken as Gaussian in each domain, and

    D = KL(N_S | N_T) + KL(N_T | N_S) = (sigma_S^2 + d^2) / (2 sigma_T^2) + (sigma_T^2 + d^2) / (2 sigma_S^2) - 1,

d = mu_S - mu_T, is averaged over the channels of a shallow and of a deep layer.

Constants of the paper: Inception-BN with ImageNet weights, fine-tuned on the source for 100 epochs at rate 0.01,
divided by ten every 40; for Office the first three Inception groups fixed, the fourth and fifth at a tenth of the rate.
One run, no spread.

No code of the authors is known to us.  Deviations:

* The network and its training are the suite's: the last blocks of the backbone on Office, LeNet with BatchNorm on
  digits.  BatchNorm is in training mode on the source (mode ``source``), so that its weights know source statistics.
* Source statistics, for the baseline and for CORAL's source features, are the moving averages from training.
* Variances are divided by the number of responses, not by one less; the layers keep their epsilon.
* CORAL works on the bottleneck, the suite's last features; the paper's are Inception's pooled output.  The classifier
  is a linear SVM as CORAL's authors train it, one class against the rest with C = 1, instead of the network's own
  softmax.  So the rows with CORAL differ from the others by alignment and classifier together.  On amazon:webcam and
  dslr:amazon, looked at with one seed, the classifier loses: on standardised but unaligned features such an SVM is up
  to 12 points below the softmax, and CORAL is between 3 above and 2 below that SVM.  So whether CORAL adds to AdaBN
  depends on C and on the classifier; ``coral-classifier`` has three values of C, and a softmax (logistic regression of
  all classes at once) instead of the SVM.
* The shallow layer of D is the input of the second adapted BatchNorm layer, the deep one the input of the last; the
  paper's are the outputs of its second convolution and of its last Inception module.  Source responses are computed
  under the source's statistics, as in the baseline.  The layer's epsilon is added to the variances.
* A frozen trunk keeps ImageNet's statistics, and only the head's BatchNorm is adapted.  Experiment ``frozen-trunk``
  shows the trunk under the source's statistics (of 256 images) and under each domain's own, which is AdaBN on weights
  that were never trained under the source's.
* ``mmd`` and ``a_distance`` in the tables are measured with both domains under the statistics of the tested model, for
  AdaBN the target's.

Not run: Caltech-Bing (Table 3) and cloud detection (the journal's Table 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from methods import bn_statistics, contract, coral
from methods.bn_statistics import Batches
from methods.contract import Claim, Domains, Method, Need, Paper, Recipe, Row, added, asked, frozen
from methods.network import Network
from methods.recipes import FROZEN, LAST_BLOCKS, LENET, PHOTOS


@dataclass(frozen=True)
class Config:
    """The paper's method by default."""

    on: str = "source_only"
    """Method of the suite whose trained network, in its default variant, is adapted; the paper adapts one trained on
    the source alone."""
    statistics: Literal["target", "source", "kept"] = "target"
    """Statistics of the BatchNorm layers: the target's (the paper's), those from training, or ImageNet's, under which
    the network is then trained as well."""
    coral: bool = False
    """Whether the classifier is retrained on source features aligned by CORAL."""
    classifier: Literal["svm", "softmax"] = added("svm")
    """The retrained classifier: a linear SVM for each class, or a softmax regression."""
    c: float = added(1.0)
    """Its C, the weight of the loss beside half the squared norm of the weights."""
    divergence: bool = added(False)
    """Whether the symmetric KL divergence of the domains is measured."""
    images: int = 0
    """Number of target images used for the statistics, drawn at random; 0: all of them (the paper's Figure 3)."""
    layers: int = 0
    """Number of adapted BatchNorm layers, counted from the input; 0: all of them (the paper's Figure 4, by blocks of
    its network)."""


VARIANTS = frozen(
    {
        "default": Config(),
        "kept": Config(statistics="kept"),
        "coral": Config(statistics="source", coral=True),
        "adabn-coral": Config(coral=True),
        "adabn-coral-softmax": Config(coral=True, classifier="softmax"),
        "before": Config(statistics="source", divergence=True),
        "after": Config(divergence=True),
        "on-dan": Config(on="dan"),
    }
)


class AdaBN(nn.Module):
    """A trained network, before and after its adaptation."""

    images: Tensor
    """Number of target images behind the statistics, int64; 0 before the adaptation, or without one."""
    layers: Tensor
    """Number of adapted BatchNorm layers, int64."""
    divergences: Tensor
    """D of a shallow and of a deep layer, float64, (2,); 0 before the adaptation and where it is not measured."""

    def __init__(self, config: Config, network: Network) -> None:
        super().__init__()
        self.config = config
        self.network = network
        self.register_buffer("images", torch.zeros((), dtype=torch.int64))
        self.register_buffer("layers", torch.zeros((), dtype=torch.int64))
        self.register_buffer("divergences", torch.zeros(2, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (N, classes)."""
        logits: Tensor = self.network(x)
        return logits


def applies(config: Config, network: Network) -> str | None:
    """Why there is nothing to adapt, or None."""
    count = len(bn_statistics.layers(network))
    if count == 0:
        return "the network has no BatchNorm, and AdaBN changes nothing else"
    if config.layers > count:
        return f"the network has {count} BatchNorm layers, not {config.layers}"
    if config.statistics == "kept" and not (0 < network.trunk_rate < 1 and bn_statistics.layers(network.trunk)):
        return "no layer that is trained has statistics of ImageNet that could be kept"
    other = contract.load(config.on)
    return other.applies(other.variants["default"], network) if other.applies else None


def build(config: Config, network: Network) -> AdaBN:
    """Wraps the network."""
    return AdaBN(config, network)


def needs(config: Config, recipe: Recipe) -> dict[str, Need]:
    """The trained network, shared by all configurations."""
    return {"trained": Need(config.on, batchnorm="kept" if config.statistics == "kept" else "")}


def init_from(model: AdaBN, needed: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Takes over the trained network, from a bare one or from a model that holds it as ``network``."""
    state = needed["trained"]
    inner = {key.removeprefix("network."): value for key, value in state.items() if key.startswith("network.")}
    model.network.load_state_dict(inner or state)


def begin(model: AdaBN, domains: Domains) -> None:
    """Adapts the network, which stays in evaluation mode: no dropout, and no image moves a running statistic."""
    config, network = model.config, model.network
    network.eval()
    source = source_features(network, domains) if config.coral else None
    before = responses(network, lambda: (x for x, _ in domains.source())) if config.divergence else []
    if config.statistics == "target":
        domain = drawn(domains.target, config.images) if config.images else domains.target
        model.layers.fill_(len(bn_statistics.replace(network, domain, config.layers or None)))
        model.images.fill_(sum(len(x) for x in domain()))
    if source is not None:
        target = torch.cat([features(network, x) for x in domains.target()])
        retrain(network, *source, target, classifier=config.classifier, c=config.c)
    if config.divergence:
        pairs = zip(before, responses(network, domains.target), strict=True)
        model.divergences.copy_(torch.stack([symmetric_kl(*pair).mean() for pair in pairs]))


def responses(network: Network, domain: Batches) -> list[tuple[Tensor, Tensor]]:
    """Mean and variance of the inputs of the second and the last BatchNorm layer under the current statistics.

    float64, (channels,) each, the layer's epsilon in the variance.
    """
    names = bn_statistics.in_order(network, next(iter(domain())))
    found = []
    for name in (names[:2][-1], names[-1]):
        layer = bn_statistics.layers(network)[name]
        moments = bn_statistics.moments_at(network, layer, domain())
        found.append((torch.as_tensor(moments.mean), torch.as_tensor(moments.variance) + layer.eps))
    return found


def symmetric_kl(source: tuple[Tensor, Tensor], target: tuple[Tensor, Tensor]) -> Tensor:
    """KL(N_S | N_T) + KL(N_T | N_S) of Gaussians by channel, in nats.

    Args:
        source: means and variances, (channels,) each.
        target: likewise.
    """
    (mean, var), (other_mean, other_var) = source, target
    squared = (mean - other_mean).square()
    return (var + squared) / (2 * other_var) + (other_var + squared) / (2 * var) - 1


def drawn(domain: Batches, count: int) -> Batches:
    """``count`` random examples of a domain, or all of them if it has no more.

    With the same random state a smaller draw is part of a larger one.
    """
    total = sum(len(x) for x in domain())
    chosen = torch.zeros(total, dtype=torch.bool)
    chosen[torch.randperm(total)[:count]] = True

    def batches() -> list[Tensor]:
        parts, first = [], 0
        for x in domain():
            own = chosen[first : first + len(x)]
            first += len(x)
            if own.any():
                parts.append(x[own.to(x.device)])
        return parts

    return batches


# CORAL


@torch.no_grad()
def features(network: Network, x: Tensor) -> Tensor:
    """Bottleneck activations, float64, (N, width)."""
    return network.layers(x)["fc7"].double()


def source_features(network: Network, domains: Domains) -> tuple[Tensor, Tensor]:
    """Bottleneck activations of the source under the network's current statistics, (n, width), and labels, (n,)."""
    pairs = [(features(network, x), y) for x, y in domains.source()]
    return torch.cat([x for x, _ in pairs]), torch.cat([y for _, y in pairs])


def standardisation(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each feature of (n, width); a constant one gets the deviation 1."""
    deviation, mean = torch.std_mean(x, dim=0, correction=0)
    return mean, torch.where(deviation > 0, deviation, torch.ones_like(deviation))


def aligned(source: Tensor, target: Tensor) -> Tensor:
    """Source features whitened and coloured like the target's.

    Args:
        source: standardised, float64, (n, width), n at least 2.
        target: standardised, float64, (m, width), m at least 2.
    """
    identity = torch.eye(source.shape[1], dtype=source.dtype, device=source.device)
    return coral.recoloured(source, torch.cov(source.T) + identity, torch.cov(target.T) + identity)


@torch.no_grad()
def retrain(
    network: Network,
    source: Tensor,
    labels: Tensor,
    target: Tensor,
    *,
    classifier: Literal["svm", "softmax"] = "svm",
    c: float = 1.0,
) -> None:
    """Replaces the network's classifier by a linear one trained on aligned source features.

    The target's standardisation is folded into it, so it takes the bottleneck's activations as they are.

    Args:
        source: (n, width), float64.
        labels: int64, (n,); every class occurs.
        target: (m, width), float64.
        classifier: an SVM for each class, or a softmax regression.
        c: its C.
    """
    from sklearn.linear_model import LogisticRegression  # slow to import, and only needed here
    from sklearn.svm import LinearSVC

    mean, deviation = standardisation(source)
    target_mean, target_deviation = standardisation(target)
    x = aligned((source - mean) / deviation, (target - target_mean) / target_deviation)
    untrained = LinearSVC(C=c, dual=False) if classifier == "svm" else LogisticRegression(C=c)
    found = untrained.set_params(max_iter=10_000).fit(x.cpu().numpy(), labels.cpu().numpy())
    weight, bias = torch.from_numpy(found.coef_).to(x), torch.from_numpy(found.intercept_).to(x)
    if len(weight) == 1:  # with two classes it gives the margin of the second
        weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    weight = weight / target_deviation
    network.classifier.weight.copy_(weight)
    network.classifier.bias.copy_(bias - weight @ target_mean)


def diagnostics(model: AdaBN, _domains: Domains | None = None) -> dict[str, float]:
    """Number of target images behind the statistics and of adapted layers; D where it is measured."""
    counts = {"adapted_images": float(model.images), "adapted_layers": float(model.layers)}
    if not model.config.divergence:
        return counts
    return {**counts, **dict(zip(("kl_shallow", "kl_deep"), model.divergences.tolist(), strict=True))}


SEVERAL = frozen({"office31": ("amazon+dslr:webcam", "amazon+webcam:dslr", "dslr+webcam:amazon")})
"""The tasks of the paper's Table 2."""
TASK = frozen({"office31": ("amazon:webcam",)})
TASKS = frozen({"office31": ("amazon:webcam", "dslr:amazon")})
DIGITS = LENET.on(backbone="lenet-bn")
PLAIN = LAST_BLOCKS.on(batchnorm="source")

SOURCE_ONLY = Row("source_only", label="source-only")
KEPT = Row("adabn", "kept", label="ImageNet statistics kept")
CORAL = Row("adabn", "coral", label="CORAL")
FULL = Row("adabn", label="AdaBN")
FULL_CORAL = Row("adabn", "adabn-coral", label="AdaBN + CORAL")
FULL_CORAL_SOFTMAX = Row("adabn", "adabn-coral-softmax", label="AdaBN + CORAL, softmax")
BEFORE = Row("adabn", "before", label="before AdaBN")
AFTER = Row("adabn", "after", label="after AdaBN")
DAN = Row("dan", label="DAN")
ON_DAN = Row("adabn", "on-dan", label="AdaBN on DAN")
BOTH = (SOURCE_ONLY, FULL)
ALL = (SOURCE_ONLY, CORAL, FULL, FULL_CORAL)

# fmt: off
EXPERIMENTS = (
    *asked("AdaBN and its baseline with source statistics on digits, beside the paper's Table 1 (Office-31)", ALL, {
        "digits": DIGITS.on("digits-mini", "digits", published=("Table1",))}),
    *asked("Table 1: one source; the last blocks trained under source statistics", (KEPT, *ALL), {
        "table1": PLAIN.on(*PHOTOS, published=("Table1",))}, baseline=SOURCE_ONLY),
    *asked("Table 1 on a fixed trunk: only the BatchNorm of the head is adapted", ALL, {
        "table1-frozen": FROZEN.on(*PHOTOS, batchnorm="source", seeds=3, published=("Table1",))}),
    *asked("A fixed trunk under ImageNet's statistics, the source's, or each domain's own", (SOURCE_ONLY,), {
        "frozen-trunk": FROZEN.on("office31", seeds=3)}, default=False, bn_statistics=("imagenet", "source", "own")),
    *asked("Table 2: two sources, every training batch from one of them", (KEPT, *ALL), {
        "table2": PLAIN.on("office31", tasks=SEVERAL, published=("Table2 multi-source",))},
           baseline=SOURCE_ONLY, default=False),
    *asked("Accuracy over the number of target images, the paper's Figure 3; a draw of its own for each seed", BOTH, {
        "target-size": DIGITS.on("digits-mini", seeds=5)},
           default=False, sweep=frozen({"images": (16, 32, 64, 128, 256, 512, 1024)})),
    *asked("Accuracy over the number of target images, the paper's Figure 3; a draw of its own for each seed", BOTH, {
        "target-size-office": PLAIN.on("office31", tasks=TASK, seeds=6, published=("Fig3 caption",))},
           default=False, sweep=frozen({"images": (16, 32, 64, 128, 256, 512)})),
    *asked("Accuracy over the number of adapted BatchNorm layers, from the input on, the paper's Figure 4", BOTH, {
        "blocks": DIGITS.on("digits-mini")}, default=False, sweep=frozen({"layers": (1, 2, 3)})),
    *asked("Accuracy over the number of adapted BatchNorm layers, block by block, the paper's Figure 4", BOTH, {
        "blocks-office": PLAIN.on("office31", tasks=TASKS, cut="blocks.5")},
           default=False, sweep=frozen({"layers": (3, 6, 9, 12, 15, 16)})),
    *asked("AdaBN after DAN: a network that another method has trained, with the target's statistics",
           (*BOTH, DAN, ON_DAN), {"on-dan": DIGITS.on("digits-mini")}, default=False),
    *asked("Symmetric KL divergence of the domains in a shallow and a deep layer, Table 4 of the arXiv version",
           (BEFORE, AFTER), {
        "divergence": PLAIN.on("office31"),
        "divergence-digits": DIGITS.on("digits-mini")}, default=False),
    *asked("What CORAL adds to AdaBN, over the C of the classifier that is trained on its features",
           (FULL, FULL_CORAL, FULL_CORAL_SOFTMAX), {
        "coral-classifier": PLAIN.on("office31")},
           default=False, sweep=frozen({"c": (0.01, 0.1, 1.0)}), unswept=(FULL,)),
)
CORAL_ADDS = "CORAL on AdaBN's features adds to AdaBN."
FEW = "The statistics of few target images are worse than the source's."
CLOSER = "Under each domain's own statistics the domains are less far apart in symmetric KL divergence."
FEWER = "Adapting all BatchNorm layers is more accurate than adapting the first ones alone."
CLAIMS = (
    Claim("adaptation-helps", "With the target's statistics the network is more accurate than with the source's.",
          FULL, SOURCE_ONLY, on=("table1", "table2"), also=("digits", "table1-frozen"), where="Tables 1 and 2"),
    Claim("own-statistics-of-fixed-trunk",
          "A fixed trunk is better under each domain's own statistics than under the source's for both.",
          SOURCE_ONLY, SOURCE_ONLY, also=("frozen-trunk",),
          better_setting="statistics=own", worse_setting="statistics=source"),
    Claim("loses-to-amazon", "Not on every task: from Webcam to Amazon AdaBN loses (57.9 -> 57.4).",
          SOURCE_ONLY, FULL, on=("table1",), where="Table 1", tasks=("webcam:amazon",)),
    Claim("several-lose-to-amazon", "Not on every task: from DSLR and Webcam to Amazon AdaBN loses (60.2 -> 59.3).",
          SOURCE_ONLY, FULL, on=("table2",), where="Table 2", tasks=("dslr+webcam:amazon",)),
    Claim("coral-adds", CORAL_ADDS, FULL_CORAL, FULL, on=("table1",), also=("coral-classifier",), where="Table 1",
          point="with an SVM"),
    Claim("coral-adds", CORAL_ADDS, FULL_CORAL_SOFTMAX, FULL, also=("coral-classifier",), point="with a softmax"),
    Claim("adabn-above-coral", "AdaBN alone is more accurate than CORAL alone.",
          FULL, CORAL, on=("table1",), where="Table 1"),
    Claim("one-batch-is-enough", "The statistics of 64 target images are better than the source's.", FULL, SOURCE_ONLY,
          on=("target-size-office",), also=("target-size",), where="Figure 3", better_setting="images=64"),
    *(
        Claim("few-images-are-not", FEW, SOURCE_ONLY, FULL, on=("target-size-office",), also=("target-size",),
              where="Figure 3", worse_setting=f"images={count}", point=f"{count} images")
        for count in (16, 32)
    ),
    *(
        Claim("domains-closer", CLOSER, AFTER, BEFORE, on=("divergence",), also=("divergence-digits",), higher=False,
              where="arXiv version, Table 4, not checked", metric=f"kl_{layer}", point=f"in a {layer} layer")
        for layer in ("shallow", "deep")
    ),
    Claim("blocks-add-up", FEWER, FULL, FULL, on=("blocks-office",), where="Figure 4", point="than the first block",
          better_setting="layers=16", worse_setting="layers=3"),
    Claim("blocks-add-up", FEWER, FULL, FULL, also=("blocks",), where="Figure 4", point="than the first layer",
          better_setting="layers=3", worse_setting="layers=1"),
)
# fmt: on

PAPER = Paper(
    title="Adaptive Batch Normalization for practical domain adaptation",
    authors="Yanghao Li, Naiyan Wang, Jianping Shi, Xiaodi Hou, Jiaying Liu",
    venue="Pattern Recognition",
    year=2018,
    link="https://doi.org/10.1016/j.patcog.2018.03.005",
    experiments=EXPERIMENTS,
    claims=CLAIMS,
    easy="Nothing is learned or tuned, so for a given network the gain is exact.",
    difficult=(
        "The baseline: whether training uses the source's statistics or ImageNet's decides how much there is "
        "to gain. No code was released, and the paper reports no spread."
    ),
    published_rows=frozen(
        {"source-only": "Inception BN", "CORAL": "CORAL", "AdaBN": "AdaBN", "AdaBN + CORAL": "AdaBN + CORAL"}
    ),
    not_run=frozen(
        {
            "Table 3, Caltech-Bing": "the suite has no source for its 152,337 images, Bing's in particular",
            "Table 4, cloud detection": "it segments satellite images, which the suite neither has nor measures",
        }
    ),
)

METHOD = Method(
    config=Config,
    build=build,
    step=None,
    variants=VARIANTS,
    paper=PAPER,
    needs=needs,
    init_from=init_from,
    begin=begin,
    diagnostics=diagnostics,
    applies=applies,
)
