"""What a finished cell leaves for use: its network, with all that is needed to run it, and its predictions.

Layout of ``kept/<hash>/`` below the runs folder::

    network.pt         parameters, spec, classes, input and backbone; read without unpickling anything but tensors
    confusion.csv      if the target's labels are known: test images by true class (row) and predicted class
    per-class.csv      likewise: images and accuracy of each class
    predictions.csv    every test image: predicted class, its probability, true class if known; written last

A method that is not a neural network, such as a support vector machine, leaves only its predictions.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.cell import evaluation
from benchmarks.cell.loading import Data, images_of
from benchmarks.cell.training import DAMAGED
from benchmarks.machine import host
from benchmarks.machine.errors import UserError
from benchmarks.networks import activations, backbones, feeding, pretrained, weights
from benchmarks.networks.backbones import choice_of
from benchmarks.networks.feeding import Cached
from benchmarks.networks.pretrained import Pretrained
from benchmarks.plan.plan import Cell
from benchmarks.records import schema
from benchmarks.records.files import write_atomically, write_csv
from benchmarks.records.store import Spec, Store, revision
from datasets import registry, store
from datasets.domains import PHOTO_SIDE
from datasets.store import Location
from methods import contract

FORMAT = 1
"""Raised when the contents of ``network.pt`` change."""
NETWORK = "network.pt"


def leave(cell: Cell, location: Location, records: Store, model: nn.Module, data: Data) -> None:
    """Keep a trained model and its predictions.

    Raises:
        UserError: the files cannot be written.
    """
    folder = records.kept_path(cell.spec.hash)
    classes = registry.suite(cell.spec.dataset).classes
    if can_be_kept(cell.spec, model):
        write_atomically(folder / NETWORK, _packed(cell.spec, classes, data.width, model))
    logits = evaluation.logits_of(model, data.test.inputs)
    if data.test.knows:
        _write_confusion(folder, classes, data.test.confusion(logits))
    if data.test.rows is not None:
        logits = logits[data.test.rows]
    rows = rows_of(_names(cell, location), logits.double().softmax(1), classes, data.test.labels.cpu().tolist())
    write_csv(folder / schema.PREDICTIONS_FILE, schema.PREDICTIONS, rows)


def can_be_kept(spec: Spec, model: nn.Module) -> bool:
    """Whether the parameters are the whole model, and its input can be made from any image file."""
    trained = any(True for _ in model.parameters())
    return trained and choice_of(spec).backbone.kind == "photos" and not spec.statistics


def rows_of(
    names: list[str], probabilities: Tensor, classes: tuple[str, ...], labels: list[int] | None = None
) -> list[dict[str, str]]:
    """A row of ``schema.PREDICTIONS`` for each image.

    Args:
        names: of the N images.
        probabilities: (N, classes).
        classes: their names.
        labels: true classes, negative if unknown; None if none is known.
    """
    best = probabilities.max(1)
    found = zip(names, best.indices.tolist(), best.values.tolist(), labels or [-1] * len(names), strict=True)
    return [
        {
            "file": name,
            "predicted": classes[predicted],
            "probability": f"{probability:.4f}",
            "label": classes[label] if label >= 0 else "",
        }
        for name, predicted, probability, label in found
    ]


def _names(cell: Cell, location: Location) -> list[str]:
    """Names of a cell's test images."""
    spec, suite = cell.spec, registry.suite(cell.spec.dataset)
    domain = cell.task.target_domain
    part = "train" if suite.transductive else "test"
    images = store.load(domain, part, location, side=choice_of(spec).backbone.side)
    own = registry.domain(domain).classes
    used = [not own or label < 0 or own[label] in suite.classes for label in images.labels.tolist()]
    return [name for name, wanted in zip(images.names, used, strict=True) if wanted]


def _write_confusion(folder: Path, classes: tuple[str, ...], confusion: Tensor) -> None:
    counts = confusion.cpu().tolist()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("class", *classes))  # a class may be called class
    writer.writerows((one, *row) for one, row in zip(classes, counts, strict=True))
    write_atomically(folder / schema.CONFUSION_FILE, text.getvalue())
    right = [(one, sum(row), row[i]) for i, (one, row) in enumerate(zip(classes, counts, strict=True))]
    table = [{"class": one, "images": str(n), "accuracy": f"{100 * k / n:.2f}" if n else ""} for one, n, k in right]
    write_csv(folder / schema.PER_CLASS_FILE, schema.PER_CLASS, table)


