"""Titles of a figure's marks, shown by browsers under the pointer: which row, where, and its value."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.container import BarContainer
    from matplotlib.figure import Figure

SVG = "{http://www.w3.org/2000/svg}"
SPACES = {
    "": SVG[1:-1],
    "xlink": "http://www.w3.org/1999/xlink",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "cc": "http://creativecommons.org/ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
}
"""Prefix -> namespace of matplotlib's files; a writer that does not know them would invent its own prefixes."""

Hints = Mapping[str, list[str]]
"""Identifier of a curve or a bar -> the title of each of its marks."""


def of(canvas: Figure) -> Hints:
    """The titles of a finished figure; assigns identifiers to the objects they belong to."""
    found: dict[str, list[str]] = {}
    for axes in canvas.axes:
        for artist, words in (*_curves(axes), *_bars(axes)):
            artist.set_gid(f"hint-{len(found)}")
            found[f"hint-{len(found)}"] = words
    return found


def _labels(axis: Axis) -> dict[float, str]:
    """Position of each tick -> its label; an axis that shares another's ticks shows fewer labels than it has ticks."""
    return {float(at): text.get_text() for at, text in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=False)}


def _names(labels: Mapping[float, str], value: float) -> str:
    return labels.get(value) or f"{value:g}"


def _curves(axes: Axes) -> Iterator[tuple[Artist, list[str]]]:
    """Curves with markers, and points with error bars."""
    from matplotlib.container import ErrorbarContainer

    labels = _labels(axes.xaxis)
    lines = [(str(line.get_label()), line) for line in axes.lines]
    lines += [
        (str(one.get_label()), one[0]) for one in axes.containers if isinstance(one, ErrorbarContainer) and one[0]
    ]
    for label, line in lines:
        if label and not label.startswith("_") and line.get_marker() not in ("", " ", "None", None):
            points = zip(*(np.asarray(side, float).tolist() for side in line.get_data()), strict=True)
            yield line, [f"{label}, {_names(labels, x)}: {y:.4g}" for x, y in points]


def _bars(axes: Axes) -> Iterator[tuple[Artist, list[str]]]:
    from matplotlib.container import BarContainer

    for bars in axes.containers:
        label = str(bars.get_label())
        if isinstance(bars, BarContainer) and label and not label.startswith("_"):
            for bar, (place, length) in zip(bars.patches, _lengths(axes, bars), strict=True):
                yield bar, [f"{label}, {place}: {length:.4g}" if place else f"{label}: {length:.4g}"]


def _lengths(axes: Axes, bars: BarContainer) -> Iterator[tuple[str, float]]:
    """Name of the nearest tick and length of each bar, vertical or horizontal."""
    lies = bars.orientation == "horizontal"
    axis = axes.yaxis if lies else axes.xaxis
    ticks = _labels(axis)
    for bar in bars.patches:
        middle = bar.get_y() + bar.get_height() / 2 if lies else bar.get_x() + bar.get_width() / 2
        nearest = min(ticks, key=lambda at: abs(at - middle)) if ticks else middle
        yield " ".join(ticks.get(nearest, "").split()), bar.get_width() if lies else bar.get_height()


def add(path: Path, hints: Hints) -> None:
    """Writes the titles into an SVG file.  A curve with points that are not drawn gets none."""
    if not hints:
        return
    for prefix, space in SPACES.items():
        ET.register_namespace(prefix, space)
    tree = ET.parse(path)
    for group in tree.iter(f"{SVG}g"):
        words = hints.get(group.get("id", ""), [])
        marks = [mark for mark in group.iter(f"{SVG}use") if mark.get("x")] or [group] * (len(words) == 1)
        if len(marks) == len(words):
            for mark, word in zip(marks, words, strict=True):
                title = ET.Element(f"{SVG}title")
                title.text = word
                mark.insert(0, title)
    tree.write(path, encoding="utf-8", xml_declaration=True)
