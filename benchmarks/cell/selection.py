"""Rules that choose the evaluation of a training that its accuracy is taken from.

``last``     the last iterate: the headline
``entropy``  the least mean entropy of the predictions on the target
``oracle``   the best accuracy on target labels: not a result that a user without labels could have
``ten-best`` mean of the ten best accuracies on test labels: the rule of Yosinski et al., a mild oracle

Where a part of the labelled source is held out, also

``source``   the highest accuracy on the held-out source
``iwcv``     the least importance-weighted risk, mean of w(x) l(x, y) over the held-out source (Sugiyama, Krauledat,
             Mueller; JMLR 2007)
``dev``      the same with a control variate: mean(w l) + eta mean(w) - eta, eta = -cov(w l, w) / var(w) (You et al.;
             ICML 2019)
``snd``      the highest soft neighbourhood density of the target: the mean entropy of each sample's softmax over its
             similarity to all others, of l2-normalised predictions at temperature 0.05 (Saito et al.; ICCV 2021)

l is the cross-entropy.  w(x) = n_train / n_target * p(target | x) / p(source | x) in the bottleneck, by the suite's
linear two-sample classifier of the training's source features and target features; the authors of DEV choose its decay
on a part that they hold out.  Of several evaluations that a rule likes best the earliest is taken.

skada has the same DEV, which the tests compare with where it is installed; its IWCV estimates densities of the inputs,
and its SND normalises over all pairs at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.cell.evaluation import two_sample_classifier

Epoch = dict[str, float]
"""An entry of a training's history."""

BEST = 10
"""How many of the best evaluations the rule ``ten-best`` takes."""
TEMPERATURE = 0.05
"""Of the rule ``snd``."""
SURE = -math.log(np.finfo(np.float64).eps)
"""The largest log-odds of the domains that a weight is made of.  Beyond it a probability is 1 in float64, and the
weight of a sample that leaves no doubt would overflow."""

HELD_OUT = {"source": ("source_accuracy", -1), "iwcv": ("iwcv", 1), "dev": ("dev", 1), "snd": ("snd", -1)}
"""Rule -> what of the history it looks at, and the sign under which the least is the best."""


def select(history: Sequence[Epoch]) -> dict[str, float]:
    """Rule -> test accuracy in percent, for the rules whose criteria the history has; nothing without test labels."""
    if "test_accuracy" not in history[-1]:
        return {}
    found = {
        "last": history[-1]["test_accuracy"],
        "entropy": min(history, key=lambda epoch: epoch["target_entropy"])["test_accuracy"],
        "oracle": max(epoch["test_accuracy"] for epoch in history),
    }
    for rule, (name, sign) in HELD_OUT.items():
        if name in history[0]:
            found[rule] = history[int(np.argmin([sign * epoch[name] for epoch in history]))]["test_accuracy"]
    return found


def ten_best(history: Sequence[Epoch]) -> float:
    """Mean of the ten best test accuracies, in percent."""
    accuracies = sorted((epoch["test_accuracy"] for epoch in history), reverse=True)[:BEST]
    return math.fsum(accuracies) / len(accuracies)


def risks(
    losses: NDArray[np.float64], held_out: NDArray[np.float32], train: NDArray[np.float32], target: NDArray[np.float32]
) -> dict[str, float]:
    """``iwcv`` and ``dev``.

    Args:
        losses: of each held-out source sample, (n,).
        held_out: their features, (n, width), n at least 2.
        train: features of source samples of the training, (m, width).
        target: features of target samples, (k, width).
    """
    domains = np.repeat([0, 1], [len(train), len(target)])
    classifier = two_sample_classifier().fit(np.concatenate([train, target]), domains)
    log_odds = np.clip(classifier.decision_function(held_out), -SURE, SURE)
    weights = len(train) / len(target) * np.exp(log_odds)
    weighted = weights * losses
    variance = np.var(weights, ddof=1)
    eta = -np.cov(weighted, weights)[0, 1] / variance if variance > 0 else 0.0
    return {"iwcv": float(weighted.mean()), "dev": float(weighted.mean() + eta * weights.mean() - eta)}


def neighbourhood_density(logits: Tensor) -> float:
    """``snd`` of the target's logits, (n, classes), n at least 2; in [0, log(n - 1)] nats."""
    p = torch.nn.functional.normalize(logits.double().softmax(1))
    similarity = (p @ p.T / TEMPERATURE).fill_diagonal_(-math.inf)
    log_s = similarity.log_softmax(1).fill_diagonal_(0.0)
    s = similarity.softmax(1)
    return float(-(s * log_s).sum(1).mean())
