"""Shallow rows: a linear support vector machine, alone and after three classical alignments of the domains.

    default L-SVM on the source's features
    tca     transfer component analysis (Pan, Tsang, Kwok, Yang; IEEE Transactions on Neural Networks 2011)
    sa      subspace alignment (Fernando, Habrard, Sebban, Tuytelaars; ICCV 2013)
    coral   correlation alignment (Sun, Feng, Saenko; AAAI 2016)

They are comparison rows in other papers' tables, not one of the suite's papers.  An alignment is fitted to the inputs
of both domains without any label, the SVM is trained on the aligned source, and the aligned target is classified.
Target images with labels granted by the protocol are aligned as target and also used to train.

TCA.  K is the Gram matrix of all N = n_s + n_t samples, source first, and H = I - 11'/N is the centring matrix.  L
makes tr(K L) the squared MMD of the two domains: L_ij = 1 / n_s^2 for two source samples, 1 / n_t^2 for two target
samples and -1 / (n_s n_t) for one of each.  The transfer components

    min_W  tr(W' K L K W) + mu tr(W' W)    subject to    W' K H K W = I

are the leading eigenvectors of (K L K + mu I)^-1 K H K.  A sample x becomes W' (k(x_1, x), ..., k(x_N, x))'.

SA.  P_S and P_T hold the leading principal directions of the two domains, each centred on its own mean.  The matrix
that maps one basis to the other follows in closed form, and each domain is projected on its own basis:

    M = argmin_M |P_S M - P_T|_F^2 = P_S' P_T        x_s  <-  x_s P_S M,    x_t  <-  x_t P_T

CORAL.  x_s  <-  x_s C_S^(-1/2) C_T^(1/2) with the covariances of the two domains: ``methods.coral``.

The features are the inputs of the first trained layer of the suite's networks: visual words, pixels, or the outputs of
a frozen trunk.  No setting was chosen by a target label:

* SVM: C = 1, LIBSVM's and not scikit-learn's LinearSVC: on standardised visual words LIBLINEAR stops short of the
  optimum after its default of 1000 iterations, and takes a minute for that where LIBSVM takes a second.
* TCA: mu = 0.1, the kernel exp(-|x - y|^2 / features), three components per class.  Over all samples a component has
  variance 1, so W' K H K W is N I and not I; with I, C = 1 would leave the SVM hardly any weight.  Of 10 to 400
  components, three per class classified a held-out tenth of the source best on four of six tasks of SURF features, with
  mu = 0.1 and 1, and within a point of the best on four tasks of Office-31.
* SA: as many directions as both domains have, min(n_s, n_t, features).
* CORAL: both domains are centred, and the covariances are shrunk as by Ledoit and Wolf, where the paper adds I.

Nothing here is random, so a row has the same number for every seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import one_hot

from methods import coral
from methods.contract import Domains, Method, ParameterGroup, frozen
from methods.network import Network

if TYPE_CHECKING:
    from sklearn.decomposition import PCA
    from sklearn.svm import SVC

Vectors = NDArray[np.float64]

MU, COMPONENTS_PER_CLASS = 0.1, 3
"""Of TCA."""


@dataclass(frozen=True)
class Config:
    """The support vector machine alone by default."""

    alignment: Literal["none", "transfer-components", "sa", "coral"] = "none"
    """What is done to the features of the two domains before the classifier is trained.  TCA is the version of 2011; in
    the first publication of 2009 mu weights the discrepancy and not the size of W."""


class Alignment(Protocol):
    """Maps samples of either domain, (N, features) -> (N, aligned)."""

    @classmethod
    def fit(cls, source: Vectors, target: Vectors, classes: int) -> Self: ...

    def source(self, x: Vectors) -> Vectors: ...

    def target(self, x: Vectors) -> Vectors: ...


class Shallow(nn.Module):
    """A fitted classifier of the inputs' vectors; its logits are 1 for the predicted class and 0 for the others."""

    def __init__(self, config: Config, network: Network) -> None:
        super().__init__()
        self.config = config
        self.trunk = network.trunk
        self.classes = network.classes
        # Neither a parameter nor a buffer: a cell that trains nothing is never resumed.
        self.alignment: Alignment | None = None
        self.classifier: SVC | None = None

    def forward(self, x: Tensor) -> Tensor:
        """One-hot predictions for target inputs, float32, (N, classes)."""
        assert self.alignment is not None, "begin comes first"
        assert self.classifier is not None
        features = self.alignment.target(vectors(self.trunk, [x]))
        predicted = torch.from_numpy(self.classifier.predict(features)).to(x.device)
        return one_hot(predicted, self.classes).float()


@torch.no_grad()
def vectors(trunk: nn.Module, parts: Iterable[Tensor]) -> Vectors:
    """Inputs as the rows of a matrix, float64, (N, features)."""
    rows = [trunk(x).double().cpu().numpy() for x in parts]
    return np.concatenate(rows)


class NoAlignment:
    """The features as they are."""

    @classmethod
    def fit(cls, _source: Vectors, _target: Vectors, _classes: int) -> Self:
        return cls()

    def source(self, x: Vectors) -> Vectors:
        return x

    target = source


