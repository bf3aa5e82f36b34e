"""What is measured on a model: accuracy, target entropy, and distances between the domains' features.

The rules choose the evaluation during training whose accuracy is reported.

``last``     the last iterate: the headline
``entropy``  the lowest mean entropy of the predictions on the target
``oracle``   the best accuracy on target labels: not a result that a user without labels could have
``ten-best`` mean of the ten best accuracies on test labels: the rule of Yosinski et al., a mild oracle

If part of the labelled source is held out, also

``source``   the highest accuracy on the held-out source
``iwcv``     the lowest importance-weighted risk, mean of w(x) l(x, y) over the held-out source (Sugiyama, Krauledat,
             Mueller; JMLR 2007)
``dev``      the same with a control variate: mean(w l) + eta mean(w) - eta, eta = -cov(w l, w) / var(w) (You et al.;
             ICML 2019)
``snd``      the highest soft neighbourhood density of the target: the mean entropy of each sample's softmax over its
             similarity to all others, from l2-normalised predictions at temperature 0.05 (Saito et al.; ICCV 2021)

l is the cross-entropy.  w(x) = n_train / n_target * p(target | x) / p(source | x) in the bottleneck, from the suite's
linear two-sample classifier of source training features against target features; the authors of DEV choose its decay on
a part that they hold out.  If a rule ties between evaluations, the earliest is used.

skada has the same DEV, which the tests compare with if it is installed; its IWCV estimates densities of the inputs, and
its SND normalises over all pairs at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.networks.feeding import Inputs, in_order
from methods import kernels
from methods.contract import network_of

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


FEWEST = 4
"""Minimum number of examples per domain for measuring distances: two to train on and two to test on."""


@dataclass(frozen=True)
class Evaluator:
    """Labelled examples that training knows nothing about; the only holder of target labels."""

    inputs: Inputs
    labels: Tensor
    """int64, (M,)."""
    rows: Tensor | None = None
    """Which of the inputs are tested, int64, (M,); None: all of them."""

    @property
    def knows(self) -> bool:
        """Whether there are labels to test with; a user's own target may have none."""
        return bool((self.labels >= 0).all())

    def accuracy(self, logits: Tensor) -> float:
        """Share of the tested examples classified correctly, in percent.

        Args:
            logits: (N, classes), of all inputs in order; the largest over all classes counts.
        """
        return float((self._predicted(logits) == self.labels).double().mean() * 100)

    def among_tested(self, logits: Tensor) -> dict[str, float]:
        """Measures for testing on classes without labels while others have some; in percent.

        ``accuracy_among_tested``: as ``accuracy``, but the largest logit among the tested classes counts.
        ``taken_for_labelled``: share of the test examples predicted as a class that is not tested.

        Args:
            logits: as for ``accuracy``.
        """
        tested = torch.unique(self.labels)
        rows = logits if self.rows is None else logits[self.rows]
        right = tested[rows[:, tested].argmax(1)] == self.labels
        strayed = ~torch.isin(rows.argmax(1), tested)
        shares = {"accuracy_among_tested": right, "taken_for_labelled": strayed}
        return {name: float(share.double().mean() * 100) for name, share in shares.items()}

    def confusion(self, logits: Tensor) -> Tensor:
        """Number of test examples of each class (row) predicted as each class (column).

        Args:
            logits: as for ``accuracy``.

        Returns:
            int64, (classes, classes).
        """
        classes = logits.shape[1]
        pairs = self.labels * classes + self._predicted(logits)
        return torch.bincount(pairs, minlength=classes**2).view(classes, classes)

    def _predicted(self, logits: Tensor) -> Tensor:
        tested = logits if self.rows is None else logits[self.rows]
        return tested.argmax(1)


@torch.no_grad()
def logits_of(model: nn.Module, inputs: Inputs) -> Tensor:
    """Logits of all inputs in evaluation mode, (N, classes); leaves the model's mode unchanged."""
    was_training = model.training
    model.eval()
    logits = torch.cat([model(x).float() for x in in_order(inputs)])
    model.train(was_training)
    return logits


