"""SDT: Simultaneous Deep Transfer Across Domains and Tasks (Tzeng, Hoffman, Darrell, Saenko; ICCV 2015).

All source images and a few target images have labels.  Two terms are added to the cross-entropy L_C of the labelled
images of both domains: the features should not tell the domains apart, and a labelled target image should be confused
with other classes in the same way as source images of its class are:

    min_{repr, C}  L_C(x_S, y_S, x_T, y_T)  +  lambda L_conf(x_S, x_T, theta_D)  +  nu L_soft(x_T, y_T)

*Domain confusion.*  A classifier theta_D on fc7 outputs q, the softmax over the D = 2 domains.  It learns the domains
y_D; the representation learns to make it find all domains equally likely:

    min_{theta_D}  L_D = -sum_d 1[y_D = d] log q_d            min_{repr}  L_conf = -sum_d (1/D) log q_d

The two objectives are opposed, so they are minimised alternately, each with the other's parameters of the previous
iteration.

*Soft labels.*  The network trained on the source alone, theta^S, says what its classes look like.  The soft label of
class k is its mean softened prediction over the source images of that class, computed once; the labelled target images
learn to be predicted like that, at the same temperature:

    l^(k) = mean over x_S of class k of softmax(theta_C^S' f(x_S; repr^S) / tau)
    L_soft = -sum_i l_i^(y_T) log p_i,       p = softmax(theta_C' f(x_T; repr) / tau)

Training: fine-tune on the source; compute the soft labels; from these weights, train everything jointly.

Constants of the paper: lambda = 0.01, nu = 0.1; CaffeNet with a new fc8, repr = conv1 .. fc7.  tau = 2 is not stated in
what was read of the paper.  Office-31, six tasks, five splits, 20 labelled source images per class for amazon or 8 for
the others.  *Supervised*: plus 3 labelled target images of every class; tested on the other target images.
*Semi-supervised*: plus 10 labelled target images of each of 15 classes; tested on the 16 other classes, which have no
hard labels in L_C.  The 15 are assumed to be the alphabetically first (``datasets.splits`` says why); under the
protocol ``semi-supervised-random`` they are drawn at random.  The prediction is assumed to be the most likely of all 31
classes; ``accuracy_among_tested``, beside the accuracy, uses the most likely of the 16, and ``taken_for_labelled`` is
the share of test images predicted as one of the 15.

The authors' released layer differs (variant ``simultaneous``).  It is theta_D with two outputs, one for each loss, and
one update minimises all losses at once: the weights of theta_D get only L_D's gradient, but the features get the
gradients of both L_D and L_conf.  At equal weights these pull the probability of an image's own domain to 3/4, where
L_conf alone pulls it to 1/2: the domains are kept apart, within limits, and not confused.  That is the layer on a GPU;
its CPU code uses L_D's gradient in place of L_conf's, so the features get L_D's twice.  The network definition, and so
the weights of the two losses, were not found: here lambda weights both gradients of the features, and theta_D learns at
weight 1.

How this suite does it, and deviations:

* ``step`` minimises L_C + lambda L_conf + nu L_soft with theta_D held constant, and ``second_step`` L_D with the
  features held constant: those that ``step`` has just computed, so with the previous iteration's parameters, as in the
  paper.  There is no second pass, so dropout and BatchNorm are as without the term.
* fc7 is the suite's bottleneck, before dropout; theta_D is one linear layer that learns at the new layers' rate.
* Each domain counts half in L_D and L_conf, whatever its number of images in a batch.
* Labelled target images also count as target images in the confusion: they are among the unlabelled training images and
  come as often as any other.
* L_C weights all labelled images alike, source and target: as printed it is a sum over labelled images of one kind, and
  a data layer of Caffe draws from one list.  The paper does not state the proportion.  Batches hold as many labelled
  target as source images; the two means are weighted by the numbers of training images.  In the variants
  ``...-by-domain`` L_C is the mean over the batch, where each domain counts half and a labelled target image as much as
  up to seven source images under ``supervised``.  Where only 15 classes have target labels this matters: their hard
  labels draw the images of the 16 others to these 15.  The studies of lambda, nu, updates and epochs use these
  variants.
* The larger tau, the softer the soft labels.  Here the source network is sure of its training images: at tau = 2 a soft
  label has 0.93 on its own class (``soft_own``, beside the results), so it says little that the hard one does not.
  ``tau`` sweeps it, with and without the hard target labels.
* The source network is ``source_only`` under the same protocol without the target labels, so it is the very network
  that DDC and DAN train for the same split.  The joint training has as many steps, and its rate starts over.
* The paper's theta^S is fine-tuned from ImageNet; LeNet on digits starts from scratch.

What is compared.  All joint trainings start from the source network, so they include its steps as well.  So the
baseline of the tables, "source + target", is the same with lambda = nu = 0: it continues from the source network with
the labels of both domains, and differs in the two terms alone.  The paper does not say what its row of that name was
trained from; "source + target, at once" starts from the pretrained network, as "source" and "target" do.  SDT is shown
over both.

Protocols without target labels leave nothing for L_soft: there the method is "confusion only", compared with the same
training without it.  The paper's measure of domain separation is ``domain_accuracy``, the accuracy of a linear SVM at
telling source and target features apart, on images that it was not trained on: 99 % before and 56 % after confusion in
the paper, for amazon and webcam.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from methods import recipes
from methods.adversarial import scaled_gradient
from methods.contract import (
    Batch,
    Claim,
    Domains,
    Losses,
    Method,
    Need,
    Paper,
    Recipe,
    Row,
    Setup,
    Term,
    added,
    asked,
    classification,
    frozen,
)
from methods.kernels import widened
from methods.network import Network, Passes
from methods.recipes import CLASSIC, FROZEN, LAST_BLOCKS

SOURCE, TARGET = 0, 1
"""d, the domains."""
MOST = 1000
"""Maximum number of images per domain for training and testing the SVM of ``domain_accuracy``."""


@dataclass(frozen=True)
class Config:
    """The paper's full method by default."""

    confusion: float = 0.01
    """lambda, the weight of L_conf; the paper's.  0: no domain classifier."""
    soft: float = 0.1
    """nu, the weight of L_soft; the paper's."""
    temperature: float = 2.0
    """tau, for the soft labels and for the predictions compared with them."""
    update: Literal["alternating", "simultaneous"] = "alternating"
    """Whether theta_D and the rest learn alternately (the paper's), or in one update as in the authors' layer."""
    labels: Literal["both", "source", "target"] = "both"
    """Domains whose labels are used; the paper's rows "Source CNN" and "Target CNN" use one each."""
    each_image: bool = True
    """Whether L_C is the mean over all labelled training images; otherwise over a batch, which holds as many labelled
    target images as source images."""
    continued: bool = True
    """Whether training continues from the network trained on the source, or starts from the pretrained one."""
    hard_target: bool = added(True)
    """Whether L_C includes the labelled target images; otherwise their labels count only through the soft labels."""


