"""Rules that choose a setting without target labels: what each of them minimises.

They look at what a training with held-out source records at its last iterate:

``source_error``    error on the held-out source, in [0, 1]
``a_distance``      proxy A-distance of held-out source and target in the bottleneck, at most 2
``target_entropy``  mean entropy of the predictions on the target, in nats
``snd``             soft neighbourhood density of the target
``iwcv``, ``dev``   importance-weighted risks of the held-out source

``benchmarks.cell.evaluation`` measures these and names their sources.  A rule ranks the values of a grid in every
training, and picks the value with the lowest mean rank over the trainings, one per task and seed: all tasks count the
same, even if one of them is much harder, or its importance weights explode.

``report.tuning`` compares the rules by what they lose to a choice by target labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

METRICS = ("source_error", "a_distance", "target_entropy", "snd", "iwcv", "dev")
"""What the rules look at."""

SUITE = "DEV"
"""The suite's own."""

RULES: Mapping[str, Callable[[Mapping[str, Any]], Any]] = MappingProxyType(
    {
        # Long et al., 2015, section 4.1, read as Ben-David's bound: 1 - 2 * two-sample error is half the A-distance.
        "held-out error + distance": lambda m: m["source_error"] + m["a_distance"] / 2,
        "held-out error + distance / 4": lambda m: m["source_error"] + m["a_distance"] / 8,
        "held-out error": lambda m: m["source_error"],
        "target entropy": lambda m: m["target_entropy"],
        "SND": lambda m: -m["snd"],
        "IWCV": lambda m: m["iwcv"],
        "DEV": lambda m: m["dev"],
    }
)
"""Rule -> the quantity it wants small: of numbers, or of arrays of one shape.  A ``KeyError`` says what is missing."""


def mean_ranks(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The quantity that a rule minimises.

    Args:
        scores: the quantity that the rule wants small, (..., trainings, values).

    Returns:
        Mean over the trainings of the value's rank among all values, from 1, ties sharing their ranks; (..., values).
    """
    return np.asarray(ranks(scores).mean(-2))


def ranks(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks along the last axis, 1 for the least; equal numbers share the mean of theirs."""
    import pandas as pd  # half as slow to import as scipy.stats, and not needed by commands that choose nothing

    placed = pd.DataFrame(numbers.reshape(-1, numbers.shape[-1])).rank(axis=1)
    return np.asarray(placed).reshape(numbers.shape)
