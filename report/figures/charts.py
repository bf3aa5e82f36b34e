"""How figures look, and how they are written: one style, readable in grey and by the colour-blind."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
from numpy.typing import NDArray

from report.figures import hints

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Okabe and Ito's palette, distinguishable by the colour-blind; marker and line style differ too, for grey print."""
MARKERS = "os^Dv<"
STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (1, 2)))
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "++")
MAP = "viridis"
"""Colour map of heat maps: increases in lightness, so it can be read in grey as well."""
FIELDS = {
    "weight": "weight of the transfer term",
    "width": "units of the adaptation layer",
    "layer": "place of the adaptation layer",
    "cut": "place of the adaptation layer",
    "images": "target images behind the statistics",
    "layers": "number of adapted BatchNorm layers",
    "c": "C of the retrained classifier",
    "temperature": "temperature of the soft labels",
    "confusion": "weight of the domain confusion",
    "soft": "weight of the soft labels",
    "n": "n, layers",
}
"""What is varied -> its name on an axis and in a caption."""
METRICS = {
    "linear_mmd": "MMD in the adaptation layer",
    "trunk_mmd": "MMD at the adaptation layer's place",
    "test_accuracy": "accuracy on the target",
    "classification": "classification loss",
    "soft_labels": "soft labels",
    "a_distance": "proxy A-distance",
    "joint_mmd": "joint MMD",
}
"""The same for what is measured."""
KINDS = ("pdf", "svg", "png", "csv")
MANY = 40
"""Minimum number of figures for drawing them in one process per core, which take seconds to start."""
LAYOUT: Literal["constrained"] | None = "constrained"
"""How space is made for what is around the axes; takes most of the time of a figure."""
STYLE: dict[Any, Any] = {
    **{"font.size": 9, "svg.hashsalt": "report", "svg.fonttype": "none", "pdf.fonttype": 42},
    **{"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False},
}


@dataclass(frozen=True)
class Chart:
    """A figure with its captions."""

    name: str
    """Name of its files."""
    caption: str
    """What it shows, what its bands are, and from which run."""
    alt: str
    """Description for readers who cannot see it."""
    draw: Callable[[Figure], None]
    data: pd.DataFrame
    size: tuple[float, float] = (4.8, 3.4)
    """Inches."""
    cells: tuple[str, ...] = field(default=())


def file_name(text: str) -> str:
    """Text as the name of a figure's files."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)


def save(chart: Chart, stem: Path, kinds: Sequence[str] = KINDS, *, transparent: bool = False) -> list[Path]:
    """Writes ``stem`` with each suffix, with the same bytes for the same numbers; returns the paths.

    ``transparent`` is for SVG on pages with their own background, light or dark.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = {kind: stem.with_name(f"{stem.name}.{kind}") for kind in kinds}
    with mpl.rc_context(STYLE):
        canvas = Figure(figsize=chart.size, layout=LAYOUT)
        chart.draw(canvas)
        if (engine := canvas.get_layout_engine()) is not None:
            engine.execute(canvas)
            canvas.set_layout_engine("none")  # once is enough: it is half the time of a file
        if "pdf" in paths:
            canvas.savefig(paths["pdf"], metadata={"CreationDate": None})
        if "svg" in paths:
            titles = hints.of(canvas)
            canvas.savefig(paths["svg"], metadata={"Date": None}, transparent=transparent)
            hints.add(paths["svg"], titles)
        if "png" in paths:
            canvas.savefig(paths["png"], dpi=200)
    if "csv" in paths:
        chart.data.to_csv(paths["csv"], index=False)
    return list(paths.values())


def save_all(
    jobs: Sequence[tuple[Chart, Path]], kinds: Sequence[str] = KINDS, *, transparent: bool = False
) -> Iterable[list[Path]]:
    """``save`` of each figure under its stem, several at once; starts immediately and yields the paths in order."""
    from joblib import Parallel, delayed

    several = os.cpu_count() if len(jobs) > MANY else 1
    saved = (delayed(save)(chart, stem, kinds, transparent=transparent) for chart, stem in jobs)
    found: Iterable[list[Path]] = Parallel(n_jobs=several, return_as="generator")(saved)
    return found


def line(
    axes: Axes,
    number: int,
    x: Sequence[float],
    y: Sequence[float],
    spread: Sequence[float],
    label: str,
    *,
    markers: bool = True,
) -> None:
    """One curve with its band, in the ``number``-th colour, marker and style; no band if the spread is nan."""
    color, marker, style = (options[number % len(options)] for options in (COLORS, MARKERS, STYLES))
    axes.plot(x, y, color=color, marker=marker if markers else "", linestyle=style, label=label, markersize=4.5)
    known = [0.0 if one != one else one for one in spread]
    low = [mean - one for mean, one in zip(y, known, strict=True)]
    high = [mean + one for mean, one in zip(y, known, strict=True)]
    axes.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)


