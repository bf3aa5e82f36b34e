"""Source-only training: the baseline that every method is compared with.

    min  (1/n_s) sum_i J(f(x_i), y_i)        J the cross-entropy, over labelled samples alone

If the protocol grants some target labels, their images are labelled samples like the source's ("source + target").  The
network, its head, the optimisation, the BatchNorm mode, the data and the random streams are those of the method it is
compared with; only the transfer term is missing.  No paper proposed it, so there is nothing to deviate from.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from methods.contract import Batch, Losses, Method, classification
from methods.network import Network


@dataclass(frozen=True)
class Config:
    """Nothing to choose."""


def build(config: Config, network: Network) -> Network:
    """The network itself."""
    return network


def step(model: nn.Module, batch: Batch) -> Losses:
    """Cross-entropy of the labelled images; the unlabelled target inputs matter to BatchNorm at most."""
    assert isinstance(model, Network)
    passes = model.passes(batch.source_x, batch.target_x, batch.labelled_target_x, target_needed=False)
    return {"classification": classification(passes, batch)}


METHOD = Method(config=Config, build=build, step=step, variants={"default": Config()})