JOINT = {
    "default": Config(),
    "source-target": Config(confusion=0.0, soft=0.0),
    "confusion": Config(soft=0.0),
    "soft": Config(confusion=0.0),
    "simultaneous": Config(update="simultaneous"),
}
"""Variants trained on the labels of both domains, from the source network."""
ONE_DOMAIN = Config(confusion=0.0, soft=0.0, each_image=False, continued=False)
"""Labels of one domain alone, so there is nothing to weight."""
BY_DOMAIN = {
    "by-domain" if name == "default" else f"{name}-by-domain": replace(config, each_image=False)
    for name, config in JOINT.items()
}
VARIANTS = frozen(
    {
        **JOINT,
        "source": replace(ONE_DOMAIN, labels="source"),
        "target": replace(ONE_DOMAIN, labels="target"),
        "at-once": Config(confusion=0.0, soft=0.0, continued=False),
        "soft-alone": Config(confusion=0.0, hard_target=False),
        "no-hard": Config(hard_target=False),
        **BY_DOMAIN,
    }
)


class SDT(nn.Module):
    """The network, the domain classifier and the soft labels."""

    soft_labels: Tensor
    """l^(k) in row k, float64, (classes, classes); 0 before they are computed and if they are not used."""

    labelled_target_share: Tensor
    """Share of labelled target images among the labelled training images, float64."""

    def __init__(self, config: Config, network: Network) -> None:
        super().__init__()
        self.config = config
        self.network = network
        self.domain = nn.Linear(network.layer_sizes["fc7"], 2) if config.confusion > 0 else None
        self.register_buffer("soft_labels", torch.zeros(network.classes, network.classes, dtype=torch.float64))
        self.register_buffer("labelled_target_share", torch.zeros((), dtype=torch.float64))
        # Lives from one step to its second step; training is never interrupted in between.
        self.features: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (N, classes)."""
        logits: Tensor = self.network(x)
        return logits


def build(config: Config, network: Network) -> SDT:
    """Wraps the network."""
    return SDT(config, network)


def needs(config: Config, recipe: Recipe) -> dict[str, Need]:
    """The network trained on the source alone, whatever target labels the protocol grants."""
    return {"source": Need("source_only", labelled_target=False)} if config.continued else {}


def init_from(model: SDT, needed: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Takes over all weights of the source network."""
    if model.config.continued:
        model.network.load_state_dict(needed["source"])