@dataclass(frozen=True)
class TransferComponents:
    """TCA."""

    samples: Vectors
    """Of both domains, source first, (N, features)."""
    weights: Vectors
    """W, (N, components)."""

    @classmethod
    def fit(cls, source: Vectors, target: Vectors, classes: int) -> Self:
        """The leading components of (n_s, features) and (n_t, features), at least 3 samples together.

        K L K is v v' with v = K (1 / n_s, ..., -1 / n_t, ...).  So neither K L K + mu I nor its inverse is ever formed,
        and the eigenvectors cost a few products with K.
        """
        from scipy.sparse.linalg import LinearOperator, eigsh  # slow to import, and only needed here

        samples = np.concatenate([source, target])
        count = len(samples)
        gram = gaussian(samples, samples)
        centred = gram - gram.mean(0)
        v = gram @ np.concatenate([np.full(len(x), sign / len(x)) for x, sign in ((source, 1), (target, -1))])

        def operator(product: Callable[[Vectors], Vectors]) -> LinearOperator[np.float64]:
            return LinearOperator((count, count), matvec=product, dtype=np.float64)

        khk = operator(lambda w: centred.T @ (centred @ w))
        klk = operator(lambda w: v * (v @ w) + MU * w)
        inverse = operator(lambda w: (w - v * (v @ w) / (MU + v @ v)) / MU)  # by Sherman and Morrison
        start = np.random.default_rng(0).normal(size=count)  # any will do
        found, vectors = eigsh(khk, min(COMPONENTS_PER_CLASS * classes, count - 1), klk, Minv=inverse, v0=start)
        real = found > found.max() * count * np.finfo(np.float64).eps  # fewer where samples coincide
        return cls(samples, vectors[:, real] * np.sqrt(count / found[real]))

    def source(self, x: Vectors) -> Vectors:
        return gaussian(x, self.samples) @ self.weights

    target = source


def gaussian(x: Vectors, y: Vectors) -> Vectors:
    """k(x, y) of all rows, (N, M)."""
    from sklearn.metrics.pairwise import rbf_kernel

    kernel: Vectors = rbf_kernel(x, y, gamma=1 / x.shape[1])
    return kernel


@dataclass(frozen=True)
class SubspaceAlignment:
    """SA."""

    own: PCA
    """Of the source."""
    other: PCA
    """Of the target."""

    @classmethod
    def fit(cls, source: Vectors, target: Vectors, _classes: int) -> Self:
        """The directions of (n_s, features) and (n_t, features)."""
        from sklearn.decomposition import PCA

        state = np.random.RandomState(0)  # for some of very many directions scikit-learn uses random projections
        own, other = (PCA(min(len(source), *target.shape), random_state=state).fit(x) for x in (source, target))
        return cls(own, other)

    def source(self, x: Vectors) -> Vectors:
        aligned: Vectors = self.own.transform(x) @ (self.own.components_ @ self.other.components_.T)
        return aligned

    def target(self, x: Vectors) -> Vectors:
        projected: Vectors = self.other.transform(x)
        return projected


@dataclass(frozen=True)
class CorrelationAlignment:
    """CORAL."""

    means: tuple[Vectors, Vectors]
    """Of source and target, (features,) each."""
    covariances: tuple[Vectors, Vectors]
    """Of source and target, (features, features) each."""

    @classmethod
    def fit(cls, source: Vectors, target: Vectors, _classes: int) -> Self:
        """The moments of (n_s, features) and (n_t, features)."""
        return cls((source.mean(0), target.mean(0)), (shrunk_covariance(source), shrunk_covariance(target)))

    def source(self, x: Vectors) -> Vectors:
        centred, *covariances = map(torch.from_numpy, (x - self.means[0], *self.covariances))
        aligned: Vectors = coral.recoloured(centred, *covariances).numpy()
        return aligned

    def target(self, x: Vectors) -> Vectors:
        return x - self.means[1]


def shrunk_covariance(x: Vectors) -> Vectors:
    """Covariance of features (N, features): Ledoit and Wolf's of the standardised ones, scaled back."""
    from sklearn.covariance import ledoit_wolf
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(x)
    shrunk: Vectors = ledoit_wolf(scaler.transform(x))[0]
    return shrunk * np.outer(scaler.scale_, scaler.scale_)


ALIGNMENTS: Mapping[str, type[Alignment]] = frozen(
    {
        "none": NoAlignment,
        "transfer-components": TransferComponents,
        "sa": SubspaceAlignment,
        "coral": CorrelationAlignment,
    }
)


def begin(model: Shallow, domains: Domains) -> None:
    """Fits the alignment to the inputs of both domains, then the classifier to the labelled ones."""
    from sklearn.svm import SVC

    pairs = {
        name: list(part()) for name, part in (("source", domains.source), ("labelled_target", domains.labelled_target))
    }
    source = vectors(model.trunk, (x for x, _ in pairs["source"]))
    target = vectors(model.trunk, domains.target())
    alignment = ALIGNMENTS[model.config.alignment].fit(source, target, model.classes)
    labelled = [alignment.source(source)]
    if pairs["labelled_target"]:
        labelled.append(alignment.target(vectors(model.trunk, (x for x, _ in pairs["labelled_target"]))))
    labels = torch.cat([y for part in pairs.values() for _, y in part]).cpu().numpy()
    model.alignment = alignment
    model.classifier = SVC(kernel="linear").fit(np.concatenate(labelled), labels)


def build(config: Config, network: Network) -> Shallow:
    """Keeps the part of the network before its first trained layer."""
    return Shallow(config, network)


def groups(model: Shallow) -> list[ParameterGroup]:
    """Nothing is trained by gradient descent."""
    return [ParameterGroup(())]


def applies(config: Config, network: Network) -> str | None:
    """Why there are no features, or None."""
    if "fc6" not in network.layer_sizes:
        return None
    return "it classifies features, and this network learns its own"


METHOD = Method(
    config=Config,
    build=build,
    step=None,
    variants=frozen(
        {
            "default": Config(),
            "tca": Config(alignment="transfer-components"),
            "sa": Config(alignment="sa"),
            "coral": Config(alignment="coral"),
        }
    ),
    groups=groups,
    begin=begin,
    applies=applies,
)
