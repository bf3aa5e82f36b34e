"""Maps: the bottleneck's features of both domains laid out in the plane by t-SNE (van der Maaten, Hinton; 2008).

A map is a picture and decides nothing.  Its classes are the true ones, those of the target too: it is drawn after the
training, for the eye.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from benchmarks import csvfile, evaluation
from benchmarks.feeding import Inputs
from benchmarks.loading import Data
from benchmarks.records import Store
from benchmarks.streams import seed_of

IMAGES = 500
"""Images of each domain, at most."""
PERPLEXITY = 30.0
"""The usual value; fewer for few images, as t-SNE needs more points than its perplexity."""

POINT = ("domain", "class", "predicted", "x", "y")
"""``source`` or ``target``; class and prediction from 0 on; coordinates without unit."""
CELL = ("paper", "experiment", "method", "variant", "setting", "dataset", "task", "split", "seed", "cell")
"""Whose features they are."""
COLUMNS = (*CELL, *POINT)
"""Of the committed files, ``results/<paper>/maps/<experiment>.csv``."""


def points(model: nn.Module, data: Data, seed: int) -> list[dict[str, str]]:
    """One row of ``POINT`` for each of up to ``IMAGES`` training images of the source and tested images of the target.

    Args:
        model: trained; built on a ``Network``.
        data: of its cell.
        seed: of the draw and of t-SNE.
    """
    from sklearn.manifold import TSNE  # it takes seconds, and no other command needs it

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
        dict(zip(POINT, (name, str(true), str(predicted), f"{x:.2f}", f"{y:.2f}"), strict=True))
        for name, true, predicted, (x, y) in zip(names, classes, found, places, strict=True)
    ]


def _drawn(inputs: Inputs, rows: np.ndarray, labels: Tensor, seed: int) -> tuple[Inputs, np.ndarray]:
    """Some labelled examples, the same for every method; ``labels`` are those of ``rows``, in their order."""
    order = np.random.default_rng(seed_of(seed, "map")).permutation(len(rows))[:IMAGES]
    return inputs.part(rows[order]), labels.cpu().numpy()[order]


def write(path: Path, found: Sequence[dict[str, str]]) -> None:
    """Keep the map of a cell.

    Raises:
        UserError: it cannot be written.
    """
    csvfile.write(path, POINT, found)


def export(path: Path, table: Sequence[dict[str, str]], store: Store) -> int:
    """Put the maps of a table's cells into the committed file of its experiment.

    Args:
        path: the file; the maps of other cells in it stay, unless a new one takes their place.
        table: rows of results.
        store: where the maps are.

    Returns:
        The number of maps that the file then holds; 0 if there is none.

    Raises:
        UserError: a map or the file is damaged, or the file cannot be written.
    """
    heads = {row["cell"]: {name: row[name] for name in CELL} for row in table if store.map_path(row["cell"]).is_file()}
    if not heads:
        return 0
    new = [{**head, **point} for cell, head in heads.items() for point in csvfile.read(store.map_path(cell), POINT)]
    filled = {_place(head) for head in heads.values()}
    rows = [*(row for row in csvfile.read(path, COLUMNS) if _place(row) not in filled), *new]
    rows.sort(key=_place)
    csvfile.write(path, COLUMNS, rows)
    return len({row["cell"] for row in rows})


def _place(row: dict[str, str]) -> tuple[str, ...]:
    return tuple(row[name] for name in CELL if name != "cell")