def _packed(spec: Spec, classes: tuple[str, ...], width: int, model: nn.Module) -> bytes:
    known = choice_of(spec).backbone.known
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    content = {
        "format": FORMAT,
        "spec": asdict(spec),
        "classes": list(classes),
        "width": width,
        "input": activations.transform(known) if known else "",
        "weights": weights.digest(spec.backbone) if known else "",
        "parameters": state,
        "digest": _digest(state),
    }
    out = io.BytesIO()
    torch.save(content, out)
    return out.getvalue()


def _digest(state: Mapping[str, Tensor]) -> str:
    found = hashlib.sha256()
    for name, value in sorted(state.items()):
        found.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        found.update(value.contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


@dataclass(frozen=True)
class Kept:
    """A kept network."""

    spec: Spec
    classes: tuple[str, ...]
    width: int
    parameters: Mapping[str, Tensor]

    @property
    def needs_gpu(self) -> bool:
        """Whether it is used where it was trained, on a GPU, and there is none."""
        return self.spec.device == "cuda" and not torch.cuda.is_available()

    def on_cpu(self) -> Kept:
        """The same network used on the CPU, whose sums are rounded in another order."""
        return replace(self, spec=replace(self.spec, device="cpu"))

    @property
    def side(self) -> int:
        """Height and width of the square that images are scaled to."""
        return choice_of(self.spec).backbone.side or PHOTO_SIDE


def read(path: Path) -> Kept:
    """The network in a file.

    Raises:
        UserError: there is none, it is damaged, or it was made by another version of the suite.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): name a network.pt below runs/kept/.") from error
    try:
        found: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        version = found["format"]
        spec = Spec(**found["spec"]) if version == FORMAT else None
        whole = spec is None or _digest(found["parameters"]) == found["digest"]
    except (*DAMAGED, AttributeError) as error:
        raise UserError(f"{path} is not a kept network, or is damaged: run its cell again.") from error
    if not whole:
        raise UserError(f"{path} is damaged: its parameters are not those that were kept; run its cell again.")
    if spec is None:
        raise UserError(f"{path} was made by another version of the suite (format {version}, here {FORMAT}).")
    _check_version(path, spec, found)
    return Kept(spec, tuple(found["classes"]), found["width"], found["parameters"])


def _check_version(path: Path, spec: Spec, found: Mapping[str, Any]) -> None:
    """Checks that method, backbone and input are the same here as where the network was made."""
    if spec.backbone not in backbones.BACKBONES or spec.method not in contract.names():
        raise UserError(
            f"{path} needs {spec.method} on {spec.backbone}, which this version of the suite does not have."
        )
    known = choice_of(spec).backbone.known
    today = revision(contract.load(spec.method).revision_on(spec.track))
    if spec.revision != today:
        raise UserError(f"{path} was made by another version of {spec.method} ({spec.revision}; here {today}).")
    if known and (found["weights"], found["input"]) != (weights.digest(spec.backbone), activations.transform(known)):
        raise UserError(
            f"{path} was trained on other weights of {spec.backbone}, or on images prepared in another way."
        )


def predictor(kept: Kept, location: Location) -> Callable[[NDArray[np.uint8]], Tensor]:
    """Images from ``photos.square``, uint8 (n, side, side, 3) -> class probabilities, float64 (n, classes).

    Raises:
        UserError, DataError: the backbone's weights are not available, or the network is not of this method.
    """
    spec, device = kept.spec, torch.device(kept.spec.device)
    choice = choice_of(spec)
    known = choice.backbone.known
    path = weights.path(spec.backbone, location) if known else None
    method = contract.load(spec.method)
    network = backbones.build(choice, width=kept.width, classes=len(kept.classes), weights=path)
    model = method.build(contract.config_of(method, spec.config), network)
    try:
        model.load_state_dict(dict(kept.parameters))
    except RuntimeError as error:
        raise UserError(f"the network does not fit {spec.method} as it is here; run its cell again.") from error
    model.eval().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    early = activations.early(spec, choice.pooled, path) if spec.cut and path else None
    return functools.partial(_predicted, kept, model, early, known)


@torch.no_grad()
def _predicted(
    kept: Kept, model: nn.Module, early: nn.Module | None, known: Pretrained | None, images: NDArray[np.uint8]
) -> Tensor:
    spec, device = kept.spec, torch.device(kept.spec.device)
    with host.computing(spec.threads):
        if early is not None and known is not None:
            with torch.autocast(spec.device, torch.bfloat16, enabled=spec.precision == "bf16"):
                batch = pretrained.centre_crop(torch.from_numpy(images).to(device), known)
                values = feeding.channels_last(early(batch)).float()[:, None]
            inputs: feeding.Inputs = Cached(values, device)
        else:
            inputs = images_of(images, choice_of(spec), kept.width, device)
        return evaluation.logits_of(model, inputs).double().softmax(1).cpu()