@torch.no_grad()
def begin(model: SDT, domains: Domains) -> None:
    """Computes the soft labels, from the source network in evaluation mode, and counts the labelled images."""
    source, labelled_target = (sum(len(y) for _, y in part()) for part in (domains.source, domains.labelled_target))
    model.labelled_target_share.fill_(labelled_target / (source + labelled_target))
    if model.config.soft > 0:
        model.network.eval()
        softened = ((model.network(x) / model.config.temperature, y) for x, y in domains.source())
        model.soft_labels.copy_(class_means(softened, model.network.classes))


def class_means(batches: Iterable[tuple[Tensor, Tensor]], classes: int) -> Tensor:
    """Mean softmax over the samples of each class, float64, (classes, classes); 0 for a class without any.

    Args:
        batches: logits (N, classes), already divided by the temperature, and labels (N,).
        classes: number of classes.
    """
    sums = torch.zeros(classes, classes, dtype=torch.float64)
    counts = torch.zeros(classes, 1, dtype=torch.float64)
    for logits, y in batches:
        sums, counts = sums.to(logits.device), counts.to(logits.device)
        sums.index_add_(0, y, logits.double().softmax(1))
        counts.index_add_(0, y, torch.ones_like(y, dtype=torch.float64)[:, None])
    return sums / counts.clamp(min=1)


# The losses


def domain_loss(source: Tensor, target: Tensor) -> Tensor:
    """L_D from the domain classifier's logits, (n, 2) and (m, 2): each domain's mean cross-entropy, a half each."""
    pairs = ((widened(source), SOURCE), (widened(target), TARGET))
    return torch.stack([-logits.log_softmax(1)[:, domain].mean() for logits, domain in pairs]).mean()


def confusion_loss(source: Tensor, target: Tensor) -> Tensor:
    """L_conf from the domain classifier's logits, (n, 2) and (m, 2): cross-entropy against the uniform distribution."""
    return torch.stack([-widened(logits).log_softmax(1).mean() for logits in (source, target)]).mean()


def soft_loss(logits: Tensor, soft_labels: Tensor, temperature: float) -> Tensor:
    """L_soft from the class logits of labelled target images, (k, classes), and the soft labels of their classes."""
    log_p = (widened(logits) / temperature).log_softmax(1)
    return -(soft_labels.to(log_p.dtype) * log_p).sum(1).mean()


def labelled_loss(model: SDT, passes: Passes, batch: Batch) -> Term:
    """L_C: the mean over the labelled images of the batch, or an estimate of the mean over all training images."""
    if passes.labelled_target is None or batch.labelled_target_y is None:
        return classification(passes, batch)
    if not model.config.hard_target:
        return Term(cross_entropy(passes.source["fc8"], batch.source_y))
    if not model.config.each_image:
        return classification(passes, batch)
    share = model.labelled_target_share.float()
    source = cross_entropy(passes.source["fc8"], batch.source_y)
    labelled_target = cross_entropy(passes.labelled_target["fc8"], batch.labelled_target_y)
    return Term((1 - share) * source + share * labelled_target)