def mean_entropy(logits: Tensor) -> float:
    """Mean entropy of the predicted class distributions, in nats, in [0, log classes]."""
    log_p = logits.double().log_softmax(1)
    return float(-(log_p.exp() * log_p).sum(1).mean())


@torch.no_grad()
def bottleneck_of(model: nn.Module, inputs: Inputs) -> Tensor:
    """fc7 activations of all inputs in evaluation mode, float32, (N, width); leaves the model's mode unchanged."""
    was_training = model.training
    model.eval()
    network = network_of(model)
    features = torch.cat([network.layers(x)["fc7"].float() for x in in_order(inputs)])
    model.train(was_training)
    return features


@torch.no_grad()
def domain_distances(source: Tensor, target: Tensor) -> dict[str, float]:
    """Distances between two domains' features, each (N, width); nothing if either has fewer than ``FEWEST``.

    ``mmd``: unbiased squared MMD with five Gaussian kernels around the mean squared distance; may be negative.
    ``a_distance``: proxy A-distance 2 (1 - 2 error) of a linear classifier on held-out features (Ben-David et al.,
    2006); 0 if the domains cannot be told apart, 2 if they always can; slightly negative by chance.
    """
    if min(len(source), len(target)) < FEWEST:
        return {}
    error = two_sample_error(source.cpu().numpy(), target.cpu().numpy())
    distances = kernels.pair_distances(torch.cat([source, target]))
    exponents = kernels.powers(-2, 2, 1)
    beta = torch.full((len(exponents),), 1 / len(exponents), device=source.device)
    values = kernels.gaussian_sum(distances, kernels.mean(distances), beta, exponents)
    mmd = kernels.mmd_unbiased(values, len(source), len(target))
    return {"mmd": float(mmd), "a_distance": 2 * (1 - 2 * error)}


def two_sample_classifier() -> Pipeline:
    """The linear classifier of source against target features, not yet fitted."""
    from sklearn.linear_model import LogisticRegression  # takes two seconds, not needed by commands that train nothing
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))


def two_sample_error(source: NDArray[np.float32], target: NDArray[np.float32]) -> float:
    """Error of a linear two-sample classifier on held-out features, in [0, 1]; 0.5 means indistinguishable.

    The same number of examples of both domains is used (the first ones); even ones train the classifier, odd ones
    test it.
    """
    n = min(len(source), len(target))
    x = np.concatenate([source[:n], target[:n]])
    y = np.repeat([0, 1], n)
    even = np.concatenate([np.arange(n), np.arange(n)]) % 2 == 0
    classifier = two_sample_classifier().fit(x[even], y[even])
    return float(1 - classifier.score(x[~even], y[~even]))


Epoch = dict[str, float]
"""One evaluation in a training's history."""

BEST = 10
"""Number of best evaluations used by the rule ``ten-best``."""
TEMPERATURE = 0.05
"""Temperature of the rule ``snd``."""
SURE = -math.log(np.finfo(np.float64).eps)
"""Cap on the domains' log-odds in a weight.  Beyond it a probability is 1 in float64, and the weight of a sample that
leaves no doubt would overflow."""

HELD_OUT = {"source": ("source_accuracy", -1), "iwcv": ("iwcv", 1), "dev": ("dev", 1), "snd": ("snd", -1)}
"""Rule -> the entry of the history it uses, and the sign under which the smallest value is the best."""


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
        train: features of source training samples, (m, width).
        target: features of target samples, (k, width).
    """
    domains = np.repeat([0, 1], [len(train), len(target)])
    classifier = two_sample_classifier().fit(np.concatenate([train, target]), domains)
    log_odds = np.clip(classifier.decision_function(held_out), -SURE, SURE)
    # The classifier has the features' single precision, in which the sums of DEV cancel where one weight is large.
    weights = (len(train) / len(target) * np.exp(log_odds)).astype(np.float64)
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
