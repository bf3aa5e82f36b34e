"""Maps: the bottleneck features of both domains embedded in the plane by t-SNE (van der Maaten, Hinton; 2008).

A map is a picture and decides nothing.  Its classes are the true ones, for the target too: it is drawn after training,
for viewing only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from benchmarks.cell import evaluation
from benchmarks.cell.loading import Data
from benchmarks.machine.host import seed_of
from benchmarks.networks.feeding import Inputs
from benchmarks.records import files, schema

IMAGES = 500
"""Maximum number of images per domain."""
PERPLEXITY = 30.0
"""The usual value; smaller for few images, as t-SNE needs more points than its perplexity."""


def points(model: nn.Module, data: Data, seed: int) -> list[dict[str, str]]:
    """A ``schema.POINT`` for each of up to ``IMAGES`` source training images and target test images.

    Args:
        model: trained; built on a ``Network``.
        data: of its cell.
        seed: of the draw and of t-SNE.
    """
    from sklearn.manifold import TSNE  # slow to import, and only needed here

    test = data.test
    rows = test.rows.cpu().numpy() if test.rows is not None else np.arange(len(test.inputs))
    parts = {
        "source": _drawn(data.source.inputs, np.arange(len(data.source.inputs)), data.source.labels, seed),
        "target": _drawn(test.inputs, rows, test.labels, seed),
    }
    inputs = [inputs for inputs, _ in parts.values()]
    features = np.concatenate([evaluation.bottleneck_of(model, one).cpu().numpy() for one in inputs])
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    state = seed_of(seed, "map") % 2**32
    places = TSNE(perplexity=perplexity, init="pca", random_state=state).fit_transform(features)
    classes = np.concatenate([labels for _, labels in parts.values()])
    found = np.concatenate(
        [evaluation.logits_of(model, inputs).argmax(1).cpu().numpy() for inputs, _ in parts.values()]
    )
    names = np.repeat(list(parts), [len(labels) for _, labels in parts.values()])
    return [
        dict(zip(schema.POINT, (name, str(true), str(predicted), f"{x:.2f}", f"{y:.2f}"), strict=True))
        for name, true, predicted, (x, y) in zip(names, classes, found, places, strict=True)
    ]


def _drawn(inputs: Inputs, rows: np.ndarray, labels: Tensor, seed: int) -> tuple[Inputs, np.ndarray]:
    """Some labelled examples, the same for every method; ``labels`` belong to ``rows``, in their order."""
    order = np.random.default_rng(seed_of(seed, "map")).permutation(len(rows))[:IMAGES]
    return inputs.part(rows[order]), labels.cpu().numpy()[order]


def write(path: Path, found: Sequence[dict[str, str]]) -> None:
    """Save the map of a cell.

    Raises:
        UserError: it cannot be written.
    """
    files.write_csv(path, schema.POINT, found)