def learned_from(config: Config, batch: Batch) -> Batch:
    """The batch with the labels that a row uses; with the target's alone, its images take the place of the source's."""
    if config.labels == "both":
        return batch
    if config.labels == "target":
        if batch.labelled_target_x is None or batch.labelled_target_y is None:
            raise ValueError("the variant learns from target labels alone, and this protocol grants none")
        batch = batch._replace(source_x=batch.labelled_target_x, source_y=batch.labelled_target_y)
    return batch._replace(labelled_target_x=None, labelled_target_y=None)


def step(model: SDT, batch: Batch) -> Losses:
    """L_C, L_conf and L_soft with theta_D held constant; also L_D if the update is simultaneous."""
    config, batch = model.config, learned_from(model.config, batch)
    needed = model.domain is not None
    passes = model.network.passes(batch.source_x, batch.target_x, batch.labelled_target_x, target_needed=needed)
    losses = {"classification": labelled_loss(model, passes, batch)}
    if model.domain is not None:
        assert passes.target is not None
        features = passes.source["fc7"], passes.target["fc7"]
        weight, bias = model.domain.weight.detach(), model.domain.bias.detach()
        confused = confusion_loss(*(linear(f, weight, bias) for f in features))
        losses["confusion"] = Term(confused, config.confusion)
        if config.update == "simultaneous":
            told = domain_loss(*(model.domain(scaled_gradient(f, config.confusion)) for f in features))
            losses["domain"] = Term(told)
        else:
            model.features = features[0].detach(), features[1].detach()
    if config.soft > 0 and passes.labelled_target is not None and batch.labelled_target_y is not None:
        value = soft_loss(passes.labelled_target["fc8"], model.soft_labels[batch.labelled_target_y], config.temperature)
        losses["soft_labels"] = Term(value, config.soft)
    return losses


def second_step(model: SDT, batch: Batch) -> Losses:
    """L_D on the features that the step has just computed, held constant; nothing if the step has already done it."""
    if model.domain is None or model.config.update == "simultaneous":
        return {}
    assert model.features is not None, "the step comes first"
    source, target = model.features
    return {"domain": Term(domain_loss(model.domain(source), model.domain(target)))}


# What is reported


def matrices(model: SDT) -> dict[str, Tensor]:
    """The soft labels, a row for each class."""
    return {"soft_labels": model.soft_labels} if model.config.soft > 0 else {}


def diagnostics(model: SDT, domains: Domains) -> dict[str, float]:
    """Mean weight of the soft labels on their own class, and how well an SVM tells the domains apart."""
    source = torch.cat([model.network.layers(x)["fc7"] for x, _ in domains.source()])
    target = torch.cat([model.network.layers(x)["fc7"] for x in domains.target()])
    soft = {"soft_own": float(model.soft_labels.diagonal().mean())} if model.config.soft > 0 else {}
    return {**soft, "domain_accuracy": domain_accuracy(source, target)}


def domain_accuracy(source: Tensor, target: Tensor) -> float:
    """Accuracy in percent of a linear SVM on held-out features of the two domains, (n, width) and (m, width).

    Equally many of both are drawn at random; half of them train it, the others test it.  50 is chance.
    """
    from sklearn.pipeline import make_pipeline  # slow to import, and only needed here
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    random = torch.Generator().manual_seed(0)
    count = min(len(source), len(target), MOST)
    half = count // 2
    drawn = [x.cpu()[torch.randperm(len(x), generator=random)[:count]].double() for x in (source, target)]
    halves = [torch.cat([x[part] for x in drawn]).numpy() for part in (slice(half), slice(half, None))]
    domains = [torch.tensor([SOURCE, TARGET]).repeat_interleave(n).numpy() for n in (half, count - half)]
    machine = make_pipeline(StandardScaler(), SVC(kernel="linear", C=0.01)).fit(halves[0], domains[0])
    return 100 * float(machine.score(halves[1], domains[1]))