def filling(number: int) -> dict[str, Any]:
    """Colour and hatch of the ``number``-th bars: after the last colour the hatches are shifted."""
    hatch = HATCHES[(number + number // len(COLORS)) % len(HATCHES)]
    return {"color": COLORS[number % len(COLORS)], "hatch": hatch, "edgecolor": "white"}


def level(axes: Axes, y: float, spread: float, label: str) -> None:
    """A horizontal line with its band, for values that do not depend on x."""
    known = 0.0 if spread != spread else spread
    axes.axhline(y, color="black", linestyle=":", label=label)
    axes.axhspan(y - known, y + known, color="black", alpha=0.12, linewidth=0)


def heat_map(
    canvas: Figure, values: NDArray[Any], rows: Sequence[str], columns: Sequence[str], unit: str, top: float
) -> Axes:
    """A matrix over classes of images, (rows, columns), from 0 to ``top``; increases in lightness."""
    axes = canvas.add_subplot()
    image = axes.imshow(values, cmap=MAP, aspect="equal", interpolation="nearest", vmin=0, vmax=top)
    canvas.colorbar(image, cax=axes.inset_axes((1.03, 0.0, 0.04, 1.0)), label=unit)  # as high as the map
    axes.set_xticks(range(len(columns)), columns, fontsize=7, rotation=90 if max(map(len, columns)) > 2 else 0)
    axes.set_yticks(range(len(rows)), rows, fontsize=7)
    axes.set_ylabel("class of the image")
    return axes


def heat_map_size(rows: int, columns: int) -> tuple[float, float]:
    """Size of a heat map in inches, with room for the names of its classes."""
    share = rows / columns
    return (6.0, 1.9 + 3.5 * share) if columns > 12 else (4.8, 1.4 + 2.8 * share)


def swept_axis(axes: Axes, xs: Sequence[float]) -> None:
    """Ticks at the values; logarithmic if they span a decade, with zero, if present, on a linear piece."""
    positive = [x for x in xs if x > 0]
    if min(xs) < 0 or not positive or max(positive) < 10 * min(positive):
        axes.set_xscale("linear")
    elif min(xs) > 0:
        axes.set_xscale("log")
    else:
        axes.set_xscale("symlog", linthresh=min(positive))
    axes.autoscale_view(scaley=False)  # margins on the new scale
    axes.set_xticks(list(xs), [f"{x:g}" for x in xs])
    axes.minorticks_off()


def log_ticks(axis: Axis) -> None:
    """A few plain numbers on a logarithmic axis that has its data: exponents of ten would be too small to read."""
    from matplotlib.ticker import LogLocator, NullLocator

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 10 * low else (1, 1.5, 2, 3, 5, 7)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def finish(canvas: Figure, axes: Axes, x: str, y: str, title: str, note: str) -> None:
    """Labels, broken into lines that fit, a grid, and a note below the figure on its bands."""
    width, height = canvas.get_size_inches()
    axes.set_xlabel(broken(x, width, 10))
    axes.set_ylabel(broken(y, 0.85 * height, 10))
    axes.set_title(broken(title, width, 9), fontsize=9)
    axes.grid(alpha=0.3)
    if note:
        canvas.supxlabel(broken(note, width, 7), fontsize=7)


def broken(text: str, inches: float, size: float) -> str:
    """Text in lines that fit into a length at a font size in points; a letter is about 0.6 of it wide."""
    return textwrap.fill(text, max(12, int(inches * 72 / (0.6 * size))))


def legend(axes: Axes, entries: int) -> None:
    """Inside the axes for a few entries, beside them for many."""
    if entries <= 5:
        axes.legend()
    else:
        legend_beside(axes)


def legend_beside(axes: Axes) -> None:
    """Beside the axes, where it covers nothing."""
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7)
