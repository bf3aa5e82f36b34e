"""Figures of the measurements of ``make bench``, from ``results/speed/speed.csv``."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from benchmarks.machine.errors import UserError
from benchmarks.records.files import numbered_rows
from benchmarks.records.schema import SPEED
from report.figures import charts
from report.figures.charts import Chart

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OURS = "this suite"
CLOCKS = {"cpu": "CPU", "wall": "wall-clock"}
LITTLE = 3
"""Factor between times up to which their axis is linear."""
GROWTH = {
    "mmd over the batch": ("samples of each domain", "MK-MMD of five kernels, forward and backward, over the batch"),
    "plan over cells": ("cells of a plan", "Time of a plan against its number of short cells"),
    "frozen over images": ("images of each domain", "A cell on cached activations, over the images of a domain"),
    "frozen over classes": ("classes", "A cell on cached activations, over the classes"),
    "frozen over domains": ("source domains", "A cell on cached activations, over the source domains"),
}
"""Topics whose sizes are numbers -> what they count, and the title."""


def read(path: Path) -> pd.DataFrame:
    """The measurements; no rows if there is no file.

    Raises:
        UserError: a malformed row; names file and line.
    """
    rows = []
    for line, row in numbered_rows(path, SPEED) if path.is_file() else ():
        try:
            numbers = {name: float(row[name]) for name in ("seconds", "spread")}
        except ValueError:
            raise UserError(f"{path}, line {line}: seconds and spread must be numbers.") from None
        if not all(math.isfinite(one) and one >= 0 for one in numbers.values()):
            raise UserError(f"{path}, line {line}: seconds and spread must be finite and not negative.")
        rows.append({**row, **numbers})
    return pd.DataFrame(rows, columns=SPEED)


def of_all(path: Path) -> list[Chart]:
    """The figures for which there are measurements.

    Raises:
        UserError: a malformed row.
    """
    frame = read(path)
    grown = [growth(str(topic), some) for topic, some in frame.groupby("topic", sort=False) if topic in GROWTH]
    rest = frame[~frame["topic"].isin(GROWTH)]
    return [*([races(rest)] if len(rest) else []), *grown]


def where(frame: pd.DataFrame) -> str:
    """The machines it was measured on, in words."""
    kinds = (frame[["device", "instructions", "torch"]].drop_duplicates()).itertuples(index=False, name=None)
    return "; ".join(f"{device}, {instructions}, one thread, torch {torch}" for device, instructions, torch in kinds)


def races(frame: pd.DataFrame) -> Chart:
    """Every race's times relative to its first contestant: the lower bound, if there is one."""
    spelled = {name.casefold(): name for name in sorted(frame["contestant"], reverse=True)}  # a module as its method
    frame = frame.assign(contestant=[spelled[name.casefold()] for name in frame["contestant"]])
    groups = [some.reset_index(drop=True) for _, some in frame.groupby(["topic", "size"], sort=False)]
    names = list(dict.fromkeys(frame["contestant"]))
    floors = {some["contestant"][0] for some in groups} - {OURS}
    shown = [OURS, *(name for name in names if name not in floors and name != OURS)]
    several = [some for some in groups if len(some) > 1]
    rows = [
        (some["topic"][0], some["size"][0], name, seconds, spread, seconds / some["seconds"][0])
        for some in groups
        for name, seconds, spread in zip(some["contestant"], some["seconds"], some["spread"], strict=True)
    ]

    def draw(canvas: Figure) -> None:
        axes = canvas.add_subplot()
        height = 0.8 / len(shown)
        for i, name in enumerate(shown):
            places = [
                (y, some.loc[some["contestant"] == name, "seconds"].item() / some["seconds"][0])
                for y, some in enumerate(several)
                if name in set(some["contestant"])
            ]
            axes.barh(
                [y + (i - (len(shown) - 1) / 2) * height for y, _ in places],
                [ratio for _, ratio in places],
                height,
                label=name,
                **charts.filling(i),
            )
        axes.axvline(1, color="black", linewidth=0.8)
        labels = [
            f"{some['topic'][0]}, {some['size'][0]}\nover {some['contestant'][0]}; {CLOCKS[some['clock'][0]]}, n = "
            f"{some['rounds'][0]}"
            for some in several
        ]
        axes.set_yticks(range(len(several)), labels, fontsize=7)
        axes.invert_yaxis()
        charts.finish(canvas, axes, "time over that of the first contestant", "", "Speed", where(frame))
        axes.legend(fontsize=7)

    told = "; ".join(f"{topic}, {size}: {name} {1e3 * seconds:.3g} ms" for topic, size, name, seconds, *_ in rows)
    return Chart(
        "speed",
        f"Time of one call over that of the first contestant of the race, the median of n rounds ({where(frame)}).",
        f"Median times of every race: {told}.",
        draw,
        pd.DataFrame(rows, columns=["topic", "size", "contestant", "seconds", "spread", "ratio"]),
        (6.4, 1.2 + 0.55 * len(several)),
    )


def growth(topic: str, frame: pd.DataFrame) -> Chart:
    """Times over the size, a line per contestant."""
    axis, title = GROWTH[topic]
    sizes = frame["size"].str.extract(r"^(\d+)")[0].astype(float)
    curves = {str(name): (sizes[some.index], some) for name, some in frame.groupby("contestant", sort=False)}
    note = "one round" if set(frame["rounds"]) == {"1"} else "medians; band: half the distance of the quartiles"

    def draw(canvas: Figure) -> None:
        axes = canvas.add_subplot()
        for i, (name, (x, some)) in enumerate(curves.items()):
            charts.line(axes, i, list(x), list(some["seconds"]), list(some["spread"]), name)
        axes.set_xscale("log")
        axes.set_xticks(sorted(set(sizes)), [f"{size:g}" for size in sorted(set(sizes))])
        axes.minorticks_off()
        if frame["seconds"].max() > LITTLE * frame["seconds"].min():
            axes.set_yscale("log")
            charts.log_ticks(axes.yaxis)
        else:
            axes.set_ylim(bottom=0)
        charts.finish(canvas, axes, axis, f"{CLOCKS[frame['clock'].iloc[0]]} time (seconds)", title, note)
        charts.legend(axes, len(curves))

    told = "; ".join(
        f"{name}: " + ", ".join(f"{size:g} {seconds:.3g} s" for size, seconds in zip(x, some["seconds"], strict=True))
        for name, (x, some) in curves.items()
    )
    columns = ["contestant", "size", "seconds", "spread"]
    name = "speed-" + re.sub(r"\W+", "-", topic)
    return Chart(name, f"{title} ({where(frame)}); {note}.", f"{title}: {told}.", draw, frame[columns])
