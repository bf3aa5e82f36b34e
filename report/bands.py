"""Compares a fresh small run with the committed accuracy bands, and with the committed results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import pandas as pd

from benchmarks.machine.errors import UserError
from benchmarks.records.files import numbered_rows
from report import records
from report.records import number

NUMBERS = ("baseline_low", "baseline_high", "low", "high", "gain")
DISTANCE = "distance"
COLUMNS = ("paper", "dataset", "task", *NUMBERS, DISTANCE)
BASELINE = "source_only"


@dataclass(frozen=True)
class Band:
    """What the mean over the seeds of one method on one task must be."""

    paper: str
    dataset: str
    task: str
    baseline_low: float
    """Accuracy in percent, last iterate."""
    baseline_high: float
    low: float
    high: float
    gain: float
    """Minimum gain over the baseline, percentage points."""
    distance: float | None
    """Maximum ``mmd`` of the bottleneck, as a fraction of the baseline's; None (an empty field) for methods that do not
    match the features' distributions."""


def read(path: Path) -> list[Band]:
    """The committed bands.

    Raises:
        UserError: a malformed row; names file and line.
    """
    return [
        Band(
            row["paper"],
            row["dataset"],
            row["task"],
            **{name: number(row[name], name, path, line) for name in NUMBERS},
            distance=number(row[DISTANCE], DISTANCE, path, line) if row[DISTANCE] else None,
        )
        for line, row in numbered_rows(path, COLUMNS)
    ]


def violations(band: Band, accuracy: float, baseline: float, closer: float) -> list[str]:
    """What is wrong with the means over the seeds.

    Args:
        band: what they must be.
        accuracy: of the method, percent.
        baseline: of its baseline, percent.
        closer: the method's ``mmd`` as a fraction of the baseline's.
    """
    found = []
    if not band.low <= accuracy <= band.high:
        found.append(f"accuracy {accuracy:.1f} is outside {band.low} .. {band.high}")
    if not band.baseline_low <= baseline <= band.baseline_high:
        found.append(f"the baseline's accuracy {baseline:.1f} is outside {band.baseline_low} .. {band.baseline_high}")
    if accuracy - baseline < band.gain:
        found.append(f"the gain {accuracy - baseline:.1f} is below {band.gain}")
    if band.distance is not None and closer > band.distance:
        found.append(f"the domains are {closer:.2f} times as far apart as the baseline's, more than {band.distance}")
    return found


@dataclass(frozen=True)
class Check:
    """One band and the fresh run that is compared with it."""

    band: Band
    accuracy: float
    baseline: float
    closer: float
    n: int
    moved: tuple[str, ...]
    """Cells whose accuracy differs from the committed result in the same place."""

    @property
    def wrong(self) -> list[str]:
        return violations(self.band, self.accuracy, self.baseline, self.closer)


def check(band: Band, runs: Path, results: Path, experiment: str) -> Check:
    """Compares a fresh run with its band, and cell by cell with the committed result.

    Raises:
        UserError: there is no such run, or a malformed file.
    """
    path = runs / "tables" / band.paper / f"{experiment}.csv"
    if not path.is_file():
        raise UserError(f"there is no fresh run in {path}; `make check-regression` makes it.")
    frame = records.read(path)
    frame = frame[(frame["dataset"] == band.dataset) & (frame["task"] == band.task) & (frame["selection"] == "last")]
    method = frame[(frame["method"] == band.paper) & (frame["variant"] == "default")]
    base = frame[frame["method"] == BASELINE]
    values = {}
    for name, rows in (("method", method), ("baseline", base)):
        for metric in ("accuracy", "mmd"):
            found = rows.loc[rows["metric"] == metric, "value"]
            if found.empty:
                raise UserError(f"{path} has no {metric} of {band.paper}'s {name} on {band.task}.")
            values[name, metric] = fmean(found)
    committed = results / band.paper / f"{experiment}.csv"
    moved = _moved(pd.concat([base, method]), records.read(committed)) if committed.is_file() else ()
    closer = values["method", "mmd"] / values["baseline", "mmd"]
    n = method["seed"].nunique()
    return Check(band, values["method", "accuracy"], values["baseline", "accuracy"], closer, n, moved)


def _moved(fresh: pd.DataFrame, committed: pd.DataFrame) -> tuple[str, ...]:
    place = ["method", "variant", "dataset", "protocol", "task", "split", "seed", "backbone", "track", "setting"]
    sides = [
        frame[(frame["metric"] == "accuracy") & (frame["selection"] == "last")].set_index(place)[["value", "cell"]]
        for frame in (committed, fresh)
    ]
    both = pd.concat([sides[0].add_suffix("_old"), sides[1].add_suffix("_new")], axis=1, join="inner")
    lines = []
    for index, row in both.iterrows():
        assert isinstance(index, tuple)
        if row["value_old"] != row["value_new"]:
            named = dict(zip(place, index, strict=True))
            other = "" if row["cell_old"] == row["cell_new"] else ", of another specification"
            lines.append(
                f"{named['method']} {named['task']} seed {named['seed']}: committed {row['value_old']:.2f}, now "
                f"{row['value_new']:.2f} ({row['value_new'] - row['value_old']:+.2f}){other}"
            )
    return tuple(lines)


def _at_most(distance: float | None) -> str:
    return "" if distance is None else f" (at most {distance:g})"


def text(checks: list[Check]) -> str:
    """What has changed, in words."""
    lines = []
    for one in checks:
        band = one.band
        lines.append(
            f"{band.paper} {band.dataset} {band.task}, mean of {one.n} seeds: {one.accuracy:.1f} in {band.low:g} .. "
            f"{band.high:g}, baseline {one.baseline:.1f} in {band.baseline_low:g} .. {band.baseline_high:g}, gain "
            f"{one.accuracy - one.baseline:+.1f} (at least {band.gain:g}), mmd {one.closer:.2f} of the baseline's"
            f"{_at_most(band.distance)}: {'outside' if one.wrong else 'inside'}"
        )
        lines += [f"  {words}" for words in one.wrong]
        lines += [f"  moved: {words}" for words in one.moved] or ["  no committed accuracy has moved"]
    return "\n".join(lines)