# A row takes two trainings here, with up to three batches a step; each is a third as long as the suite's usual one.  At
# half the usual length it took 11 minutes on two slow cores; its difference was +0.37 +- 0.09, the interval from -0.01.
DIGITS = Setup(replace(recipes.DIGITS["digits-mini"], steps=200, epoch=20), protocol="supervised").on("digits-mini")
OFFICE = FROZEN.on("office31", protocol="supervised")
OFFICE_LATE = LAST_BLOCKS.on("office31", protocol="supervised")
HELD_OUT, DRAWN = {"protocol": "semi-supervised"}, {"protocol": "semi-supervised-random"}
TABLE1, TABLE2 = {"published": ("Table1",)}, {"published": ("Table2",)}
OTHERS = ("office-home", "imageclef-da", "folder")
"""Photographs without splits: the protocol is ``full``, without target labels."""
SEPARATED = ("amazon:webcam", "webcam:amazon")
"""The domains that the paper's SVM tells apart."""

FROM_SOURCE = Row("sdt", "source", label="source")
FROM_TARGET = Row("sdt", "target", label="target")
AT_ONCE = Row("sdt", "at-once", label="source + target, at once")
BASELINE = Row("sdt", "source-target", label="source + target")
CONFUSION = Row("sdt", "confusion", label="confusion only")
SOFT = Row("sdt", "soft", label="soft labels only")
SOFT_ALONE = Row("sdt", "soft-alone", label="soft labels only, no hard ones of the target")
FULL = Row("sdt", label="SDT")
NO_HARD = Row("sdt", "no-hard", label="SDT, no hard labels of the target")
SIMULTANEOUS = Row("sdt", "simultaneous", label="SDT, simultaneous")
SOURCE_ONLY = Row("source_only", label="source-only")
CONTINUED = Row("sdt", "source-target", label="source, continued")
PARTS = (FROM_SOURCE, FROM_TARGET, AT_ONCE, BASELINE, CONFUSION, SOFT, FULL)
"""The rows of Table 1."""
OF_OTHERS = (FROM_SOURCE, BASELINE, CONFUSION, SOFT, FULL, NO_HARD)
"""The rows of Table 2, the baseline, and the effect of the hard labels of other classes."""
LATE_ROWS = (FROM_SOURCE, BASELINE, CONFUSION, FULL)
UNSUPERVISED = (SOURCE_ONLY, CONTINUED, CONFUSION)
"""Where no target label is granted."""

# The same rows, with each domain's labelled images making up half of L_C.
AT_ONCE_BY_DOMAIN = Row("source_only", label="source + target, at once, by domain")
BASELINE_BY_DOMAIN = Row("sdt", "source-target-by-domain", label="source + target, by domain")
CONFUSION_BY_DOMAIN = Row("sdt", "confusion-by-domain", label="confusion only, by domain")
SOFT_BY_DOMAIN = Row("sdt", "soft-by-domain", label="soft labels only, by domain")
FULL_BY_DOMAIN = Row("sdt", "by-domain", label="SDT, by domain")
SIMULTANEOUS_BY_DOMAIN = Row("sdt", "simultaneous-by-domain", label="SDT, simultaneous, by domain")
JOINT_BY_DOMAIN = (BASELINE_BY_DOMAIN, CONFUSION_BY_DOMAIN, SOFT_BY_DOMAIN, FULL_BY_DOMAIN)

