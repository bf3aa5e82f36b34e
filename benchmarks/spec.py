"""The identity of a cell: everything that decides its numbers on one machine.

The versions of the packages are not part of it: the record keeps them, and ``constraints.txt`` fixes them.  Who changes
them starts a new runs folder.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

HARNESS_REVISION = 1
"""Raised by hand when a change of the harness or of a backbone alters numbers; no old record then passes for new."""


@dataclass(frozen=True)
class Spec:
    """One cell.  Paper, experiment and variant are no part of it, so experiments share cells.

    The variant and the swept setting are in it as what they mean: the resolved ``config``.
    """

    method: str
    config: dict[str, Any]
    """Every field of the method's configuration, resolved."""
    recipe: dict[str, Any]
    """Every field of ``methods.contract.Recipe``."""
    dataset: str
    task: str
    """``source:target``; subsets are named as such."""
    protocol: str
    split: int
    seed: int
    holdout: float
    """Share of the source held out, for the label-free choice of a setting; 0 for results."""
    backbone: str
    track: str
    batchnorm: str
    device: str
    """``cpu`` or ``cuda``."""
    precision: str
    """``fp32`` or ``bf16`` (autocast)."""
    threads: int
    data: dict[str, str]
    """Role (source, target, test) -> digest of the decoded images and labels."""
    revision: str
    """Revisions of harness and method."""

    @cached_property
    def hash(self) -> str:
        """Sixteen hexadecimal digits of the SHA-256 of the canonical JSON form."""
        return hashlib.sha256(canonical(asdict(self)).encode()).hexdigest()[:16]


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def revision(method_revision: int) -> str:
    """The ``revision`` field of a spec."""
    return f"harness {HARNESS_REVISION}, method {method_revision}"
