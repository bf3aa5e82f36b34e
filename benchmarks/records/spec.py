"""The identity of a cell: everything that decides its numbers on one machine.

The versions of the packages are not part of it: the record keeps them, and ``constraints.txt`` fixes them.  Who changes
them starts a new runs folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from methods.contract import Recipe


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
    """The fields of ``methods.contract.Recipe`` (``benchmarks.cell.training.fields``)."""
    dataset: str
    task: str
    """``source:target``; subsets are named as such."""
    protocol: str
    split: int
    seed: int
    holdout: float
    """Share of the source held out, for the choice of a setting or of an evaluation; 0 for results."""
    backbone: str
    track: str
    batchnorm: str
    device: str
    """``cpu`` or ``cuda``."""
    precision: str
    """``fp32`` or ``bf16`` (autocast)."""
    threads: int
    data: dict[str, str]
    """Role (source, target, test) -> digest of the decoded images and labels; ``splits`` -> digest of the protocol's
    split; ``weights`` -> digest of the pretrained weights."""
    revision: str
    """Revisions of harness and method."""
    cut: str = ""
    """Where a pretrained trunk is cut: what comes before is fixed and cached, what comes after is trained."""
    views: int = 0
    """Augmented views of each training image that are cached at the cut; 0: the centre crop alone."""
    statistics: str = ""
    """Whose BatchNorm statistics a frozen trunk has: ``source``, or ``own`` (of each domain); empty: ImageNet's."""
    needs: dict[str, str] = field(default_factory=dict)
    """Name -> hash of the cell whose trained network this one starts from."""
    processes: int = 1
    """That share the batches out among themselves (``benchmarks.machine.processes``)."""

    @cached_property
    def hash(self) -> str:
        """Sixteen hexadecimal digits of the SHA-256 of the canonical JSON form.

        What has a default above is left out of it at that default: a field that is added later gives no older cell
        another identity.
        """
        return digest(self, added=[one.name for one in fields(self) if _default(one) is not MISSING])


def identity(value: DataclassInstance, added: Collection[str]) -> dict[str, Any]:
    """The fields of a data class of plain values, for a digest.

    Args:
        value: of the data class.
        added: fields that came later; they are left out at their default, so that they give nothing older another
            identity.
    """
    defaults = {one.name: _default(one) for one in fields(value) if one.name in added}
    plain = {one.name: getattr(value, one.name) for one in fields(value)}
    return {name: value for name, value in plain.items() if name not in defaults or value != defaults[name]}


def digest(value: DataclassInstance, added: Collection[str]) -> str:
    """Sixteen hexadecimal digits of the SHA-256 of the canonical JSON form of ``identity``."""
    return hashlib.sha256(canonical(identity(value, added)).encode()).hexdigest()[:16]


def recipe_values(recipe: Recipe) -> dict[str, Any]:
    """A recipe as plain values, for a spec."""
    return identity(recipe, added=("by_size", "milestones", "warmup", "cosine", "nesterov"))


def _default(one: Field[Any]) -> Any:
    """A field's default value; ``MISSING`` if it has none."""
    return one.default if one.default_factory is MISSING else one.default_factory()


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def revision(method_revision: int) -> str:
    """The ``revision`` field of a spec."""
    return f"harness {HARNESS_REVISION}, method {method_revision}"
