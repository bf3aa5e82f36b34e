"""A small invented paper with results files for it, and invented results for the papers of the suite."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from benchmarks.records.schema import PUBLISHED as PUBLISHED_COLUMNS
from benchmarks.records.schema import RESULTS
from methods.contract import Claim, Experiment, Paper, Recipe, Row, load, papers

RECIPE = Recipe(steps=10, epoch=5, rate=0.01)
BASE = Row("source_only", label="source only")
FULL = Row("dan", label="DAN")
SINGLE = Row("dan", "single_kernel", "DAN_SK")
MAIN = Experiment(
    "digits",
    "accuracy on digits",
    rows=(BASE, FULL),
    recipes={"digits-mini": RECIPE, "digits": RECIPE},
    baseline=BASE,
    seeds=3,
    default=True,
    published=("Table1",),
)
ABLATIONS = Experiment("ablations", "parts left out", (BASE, FULL, SINGLE), {"digits-mini": RECIPE}, BASE, seeds=2)
SWEEP = Experiment(
    "sensitivity",
    "accuracy against lambda",
    (BASE, FULL),
    {"digits-mini": RECIPE},
    BASE,
    sweep={"lam": (0.1, 1.0, 10.0)},
)
PAPER = Paper(
    title="Adaptation of Things",
    authors="A. Author",
    venue="Venue",
    year=2015,
    link="https://example.org",
    experiments=(MAIN, ABLATIONS, SWEEP),
    claims=(
        Claim("gain", "DAN beats source only.", FULL, BASE, on=("digits",)),
        Claim("kernels", "Several kernels beat one.", FULL, SINGLE, on=("ablations",)),
    ),
    published_rows={"source only": "CNN", "DAN": "DAN"},
    key="dan",
)
DEFAULTS = {
    "paper": "dan",
    "experiment": "digits",
    "variant": "default",
    "dataset": "digits-mini",
    "protocol": "full",
    "split": "0",
    "seed": "0",
    "backbone": "lenet",
    "track": "finetune",
    "setting": "",
    "selection": "last",
    "metric": "accuracy",
    "n_test": "1000",
    "seconds": "1.5",
    "device": "cpu",
    "torch": "2.14.1",
    "commit": "0123abc",
    "cell": "c0ffee",
}
VALUES = {
    ("source_only", "mnist:optdigits"): (80.0, 81.0, 82.0),
    ("source_only", "optdigits:mnist"): (60.0, 60.0, 60.0),
    ("dan", "mnist:optdigits"): (84.0, 84.0, 84.0),
    ("dan", "optdigits:mnist"): (62.0, 65.0, 62.0),
}
"""(method, task) -> accuracy of seeds 0, 1, 2.