# fmt: off
EXPERIMENTS = (
    *asked("SDT and its source + target baseline on digits with 3 target labels per class, beside Table 1",
           (BASELINE, FULL, BASELINE_BY_DOMAIN, FULL_BY_DOMAIN), {"digits": DIGITS.on(**TABLE1)}),
    *asked("Table 1, supervised: 3 labelled target images per class", PARTS, {
        "table1": OFFICE.on(**TABLE1)}, baseline=BASELINE, also_over=(AT_ONCE,)),
    *asked("Table 2, semi-supervised: labelled target images of 15 classes, tested on the 16 others", OF_OTHERS, {
        "table2": OFFICE.on(**HELD_OUT, **TABLE2),
        "table2-random": OFFICE.on(**DRAWN)}),
    *asked("Table 1 with the last blocks fine-tuned", (*LATE_ROWS, AT_ONCE), {
        "table1-late": OFFICE_LATE.on(**TABLE1)}, baseline=BASELINE, also_over=(AT_ONCE,)),
    *asked("Table 2 with the last blocks fine-tuned", LATE_ROWS, {
        "table2-late": OFFICE_LATE.on(**HELD_OUT, **TABLE2)}),
    *asked("Domain confusion without any target label, on photographs that the paper does not have", UNSUPERVISED, {
        "unsupervised": FROZEN.on(*OTHERS, seeds=3),
        "unsupervised-late": LAST_BLOCKS.on(*OTHERS)}, baseline=CONTINUED),
    *asked("What SDT's labels and terms contribute on digits, and its two ways to update", (*PARTS, SIMULTANEOUS), {
        "digits-ablation": DIGITS.on(**TABLE1)}, baseline=BASELINE, default=False),
    *asked("Labelled target images of 5 digits, tested on the 5 others, beside Table 2", OF_OTHERS, {
        "digits-held-out": DIGITS.on(**HELD_OUT, **TABLE2)}, default=False),
    *asked("Accuracy on the held-out classes over the temperature tau, with hard target labels and without",
           (FROM_SOURCE, SOFT, SOFT_ALONE, FULL), {
        "tau": OFFICE.on(**HELD_OUT)},
           default=False, sweep=frozen({"temperature": (2.0, 5.0, 10.0)}), unswept=(FROM_SOURCE,)),
    *asked("Table 1 with each domain's labelled images a half of L_C, not all images alike",
           (FROM_SOURCE, FROM_TARGET, AT_ONCE_BY_DOMAIN, *JOINT_BY_DOMAIN), {
        "table1-by-domain": OFFICE}, baseline=BASELINE_BY_DOMAIN, default=False),
    *asked("Table 2 with each domain's labelled images a half of L_C, not all images alike",
           (FROM_SOURCE, *JOINT_BY_DOMAIN), {
        "table2-by-domain": OFFICE.on(**HELD_OUT),
        "table2-random-by-domain": OFFICE.on(**DRAWN)}, default=False),
    *asked("Domain classifier and representation in turn, as in the paper, or at once, as in the authors' layer",
           (BASELINE_BY_DOMAIN, FULL_BY_DOMAIN, SIMULTANEOUS_BY_DOMAIN), {"updates": OFFICE}, default=False),
    *asked("Accuracy and separability of the domains over the weight lambda of the confusion",
           (AT_ONCE_BY_DOMAIN, CONFUSION_BY_DOMAIN), {
        "lambda": OFFICE.on(tasks=CLASSIC)},
           default=False, sweep=frozen({"confusion": (0.0, 0.001, 0.01, 0.1, 1.0)})),
    *asked("Accuracy on the held-out classes over the weight nu of the soft labels",
           (AT_ONCE_BY_DOMAIN, SOFT_BY_DOMAIN), {
        "nu": OFFICE.on(tasks=CLASSIC, **DRAWN)}, default=False, sweep=frozen({"soft": (0.0, 0.01, 0.1, 1.0)})),
    *asked("Soft labels, and which classes the tested images of the held-out classes are taken for; one split",
           (FROM_SOURCE, FULL_BY_DOMAIN), {
        "soft-labels": OFFICE.on(**DRAWN, seeds=1, tasks=frozen({"office31": ("amazon:webcam",)}))},
           default=False, matrices=("soft_labels", "confusion")),
    recipes.selection(BASELINE_BY_DOMAIN, FULL_BY_DOMAIN, protocol="supervised"),
)
HELPS = "SDT is more accurate than training on the labels of both domains alone."
HELD_OUT_HELPS = "SDT is more accurate than the source alone on classes without target labels."
SOFTER = "The soft labels are soft: they have less than 0.9 on their own class."
AMONG = "accuracy_among_tested"
BOTH_DRAWS = ("table2", "table2-random")
CLAIMS = (
    Claim("sdt-helps", HELPS, FULL, BASELINE, on=("table1", "table1-late"), also=("digits",), where="Table 1",
          point="than the source network trained on with them"),
    Claim("sdt-helps", HELPS, FULL, AT_ONCE, on=("table1", "table1-late"), where="Table 1",
          point="than both at once"),
    Claim("confusion-helps", "Domain confusion by itself helps.", CONFUSION, BASELINE, on=("table1",), where="Table 1"),
    Claim("soft-labels-help", "Soft labels by themselves help.", SOFT, BASELINE, on=("table1",), where="Table 1"),
    Claim("target-above-source", "A few target labels are worth more than the whole source.",
          FROM_TARGET, FROM_SOURCE, on=("table1",), where="Table 1"),
    Claim("both-above-target", "The source still adds to a few target labels.",
          BASELINE, FROM_TARGET, on=("table1",), where="Table 1"),
    Claim("domains-confused", "After confusion a linear SVM tells Amazon and Webcam apart less well than before.",
          CONFUSION, FROM_SOURCE, on=("table1", "table1-late"), metric="domain_accuracy", higher=False,
          tasks=SEPARATED, where="text: 99 % before, 56 % after, Amazon and Webcam", published=43.0),
    Claim("confusion-confuses", "It is the confusion that does it: without the term the SVM tells the domains apart.",
          CONFUSION, BASELINE, also=("table1",), metric="domain_accuracy", higher=False),
    Claim("held-out-confusion-helps", "Confusion helps on classes without target labels.",
          CONFUSION, FROM_SOURCE, on=("table2",), also=("table2-random",), where="Table 2"),
    Claim("held-out-soft-labels-help", "Soft labels of other classes help on classes without target labels.",
          SOFT, FROM_SOURCE, on=("table2",), also=("table2-random",), where="Table 2"),
    Claim("held-out-helps", HELD_OUT_HELPS, FULL, FROM_SOURCE, on=("table2", "table2-late"), also=("table2-random",),
          where="Table 2", point="among all 31 classes"),
    Claim("held-out-helps", HELD_OUT_HELPS, FULL, FROM_SOURCE, also=(*BOTH_DRAWS, "table2-late"), metric=AMONG,
          point="among the 16 tested ones"),
    Claim("held-out-both-above-confusion", "On these, confusion with soft labels is better than confusion alone.",
          FULL, CONFUSION, on=("table2",), where="Table 2"),
    Claim("held-out-both-above-soft-labels", "On these, confusion with soft labels is better than soft labels alone.",
          FULL, SOFT, on=("table2",), where="Table 2"),
    Claim("held-out-soft-above-hard", "On these, soft labels beside the hard ones are better than the hard ones alone.",
          SOFT, BASELINE, also=BOTH_DRAWS),
    Claim("held-out-without-hard", "On these, SDT is better off without the hard target labels of the other classes.",
          NO_HARD, FULL, also=BOTH_DRAWS),
    Claim("soft-labels-are-soft", SOFTER, SOFT, SOFT, also=("table1", *BOTH_DRAWS, "tau"), metric="soft_own",
          higher=False, level=0.9),
    Claim("unsupervised-confusion-helps", "Confusion helps without any target label.",
          CONFUSION, CONTINUED, also=("unsupervised",)),
)
# fmt: on

