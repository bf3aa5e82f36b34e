"""Source-only training: the baseline that every method is compared with.

    min  (1/n_s) sum_i J(f(x_i), y_i)        J the cross-entropy, over labelled source samples alone

The network, its head, the optimisation, the BatchNorm mode, the data and the random streams are those of the method
it stands beside; only the transfer term is missing.  It is no paper's own method, so there is nothing to deviate from.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from torch.nn.functional import cross_entropy

from methods.contract import Batch, Losses, Method, Term
from methods.network import Network


@dataclass(frozen=True)
class Config:
    """Nothing to choose."""


def build(config: Config, network: Network) -> Network:
    """The network itself."""
    return network


def step(model: nn.Module, batch: Batch) -> Losses:
    """Cross-entropy of the source batch; the target's inputs matter to BatchNorm at most."""
    assert isinstance(model, Network)
    logits = model.source_logits(batch.source_x, batch.target_x)
    return {"classification": Term(cross_entropy(logits, batch.source_y))}


METHOD = Method(config=Config, build=build, step=step, variants={"default": Config()})
