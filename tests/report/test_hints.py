"""Titles under the pointer: each mark of a figure says its row, place and value."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from report.figures import charts
from report.figures.charts import Chart
from report.figures.hints import SVG


def titles(tmp_path: Path, fill: Callable[[Axes], object]) -> list[str]:
    chart = Chart("a", "", "", lambda canvas: (fill(canvas.add_subplot()), None)[1], pd.DataFrame())
    (path,) = charts.save(chart, tmp_path / "a", ("svg",))
    root = ET.parse(path).getroot()
    assert root.tag == f"{SVG}svg"
    marks = [mark for mark in root.iter() if mark.find(f"{SVG}title") is not None and mark.tag != f"{SVG}svg"]
    return [mark.findtext(f"{SVG}title", "") for mark in marks]


def test_points_of_a_curve(tmp_path: Path) -> None:
    def fill(axes: Axes) -> None:
        charts.line(axes, 0, [0, 1, 2.5], [81.25, 80, 79.125], [0.1, 0.1, 0.1], "DAN")
        axes.set_xticks([0, 1], ["none", "fc7"])

    assert titles(tmp_path, fill) == ["DAN, none: 81.25", "DAN, fc7: 80", "DAN, 2.5: 79.12"]


def test_points_with_bars_have_the_label_of_both(tmp_path: Path) -> None:
    assert titles(tmp_path, lambda axes: axes.errorbar([3], [4], [1], marker="o", label="JAN")) == ["JAN, 3: 4"]


def test_bars_standing_and_lying(tmp_path: Path) -> None:
    def standing(axes: Axes) -> None:
        axes.bar([-0.2, 0.8], [1.5, -2], 0.4, label="oracle")
        axes.set_xticks([0, 1], ["DAN", "JAN"])

    def lying(axes: Axes) -> None:
        axes.barh([0.1, 0.9], [1.5, 2], 0.4, label="this suite")
        axes.set_yticks([0, 1], ["LeNet,\nbatch 64", "head"])

    assert titles(tmp_path, standing) == ["oracle, DAN: 1.5", "oracle, JAN: -2"]
    assert titles(tmp_path, lying) == ["this suite, LeNet, batch 64: 1.5", "this suite, head: 2"]


def test_what_has_no_label_or_lacks_a_value_is_left_alone(tmp_path: Path) -> None:
    def fill(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], marker="o")
        axes.plot([0, 1, 2], [0, math.nan, 2], marker="o", label="with a hole")

    assert titles(tmp_path, fill) == []
