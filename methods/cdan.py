"""CDAN: Conditional Adversarial Domain Adaptation (Long, Cao, Wang, Jordan; NeurIPS 2018).  A comparator, not one of
the suite's papers.

The domain classifier D sees features f and predictions g = softmax(G(x)) together, h = (f, g), through a map T:

    min_G  (1/n_s) sum_i L(G(x_i^s), y_i^s)
           + lambda ( (1/n_s) sum_i log D(T(h_i^s)) + (1/n_t) sum_j log(1 - D(T(h_j^t))) )
    max_D  (1/n_s) sum_i log D(T(h_i^s)) + (1/n_t) sum_j log(1 - D(T(h_j^t)))

T is the multilinear map f ⊗ g, of d_f * d_g products, if these are at most 4096, else a randomised one of d products,

    T(f, g) = (1 / sqrt(d)) (R_f f) * (R_g g)            (element by element),

with R_f and R_g fixed and standard normal elements.  *CDAN+E* gives easy examples more weight: each term of both sums
is multiplied by w(H(g)) = 1 + exp(-H(g)), with H the entropy.

Constants of the paper: lambda = 1, ramped up from 0 as (1 - exp(-10 p)) / (1 + exp(-10 p)) for G only; rate
0.01 / (1 + 10 p)^0.75 and momentum 0.9; D has two hidden layers.

The authors' released code (variant ``authors``, of CDAN+E): T treats g as a constant, so the gradient reaches the
predictions only through the weights w; these are divided by their sum over each domain; the loss is the mean over both
domains instead of the sum; half of D's hidden units (1024 each) are dropped; for Office it uses the multilinear map
whatever its size, with the random one as an option.

We follow the paper.  Deviations:

* f is the suite's bottleneck, fc7, before dropout; D has two layers of 1024 units and no dropout.
* d = 1024, the released code's; no value was read in the paper.
* The final value of lambda, 1 in the paper, is chosen by the suite's label-free rule, on a grid around it.
* Annealing, rates and steps are the suite's, so the source-only rows are the same cells as in the other tables.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from methods.adversarial import DomainClassifier, domain_losses, scaled_gradient, told_apart
from methods.contract import (
    Batch,
    Domains,
    Losses,
    Method,
    Paper,
    Row,
    Term,
    classification,
    frozen,
    rising,
)
from methods.kernels import widened
from methods.network import Layers, Network
from methods.recipes import beside

MOST = 4096
"""Largest number of products for the multilinear map."""


@dataclass(frozen=True)
class Config:
    """CDAN as in the paper by default."""

    weight: float = 1.0
    """lambda at the end of training."""
    entropy: bool = False
    """Whether examples are weighted by w(H(g)): CDAN+E."""
    random: int = 1024
    """d, the number of products of the randomised map; 0: the multilinear map whatever its size."""
    hidden: tuple[int, ...] = (1024, 1024)
    """Widths of D's hidden layers."""
    dropout: float = 0.0
    """Probability of dropping a hidden unit of D."""
    released: bool = False
    """Whether T treats g as a constant, weights are divided by their sum, and the loss is a mean over both domains."""


VARIANTS = frozen(
    {
        "default": Config(),
        "entropy": Config(entropy=True),
        "authors": Config(entropy=True, random=0, dropout=0.5, released=True),
    }
)


