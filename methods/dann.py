"""DANN: Domain-Adversarial Training of Neural Networks (Ganin, Ustinova, Ajakan, Germain, Larochelle, Laviolette,
Marchand, Lempitsky; JMLR 17, 2016).  A comparator, not one of the suite's papers.

A domain classifier G_d stands on the features G_f beside the label classifier G_y (equation 9):

    E(theta_f, theta_y, theta_d) = (1/n) sum_source L_y(G_y(G_f(x_i)), y_i)
                                   - lambda ( (1/n) sum_source L_d(G_d(G_f(x_i)), 0) + (1/n') sum_target L_d(..., 1) )

    theta_f, theta_y = argmin E                 theta_d = argmax E

L_d is the logistic loss.  Both happen in one update: the gradient that G_f receives from G_d is multiplied by -lambda
(the gradient reversal layer).  lambda rises from 0, lambda_p = 2 / (1 + exp(-10 p)) - 1, for the features only; G_d
itself learns at weight 1, "to ensure that the latter trains as fast as the label predictor" (section 5.2).

Constants of the paper: momentum 0.9; rate 0.01 / (1 + 10 p)^0.75; batches of 64 images of each domain.  G_d is one
layer of 100 units on the small digits network and two of 1024 on a bottleneck of 256 units on AlexNet.

The authors' released network for Office (variant ``authors``) weights L_d by 0.1 and takes the mean over both domains
instead of the sum, drops half of G_d's units, has no ReLU after the bottleneck, and flips and crops the images.

We follow the paper.  Deviations:

* The features are the suite's bottleneck, fc7, before dropout.
* The final value of lambda, 1 in the paper, is chosen by the suite's label-free rule, on a grid around it.
* G_d has two layers of 1024 units on digits, too.
* Variant ``authors`` has the weights and the dropout of the released network, not its bottleneck and images.
* Annealing, rates and steps are the suite's, so the source-only rows are the same cells as in the other tables.  Its
  rates are three to ten times the paper's, at which G_d and G_f may drive each other to infinity: at lambda = 3 the
  loss becomes NaN on five of the six tasks of ``digits-mini``.  The rule does not choose a value at which any training
  diverges.
"""

from __future__ import annotations

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
from methods.network import Network
from methods.recipes import beside


@dataclass(frozen=True)
class Config:
    """DANN as in the paper by default."""

    weight: float = 1.0
    """lambda at the end of training."""
    hidden: tuple[int, ...] = (1024, 1024)
    """Widths of G_d's hidden layers."""
    dropout: float = 0.0
    """Probability of dropping a hidden unit of G_d."""
    domain_weight: float = 1.0
    """The weight of L_d, which scales the gradients of G_d and of the features."""


VARIANTS = frozen(
    {
        "default": Config(),
        "authors": Config(dropout=0.5, domain_weight=0.05),
    }
)


class DANN(nn.Module):
    """The network and the domain classifier."""

    def __init__(self, config: Config, network: Network) -> None:
        super().__init__()
        self.config = config
        self.network = network
        self.domain = DomainClassifier(network.layer_sizes["fc7"], config.hidden, config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (N, classes)."""
        logits: Tensor = self.network(x)
        return logits


def build(config: Config, network: Network) -> DANN:
    """Wraps the network."""
    return DANN(config, network)


def step(model: DANN, batch: Batch) -> Losses:
    """L_y of the labelled images and L_d of the features, with the gradient reversed behind G_d."""
    passes = model.network.passes(batch.source_x, batch.target_x, batch.labelled_target_x)
    assert passes.target is not None
    scale = -model.config.weight * rising(batch.progress)
    source, target = (model.domain(scaled_gradient(layers["fc7"], scale)) for layers in (passes.source, passes.target))
    told = [losses.mean() for losses in domain_losses(source, target)]
    return {
        "classification": classification(passes, batch),
        "domain": Term(torch.stack(told).sum(), model.config.domain_weight),
    }


def diagnostics(model: DANN, domains: Domains) -> dict[str, float]:
    """``domains_told``: how many training images G_d itself tells apart, in percent; 50 is chance."""
    source = torch.cat([model.domain(model.network.layers(x)["fc7"]) for x, _ in domains.source()])
    target = torch.cat([model.domain(model.network.layers(x)["fc7"]) for x in domains.target()])
    return {"domains_told": told_apart(source, target)}


WEIGHTS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Grid of the label-free rule."""

METHOD = Method(
    config=Config,
    build=build,
    step=step,
    variants=VARIANTS,
    paper=Paper(
        title="Domain-Adversarial Training of Neural Networks",
        authors="Yaroslav Ganin, Evgeniya Ustinova, Hana Ajakan, Pascal Germain, Hugo Larochelle, François Laviolette, "
        "Mario Marchand, Victor Lempitsky",
        venue="JMLR",
        year=2016,
        link="https://jmlr.org/papers/v17/15-239.html",
        experiments=beside(
            WEIGHTS,
            Row("dann", label="DANN"),
            Row("dann", "authors", label="DANN, as released"),
            published=("Office-31 ResNet-50", "Office-Home ResNet-50"),
        ),
        published_rows=frozen({"source-only": "ERM (source only)", "DANN": "DANN"}),
        key="TLlib",
        comparator=True,
    ),
    chosen=frozen({"weight": WEIGHTS}),
    fixed=("authors",),
    diagnostics=diagnostics,
)
