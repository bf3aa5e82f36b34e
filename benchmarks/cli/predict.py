"""The command ``predict``: image files classified by a network that a cell kept."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np
from joblib import cpu_count
from tqdm import tqdm

from benchmarks.cell import kept
from benchmarks.cli.running import location_options, runs_option
from benchmarks.machine.errors import UserError
from benchmarks.records import schema
from benchmarks.records.files import csv_text, write_atomically
from benchmarks.records.store import Store
from benchmarks.records.words import plural
from datasets import photos, scan
from datasets.errors import DataError
from datasets.names import path_of, printable
from datasets.photos import Photos
from datasets.store import Location

COLUMNS = schema.PREDICTIONS[:3]
BATCH = 64
"""Images decoded and classified at once."""


@click.command("predict")
@click.argument("model")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--format", "form", type=click.Choice(["csv", "json"]), default="csv", show_default=True)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file instead.")
@location_options
@runs_option
def predict(
    model: str, paths: tuple[str, ...], form: str, out: Path | None, mirror: str | None, data: Path, runs: Path
) -> None:
    """Classify image files, or all in folders, with a kept network.

    MODEL is a file network.pt below runs/kept/, or the hash of its cell or a prefix of it.  Exit status 1 if some
    images cannot be used; the others are classified.
    """
    network = kept.read(_file(model, Store(runs)))
    if network.needs_gpu:
        click.echo("Note: the network was trained on a GPU; there is none here, so the CPU classifies.", err=True)
        network = network.on_cpu()
    found = list(images(paths))
    wrong: list[DataError] = []
    rows = list(_classified(network, found, Location(data, mirror), wrong))
    text = (
        csv_text(COLUMNS, [{name: row[name] for name in COLUMNS} for row in rows])
        if form == "csv"
        else json.dumps(_numbers(rows), indent=1) + "\n"
    )
    if out is None:
        click.echo(text, nl=False)
    else:
        write_atomically(out, text)
        click.echo(f"{plural(len(rows), 'image')} in {out}")
    for error in wrong:
        click.echo(f"Left out: {error}", err=True)
    sys.exit(1 if wrong else 0)


def _file(model: str, records: Store) -> Path:
    """The file of a network named by its path or by its cell.

    Raises:
        UserError: no cell of that name has one, or several do.
    """
    path = path_of(model)
    if path.is_dir():
        return path / kept.NETWORK
    if path.exists() or path.suffix == ".pt":
        return path
    fitting = sorted(one for one in (records.root / "kept").glob("[0-9a-f]*") if one.name.startswith(model))
    if len(fitting) != 1:
        which = f"{len(fitting)} cells begin with" if fitting else "no cell that left a network is called"
        raise UserError(f"{which} {model!r}; name one of the folders in {records.root / 'kept'}, or a file network.pt.")
    if not (fitting[0] / kept.NETWORK).is_file():
        raise UserError(f"the cell {fitting[0].name} left predictions but no network: its method has none to keep.")
    return fitting[0] / kept.NETWORK


def images(paths: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Name and file of every image; images in a folder are named by their path in it.

    Raises:
        UserError: there is no image.
        DataError: a folder cannot be read.
    """
    empty = True
    for path in map(path_of, paths):
        its = scan.below(path) if path.is_dir() else [path]
        for image in its:
            empty = False
            yield printable(str(image.relative_to(path) if path.is_dir() else image)), image
    if empty:
        raise UserError(f"there are no images in {', '.join(map(printable, paths))}; name files or folders of images.")


def _classified(
    network: kept.Kept, found: Sequence[tuple[str, Path]], location: Location, wrong: list[DataError]
) -> Iterator[dict[str, str]]:
    """The rows of the images in order; messages about unusable ones are added to ``wrong``."""
    predicted = kept.predictor(network, location)
    names, files = [name for name, _ in found], [path for _, path in found]
    source = Photos(tuple(names), np.full(len(names), -1), lambda index: scan.content(files[index]))
    with ThreadPoolExecutor(cpu_count()) as pool, tqdm(total=len(names), unit="image", disable=None) as bar:
        for start in range(0, len(names), BATCH):
            block = range(start, min(start + BATCH, len(names)))
            decoded = list(pool.map(lambda index: photos.attempt(source, index, network.side), block))
            wrong += [one for one in decoded if isinstance(one, DataError)]
            usable = [(index, one) for index, one in zip(block, decoded, strict=True) if not isinstance(one, DataError)]
            if usable:
                probabilities = predicted(np.stack([one for _, one in usable]))
                yield from kept.rows_of([names[index] for index, _ in usable], probabilities, network.classes)
            bar.update(len(block))


def _numbers(rows: Sequence[dict[str, str]]) -> list[dict[str, str | float]]:
    return [
        {"file": row["file"], "predicted": row["predicted"], "probability": float(row["probability"])} for row in rows
    ]