class CDAN(nn.Module):
    """The network, the domain classifier and, for the randomised map, R_f and R_g."""

    of_features: Tensor
    """R_f, (width of fc7, d)."""
    of_predictions: Tensor
    """R_g, (classes, d)."""

    def __init__(self, config: Config, network: Network) -> None:
        super().__init__()
        self.config = config
        self.network = network
        width, classes = network.layer_sizes["fc7"], network.classes
        self.randomised = config.random > 0 and width * classes > MOST
        products = config.random if self.randomised else width * classes
        self.domain = DomainClassifier(products, config.hidden, config.dropout)
        if self.randomised:
            self.register_buffer("of_features", torch.randn(width, products))
            self.register_buffer("of_predictions", torch.randn(classes, products))

    def mapped(self, f: Tensor, g: Tensor) -> Tensor:
        """T(f, g) of features (N, width) and predictions (N, classes): (N, products)."""
        if not self.randomised:
            return (g[:, :, None] * f[:, None, :]).flatten(1)
        return (f @ self.of_features) * (g @ self.of_predictions) / math.sqrt(self.config.random)

    def told(self, layers: Layers, scale: float = 1.0) -> tuple[Tensor, Tensor]:
        """D's logits (N,) and the examples' weights (N,); the gradient is scaled in front of D and w."""
        f = scaled_gradient(widened(layers["fc7"]), scale)
        z = scaled_gradient(widened(layers["fc8"]), scale)
        g = z.softmax(1)
        logits: Tensor = self.domain(self.mapped(f, g.detach() if self.config.released else g))
        return logits, entropy_weights(z) if self.config.entropy else torch.ones_like(logits)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (N, classes)."""
        logits: Tensor = self.network(x)
        return logits


def entropy_weights(z: Tensor) -> Tensor:
    """w(H(g)) = 1 + exp(-H(g)), in (1, 2], from logits (N, classes)."""
    return 1 + (z.softmax(1) * z.log_softmax(1)).sum(1).exp()


def build(config: Config, network: Network) -> CDAN:
    """Wraps the network."""
    return CDAN(config, network)


def weighed(losses: Tensor, weights: Tensor, *, released: bool) -> Tensor:
    """One domain's part of the loss, a scalar, from its examples' losses and weights, (N,) each."""
    if not released:
        return (weights * losses).mean()
    return (weights * losses).sum() / weights.sum().detach() / 2


def step(model: CDAN, batch: Batch) -> Losses:
    """L of the labelled images and D's loss, with the gradient reversed in front of T."""
    passes = model.network.passes(batch.source_x, batch.target_x, batch.labelled_target_x)
    assert passes.target is not None
    scale = -model.config.weight * rising(batch.progress)
    source, source_weights = model.told(passes.source, scale)
    target, target_weights = model.told(passes.target, scale)
    parts = zip(domain_losses(source, target), (source_weights, target_weights), strict=True)
    loss = torch.stack([weighed(*part, released=model.config.released) for part in parts]).sum()
    return {"classification": classification(passes, batch), "domain": Term(loss)}


def diagnostics(model: CDAN, domains: Domains) -> dict[str, float]:
    """``domains_told``: how many training images D itself tells apart, in percent; 50 is chance."""
    source = torch.cat([model.told(model.network.layers(x))[0] for x, _ in domains.source()])
    target = torch.cat([model.told(model.network.layers(x))[0] for x in domains.target()])
    return {"domains_told": told_apart(source, target)}


WEIGHTS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Grid of the label-free rule."""

METHOD = Method(
    config=Config,
    build=build,
    step=step,
    variants=VARIANTS,
    paper=Paper(
        title="Conditional Adversarial Domain Adaptation",
        authors="Mingsheng Long, Zhangjie Cao, Jianmin Wang, Michael I. Jordan",
        venue="NeurIPS",
        year=2018,
        link="https://arxiv.org/abs/1705.10667",
        experiments=beside(
            WEIGHTS,
            Row("cdan", label="CDAN"),
            Row("cdan", "entropy", label="CDAN+E"),
            Row("cdan", "authors", label="CDAN+E, as released"),
            published=("Office-31 ResNet-50", "Office-Home ResNet-50"),
        ),
        published_rows=frozen({"source-only": "ERM (source only)", "CDAN": "CDAN"}),
        key="TLlib",
        comparator=True,
    ),
    chosen=frozen({"weight": WEIGHTS}),
    fixed=("authors",),
    diagnostics=diagnostics,
)
