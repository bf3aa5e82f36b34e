"""Shallow rows: a linear support vector machine, alone and after three classical alignments of the domains.

    default L-SVM on the source's features                                      scikit-learn's SVC, kernel linear
    tca     transfer component analysis (Pan, Tsang, Kwok, Yang; 2011)          skada's TransferComponentAnalysisAdapter
    sa      subspace alignment (Fernando, Habrard, Sebban, Tuytelaars; 2013)    skada's SubspaceAlignmentAdapter
    coral   correlation alignment (Sun, Feng, Saenko; 2016)                     skada's CORALAdapter

They are comparison rows of other papers' tables and no paper of the suite, so they are the libraries' own, called as a
user would: an alignment is fitted to the inputs of both domains without any label, the SVM is trained on the aligned
source, and the aligned target is classified.  Target images whose labels the protocol grants are aligned as target and
trained on as well.

The features are what enters the first trained layer of the suite's networks: visual words, pixels, or the outputs of a
frozen trunk.  All settings are the libraries' defaults (C = 1, mu = 0.1, an RBF kernel with gamma = 1 / features, the
Ledoit-Wolf shrinkage of the covariances), but for one:

* SA keeps as many components as both domains have, min(n_s, n_t, features).  skada's default is the least of the number
  of samples *together* and of the features, which a domain of fewer images than features does not have.

The machine is LIBSVM's and not scikit-learn's LinearSVC: LIBLINEAR stops short of the optimum after its default of
1000 iterations on standardised visual words, and needs a minute for that where LIBSVM needs a second.  Nothing here is
random, so a row is the same number for every seed.

What skada 0.6 does differently from the papers: TCA solves (I + mu K L K)^-1 K H K where the paper has
(K L K + mu I)^-1 K H K, so mu weighs the discrepancy and not the regularisation, and takes the eigenvectors of this
matrix, which is not symmetric, by the routine for symmetric ones.  CORAL centres both domains besides.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import one_hot

from methods.contract import Domains, Method, ParameterGroup, frozen
from methods.network import Network

if TYPE_CHECKING:
    from sklearn.svm import SVC

Vectors = NDArray[np.float64]


@dataclass(frozen=True)
class Config:
    """The support vector machine alone by default."""

    alignment: Literal["none", "tca", "sa", "coral"] = "none"
    """What is done to the features of the two domains before the classifier is trained."""


class Alignment(Protocol):
    """What is needed of skada's adapters."""

    def fit(self, x: Any, y: None = None, *, sample_domain: Any) -> Any: ...

    def transform(self, x: Any, y: None = None, *, sample_domain: Any, allow_source: bool) -> Any: ...


SOURCE, TARGET = 1, -1
"""How skada marks a sample's domain: any positive and any negative number."""


class Shallow(nn.Module):
    """A fitted classifier of the inputs' vectors; its logits are 1 for the predicted class and 0 for the others."""

    def __init__(self, config: Config, network: Network) -> None:
        super().__init__()
        self.config = config
        self.trunk = network.trunk
        self.classes = network.classes
        # Neither parameter nor buffer: a cell that trains nothing is never resumed.
        self.alignment: Alignment | None = None
        self.classifier: SVC | None = None

    def forward(self, x: Tensor) -> Tensor:
        """One-hot predictions for target inputs, float32, (N, classes)."""
        assert self.classifier is not None, "begin comes first"
        features = aligned(self.alignment, vectors(self.trunk, [x]), TARGET)
        predicted = torch.from_numpy(self.classifier.predict(features)).to(x.device)
        return one_hot(predicted, self.classes).float()


@torch.no_grad()
def vectors(trunk: nn.Module, parts: Iterable[Tensor]) -> Vectors:
    """Inputs as the rows of one matrix, float64, (N, features)."""
    rows = [trunk(x).double().cpu().numpy() for x in parts]
    return np.concatenate(rows)


def aligned(alignment: Alignment | None, features: Vectors, domain: int) -> Vectors:
    """The features of samples of one domain after the alignment."""
    if alignment is None:
        return features
    where = np.full(len(features), domain)
    found: Vectors = alignment.transform(features, sample_domain=where, allow_source=True)
    return found


def new_alignment(config: Config, most: int) -> Alignment | None:
    """An alignment not yet fitted.

    Args:
        most: the most components that both domains have.
    """
    if config.alignment == "none":
        return None
    import skada  # it takes seconds, as scikit-learn does, and nothing else needs it

    alignment: Alignment = {
        "tca": lambda: skada.TransferComponentAnalysisAdapter(),
        "sa": lambda: skada.SubspaceAlignmentAdapter(n_components=most, random_state=0),
        "coral": lambda: skada.CORALAdapter(),
    }[config.alignment]()
    return alignment


def begin(model: Shallow, domains: Domains) -> None:
    """Fits the alignment to the inputs of both domains, then the classifier to the labelled ones."""
    from sklearn.svm import SVC

    pairs = {
        name: list(part()) for name, part in (("source", domains.source), ("labelled_target", domains.labelled_target))
    }
    source = vectors(model.trunk, (x for x, _ in pairs["source"]))
    target = vectors(model.trunk, domains.target())
    alignment = new_alignment(model.config, min(len(source), *target.shape))
    if alignment is not None:
        where = np.repeat([SOURCE, TARGET], [len(source), len(target)])
        alignment.fit(np.concatenate([source, target]), sample_domain=where)
    labelled = [aligned(alignment, source, SOURCE)]
    if pairs["labelled_target"]:
        labelled.append(aligned(alignment, vectors(model.trunk, (x for x, _ in pairs["labelled_target"])), TARGET))
    labels = torch.cat([y for part in pairs.values() for _, y in part]).cpu().numpy()
    model.alignment = alignment
    model.classifier = SVC(kernel="linear").fit(np.concatenate(labelled), labels)


def build(config: Config, network: Network) -> Shallow:
    """Takes of the network what comes before its first trained layer."""
    return Shallow(config, network)


def groups(model: Shallow) -> list[ParameterGroup]:
    """Nothing is trained by descent."""
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
            "tca": Config(alignment="tca"),
            "sa": Config(alignment="sa"),
            "coral": Config(alignment="coral"),
        }
    ),
    groups=groups,
    begin=begin,
    applies=applies,
)
