"""Deep CORAL: Correlation Alignment for Deep Domain Adaptation (Sun, Saenko; ECCV workshops 2016).  A comparator, not
one of the suite's papers.

The covariances of source and target in the classifier's layer are brought together (equations 1 and 6):

    L_CORAL = 1 / (4 d^2)  |C_S - C_T|_F^2                    L = L_CLASS + sum_i lambda_i L_CORAL

d is the number of units; C_S and C_T are the covariances of a batch (equations 2 and 3),

    C = 1 / (n - 1)  (D' D - (1/n) (1' D)' (1' D)).

Constants of the paper: one term, on fc8 of AlexNet; lambda such that at the end of training the two losses are roughly
equal; fc8 learns ten times as fast as the layers before; batches of 128, rate 1e-3, weight decay 5e-4, momentum 0.9.

Deviations:

* lambda is chosen by the suite's label-free rule on a log-spaced grid.  The paper's own rule also takes several
  trainings and none of their accuracies.
* Rates, batches and steps are the suite's, so the source-only rows are the same cells as in the other tables.

The covariances are about the means, so the means themselves are not aligned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from methods.contract import Batch, Losses, Method, Paper, Row, Term, classification, frozen
from methods.kernels import full_precision, widened
from methods.network import Configured
from methods.recipes import beside


@dataclass(frozen=True)
class Config:
    """Deep CORAL as in the paper by default."""

    weight: float = 1.0
    """lambda."""
    layer: Literal["fc7", "fc8"] = "fc8"
    """The layer whose covariances are aligned; fc8 in the paper."""


VARIANTS = frozen({"default": Config(), "fc7": Config(layer="fc7")})


def coral(source: Tensor, target: Tensor) -> Tensor:
    """L_CORAL of activations (n, d) and (m, d), a scalar; n and m are at least 2."""
    return (_covariance(source) - _covariance(target)).square().sum() / (4 * source.shape[1] ** 2)


def _covariance(x: Tensor) -> Tensor:
    """As ``torch.cov``, which would wait for a GPU to check whether n is 1."""
    centred = x.T - x.T.sum(1, keepdim=True) / len(x)
    return centred @ centred.T / (len(x) - 1)


def step(model: Configured, batch: Batch) -> Losses:
    """Cross-entropy of the labelled images, and L_CORAL."""
    passes = model.network.passes(batch.source_x, batch.target_x, batch.labelled_target_x)
    assert passes.target is not None
    source, target = (widened(layers[model.config.layer]) for layers in (passes.source, passes.target))
    with full_precision(batch.source_x.device):
        distance = coral(source, target)
    return {"classification": classification(passes, batch), "coral": Term(distance, model.config.weight)}


WEIGHTS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Grid of the label-free rule."""

METHOD = Method(
    config=Config,
    build=Configured,
    step=step,
    variants=VARIANTS,
    paper=Paper(
        title="Deep CORAL: Correlation Alignment for Deep Domain Adaptation",
        authors="Baochen Sun, Kate Saenko",
        venue="ECCV workshops",
        year=2016,
        link="https://arxiv.org/abs/1607.01719",
        experiments=beside(
            WEIGHTS,
            Row("deep_coral", label="Deep CORAL"),
            Row("deep_coral", "fc7", label="Deep CORAL, fc7"),
            published=("Office-31 ResNet-50", "Office-Home ResNet-50"),
        ),
        published_rows=frozen({"source-only": "Source-only", "Deep CORAL": "DeepCoral"}),
        key="DeepDA",
        comparator=True,
    ),
    chosen=frozen({"weight": WEIGHTS}),
)
