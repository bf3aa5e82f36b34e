"""What is measured of a model: accuracy, target entropy, and distances between the domains' features."""

from __future__ import annotations

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
"""Examples of a domain, at least, that distances are measured on: two to learn from and two to be told apart."""


@dataclass(frozen=True)
class Evaluator:
    """Labelled examples of which training knows nothing; the only holder of target labels."""

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
            logits: (N, classes), of all inputs in their order; the largest of all classes counts.
        """
        return float((self._predicted(logits) == self.labels).double().mean() * 100)

    def confusion(self, logits: Tensor) -> Tensor:
        """Number of tested examples of each class (row) that are taken for each class (column).

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
    """Logits of all inputs in evaluation mode, (N, classes); leaves the model's mode as it was."""
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
    """fc7 activations of all inputs in evaluation mode, float32, (N, width); leaves the model's mode as it was."""
    was_training = model.training
    model.eval()
    network = network_of(model)
    features = torch.cat([network.layers(x)["fc7"].float() for x in in_order(inputs)])
    model.train(was_training)
    return features


@torch.no_grad()
def domain_distances(source: Tensor, target: Tensor) -> dict[str, float]:
    """Distances between two domains' features, each (N, width); nothing for fewer than ``FEWEST`` of either.

    ``mmd``: unbiased squared MMD with five Gaussian kernels around the mean squared distance; may be negative.
    ``a_distance``: proxy A-distance 2 (1 - 2 error) of a linear classifier on held-out features (Ben-David et
    al., 2006); 0 where the domains cannot be told apart, 2 where they always can; slightly negative by chance.
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
    """The linear classifier that tells source features from target ones, not yet fitted."""
    from sklearn.linear_model import LogisticRegression  # two seconds, which commands that train nothing are spared
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))


def two_sample_error(source: NDArray[np.float32], target: NDArray[np.float32]) -> float:
    """Error of a linear two-sample classifier on held-out features, in [0, 1]; 0.5 means indistinguishable.

    As many examples of both domains are used (those that come first); the even ones train the classifier,
    the odd ones test it.
    """
    n = min(len(source), len(target))
    x = np.concatenate([source[:n], target[:n]])
    y = np.repeat([0, 1], n)
    even = np.concatenate([np.arange(n), np.arange(n)]) % 2 == 0
    classifier = two_sample_classifier().fit(x[even], y[even])
    return float(1 - classifier.score(x[~even], y[~even]))