Differences by seed: (4, 3, 2) and (2, 5, 2); their means over tasks: 3, 4, 2; mean 3, standard error 1 / sqrt(3).
"""


def rows(values: Mapping[tuple[str, str], Iterable[float]] = VALUES, **fields: str) -> list[dict[str, str]]:
    """One row per (method, task) and seed; ``fields`` replace the defaults."""
    return [
        DEFAULTS | {"method": method, "task": task, "seed": str(seed), "value": str(value)} | fields
        for (method, task), numbers in values.items()
        for seed, value in enumerate(numbers)
    ]


def write(path: Path, lines: Iterable[Mapping[str, str]]) -> Path:
    """A results file."""
    return _write(path, RESULTS, lines)


def write_published(path: Path, lines: Iterable[tuple[str, ...]], dataset: str = "Office-31") -> Path:
    """A ``published.csv`` of table ``Table1``; a line is method, task, accuracy, spread, provenance."""
    names = ("method", "task", "accuracy", "spread", "provenance")
    common = {"paper": "dan", "run_by": "", "table": "Table1", "backbone": "AlexNet", "dataset": dataset, "source": "s"}
    return _write(path, PUBLISHED_COLUMNS, (common | dict(zip(names, line, strict=True)) for line in lines))


def _write(path: Path, columns: tuple[str, ...], lines: Iterable[Mapping[str, str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    return path


# ----------------------------------------------------------------------------------- results for the suite's papers

SEEDS = 3
TASKS = {
    "digits-mini": ("mnist:optdigits", "optdigits:mnist"),
    "digits": ("mnist:usps", "usps:mnist"),
    "imageclef-da": ("caltech:imagenet", "imagenet:pascal"),
    "office-home": ("art:clipart", "clipart:product"),
}
"""Of the data sets whose experiments name no tasks; all others have those of Office-31."""
PHOTOS = ("amazon:webcam", "dslr:webcam", "webcam:amazon")


def papers_samples(results: Path) -> Path:
    """Invented results for every experiment of every paper of the suite, on its first data set; returns the folder."""
    for name, paper in papers().items():
        for experiment in paper.experiments:
            lines = list(experiment_rows(name, paper, experiment))
            write(results / name / f"{experiment.name}.csv", lines)
    return results


def experiment_rows(name: str, paper: Paper, experiment: Experiment) -> Iterator[dict[str, str]]:
    """Every row, setting, task and seed of an experiment, with everything that it measures."""
    recipe = next(iter(experiment.recipes))
    dataset = "folder:photos" if recipe == "folder" else recipe
    tasks = experiment.tasks.get(dataset, TASKS.get(dataset, PHOTOS))
    metrics = {claim.metric for claim in paper.claims if experiment.name in claim.experiments} | {"mmd", "a_distance"}
    metrics |= {
        experiment.selects,
        *(claim.ranks for claim in paper.claims if experiment.name in claim.experiments),
    } - {""}
    if any(metric.startswith("alpha.") for metric in metrics):
        metrics |= {"alpha.bn1", "alpha.bn2", "alpha.mean"}
    steps = range(
        experiment.recipes[recipe].epoch, experiment.recipes[recipe].steps + 1, experiment.recipes[recipe].epoch
    )
    metrics |= {f"{metric}@{step}" for metric in experiment.curve for step in steps}
    for number, (row, setting) in enumerate(_settings(experiment)):
        for task, seed in itertools.product(tasks, range(SEEDS)):
            place = {
                **DEFAULTS,
                **{"paper": name, "experiment": experiment.name, "method": row.method, "variant": row.variant},
                **{"dataset": dataset, "protocol": experiment.protocol, "task": task, "seed": str(seed)},
                **{"backbone": experiment.backbone, "track": experiment.track, "setting": setting},
                "split": "0" if experiment.protocol == "full" else str(seed),
            }
            place["cell"] = hashlib.sha256(repr(sorted(place.items())).encode()).hexdigest()[:16]
            noise = int(place["cell"][:4], 16) / 0xFFFF
            place["seconds"] = f"{2 + number + noise:.2f}"
            for selection in ("last", "entropy", "oracle"):
                value = 50 + 2 * number % 40 + 3 * noise + (selection == "oracle")
                yield {**place, "selection": selection, "value": f"{value:.4f}"}
            for metric in sorted(metrics - {"accuracy"}):
                top = 60 if metric.startswith("test_accuracy") else 1
                yield {**place, "metric": metric, "value": f"{top * (0.5 + 0.3 * noise):.6g}"}


def _settings(experiment: Experiment) -> Iterator[tuple[Row, str]]:
    """The rows of an experiment in all settings of its sweeps and at all its cuts."""
    for row in experiment.rows:
        known = {one.name for one in dataclasses.fields(load(row.method).config)}
        own = {name: values for name, values in experiment.sweep.items() if name in known}
        fields = {**experiment.recipe_sweep, **({} if row in experiment.unswept else own)}
        for values in itertools.product(*fields.values()):
            parts = [f"{field}={value}" for field, value in zip(fields, values, strict=True)]
            named = [
                *(f"cut={cut}" for cut in experiment.cuts),
                *(f"statistics={one}" for one in experiment.bn_statistics),
            ]
            for further in named or [""]:
                yield row, ";".join(filter(None, [*parts, further]))
