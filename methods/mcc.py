"""MCC: Minimum Class Confusion for Versatile Domain Adaptation (Jin, Wang, Long, Wang; ECCV 2020).  A comparator, not
one of the suite's papers.

Nothing is aligned: the predictions on a batch of B target images should not confuse pairs of classes.  With the logits
Z (equations 1 to 7):

    y_ij = exp(Z_ij / T) / sum_j' exp(Z_ij' / T)                   probabilities, rescaled by the temperature T
    W_ii = B (1 + exp(-H(y_i))) / sum_i' (1 + exp(-H(y_i')))       certain examples count more
    C_jj' = y_.j' W y_.j'                                          how often classes j and j' are predicted together
    C~_jj' = C_jj' / sum_j'' C_jj''                                all classes count the same
    L_MCC = (1 / |C|) sum_j sum_{j' != j} |C~_jj'|

    min  L_CE + mu L_MCC

H is the entropy, |C| the number of classes.  Constants of the paper: mu = 1; SGD with momentum 0.9, the rate annealed
as in DANN.  T is 2.5 for Office in the authors' released code, which agrees with the above; it stops the gradient
through W, and so do we.

Deviations:

* mu is chosen by the suite's label-free rule on a grid around the paper's value.
* Annealing, rates and steps are the suite's, so the source-only rows are the same cells as in the other tables.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from methods.contract import Batch, Losses, Method, Paper, Row, Term, classification, frozen
from methods.kernels import widened
from methods.network import Configured
from methods.recipes import beside


@dataclass(frozen=True)
class Config:
    """MCC as in the paper by default."""

    weight: float = 1.0
    """mu."""
    temperature: float = 2.5
    """T; 1 leaves the probabilities as they are."""


VARIANTS = frozen({"default": Config(), "temperature-1": Config(temperature=1.0)})


def class_confusion(logits: Tensor, temperature: float) -> Tensor:
    """L_MCC of target logits, (B, classes), a scalar in [0, 1]."""
    y = (logits / temperature).softmax(1)
    certain = 1 + torch.special.entr(y.detach()).sum(1).neg().exp()
    weights = len(y) * certain / certain.sum()
    together = (weights[:, None] * y).T @ y
    whole = together.sum(1, keepdim=True).clamp(min=torch.finfo(y.dtype).tiny)  # a class that is never predicted
    shares = together / whole
    loss: Tensor = (shares.sum() - shares.trace()) / len(shares)
    return loss


def step(model: Configured, batch: Batch) -> Losses:
    """Cross-entropy of the labelled images, and L_MCC of the target's predictions."""
    passes = model.network.passes(batch.source_x, batch.target_x, batch.labelled_target_x)
    assert passes.target is not None
    confusion = class_confusion(widened(passes.target["fc8"]), model.config.temperature)
    return {"classification": classification(passes, batch), "confusion": Term(confusion, model.config.weight)}


WEIGHTS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Grid of the label-free rule."""

METHOD = Method(
    config=Config,
    build=Configured,
    step=step,
    variants=VARIANTS,
    paper=Paper(
        title="Minimum Class Confusion for Versatile Domain Adaptation",
        authors="Ying Jin, Ximei Wang, Mingsheng Long, Jianmin Wang",
        venue="ECCV",
        year=2020,
        link="https://arxiv.org/abs/1912.03699",
        experiments=beside(
            WEIGHTS,
            Row("mcc", label="MCC"),
            Row("mcc", "temperature-1", label="MCC, T = 1"),
            published=("Office-31 ResNet-50", "Office-Home ResNet-50"),
        ),
        published_rows=frozen({"source-only": "ERM (source only)", "MCC": "MCC"}),
        key="TLlib",
        comparator=True,
    ),
    chosen=frozen({"weight": WEIGHTS}),
)