PAPER = Paper(
    title="Simultaneous Deep Transfer Across Domains and Tasks",
    authors="Eric Tzeng, Judy Hoffman, Trevor Darrell, Kate Saenko",
    venue="ICCV",
    year=2015,
    link="https://arxiv.org/abs/1510.02192",
    experiments=EXPERIMENTS,
    claims=CLAIMS,
    easy="The losses are short, and the protocols state how many images of a class are labelled.",
    difficult=(
        "Four things are not stated: which 15 classes are labelled, what the baseline starts from, the "
        "temperature, and the share of labelled images in a batch. Gains of under a point depend on them."
    ),
    published_rows=frozen(
        {
            **{"source": "Source CNN", "target": "Target CNN"},
            **{BASELINE.label: "Source+Target CNN", AT_ONCE.label: "Source+Target CNN"},
            **{"confusion only": "dom confusion only", "soft labels only": "soft labels only"},
            "SDT": "dom confusion+soft labels",
        }
    ),
    not_run=frozen(
        {"section 5.2, ImageNet to Caltech-256 (40 classes)": "the suite has a source for neither set of images"}
    ),
)

METHOD = Method(
    config=Config,
    build=build,
    step=step,
    variants=VARIANTS,
    paper=PAPER,
    needs=needs,
    init_from=init_from,
    begin=begin,
    second_step=second_step,
    matrices=matrices,
    diagnostics=diagnostics,
)
